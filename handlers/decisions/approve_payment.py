"""ApprovePayment: one of the persons whom the policy asks for approves; the last approval orders the payout."""

from datetime import datetime

from contracts.inbound import ApprovePayment
from contracts.lifecycle import Event, Status, Verdict
from contracts.outbound import OutboundMessage, PaymentApprovalRecorded, PaymentApproved, approvals_sent
from contracts.payment import Actor, Approval, Payment
from contracts.refusals import Refusal
from contracts.requests import cut_note
from handlers.decision import Absorb, Decision, Facts, Post
from handlers.payable import due
from handlers.steps import Flaw, advanced, certain, commanded, refuse_command, role_data, step


def decide(facts: Facts, message: ApprovePayment, now: datetime) -> Decision:
    """Record the approval, and approve the payment where it was the last one that it takes."""
    actor = facts.actor
    if message.approved_by is not None and message.approved_by != actor.id:
        return refuse_command(facts, message, now, Refusal.INVALID_FIELD, "approvedBy")
    payment = commanded(facts, message, approving=True)
    if isinstance(payment, Flaw):
        return refuse_command(facts, message, now, *payment)
    if isinstance(advanced(payment, Event.APPROVED, now), Refusal | Verdict):
        return _too_late(facts, message, now, payment)
    if guarded := _guard(facts, payment, now):
        return refuse_command(facts, message, now, guarded)
    return _approved(facts, message, now, payment, actor)


def _too_late(facts: Facts, message: ApprovePayment, now: datetime, payment: Payment) -> Decision:
    """Tell a repetition of an approval that counted from a decision that comes after the last one."""
    if payment.status is Status.CANCELLED:
        return refuse_command(facts, message, now, Refusal.ILLEGAL_TRANSITION)
    if facts.actor.id == payment.approved_by or _has_approved(facts):
        return Absorb(payment)
    return refuse_command(facts, message, now, Refusal.ALREADY_DECIDED)


def _has_approved(facts: Facts) -> bool:
    return any(approval.approver_id == facts.actor.id for approval in facts.approvals)


def _guard(facts: Facts, payment: Payment, now: datetime) -> Refusal | None:
    if _has_approved(facts):  # while more are needed, so that it would count a person twice
        return Refusal.ALREADY_DECIDED
    if facts.actor.id == payment.created_by or facts.actor.gains_from(payment):
        return Refusal.SELF_APPROVAL
    if payment.held(now):
        return Refusal.ON_HOLD
    return Refusal.FRAUD_REVIEW_REQUIRED if payment.fraud_blocks else None


def _approved(facts: Facts, message: ApprovePayment, now: datetime, payment: Payment, actor: Actor) -> Decision:
    approval = Approval(actor.id, len(facts.approvals) + 1, now)
    approvals = (*facts.approvals, approval)
    last = approval.level >= payment.required_approvals
    event = Event.APPROVED if last else Event.APPROVAL_RECORDED
    changes = {"approved_by": actor.id, "approved_at": now, "on_hold": False, "hold_until": None} if last else {}
    after = certain(payment, event, now, **changes)
    posts: tuple[OutboundMessage | Post, ...] = (
        (_announced(facts, now, after, approvals), *due(after, facts.cause))
        if last
        else (_recorded(facts, now, after, approvals),)
    )
    data = {**role_data(actor), "level": approval.level, "requiredApprovals": payment.required_approvals}
    note = cut_note(message.notes, message.review_notes)
    return step(payment, after, event, actor, posts, data=data, note=note, approval=approval)


def _announced(facts: Facts, now: datetime, after: Payment, approvals: tuple[Approval, ...]) -> PaymentApproved:
    return PaymentApproved(
        **PaymentApproved.about(after, facts.cause, now),
        approved_by=facts.actor.id,
        approved_at=now,
        approvals=approvals_sent(approvals),
        policy_version=after.policy_version,
        separate_releaser=after.separate_releaser,
    )


def _recorded(facts: Facts, now: datetime, after: Payment, approvals: tuple[Approval, ...]) -> PaymentApprovalRecorded:
    return PaymentApprovalRecorded(
        **PaymentApprovalRecorded.about(after, facts.cause, now),
        approved_by=facts.actor.id,
        approved_at=now,
        approvals=approvals_sent(approvals),
        required_approvals=after.required_approvals,
        policy_version=after.policy_version,
    )
