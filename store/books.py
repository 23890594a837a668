"""Our own books of payouts, as they are compared with the provider's: attempts with how their payments stand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from contracts.fleet import Waiting
from contracts.lifecycle import Status
from contracts.payment import AttemptState
from store.db import Pool, reading

#: Attempts per round trip.
PAGE = 1_000

_BOOKED: LiteralString = """
SELECT attempt.attempt_id, attempt.payment_id, attempt.attempt_no, attempt.provider, attempt.idempotency_key,
       attempt.destination, attempt.amount_cents, attempt.currency, attempt.state, attempt.provider_object_id,
       attempt.created_at, payment.status, payment.amount_reversed_cents
FROM payout_attempts AS attempt JOIN payments AS payment USING (payment_id)
"""
_OF = _BOOKED + "WHERE attempt.payment_id = ANY(%(ids)s) ORDER BY attempt.payment_id, attempt.attempt_no"
_SUCCEEDED = (
    _BOOKED
    + """
WHERE attempt.state = 'succeeded' AND attempt.provider = %(provider)s AND attempt.created_at >= %(since)s
  AND attempt.attempt_id > %(after)s
ORDER BY attempt.attempt_id LIMIT %(limit)s
"""
)
_AT = "SELECT clock_timestamp() AS at"
#: What is to be paid out and is not: by kind, with since when.
_STANDING_STILL: LiteralString = """
SELECT 'stopped' AS kind, payment_id, attempt_id, created_at AS since FROM payout_attempts
WHERE state IN ('ready', 'unknown') AND next_check_at IS NULL
UNION ALL
SELECT 'between_attempts', payment.payment_id, NULL, payment.updated_at FROM payments AS payment
WHERE payment.status = 'processing' AND NOT EXISTS (
    SELECT FROM payout_attempts AS attempt
    WHERE attempt.payment_id = payment.payment_id AND attempt.state IN ('ready', 'unknown')
)
UNION ALL
SELECT 'approved_unpaid', payment.payment_id, NULL,
       greatest(payment.updated_at, payment.hold_until, account.held_until, account.changed_at)
FROM payments AS payment LEFT JOIN vendor_accounts AS account USING (vendor_id)
WHERE payment.status = 'approved' AND payment.payer_type = 'back_office' AND NOT payment.separate_releaser
  AND payment.fraud_status NOT IN ('flagged', 'confirmed') AND (NOT payment.on_hold OR payment.hold_until <= now())
  AND coalesce(account.payouts_enabled, %(unregistered)s)
  AND (account.held_until IS NULL OR account.held_until <= now())
"""
#: The kinds of payments that are to be paid out and are not.
STANDSTILLS = ("stopped", "between_attempts", "approved_unpaid")
_COUNTED: LiteralString = """
SELECT kind AS name, count(*) AS count, extract(epoch FROM clock_timestamp() - min(since))::float8 AS oldest_age_s FROM
"""
_STANDSTILLS = _COUNTED + "(" + _STANDING_STILL + ") AS found GROUP BY kind"
_NOT_OVER: LiteralString = """
UNION ALL
SELECT 'unknown', payment_id, attempt_id, created_at FROM payout_attempts
WHERE state = 'unknown' AND next_check_at IS NOT NULL
UNION ALL
SELECT 'not_executed_yet', payment_id, attempt_id, created_at FROM payout_attempts
WHERE state = 'ready' AND next_check_at IS NOT NULL
UNION ALL
SELECT 'status_contradicts_attempts', payment.payment_id, NULL, payment.updated_at
FROM payments AS payment CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state = 'succeeded') AS succeeded FROM payout_attempts
    WHERE payment_id = payment.payment_id
) AS attempts
WHERE payment.status IN ('processing', 'completed', 'failed')
  AND attempts.succeeded <> CASE payment.status WHEN 'completed' THEN 1 ELSE 0 END
ORDER BY since, payment_id
"""
#: What is not over, or does not agree with itself: by kind, with since when.
_AMISS = _STANDING_STILL + _NOT_OVER


@dataclass(frozen=True, slots=True)
class Booked:
    """A payout attempt with how its payment stands."""

    attempt_id: UUID
    payment_id: UUID
    attempt_no: int
    provider: str
    idempotency_key: str
    destination: str | None
    amount_cents: int
    currency: str
    state: AttemptState
    provider_object_id: str | None
    created_at: datetime
    status: Status
    amount_reversed_cents: int


@dataclass(frozen=True, slots=True)
class Amiss:
    """Something of ours that is not over, or does not agree with itself, and since when."""

    kind: str
    payment_id: UUID
    attempt_id: UUID | None
    since: datetime


def standstills(pool: Pool, *, unregistered: bool) -> Mapping[str, Waiting]:
    """Return what is to be paid out and is not, by why, as far as there is any.

    Args:
        pool: the database.
        unregistered: whether a vendor without a registered account is paid.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        rows = connection.execute(_STANDSTILLS, {"unregistered": unregistered}).fetchall()
    return {row["name"]: Waiting(count=row["count"], oldest_age_s=row["oldest_age_s"]) for row in rows}


def attempts_of(pool: Pool, payment_ids: Sequence[UUID]) -> list[Booked]:
    """Return all attempts of these payments, in order.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        return [_booked(row) for row in connection.execute(_OF, {"ids": list(payment_ids)}).fetchall()]


def succeeded_since(pool: Pool, provider: str, since: datetime) -> Iterator[Booked]:
    """Return every attempt that succeeded with a provider and was begun since a time, page by page.

    Raises:
        Transient: the database could not answer now.
    """
    after = UUID(int=0)
    while True:
        values = {"provider": provider, "since": since, "after": after, "limit": PAGE}
        with reading(pool) as connection:
            page = [_booked(row) for row in connection.execute(_SUCCEEDED, values).fetchall()]
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].attempt_id


def amiss(pool: Pool, *, unregistered: bool) -> list[Amiss]:
    """Return what is not over or does not agree with itself, the oldest first.

    Args:
        pool: the database.
        unregistered: whether vendors without a registered account are paid.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        return [Amiss(**row) for row in connection.execute(_AMISS, {"unregistered": unregistered}).fetchall()]


def now(pool: Pool, ago: timedelta = timedelta(0)) -> datetime:
    """Return the database's time, or the one so long ago.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        at: datetime = connection.execute(_AT).fetchall()[0]["at"]
    return at - ago


def _booked(row: dict[str, Any]) -> Booked:
    typed: dict[str, Any] = {"state": AttemptState(row["state"]), "status": Status(row["status"])}
    return Booked(**(row | typed))
