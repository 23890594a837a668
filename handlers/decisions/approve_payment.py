"""ApprovePayment: a dispatcher or admin approves; the approval orders the payout."""

from datetime import datetime

from contracts import ids
from contracts.inbound import ApprovePayment
from contracts.lifecycle import Event, Status, Verdict
from contracts.outbound import Approval, PaymentApproved, ProcessPaymentOrder
from contracts.payment import Actor, Payment
from contracts.refusals import Refusal
from contracts.requests import cut_note
from handlers.decision import Absorb, Decision, Facts
from handlers.steps import Flaw, advanced, commanded, refuse_command, role_data, step


def decide(facts: Facts, message: ApprovePayment, now: datetime) -> Decision:
    """Approve the payment; one dispatcher of its company, or an admin, suffices."""
    actor = message.actor.actor()
    if message.approved_by is not None and message.approved_by != actor.id:
        return refuse_command(facts, message, now, Refusal.INVALID_FIELD, "approvedBy")
    payment = commanded(facts, message, actor)
    if isinstance(payment, Flaw):
        return refuse_command(facts, message, now, *payment)
    after = advanced(payment, Event.APPROVED, now, approved_by=actor.id, approved_at=now)
    if isinstance(after, Refusal | Verdict):
        return _too_late(facts, message, now, payment, actor)
    if guarded := _guard(payment, actor):
        return refuse_command(facts, message, now, guarded)
    return _approved(facts, message, now, payment, after, actor)


def _too_late(facts: Facts, message: ApprovePayment, now: datetime, payment: Payment, actor: Actor) -> Decision:
    """Tell a repetition of the approval that counted from a decision that comes after another one."""
    if payment.status is Status.CANCELLED:
        return refuse_command(facts, message, now, Refusal.ILLEGAL_TRANSITION)
    if payment.approved_by == actor.id:
        return Absorb(payment)
    return refuse_command(facts, message, now, Refusal.ALREADY_DECIDED)


def _guard(payment: Payment, actor: Actor) -> Refusal | None:
    if actor.id in (payment.created_by, payment.vendor_id):
        return Refusal.SELF_APPROVAL
    if payment.on_hold:
        return Refusal.ON_HOLD
    return Refusal.FRAUD_REVIEW_REQUIRED if payment.fraud_blocks else None


def _approved(
    facts: Facts, message: ApprovePayment, now: datetime, payment: Payment, after: Payment, actor: Actor
) -> Decision:
    announcement = PaymentApproved(
        **PaymentApproved.about(after, facts.cause, now),
        approved_by=actor.id,
        approved_at=now,
        approvals=(Approval(approver_id=actor.id, level=1, at=now),),
    )
    order = ProcessPaymentOrder(
        command_id=ids.process_payment_key(after.payment_id, after.version, refusals=0),
        correlation_id=facts.cause.correlation,
        payment_id=after.payment_id,
    )
    note = cut_note(message.notes, message.review_notes)
    return step(payment, after, Event.APPROVED, actor, (announcement, order), data=role_data(actor), note=note)
