"""What a fleet says of itself, written as its monitor and its processes write it, but at any time in the past."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from psycopg.types.json import Jsonb

from store.db import Pool, reading
from workers.catalogue import LOOKS

_SNAPSHOT = """
INSERT INTO fleet_snapshots (taken_at, facts) VALUES (clock_timestamp() - make_interval(secs => %s), %s)
"""
_HEARTBEAT = """
INSERT INTO heartbeats (instance_id, role, version, trouble, started_at, beaten_at)
VALUES (%s, %s, %s, %s, clock_timestamp() - make_interval(secs => %s), clock_timestamp() - make_interval(secs => %s))
"""
ROLES = ("worker", "relay", "monitor", "status")
QUEUES = ("payments-events", "payments-commands", "payments-payouts")


def depth(visible: int = 0, in_flight: int = 0, delayed: int = 0, **changed: Any) -> dict[str, Any]:
    """How many messages a queue holds; `looked_at` is written by `facts` where it is not given."""
    return {"visible": visible, "in_flight": in_flight, "delayed": delayed, **changed}


def waiting(count: int = 0, oldest_age_s: float = 0) -> dict[str, Any]:
    """How many of something wait, and for how long."""
    return {"count": count, "oldest_age_s": oldest_age_s}


def queues() -> dict[str, Any]:
    """The depths of all queues of a fleet that is well."""
    return {
        **{queue: {"main": depth(3, 2), "dlq": depth()} for queue in QUEUES},
        "payment-approvals": {"main": depth(4)},
    }


def facts(at: datetime | None = None, **changed: Any) -> dict[str, Any]:
    """A whole snapshot of a fleet that is well; whatever is given replaces what it says, and `...` leaves it out.

    Args:
        at: when the monitor found all that; now where it is not given.
        changed: what it says otherwise.
    """
    now = at or datetime.now(UTC)
    found: dict[str, Any] = {
        "queues": queues(),
        "pending": {"back_office": waiting(12, 5_400), "driver_ic": waiting(3, 240)},
        "outbox": waiting(2, 1.5),
        "outbox_rejected": 0,
        "unknown_payouts": {"sandbox": waiting()},
        "payments": {
            "pending_approval": 15,
            "approved": 2,
            "processing": 7,
            "completed": 48_210,
            "failed": 31,
            "cancelled": 204,
        },
        "failures": {"account_closed": 19, "no_account": 12},
        "counted_at": (now - timedelta(seconds=20)).isoformat(),
        "message_failures": {"invalid": {"malformed": 2}, "retry": {"transient": 14}},
        "broken_chains": 0,
        "verified_at": (now - timedelta(hours=5)).isoformat(),
        "violations": {},
        "checked_at": (now - timedelta(minutes=4)).isoformat(),
        "waiting_at": dict.fromkeys(LOOKS, now.isoformat()),
        **changed,
    }
    if found["queues"] is not ...:
        found["queues"] = _looked_at(found["queues"], now)
    return _without(found)


def _looked_at(queues: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Write beside each depth when it was found, where that is not said."""
    return {
        queue: {kind: _without({"looked_at": now.isoformat(), **found}) for kind, found in kinds.items()}
        for queue, kinds in queues.items()
    }


def _without(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not ...}


def reported(pool: Pool, told: dict[str, Any], age_s: float = 0) -> None:
    """Write a snapshot, taken so long ago."""
    with reading(pool) as connection:
        connection.execute(_SNAPSHOT, (age_s, Jsonb(told)))


def beaten(
    pool: Pool,
    role: str,
    *,
    age_s: float = 7_500,
    silent_s: float = 2,
    trouble: str | None = None,
    version: str = "0.1.0",
) -> str:
    """Write the heartbeat of a process, and return its id.

    Args:
        role: its part in the fleet.
        age_s: how long ago it started.
        silent_s: how long ago it was heard of last.
        trouble: why it cannot do its work.
        version: its release.
    """
    instance_id = uuid4()
    with reading(pool) as connection:
        connection.execute(_HEARTBEAT, (instance_id, role, version, trouble, age_s, silent_s))
    return str(instance_id)


def well(pool: Pool) -> list[str]:
    """Write the heartbeats of a whole fleet that is well; return their ids."""
    return [beaten(pool, role) for role in ("worker", *ROLES)]
