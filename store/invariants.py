"""What must hold of all rows at any time, counted where it does not.

The database refuses each breach as it is written; a restore, a repair by hand or a bug in a guard could still bring one
about. There is no budget for any of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import LiteralString

from store.db import Pool, reading


class Invariant(StrEnum):
    """The invariants, by what holds."""

    LINES_SUM_TO_AMOUNT = "lines_sum_to_amount"
    APPROVED_BY_ENOUGH = "approved_by_enough"
    ONE_LIVE_PAYMENT_PER_WORK = "one_live_payment_per_work"
    ONE_SUCCESS_PER_PAYMENT = "one_success_per_payment"
    COMPLETED_HAS_SUCCESS = "completed_has_success"
    ATTEMPT_PAYS_THE_AMOUNT = "attempt_pays_the_amount"
    REVERSED_WITHIN_AMOUNT = "reversed_within_amount"
    STATUS_IS_EXPLAINED = "status_is_explained"


#: One query for each: it counts what breaks it. Large tables are walked once, in bulk, and never row by row.
QUERIES: Mapping[Invariant, LiteralString] = {
    Invariant.LINES_SUM_TO_AMOUNT: """
        SELECT count(*) AS broken FROM payments AS payment
        LEFT JOIN (
            SELECT payment_id, sum(total_cents) AS total FROM payment_line_items GROUP BY payment_id
        ) AS lines USING (payment_id)
        WHERE lines.total IS DISTINCT FROM payment.amount_cents
    """,
    Invariant.APPROVED_BY_ENOUGH: """
        SELECT count(*) AS broken FROM payments AS payment
        LEFT JOIN (
            SELECT payment_id, count(DISTINCT approver_id) AS given FROM payment_approvals GROUP BY payment_id
        ) AS approvals USING (payment_id)
        WHERE payment.status IN ('approved', 'processing', 'completed', 'failed')
          AND NOT (payment.approved_by IS NULL AND payment.payer_type = 'driver_ic')
          AND coalesce(approvals.given, 0) < payment.required_approvals
    """,
    Invariant.ONE_LIVE_PAYMENT_PER_WORK: """
        SELECT count(*) AS broken FROM (
            SELECT FROM payments WHERE source = 'work_completed' AND status <> 'cancelled'
            GROUP BY incident_id, vendor_id HAVING count(*) > 1
        ) AS doubled
    """,
    Invariant.ONE_SUCCESS_PER_PAYMENT: """
        SELECT count(*) AS broken FROM (
            SELECT FROM payout_attempts WHERE state = 'succeeded' GROUP BY payment_id HAVING count(*) > 1
        ) AS doubled
    """,
    Invariant.COMPLETED_HAS_SUCCESS: """
        SELECT count(*) AS broken FROM payments AS payment
        FULL JOIN (
            SELECT DISTINCT payment_id FROM payout_attempts WHERE state = 'succeeded'
        ) AS paid USING (payment_id)
        WHERE (payment.status IS NOT DISTINCT FROM 'completed') <> (paid.payment_id IS NOT NULL)
    """,
    Invariant.ATTEMPT_PAYS_THE_AMOUNT: """
        SELECT count(*) AS broken FROM payout_attempts AS attempt JOIN payments AS payment USING (payment_id)
        WHERE (attempt.amount_cents, attempt.currency) IS DISTINCT FROM (payment.amount_cents, payment.currency)
    """,
    Invariant.REVERSED_WITHIN_AMOUNT: """
        SELECT count(*) AS broken FROM payments AS payment
        LEFT JOIN (
            SELECT payment_id, sum(amount_cents) AS total FROM payout_reversals GROUP BY payment_id
        ) AS back USING (payment_id)
        WHERE payment.amount_reversed_cents <> coalesce(back.total, 0)
           OR payment.amount_reversed_cents > payment.amount_cents
    """,
    Invariant.STATUS_IS_EXPLAINED: """
        SELECT count(*) AS broken FROM payments AS payment
        LEFT JOIN payment_audit_log AS newest
            ON newest.payment_id = payment.payment_id AND newest.seq = payment.version
        WHERE newest.new_status IS DISTINCT FROM payment.status
           OR newest.entry_hash IS DISTINCT FROM payment.audit_head
    """,
}
# One moment for all of them: a payment that changes between two queries breaks nothing.
_BEGIN: LiteralString = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL statement_timeout = '10min';
SET LOCAL idle_in_transaction_session_timeout = '1min';
"""
_AT = "SELECT clock_timestamp() AS at"


@dataclass(frozen=True, slots=True)
class Checked:
    """How many rows break each invariant, at a moment."""

    broken: Mapping[Invariant, int]
    at: datetime


def check(pool: Pool) -> Checked:
    """Count what breaks the invariants, in one snapshot; the time it takes grows with the tables.

    Raises:
        Transient: one query took more than ten minutes, or the database could not answer.
        StoreFault: the database refused a statement of ours.
    """
    with reading(pool) as connection, connection.transaction():
        connection.execute(_BEGIN)
        at = connection.execute(_AT).fetchall()[0]["at"]
        broken = {
            invariant: int(connection.execute(query).fetchall()[0]["broken"]) for invariant, query in QUERIES.items()
        }
    return Checked(broken, at)
