"""What the status page shows: a pure function of the monitor's snapshots, the processes' heartbeats and the time.

What is not known is said to be not known, never shown as zero; what needs attention is said first, in words.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any

from contracts.fleet import Depth, Snapshot, Waiting
from contracts.lifecycle import TERMINAL, Status
from contracts.payment import PayerType
from store.fleet import Process, Taken
from store.invariants import Invariant
from workers.catalogue import DEAD_LETTERS, MAIN, PROVIDERS, WATCHED_QUEUES, Role
from workers.merging import LOOKED, merged
from workers.sparkline import Point, Sparkline, drawn
from workers.wording import age, counted, harmless, number, words

#: How far back the charts go; what the monitor said before that is not shown.
SPAN = timedelta(hours=1)
#: How far they go at least, in seconds: a monitor that is new has little to show, and it shall be seen.
SPAN_MIN_S = 60.0
#: A monitor that has not reported for so long is not believed to be there.
STALE_S = 60.0
#: A process that has not been heard of for so long is called silent; after `GONE` it is not spoken of any more.
SILENT_S = 30.0
GONE = timedelta(minutes=10)
#: These are the thresholds of the alerts of the same names (ApprovalBacklogAge, OutboxStuck, AuditChainBroken).
APPROVAL_AGE_S = 4 * 3_600.0
OUTBOX_AGE_S = 120.0
VERIFIED_AGE_S = 93_600.0
#: What was found so long ago is not believed any more: the queues' depths, what waits, the counts, and the invariants.
QUEUES_AGE_S = 300.0
WAITING_AGE_S = 120.0
COUNTS_AGE_S = 30 * 60.0
CHECKED_AGE_S = 2.5 * 3_600

NOT_KNOWN = "not known"
_WELL = "well"
_SILENT = "silent"
#: What stands where there is nothing to say.
_NOTHING = "-"


class Mood(StrEnum):
    """How things are, all in all."""

    WELL = "well"
    UNSURE = "unsure"
    TROUBLED = "troubled"


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that needs attention or is not known, and the card that says more."""

    text: str
    card: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A value of a table.

    Attributes:
        text: the value.
        alarming: whether it needs attention.
        chart: how it went.
        numeric: whether it stands at the right.
    """

    text: str
    alarming: bool = False
    chart: Sparkline | None = None
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a caption; the first cell of each row names it. `folded` needs a click to be seen."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, large, with what belongs to it."""

    label: str
    text: str
    note: str = ""
    alarming: bool = False
    chart: Sparkline | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """A part of the page; `id` is its anchor."""

    id: str
    title: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    note: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole page."""

    mood: Mood
    headline: str
    attention: tuple[Remark, ...]
    unknown: tuple[Remark, ...]
    cards: tuple[Card, ...]
    reported: str


#: Takes one number out of a snapshot; None where it is not known.
Pick = Callable[[Snapshot], float | None]


@dataclass(frozen=True, slots=True)
class _Known:
    """What there is to show: what was found last, all of the last hour, the processes, and the time.

    `silent` is whether the monitor has not reported for too long: then it is said once that all is old.
    """

    newest: Snapshot
    taken: Sequence[Taken]
    processes: Sequence[Process]
    now: datetime
    silent: bool = False
    attention: list[Remark] = field(default_factory=list)
    unknown: list[Remark] = field(default_factory=list)

    @property
    def span_s(self) -> float:
        """How long a time the charts show, in seconds: an hour, or for as long as the monitor has watched."""
        longest_s = self.taken[-1].age_s if self.taken else 0.0
        return min(SPAN.total_seconds(), max(SPAN_MIN_S, longest_s))

    @property
    def lately(self) -> str:
        """The same in words."""
        return "hour" if self.span_s >= SPAN.total_seconds() * 0.95 else age(self.span_s)

    def since(self, at: datetime | None) -> float | None:
        """Return how long ago something was, in seconds."""
        return None if at is None else (self.now - at).total_seconds()

    def old(self, at: datetime | None, limit_s: float, *, timed: bool) -> float | None:
        """Return how long ago something was looked at, in seconds, where that is too long; None where it is not.

        Args:
            at: when it was looked at.
            limit_s: how long is not yet too long, in seconds.
            timed: whether such times are written at all, which an older release's monitor does not do: then it is
                believed. Where they are, one that is absent is infinitely long ago.
        """
        age_s = self.since(at) if at is not None else math.inf if timed else 0.0
        return age_s if age_s is not None and age_s > limit_s else None

    def unlooked(self, fact: str) -> float | None:
        """Return the same of a fact about what waits; None where it is not known either."""
        if getattr(self.newest, fact) is None:
            return None
        times = self.newest.waiting_at
        return self.old(times.get(LOOKED[fact]), WAITING_AGE_S, timed=bool(times))

    def points(self, pick: Pick) -> list[Point]:
        """Return a number of every snapshot that knows it, the newest first."""
        found = ((taken.age_s, pick(taken.snapshot)) for taken in self.taken)
        return [Point(age_s, value) for age_s, value in found if value is not None]

    def chart(self, pick: Pick, *, from_zero: bool = True, shown: Callable[[float], str] = number) -> Sparkline | None:
        """Return how a number went."""
        return drawn(self.points(pick), self.span_s, self.lately, from_zero=from_zero, shown=shown)

    def alarm(self, condition: object, text: str, card: str) -> bool:
        """Say that something needs attention, if it does; return whether."""
        if condition:
            self.attention.append(Remark(text, card))
        return bool(condition)

    def aged(self, old_s: float | None, what: str, card: str) -> bool:
        """Say that what is shown is too old to be believed, if so; return whether."""
        if old_s is not None and not self.silent:
            self.attention.append(Remark(f"{what} not been looked at {_for(old_s)}: what is shown is old", card))
        return old_s is not None

    def missing(self, fact: object, text: str, card: str) -> None:
        """Say that something is not known, if so."""
        if fact is None:
            self.unknown.append(Remark(text, card))


def overview(
    taken: Sequence[Taken], processes: Sequence[Process], now: datetime, recent: Sequence[Taken] = ()
) -> Overview:
    """Return what the page shows.

    Args:
        taken: the snapshots of the last hour, the newest first; where there are many, some of them.
        processes: those that were heard of within `GONE`.
        now: by the clock that the snapshots' own times are by.
        recent: all snapshots of the last minutes, the newest first: of several monitors' some may be missing above.
    """
    last = recent or taken
    silence = _silence(last)
    known = _Known(merged(last), taken, processes, now, silent=bool(silence))
    cards = tuple(make(known) for make in _CARDS)
    found = sorted(known.attention, key=lambda remark: _URGENCY.index(remark.card))
    attention = (*([Remark(silence, "fleet")] if silence else []), *found)
    # A monitor that is not there knows nothing: that is said once.
    unknown = tuple(known.unknown) if last else ()
    return Overview(
        mood=Mood.TROUBLED if attention else Mood.UNSURE if unknown else Mood.WELL,
        headline=_headline(len(attention), len(unknown)),
        attention=attention,
        unknown=unknown,
        cards=cards,
        reported="" if silence else f"The monitor reported {age(last[0].age_s)} ago.",
    )


def _headline(attention: int, unknown: int) -> str:
    if attention:
        return f"{counted(attention, 'thing needs', 'things need')} attention"
    if unknown:
        return f"No trouble is seen, but {counted(unknown, 'thing is', 'things are')} not known"
    return "All is well"


def _silence(taken: Sequence[Taken]) -> str:
    """Return how long the monitor has not reported, where that is too long."""
    if not taken:
        return f"The monitor has not reported for more than {age(SPAN.total_seconds())}: what it counts is not known"
    silence_s = taken[0].age_s
    return f"The monitor has not reported for {age(silence_s)}: what follows is old" if silence_s > STALE_S else ""


# -- cards


def _payments(known: _Known) -> Card:
    counts = known.newest.payments
    known.missing(counts, "How many payments there are", "payments")
    counted_s = known.since(known.newest.counted_at)
    if counted_s is not None and counted_s > COUNTS_AGE_S and not known.silent:
        known.missing(None, f"How many payments there are now: they were counted {age(counted_s)} ago", "payments")
    figures = tuple(_of_status(known, name) for name in _all(Status, counts))
    return Card("payments", "Payments", figures, note=_when("Counted", counted_s), wide=True)


def _of_status(known: _Known, name: str) -> Figure:
    def pick(snapshot: Snapshot) -> int | None:
        return None if snapshot.payments is None else snapshot.payments.get(name, 0)

    # Where payments stay for good, the number only grows: from zero its chart would be a bar.
    last = name in TERMINAL
    points = known.points(pick)
    note = _gained(points) if last else ""
    return Figure(words(name), _count(known.newest.payments, name), note, chart=known.chart(pick, from_zero=not last))


def _gained(points: Sequence[Point]) -> str:
    return f"+{points[0].value - points[-1].value:,.0f} in {age(points[-1].age_s)}" if len(points) > 1 else ""


def _approvals(known: _Known) -> Card:
    pending = known.newest.pending
    known.missing(pending, "How many payments wait for approval", "approvals")
    oldest_s = _oldest(pending)
    known.aged(known.unlooked("pending"), "What waits for approval has", "approvals")
    late = known.alarm(
        oldest_s > APPROVAL_AGE_S, f"The oldest payment has waited {age(oldest_s)} for approval", "approvals"
    )
    total = _total(known, "Payments that wait", "pending", alarming=late)
    table = _apart("Waiting for approval, by who pays", "Payer", pending, PayerType)
    return Card("approvals", "Waiting for approval", (total,), (table,))


def _payouts(known: _Known) -> Card:
    unknown = known.newest.unknown_payouts
    known.missing(unknown, "How many payouts are of unknown outcome", "payouts")
    known.aged(known.unlooked("unknown_payouts"), "Payouts of unknown outcome have", "payouts")
    count, oldest_s = _sum(unknown), _oldest(unknown)
    alarming = known.alarm(
        count, f"{counted(count or 0, 'payout')} of unknown outcome, the oldest for {age(oldest_s)}", "payouts"
    )
    total = _total(known, "Payouts of unknown outcome", "unknown_payouts", alarming=alarming)
    # A fleet has one provider: the others are not spoken of.
    named = PROVIDERS if unknown is None else ()
    table = _apart("Payouts of unknown outcome, by provider", "Provider", unknown, named)
    return Card("payouts", "Unknown payouts", (total,), (table,))


def _outbox(known: _Known) -> Card:
    outbox = known.newest.outbox
    known.missing(outbox, "How far the outbox lags", "outbox")
    old_s = known.unlooked("outbox")
    old = known.aged(old_s, "The outbox has", "outbox")
    lag_s = outbox.oldest_age_s if outbox else 0.0
    late = known.alarm(lag_s > OUTBOX_AGE_S, f"The outbox lags {age(lag_s)}", "outbox")
    figures = (
        Figure(
            "Lag of the oldest",
            age(lag_s) if outbox else NOT_KNOWN,
            _looked(old_s),
            alarming=late or old,
            chart=known.chart(lambda said: said.outbox.oldest_age_s if said.outbox else None, shown=age),
        ),
        Figure(
            "Due and not yet sent",
            number(outbox.count) if outbox else NOT_KNOWN,
            _looked(old_s),
            alarming=old,
            chart=known.chart(lambda said: said.outbox.count if said.outbox else None),
        ),
        _rejected(known),
    )
    return Card("outbox", "Outbox", figures)


def _rejected(known: _Known) -> Figure:
    rejected = known.newest.outbox_rejected
    if known.newest.outbox is not None:  # else it is said above
        known.missing(rejected, "How many events their receiver refuses for good", "outbox")
    said = f"{counted(rejected or 0, 'event')} that {_their(rejected)} receiver refuses for good"
    alarming = known.alarm(rejected, said, "outbox")
    old_s = known.unlooked("outbox_rejected")
    return Figure(
        "Refused for good",
        _or_not_known(rejected),
        _looked(old_s),
        alarming=alarming or old_s is not None,
        chart=known.chart(lambda said: said.outbox_rejected),
    )


def _their(count: int | None) -> str:
    return "its" if count == 1 else "their"


def _queues(known: _Known) -> Card:
    queues = known.newest.queues
    if not queues:
        known.missing(None, "How many messages the queues hold", "queues")
    names = dict.fromkeys([*(name for name, _ in WATCHED_QUEUES), *sorted(queues)])
    lately = (f"Waiting, last {known.lately}", f"Dead, last {known.lately}")
    columns = ("Queue", "Waiting", "Dead letters", "In flight", "Delayed", *lately)
    old = {name: old_s for name in names if (old_s := _queue_old(known, name)) is not None}
    if old and not known.silent:
        known.alarm(condition=True, text=_not_looked_at(old, len(queues)), card="queues")
    rows = tuple(_queue_row(known, name) for name in names)
    table = Table("Messages, counted approximately", columns, rows)
    return Card("queues", "Queues", tables=(table,), wide=True)


def _queue_old(known: _Known, name: str) -> float | None:
    """Return how long ago a queue or its dead letters were looked at, where that is too long."""
    found = [_depth_old(known, depth) for depth in known.newest.queues.get(name, {}).values()]
    return max((old_s for old_s in found if old_s is not None), default=None)


def _depth_old(known: _Known, depth: Depth) -> float | None:
    timed = any(each.looked_at for kinds in known.newest.queues.values() for each in kinds.values())
    return known.old(depth.looked_at, QUEUES_AGE_S, timed=timed)


def _not_looked_at(old: Mapping[str, float], queues: int) -> str:
    long = _for(max(old.values()))
    if len(old) == 1:
        return f"{harmless(next(iter(old)))} has not been looked at {long}: its depths are old"
    which = "The queues" if len(old) == queues else counted(len(old), "queue")
    return f"{which} have not been looked at {long}: their depths are old"


def _queue_row(known: _Known, name: str) -> tuple[Cell, ...]:
    kinds = known.newest.queues.get(name, {})
    main, dead = kinds.get(MAIN), kinds.get(DEAD_LETTERS)
    ours = dead is not None or (name, DEAD_LETTERS) in WATCHED_QUEUES  # another service's dead letters are not
    if known.newest.queues:
        known.missing(main, f"How many messages {harmless(name)} holds", "queues")
        known.missing(dead if ours else 0, f"How many dead letters {harmless(name)} has", "queues")
    letters = None if dead is None else dead.visible + dead.in_flight + dead.delayed
    # Dead letters that were there are spoken of still: they seldom go by themselves.
    alarming = known.alarm(letters, f"{counted(letters or 0, 'dead letter')} in {harmless(name)}", "queues")
    if main and _depth_old(known, main) is not None:
        main = None
    if dead and not alarming and _depth_old(known, dead) is not None:
        letters = None
    return (
        Cell(harmless(name), numeric=False),
        Cell(_or_not_known(main.visible if main else None)),
        Cell(_or_not_known(letters) if ours else _NOTHING, alarming=alarming),
        Cell(_or_not_known(main.in_flight if main else None)),
        Cell(_or_not_known(main.delayed if main else None)),
        Cell("", chart=known.chart(lambda said: _depth(said, name, MAIN))),
        Cell("", chart=known.chart(lambda said: _depth(said, name, DEAD_LETTERS))),
    )


def _depth(snapshot: Snapshot, queue: str, kind: str) -> int | None:
    depth = snapshot.queues.get(queue, {}).get(kind)
    return None if depth is None else depth.visible


def _failures(known: _Known) -> Card:
    failures, messages = known.newest.failures, known.newest.message_failures
    known.missing(failures, "Why payments failed", "failures")
    known.missing(messages, "Which messages failed", "failures")
    old_s = known.unlooked("message_failures")
    old = known.aged(old_s, "Messages that failed have", "failures")
    coded = tuple((Cell(harmless(code), numeric=False), Cell(number(count))) for code, count in _ranked(failures or {}))
    reasons = {
        (outcome, reason): count for outcome, found in (messages or {}).items() for reason, count in found.items()
    }
    failed = tuple(
        (Cell(words(outcome), numeric=False), Cell(harmless(reason), numeric=False), Cell(number(count), alarming=old))
        for (outcome, reason), count in _ranked(reasons)
    )
    tables = (
        Table("Failed payments, by failure code", ("Failure code", "Payments"), coded or _none(failures, 2)),
        Table(
            "Messages that failed within the last day" + (f", {_looked(old_s)}" if old else ""),
            ("Outcome", "Reason", "Messages"),
            failed or _none(messages, 3),
        ),
    )
    return Card("failures", "Failures", tables=tables)


def _audit(known: _Known) -> Card:
    broken, verified_s = known.newest.broken_chains, known.since(known.newest.verified_at)
    known.missing(broken, "Whether the audit chains hold", "audit")
    alarming = known.alarm(broken, f"{counted(broken or 0, 'audit chain is', 'audit chains are')} broken", "audit")
    overdue = verified_s is not None and verified_s > VERIFIED_AGE_S
    known.alarm(overdue, f"The audit chains were last verified {age(verified_s or 0)} ago", "audit")
    figure = Figure("Broken chains", _or_not_known(broken), _when("Verified", verified_s), alarming=alarming or overdue)
    return Card("audit", "Audit chains", (figure,))


def _invariants(known: _Known) -> Card:
    violations = known.newest.violations
    known.missing(violations, "Whether the invariants hold", "invariants")
    for name, count in sorted((violations or {}).items()):
        known.alarm(count, f"{counted(count, 'row breaks', 'rows break')} “{words(name)}”", "invariants")
    checked_s = known.since(known.newest.checked_at)
    overdue = checked_s is not None and checked_s > CHECKED_AGE_S
    known.alarm(overdue, f"The invariants were last checked {age(checked_s or 0)} ago", "invariants")
    total = None if violations is None else sum(violations.values())
    figure = Figure(
        "Rows that break an invariant",
        _or_not_known(total),
        _when("Checked", checked_s),
        alarming=bool(total) or overdue,
    )
    rows = tuple(
        (Cell(words(name), numeric=False), Cell(_count(violations, name), alarming=bool((violations or {}).get(name))))
        for name in _all(Invariant, violations)
    )
    table = Table("Each invariant", ("Invariant", "Rows"), rows, folded=True)
    return Card("invariants", "Invariants", (figure,), (table,))


# -- the fleet


def _fleet(known: _Known) -> Card:
    names = dict.fromkeys([*Role, *sorted({process.role for process in known.processes})])
    by_role = {name: [process for process in known.processes if process.role == name] for name in names}
    columns = ("Role", "Processes", "State", "Running for", "Version", "Last heard of")
    rows = tuple(_role_row(known, name, processes) for name, processes in by_role.items())
    return Card(
        "fleet",
        "Fleet",
        tables=(
            Table("Roles and how their processes are", columns, rows),
            Table(
                "Each process",
                columns[:1] + columns[2:],
                tuple(_process_row(process) for process in known.processes),
                folded=True,
            ),
        ),
        wide=True,
    )


def _role_row(known: _Known, name: str, processes: Sequence[Process]) -> tuple[Cell, ...]:
    role = harmless(name)
    if not processes:
        known.alarm(condition=True, text=f"No {role} process is heard of", card="fleet")
        missing = (Cell("0", alarming=True), Cell("missing", alarming=True, numeric=False))
        return (Cell(role, numeric=False), *missing, Cell(_NOTHING), Cell(_NOTHING, numeric=False), Cell(_NOTHING))
    states = [_state(process) for process in processes]
    for state, found in groupby(sorted(state for state in states if state)):
        some = counted(len(list(found)), f"{role} process is", f"{role} processes are")
        known.alarm(
            condition=True, text=f"{some} {state if state == _SILENT else f'in trouble: {state}'}", card="fleet"
        )
    said = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)) if state)
    return (
        Cell(role, numeric=False),
        Cell(number(len(processes))),
        Cell(said or _WELL, alarming=bool(said), numeric=False),
        Cell(_between([process.age_s for process in processes])),
        Cell(", ".join(sorted({harmless(process.version) for process in processes})), numeric=False),
        Cell(f"{age(min(process.silent_s for process in processes))} ago"),
    )


def _state(process: Process) -> str:
    """Return what is wrong with a process; nothing where it is well."""
    return _SILENT if process.silent_s > SILENT_S else harmless(process.trouble or "")


def _process_row(process: Process) -> tuple[Cell, ...]:
    state = _state(process)
    return (
        Cell(harmless(process.role), numeric=False),
        Cell(state or _WELL, alarming=bool(state), numeric=False),
        Cell(age(process.age_s)),
        Cell(harmless(process.version), numeric=False),
        Cell(f"{age(process.silent_s)} ago"),
    )


# -- what several cards say


def _all(named: Iterable[str], found: Mapping[str, object] | None) -> list[str]:
    """Return the names that there should be, and what else was found."""
    return list(dict.fromkeys([*map(str, named), *sorted(found or {})]))


def _or_not_known(count: int | None) -> str:
    return NOT_KNOWN if count is None else number(count)


def _count(counts: Mapping[str, int] | None, name: str) -> str:
    """Return one of several counts: what was counted and is not there is none."""
    return _or_not_known(None if counts is None else counts.get(name, 0))


def _sum(waiting: Mapping[str, Waiting] | None) -> int | None:
    return None if waiting is None else sum(each.count for each in waiting.values())


def _oldest(waiting: Mapping[str, Waiting] | None) -> float:
    return max((each.oldest_age_s for each in (waiting or {}).values() if each.count), default=0.0)


def _total(known: _Known, label: str, fact: str, *, alarming: bool) -> Figure:
    """Return the figure of all that waits, whatever it waits for."""
    pick: Callable[[Snapshot], Mapping[str, Waiting] | None] = attrgetter(fact)
    waiting, old_s = pick(known.newest), known.unlooked(fact)
    count, oldest_s = _sum(waiting), _oldest(waiting)
    note = "" if count is None else f"the oldest for {age(oldest_s)}" if count else "none"
    note = note if old_s is None else f"{note}; {_looked(old_s)}"
    chart = known.chart(lambda snapshot: _sum(pick(snapshot)))
    return Figure(label, _or_not_known(count), note, alarming=alarming or old_s is not None, chart=chart)


def _apart(caption: str, column: str, waiting: Mapping[str, Waiting] | None, named: Iterable[str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name in _all(named, waiting):
        found = None if waiting is None else waiting.get(name, Waiting(count=0, oldest_age_s=0))
        oldest = NOT_KNOWN if found is None else age(found.oldest_age_s) if found.count else _NOTHING
        rows.append(
            (
                Cell(_NAMES.get(name, words(name)), numeric=False),
                Cell(_or_not_known(found.count if found else None)),
                Cell(oldest),
            )
        )
    return Table(caption, (column, "Count", "Oldest"), tuple(rows))


def _when(did: str, age_s: float | None) -> str:
    return f"{did}: {NOT_KNOWN} when" if age_s is None else f"{did} {age(age_s)} ago"


def _for(age_s: float) -> str:
    return "for a time that is not known" if math.isinf(age_s) else f"for {age(age_s)}"


def _looked(old_s: float | None) -> str:
    """Return when something was looked at, where that is too long ago."""
    if old_s is None:
        return ""
    return f"looked at: {NOT_KNOWN} when" if math.isinf(old_s) else f"looked at {age(old_s)} ago"


def _ranked(counts: Mapping[Any, int]) -> list[tuple[Any, int]]:
    """Return counts by size, the greatest first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _none(found: object, columns: int) -> tuple[tuple[Cell, ...], ...]:
    """Return the one row of a table that has none."""
    return ((Cell(NOT_KNOWN if found is None else "None", numeric=False), *[Cell("")] * (columns - 1)),)


def _between(ages_s: Sequence[float]) -> str:
    shortest, longest = age(min(ages_s)), age(max(ages_s))
    return shortest if shortest == longest else f"{shortest} to {longest}"


#: Codes that are no words.
_NAMES = {str(PayerType.DRIVER_IC): "Driver, independent"}
#: What is said first.
_URGENCY = (
    "monitor",
    "audit",
    "invariants",
    "payouts",
    "queues",
    "outbox",
    "fleet",
    "approvals",
    "payments",
    "failures",
)
_CARDS: tuple[Callable[[_Known], Card], ...] = (
    _payments,
    _approvals,
    _payouts,
    _outbox,
    _queues,
    _failures,
    _audit,
    _invariants,
    _fleet,
)
