"""Role monitor: watches queues and tables, and checks invariants and audit chains."""

import threading
from typing import TYPE_CHECKING

from store.db import Pool
from workers import catalogue
from workers.catalogue import Role
from workers.connections import cloudwatch_client, database_source, sqs_client
from workers.health import DatabaseReadiness, Server, application
from workers.logs import logger
from workers.metrics import Metrics
from workers.monitor import Board, Checks, Intervals, Monitor, QueueLook, TableLook, WatchedQueue
from workers.roles.process import (
    inbound_queues,
    log_as,
    role_heart,
    role_metrics,
    serving,
    stop_signal,
    thread_liveness,
    watch,
    watched_pool,
)
from workers.settings import Settings
from workers.watching import request_counter

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

_log = logger(__name__)


def run_monitor(settings: Settings) -> int:
    """Run role monitor until a signal; return the exit code, 1 when one of its threads has died."""
    settings.require("event_queue_url", "command_queue_url", "payout_queue_url", "approval_queue_url")
    metrics = role_metrics(settings, Role.MONITOR)
    log_as(Role.MONITOR, settings, metrics)
    source = database_source(settings, metrics)
    with stop_signal() as stop, watched_pool(settings, Role.MONITOR, metrics, source, size_max=5) as pool:
        watching = _monitor(settings, pool, metrics, stop)
        heart = role_heart(settings, Role.MONITOR, pool)
        alive = thread_liveness([*watching.threads, heart.thread])
        heart.checks = (alive, watching.check)
        app = application(metrics.registry, alive, DatabaseReadiness(pool), observed=request_counter(metrics))
        with serving(Server(app, settings.host, settings.health_port)) as url:
            watching.start()
            heart.start()
            _log.info("monitor started", url=url)
            healthy = watch(stop, alive)
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
    found = [WatchedQueue(catalogue.APPROVALS_QUEUE, catalogue.MAIN, settings.approval_queue_url or "")]
    for source in inbound_queues(settings, client):
        found.append(WatchedQueue(source.queue, catalogue.MAIN, source.url))
        found.append(WatchedQueue(source.queue, catalogue.DEAD_LETTERS, source.dead_letter_url))
    return found
