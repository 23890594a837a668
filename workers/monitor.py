"""Role monitor: looks at queues and tables at intervals, shows what it finds as metrics, and keeps it for the page.

One process is enough; two show the same, so that rules and panels take `max by`, never `sum`. What it could not find
out it leaves as it was found last: each figure has a time beside it that tells its age.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from contracts import chain
from contracts.fleet import Depth, Snapshot, Waiting
from contracts.payment import PayerType
from store import chains, fleet, gauges, invariants, outbox
from store.db import Pool, StoreFault, Transient
from workers import catalogue, clock
from workers.catalogue import PROVIDERS
from workers.clock import jittered
from workers.logs import logger
from workers.metrics import Metrics

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_sqs.client import SQSClient

#: By which share an interval is made longer or shorter.
JITTER = 0.05
#: How long a stop waits for a look that is under way, in seconds.
STOP_S = 5.0
#: A process that has not been heard of for so long is forgotten.
FORGET_AFTER = timedelta(hours=1)
#: How often old snapshots and heartbeats are deleted, in seconds.
PRUNE_EVERY_S = 300.0
#: How far back CloudWatch is asked: it is minutes behind.
CLOUDWATCH_BACK = timedelta(minutes=10)
#: At most so many broken chains are named in the log; `payments audit verify` names all.
NAMED_MAX = 10
NOTHING = Waiting(count=0, oldest_age_s=0.0)
_ATTRIBUTES: Any = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}
_AWS_ERRORS = (BotoCoreError, ClientError)
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class WatchedQueue:
    """A queue to look at.

    Attributes:
        queue: its name in metrics and on the page; a dead-letter queue has that of the queue that it serves.
        kind: `main` or `dlq`.
        url: where it is.
    """

    queue: str
    kind: str
    url: str

    @property
    def name(self) -> str:
        """Its own name, by which CloudWatch knows it."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(slots=True)
class Board:
    """What was found last; safe to share between threads."""

    _found: Snapshot = field(default_factory=Snapshot)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, **found: Any) -> None:
        """Take note of what was found."""
        with self._lock:
            self._found = self._found.model_copy(update=found)

    def look(self) -> Snapshot:
        """Return what is known now."""
        with self._lock:
            return self._found


@dataclass(slots=True)
class Duty:
    """Something that is done again and again.

    Attributes:
        name: for logs.
        every_s: from the beginning of one turn to that of the next, in seconds.
        do: one turn; what it raises is logged, and it is done again.
        due_at: when the next turn begins, by a clock that never goes back.
    """

    name: str
    every_s: float
    do: Callable[[], object]
    due_at: float = float("-inf")


class Watch:
    """A thread that does its duties in turn, each at its own interval."""

    def __init__(self, name: str, duties: Sequence[Duty], stop: threading.Event) -> None:
        self._duties = duties
        self._stop = stop
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def run_due(self) -> float:
        """Do what is due; return in how many seconds something is next."""
        for duty in self._duties:
            if not self._stop.is_set() and clock.monotonic() >= duty.due_at:
                duty.due_at = clock.monotonic() + jittered(duty.every_s, JITTER)
                self._do(duty)
        return max(0.0, min(duty.due_at for duty in self._duties) - clock.monotonic())

    def _do(self, duty: Duty) -> None:
        try:
            duty.do()
        except Exception as trouble:  # noqa: BLE001 - whatever it is: the others go on, and its figure grows old in sight
            text = str(trouble) if isinstance(trouble, Transient | StoreFault) else None
            _log.warning("look failed", duty=duty.name, error=type(trouble).__name__, detail=text)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(self.run_due())


class QueueLook:
    """Asks Amazon SQS for the depth of every queue, and CloudWatch for the age of the oldest message."""

    def __init__(self, client: "SQSClient", queues: Sequence[WatchedQueue], metrics: Metrics, board: Board) -> None:
        self._client = client
        self._queues = queues
        self._metrics = metrics
        self._board = board

    def depths(self) -> None:
        """Look at every queue; one that does not answer keeps its last figure, whose time grows old."""
        found: dict[str, dict[str, Depth]] = {queue: dict(kinds) for queue, kinds in self._board.look().queues.items()}
        for watched in self._queues:
            try:
                depth = self._depth(watched)
            except _AWS_ERRORS as error:
                _log.warning("queue not looked at", queue=watched.name, error=type(error).__name__)
                continue
            found.setdefault(watched.queue, {})[watched.kind] = depth
            for state, count in depth.model_dump().items():
                self._metrics.set(catalogue.QUEUE_MESSAGES, count, watched.queue, watched.kind, state)
            self._metrics.set(catalogue.QUEUE_LAST_SUCCESS, clock.now().timestamp(), watched.queue, watched.kind)
        self._board.put(queues=found)

    def _depth(self, watched: WatchedQueue) -> Depth:
        answer = self._client.get_queue_attributes(QueueUrl=watched.url, AttributeNames=list(_ATTRIBUTES.values()))
        told = answer["Attributes"]
        return Depth(**{state: int(told.get(name, 0)) for state, name in _ATTRIBUTES.items()})

    def ages(self, cloudwatch: "CloudWatchClient") -> None:
        """Ask CloudWatch; what it does not say stays unsaid."""
        queries: Any = [
            {
                "Id": f"q{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/SQS",
                        "MetricName": "ApproximateAgeOfOldestMessage",
                        "Dimensions": [{"Name": "QueueName", "Value": watched.name}],
                    },
                    "Period": 60,
                    "Stat": "Maximum",
                },
            }
            for number, watched in enumerate(self._queues)
        ]
        now = clock.now()
        answer = cloudwatch.get_metric_data(
            MetricDataQueries=queries, StartTime=now - CLOUDWATCH_BACK, EndTime=now, ScanBy="TimestampDescending"
        )
        told = {result["Id"]: result.get("Values", []) for result in answer.get("MetricDataResults", [])}
        for number, watched in enumerate(self._queues):
            if values := told.get(f"q{number}"):
                self._metrics.set(catalogue.QUEUE_AGE, values[0], watched.queue, watched.kind)
            else:  # an idle queue has no metrics after hours: what it had would never grow younger
                self._metrics.clear(catalogue.QUEUE_AGE, watched.queue, watched.kind)


class TableLook:
    """Asks the database what waits, what failed, and what nobody knows."""

    def __init__(self, pool: Pool, metrics: Metrics, board: Board) -> None:
        self._pool = pool
        self._metrics = metrics
        self._board = board

    def waiting(self) -> None:
        """Look at what waits, and keep a snapshot of all that is known."""
        self._board.put(
            pending=self._shown(gauges.pending(self._pool), PayerType, catalogue.PENDING, catalogue.PENDING_AGE),
            unknown_payouts=self._shown(
                gauges.unknown_attempts(self._pool),
                PROVIDERS,
                catalogue.UNKNOWN_ATTEMPTS,
                catalogue.UNKNOWN_ATTEMPTS_AGE,
            ),
            outbox=self._outbox(),
            message_failures=gauges.message_failures(self._pool),
        )
        fleet.keep(self._pool, self._board.look())

    def _shown(
        self,
        found: Mapping[str, Waiting],
        names: Sequence[str] | type[PayerType],
        count: catalogue.Metric,
        age: catalogue.Metric,
    ) -> Mapping[str, Waiting]:
        """Show one gauge of a count and one of an age for each name; what is absent in the answer does not wait."""
        whole = {str(name): found.get(str(name), NOTHING) for name in names}
        for name, waiting in whole.items():
            self._metrics.set(count, waiting.count, name)
            self._metrics.set(age, waiting.oldest_age_s, name)
        return whole

    def _outbox(self) -> Waiting:
        backlog = outbox.backlog(self._pool)
        self._metrics.set(catalogue.OUTBOX_PENDING, backlog.pending)
        self._metrics.set(catalogue.OUTBOX_AGE, backlog.oldest_age_s)
        return Waiting(count=backlog.pending, oldest_age_s=backlog.oldest_age_s)

    def counts(self) -> None:
        """Count all payments, for the page alone."""
        found = gauges.counts(self._pool)
        self._board.put(payments=found.payments, failures=found.failures, counted_at=found.at)

    def prune(self, keep: timedelta) -> None:
        """Delete old snapshots, and processes that are long gone."""
        self._metrics.inc(catalogue.PRUNED, "fleet_snapshots", by=fleet.prune(self._pool, keep))
        self._metrics.inc(catalogue.PRUNED, "heartbeats", by=fleet.forget(self._pool, FORGET_AFTER))


class Checks:
    """What must hold of all rows, checked in full; minutes on large tables, so in a thread of its own."""

    def __init__(self, pool: Pool, metrics: Metrics, board: Board) -> None:
        self._pool = pool
        self._metrics = metrics
        self._board = board

    def invariants(self) -> None:
        """Count what breaks the invariants; each breach is an error in the log too."""
        found = invariants.check(self._pool)
        for invariant, broken in found.broken.items():
            self._metrics.set(catalogue.VIOLATIONS, broken, invariant)
            if broken:
                _log.error("invariant violated", invariant=invariant, count=broken)
        self._metrics.set(catalogue.INVARIANTS_CHECKED, found.at.timestamp())
        self._board.put(
            violations={str(name): broken for name, broken in found.broken.items() if broken}, checked_at=found.at
        )

    def recall(self) -> datetime | None:
        """Show the last verification of the audit chains, whoever did it; return when that was."""
        last = gauges.last_verification(self._pool)
        if last is None:
            return None
        self._show(last.broken, last.verified_at)
        return last.verified_at

    def chains(self) -> None:
        """Verify every audit chain, and keep that it was done."""
        payments = links = broken = 0
        with chains.snapshot(self._pool) as found:
            for each in found:
                payments += each.payment is not None
                links += len(each.links)
                breach = chain.verify(each)
                if breach is None:
                    continue
                broken += 1
                if broken <= NAMED_MAX:
                    _log.error(
                        "audit chain broken", payment_id=str(breach.payment_id), seq=breach.seq, flaw=breach.flaw
                    )
        at = gauges.keep_verification(self._pool, payments=payments, links=links, broken=broken)
        self._show(broken, at)
        _log.info("audit chains verified", payments=payments, links=links, broken=broken)

    def _show(self, broken: int, at: datetime) -> None:
        self._metrics.set(catalogue.BROKEN_LINKS, broken)
        self._metrics.set(catalogue.CHAIN_VERIFIED, at.timestamp())
        self._board.put(broken_chains=broken, verified_at=at)


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often the monitor looks, and how long it keeps what it saw; in seconds."""

    tables_s: float = 5
    queues_s: float = 15
    ages_s: float = 60
    counts_s: float = 60
    invariants_s: float = 3_600
    chains_s: float = 86_400
    keep_s: float = 7_200


class Monitor:
    """Three threads: a queue that hangs keeps no table from being looked at, and a long check neither."""

    def __init__(
        self,
        queues: QueueLook,
        tables: TableLook,
        checks: Checks,
        intervals: Intervals,
        cloudwatch: "CloudWatchClient",
        stop: threading.Event,
    ) -> None:
        self._checks = checks
        self._verify = Duty("audit_chains", intervals.chains_s, checks.chains)
        keep = timedelta(seconds=intervals.keep_s)
        self._watches = [
            Watch(
                "queue-watch",
                [
                    Duty("queue_depths", intervals.queues_s, queues.depths),
                    Duty("queue_ages", intervals.ages_s, lambda: queues.ages(cloudwatch)),
                ],
                stop,
            ),
            Watch(
                "table-watch",
                [
                    Duty("counts", intervals.counts_s, tables.counts),
                    Duty("waiting", intervals.tables_s, tables.waiting),
                    Duty("prune", PRUNE_EVERY_S, lambda: tables.prune(keep)),
                ],
                stop,
            ),
            Watch("check-watch", [Duty("invariants", intervals.invariants_s, checks.invariants), self._verify], stop),
        ]

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads that should be alive."""
        return [watch.thread for watch in self._watches]

    def start(self) -> None:
        """Start looking. What was verified not long ago is not verified again only since this process is new."""
        try:
            last = self._checks.recall()
        except (Transient, StoreFault) as trouble:
            _log.warning("last verification not known", error=type(trouble).__name__)
            last = None
        if last is not None:
            age_s = max(0.0, (clock.now() - last).total_seconds())
            self._verify.due_at = clock.monotonic() + max(0.0, self._verify.every_s - age_s)
        for watch in self._watches:
            watch.thread.start()

    def join(self) -> None:
        """Wait, after the stop event, for what is under way; a check that takes minutes is left to the database."""
        for thread in self.threads:
            thread.join(STOP_S)
