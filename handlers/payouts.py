"""What the provider's answer makes of a payout attempt and of its payment, whichever message brought it."""

from dataclasses import replace
from datetime import datetime

from contracts import ids
from contracts.inbound import Cause
from contracts.lifecycle import Event, Status
from contracts.outbound import (
    ExecutePayoutOrder,
    PaymentAttemptFailed,
    PaymentCompleted,
    PaymentEvent,
    PaymentFailed,
    PaymentProcessing,
    PaymentReversed,
    VendorPayoutFailed,
    VendorPayoutInTransit,
    VendorPayoutPaid,
    command_rejected,
)
from contracts.payment import Actor, ActorType, Attempt, AttemptState, Payment
from contracts.provider import (
    Accepted,
    Declined,
    NotExecuted,
    PayoutSeen,
    Settlement,
    TryLater,
    Unfunded,
    Unknown,
)
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Facts, Move, NotYet, Post, Record, Refuse, Returned
from handlers.steps import certain, step

_PAYOUTS = Actor(ids.SYSTEM_PAYOUTS, ActorType.SYSTEM)
REASON_CHARS_MAX = 500
FAILURE_CODE_CHARS_MAX = 64
#: The failure code of an attempt that never reached the provider.
NOT_EXECUTED = "not_executed"


def announced(after: Payment, attempt: Attempt, cause: Cause, now: datetime) -> PaymentProcessing:
    """Return the news that a payment is being paid out; `payoutState` tells an unknown outcome from a fresh attempt."""
    return PaymentProcessing(
        **PaymentProcessing.about(after, cause, now),
        processed_at=after.processed_at or now,
        attempt_no=attempt.attempt_no,
        provider=attempt.provider,
        payout_state=attempt.state,
    )


def ordered(attempt: Attempt, cause: Cause, *, check: int) -> ExecutePayoutOrder:
    """Return the order to put an attempt to the provider, under its check number, so that no check is a duplicate."""
    return ExecutePayoutOrder(
        command_id=ids.execute_payout_key(attempt.attempt_id, check),
        correlation_id=cause.correlation,
        attempt_id=attempt.attempt_id,
        check=check,
    )


def no_attempt(facts: Facts, now: datetime) -> Refuse:
    """Turn down an order about an attempt that does not exist."""
    rejection = command_rejected(
        facts.cause, now, payment_id=None, payment=None, code=Refusal.NOT_FOUND, field="attemptId"
    )
    return Refuse(Refusal.NOT_FOUND, rejection)


def answered(facts: Facts, now: datetime, payment: Payment, attempt: Attempt) -> Decision:
    """Complete or fail the payment on a definite answer; otherwise record that nobody knows, and look again.

    Raises:
        NotYet: the attempt was not there, or not open, when the provider could be asked.
        AssertionError: the provider contradicts what is recorded: money may have moved that we call failed.
    """
    if not attempt.state.open:
        return _followed(facts, now, payment, attempt)
    match facts.told.answer:
        case Accepted() as accepted:
            return _completed(facts, now, payment, attempt, accepted)
        case Declined(failure_code, reason):
            return _failed(facts, now, payment, attempt, Declined(failure_code[:FAILURE_CODE_CHARS_MAX], reason))
        case Unfunded(failure_code):
            return _came_to_nothing(facts, now, payment, attempt, failure_code[:FAILURE_CODE_CHARS_MAX])
        case NotExecuted():
            return _came_to_nothing(facts, now, payment, attempt, NOT_EXECUTED)
        case Unknown() as unknown:
            return _unknown(facts, now, payment, attempt, unknown)
        case TryLater() | None:
            raise NotYet


def _followed(facts: Facts, now: datetime, payment: Payment, attempt: Attempt) -> Decision:
    """Record what has become of money that was moved; absorb a late answer that agrees with what is recorded."""
    answer = facts.told.answer
    succeeded = attempt.state is AttemptState.SUCCEEDED
    match answer:
        case Accepted(provider_object_id):
            if succeeded and provider_object_id == attempt.provider_object_id:
                return _progress(facts, now, payment, attempt, answer) or Absorb(payment)
            # Of an attempt that failed: another one has moved it, or the next one will find it.
            contradicts = succeeded or payment.status is Status.FAILED
        case Declined():
            contradicts = succeeded
        case Unknown(_, stopped):
            contradicts = stopped and (succeeded or payment.status is Status.FAILED)
        case _:
            contradicts = False
    if contradicts:
        raise AssertionError(
            f"the provider's answer contradicts attempt {attempt.attempt_no}, which is {attempt.state}"
        )
    return Absorb(payment)


def _completed(facts: Facts, now: datetime, payment: Payment, attempt: Attempt, accepted: Accepted) -> Decision:
    settled = replace(
        attempt,
        state=AttemptState.SUCCEEDED,
        provider_object_id=accepted.provider_object_id,
        resolved_at=now,
        next_check_at=None,
    )
    after = certain(payment, Event.PAYOUT_SUCCEEDED, now, completed_at=now)
    announcement = PaymentCompleted(
        **PaymentCompleted.about(after, facts.cause, now),
        completed_at=now,
        stripe_transfer_id=accepted.provider_object_id if attempt.provider == "stripe" else None,
        provider=attempt.provider,
        provider_object_id=accepted.provider_object_id,
        attempt_no=attempt.attempt_no,
    )
    move = _settled(payment, after, Event.PAYOUT_SUCCEEDED, settled, (Post(announcement),))
    return replace(move, then=_progress(facts, now, after, settled, accepted))


def _failed(facts: Facts, now: datetime, payment: Payment, attempt: Attempt, declined: Declined) -> Decision:
    settled = _closed(attempt, declined.failure_code, now)
    text = declined.reason[:REASON_CHARS_MAX]
    after = certain(payment, Event.PAYOUT_FAILED, now, failure_code=declined.failure_code, failed_reason=text)
    announcement = PaymentFailed(
        **PaymentFailed.about(after, facts.cause, now),
        reason=text,
        failed_at=now,
        failed_reason=text,
        failure_code=declined.failure_code,
        retryable=False,
        retry_attempts=attempt.attempt_no - 1,
        attempt_no=attempt.attempt_no,
    )
    return _settled(payment, after, Event.PAYOUT_FAILED, settled, (Post(announcement),))


def _came_to_nothing(facts: Facts, now: datetime, payment: Payment, attempt: Attempt, failure_code: str) -> Decision:
    """Close the attempt and leave the payment in processing: the sweep opens the next one, under another key."""
    settled = _closed(attempt, failure_code, now)
    after = certain(payment, Event.ATTEMPT_FAILED, now)
    announcement = PaymentAttemptFailed(
        **PaymentAttemptFailed.about(after, facts.cause, now),
        attempt_no=attempt.attempt_no,
        provider=attempt.provider,
        failure_code=failure_code,
        failed_at=now,
    )
    return _settled(payment, after, Event.ATTEMPT_FAILED, settled, (Post(announcement),))


def _closed(attempt: Attempt, failure_code: str, now: datetime) -> Attempt:
    return replace(attempt, state=AttemptState.FAILED, failure_code=failure_code, resolved_at=now, next_check_at=None)


def _unknown(facts: Facts, now: datetime, payment: Payment, attempt: Attempt, unknown: Unknown) -> Decision:
    """Keep the payment in processing; the sweep orders the next look, unless a person has to look first."""
    schedule = facts.rules.check_after
    due = None if unknown.stopped else now + schedule[min(attempt.checks - 1, len(schedule) - 1)]
    open_still = replace(attempt, state=AttemptState.UNKNOWN, checks=attempt.checks + 1, next_check_at=due)
    after = certain(payment, Event.PAYOUT_UNKNOWN, now)
    posts = (Post(announced(after, open_still, facts.cause, now)),)
    return _settled(payment, after, Event.PAYOUT_UNKNOWN, open_still, posts, unknownBecause=unknown.reason[:64])


def _settled(
    payment: Payment, after: Payment, event: Event, attempt: Attempt, posts: tuple[Post, ...], **more: str
) -> Move | Record:
    data = {
        "attemptNo": attempt.attempt_no,
        "provider": attempt.provider,
        "providerObjectId": attempt.provider_object_id,
        "failureCode": attempt.failure_code,
        **more,
    }
    known = {key: value for key, value in data.items() if value is not None}
    return step(payment, after, event, _PAYOUTS, posts, settles=attempt, data=known)


def _progress(
    facts: Facts, now: datetime, payment: Payment, attempt: Attempt, accepted: Accepted
) -> Move | Record | None:
    """Return what has become of the money since it was moved: what came back, and how far the rest has come."""
    back = _came_back(facts, now, payment, attempt, accepted)
    seen = facts.told.seen
    further = _settlement(facts, now, back.after if back else payment, seen) if isinstance(seen, PayoutSeen) else None
    return replace(back, then=further) if back else further


def _came_back(
    facts: Facts, now: datetime, payment: Payment, attempt: Attempt, accepted: Accepted
) -> Move | Record | None:
    total = sum(reversal.amount_cents for reversal in accepted.reversals)
    if total <= payment.amount_reversed_cents:  # a look from before the last one tells of less
        return None
    after = certain(payment, Event.REVERSED, now, amount_reversed_cents=total)
    announcement = PaymentReversed(
        **PaymentReversed.about(after, facts.cause, now),
        amount_reversed_cents=total,
        fully_reversed=total == payment.amount_cents,
        reversed_at=now,
        provider_object_id=accepted.provider_object_id,
    )
    data = {"amountReversedCents": total, "reversals": [reversal.reversal_id for reversal in accepted.reversals]}
    returned = Returned(attempt, accepted.reversals)
    return step(payment, after, Event.REVERSED, _PAYOUTS, (announcement,), data=data, returned=returned)


def _settlement(facts: Facts, now: datetime, payment: Payment, seen: PayoutSeen) -> Move | Record | None:
    if seen.settlement.rank <= Settlement(payment.settlement_status).rank:
        return None
    after = certain(payment, Event.SETTLEMENT_CHANGED, now, settlement_status=str(seen.settlement))
    data = {"settlement": seen.settlement, "payoutId": seen.provider_object_id, "failureCode": seen.failure_code}
    known = {key: value for key, value in data.items() if value is not None}
    announcement = _settlement_news(facts, now, after, seen)
    return step(payment, after, Event.SETTLEMENT_CHANGED, _PAYOUTS, (announcement,), data=known)


def _settlement_news(facts: Facts, now: datetime, after: Payment, seen: PayoutSeen) -> PaymentEvent:
    if seen.settlement is Settlement.FAILED:
        return VendorPayoutFailed(
            **VendorPayoutFailed.about(after, facts.cause, now),
            provider_payout_id=seen.provider_object_id,
            settled_at=now,
            failure_code=seen.failure_code,
        )
    news = VendorPayoutPaid if seen.settlement is Settlement.PAID else VendorPayoutInTransit
    return news(**news.about(after, facts.cause, now), provider_payout_id=seen.provider_object_id, settled_at=now)
