"""CreatePayment: by an admin, once per command, its lines adding up to its amount."""

from typing import Any

import pytest

from contracts import ids
from contracts.lifecycle import Event, Status
from contracts.outbound import ApprovalRequest, PaymentConflictDetected, PaymentCreated
from contracts.payment import Actor, ActorType, LineItem, PayerType, Payment, Role, Source
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Move, Post, Refuse
from tests.handlers.decisions import ground as g
from tests.kit import messages as m

COMMAND_ID = "aaaaaaaa-aaaa-4aaa-8aaa-000000000001"
LINES = [
    {"description": "Tow", "quantity": 2, "unitPriceCents": 5000},
    {"description": "Mileage", "unitPriceCents": 5000},
]

#: Who creates, and whether they may.
CREATORS = [
    (m.admin(), None),
    (m.dispatcher(role="admin"), None),
    (m.dispatcher(), Refusal.FORBIDDEN_ROLE),
    (m.admin(role="dispatcher"), Refusal.FORBIDDEN_ROLE),
    (m.dispatcher(role="vendor"), Refusal.FORBIDDEN_ROLE),
    (m.dispatcher(role=...), Refusal.FORBIDDEN_ROLE),
]

REFUSED = [
    ({"amountCents": 14999}, g.Told(Refusal.SUM_MISMATCH, "amountCents")),
    ({"amountCents": 15000.5}, g.Told(Refusal.NON_INTEGER_MINOR_UNITS, "amountCents")),
    ({"lineItems": []}, g.Told(Refusal.MISSING_PRICING, "lineItems")),
    ({"currency": "XXX"}, g.Told(Refusal.UNSUPPORTED_CURRENCY, "currency")),
    ({"payerType": "insurer"}, g.Told(Refusal.INVALID_FIELD, "payerType")),
    ({"incidentId": "test-001"}, g.Told(Refusal.NON_UUID_ID, "incidentId")),
    ({"metadata": {"driverPhone": "555-0100"}}, g.Told(Refusal.INVALID_FIELD, "metadata")),
]


def message(**fields: Any) -> dict[str, Any]:
    usual = {
        "actor": m.admin(),
        "incidentId": str(m.INCIDENT),
        "vendorId": str(m.VENDOR),
        "companyId": str(m.COMPANY),
        "payerType": "back_office",
        "amountCents": 15000,
        "lineItems": LINES,
        "metadata": {"reference": "R-1"},
    }
    return m.command("CreatePayment", **{**usual, **fields})


def create(payment: Payment | None = None, **fields: Any) -> Decision:
    return g.decided(message(**fields), payment=payment)


def test_a_creation_is_the_move_from_nothing_with_the_payment_as_it_was_stated():
    decision = create()
    assert isinstance(decision, Move)
    key = ids.command_source_key(m.parsed(message()).message.model_dump()["command_id"])
    assert key == f"command:{COMMAND_ID}"
    assert decision.before is None
    assert decision.after == g.payment(
        payment_id=ids.payment_id(key),
        source=Source.COMMAND,
        source_key=key,
        request_fingerprint=m.parsed(message()).cause.fingerprint,
        created_by=m.ADMIN,
        created_at=g.NOW,
        updated_at=g.NOW,
        metadata={"reference": "R-1"},
    )
    assert decision.lines == (LineItem(1, "Tow", 2, 5000), LineItem(2, "Mileage", 1, 5000))
    assert decision.actor == Actor(m.ADMIN, ActorType.ADMIN, Role.ADMIN)
    assert decision.event is Event.CREATED
    assert decision.data == {"source": "command", "lineItemCount": 2, "requiredApprovals": 1}
    assert (decision.note, decision.opens, decision.settles) == (None, None, None)


def test_a_creation_is_announced_and_asks_for_approval_once():
    decision = create(currency="EUR")
    assert isinstance(decision, Move)
    assert g.posted(decision) == [("PaymentCreated", None), ("ApprovalRequest", None)]
    [event] = g.announced(decision)
    assert isinstance(event, PaymentCreated)
    assert (event.created_at, event.line_item_count, event.fraud_status) == (g.NOW, 2, "not_scored")
    assert (event.payment_version, event.status, event.required_approvals) == (1, Status.PENDING_APPROVAL, 1)
    after = decision.after
    assert decision.posts[1] == Post(
        ApprovalRequest(
            payment_id=after.payment_id,
            incident_id=m.INCIDENT,
            vendor_id=m.VENDOR,
            amount_cents=15000,
            currency="EUR",
            created_at=g.NOW,
        )
    )
    assert decision.posts[1].message.identity == ids.derive("approval-request", after.payment_id)


def test_a_creation_for_a_driver_names_the_payer_that_was_stated_and_no_other():
    decision = create(payerType="driver_ic", driverId=str(m.DRIVER))
    assert isinstance(decision, Move)
    after = decision.after
    assert (after.payer_type, after.driver_id, after.payer_id) == (PayerType.DRIVER_IC, m.DRIVER, None)


@pytest.mark.parametrize(("actor", "refusal"), CREATORS)
def test_only_an_admin_creates_a_payment_by_hand(actor: dict[str, Any], refusal: Refusal | None):
    decision = create(actor=actor)
    if refusal is None:
        assert isinstance(decision, Move)
        assert str(decision.after.created_by) == actor["id"]
    else:
        assert g.told(decision, None) == g.Told(refusal, None)


@pytest.mark.parametrize(("fields", "expected"), REFUSED)
def test_a_creation_that_cannot_be_paid_is_refused_with_its_field(fields: dict[str, Any], expected: g.Told):
    assert g.told(create(**fields), None) == expected


@pytest.mark.parametrize(("fields", "expected"), REFUSED)
def test_a_flaw_of_a_field_is_told_before_the_lack_of_a_role(fields: dict[str, Any], expected: g.Told):
    assert g.told(create(**fields, actor=m.dispatcher()), None) == expected


def test_the_same_content_again_is_absorbed():
    known = g.payment(request_fingerprint=m.parsed(message()).cause.fingerprint)
    assert create(known) == Absorb(known)


def test_other_content_under_the_same_command_is_a_conflict():
    known = g.payment(Status.APPROVED, request_fingerprint=bytes(32))
    decision = create(known)
    assert isinstance(decision, Refuse)
    assert (decision.code, decision.payment) == (Refusal.PAYLOAD_CONFLICT, known)
    event = decision.event
    assert isinstance(event, PaymentConflictDetected)
    assert (event.payment_id, event.message_key) == (known.payment_id, COMMAND_ID)
    assert (event.message_kind, event.code) == ("CreatePayment", Refusal.PAYLOAD_CONFLICT)


def test_who_may_not_create_does_not_learn_that_the_payment_exists():
    known = g.payment(request_fingerprint=bytes(32))
    assert g.told(create(known, actor=m.dispatcher()), known).code is Refusal.FORBIDDEN_ROLE
