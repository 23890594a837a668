"""What is due and has no message under way: attempts to look up, and payments whose payout must be ordered again.

A claim says in `swept` that an order was posted, so that several relays, and one that sweeps often, post it once. It is
posted again when it becomes due anew, or when nothing has come of it for long: whatever is lost on its way comes back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import LiteralString
from uuid import UUID

from contracts.inbound import OWN_KEY
from contracts.payment import Waiting
from store.db import Pool, reading, transaction
from store.vendor_accounts import REFUSALS

#: The refusals that another order will meet too; only a change of the payment, or a person, ends them.
_FINAL = (
    "payer_not_chargeable",
    "amount_below_minimum",
    "amount_out_of_range",
    "unsupported_currency",
    "invalid_field",
)

#: `due` names subjects and when they became due; the rows that win are those whose order is to be posted now.
_CLAIM: LiteralString = """
, won AS (
    INSERT INTO swept (subject_id, posted_at)
    SELECT subject_id, clock_timestamp() FROM due
    ON CONFLICT (subject_id) DO UPDATE SET posted_at = excluded.posted_at
    WHERE swept.posted_at < (SELECT due_at FROM due WHERE due.subject_id = swept.subject_id)
       OR swept.posted_at < now() - %(again_after)s::interval
    RETURNING subject_id
)
"""
#: Whoever was posted not long ago is not due: it would keep others out of a full batch.
_UNPOSTED: LiteralString = """
NOT EXISTS (
    SELECT FROM swept WHERE swept.subject_id = found.subject_id
      AND swept.posted_at >= found.due_at AND swept.posted_at >= now() - %(again_after)s::interval
)
"""
_ATTEMPTS = (
    "WITH due AS (SELECT subject_id, due_at, checks FROM ("  # noqa: S608 - literals: pyright proves it
    """
    SELECT attempt_id AS subject_id, next_check_at AS due_at, checks FROM payout_attempts
    WHERE state IN ('ready', 'unknown') AND next_check_at <= now()
) AS found WHERE """
    + _UNPOSTED
    + "ORDER BY due_at, subject_id LIMIT %(limit)s)"
    + _CLAIM
    + "SELECT due.subject_id AS attempt_id, due.checks FROM due JOIN won USING (subject_id) ORDER BY due.due_at"
)
_PAYMENTS = (
    "WITH found AS ("  # noqa: S608 - literals: pyright proves it
    """
    SELECT payment.payment_id AS subject_id, payment.version, payment.created_at, payment.updated_at,
           greatest(payment.updated_at + %(stuck_after)s, payment.hold_until, account.held_until) AS due_at
    FROM payments AS payment LEFT JOIN vendor_accounts AS account USING (vendor_id)
    WHERE payment.status = 'approved' AND payment.payer_type = 'back_office' AND NOT payment.separate_releaser
      AND payment.fraud_status NOT IN ('flagged', 'confirmed') AND (NOT payment.on_hold OR payment.hold_until <= now())
      AND coalesce(account.payouts_enabled, %(unregistered)s)
    UNION ALL
    SELECT payment.payment_id, payment.version, payment.created_at, payment.updated_at,
           greatest(
               last.resolved_at + interval '1 second'
                   * (%(pauses_s)s::float8[])[least(last.attempt_no, cardinality(%(pauses_s)s::float8[]))],
               account.held_until
           )
    FROM payments AS payment LEFT JOIN vendor_accounts AS account USING (vendor_id)
    CROSS JOIN LATERAL (
        SELECT attempt_no, state, resolved_at FROM payout_attempts
        WHERE payment_id = payment.payment_id ORDER BY attempt_no DESC LIMIT 1
    ) AS last
    WHERE payment.status = 'processing' AND last.state = 'failed'
      AND coalesce(account.payouts_enabled, %(unregistered)s)
), due AS (
    SELECT * FROM found
    WHERE due_at <= now() AND NOT EXISTS (
        SELECT FROM message_inbox
        WHERE consumer = 'ProcessPayment' AND outcome = 'refused' AND payment_id = found.subject_id
          AND received_at >= found.updated_at AND outcome_code = ANY(%(final)s) AND starts_with(message_key, %(own)s)
    ) AND """
    + _UNPOSTED
    + "ORDER BY created_at, subject_id LIMIT %(limit)s)"
    + _CLAIM
    + "SELECT payment.payment_id, payment.version, ("
    + REFUSALS
    + """) AS refusals
FROM (SELECT subject_id AS payment_id, version, created_at, updated_at FROM due JOIN won USING (subject_id)) AS payment
ORDER BY payment.created_at, payment.payment_id
"""
)
_PUT_BACK = "DELETE FROM swept WHERE subject_id = ANY(%(ids)s)"
_FORGET = "DELETE FROM swept WHERE posted_at < now() - %(older_than)s::interval"
_REQUEST: LiteralString = """
INSERT INTO reconcile_requests (attempt_id)
SELECT attempt_id FROM payout_attempts
"""
_REQUEST_OPEN = _REQUEST + "WHERE state IN ('ready', 'unknown') RETURNING attempt_id"
_REQUEST_THESE = (
    _REQUEST  # noqa: S608 - literals: pyright proves it
    + """
WHERE attempt_id = ANY(%(ids)s) OR attempt_id IN (
    SELECT DISTINCT ON (payment_id) attempt_id FROM payout_attempts
    WHERE payment_id = ANY(%(ids)s) ORDER BY payment_id, attempt_no DESC
)
RETURNING attempt_id
"""
)
_UNPOSTED_REQUESTS = """
SELECT request_id, attempt_id FROM reconcile_requests WHERE posted_at IS NULL ORDER BY request_id LIMIT %(limit)s
"""
_POSTED = "UPDATE reconcile_requests SET posted_at = clock_timestamp() WHERE request_id = ANY(%(ids)s)"


@dataclass(frozen=True, slots=True)
class Due:
    """A payout attempt that is to be looked up, and the number of that look."""

    attempt_id: UUID
    checks: int


@dataclass(frozen=True, slots=True)
class Requested:
    """A look at an attempt that an operator asked for."""

    request_id: int
    attempt_id: UUID


@dataclass(frozen=True, slots=True)
class Patience:
    """How the sweep counts; durations as time spans.

    Attributes:
        again_after: when an order is posted again of which nothing came.
        stuck_after: how long an approved payment may wait for its own order before the sweep posts one.
        pauses: how long a payment waits for its next attempt, by the number of the one that failed; the last repeats.
        unregistered: whether vendors without a registered account are paid.
    """

    again_after: timedelta
    stuck_after: timedelta
    pauses: Sequence[timedelta]
    unregistered: bool


def due_attempts(pool: Pool, patience: Patience, limit: int) -> list[Due]:
    """Claim open attempts whose next look is due, the longest due first.

    Raises:
        Transient: the database could not answer now.
    """
    with transaction(pool) as tx:
        rows = tx.ask(_ATTEMPTS, {"again_after": patience.again_after, "limit": limit}).value()
    return [Due(**row) for row in rows]


def due_payments(pool: Pool, patience: Patience, limit: int) -> list[Waiting]:
    """Claim payments that may be paid and are not: approved ones, and those whose last attempt came to nothing.

    First in, first out.

    Raises:
        Transient: the database could not answer now.
    """
    values = {
        "again_after": patience.again_after,
        "stuck_after": patience.stuck_after,
        "pauses_s": [pause.total_seconds() for pause in patience.pauses],
        "unregistered": patience.unregistered,
        "final": list(_FINAL),
        "own": OWN_KEY,
        "limit": limit,
    }
    with transaction(pool) as tx:
        rows = tx.ask(_PAYMENTS, values).value()
    return [Waiting(**row) for row in rows]


def put_back(pool: Pool, subject_ids: Sequence[UUID]) -> None:
    """Let what was claimed be claimed again: its order could not be posted.

    Raises:
        Transient: the database could not do it now.
    """
    with transaction(pool) as tx:
        tx.send(_PUT_BACK, {"ids": list(subject_ids)})


def forget(pool: Pool, older_than: timedelta) -> None:
    """Delete what was posted long ago.

    Raises:
        Transient: the database could not do it now.
    """
    with transaction(pool) as tx:
        tx.send(_FORGET, {"older_than": older_than})


def request(pool: Pool, ids: Sequence[UUID]) -> list[UUID]:
    """Ask for a look at these attempts, at these payments' newest, or at every open one; return the attempts.

    Raises:
        Transient: the database could not do it now.
        StoreFault: the user may not.
    """
    with transaction(pool) as tx:
        rows = tx.ask(_REQUEST_THESE if ids else _REQUEST_OPEN, {"ids": list(ids)}).value()
    return [row["attempt_id"] for row in rows]


def requested(pool: Pool, limit: int) -> list[Requested]:
    """Return what was asked for and not posted yet. Until it is marked, several relays may post it: under one key.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        rows = connection.execute(_UNPOSTED_REQUESTS, {"limit": limit}).fetchall()
    return [Requested(**row) for row in rows]


def mark_posted(pool: Pool, request_ids: Sequence[int]) -> None:
    """Say that these looks are ordered.

    Raises:
        Transient: the database could not do it now; they are ordered again, under the same keys.
    """
    if request_ids:
        with reading(pool) as connection:
            connection.execute(_POSTED, {"ids": list(request_ids)})
