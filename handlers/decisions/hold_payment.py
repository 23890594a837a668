"""HoldPayment: a dispatcher or admin stops a payment for a while."""

from datetime import datetime

from contracts.inbound import HoldPayment
from contracts.lifecycle import Event, Status
from contracts.outbound import OutboundMessage, PaymentHeld
from contracts.payment import Payment
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Facts, Post
from handlers.payable import due
from handlers.reasons import bad_reason, coded
from handlers.steps import Flaw, advanced, commanded, refuse_command, role_data, step


def decide(facts: Facts, message: HoldPayment, now: datetime) -> Decision:
    """Hold the payment, or change until when it is held."""
    if field := bad_reason(message) or ("until" if message.until is not None and message.until <= now else None):
        return refuse_command(facts, message, now, Refusal.INVALID_FIELD, field)
    payment = commanded(facts, message)
    if isinstance(payment, Flaw):
        return refuse_command(facts, message, now, *payment)
    after = advanced(payment, Event.HELD, now, on_hold=True, hold_until=message.until)
    if not isinstance(after, Payment):
        return refuse_command(facts, message, now, Refusal.ILLEGAL_TRANSITION)
    if payment.held(now) and payment.hold_until == message.until:
        return Absorb(payment)
    if payment.on_hold and facts.actor.gains_from(payment):  # another end for a hold may be its end
        return refuse_command(facts, message, now, Refusal.SELF_APPROVAL)
    return _held(facts, message, now, payment, after)


def _held(facts: Facts, message: HoldPayment, now: datetime, payment: Payment, after: Payment) -> Decision:
    announcement = PaymentHeld(
        **PaymentHeld.about(after, facts.cause, now),
        held_by=facts.actor.id,
        held_at=now,
        hold_until=message.until,
        reason_code=coded(message),
    )
    posts: tuple[OutboundMessage | Post, ...] = (announcement,)
    if message.until is not None and after.status is Status.APPROVED:
        posts += due(after, facts.cause, not_before=message.until)  # nobody else would think of it then
    data = {**role_data(facts.actor), "reasonCode": coded(message)}
    return step(payment, after, Event.HELD, facts.actor, posts, data=data, note=message.reason)
