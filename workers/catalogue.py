"""The metric catalogue: every metric that a role exports, with its closed set of series. Nothing else is exported.

Alert rules, dashboards, the console and their tests are made from this one list. No label holds an id: what belongs to
one payment stands in the log and in `payments show`. Every series is there from the start, at zero: to Prometheus the
`increase()` of a counter that is born at 1 is 0.

The names and the buckets are those of Prometheus's "Metric and label naming": base units, a unit as suffix, `_total`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from contracts.envelope import DELIVERIES, Queue
from contracts.lifecycle import INITIAL, MOVES
from contracts.money import EXPONENTS
from contracts.outbound import OUTBOUND, Destination, OutboundMessage
from contracts.outcome import Outcome
from contracts.payment import ActorType, PayerType, Source
from contracts.proof import ProofFlaw
from contracts.refusals import DENIALS, Refusal
from store.books import STANDSTILLS
from store.db import ConnectionTrouble
from store.invariants import Invariant

PREFIX = "payments_"
#: What a label says where nothing is known of it.
NONE = "none"
#: What a label says where something is known and stands in no list.
OTHER = "other"


class Kind(StrEnum):
    """The types of Prometheus that are used."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Unit(StrEnum):
    """What a value counts or measures."""

    SECONDS = "seconds"
    TIMESTAMP = "timestamp"  # seconds since 1970
    MINOR_UNITS = "minor_units"
    RATIO = "ratio"
    COUNT = "count"


class Role(StrEnum):
    """The process roles that serve metrics."""

    WORKER = "worker"
    RELAY = "relay"
    MONITOR = "monitor"
    STATUS = "status"


Series = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: as Prometheus sees it.
        kind: its type.
        help: what it says, for people.
        unit: what its value is in.
        roles: which roles export it.
        labels: the names of its labels.
        series: every combination of label values that there is; one empty one where there are no labels.
        buckets: a histogram's upper bounds, but for infinity.
        known: whether zero is true before anything is known; a gauge of which it is not is absent until it is set.
    """

    name: str
    kind: Kind
    help: str
    unit: Unit
    roles: frozenset[Role]
    labels: tuple[str, ...] = ()
    series: Series = ((),)
    buckets: tuple[float, ...] = ()
    known: bool = True

    @property
    def samples(self) -> tuple[str, ...]:
        """The names under which its values can be asked for."""
        if self.kind is Kind.HISTOGRAM:
            return tuple(f"{self.name}{suffix}" for suffix in ("_bucket", "_sum", "_count"))
        return (self.name,)


def _each(*values: Iterable[str]) -> Series:
    """Return every combination of label values."""
    return tuple(product(*(tuple(map(str, each)) for each in values)))


_WORKER, _RELAY = frozenset({Role.WORKER}), frozenset({Role.RELAY})
_MONITOR, _STATUS = frozenset({Role.MONITOR}), frozenset({Role.STATUS})
_EVERY = frozenset(Role)

# -- closed sets

#: The label of a message whose kind could not be read.
NO_KIND = NONE
#: How a message ends whose kind could not be read.
_UNREAD = (Outcome.INVALID, Outcome.RETRY, Outcome.FAULT)
_READ_PLACES: Series = tuple((str(queue), kind) for kind, found in DELIVERIES.items() for queue, _ in sorted(found))
PLACES: Series = _READ_PLACES + _each(Queue, [NO_KIND])
ENDS: Series = tuple((*place, str(outcome)) for place in _READ_PLACES for outcome in Outcome) + _each(
    Queue, [NO_KIND], _UNREAD
)
#: The queue that the back office reads; nobody of ours receives from it.
APPROVALS_QUEUE = "payment-approvals"
MAIN, DEAD_LETTERS = "main", "dlq"
#: Every queue that the monitor looks at; the label `queue` of a dead-letter queue is that of the queue it serves.
WATCHED_QUEUES: Series = (*_each(Queue, [MAIN, DEAD_LETTERS]), (APPROVALS_QUEUE, MAIN))
QUEUE_STATES = ("visible", "in_flight", "delayed")
#: What the monitor looks for in the tables, each by itself.
LOOKS = ("pending", "unknown_attempts", "payouts_waiting", "outbox", "message_failures", "counts")
RETRY_REASONS = ("not_yet", "transient", "dependency_away", "keys_away", "provider_busy", "fault")
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
    "GetQueueAttributes",
    "GetMetricData",
    "GetSecretValue",
    OTHER,
)
#: The classes of sqlstate behind what is tried again (PostgreSQL, "Error Codes"), and no state at all.
SQLSTATE_CLASSES = ("08", "23", "25", "28", "40", "53", "55", "57", NONE)
TRANSACTIONS = (*DELIVERIES, OTHER)
_COMMANDS = tuple(kind for kind, places in DELIVERIES.items() if any(queue is Queue.COMMANDS for queue, _ in places))
_DECISIONS: Series = (
    ("accepted", NONE),
    *_each(["denied"], sorted(DENIALS - {Refusal.STALE})),
    ("stale", str(Refusal.STALE)),
    *_each(["refused"], [code for code in Refusal if code not in DENIALS]),
)
#: Where a token is shown.
SURFACES = ("queue", "http")
#: What the tripwire takes out of a log line.
DETECTORS = ("card_number", "email", "phone", "token", "key")
_MOVED = {(str(before), str(after)) for (before, _), after in MOVES.items()}
_TRANSITIONS: Series = (
    *_each([NONE], [INITIAL], ActorType),
    *((before, after, str(actor)) for before, after in sorted(_MOVED) for actor in ActorType),
)
ROUTES = (
    "/",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/payments/pending",
    "/payments/flagged",
    "/payments/{payment_id}",
    "/payments/{payment_id}/audit",
    NONE,
)
METHODS = ("GET", "HEAD", OTHER)
STATUSES = ("200", "304", "400", "401", "403", "404", "405", "500", "503", OTHER)
PROVIDERS = ("sandbox", "stripe")


def kind_of(message: type[OutboundMessage]) -> str:
    """Return the name on the wire of something that leaves by the outbox."""
    field = message.model_fields.get("type")
    return str(field.default) if field else message.__name__


#: What leaves by the outbox: where to, and as what.
PUBLISHED_KINDS = frozenset((str(message.destination), kind_of(message)) for message in OUTBOUND)
_PUBLICATIONS: Series = tuple(
    (destination, kind, result)
    for destination, kind in (*sorted(PUBLISHED_KINDS), *((str(each), OTHER) for each in Destination))
    for result in ("sent", "failed", "rejected")
)

# -- buckets

#: From what is done within a poll to what has waited for hours; 30 and 60 are edges of service level objectives.
TIME_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 14400)
PROCESSING_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
RECEIVE_BUCKETS = (1, 2, 3, 5, 10)
#: From a minute to a week.
APPROVAL_BUCKETS = (60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800)
#: 0.8 must be there: the alarm of the specification counts what is above it.
FRAUD_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)
TRANSACTION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 1, 2.5, 5)


def _counter(
    name: str, text: str, roles: frozenset[Role], labels: str = "", series: Series = ((),), unit: Unit = Unit.COUNT
) -> Metric:
    return Metric(f"{PREFIX}{name}", Kind.COUNTER, text, unit, roles, tuple(labels.split()), series)


def _gauge(
    name: str,
    text: str,
    roles: frozenset[Role],
    labels: str = "",
    series: Series = ((),),
    unit: Unit = Unit.COUNT,
    *,
    known: bool = True,
) -> Metric:
    return Metric(f"{PREFIX}{name}", Kind.GAUGE, text, unit, roles, tuple(labels.split()), series, known=known)


def _histogram(
    name: str,
    text: str,
    roles: frozenset[Role],
    buckets: tuple[float, ...],
    labels: str = "",
    series: Series = ((),),
    unit: Unit = Unit.SECONDS,
) -> Metric:
    return Metric(f"{PREFIX}{name}", Kind.HISTOGRAM, text, unit, roles, tuple(labels.split()), series, buckets)


# -- payments

CREATED = _counter(
    "created_total",
    "Payments created.",
    _WORKER,
    "source payer_type currency",
    _each(Source, PayerType, EXPONENTS),
)
CREATED_AMOUNT = _counter(
    "created_amount_minor_units_total",
    "Sum of the amounts of payments created, in minor units of the currency.",
    _WORKER,
    "currency",
    _each(EXPONENTS),
    Unit.MINOR_UNITS,
)
TRANSITIONS = _counter(
    "transitions_total",
    "Changes of a payment's status; its creation comes from `none`.",
    _WORKER,
    "from_status to_status actor_kind",
    _TRANSITIONS,
)
APPROVAL_DURATION = _histogram(
    "approval_duration_seconds",
    "From a payment's creation to the decision on it.",
    _WORKER,
    APPROVAL_BUCKETS,
    "payer_type decision",
    _each(PayerType, ("approved", "rejected", "cancelled")),
)
PENDING = _gauge(
    "pending_approval",
    "Payments that wait for approval.",
    _MONITOR,
    "payer_type",
    _each(PayerType),
    known=False,
)
PENDING_AGE = _gauge(
    "pending_approval_oldest_age_seconds",
    "Age of the payment that has waited longest for approval; 0 where none waits.",
    _MONITOR,
    "payer_type",
    _each(PayerType),
    Unit.SECONDS,
    known=False,
)
FRAUD_SCORE = _histogram(
    "fraud_score",
    "Fraud scores of payments, by the model that gave them. Empty until scoring is built.",
    _WORKER,
    FRAUD_BUCKETS,
    "model",
    (),
    Unit.RATIO,
)

# -- queues

QUEUE_MESSAGES = _gauge(
    "queue_messages",
    "Approximate number of messages in a queue or in its dead-letter queue.",
    _MONITOR,
    "queue kind state",
    tuple((*place, state) for place in WATCHED_QUEUES for state in QUEUE_STATES),
    known=False,
)
QUEUE_AGE = _gauge(
    "queue_oldest_message_age_seconds",
    "Age of the oldest message, by CloudWatch; absent where CloudWatch does not say.",
    _MONITOR,
    "queue kind",
    WATCHED_QUEUES,
    Unit.SECONDS,
    known=False,
)
QUEUE_LAST_SUCCESS = _gauge(
    "queue_last_success_timestamp_seconds",
    "When the queue was last asked for its depth with success.",
    _MONITOR,
    "queue kind",
    WATCHED_QUEUES,
    Unit.TIMESTAMP,
    known=False,
)

QUEUE_AGE_LAST_SUCCESS = _gauge(
    "queue_age_last_success_timestamp_seconds",
    "When CloudWatch last answered with the ages of the oldest messages.",
    _MONITOR,
    unit=Unit.TIMESTAMP,
    known=False,
)
TABLES_LAST_SUCCESS = _gauge(
    "tables_last_success_timestamp_seconds",
    "When the tables were last looked at with success, by what was looked for.",
    _MONITOR,
    "look",
    _each(LOOKS),
    Unit.TIMESTAMP,
    known=False,
)

# -- messages

RECEIVED = _counter(
    "messages_received_total", "Messages received, repeated receives included.", _WORKER, "queue", _each(Queue)
)
PROCESSED = _counter(
    "messages_processed_total", "Messages handled, by how they ended.", _WORKER, "queue message_type outcome", ENDS
)
RETRIES = _counter(
    "message_retries_total",
    "Messages left in their queue to come again, by why.",
    _WORKER,
    "queue message_type reason",
    tuple((*place, reason) for place in PLACES for reason in RETRY_REASONS),
)
WAIT = _histogram(
    "message_wait_seconds",
    "From the first sending of a message to the beginning of its handling.",
    _WORKER,
    TIME_BUCKETS,
    "queue message_type outcome",
    ENDS,
)
CRITICAL_TIME = _histogram(
    "message_critical_time_seconds",
    "From the first sending of a message to the end of its handling.",
    _WORKER,
    TIME_BUCKETS,
    "queue message_type outcome",
    ENDS,
)
PROCESSING = _histogram(
    "message_processing_seconds",
    "Time in the handler; exemplars carry the trace.",
    _WORKER,
    PROCESSING_BUCKETS,
    "queue message_type outcome",
    ENDS,
)
RECEIVE_COUNT = _histogram(
    "message_receive_count",
    "How many times a message had been received when it was handled.",
    _WORKER,
    RECEIVE_BUCKETS,
    "queue",
    _each(Queue),
    Unit.COUNT,
)
SETTLED = _counter(
    "messages_settled_total",
    "Entries of batch deletes and back-offs, by what the queue said to each.",
    _WORKER,
    "queue result",
    _each(Queue, SETTLE_RESULTS),
)
LEASES = _counter(
    "visibility_extensions_total", "Leases renewed and leases lost.", _WORKER, "result", _each(("extended", "lost"))
)
BUSY_THREADS = _gauge("worker_busy_threads", "Threads that handle a message now.", _WORKER)
THREADS = _gauge("worker_threads", "Threads that handle messages.", _WORKER)
LAST_POLL = _gauge(
    "worker_last_poll_timestamp_seconds",
    "When the queue last answered a poller of this process.",
    _WORKER,
    "queue",
    _each(Queue),
    Unit.TIMESTAMP,
    known=False,
)
BREAKER_OPEN = _gauge(
    "breaker_open",
    "1 while a dependency is away and nothing that leans on it is received.",
    _WORKER,
    "dependency",
    _each(("database", "provider")),
)

# -- outside

AWS_REQUESTS = _counter(
    "aws_requests_total",
    "Requests sent to AWS, repetitions included: what is paid for.",
    _EVERY,
    "operation",
    _each(AWS_OPERATIONS),
)
PUBLISHED = _counter(
    "events_published_total",
    "Outbox rows by what became of sending them, each entry of a batch by itself.",
    _RELAY,
    "destination detail_type result",
    _PUBLICATIONS,
)
OUTBOX_PENDING = _gauge("outbox_pending", "Outbox rows that are due and not yet sent.", _MONITOR, known=False)
OUTBOX_AGE = _gauge(
    "outbox_oldest_age_seconds",
    "Age of the oldest outbox row that is due and not yet sent; 0 where there is none.",
    _MONITOR,
    unit=Unit.SECONDS,
    known=False,
)
OUTBOX_REJECTED = _gauge(
    "outbox_rejected",
    "Outbox rows that nobody will ever take: each is something that its receiver has not been told.",
    _MONITOR,
    known=False,
)
SWEPT = _counter(
    "swept_orders_total",
    "Orders that the sweep posted, by what became of sending them.",
    _RELAY,
    "message_type result",
    _each(("ReconcileAttempt", "ProcessPayment"), ("sent", "failed")),
)
PRUNED = _counter(
    "pruned_rows_total",
    "Rows deleted since they were kept for long enough.",
    frozenset({Role.RELAY, Role.MONITOR}),
    "table",
    _each(("message_inbox", "outbox", "fleet_snapshots", "heartbeats")),
)
UNKNOWN_ATTEMPTS = _gauge(
    "payout_attempts_unknown",
    "Payout attempts of which nobody knows yet whether money moved.",
    _MONITOR,
    "provider",
    _each(PROVIDERS),
    known=False,
)
PAYOUTS_WAITING = _gauge(
    "payouts_waiting",
    "Payments that are to be paid out and are not, by why: nothing ordered, between two attempts (no funds), stopped.",
    _MONITOR,
    "reason",
    _each(STANDSTILLS),
    known=False,
)
PAYOUTS_WAITING_AGE = _gauge(
    "payouts_waiting_oldest_age_seconds",
    "For how long the one that has waited longest has; 0 where there is none.",
    _MONITOR,
    "reason",
    _each(STANDSTILLS),
    Unit.SECONDS,
    known=False,
)
UNKNOWN_ATTEMPTS_AGE = _gauge(
    "payout_attempts_unknown_oldest_age_seconds",
    "Age of the oldest payout attempt of unknown outcome; 0 where there is none.",
    _MONITOR,
    "provider",
    _each(PROVIDERS),
    Unit.SECONDS,
    known=False,
)

# -- the database

CONNECTION_ERRORS = _counter(
    "db_connection_errors_total",
    "Connections that could not be made, or broke, by why.",
    _EVERY,
    "kind",
    _each(ConnectionTrouble),
)
POOL_SIZE = _gauge("db_pool_size", "Connections in the pool.", _EVERY)
POOL_AVAILABLE = _gauge("db_pool_available", "Connections in the pool that nobody uses.", _EVERY)
POOL_WAITING = _gauge("db_pool_waiting", "Requests that wait for a connection.", _EVERY)
POOL_WAIT = _counter(
    "db_pool_wait_seconds_total", "Time that requests have waited for a connection.", _EVERY, unit=Unit.SECONDS
)
POOL_REQUESTS = _counter("db_pool_requests_total", "Connections asked for.", _EVERY)
TRANSACTION = _histogram(
    "db_transaction_seconds",
    "Time in a transaction, the wait for a connection included, by the kind of message.",
    frozenset({Role.WORKER, Role.RELAY}),
    TRANSACTION_BUCKETS,
    "operation result",
    _each(TRANSACTIONS, ("commit", "rollback")),
)
DB_RETRIES = _counter(
    "db_retries_total",
    "Transactions that failed for now and come again, by the class of their sqlstate.",
    frozenset({Role.WORKER, Role.RELAY}),
    "operation sqlstate_class",
    _each(TRANSACTIONS, SQLSTATE_CLASSES),
)
CREDENTIALS_AGE = _gauge(
    "credentials_age_seconds",
    "Age of the database credentials that are in use; absent where they do not come from Secrets Manager.",
    _EVERY,
    unit=Unit.SECONDS,
    known=False,
)
CREDENTIALS_REFRESH = _counter(
    "credentials_refresh_total",
    "Times that the database credentials were fetched, by why and with what success.",
    _EVERY,
    "reason result",
    _each(("ttl", "auth_failure"), ("ok", "failed")),
)

# -- security

DECISIONS = _counter(
    "command_decisions_total",
    "Commands decided on, by the decision and its reason.",
    _WORKER,
    "command decision reason",
    tuple((command, *decision) for command in _COMMANDS for decision in _DECISIONS),
)
AUTH_FAILURES = _counter(
    "auth_failures_total",
    "Tokens that prove nobody, by where they were shown and why.",
    frozenset({Role.WORKER, Role.STATUS}),
    "surface reason",
    _each(SURFACES, (*ProofFlaw, "expired")),
)
JWKS_REFRESH = _counter(
    "jwks_refresh_total",
    "Times that the signing keys were fetched.",
    frozenset({Role.WORKER, Role.STATUS}),
    "result",
    _each(("ok", "failed")),
)
REDACTIONS = _counter(
    "redactions_total",
    "Texts taken out of log lines by the tripwire, by what they looked like. Each one is a bug to be mended.",
    _EVERY,
    "detector",
    _each(DETECTORS),
)

# -- what must hold

BROKEN_LINKS = _gauge(
    "audit_chain_broken_links",
    "Payments whose audit chain is broken, by the last verification of all of them.",
    _MONITOR,
    known=False,
)
CHAIN_VERIFIED = _gauge(
    "audit_chain_verified_timestamp_seconds",
    "When all audit chains were last verified.",
    _MONITOR,
    unit=Unit.TIMESTAMP,
    known=False,
)
VIOLATIONS = _gauge(
    "invariant_violations",
    "Rows that break an invariant, by the last check of all of them.",
    _MONITOR,
    "invariant",
    _each(Invariant),
    known=False,
)
INVARIANTS_CHECKED = _gauge(
    "invariants_checked_timestamp_seconds",
    "When the invariants were last checked.",
    _MONITOR,
    unit=Unit.TIMESTAMP,
    known=False,
)

# -- processes and HTTP

INFO = _gauge("info", "1; the labels say what runs.", _EVERY, "version commit role", ())
SHUTDOWNS = _counter(
    "shutdowns_total",
    "Ends of processes: `clean` ones have said so, `forced` ones have not been heard of for ten minutes.",
    _MONITOR,
    "role result",
    _each(Role, ("clean", "forced")),
)
HTTP_REQUESTS = _counter(
    "http_requests_total", "Requests answered.", _EVERY, "route method status", _each(ROUTES, METHODS, STATUSES)
)
HTTP_DURATION = _histogram(
    "http_request_duration_seconds",
    "Time from a request's arrival to the end of its answer.",
    _EVERY,
    HTTP_BUCKETS,
    "route method",
    _each(ROUTES, METHODS),
)

CATALOGUE: tuple[Metric, ...] = tuple(found for found in list(globals().values()) if isinstance(found, Metric))
BY_NAME = {metric.name: metric for metric in CATALOGUE}
