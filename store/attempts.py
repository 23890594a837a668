"""Payout attempts: open, read, resolve."""

from datetime import datetime
from typing import LiteralString
from uuid import UUID

from contracts.payment import Attempt, AttemptState
from store.db import Pending, Pool, Row, Tx, reading

_SELECT: LiteralString = """
SELECT attempt_id, payment_id, attempt_no, provider, idempotency_key, request_fingerprint, destination,
       amount_cents, currency, state, failure_code, provider_object_id, created_at, submit_before, checks,
       next_check_at, resolved_at
FROM payout_attempts
"""
_AT = "SELECT clock_timestamp() AS at"
_READ = _SELECT + "WHERE attempt_id = %(attempt_id)s"
_NEWEST = _SELECT + "WHERE payment_id = %(payment_id)s ORDER BY attempt_no DESC LIMIT 1"
_INSERT = """
INSERT INTO payout_attempts (
    attempt_id, payment_id, attempt_no, provider, operation, idempotency_key, request_fingerprint, destination,
    amount_cents, currency, state, created_at, submit_before, checks, next_check_at
) VALUES (
    %(attempt_id)s, %(payment_id)s, %(attempt_no)s, %(provider)s, 'transfer', %(idempotency_key)s,
    %(request_fingerprint)s, %(destination)s, %(amount_cents)s, %(currency)s, %(state)s, %(created_at)s,
    %(submit_before)s, %(checks)s, %(next_check_at)s
)
"""
_CHANGE = """
UPDATE payout_attempts SET
    state = %(state)s, failure_code = %(failure_code)s, provider_object_id = %(provider_object_id)s,
    checks = %(checks)s, next_check_at = %(next_check_at)s, resolved_at = %(resolved_at)s
WHERE attempt_id = %(attempt_id)s AND state IN ('ready', 'unknown')
"""


def find(pool: Pool, attempt_id: UUID) -> tuple[Attempt | None, datetime]:
    """Return an attempt, and the database's time, without a lock and without leaving a transaction open.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        row = connection.execute(_READ, {"attempt_id": attempt_id}).fetchone()
        at: datetime = connection.execute(_AT).fetchall()[0]["at"]
    return (_attempt(row) if row else None), at


def read(tx: Tx, attempt_id: UUID) -> Pending[Attempt | None]:
    """Return an attempt as it stands once its payment's row is locked."""
    return tx.ask(_READ, {"attempt_id": attempt_id}).map(_first)


def newest(tx: Tx, payment_id: UUID | None) -> Pending[Attempt | None]:
    """Return a payment's attempt with the highest number, once its row is locked."""
    return tx.ask(_NEWEST, {"payment_id": payment_id}).map(_first)


def insert(tx: Tx, attempt: Attempt) -> None:
    """Write a new attempt; a second open one for the same payment is refused by the database."""
    tx.send(_INSERT, _columns(attempt))


def change(tx: Tx, attempt: Attempt) -> None:
    """Write what is now known of an attempt that was open under its payment's lock."""
    tx.send(_CHANGE, _columns(attempt))


def _first(rows: list[Row]) -> Attempt | None:
    return _attempt(rows[0]) if rows else None


def _attempt(row: Row) -> Attempt:
    typed: Row = {"state": AttemptState(row["state"])}
    return Attempt(**(row | typed))


def _columns(attempt: Attempt) -> dict[str, object]:
    return {name: getattr(attempt, name) for name in attempt.__dataclass_fields__}
