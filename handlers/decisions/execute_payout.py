"""ExecutePayout: record what the provider said about one attempt; the asking was done before the transaction."""

from dataclasses import replace
from datetime import datetime

from contracts import ids
from contracts.inbound import ExecutePayout
from contracts.lifecycle import Event
from contracts.outbound import PaymentCompleted, PaymentFailed, command_rejected
from contracts.payment import Actor, ActorType, Attempt, AttemptState, Payment
from contracts.provider import Accepted, Declined, TryLater, Unknown
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Facts, NotYet, Post, Refuse
from handlers.payouts import announced, ordered
from handlers.steps import certain, step

_PAYOUTS = Actor(ids.SYSTEM_PAYOUTS, ActorType.SYSTEM)
REASON_CHARS_MAX = 500
FAILURE_CODE_CHARS_MAX = 64


def decide(facts: Facts, _message: ExecutePayout, now: datetime) -> Decision:
    """Complete or fail the payment on a definite answer; otherwise record that nobody knows, and look again."""
    payment, attempt = facts.payment, facts.attempt
    if payment is None or attempt is None:
        rejection = command_rejected(
            facts.cause, now, payment_id=None, payment=None, code=Refusal.NOT_FOUND, field="attemptId"
        )
        return Refuse(Refusal.NOT_FOUND, rejection)
    if not attempt.state.open:
        return _known(facts, payment, attempt)
    match facts.answer:
        case Accepted(provider_object_id):
            return _completed(facts, now, payment, attempt, provider_object_id)
        case Declined(failure_code, reason):
            return _failed(facts, now, payment, attempt, failure_code[:FAILURE_CODE_CHARS_MAX], reason)
        case Unknown(reason):
            return _unknown(facts, now, payment, attempt, reason)
        case TryLater() | None:  # the attempt was not there, or not open, when the provider could be asked
            raise NotYet


def _known(facts: Facts, payment: Payment, attempt: Attempt) -> Absorb:
    """Absorb a late answer that agrees with what is recorded.

    Raises:
        AssertionError: the provider contradicts what is recorded: money may have moved that we call failed.
    """
    moved = isinstance(facts.answer, Accepted)
    same = isinstance(facts.answer, Accepted) and facts.answer.provider_object_id == attempt.provider_object_id
    refused = isinstance(facts.answer, Declined)
    if (moved and not same) or (refused and attempt.state is AttemptState.SUCCEEDED):
        raise AssertionError(
            f"the provider's answer contradicts attempt {attempt.attempt_no}, which is {attempt.state}"
        )
    return Absorb(payment)


def _completed(facts: Facts, now: datetime, payment: Payment, attempt: Attempt, provider_object_id: str) -> Decision:
    settled = replace(
        attempt,
        state=AttemptState.SUCCEEDED,
        provider_object_id=provider_object_id,
        resolved_at=now,
        next_check_at=None,
    )
    after = certain(payment, Event.PAYOUT_SUCCEEDED, now, completed_at=now)
    announcement = PaymentCompleted(
        **PaymentCompleted.about(after, facts.cause, now),
        completed_at=now,
        stripe_transfer_id=provider_object_id if attempt.provider == "stripe" else None,
        provider=attempt.provider,
        provider_object_id=provider_object_id,
        attempt_no=attempt.attempt_no,
    )
    return _settled(payment, after, Event.PAYOUT_SUCCEEDED, settled, (Post(announcement),))


def _failed(
    facts: Facts, now: datetime, payment: Payment, attempt: Attempt, failure_code: str, reason: str
) -> Decision:
    settled = replace(
        attempt, state=AttemptState.FAILED, failure_code=failure_code, resolved_at=now, next_check_at=None
    )
    text = reason[:REASON_CHARS_MAX]
    after = certain(payment, Event.PAYOUT_FAILED, now, failure_code=failure_code, failed_reason=text)
    announcement = PaymentFailed(
        **PaymentFailed.about(after, facts.cause, now),
        reason=text,
        failed_at=now,
        failed_reason=text,
        failure_code=failure_code,
        retryable=False,
        retry_attempts=attempt.attempt_no - 1,
        attempt_no=attempt.attempt_no,
    )
    return _settled(payment, after, Event.PAYOUT_FAILED, settled, (Post(announcement),))


def _unknown(facts: Facts, now: datetime, payment: Payment, attempt: Attempt, reason: str) -> Decision:
    """Keep the payment in processing and order the next look, under the next check number."""
    schedule = facts.rules.check_after
    due = now + schedule[min(attempt.checks - 1, len(schedule) - 1)]
    open_still = replace(attempt, state=AttemptState.UNKNOWN, checks=attempt.checks + 1, next_check_at=due)
    after = certain(payment, Event.PAYOUT_UNKNOWN, now)
    order = ordered(attempt, facts.cause, check=attempt.checks)
    posts = (Post(announced(after, open_still, facts.cause, now)), Post(order, not_before=due))
    return _settled(payment, after, Event.PAYOUT_UNKNOWN, open_still, posts, unknownBecause=reason[:64])


def _settled(
    payment: Payment, after: Payment, event: Event, attempt: Attempt, posts: tuple[Post, ...], **more: str
) -> Decision:
    data = {
        "attemptNo": attempt.attempt_no,
        "provider": attempt.provider,
        "providerObjectId": attempt.provider_object_id,
        "failureCode": attempt.failure_code,
        **more,
    }
    known = {key: value for key, value in data.items() if value is not None}
    return step(payment, after, event, _PAYOUTS, posts, settles=attempt, data=known)
