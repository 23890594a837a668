"""The messages that every point is swept with: together they make a worker and a relay take every step."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, LiteralString
from uuid import NAMESPACE_OID, UUID, uuid5

from contracts import ids
from tests.kit import messages
from tests.storm.auditor_model import account_of
from tests.storm.manifest import Command, Line, Manifest, Order, Person, Poison, Word
from tests.sweep.bank import LOST, SHORT

_NO_JSON = "{ no JSON"
#: The free texts, each kept as a note.
NOTES = ("Looks right.", "Spare wheel was flat.", "Done twice.", "Paid by the insurer.")


def _id(*parts: object) -> UUID:
    return uuid5(NAMESPACE_OID, ":".join(map(str, parts)))


#: A dispatcher of another company.
STRANGER = messages.dispatcher(id=str(_id("stranger")), companyId=str(messages.OTHER_COMPANY))


#: Whose money goes on to a bank.
SETTLED = _id("settled vendor")
SETTLED_ACCOUNT = account_of(str(SETTLED))
#: A vendor who has an account already, which changes.
REGISTERED = UUID("55555555-5555-4555-8555-555555555555")
ACCOUNT: LiteralString = """
INSERT INTO vendor_accounts (vendor_id, account_id, payouts_enabled, requirements, as_of, changed_at, message_key)
VALUES ('55555555-5555-4555-8555-555555555555', 'acct_before', true, '{}', '2000-01-01Z', now(), 'test')
"""


#: What `payments reconcile` asks for, of a payment that is over.
REQUEST: LiteralString = """
INSERT INTO reconcile_requests (attempt_id)
SELECT attempt_id FROM payout_attempts JOIN payments USING (payment_id)
WHERE payments.status = 'completed' AND payments.currency = 'GBP'
"""


@dataclass(frozen=True, slots=True)
class Job:
    """A finished job, and the payment that it becomes."""

    number: int
    currency: str = "USD"
    vendor: UUID = messages.VENDOR

    @property
    def incident(self) -> UUID:
        """The incident."""
        return _id("incident", self.number)

    @property
    def payment(self) -> UUID:
        """The payment's id: it follows from incident, vendor and event, so that commands need not wait for it."""
        event = _id("event", self.number)
        return ids.payment_id(ids.work_source_key(str(self.incident), str(self.vendor), str(event)))

    @property
    def amount(self) -> dict[str, Any]:
        """What somebody says who has looked at the payment."""
        return {"amountCents": 15_000, "currency": self.currency}

    def finished(self, **overrides: Any) -> dict[str, Any]:
        """The event of its completion."""
        known = {
            "eventId": str(_id("event", self.number)),
            "incidentId": str(self.incident),
            "vendorId": str(self.vendor),
            "currency": self.currency,
        }
        detail = messages.work(**{**known, "completedAt": _now(), "timestamp": _now(), **overrides})
        return messages.envelope(detail, id=str(_id("envelope", self.number, *sorted(overrides))))


_ONE, _TWO, _THREE, _FOUR = (Job(number) for number in range(1, 5))
_FIVE = Job(5, "XXX")
#: Of the first one's payment the first attempt comes to nothing, of the second one's the answer is lost.
_SIX, _SEVEN = Job(6, SHORT), Job(7, LOST, SETTLED)
#: The payment that the repetitions are about; they are sent once it is there.
FIRST = _ONE.payment
#: The payment whose money goes on to a bank once it is paid.
TO_SETTLE = _SEVEN.payment


def events() -> list[str]:
    """Seven finished jobs, of which one cannot be paid."""
    return _written(
        _ONE.finished(),
        _TWO.finished(workDetails={"notes": NOTES[1]}),
        _THREE.finished(),
        _FOUR.finished(),
        _FIVE.finished(),
        _SIX.finished(),
        _SEVEN.finished(),
    )


def repetitions() -> list[str]:
    """The first job again: re-published by the bus, and reported a second time."""
    again = {**_ONE.finished(), "id": str(_id("envelope", "again"))}
    return _written(again, _ONE.finished(eventId=str(_id("event", "again"))))


def commands() -> list[str]:
    """Four approvals and wrong ones, a rejection, a cancellation, a payment by hand, changes of rights, and no JSON."""
    by_hand = messages.command(
        "CreatePayment",
        number=6,
        actor=messages.admin(),
        issuedAt=_now(),
        incidentId=str(_id("incident", "by hand")),
        vendorId=str(messages.VENDOR),
        payerType="back_office",
        lineItems=[{"description": "Towing", "quantity": 2, "unitPriceCents": 7_500}],
        **_ONE.amount,
    )
    decisions = (
        _command(1, "ApprovePayment", _ONE, **_ONE.amount, notes=NOTES[0]),
        _command(2, "ApprovePayment", _TWO, **_TWO.amount),
        _command(3, "ApprovePayment", _TWO, amountCents=1),
        _command(4, "RejectPayment", _THREE, reason=NOTES[2]),
        _command(5, "CancelPayment", _FOUR, reason=NOTES[3]),
        _command(11, "ApprovePayment", _SIX, **_SIX.amount),
        _command(12, "ApprovePayment", _SEVEN, **_SEVEN.amount),
    )
    return [*_written(*decisions, by_hand, *_rights(), *_accounts()), _NO_JSON]


def _rights() -> tuple[dict[str, Any], ...]:
    """A new member and one who is told of again, a policy of another company, and an approval by a dispatcher of it."""
    directory: dict[str, Any] = {"actor": {"id": str(ids.SYSTEM_DIRECTORY), "type": "system"}, "issuedAt": _now()}
    admin: dict[str, Any] = {**directory, "role": "admin", "enabled": True}
    new = messages.command("MembershipChanged", number=7, **admin, sub=str(_id("new")))
    again = messages.command("MembershipChanged", number=10, **admin, sub=str(messages.ADMIN))
    policy = messages.command(
        "SetApprovalPolicy",
        number=8,
        actor=messages.admin(),
        issuedAt=_now(),
        companyId=str(messages.OTHER_COMPANY),
        tiers=[{"currency": "USD", "approvers": 2}],
    )
    return new, again, policy, _command(9, "ApprovePayment", _ONE, **_ONE.amount, actor=STRANGER)


def _accounts() -> tuple[dict[str, Any], ...]:
    """Where a new vendor is paid, and another account of one who has been paid before."""
    actor = {"actor": {"id": str(ids.SYSTEM_ACCOUNTS), "type": "system"}, "issuedAt": _now(), "payoutsEnabled": True}
    told = ((13, _id("new vendor"), "acct_new"), (14, REGISTERED, "acct_other"))
    return tuple(
        messages.command("VendorAccountChanged", number=number, vendorId=str(vendor), stripeAccountId=account, **actor)
        for number, vendor, account in told
    )


def manifest() -> Manifest:
    """What all this is, in the auditor's terms."""
    told = Manifest()
    for job in (_ONE, _TWO, _THREE, _FOUR, _SIX, _SEVEN):
        told.record(_order(job, str(_id("event", job.number))))
    told.record(_order(_FIVE, str(_id("event", _FIVE.number)), refusal="unsupported_currency"))
    told.record(_order(_ONE, str(_id("event", "again"))))
    by_hand, admin = _key(6), messages.admin()
    told.record(
        Order(
            kind="CreatePayment",
            key=by_hand,
            incident=str(_id("incident", "by hand")),
            vendor=str(messages.VENDOR),
            company=None,
            payer_type="back_office",
            currency="USD",
            lines=(Line("Towing", 2, 7_500),),
            source=f"command:{by_hand}",
            creator=Person(admin["id"], admin["type"], admin["role"]),
        )
    )
    told.record(Word("MembershipChanged", _key(7)))
    told.record(Word("MembershipChanged", _key(10)))
    told.record(Word("SetApprovalPolicy", _key(8)))
    told.record(Word("VendorAccountChanged", _key(13)))
    told.record(Word("VendorAccountChanged", _key(14)))
    for number, (kind, job, amount) in _COMMANDS.items():
        who = STRANGER if number == _STRANGERS else messages.dispatcher()
        actor = Person(who["id"], who["type"], who["role"], who["companyId"])
        seen = {"amount": amount, "currency": job.currency}
        told.record(Command(kind, _key(number), str(job.payment), actor, sent_at=0.0, **seen))  # type: ignore[arg-type]
    told.record(Poison(sha256(_NO_JSON.encode()).hexdigest(), "commands", "not_json"))
    return told


#: What the commands are about, by number: the kind, the job, and the amount that their sender saw.
_COMMANDS: Mapping[int, tuple[str, Job, int]] = {
    1: ("ApprovePayment", _ONE, 15_000),
    2: ("ApprovePayment", _TWO, 15_000),
    3: ("ApprovePayment", _TWO, 1),
    4: ("RejectPayment", _THREE, 15_000),
    5: ("CancelPayment", _FOUR, 15_000),
    9: ("ApprovePayment", _ONE, 15_000),
    11: ("ApprovePayment", _SIX, 15_000),
    12: ("ApprovePayment", _SEVEN, 15_000),
}
_STRANGERS = 9


def _order(job: Job, event: str, *, refusal: str | None = None) -> Order:
    lines = [(line["description"], line["quantity"], line["unitPriceCents"]) for line in messages.work()["lineItems"]]
    return Order(
        kind="WorkCompleted",
        key=event,
        incident=str(job.incident),
        vendor=str(job.vendor),
        company=str(messages.COMPANY),
        payer_type="back_office",
        currency=job.currency,
        lines=tuple(Line(*line) for line in lines),
        source=f"work:{job.incident}:{job.vendor}:{event}",
        refusal=refusal,
    )


def _key(number: int) -> str:
    return str(messages.command("CancelPayment", number=number)["commandId"])


def _written(*bodies: dict[str, Any]) -> list[str]:
    return [json.dumps(body) for body in bodies]


def _command(number: int, kind: str, job: Job, **fields: Any) -> dict[str, Any]:
    return messages.command(kind, number=number, issuedAt=_now(), paymentId=str(job.payment), **fields)


def _now() -> str:
    return datetime.now(UTC).isoformat()
