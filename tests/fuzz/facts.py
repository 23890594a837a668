"""Facts as the database can hold them: payments in every state, with the attempts and answers that go with it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from uuid import UUID

from contracts import ids
from contracts.inbound import Parsed
from contracts.lifecycle import Status
from contracts.payment import Approval, Attempt, AttemptState, PayerType, Payment, Source
from contracts.provider import Accepted, Answer, Declined, TryLater, Unknown
from handlers.decision import Facts, Rules
from tests.fuzz.strategies import IDS
from tests.kit.messages import NOW
from tests.kit.proofs import actor_of

RULES = Rules(provider="sandbox")
_ACCEPTED = Accepted("tr_1")
_DECLINED = Declined("account_closed", "The account is closed.")
#: What may be known of the newest attempt of a payment, by the payment's status, and what a provider may then say.
_ATTEMPTS: dict[Status, list[tuple[AttemptState | None, list[Answer | None]]]] = {
    Status.PENDING_APPROVAL: [(None, [None])],
    Status.APPROVED: [(None, [None])],
    Status.CANCELLED: [(None, [None])],
    Status.PROCESSING: [
        (state, [_ACCEPTED, _DECLINED, Unknown("lost"), TryLater("busy"), None])
        for state in (AttemptState.READY, AttemptState.UNKNOWN)
    ],
    Status.COMPLETED: [(AttemptState.SUCCEEDED, [_ACCEPTED, Unknown("lost"), None])],
    Status.FAILED: [(AttemptState.FAILED, [_DECLINED, Unknown("lost"), None])],
}


@dataclass(frozen=True, slots=True)
class Sort:
    """One sort of facts, before it is known which message meets them."""

    payment: Payment | None = None
    attempt: Attempt | None = None
    answer: Answer | None = None
    #: Whether the payment was asked for with the very content of the message.
    same: bool = False

    def facts(self, parsed: Parsed) -> Facts:
        """Return the facts for a message, whose actor is who it says."""
        payment, cause = self.payment, parsed.cause
        if payment and self.same:
            payment = replace(payment, request_fingerprint=cause.fingerprint)
        actor = actor_of(parsed)
        approvals = (Approval(UUID(IDS[4]), 1, NOW),) if payment and payment.approved_by else ()
        return Facts(cause, RULES, payment, self.attempt, self.answer, actor=actor, approvals=approvals)


#: Neither payment nor attempt.
NOTHING = Sort()


def _sorts() -> Iterator[Sort]:
    yield NOTHING
    blocks = [(False, "not_scored"), (True, "not_scored"), (False, "flagged")]
    for status, payer_type, (on_hold, fraud), same in product(Status, PayerType, blocks, (False, True)):
        payment = replace(_payment(status, payer_type), on_hold=on_hold, fraud_status=fraud)
        for state, answers in _ATTEMPTS[status]:
            attempt = _attempt(payment, state) if state else None
            yield from (Sort(payment, attempt, answer, same) for answer in answers)


def _payment(status: Status, payer_type: PayerType) -> Payment:
    decided = status in {Status.APPROVED, Status.PROCESSING, Status.COMPLETED, Status.FAILED}
    return Payment(
        payment_id=UUID(IDS[0]),
        incident_id=UUID(IDS[1]),
        vendor_id=UUID(IDS[2]),
        company_id=UUID(IDS[3]),
        driver_id=None,
        payer_type=payer_type,
        payer_id=None,
        amount_cents=350,
        currency="USD",
        status=status,
        source=Source.WORK_COMPLETED,
        source_key="work:1",
        request_fingerprint=bytes(32),
        created_by=ids.SYSTEM_INTAKE,
        created_at=NOW,
        updated_at=NOW,
        approved_by=UUID(IDS[4]) if decided else None,
        approved_at=NOW if decided else None,
        cancel_kind="rejected" if status is Status.CANCELLED else None,
        version=1 + list(Status).index(status),
    )


def _attempt(payment: Payment, state: AttemptState) -> Attempt:
    settled = not state.open
    return Attempt(
        attempt_id=ids.attempt_id(payment.payment_id, 1),
        payment_id=payment.payment_id,
        attempt_no=1,
        provider="sandbox",
        idempotency_key=ids.provider_key(payment.payment_id, 1),
        request_fingerprint=bytes(32),
        amount_cents=payment.amount_cents,
        currency=payment.currency,
        state=state,
        created_at=NOW,
        submit_before=NOW + timedelta(hours=1),
        provider_object_id="tr_1" if state is AttemptState.SUCCEEDED else None,
        checks=1,
        resolved_at=NOW if settled else None,
    )


#: Every sort of facts that a message can meet.
SORTS = list(_sorts())
