"""Role monitor: looks at queues and tables at intervals, shows what it finds as metrics, and keeps it for the page.

One process is enough; two show the same, so that rules and panels take `max by`, never `sum`. What it could not find
out it leaves as it was found last: each figure has a time beside it that tells its age.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError

from contracts import chain
from contracts.fleet import Depth, Snapshot, Waiting
from contracts.payment import PayerType
from store import books, chains, fleet, gauges, invariants, outbox
from store.books import STANDSTILLS
from store.db import Pool, StoreFault, Transient, TransientReason
from store.gauges import Verification
from workers import catalogue, clock
from workers.catalogue import PROVIDERS, QUEUE_STATES
from workers.clock import early, jittered
from workers.health import NotReadyError
from workers.logs import logger
from workers.metrics import Metrics

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_sqs.client import SQSClient

#: By which share an interval is made longer or shorter.
JITTER = 0.05
#: What has failed is tried again after so long, in seconds, where its own interval is not shorter.
RETRY_S = 60.0
#: How long a stop waits for a look that is under way, in seconds.
STOP_S = 5.0
#: A process that has not been heard of for so long is forgotten.
FORGET_AFTER = timedelta(hours=1)
#: A process that has said nothing for so long has ended, and not in good order.
GONE_AFTER = timedelta(minutes=10)
#: How often old snapshots and heartbeats are deleted, in seconds.
PRUNE_EVERY_S = 300.0
#: How far back CloudWatch is asked: it is minutes behind.
CLOUDWATCH_BACK = timedelta(minutes=10)
#: At most so many broken chains are named in the log; `payments audit verify` names all.
NAMED_MAX = 10
#: The count of all payments takes at most a twentieth of the time.
COUNT_REST = 20.0
#: How often all chains are verified while one is broken, in seconds.
BROKEN_EVERY_S = 3_600.0
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

    def note(self, look: str, at: datetime) -> None:
        """Take note of when something was looked for with success."""
        with self._lock:
            self._found = self._found.model_copy(update={"waiting_at": {**self._found.waiting_at, look: at}})

    def look(self) -> Snapshot:
        """Return what is known now."""
        with self._lock:
            return self._found


@dataclass(slots=True)
class Duty:
    """Something that is done again and again.

    Attributes:
        name: for logs.
        every_s: from the beginning of one turn to that of the next at most, in seconds: whoever waits for its result
            knows when it is late.
        do: one turn; what it raises is logged, and it is done again, soon at first and then ever later.
        rest: how many times as long as it took nothing of it is done afterwards: what grows with the tables must not
            come to fill the day.
        due_at: when the next turn begins, by a clock that never goes back.
        failures: how many turns in a row have failed.
    """

    name: str
    every_s: float
    do: Callable[[], object]
    rest: float = 0.0
    due_at: float = float("-inf")
    failures: int = 0

    def ended(self, begun: float, *, well: bool) -> None:
        """Say when the next turn is due."""
        now = clock.monotonic()
        self.failures = 0 if well else self.failures + 1
        wait_s = early(self.every_s, JITTER)
        if not well:
            wait_s = min(wait_s, jittered(RETRY_S, JITTER) * 2.0 ** min(self.failures - 1, 20))
        self.due_at = max(begun + wait_s, now + self.rest * (now - begun))


class Watch:
    """A thread that does its duties in turn, each at its own interval."""

    def __init__(self, name: str, duties: Sequence[Duty], stop: threading.Event) -> None:
        self._duties = duties
        self._stop = stop
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def run_due(self) -> float:
        """Do what is due; return in how many seconds something is next."""
        for duty in self._duties:
            begun = clock.monotonic()
            if not self._stop.is_set() and begun >= duty.due_at:
                duty.ended(begun, well=self._do(duty))
        return max(0.0, min(duty.due_at for duty in self._duties) - clock.monotonic())

    def _do(self, duty: Duty) -> bool:
        try:
            duty.do()
        except Exception as trouble:  # noqa: BLE001 - whatever it is: the others go on, and its figure grows old in sight
            text = str(trouble) if isinstance(trouble, Transient | StoreFault) else None
            _log.warning("look failed", duty=duty.name, error=type(trouble).__name__, detail=text)
            return False
        return True

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
        #: When a queue last answered, by a clock that never goes back.
        self.last_success = clock.monotonic()

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
            for state in QUEUE_STATES:
                count = getattr(depth, state)
                self._metrics.set(catalogue.QUEUE_MESSAGES, count, watched.queue, watched.kind, state)
            self._metrics.set(catalogue.QUEUE_LAST_SUCCESS, clock.now().timestamp(), watched.queue, watched.kind)
            self.last_success = clock.monotonic()
        self._board.put(queues=found)

    def _depth(self, watched: WatchedQueue) -> Depth:
        answer = self._client.get_queue_attributes(QueueUrl=watched.url, AttributeNames=list(_ATTRIBUTES.values()))
        told = answer["Attributes"]
        counts = {state: int(told.get(name, 0)) for state, name in _ATTRIBUTES.items()}
        return Depth(**counts, looked_at=clock.now())

    def ages(self, cloudwatch: "CloudWatchClient") -> None:
        """Ask CloudWatch; what it does not say stays unsaid, and where it does not answer every age does."""
        try:
            told = self._ages(cloudwatch)
        except _AWS_ERRORS:
            self._show_ages({})
            raise
        self._show_ages(told)
        self._metrics.set(catalogue.QUEUE_AGE_LAST_SUCCESS, clock.now().timestamp())

    def _show_ages(self, told: Mapping[str, Sequence[float]]) -> None:
        for number, watched in enumerate(self._queues):
            if values := told.get(f"q{number}"):
                self._metrics.set(catalogue.QUEUE_AGE, values[0], watched.queue, watched.kind)
            else:  # an idle queue has no metrics after hours: what it had would never grow younger
                self._metrics.clear(catalogue.QUEUE_AGE, watched.queue, watched.kind)

    def _ages(self, cloudwatch: "CloudWatchClient") -> Mapping[str, Sequence[float]]:
        """Return what CloudWatch says, the newest first, by the position of the queue."""
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
        return {result["Id"]: result.get("Values", []) for result in answer.get("MetricDataResults", [])}


class TableLook:
    """Asks the database what waits, what failed, and what nobody knows."""

    def __init__(self, pool: Pool, metrics: Metrics, board: Board, *, unregistered: bool = False) -> None:
        """Keep what is needed; `unregistered` says whether a vendor without a registered account is paid."""
        self._pool = pool
        self._metrics = metrics
        self._board = board
        self._unregistered = unregistered
        #: The processes that are known to have ended; None before the first look, which counts nothing.
        self._ended: set[UUID] | None = None
        #: When all looks were last done with success, by a clock that never goes back.
        self.last_success = clock.monotonic()

    def waiting(self) -> None:
        """Look at what waits, each by itself, and keep a snapshot of all that is known.

        Raises:
            Transient: the database is away, or one of the looks failed for now; the others were done.
            StoreFault: the database refused one of them.
        """
        looks: Mapping[str, Callable[[], object]] = {
            "pending": self._pending,
            "unknown_attempts": self._unknown_attempts,
            "payouts_waiting": self._payouts_waiting,
            "outbox": self._outbox,
            "message_failures": self._message_failures,
        }
        failed: Transient | StoreFault | None = None
        for name, look in looks.items():
            try:
                self._seen(name, look)
            except (Transient, StoreFault) as trouble:
                if isinstance(trouble, Transient) and trouble.reason is TransientReason.CONNECTION:
                    raise  # the others would wait for it as long
                _log.warning("look failed", duty=name, error=type(trouble).__name__, detail=str(trouble))
                failed = trouble
        fleet.keep(self._pool, self._board.look())
        if failed is not None:
            raise failed
        self.last_success = clock.monotonic()

    def _seen(self, name: str, look: Callable[[], object]) -> None:
        """Look, and take note of when that was: a figure without a time beside it could be of any age."""
        look()
        now = clock.now()
        self._metrics.set(catalogue.TABLES_LAST_SUCCESS, now.timestamp(), name)
        self._board.note(name, now)

    def _pending(self) -> None:
        found = gauges.pending(self._pool)
        self._board.put(pending=self._shown(found, PayerType, catalogue.PENDING, catalogue.PENDING_AGE))

    def _unknown_attempts(self) -> None:
        found, ages = gauges.unknown_attempts(self._pool), catalogue.UNKNOWN_ATTEMPTS_AGE
        self._board.put(unknown_payouts=self._shown(found, PROVIDERS, catalogue.UNKNOWN_ATTEMPTS, ages))

    def _payouts_waiting(self) -> None:
        found = books.standstills(self._pool, unregistered=self._unregistered)
        ages = catalogue.PAYOUTS_WAITING_AGE
        self._board.put(payouts_waiting=self._shown(found, STANDSTILLS, catalogue.PAYOUTS_WAITING, ages))

    def _message_failures(self) -> None:
        self._board.put(message_failures=gauges.message_failures(self._pool))

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

    def _outbox(self) -> None:
        backlog = outbox.backlog(self._pool)
        self._metrics.set(catalogue.OUTBOX_PENDING, backlog.pending)
        self._metrics.set(catalogue.OUTBOX_AGE, backlog.oldest_age_s)
        self._board.put(outbox=Waiting(count=backlog.pending, oldest_age_s=backlog.oldest_age_s))

    def counts(self) -> None:
        """Count what takes the longer the more there is: all payments, and what the outbox has put aside."""
        self._seen("counts", self._counts)

    def _counts(self) -> None:
        found = gauges.counts(self._pool)
        self._metrics.set(catalogue.OUTBOX_REJECTED, found.rejected)
        self._board.put(
            payments=found.payments, failures=found.failures, counted_at=found.at, outbox_rejected=found.rejected
        )

    def ends(self) -> None:
        """Count the processes that have ended since this one began to look: they cannot be asked any more."""
        found = fleet.ended(self._pool, GONE_AFTER)
        if self._ended is not None:
            for instance in found.keys() - self._ended:
                role, clean = found[instance]
                self._metrics.inc(catalogue.SHUTDOWNS, role, "clean" if clean else "forced")
        self._ended = set(found)

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

    def recall(self) -> Verification | None:
        """Show the last verification of all audit chains, whoever did it, and return it."""
        last = gauges.last_verification(self._pool)
        if last is not None:
            self._show(last.broken, last.verified_at)
        return last

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
    recall_s: float = 60
    keep_s: float = 7_200


class Monitor:
    """Four threads: a queue that hangs keeps no table from being looked at, and a long count or check neither."""

    def __init__(
        self,
        queues: QueueLook,
        tables: TableLook,
        checks: Checks,
        intervals: Intervals,
        cloudwatch: "CloudWatchClient",
        stop: threading.Event,
    ) -> None:
        self._queues = queues
        self._tables = tables
        self._checks = checks
        self._chains_s = intervals.chains_s
        self._known: Verification | None = None
        self._verify = Duty("audit_chains", intervals.chains_s, checks.chains)
        #: What is older than this was not looked at as it should have been; in seconds.
        self._late_s = 60 + 3 * max(intervals.tables_s, intervals.queues_s)
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
                    Duty("waiting", intervals.tables_s, tables.waiting),
                    Duty("recall", intervals.recall_s, self.recall),
                    Duty("ends", intervals.tables_s, tables.ends),
                    Duty("prune", PRUNE_EVERY_S, lambda: tables.prune(keep)),
                ],
                stop,
            ),
            Watch("count-watch", [Duty("counts", intervals.counts_s, tables.counts, rest=COUNT_REST)], stop),
            Watch("check-watch", [Duty("invariants", intervals.invariants_s, checks.invariants), self._verify], stop),
        ]

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads that should be alive."""
        return [watch.thread for watch in self._watches]

    def recall(self) -> None:
        """Take note of a verification that another monitor or a person has made: it puts the next one off.

        While a chain is broken they are verified hourly, so that the end of it is seen.
        """
        last = self._checks.recall()
        if last is None or last == self._known:
            return
        self._known = last
        self._verify.every_s = min(self._chains_s, BROKEN_EVERY_S) if last.broken else self._chains_s
        age_s = max(0.0, (clock.now() - last.verified_at).total_seconds())
        self._verify.due_at = clock.monotonic() + max(0.0, self._verify.every_s - age_s)

    def check(self) -> None:
        """Raise where something has not been looked at for too long: the figures are old.

        Raises:
            NotReadyError: names it.
        """
        for name, last in (("queues", self._queues.last_success), ("tables", self._tables.last_success)):
            age_s = clock.monotonic() - last
            if age_s > self._late_s:
                raise NotReadyError(f"{name} not looked at for {age_s:.0f} s")

    def start(self) -> None:
        """Start looking. What was verified not long ago is not verified again only since this process is new."""
        try:
            self.recall()
        except (Transient, StoreFault) as trouble:
            _log.warning("last verification not known", error=type(trouble).__name__)
        for watch in self._watches:
            watch.thread.start()

    def join(self) -> None:
        """Wait, after the stop event, for what is under way; a check that takes minutes is left to the database."""
        for thread in self.threads:
            thread.join(STOP_S)
