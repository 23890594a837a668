"""ProcessPayment: begin to pay an approved payment out; the attempt exists before the provider hears of it."""

from dataclasses import replace
from datetime import datetime

from contracts import ids
from contracts.canonical import digest
from contracts.envelope import Queue
from contracts.ids import as_uuid
from contracts.inbound import ProcessPayment
from contracts.lifecycle import Event, Status, Verdict
from contracts.payment import Attempt, AttemptState, PayerType, Payment
from contracts.provider_money import payable
from contracts.refusals import Refusal
from handlers.decision import Decision, Facts
from handlers.payouts import announced, ordered
from handlers.steps import Flaw, advanced, certain, commanded, refuse_command, step


def decide(facts: Facts, message: ProcessPayment, now: datetime) -> Decision:
    """Open the first attempt, or the next one, and order its execution.

    On the payouts queue only the service itself can post; on the command queue a person releases the payment.
    """
    automatic = facts.cause.queue is Queue.PAYOUTS
    payment = _ordered(facts, message) if automatic else commanded(facts, message)
    if isinstance(payment, Flaw):
        return refuse_command(facts, message, now, *payment)
    if automatic and _between_attempts(facts, payment):
        return _next(facts, message, now, payment)
    return _first(facts, message, now, payment, automatic=automatic)


def _first(facts: Facts, message: ProcessPayment, now: datetime, payment: Payment, *, automatic: bool) -> Decision:
    if automatic and payment.separate_releaser:
        return refuse_command(facts, message, now, Refusal.FORBIDDEN_ROLE)
    after = advanced(payment, Event.PROCESSING_STARTED, now, processed_at=now, on_hold=False, hold_until=None)
    if isinstance(after, Refusal | Verdict):
        return refuse_command(facts, message, now, Refusal.ILLEGAL_TRANSITION)
    if guarded := _guard(facts, payment, now):
        return refuse_command(facts, message, now, guarded)
    if message.vendor_stripe_account_id not in (None, _destination(facts, payment)):
        return refuse_command(facts, message, now, Refusal.VENDOR_NOT_PAYABLE, "vendorStripeAccountId")
    if unpayable := _not_payable(facts, payment, now):
        return refuse_command(facts, message, now, unpayable)
    return _started(facts, now, payment, after, Event.PROCESSING_STARTED)


def _ordered(facts: Facts, message: ProcessPayment) -> Payment | Flaw:
    if as_uuid(message.payment_id) is None:
        return Flaw(Refusal.INVALID_FIELD, "paymentId")
    return facts.payment or Flaw(Refusal.NOT_FOUND)


def _between_attempts(facts: Facts, payment: Payment) -> bool:
    """Whether the payment is being processed and its last attempt came to nothing."""
    failed = facts.attempt is not None and facts.attempt.state is AttemptState.FAILED
    return payment.status is Status.PROCESSING and failed


def _next(facts: Facts, message: ProcessPayment, now: datetime, payment: Payment) -> Decision:
    """Open the next attempt of a payment whose release still stands."""
    if guarded := _not_payable(facts, payment, now):
        return refuse_command(facts, message, now, guarded)
    after = certain(payment, Event.ATTEMPT_OPENED, now)
    return _started(facts, now, payment, after, Event.ATTEMPT_OPENED)


def _guard(facts: Facts, payment: Payment, now: datetime) -> Refusal | None:
    if _releases_own(facts, payment):
        return Refusal.SELF_APPROVAL
    if payment.held(now):
        return Refusal.ON_HOLD
    return Refusal.FRAUD_REVIEW_REQUIRED if payment.fraud_blocks else None


def _not_payable(facts: Facts, payment: Payment, now: datetime) -> Refusal | None:
    """Return why the provider could not pay this now: the vendor's account, the payer, the amount, in that order."""
    registered = facts.account.payable(now) if facts.account else facts.rules.unregistered_accounts
    if not registered:
        return Refusal.VENDOR_NOT_PAYABLE
    if payment.payer_type is PayerType.DRIVER_IC:
        return Refusal.PAYER_NOT_CHARGEABLE
    return payable(payment.money)


def _releases_own(facts: Facts, payment: Payment) -> bool:
    """Whether a person releases what they have approved, where the policy asks for another one, or are paid by."""
    if facts.actor.gains_from(payment):
        return True
    approvers = {approval.approver_id for approval in facts.approvals}
    return payment.separate_releaser and facts.actor.id in approvers


def _started(facts: Facts, now: datetime, payment: Payment, after: Payment, event: Event) -> Decision:
    attempt = _next_attempt(facts, payment, now)
    posts = (announced(after, attempt, facts.cause, now), ordered(attempt, facts.cause, check=attempt.checks))
    opened = replace(attempt, checks=attempt.checks + 1)
    data = {"attemptNo": attempt.attempt_no, "provider": attempt.provider}
    return step(payment, after, event, facts.actor, posts, opens=opened, data=data)


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
        destination=_destination(facts, payment),
        next_check_at=now + facts.rules.check_after[0],
    )


def _destination(facts: Facts, payment: Payment) -> str:
    return facts.account.account_id if facts.account else str(payment.vendor_id)
