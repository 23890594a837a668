"""Logs and metrics: one JSON line per message without its body, metric labels from closed sets only."""

import logging
import sys
from collections.abc import Mapping
from itertools import product
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from contracts.envelope import DELIVERIES, Queue
from contracts.outbound import Destination
from contracts.outcome import Outcome

#: The label of a message whose kind could not be read.
NO_KIND = "none"
#: From what is done within a poll to what has waited for hours (operations reference, §3).
CRITICAL_TIME_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 14400)
PROCESSING_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

#: What a queue says to an entry of a batch: done, not ours any more, or not taken however often it was asked.
SETTLE_RESULTS = ("deleted", "returned", "refused", "given_up")
#: What the roles ask of AWS while they work.
AWS_OPERATIONS = (
    "ReceiveMessage",
    "DeleteMessageBatch",
    "ChangeMessageVisibilityBatch",
    "SendMessage",
    "SendMessageBatch",
    "PutEvents",
)

Logger = structlog.stdlib.BoundLogger


def quiet_driver() -> None:
    """Keep the driver's own warnings out of every output: they quote connection strings, passwords among them.

    Its pipeline also tells of each lost race. What matters is told by us: by class, sqlstate and constraint.
    """
    for name in ("psycopg", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.ERROR)


def configure_logging(role: str, version: str, environment: str, level: str) -> None:
    """Send every log line of this process, libraries' too, to standard error as JSON.

    Args:
        role: the process's part in the fleet.
        version: the release.
        environment: where it runs, such as `production`.
        level: the least severe level that is written.
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _Static({"service": "roadcall-payments", "role": role, "version": version, "env": environment}),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    quiet_driver()
    for chatty in ("botocore", "boto3", "urllib3", "dramatiq", "uvicorn", "alembic"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def logger(name: str) -> Logger:
    """Return a logger that writes events with keyword data."""
    found: Logger = structlog.get_logger(name)
    return found


class _Static:
    """Adds the same fields to every line."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    def __call__(self, _logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        return {**event, **self._fields}


class Metrics:
    """The process's metrics on a registry of its own; every label set exists from the start, at zero."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count_messages()
        self._count_requests()
        self._from_zero()

    def _count_messages(self) -> None:
        self.processed = Counter(
            "payments_messages_processed_total",
            "Messages handled, by how they ended.",
            ["queue", "message_type", "outcome"],
            registry=self.registry,
        )
        self.critical_time = Histogram(
            "payments_message_critical_time_seconds",
            "From the first sending of a message to the end of its handling.",
            ["queue", "message_type", "outcome"],
            buckets=CRITICAL_TIME_BUCKETS,
            registry=self.registry,
        )
        self.processing = Histogram(
            "payments_message_processing_seconds",
            "Time in the handler.",
            ["queue", "message_type"],
            buckets=PROCESSING_BUCKETS,
            registry=self.registry,
        )
        self.leases = Counter(
            "payments_visibility_extensions_total",
            "Leases renewed and leases lost.",
            ["result"],
            registry=self.registry,
        )
        self.received = Counter(
            "payments_messages_received_total",
            "Messages received, repeated receives included.",
            ["queue"],
            registry=self.registry,
        )
        self.settled = Counter(
            "payments_messages_settled_total",
            "Entries of batch deletes and back-offs, by what the queue said to each.",
            ["queue", "result"],
            registry=self.registry,
        )

    def _count_requests(self) -> None:
        self.breaker_open = Gauge(
            "payments_breaker_open",
            "1 while a dependency is away and nothing that leans on it is received.",
            ["dependency"],
            registry=self.registry,
        )
        self.aws_requests = Counter(
            "payments_aws_requests_total",
            "Requests sent to AWS, repetitions included: what is paid for.",
            ["operation"],
            registry=self.registry,
        )
        self.published = Counter(
            "payments_events_published_total",
            "Outbox rows by what became of sending them.",
            ["destination", "result"],
            registry=self.registry,
        )
        self.pruned = Counter(
            "payments_pruned_rows_total",
            "Rows deleted since they were kept for long enough.",
            ["table"],
            registry=self.registry,
        )
        self.swept = Counter(
            "payments_swept_orders_total",
            "Orders that the sweep posted, by what became of sending them.",
            ["message_type", "result"],
            registry=self.registry,
        )

    def _from_zero(self) -> None:
        # `increase()` is 0 for a counter that is born at 1.
        places = {(queue, kind) for kind, found in DELIVERIES.items() for queue, _ in found}
        for queue, kind in places | {(queue, NO_KIND) for queue in Queue}:
            for outcome in Outcome:
                self.processed.labels(queue, kind, outcome)
        for result in ("extended", "lost"):
            self.leases.labels(result)
        for queue in Queue:
            self.received.labels(queue)
            for result in SETTLE_RESULTS:
                self.settled.labels(queue, result)
        for operation in AWS_OPERATIONS:
            self.aws_requests.labels(operation)
        for destination, result in product(Destination, ("sent", "failed", "rejected")):
            self.published.labels(destination, result)
        for table in ("message_inbox", "outbox"):
            self.pruned.labels(table)
        for message_type, result in product(("ReconcileAttempt", "ProcessPayment"), ("sent", "failed")):
            self.swept.labels(message_type, result)

    def count_requests(self, client: Any) -> None:
        """Count every request of an AWS client, its own repetitions too, by operation."""

        def sent(event_name: str, **_: Any) -> None:
            self.aws_requests.labels(event_name.rpartition(".")[2]).inc()

        client.meta.events.register(f"before-send.{client.meta.service_model.service_id.hyphenize()}", sent)
