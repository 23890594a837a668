"""What every role is put together from: signals, metrics, logs, a pool, a heart, and the checks of its threads."""

import gc
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from contracts.envelope import Queue
from store.db import Pool
from workers import catalogue, credentials
from workers.catalogue import Role
from workers.connections import opened_pool, release
from workers.delivery import InboundQueue, inbound_queue
from workers.health import NotReadyError, Server
from workers.heartbeat import Heart, Identity
from workers.logs import configure_logging, logger
from workers.metrics import Metrics
from workers.settings import Settings
from workers.tracing import Tracing, configure_tracing
from workers.watching import DatabaseWatcher, watch_credentials, watch_pool

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

#: How often a role's main thread looks at its own threads.
WATCH_EVERY_S = 1.0
#: After how many new objects the garbage collector looks at the young ones, and after how many such looks at others. A
#: message leaves no cycles; what a failed request leaves, a few hundred objects, is not to pile up for minutes.
COLLECT_AFTER = (5_000, 10, 10)
_log = logger(__name__)


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


def role_metrics(settings: Settings, role: Role) -> Metrics:
    """Return a role's metrics, all at 0."""
    return Metrics(role, version=release(), commit=settings.commit)


def log_as(role: Role, settings: Settings, metrics: Metrics) -> None:
    """Log as a role does; what the tripwire takes out of a line is counted."""
    redacted = lambda detector: metrics.inc(catalogue.REDACTIONS, detector)  # noqa: E731 - one expression
    configure_logging(role, release(), settings.environment, settings.log_level, redacted)


def role_tracing(role: Role, settings: Settings) -> Tracing:
    """Return a role's spans: none without the extra `tracing`."""
    return configure_tracing(role, release(), settings.environment, parent=settings.trace_parent == "parent")


@contextmanager
def watched_pool(
    settings: Settings, role: Role, metrics: Metrics, source: credentials.Source, *, size_max: int | None = None
) -> Generator[Pool]:
    """Open a role's pool, with everything about it counted."""
    watch_credentials(metrics, source)
    watcher = DatabaseWatcher(metrics, role)
    with opened_pool(settings, role, source=source, size_max=size_max, watcher=watcher) as pool:
        watch_pool(metrics, pool)
        yield pool


def role_heart(settings: Settings, role: Role, pool: Pool) -> Heart:
    """Return what tells the others that this process lives."""
    return Heart(pool, Identity(role, release()), settings.heartbeat_every_s)


@contextmanager
def serving(server: Server) -> Iterator[str]:
    """Serve HTTP for the length of a block; yields the URL."""
    url = server.start()
    try:
        yield url
    finally:
        server.stop()


def started() -> None:
    """Say that a role is put together: what is there stays, and is not gone through by each garbage collection.

    A message leaves little that only the collector can free; looking for it less often takes 6 % off its CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def watch(stop: threading.Event, alive: Callable[[], Mapping[str, Any]]) -> bool:
    """Wait for the stop signal; return False as soon as a thread has died, so that the process ends instead."""
    while not stop.wait(WATCH_EVERY_S):
        try:
            alive()
        except NotReadyError as trouble:
            _log.error("unhealthy", reason=str(trouble))
            return False
    return True


def thread_liveness(threads: Sequence[threading.Thread]) -> Callable[[], Mapping[str, Any]]:
    """Return the check behind a role's `/health` that needs its threads alive and nothing else."""

    def check() -> Mapping[str, Any]:
        if dead := [thread.name for thread in threads if not thread.is_alive()]:
            raise NotReadyError(f"dead threads: {', '.join(dead)}")
        return {"threads": len(threads)}

    return check


def inbound_queues(settings: Settings, client: "SQSClient") -> list[InboundQueue]:
    """Return the queues that messages come from, each with its dead-letter queue, as SQS describes them."""
    urls = {
        Queue.EVENTS: settings.event_queue_url,
        Queue.COMMANDS: settings.command_queue_url,
        Queue.PAYOUTS: settings.payout_queue_url,
    }
    return [inbound_queue(client, queue, url) for queue, url in urls.items() if url]
