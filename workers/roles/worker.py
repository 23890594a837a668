"""Role worker: receives, processes and settles."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dramatiq
from dramatiq.worker import Worker

from contracts.envelope import Queue
from contracts.provider import PayoutProvider
from store import probe
from store.db import Pool
from store.wakeup import Bell
from workers import catalogue, clock, credentials
from workers.breaker import BothThere, Breaker, State
from workers.broker import END_S, BrokerOptions, SqsBroker
from workers.catalogue import Role
from workers.connections import (
    AWS_ATTEMPTS,
    AWS_CONNECT_TIMEOUT_S,
    AWS_READ_TIMEOUT_S,
    database_source,
    secrets_client,
    settling_client,
    sqs_client,
)
from workers.consume import MessageHandler, Needs, Trust
from workers.doorbell import Ringer
from workers.health import Check, DatabaseReadiness, NotReadyError, Server, application
from workers.logs import logger
from workers.metrics import Metrics
from workers.payouts import Asker
from workers.providers import make_provider
from workers.roles.process import (
    inbound_queues,
    log_as,
    role_heart,
    role_metrics,
    role_tracing,
    serving,
    started,
    stop_signal,
    watch,
    watched_pool,
)
from workers.settings import Settings
from workers.verifiers import TOKEN_SETTINGS, make_verifier
from workers.watching import key_counter, request_counter

#: How often Dramatiq's threads look whether they shall stop, in milliseconds.
WORKER_WAKE_UP_MS = 200
#: A poller that has not asked for this many of the longest call there can be is stuck. A queue that is away is not.
STUCK_POLLS = 2
#: How long a probe of the database waits for a connection, and for its answer.
PROBE_TIMEOUT_S = 2
#: How many probes of the provider must fail in a row: single requests over the internet do.
PROVIDER_TRIES = 3
#: How much of a stop's budget is kept for settling, once the handlers have ended or their time is over.
SETTLE_SHARE = 0.2
#: How many threads a slow provider leaves to events and commands.
THREADS_KEPT = 2
_log = logger(__name__)


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
    metrics = role_metrics(settings, Role.WORKER)
    log_as(Role.WORKER, settings, metrics)
    tracing = role_tracing(Role.WORKER, settings)
    source = database_source(settings, metrics)
    with stop_signal() as stop, watched_pool(settings, Role.WORKER, metrics, source) as pool:
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
        heart = role_heart(settings, Role.WORKER, pool)
        alive = worker_liveness(worker, broker, settings, [ringer.thread, heart.thread, *breakers.threads()])
        heart.checks = (alive, breakers.check)
        ready = worker_readiness(breakers.database, DatabaseReadiness(pool))
        app = application(metrics.registry, alive, ready, observed=request_counter(metrics))
        _show_threads(metrics, broker, settings.worker_threads)
        with serving(Server(app, settings.host, settings.health_port)) as url:
            ringer.start()
            heart.start()
            breakers.start()
            worker.start()
            broker.start()
            started()
            _log.info("worker started", url=url, threads=settings.worker_threads)
            healthy = watch(stop, alive)
            clean = _drain(worker, broker, settings.stop_budget_s)
            heart.stop(well=healthy and clean)
            breakers.stop()
            ringer.stop()
            tracing.close()
    _log.info("worker stopped", clean=clean, healthy=healthy)
    return 0 if healthy else 1


def _show_threads(metrics: Metrics, broker: SqsBroker, threads: int) -> None:
    metrics.set(catalogue.THREADS, threads)
    metrics.before_scrape(lambda: metrics.set(catalogue.BUSY_THREADS, broker.busy))


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
    settling = settling_client(settings.worker_threads + 2)
    metrics.count_requests(client)
    metrics.count_requests(settling)
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
    broker = SqsBroker(client, inbound_queues(settings, client), options, metrics, breakers.database, payouts, settling)
    breakers.database.went_away = broker.release_waiting
    breakers.provider.went_away = lambda: broker.release_waiting(Queue.PAYOUTS)
    return broker


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
