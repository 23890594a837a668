"""The dozen messages that every point is swept with: together they make a worker and a relay take every step."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from contracts import ids
from tests.kit import messages
from tests.storm.manifest import Command, Line, Manifest, Order, Person, Poison, Word

_NO_JSON = "{ no JSON"
_AMOUNT = {"amountCents": 15_000, "currency": "USD"}
#: The free texts, each kept as a note.
NOTES = ("Looks right.", "Spare wheel was flat.", "Done twice.", "Paid by the insurer.")


def _id(*parts: object) -> UUID:
    return uuid5(NAMESPACE_OID, ":".join(map(str, parts)))


#: A dispatcher of another company.
STRANGER = messages.dispatcher(id=str(_id("stranger")), companyId=str(messages.OTHER_COMPANY))


@dataclass(frozen=True, slots=True)
class Job:
    """A finished job, and the payment that it becomes."""

    number: int

    @property
    def incident(self) -> UUID:
        """The incident."""
        return _id("incident", self.number)

    @property
    def payment(self) -> UUID:
        """The payment's id: it follows from incident, vendor and event, so that commands need not wait for it."""
        event = _id("event", self.number)
        return ids.payment_id(ids.work_source_key(str(self.incident), str(messages.VENDOR), str(event)))

    def finished(self, **overrides: Any) -> dict[str, Any]:
        """The event of its completion."""
        known = {"eventId": str(_id("event", self.number)), "incidentId": str(self.incident)}
        detail = messages.work(**{**known, "completedAt": _now(), "timestamp": _now(), **overrides})
        return messages.envelope(detail, id=str(_id("envelope", self.number, *sorted(overrides))))


_ONE, _TWO, _THREE, _FOUR, _FIVE = (Job(number) for number in range(1, 6))
#: The payment that the repetitions are about; they are sent once it is there.
FIRST = _ONE.payment


def events() -> list[str]:
    """Five finished jobs, of which one cannot be paid."""
    return _written(
        _ONE.finished(),
        _TWO.finished(workDetails={"notes": NOTES[1]}),
        _THREE.finished(),
        _FOUR.finished(),
        _FIVE.finished(currency="XXX"),
    )


def repetitions() -> list[str]:
    """The first job again: re-published by the bus, and reported a second time."""
    again = {**_ONE.finished(), "id": str(_id("envelope", "again"))}
    return _written(again, _ONE.finished(eventId=str(_id("event", "again"))))


def commands() -> list[str]:
    """Two approvals and wrong ones, a rejection, a cancellation, a payment by hand, changes of rights, and no JSON."""
    by_hand = messages.command(
        "CreatePayment",
        number=6,
        actor=messages.admin(),
        issuedAt=_now(),
        incidentId=str(_id("incident", "by hand")),
        vendorId=str(messages.VENDOR),
        payerType="back_office",
        lineItems=[{"description": "Towing", "quantity": 2, "unitPriceCents": 7_500}],
        **_AMOUNT,
    )
    decisions = (
        _command(1, "ApprovePayment", _ONE, **_AMOUNT, notes=NOTES[0]),
        _command(2, "ApprovePayment", _TWO, **_AMOUNT),
        _command(3, "ApprovePayment", _TWO, amountCents=1),
        _command(4, "RejectPayment", _THREE, reason=NOTES[2]),
        _command(5, "CancelPayment", _FOUR, reason=NOTES[3]),
    )
    return [*_written(*decisions, by_hand, *_rights()), _NO_JSON]


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
    return new, again, policy, _command(9, "ApprovePayment", _ONE, **_AMOUNT, actor=STRANGER)


def manifest() -> Manifest:
    """What all this is, in the auditor's terms."""
    told = Manifest()
    for job in (_ONE, _TWO, _THREE, _FOUR):
        told.record(_order(job, str(_id("event", job.number))))
    told.record(_order(_FIVE, str(_id("event", _FIVE.number)), currency="XXX", refusal="unsupported_currency"))
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
    for number, (kind, job, amount) in _COMMANDS.items():
        who = STRANGER if number == _STRANGERS else messages.dispatcher()
        actor = Person(who["id"], who["type"], who["role"], who["companyId"])
        told.record(Command(kind, _key(number), str(job.payment), actor, sent_at=0.0, amount=amount, currency="USD"))
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
}
_STRANGERS = 9


def _order(job: Job, event: str, *, currency: str = "USD", refusal: str | None = None) -> Order:
    lines = [(line["description"], line["quantity"], line["unitPriceCents"]) for line in messages.work()["lineItems"]]
    return Order(
        kind="WorkCompleted",
        key=event,
        incident=str(job.incident),
        vendor=str(messages.VENDOR),
        company=str(messages.COMPANY),
        payer_type="back_office",
        currency=currency,
        lines=tuple(Line(*line) for line in lines),
        source=f"work:{job.incident}:{messages.VENDOR}:{event}",
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
