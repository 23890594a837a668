"""When an approved payment is due to be paid out, and how the service orders that from itself."""

from collections.abc import Iterable
from datetime import datetime

from contracts import ids
from contracts.inbound import Cause
from contracts.outbound import ProcessPaymentOrder
from contracts.payment import Payment, Waiting
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


def waited(payments: Iterable[Waiting], cause: Cause) -> tuple[ProcessPaymentOrder, ...]:
    """Return the orders to pay out what has waited for something other than its own change.

    A refusal leaves the version as it is, so that the number of refusals makes the order a new one.
    """
    return tuple(
        ProcessPaymentOrder(
            command_id=ids.process_payment_key(payment.payment_id, payment.version, payment.refusals),
            correlation_id=cause.correlation,
            payment_id=payment.payment_id,
        )
        for payment in payments
    )
