"""What must hold of all rows at any time, counted where it does not.

The database refuses each breach as it is written; a restore, a repair by hand or a bug in a guard could still bring one
about. There is no budget for any of them.
"""

from enum import StrEnum


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
