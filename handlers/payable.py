"""When an approved payment is due to be paid out, and how the service orders that from itself."""

from datetime import datetime

from contracts import ids
from contracts.inbound import Cause
from contracts.outbound import ProcessPaymentOrder
from contracts.payment import Payment
from handlers.decision import Post


def due(after: Payment, cause: Cause, *, not_before: datetime | None = None) -> tuple[Post, ...]:
    """Return the order to pay a payment out, or nothing where a person has to release it.

    The key is derived from the version that made it due, so that a repetition orders nothing twice.
    """
    if after.separate_releaser:
        return ()
    order = ProcessPaymentOrder(
        command_id=ids.process_payment_key(after.payment_id, after.version, refusals=0),
        correlation_id=cause.correlation,
        payment_id=after.payment_id,
    )
    return (Post(order, not_before),)
