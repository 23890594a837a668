"""How a payment ends before it is paid: rejected or called off, always with a reason."""

from datetime import datetime

from contracts.inbound import CancelPayment, RejectPayment
from contracts.lifecycle import Event, Status, Verdict
from contracts.outbound import PaymentCancelled
from contracts.refusals import Refusal
from handlers.decision import Decision, Facts
from handlers.reasons import bad_reason, coded
from handlers.steps import Flaw, advanced, commanded, refuse_command, role_data, step


def withdrawn(
    facts: Facts, message: RejectPayment | CancelPayment, now: datetime, *, event: Event, cancel_kind: str
) -> Decision:
    """Cancel the payment, or refuse: a cancelled one is `already_decided`, any other an illegal transition."""
    actor = facts.actor
    if field := bad_reason(message):
        return refuse_command(facts, message, now, Refusal.INVALID_FIELD, field)
    payment = commanded(facts, message)
    if isinstance(payment, Flaw):
        return refuse_command(facts, message, now, *payment)
    after = advanced(payment, event, now, cancel_kind=cancel_kind)
    if isinstance(after, Refusal | Verdict):
        cancelled = payment.status is Status.CANCELLED
        code = Refusal.ALREADY_DECIDED if cancelled else Refusal.ILLEGAL_TRANSITION
        return refuse_command(facts, message, now, code)
    reason_code = coded(message)
    announcement = PaymentCancelled(
        **PaymentCancelled.about(after, facts.cause, now),
        cancelled_by=actor.id,
        cancelled_at=now,
        cancel_kind=cancel_kind,
        reason_code=reason_code,
        reason=message.reason,
    )
    data = {**role_data(actor), "reasonCode": reason_code}
    return step(payment, after, event, actor, (announcement,), data=data, note=message.reason)
