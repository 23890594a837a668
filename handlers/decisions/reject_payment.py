"""RejectPayment: a dispatcher or admin turns a payment down, with a reason."""

from datetime import datetime

from contracts.inbound import RejectPayment
from contracts.lifecycle import Event
from handlers.decision import Decision, Facts
from handlers.withdrawal import withdrawn


def decide(facts: Facts, message: RejectPayment, now: datetime) -> Decision:
    """Cancel a payment that waits for approval."""
    return withdrawn(facts, message, now, event=Event.REJECTED, cancel_kind="rejected")
