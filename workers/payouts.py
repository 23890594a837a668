"""ExecutePayout, before its transaction: read the attempt, look it up at the provider, and only then submit it."""

from datetime import datetime
from typing import assert_never

from contracts.inbound import ExecutePayout
from contracts.money import Money
from contracts.payment import Attempt
from contracts.provider import Accepted, Answer, NotFound, PayoutOrder, PayoutProvider, TryLater, Unknown
from store import attempts
from store.db import Pool

#: Why an attempt that was never found at the provider is not submitted any more.
WINDOW_CLOSED = "submit_window_closed"


def ask(pool: Pool, provider: PayoutProvider, message: ExecutePayout) -> Answer | None:
    """Return what the provider says about an attempt, or None where there is nothing to ask about.

    The look-up comes before every submission: after a restore the provider may have forgotten the idempotency
    key while it remembers the transfer. No transaction is open meanwhile.

    Raises:
        Transient: the database could not say what the attempt is.
    """
    attempt, at = attempts.find(pool, message.attempt_id)
    if attempt is None or not attempt.state.open:
        return None
    return _look_up_then_submit(provider, attempt, at)


def _look_up_then_submit(provider: PayoutProvider, attempt: Attempt, at: datetime) -> Answer:
    order = PayoutOrder(
        payment_id=attempt.payment_id,
        attempt_no=attempt.attempt_no,
        idempotency_key=attempt.idempotency_key,
        money=Money(attempt.amount_cents, attempt.currency),
        destination=attempt.destination or "",
    )
    found = provider.look_up(order)
    match found:
        case Accepted() | TryLater():
            return found
        case NotFound():
            # Past the window the key may be pruned, so that submitting again could pay twice.
            return provider.submit(order) if at < attempt.submit_before else Unknown(WINDOW_CLOSED)
        case _:
            assert_never(found)
