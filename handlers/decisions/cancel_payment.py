"""CancelPayment: a dispatcher or admin calls a payment off before it is paid out."""

from datetime import datetime

from contracts.inbound import CancelPayment
from contracts.lifecycle import Event
from handlers.decision import Decision, Facts
from handlers.withdrawal import withdrawn


def decide(facts: Facts, message: CancelPayment, now: datetime) -> Decision:
    """Cancel a payment that waits for approval or for its payout."""
    return withdrawn(facts, message, now, event=Event.CANCELLED, cancel_kind="cancelled")
