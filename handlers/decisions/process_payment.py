"""ProcessPayment: begin to pay an approved payment out; the attempt exists before the provider hears of it."""

from dataclasses import replace
from datetime import datetime

from contracts import ids
from contracts.canonical import digest
from contracts.envelope import Queue
from contracts.ids import as_uuid
from contracts.inbound import ProcessPayment
from contracts.lifecycle import Event, Verdict
from contracts.payment import Actor, Attempt, AttemptState, PayerType, Payment
from contracts.refusals import Refusal
from handlers.decision import Decision, Facts
from handlers.payouts import announced, ordered
from handlers.steps import Flaw, advanced, commanded, refuse_command, step


def decide(facts: Facts, message: ProcessPayment, now: datetime) -> Decision:
    """Open the first attempt, or the next one, and order its execution.

    On the payouts queue only the service itself can post; on the command queue a person releases the payment.
    """
    automatic = facts.cause.queue is Queue.PAYOUTS
    payment = _ordered(facts, message) if automatic else commanded(facts, message)
    if isinstance(payment, Flaw):
        return refuse_command(facts, message, now, *payment)
    if automatic and payment.separate_releaser:
        return refuse_command(facts, message, now, Refusal.FORBIDDEN_ROLE)
    after = advanced(payment, Event.PROCESSING_STARTED, now, processed_at=now, on_hold=False, hold_until=None)
    if isinstance(after, Refusal | Verdict):
        return refuse_command(facts, message, now, Refusal.ILLEGAL_TRANSITION)
    if guarded := _guard(facts, payment, now):
        return refuse_command(facts, message, now, guarded)
    return _started(facts, now, payment, after, facts.actor)


def _ordered(facts: Facts, message: ProcessPayment) -> Payment | Flaw:
    if as_uuid(message.payment_id) is None:
        return Flaw(Refusal.INVALID_FIELD, "paymentId")
    return facts.payment or Flaw(Refusal.NOT_FOUND)


def _guard(facts: Facts, payment: Payment, now: datetime) -> Refusal | None:
    if _releases_own(facts, payment):
        return Refusal.SELF_APPROVAL
    if payment.held(now):
        return Refusal.ON_HOLD
    if payment.fraud_blocks:
        return Refusal.FRAUD_REVIEW_REQUIRED
    return Refusal.PAYER_NOT_CHARGEABLE if payment.payer_type is PayerType.DRIVER_IC else None


def _releases_own(facts: Facts, payment: Payment) -> bool:
    """Whether a person releases what they have approved, where the policy asks for another one, or are paid by."""
    if facts.actor.gains_from(payment):
        return True
    approvers = {approval.approver_id for approval in facts.approvals}
    return payment.separate_releaser and facts.actor.id in approvers


def _started(facts: Facts, now: datetime, payment: Payment, after: Payment, actor: Actor) -> Decision:
    attempt = _next_attempt(facts, payment, now)
    posts = (announced(after, attempt, facts.cause, now), ordered(attempt, facts.cause, check=attempt.checks))
    opened = replace(attempt, checks=attempt.checks + 1)
    data = {"attemptNo": attempt.attempt_no, "provider": attempt.provider}
    return step(payment, after, Event.PROCESSING_STARTED, actor, posts, opens=opened, data=data)


def _next_attempt(facts: Facts, payment: Payment, now: datetime) -> Attempt:
    attempt_no = facts.attempt.attempt_no + 1 if facts.attempt else 1
    business = {"payment": payment.payment_id, "amount": payment.amount_cents, "currency": payment.currency}
    return Attempt(
        attempt_id=ids.attempt_id(payment.payment_id, attempt_no),
        payment_id=payment.payment_id,
        attempt_no=attempt_no,
        provider=facts.rules.provider,
        idempotency_key=ids.provider_key(payment.payment_id, attempt_no),
        request_fingerprint=digest({**business, "vendor": payment.vendor_id}),
        amount_cents=payment.amount_cents,
        currency=payment.currency,
        state=AttemptState.READY,
        created_at=now,
        submit_before=now + facts.rules.submit_window,
        destination=str(payment.vendor_id),
        next_check_at=now + facts.rules.check_after[0],
    )
