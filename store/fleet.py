"""What the fleet says of itself: heartbeats of its processes, and the monitor's snapshots for the status page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import ValidationError

from contracts.fleet import Snapshot
from store.db import Pool, reading

_BEAT = """
INSERT INTO heartbeats (instance_id, role, version, trouble)
VALUES (%(instance_id)s, %(role)s, %(version)s, left(%(trouble)s, 200))
ON CONFLICT (instance_id) DO UPDATE SET beaten_at = clock_timestamp(), trouble = EXCLUDED.trouble
"""
_LEAVE = "UPDATE heartbeats SET stopped_at = clock_timestamp() WHERE instance_id = %(instance_id)s"
_PROCESSES = """
SELECT role, version, trouble, extract(epoch FROM clock_timestamp() - started_at)::float8 AS age_s,
       extract(epoch FROM clock_timestamp() - beaten_at)::float8 AS silent_s
FROM heartbeats WHERE beaten_at > clock_timestamp() - %(within)s AND stopped_at IS NULL ORDER BY role, started_at
"""
_ENDED = """
SELECT instance_id, role, stopped_at IS NOT NULL AS clean FROM heartbeats
WHERE stopped_at IS NOT NULL OR beaten_at < clock_timestamp() - %(silent_for)s
"""
_FORGET = "DELETE FROM heartbeats WHERE beaten_at < clock_timestamp() - %(older_than)s"
_KEEP = "INSERT INTO fleet_snapshots (facts) VALUES (%(facts)s)"
_PRUNE = "DELETE FROM fleet_snapshots WHERE taken_at < clock_timestamp() - %(older_than)s"
# The newest first; where there are more than asked for, every second of them, or every third, and so on.
_SNAPSHOTS = """
SELECT taken_at, extract(epoch FROM clock_timestamp() - taken_at)::float8 AS age_s, facts FROM (
    SELECT taken_at, facts, row_number() OVER (ORDER BY taken_at DESC) - 1 AS place, count(*) OVER () AS found
    FROM fleet_snapshots WHERE taken_at > clock_timestamp() - %(within)s
) AS recent WHERE place %% greatest(1, (found + %(limit)s - 1) / %(limit)s) = 0 ORDER BY taken_at DESC LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that has been heard of lately; ages in seconds, by the database's clock.

    Attributes:
        role: its part in the fleet.
        version: its release.
        trouble: why it could not do its work when it was last heard of; None where it could.
        age_s: how long it has run.
        silent_s: for how long it has not been heard of.
    """

    role: str
    version: str
    trouble: str | None
    age_s: float
    silent_s: float


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot, when it was taken, and its age in seconds."""

    taken_at: datetime
    age_s: float
    snapshot: Snapshot


def beat(pool: Pool, instance_id: UUID, role: str, version: str, trouble: str | None) -> None:
    """Say that a process is there, and whether it can do its work.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        connection.execute(
            _BEAT, {"instance_id": instance_id, "role": role, "version": version[:64], "trouble": trouble}
        )


def leave(pool: Pool, instance_id: UUID) -> None:
    """Say that a process ends in good order.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        connection.execute(_LEAVE, {"instance_id": instance_id})


def processes(pool: Pool, within: timedelta) -> Sequence[Process]:
    """Return the processes that were heard of within so much time, but for those that have said that they end.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        return [Process(**row) for row in connection.execute(_PROCESSES, {"within": within})]


def ended(pool: Pool, silent_for: timedelta) -> Mapping[UUID, tuple[str, bool]]:
    """Return the processes that have ended, as far as they are not forgotten: their role, and whether they said so.

    Args:
        pool: the database.
        silent_for: after how long without a heartbeat a process is taken to have ended.
    """
    with reading(pool) as connection:
        rows = connection.execute(_ENDED, {"silent_for": silent_for}).fetchall()
    return {row["instance_id"]: (row["role"], row["clean"]) for row in rows}


def forget(pool: Pool, older_than: timedelta) -> int:
    """Delete the heartbeats of processes that are long gone; return how many."""
    with reading(pool) as connection:
        return connection.execute(_FORGET, {"older_than": older_than}).rowcount


def keep(pool: Pool, snapshot: Snapshot) -> None:
    """Keep a snapshot.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        connection.execute(_KEEP, {"facts": Jsonb(snapshot.model_dump(mode="json", exclude_none=True))})


def prune(pool: Pool, older_than: timedelta) -> int:
    """Delete old snapshots; return how many."""
    with reading(pool) as connection:
        return connection.execute(_PRUNE, {"older_than": older_than}).rowcount


def snapshots(
    pool: Pool, within: timedelta, limit: int, skipped: Callable[[int], object] = lambda _count: None
) -> Sequence[Taken]:
    """Return up to `limit` snapshots of the last while, evenly spread, the newest first.

    Args:
        pool: the database.
        within: how far back.
        limit: how many at most.
        skipped: is told how many were left out since they cannot be read, if any; another release wrote them.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        rows = connection.execute(_SNAPSHOTS, {"within": within, "limit": limit}).fetchall()
    read = [(row, _read(row["facts"])) for row in rows]
    found = [Taken(row["taken_at"], row["age_s"], snapshot) for row, snapshot in read if snapshot]
    if len(found) < len(rows):
        skipped(len(rows) - len(found))
    return found


def _read(facts: object) -> Snapshot | None:
    try:
        return Snapshot.model_validate(facts)
    except ValidationError:
        return None
