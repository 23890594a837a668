"""The dozen messages that every point is swept with: together they make a worker and a relay take every step."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from contracts import ids
from tests.kit import messages

_AMOUNT = {"amountCents": 15_000, "currency": "USD"}
#: The free texts, each kept as a note.
NOTES = ("Looks right.", "Spare wheel was flat.", "Done twice.", "Paid by the insurer.")


def _id(*parts: object) -> UUID:
    return uuid5(NAMESPACE_OID, ":".join(map(str, parts)))


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
    """Two approvals and a wrong one, a rejection, a cancellation, a payment by hand, and what is no JSON."""
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
    return [*_written(*decisions, by_hand), "{ no JSON"]


def _written(*bodies: dict[str, Any]) -> list[str]:
    return [json.dumps(body) for body in bodies]


def _command(number: int, kind: str, job: Job, **fields: Any) -> dict[str, Any]:
    return messages.command(kind, number=number, issuedAt=_now(), paymentId=str(job.payment), **fields)


def _now() -> str:
    return datetime.now(UTC).isoformat()
