"""What is said about a payout attempt that is not over: to the world, and to ourselves."""

from datetime import datetime

from contracts import ids
from contracts.inbound import Cause
from contracts.outbound import ExecutePayoutOrder, PaymentProcessing
from contracts.payment import Attempt, Payment


def announced(after: Payment, attempt: Attempt, cause: Cause, now: datetime) -> PaymentProcessing:
    """Return the news that a payment is being paid out; `payoutState` tells an unknown outcome from a fresh attempt."""
    return PaymentProcessing(
        **PaymentProcessing.about(after, cause, now),
        processed_at=after.processed_at or now,
        attempt_no=attempt.attempt_no,
        provider=attempt.provider,
        payout_state=attempt.state,
    )


def ordered(attempt: Attempt, cause: Cause, *, check: int) -> ExecutePayoutOrder:
    """Return the order to put an attempt to the provider, under its check number, so that no check is a duplicate."""
    return ExecutePayoutOrder(
        command_id=ids.execute_payout_key(attempt.attempt_id, check),
        correlation_id=cause.correlation,
        attempt_id=attempt.attempt_id,
        check=check,
    )
