"""How a payment ends before it is paid: rejected or called off, always with a reason."""

from datetime import datetime

from contracts.inbound import CancelPayment, RejectPayment
from contracts.lifecycle import Event, Status, Verdict
from contracts.outbound import PaymentCancelled
from contracts.refusals import Refusal
from handlers.decision import Decision, Facts
from handlers.steps import Flaw, advanced, commanded, refuse_command, role_data, step

REASON_CHARS_MAX = 2_000
REASON_CODE_CHARS_MAX = 64
#: The reason code of a sender that names none.
NO_REASON_CODE = "unspecified"


def withdrawn(
    facts: Facts, message: RejectPayment | CancelPayment, now: datetime, *, event: Event, cancel_kind: str
) -> Decision:
    """Cancel the payment, or refuse: a cancelled one is `already_decided`, any other an illegal transition."""
    actor = message.actor.actor()
    if field := _bad_field(message):
        return refuse_command(facts, message, now, Refusal.INVALID_FIELD, field)
    payment = commanded(facts, message, actor)
    if isinstance(payment, Flaw):
        return refuse_command(facts, message, now, *payment)
    after = advanced(payment, event, now, cancel_kind=cancel_kind)
    if isinstance(after, Refusal | Verdict):
        cancelled = payment.status is Status.CANCELLED
        code = Refusal.ALREADY_DECIDED if cancelled else Refusal.ILLEGAL_TRANSITION
        return refuse_command(facts, message, now, code)
    reason_code = message.reason_code or NO_REASON_CODE
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


def _bad_field(message: RejectPayment | CancelPayment) -> str | None:
    if not 0 < len(message.reason.strip()) <= REASON_CHARS_MAX:
        return "reason"
    if message.reason_code is not None and not 0 < len(message.reason_code) <= REASON_CODE_CHARS_MAX:
        return "reasonCode"
    return None
