"""What several monitors know together: of each fact, the newest finding.

A monitor that has just started knows nothing until its first checks have ended; what another has found counts on.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TypeVar

from contracts.fleet import Depth, Snapshot
from store.fleet import Taken

#: So much older than the newest snapshot may one be from which a fact is taken.
RECENT = timedelta(minutes=2)
#: Facts from one look at the tables, and its name among `catalogue.LOOKS`.
LOOKED = {
    "pending": "pending",
    "unknown_payouts": "unknown_attempts",
    "outbox": "outbox",
    "outbox_rejected": "outbox",
    "message_failures": "message_failures",
}
#: Facts that have a time of their own.
_TIMED = {
    "payments": "counted_at",
    "failures": "counted_at",
    "broken_chains": "verified_at",
    "violations": "checked_at",
}

_Fact = TypeVar("_Fact")
_Time = Callable[[Snapshot], datetime | None]


def merged(taken: Sequence[Taken]) -> Snapshot:
    """Return, of each fact, what was found last among the snapshots of the last while; it is absent where none has it.

    A fact's age is by its own time. What has none, as an older release's monitor writes it, comes after what has one.

    Args:
        taken: the newest first.
    """
    recent = [each for each in taken if each.age_s <= taken[0].age_s + RECENT.total_seconds()]
    found: dict[str, object] = {"queues": _queues(recent), "waiting_at": _waiting_at(recent)}
    for fact, look in LOOKED.items():
        found[fact] = _last(recent, attrgetter(fact), _look_time(look))
    for fact, name in _TIMED.items():
        time = attrgetter(name)
        found |= {fact: _last(recent, attrgetter(fact), time), name: _last(recent, time, time)}
    return Snapshot().model_copy(update=found)


def _look_time(look: str) -> _Time:
    return lambda said: said.waiting_at.get(look)


def _last(recent: Iterable[Taken], fact: Callable[[Snapshot], _Fact | None], time: _Time) -> _Fact | None:
    """Return a fact as it was found last; of two that were found at once, that of the newer snapshot."""

    def order(each: Taken) -> tuple[bool, datetime]:
        at = time(each.snapshot)
        return at is not None, at or each.taken_at

    knowing = [each for each in recent if fact(each.snapshot) is not None]
    return fact(max(knowing, key=order).snapshot) if knowing else None


def _queues(recent: Sequence[Taken]) -> dict[str, dict[str, Depth]]:
    places = dict.fromkeys(
        (queue, kind) for each in recent for queue, kinds in each.snapshot.queues.items() for kind in kinds
    )
    found: dict[str, dict[str, Depth]] = {}
    for queue, kind in places:
        depth = _last(recent, _depth(queue, kind), _depth_time(queue, kind))
        if depth:
            found.setdefault(queue, {})[kind] = depth
    return found


def _depth(queue: str, kind: str) -> Callable[[Snapshot], Depth | None]:
    return lambda said: said.queues.get(queue, {}).get(kind)


def _depth_time(queue: str, kind: str) -> _Time:
    def time(said: Snapshot) -> datetime | None:
        depth = said.queues.get(queue, {}).get(kind)
        return depth.looked_at if depth else None

    return time


def _waiting_at(recent: Sequence[Taken]) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for each in recent:
        for look, at in each.snapshot.waiting_at.items():
            found[look] = max(at, found.get(look, at))
    return found
