"""Payout attempts: open, read, resolve."""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from contracts.payment import Attempt, AttemptState
from contracts.provider import Reversal
from store.db import Pending, Pool, Row, Tx, reading

_SELECT: LiteralString = """
SELECT attempt_id, payment_id, attempt_no, provider, idempotency_key, request_fingerprint, destination,
       amount_cents, currency, state, failure_code, provider_object_id, created_at, submit_before, checks,
       next_check_at, resolved_at
FROM payout_attempts
"""
_OF_TRANSFERS = """
SELECT attempt_id, destination FROM payout_attempts
WHERE provider = %(provider)s AND provider_object_id = ANY(%(object_ids)s) ORDER BY attempt_id
"""
_REVERSED = """
INSERT INTO payout_reversals (provider, reversal_id, payment_id, attempt_id, amount_cents, recorded_at, message_key)
SELECT %(provider)s, reversal.id, %(payment_id)s, %(attempt_id)s, reversal.amount_cents, %(at)s, %(message_key)s
FROM unnest(%(ids)s::text[], %(amounts)s::bigint[]) AS reversal (id, amount_cents)
ON CONFLICT (provider, reversal_id) DO NOTHING
"""
_PAYABLE = """
SELECT clock_timestamp() AS at, coalesce(
    attempt.destination = coalesce(account.account_id, payment.vendor_id::text)
        AND coalesce(
            account.payouts_enabled AND (account.held_until IS NULL OR account.held_until <= clock_timestamp()), true
        ), false
) AS payable
FROM (SELECT) AS one
LEFT JOIN payout_attempts AS attempt ON attempt.attempt_id = %(attempt_id)s
LEFT JOIN payments AS payment USING (payment_id)
LEFT JOIN vendor_accounts AS account USING (vendor_id)
"""
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


def find(pool: Pool, attempt_id: UUID) -> tuple[Attempt | None, datetime, bool]:
    """Return an attempt, the database's time, and whether the attempt's account is where the vendor may be paid now.

    Without a lock, and without leaving a transaction open.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        row = connection.execute(_READ, {"attempt_id": attempt_id}).fetchone()
        [standing] = connection.execute(_PAYABLE, {"attempt_id": attempt_id}).fetchall()
    return (_attempt(row) if row else None), standing["at"], standing["payable"]


def read(tx: Tx, attempt_id: UUID) -> Pending[Attempt | None]:
    """Return an attempt as it stands once its payment's row is locked."""
    return tx.ask(_READ, {"attempt_id": attempt_id}).map(_first)


def newest(tx: Tx, payment_id: UUID | None) -> Pending[Attempt | None]:
    """Return a payment's attempt with the highest number, once its row is locked."""
    return tx.ask(_NEWEST, {"payment_id": payment_id}).map(_first)


def of_transfers(pool: Pool, provider: str, object_ids: Sequence[str]) -> list[tuple[UUID, str]]:
    """Return the attempts that made these movements, each with the destination that it went to.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        values = {"provider": provider, "object_ids": list(object_ids)}
        rows = connection.execute(_OF_TRANSFERS, values).fetchall()
    return [(row["attempt_id"], row["destination"] or "") for row in rows]


def reverse(tx: Tx, attempt: Attempt, reversals: Sequence[Reversal], at: datetime, message_key: str) -> None:
    """Write what came back of an attempt's money; a reversal that is known already is written once."""
    tx.send(
        _REVERSED,
        {
            "provider": attempt.provider,
            "payment_id": attempt.payment_id,
            "attempt_id": attempt.attempt_id,
            "ids": [reversal.reversal_id for reversal in reversals],
            "amounts": [reversal.amount_cents for reversal in reversals],
            "at": at,
            "message_key": message_key,
        },
    )


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
