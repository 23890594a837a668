"""The figures of the monitor: what waits, what failed, what nobody knows. Counts and ages, never an id.

What waits is counted over partial indexes and costs the same however many payments there are; the count of all payments
reads them all, and is asked for seldom.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from contracts.fleet import Waiting
from store.db import Pool, reading

_PENDING = """
SELECT payer_type AS name, count(*) AS count,
       extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS oldest_age_s
FROM payments WHERE status = 'pending_approval' GROUP BY payer_type
"""
_UNKNOWN = """
SELECT provider AS name, count(*) AS count,
       extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS oldest_age_s
FROM payout_attempts WHERE state IN ('ready', 'unknown') AND state = 'unknown' GROUP BY provider
"""
_COUNTS = "SELECT status, failure_code, count(*) AS count FROM payments GROUP BY 1, 2"
_REJECTED = "SELECT count(*) AS count FROM outbox WHERE failed_at IS NOT NULL AND published_at IS NULL"
_AT = "SELECT clock_timestamp() AS at"
_FAILURES = """
SELECT outcome, reason, count(*) AS count FROM message_failures
WHERE last_failed_at > clock_timestamp() - interval '1 day' GROUP BY 1, 2
"""
#: The count of all payments may take as long as the table is large; a message's transaction never.
_PATIENCE = "SET LOCAL statement_timeout = '2min'"
_LAST = "SELECT verified_at, payments, links, broken FROM audit_verifications ORDER BY verified_at DESC LIMIT 1"
_VERIFIED = """
INSERT INTO audit_verifications (payments, links, broken) VALUES (%(payments)s, %(links)s, %(broken)s)
RETURNING verified_at
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many payments there are, by status, and how many of them failed, by failure code.

    `rejected` counts the outbox rows that nobody will ever take.
    """

    payments: Mapping[str, int]
    failures: Mapping[str, int]
    rejected: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Verification:
    """A verification of all audit chains."""

    verified_at: datetime
    payments: int
    links: int
    broken: int


def pending(pool: Pool) -> Mapping[str, Waiting]:
    """Return what waits for approval, by payer type; what is absent does not wait."""
    return _waiting(pool, _PENDING)


def unknown_attempts(pool: Pool) -> Mapping[str, Waiting]:
    """Return the payout attempts of unknown outcome, by provider; a provider without any is absent."""
    return _waiting(pool, _UNKNOWN)


def _waiting(pool: Pool, query: LiteralString) -> Mapping[str, Waiting]:
    with reading(pool) as connection:
        rows = connection.execute(query).fetchall()
    return {row["name"]: Waiting(count=row["count"], oldest_age_s=row["oldest_age_s"]) for row in rows}


def counts(pool: Pool) -> Counts:
    """Count all payments and all rejected outbox rows; the time it takes grows with the tables.

    Raises:
        Transient: it took more than two minutes, or the database could not answer.
    """
    payments: dict[str, int] = defaultdict(int)
    failures: dict[str, int] = {}
    with reading(pool) as connection, connection.transaction():
        connection.execute(_PATIENCE)
        at = connection.execute(_AT).fetchall()[0]["at"]
        for row in connection.execute(_COUNTS):
            payments[row["status"]] += row["count"]
            if row["status"] == "failed":
                failures[row["failure_code"]] = row["count"]
        rejected = int(connection.execute(_REJECTED).fetchall()[0]["count"])
    return Counts(dict(payments), failures, rejected, at)


def message_failures(pool: Pool) -> Mapping[str, Mapping[str, int]]:
    """Return how many messages failed within the last day, by outcome and reason."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    with reading(pool) as connection:
        for row in connection.execute(_FAILURES):
            found[row["outcome"]][row["reason"]] = row["count"]
    return dict(found)


def last_verification(pool: Pool) -> Verification | None:
    """Return when all audit chains were last verified, and what came of it."""
    with reading(pool) as connection:
        row = connection.execute(_LAST).fetchone()
    return Verification(**row) if row else None


def keep_verification(pool: Pool, *, payments: int, links: int, broken: int) -> datetime:
    """Keep that all audit chains were verified; return when that was."""
    with reading(pool) as connection:
        rows = connection.execute(_VERIFIED, {"payments": payments, "links": links, "broken": broken}).fetchall()
    at: datetime = rows[0]["verified_at"]
    return at
