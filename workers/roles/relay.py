"""Role relay: sends what the outbox holds, sweeps what stands still, and prunes what need not be kept."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from contracts.outbound import Destination
from store.db import Pool
from store.sweep import Patience
from store.wakeup import Ear
from workers import clock
from workers.catalogue import Role
from workers.connections import database_source, events_client, sqs_client
from workers.doorbell import nap
from workers.health import DatabaseReadiness, NotReadyError, Server, application
from workers.housekeeping import Housekeeper, PruneOptions
from workers.logs import logger
from workers.metrics import Metrics
from workers.relay import BusSender, QueueSender, Relay, RelayOptions, Sender
from workers.roles.process import (
    log_as,
    role_heart,
    role_metrics,
    role_tracing,
    serving,
    started,
    stop_signal,
    thread_liveness,
    watch,
    watched_pool,
)
from workers.settings import Settings
from workers.sweep import Sweeper, SweepOptions
from workers.tracing import Tracing
from workers.watching import request_counter

#: A turn of the relay is one request to AWS and a few statements; all of them have timeouts.
RELAY_STUCK_S = 120.0
#: How long a stop waits for such a turn; what was sent but not marked by then is sent again.
RELAY_STOP_S = 30.0
_log = logger(__name__)


def run_relay(settings: Settings) -> int:
    """Run role relay until a signal; return the exit code, 1 when one of its threads has died or is stuck."""
    settings.require("payout_queue_url", "approval_queue_url", "event_bus_name")
    metrics = role_metrics(settings, Role.RELAY)
    log_as(Role.RELAY, settings, metrics)
    tracing = role_tracing(Role.RELAY, settings)
    source = database_source(settings, metrics)
    with stop_signal() as stop, watched_pool(settings, Role.RELAY, metrics, source, size_max=3) as pool:
        senders, ear = _senders(settings, metrics), Ear(source)
        relay = _relay(settings, pool, senders, metrics, tracing)
        sending = threading.Thread(
            target=relay.run, args=(stop, lambda seconds: nap(ear, stop, seconds)), name="relay", daemon=True
        )
        housekeeper = _housekeeper(settings, pool, metrics, stop)
        sweeper = _sweeper(settings, pool, senders[Destination.PAYOUTS], metrics, stop)
        heart = role_heart(settings, Role.RELAY, pool)
        alive = relay_liveness(relay, [sending, housekeeper.thread, sweeper.thread, heart.thread])
        heart.checks = (alive,)
        app = application(metrics.registry, alive, DatabaseReadiness(pool), observed=request_counter(metrics))
        with serving(Server(app, settings.host, settings.health_port)) as url:
            sending.start()
            heart.start()
            housekeeper.start()
            sweeper.start()
            started()
            _log.info("relay started", url=url)
            healthy = watch(stop, alive)
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
    # One attempt each: a row that was not sent comes again by itself.
    sqs = sqs_client(settings, connections=settings.relay_at_once, attempts=1)
    events = events_client(connections=settings.relay_at_once, attempts=1)
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
        at_once=settings.relay_at_once,
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
