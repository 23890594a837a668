"""Facts as the database can hold them: payments in every state, with the attempts and answers that go with it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from uuid import UUID

from contracts import ids
from contracts.inbound import Parsed, ProviderEvent, ReconcileAttempt
from contracts.lifecycle import Status
from contracts.money import Money
from contracts.payment import Approval, Attempt, AttemptState, PayerType, Payment, Source, VendorAccount, Waiting
from contracts.provider import (
    Accepted,
    Answer,
    Declined,
    NotExecuted,
    NotFound,
    PayoutSeen,
    Reversal,
    Settlement,
    Told,
    TransferSeen,
    TryLater,
    Unfunded,
    Unknown,
)
from handlers.decision import Facts, Rules
from tests.fuzz.strategies import IDS
from tests.kit.messages import NOW
from tests.kit.proofs import actor_of

RULES = Rules(provider="sandbox")
_BACK = (Reversal("trr_1", 100),)
_ACCEPTED = Accepted("tr_1")
_RETURNED = Accepted("tr_1", _BACK)
_NOTHING: list[Answer | None] = [Unfunded("balance_insufficient"), NotExecuted(), Unknown("lost"), None]
_DECLINED = Declined("account_closed", "The account is closed.")
#: What may be known of the newest attempt of a payment, by the payment's status, and what a provider may then say.
_ATTEMPTS: dict[Status, list[tuple[AttemptState | None, list[Answer | None]]]] = {
    Status.PENDING_APPROVAL: [(None, [None])],
    Status.APPROVED: [(None, [None])],
    Status.CANCELLED: [(None, [None])],
    Status.PROCESSING: [
        *(
            (state, [_ACCEPTED, _RETURNED, _DECLINED, Unknown("odd", stopped=True), TryLater("busy"), *_NOTHING])
            for state in (AttemptState.READY, AttemptState.UNKNOWN)
        ),
        (AttemptState.FAILED, [_ACCEPTED, _DECLINED, *_NOTHING]),
    ],
    Status.COMPLETED: [(AttemptState.SUCCEEDED, [_ACCEPTED, _RETURNED, *_NOTHING])],
    Status.FAILED: [(AttemptState.FAILED, [_DECLINED, *_NOTHING])],
}
_TRANSFER = TransferSeen("tr_1", IDS[0], None, Money(350, "USD"), IDS[2], (), NOW, livemode=False)
_PAYOUT = PayoutSeen("po_1", IDS[2], Settlement.PAID, None, ("tr_1",), livemode=False)
_ACCOUNTS = [None, VendorAccount(UUID(IDS[2]), "acct_1", payouts_enabled=True, requirements=(), as_of=NOW)]
_WAITING = (Waiting(UUID(IDS[0]), 2, 1),)


@dataclass(frozen=True, slots=True)
class Sort:
    """One sort of facts, before it is known which message meets them."""

    payment: Payment | None = None
    attempt: Attempt | None = None
    answer: Answer | None = None
    account: VendorAccount | None = None
    #: Whether the payment was asked for with the very content of the message.
    same: bool = False

    def facts(self, parsed: Parsed) -> Facts:
        """Return the facts for a message, whose actor is who it says."""
        payment, cause = self.payment, parsed.cause
        if payment and self.same:
            payment = replace(payment, request_fingerprint=cause.fingerprint)
        actor = actor_of(parsed)
        approvals = (Approval(UUID(IDS[4]), 1, NOW),) if payment and payment.approved_by else ()
        return Facts(
            cause,
            RULES,
            payment,
            self.attempt,
            self._told(parsed),
            actor=actor,
            approvals=approvals,
            account=self.account,
            waiting=_WAITING if payment else (),
        )

    def _told(self, parsed: Parsed) -> Told:
        """Return what the provider says, as a worker would have asked for this message."""
        match parsed.message:
            case ProviderEvent() as event if event.data.object.object == "payout":
                account = event.account or IDS[2]
                found = (self.attempt.attempt_id,) if self.attempt else ()
                return Told(seen=replace(_PAYOUT, account=account), attempts=found, missing=int(not found))
            case ProviderEvent():
                return Told(seen=self._seen())
            case ReconcileAttempt() if isinstance(self.answer, Accepted):
                return Told(self.answer, _PAYOUT)
            case _:
                return Told(self.answer)

    def _seen(self) -> TransferSeen | NotFound | None:
        """Return the movement, where the answer says that there is one."""
        if isinstance(self.answer, Accepted):
            destination = ids.provider_account(IDS[2])
            return replace(_TRANSFER, reversals=self.answer.reversals, destination=destination)
        return NotFound() if isinstance(self.answer, NotExecuted) else None


#: Neither payment nor attempt.
NOTHING = Sort()


def _sorts() -> Iterator[Sort]:
    yield NOTHING
    blocks = [(False, "not_scored"), (True, "not_scored"), (False, "flagged")]
    for status, payer_type, (on_hold, fraud), same in product(Status, PayerType, blocks, (False, True)):
        payment = replace(_payment(status, payer_type), on_hold=on_hold, fraud_status=fraud)
        for state, answers in _ATTEMPTS[status]:
            attempt = _attempt(payment, state) if state else None
            for answer, account in product(answers, _ACCOUNTS):
                yield Sort(payment, attempt, answer, account, same)


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
        destination=IDS[2],
        provider_object_id="tr_1" if state is AttemptState.SUCCEEDED else None,
        checks=1,
        resolved_at=NOW if settled else None,
    )


#: Every sort of facts that a message can meet.
SORTS = list(_sorts())
#: The same by the payment's status, so that none is rare because others have more sorts.
BY_STATUS = [[sort for sort in SORTS if sort.payment and sort.payment.status is status] for status in Status]
