"""Payments at every place of their life, brought there by messages through the funnel."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from contracts.envelope import Queue
from contracts.provider import Accepted, Answer, Declined, Reversal, Unknown
from handlers.apply import Result
from store.db import Pool
from tests.kit import messages as m
from tests.kit.funnel import once, rows

SECOND = UUID("55555555-5555-4555-8555-555555555556")
#: Up to 200.00 USD one person is enough.
TIERS = [{"upToCents": 20_000, "currency": "USD", "approvers": 1}, {"currency": "USD", "approvers": 2}]
DEAR = [{"description": "Winch", "quantity": 1, "unitPriceCents": 30_000}]


@dataclass(frozen=True, slots=True)
class Lives:
    """One payment for each: the names say how far they came."""

    pending: UUID
    rejected: UUID
    authorised: UUID
    partly: UUID
    approved_by_two: UUID
    unknown: UUID
    completed: UUID
    failed: UUID


def created(pool: Pool, number: int, **work: Any) -> UUID:
    """Create the payment of a number."""
    return id_of(creation(pool, number, **work))


def creation(pool: Pool, number: int, **work: Any) -> Result:
    """Create the payment of a number; return what the funnel made of it."""
    ids = {"incidentId": str(uuid5(m.INCIDENT, str(number))), "eventId": str(uuid5(m.EVENT, str(number)))}
    return once(pool, m.parsed(m.work(**{**ids, **work})))


def id_of(result: Result) -> UUID:
    """Return the payment that a message was about."""
    assert result.payment_id is not None, result
    return result.payment_id


def told(pool: Pool, kind: str, number: int, payment_id: UUID, **more: Any) -> Result:
    """Process a command about a payment."""
    return once(pool, m.parsed(m.command(kind, number, paymentId=str(payment_id), **more)))


def ordered(pool: Pool, kind: str, payment_id: UUID, answer: Answer | None = None) -> Result:
    """Process the service's own order about a payment; the provider answers so."""
    query = "SELECT payload FROM outbox WHERE detail_type = %s AND aggregate_id = %s ORDER BY outbox_id DESC"
    return once(pool, m.parsed(rows(pool, query, kind, payment_id)[0]["payload"], queue=Queue.PAYOUTS), answer)


def paid(pool: Pool, number: int, answer: Answer) -> UUID:
    """Create a payment, approve it and pay it out; the provider answers so."""
    payment_id = created(pool, number)
    told(pool, "ApprovePayment", number, payment_id)
    ordered(pool, "ProcessPayment", payment_id)
    ordered(pool, "ExecutePayout", payment_id, answer)
    return payment_id


def lived(pool: Pool) -> Lives:
    """Bring one payment to each place."""
    policy = m.command("SetApprovalPolicy", 900, actor=m.admin(), companyId=str(m.COMPANY), tiers=TIERS)
    assert once(pool, m.parsed(policy)).code is None
    found = Lives(
        pending=created(pool, 1),
        rejected=created(pool, 2),
        authorised=created(pool, 3, payerType="driver_ic", driverId=str(m.DRIVER)),
        partly=created(pool, 4, lineItems=DEAR),
        approved_by_two=created(pool, 5, lineItems=DEAR),
        unknown=paid(pool, 6, Unknown("timeout")),
        completed=paid(pool, 7, Accepted("tr_7", (Reversal("trr_7", 5_000),))),
        failed=paid(pool, 8, Declined("account_closed", "closed")),
    )
    told(pool, "RejectPayment", 12, found.rejected, reason="never happened")
    told(pool, "ApprovePayment", 14, found.partly, amountCents=30_000)
    told(pool, "ApprovePayment", 15, found.approved_by_two, amountCents=30_000)
    told(pool, "ApprovePayment", 16, found.approved_by_two, amountCents=30_000, actor=m.dispatcher(id=str(SECOND)))
    return found
