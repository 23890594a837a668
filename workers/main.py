"""The composition root: builds each role once from its settings, runs it until a signal, and takes it down again."""

import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import boto3
import dramatiq
from botocore.config import Config
from dramatiq.worker import Worker

from contracts.envelope import Queue
from contracts.outbound import Destination
from contracts.provider import PayoutProvider
from store import db, probe
from store.db import Pool, Watcher
from store.sweep import Patience
from store.wakeup import Bell, Ear
from workers import catalogue, clock, credentials, status
from workers.breaker import BothThere, Breaker, State
from workers.broker import END_S, BrokerOptions, SqsBroker
from workers.catalogue import Role
from workers.consume import MessageHandler, Needs, Trust
from workers.delivery import inbound_queue
from workers.doorbell import Ringer, nap
from workers.health import Check, DatabaseReadiness, NotReadyError, Server, application
from workers.heartbeat import Heart, Identity
from workers.housekeeping import Housekeeper, PruneOptions
from workers.logs import configure_logging, logger
from workers.metrics import Metrics
from workers.monitor import Board, Checks, Intervals, Monitor, QueueLook, TableLook, WatchedQueue
from workers.payouts import Asker
from workers.providers import make_provider
from workers.relay import BusSender, QueueSender, Relay, RelayOptions, Sender
from workers.settings import Settings
from workers.sweep import Sweeper, SweepOptions
from workers.tracing import Tracing, configure_tracing
from workers.verifiers import TOKEN_SETTINGS, make_verifier
from workers.watching import DatabaseWatcher, flaw_counter, key_counter, request_counter, watch_credentials, watch_pool

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_events.client import EventBridgeClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient
    from mypy_boto3_sqs.client import SQSClient

#: How often Dramatiq's threads look whether they shall stop, in milliseconds.
WORKER_WAKE_UP_MS = 200
#: How often a role's main thread looks at its own threads.
WATCH_EVERY_S = 1.0
#: A poller that has not asked for this many of the longest call there can be is stuck. A queue that is away is not.
STUCK_POLLS = 2
AWS_ATTEMPTS = 3
#: Every AWS call ends within the handling budget of 40 s; a long poll is the one that takes its time.
AWS_CONNECT_TIMEOUT_S = 3
AWS_READ_TIMEOUT_S = 10
#: How long a probe of the database waits for a connection, and for its answer.
PROBE_TIMEOUT_S = 2
#: How many probes of the provider must fail in a row: single requests over the internet do.
PROVIDER_TRIES = 3
#: Deletes, renewals and back-offs: well below a lease, and no more than a stop can wait for.
SETTLE_TIMEOUT_S = 5
SETTLE_ATTEMPTS = 2
#: How much of a stop's budget is kept for settling, once the handlers have ended or their time is over.
SETTLE_SHARE = 0.2
#: How many threads a slow provider leaves to events and commands.
THREADS_KEPT = 2
#: A turn of the relay is one request to AWS and a few statements; all of them have timeouts.
RELAY_STUCK_S = 120.0
#: How long a stop waits for such a turn; what was sent but not marked by then is sent again.
RELAY_STOP_S = 30.0
_log = logger(__name__)


def release() -> str:
    """Return this release's version."""
    return version("roadcall-payments")


def sqs_client(settings: Settings, *, connections: int, attempts: int = AWS_ATTEMPTS) -> "SQSClient":
    """Return an SQS client for a whole process; clients are safe to share between threads."""
    return boto3.client("sqs", config=_aws_config(settings.poll_wait_s + AWS_READ_TIMEOUT_S, connections, attempts))


def _settling_client(connections: int) -> "SQSClient":
    return boto3.client("sqs", config=_aws_config(SETTLE_TIMEOUT_S, connections, SETTLE_ATTEMPTS))


def events_client(*, attempts: int = AWS_ATTEMPTS) -> "EventBridgeClient":
    """Return an EventBridge client."""
    return boto3.client("events", config=_aws_config(AWS_READ_TIMEOUT_S, 4, attempts))


def cloudwatch_client() -> "CloudWatchClient":
    """Return a CloudWatch client."""
    return boto3.client("cloudwatch", config=_aws_config(AWS_READ_TIMEOUT_S, 2))


def secrets_client() -> "SecretsManagerClient":
    """Return a Secrets Manager client."""
    return boto3.client("secretsmanager", config=_aws_config(AWS_READ_TIMEOUT_S, 2))


def _aws_config(read_timeout_s: float, connections: int, attempts: int = AWS_ATTEMPTS) -> Config:
    return Config(
        connect_timeout=AWS_CONNECT_TIMEOUT_S,
        read_timeout=read_timeout_s,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": attempts},
        user_agent_extra=f"roadcall-payments/{release()}",
    )


def database_source(settings: Settings, metrics: Metrics | None = None) -> credentials.Source:
    """Return how to reach the database; one source per process, so that a rotation is noticed once for all."""
    return credentials.database(settings, lambda: metrics.counting(secrets_client()) if metrics else secrets_client())


@contextmanager
def opened_pool(
    settings: Settings,
    role: str,
    *,
    source: credentials.Source | None = None,
    size_max: int | None = None,
    watcher: Watcher = db.NOBODY,
) -> Generator[Pool]:
    """Open the role's connection pool and close it at the end."""
    source = source or database_source(settings)
    options = settings.pool_options(role, size_max=size_max)
    if isinstance(source, str):
        pool = db.open_pool(source, options, watcher=watcher)
    else:
        pool = db.open_pool(source, options, source.login_refused, watcher)
    try:
        yield pool
    finally:
        pool.close()


def database_conninfo(settings: Settings) -> str:
    """Return how to reach the database, once."""
    source = database_source(settings)
    return source if isinstance(source, str) else source()


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """Turn SIGTERM and SIGINT into an event; the previous handlers return at the end."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_worker(settings: Settings) -> int:
    """Run role worker until a signal; return the exit code, 1 when one of its threads has died."""
    settings.require(
        "event_queue_url",
        "command_queue_url",
        "payout_queue_url",
        "provider",
        *TOKEN_SETTINGS,
        "command_senders",
        "service_senders",
    )
    metrics = _metrics(settings, Role.WORKER)
    _log_as(Role.WORKER, settings, metrics)
    tracing = _tracing(Role.WORKER, settings)
    source = database_source(settings, metrics)
    with stop_signal() as stop, _watched_pool(settings, Role.WORKER, metrics, source) as pool:
        provider = make_provider(settings, lambda: metrics.counting(secrets_client()))
        breakers = _breakers(settings, pool, source, provider, metrics)
        broker = _broker(settings, breakers, metrics)
        ringer = Ringer(Bell(source), settings.notify_every_s)
        handler = MessageHandler(
            pool,
            Asker(pool, provider, timedelta(seconds=settings.submit_grace_s)),
            settings.rules(),
            Trust(
                frozenset(settings.work_sources),
                make_verifier(settings, key_counter(metrics)),
                frozenset(settings.provider_sources),
            ),
            metrics,
            committed=ringer.committed,
            needs=Needs(breakers.database, breakers.provider, broker.options.outage_s),
            tracing=tracing,
        )
        declare_actors(broker, handler)
        worker = Worker(broker, worker_threads=settings.worker_threads, worker_timeout=WORKER_WAKE_UP_MS)
        heart = _heart(settings, Role.WORKER, pool)
        alive = worker_liveness(worker, broker, settings, [ringer.thread, heart.thread, *breakers.threads()])
        heart.checks = (alive, breakers.check)
        ready = worker_readiness(breakers.database, DatabaseReadiness(pool))
        app = application(metrics.registry, alive, ready, observed=request_counter(metrics))
        _show_threads(metrics, broker, settings.worker_threads)
        with _serving(Server(app, settings.host, settings.health_port)) as url:
            ringer.start()
            heart.start()
            breakers.start()
            worker.start()
            broker.start()
            _log.info("worker started", url=url, threads=settings.worker_threads)
            healthy = _watch(stop, alive)
            clean = _drain(worker, broker, settings.stop_budget_s)
            heart.stop(well=healthy and clean)
            breakers.stop()
            ringer.stop()
            tracing.close()
    _log.info("worker stopped", clean=clean, healthy=healthy)
    return 0 if healthy else 1


def _metrics(settings: Settings, role: Role) -> Metrics:
    return Metrics(role, version=release(), commit=settings.commit)


@contextmanager
def _watched_pool(
    settings: Settings, role: Role, metrics: Metrics, source: credentials.Source, *, size_max: int | None = None
) -> Generator[Pool]:
    """Open a role's pool, with everything about it counted."""
    watch_credentials(metrics, source)
    watcher = DatabaseWatcher(metrics, role)
    with opened_pool(settings, role, source=source, size_max=size_max, watcher=watcher) as pool:
        watch_pool(metrics, pool)
        yield pool


def _heart(settings: Settings, role: Role, pool: Pool) -> Heart:
    return Heart(pool, Identity(role, release()), settings.heartbeat_every_s)


def _show_threads(metrics: Metrics, broker: SqsBroker, threads: int) -> None:
    metrics.set(catalogue.THREADS, threads)
    metrics.before_scrape(lambda: metrics.set(catalogue.BUSY_THREADS, broker.busy))


def _log_as(role: Role, settings: Settings, metrics: Metrics) -> None:
    """Log as a role does; what the tripwire takes out of a line is counted."""
    redacted = lambda detector: metrics.inc(catalogue.REDACTIONS, detector)  # noqa: E731 - one expression
    configure_logging(role, release(), settings.environment, settings.log_level, redacted)


def _tracing(role: Role, settings: Settings) -> Tracing:
    return configure_tracing(role, release(), settings.environment, parent=settings.trace_parent == "parent")


def declare_actors(broker: SqsBroker, handler: Callable[[], None]) -> None:
    """Declare one actor per queue; the kind is read from the body, inside the actor's own error handling."""

    def handle() -> None:
        handler()

    for queue in Queue:
        dramatiq.actor(broker=broker, actor_name=queue, queue_name=queue)(handle)


def worker_liveness(
    worker: Worker, broker: SqsBroker, settings: Settings, others: Sequence[threading.Thread] = ()
) -> Callable[[], Mapping[str, Any]]:
    """Return the check behind a worker's `/health`: every thread lives, and no request or message hangs."""
    longest_call_s = AWS_ATTEMPTS * (AWS_CONNECT_TIMEOUT_S + settings.poll_wait_s + AWS_READ_TIMEOUT_S)
    patience_s = STUCK_POLLS * longest_call_s

    def check() -> Mapping[str, Any]:
        threads = [*worker.workers, *worker.consumers.values(), *others]
        dead = [thread.name for thread in threads if not thread.is_alive()] + broker.dead_threads()
        if dead:
            raise NotReadyError(f"dead threads: {', '.join(dead)}")
        if stuck := broker.stuck(patience_s):
            raise NotReadyError(f"stuck: {', '.join(stuck)}")
        return {"threads": len(worker.workers), "held": broker.held}

    return check


def worker_readiness(breaker: Breaker, database: Check) -> Check:
    """Return the check behind a worker's `/ready`: the database answers, and the worker has noticed."""

    def check() -> Mapping[str, Any]:
        if breaker.state is State.AWAY:
            raise NotReadyError("database_away: nothing is received until it answers")
        return database()

    return check


@dataclass(frozen=True, slots=True)
class Breakers:
    """What stops work on what is away: the database all of it, the provider the payouts queue."""

    database: Breaker
    provider: Breaker

    def start(self) -> None:
        """Start asking."""
        self.database.start()
        self.provider.start()

    def stop(self) -> None:
        """End the threads; whoever waits for a verdict goes on."""
        self.database.stop(END_S)
        self.provider.stop(END_S)

    def threads(self) -> list[threading.Thread]:
        """Return the threads that should be alive."""
        return [self.database.thread, self.provider.thread]

    def check(self) -> None:
        """Raise where something is away.

        Raises:
            NotReadyError: names it.
        """
        for name, breaker in (("database", self.database), ("provider", self.provider)):
            if breaker.is_away:
                raise NotReadyError(f"{name}_away")


def _breakers(
    settings: Settings, pool: Pool, source: credentials.Source, provider: PayoutProvider, metrics: Metrics
) -> Breakers:
    refused = (lambda: None) if isinstance(source, str) else source.login_refused
    database = Breaker(
        "database", lambda: probe.ask(source, PROBE_TIMEOUT_S, refused), metrics, every_s=settings.breaker_probe_s
    )
    database.came_back = lambda: probe.refresh(pool)
    asked = Breaker("provider", provider.probe, metrics, every_s=settings.breaker_probe_s, tries=PROVIDER_TRIES)
    return Breakers(database, asked)


def _broker(settings: Settings, breakers: Breakers, metrics: Metrics) -> SqsBroker:
    """Return the broker, which the breakers stop while the database or the provider is away."""
    client = sqs_client(settings, connections=settings.pollers_per_queue * len(Queue))
    settling = _settling_client(settings.worker_threads + 2)
    metrics.count_requests(client)
    metrics.count_requests(settling)
    urls = {
        Queue.EVENTS: settings.event_queue_url,
        Queue.COMMANDS: settings.command_queue_url,
        Queue.PAYOUTS: settings.payout_queue_url,
    }
    queues = [inbound_queue(client, queue, url) for queue, url in urls.items() if url]
    options = BrokerOptions(
        room=settings.worker_threads * settings.prefetch_factor,
        payouts_at_once=max(1, settings.worker_threads - THREADS_KEPT),
        pollers=settings.pollers_per_queue,
        poll_wait_s=settings.poll_wait_s,
        visibility_s=settings.visibility_s,
        renew_every_s=settings.lease_renew_s,
        hold_max_s=settings.hold_max_s,
        backoff_s=settings.backoff_s,
        backoff_jitter=settings.backoff_jitter,
        settle_age_s=settings.settle_age_s,
        outage_s=(settings.outage_s[0], settings.outage_s[1]),
    )
    payouts = BothThere(breakers.database, breakers.provider)
    broker = SqsBroker(client, queues, options, metrics, breakers.database, payouts, settling)
    breakers.database.went_away = broker.release_waiting
    breakers.provider.went_away = lambda: broker.release_waiting(Queue.PAYOUTS)
    return broker


def _watch(stop: threading.Event, alive: Callable[[], Mapping[str, Any]]) -> bool:
    """Wait for the stop signal; return False as soon as a thread has died, so that the process ends instead."""
    while not stop.wait(WATCH_EVERY_S):
        try:
            alive()
        except NotReadyError as trouble:
            _log.error("unhealthy", reason=str(trouble))
            return False
    return True


def _drain(worker: Worker, broker: SqsBroker, budget_s: float) -> bool:
    """Stop polling, finish what is being handled, hand back the rest; return whether it fitted the budget."""
    deadline = clock.monotonic() + budget_s
    broker.stop_polling()
    # Dramatiq's own wait counts the time of each thread for all that follow, and gives up early.
    for thread in worker.workers:
        thread.stop()
    for thread in worker.workers:
        thread.join(max(0.0, deadline - budget_s * SETTLE_SHARE - clock.monotonic()))
    worker.stop(timeout=WORKER_WAKE_UP_MS * 5)
    return broker.shut_down(max(0.5, deadline - clock.monotonic()))


@contextmanager
def _serving(server: Server) -> Iterator[str]:
    url = server.start()
    try:
        yield url
    finally:
        server.stop()


def run_relay(settings: Settings) -> int:
    """Run role relay until a signal; return the exit code, 1 when one of its threads has died or is stuck."""
    settings.require("payout_queue_url", "approval_queue_url", "event_bus_name")
    metrics = _metrics(settings, Role.RELAY)
    _log_as(Role.RELAY, settings, metrics)
    tracing = _tracing(Role.RELAY, settings)
    source = database_source(settings, metrics)
    with stop_signal() as stop, _watched_pool(settings, Role.RELAY, metrics, source, size_max=3) as pool:
        senders, ear = _senders(settings, metrics), Ear(source)
        relay = _relay(settings, pool, senders, metrics, tracing)
        sending = threading.Thread(
            target=relay.run, args=(stop, lambda seconds: nap(ear, stop, seconds)), name="relay", daemon=True
        )
        housekeeper = _housekeeper(settings, pool, metrics, stop)
        sweeper = _sweeper(settings, pool, senders[Destination.PAYOUTS], metrics, stop)
        heart = _heart(settings, Role.RELAY, pool)
        alive = relay_liveness(relay, [sending, housekeeper.thread, sweeper.thread, heart.thread])
        heart.checks = (alive,)
        app = application(metrics.registry, alive, DatabaseReadiness(pool), observed=request_counter(metrics))
        with _serving(Server(app, settings.host, settings.health_port)) as url:
            sending.start()
            heart.start()
            housekeeper.start()
            sweeper.start()
            _log.info("relay started", url=url)
            healthy = _watch(stop, alive)
            stop.set()
            sending.join(RELAY_STOP_S)
            housekeeper.join()
            sweeper.join()
            heart.stop(well=healthy)
            if not sending.is_alive():
                ear.close()
            tracing.close()
    _log.info("relay stopped", healthy=healthy)
    return 0 if healthy else 1


def _senders(settings: Settings, metrics: Metrics) -> Mapping[Destination, Sender]:
    sqs = sqs_client(settings, connections=4, attempts=1)  # a row that was not sent comes again by itself
    events = events_client(attempts=1)
    metrics.count_requests(sqs)
    metrics.count_requests(events)
    return {
        Destination.BUS: BusSender(events, settings.event_bus_name or "", settings.event_source),
        Destination.APPROVALS: QueueSender(sqs, settings.approval_queue_url or ""),
        Destination.PAYOUTS: QueueSender(sqs, settings.payout_queue_url or ""),
    }


def _relay(
    settings: Settings, pool: Pool, senders: Mapping[Destination, Sender], metrics: Metrics, tracing: Tracing
) -> Relay:
    options = RelayOptions(
        batch=settings.relay_batch,
        lease_s=settings.relay_lease_s,
        busy_s=settings.relay_busy_s,
        idle_s=settings.relay_idle_s,
        backoff_max_s=settings.relay_backoff_max_s,
    )
    return Relay(pool, senders, options, metrics, tracing)


def _sweeper(settings: Settings, pool: Pool, send: Sender, metrics: Metrics, stop: threading.Event) -> Sweeper:
    patience = Patience(
        again_after=timedelta(seconds=settings.sweep_again_s),
        stuck_after=timedelta(seconds=settings.stuck_after_s),
        pauses=tuple(timedelta(seconds=pause) for pause in settings.check_after_s),
        unregistered=settings.pays_unregistered,
    )
    options = SweepOptions(patience, settings.sweep_every_s, settings.sweep_batch)
    return Sweeper(pool, send, options, metrics, stop)


def _housekeeper(settings: Settings, pool: Pool, metrics: Metrics, stop: threading.Event) -> Housekeeper:
    options = PruneOptions(
        keep_inbox=timedelta(days=settings.inbox_retention_days),
        keep_outbox=timedelta(days=settings.outbox_retention_days),
        every_s=settings.prune_every_s,
        batch=settings.prune_batch,
    )
    return Housekeeper(pool, options, metrics, stop)


def relay_liveness(relay: Relay, threads: Sequence[threading.Thread]) -> Callable[[], Mapping[str, Any]]:
    """Return the check behind a relay's `/health`: its threads live, and it has begun a turn not long ago."""
    living = thread_liveness(threads)

    def check() -> Mapping[str, Any]:
        living()
        age_s = clock.monotonic() - relay.last_turn
        if age_s > RELAY_STUCK_S:
            raise NotReadyError("relay stuck")
        return {"lastTurnAgeSeconds": round(age_s, 1)}

    return check


def run_status(settings: Settings) -> int:
    """Run role status until a signal; return the exit code."""
    settings.require(*TOKEN_SETTINGS)
    metrics = _metrics(settings, Role.STATUS)
    _log_as(Role.STATUS, settings, metrics)
    skew = timedelta(seconds=settings.token_skew_s)
    source = database_source(settings, metrics)
    with stop_signal() as stop, _watched_pool(settings, Role.STATUS, metrics, source) as pool:
        verifier = make_verifier(settings, key_counter(metrics))
        limit = settings.denials_per_minute
        views = status.routes(pool, verifier, skew, limit, flawed=flaw_counter(metrics))
        if settings.status_page == "on":
            from workers import page  # noqa: PLC0415 - templates: no other role or command has any

            views += page.routes(pool, settings.status_refresh_s)
        app = application(metrics.registry, dict, DatabaseReadiness(pool), views, observed=request_counter(metrics))
        server = Server(app, settings.host, settings.status_port)
        heart = _heart(settings, Role.STATUS, pool)
        heart.checks = (lambda: _alive(server),)
        with _serving(server) as url:
            heart.start()
            _log.info("status started", url=url)
            healthy = _watch(stop, lambda: _alive(server))
            heart.stop(well=healthy)
    return 0 if healthy else 1


def run_monitor(settings: Settings) -> int:
    """Run role monitor until a signal; return the exit code, 1 when one of its threads has died."""
    settings.require("event_queue_url", "command_queue_url", "payout_queue_url", "approval_queue_url")
    metrics = _metrics(settings, Role.MONITOR)
    _log_as(Role.MONITOR, settings, metrics)
    source = database_source(settings, metrics)
    with stop_signal() as stop, _watched_pool(settings, Role.MONITOR, metrics, source, size_max=5) as pool:
        watching = _monitor(settings, pool, metrics, stop)
        heart = _heart(settings, Role.MONITOR, pool)
        alive = thread_liveness([*watching.threads, heart.thread])
        heart.checks = (alive, watching.check)
        app = application(metrics.registry, alive, DatabaseReadiness(pool), observed=request_counter(metrics))
        with _serving(Server(app, settings.host, settings.health_port)) as url:
            watching.start()
            heart.start()
            _log.info("monitor started", url=url)
            healthy = _watch(stop, alive)
            stop.set()
            heart.stop(well=healthy)
            watching.join()
    _log.info("monitor stopped", healthy=healthy)
    return 0 if healthy else 1


def _monitor(settings: Settings, pool: Pool, metrics: Metrics, stop: threading.Event) -> Monitor:
    sqs, cloudwatch, board = sqs_client(settings, connections=2), cloudwatch_client(), Board()
    metrics.count_requests(sqs)
    metrics.count_requests(cloudwatch)
    intervals = Intervals(
        tables_s=settings.monitor_every_s,
        queues_s=settings.queue_look_every_s,
        ages_s=settings.queue_age_every_s,
        counts_s=settings.count_every_s,
        invariants_s=settings.invariants_every_s,
        chains_s=settings.audit_verify_every_s,
        keep_s=settings.snapshot_keep_s,
    )
    return Monitor(
        QueueLook(sqs, _watched_queues(settings, sqs), metrics, board),
        TableLook(pool, metrics, board, unregistered=settings.pays_unregistered),
        Checks(pool, metrics, board),
        intervals,
        cloudwatch,
        stop,
    )


def _watched_queues(settings: Settings, client: "SQSClient") -> list[WatchedQueue]:
    urls = {
        Queue.EVENTS: settings.event_queue_url,
        Queue.COMMANDS: settings.command_queue_url,
        Queue.PAYOUTS: settings.payout_queue_url,
    }
    found = [WatchedQueue(catalogue.APPROVALS_QUEUE, catalogue.MAIN, settings.approval_queue_url or "")]
    for source in (inbound_queue(client, queue, url) for queue, url in urls.items() if url):
        found.append(WatchedQueue(source.queue, catalogue.MAIN, source.url))
        found.append(WatchedQueue(source.queue, catalogue.DEAD_LETTERS, source.dead_letter_url))
    return found


def thread_liveness(threads: Sequence[threading.Thread]) -> Callable[[], Mapping[str, Any]]:
    """Return the check behind a role's `/health` that needs its threads alive and nothing else."""

    def check() -> Mapping[str, Any]:
        if dead := [thread.name for thread in threads if not thread.is_alive()]:
            raise NotReadyError(f"dead threads: {', '.join(dead)}")
        return {"threads": len(threads)}

    return check


def _alive(server: Server) -> Mapping[str, Any]:
    if not server.alive():
        raise NotReadyError("dead threads: http")
    return {}


def run_migrate(settings: Settings) -> tuple[str | None, str]:
    """Bring the database to this release's schema; return the revision before and after."""
    from store import migrate  # noqa: PLC0415 - Alembic and SQLAlchemy: a third of the start of every command that does without

    return migrate.upgrade(database_conninfo(settings))
