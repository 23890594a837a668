"""ReleaseHold: a dispatcher or admin lets a held payment go on."""

from datetime import datetime

from contracts.inbound import ReleaseHold
from contracts.lifecycle import Event, Status
from contracts.outbound import OutboundMessage, PaymentReleased
from contracts.payment import Payment
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Facts, Post
from handlers.payable import due
from handlers.reasons import bad_reason, coded
from handlers.steps import Flaw, advanced, commanded, refuse_command, role_data, step


def decide(facts: Facts, message: ReleaseHold, now: datetime) -> Decision:
    """Release the hold; a payment that is approved is ordered to be paid out again, unless a person releases it."""
    if field := bad_reason(message):
        return refuse_command(facts, message, now, Refusal.INVALID_FIELD, field)
    payment = commanded(facts, message)
    if isinstance(payment, Flaw):
        return refuse_command(facts, message, now, *payment)
    after = advanced(payment, Event.HOLD_RELEASED, now, on_hold=False, hold_until=None)
    if not isinstance(after, Payment):
        return refuse_command(facts, message, now, Refusal.ILLEGAL_TRANSITION)
    if not payment.on_hold:
        return Absorb(payment)
    if facts.actor.gains_from(payment):
        return refuse_command(facts, message, now, Refusal.SELF_APPROVAL)
    announcement = PaymentReleased(
        **PaymentReleased.about(after, facts.cause, now),
        released_by=facts.actor.id,
        released_at=now,
        reason_code=coded(message),
    )
    posts: tuple[OutboundMessage | Post, ...] = (announcement,)
    if after.status is Status.APPROVED:
        posts += due(after, facts.cause)
    data = {**role_data(facts.actor), "reasonCode": coded(message)}
    return step(payment, after, Event.HOLD_RELEASED, facts.actor, posts, data=data, note=message.reason)
