"""ApprovePayment: who may, on what, in which status, and what an approval sets going."""

from typing import Any
from uuid import UUID

import pytest

from contracts import ids
from contracts.lifecycle import Event, Status
from contracts.outbound import PaymentApproved
from contracts.payment import Actor, ActorType, Payment, Role
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Move
from tests.handlers.decisions import ground as g
from tests.kit import messages as m


def approve(payment: Payment | None, **fields: Any) -> Decision:
    return g.decided(g.command("ApprovePayment", **fields), payment=payment)


#: What the audit log keeps of an approval that is the only one.
DATA = {"role": Role.DISPATCHER, "level": 1, "requiredApprovals": 1}

LAYERS = [
    g.Layer(Refusal.INVALID_FIELD, {"approvedBy": str(g.OTHER)}),
    *g.COMMON_LAYERS,
    g.Layer(Refusal.ALREADY_DECIDED, payment={"status": Status.APPROVED, "approved_by": g.OTHER}),
    g.Layer(Refusal.SELF_APPROVAL, payment={"created_by": m.DISPATCHER}),
    g.Layer(Refusal.ON_HOLD, payment={"on_hold": True}),
    g.Layer(Refusal.FRAUD_REVIEW_REQUIRED, payment={"fraud_status": "flagged"}),
]

#: Status, who approved before, and what becomes of DISPATCHER's approval: a refusal, or None for absorption.
DECIDED = [
    (Status.APPROVED, m.DISPATCHER, None),
    (Status.PROCESSING, m.DISPATCHER, None),
    (Status.COMPLETED, m.DISPATCHER, None),
    (Status.FAILED, m.DISPATCHER, None),
    (Status.APPROVED, g.OTHER, Refusal.ALREADY_DECIDED),
    (Status.PROCESSING, g.OTHER, Refusal.ALREADY_DECIDED),
    (Status.COMPLETED, g.OTHER, Refusal.ALREADY_DECIDED),
    (Status.FAILED, g.OTHER, Refusal.ALREADY_DECIDED),
    (Status.CANCELLED, m.DISPATCHER, Refusal.ILLEGAL_TRANSITION),
    (Status.CANCELLED, None, Refusal.ILLEGAL_TRANSITION),
]

NOTES = [
    ({}, None),
    ({"notes": "fine"}, "fine"),
    ({"reviewNotes": "checked"}, "checked"),
    ({"notes": "fine", "reviewNotes": "checked"}, "fine\nchecked"),
    ({"notes": "", "reviewNotes": ""}, None),
]


def test_an_approval_moves_the_payment_and_names_its_approver():
    payment = g.payment()
    step = g.stepped(approve(payment, approvedBy=str(m.DISPATCHER)), payment)
    assert isinstance(step, Move)
    after = step.after
    assert (after.status, after.approved_by, after.approved_at) == (Status.APPROVED, m.DISPATCHER, g.NOW)
    assert (step.event, step.data) == (Event.APPROVED, DATA)
    assert step.actor == Actor(m.DISPATCHER, ActorType.USER, Role.DISPATCHER, m.COMPANY)
    assert (step.lines, step.opens, step.settles) == ((), None, None)


def test_an_approval_is_announced_and_orders_the_payout_at_once():
    payment = g.payment(version=7)
    step = g.stepped(approve(payment, correlationId="incident-9"), payment)
    assert g.posted(step) == [("PaymentApproved", None), ("ProcessPayment", None)]
    [event] = g.announced(step)
    assert isinstance(event, PaymentApproved)
    assert (event.approved_by, event.approved_at) == (m.DISPATCHER, g.NOW)
    assert [(one.approver_id, one.level, one.at) for one in event.approvals] == [(m.DISPATCHER, 1, g.NOW)]
    assert (event.correlation_id, event.causation_id) == ("incident-9", "aaaaaaaa-aaaa-4aaa-8aaa-000000000001")
    order = g.order(step)
    assert order["commandId"] == str(ids.process_payment_key(g.PAYMENT_ID, 8, refusals=0))
    assert (order["paymentId"], order["correlationId"]) == (str(g.PAYMENT_ID), "incident-9")


def test_without_a_correlation_id_the_command_itself_ties_the_conversation_together():
    payment = g.payment()
    step = g.stepped(approve(payment), payment)
    assert g.order(step)["correlationId"] == "aaaaaaaa-aaaa-4aaa-8aaa-000000000001"


@pytest.mark.parametrize(("notes", "note"), NOTES)
def test_notes_of_an_approval_stay_beside_the_log(notes: dict[str, str], note: str | None):
    payment = g.payment()
    step = g.stepped(approve(payment, **notes), payment)
    assert step.note == note
    assert step.data == DATA


@pytest.mark.parametrize(("actor", "company", "refusal"), g.MATRIX, ids=g.MATRIX_IDS)
def test_an_approval_takes_a_dispatcher_of_the_company_or_an_admin(
    actor: dict[str, Any], company: UUID | None, refusal: Refusal | None
):
    payment = g.payment(company_id=company)
    decision = approve(payment, actor=actor)
    if refusal is None:
        assert g.stepped(decision, payment).actor.id == UUID(actor["id"])
    else:
        assert g.told(decision, payment) == g.Told(refusal, None)


@pytest.mark.parametrize("column", ["created_by", "vendor_id"])
@pytest.mark.parametrize("actor", [m.dispatcher(), m.admin()])
def test_nobody_approves_what_they_created_or_are_paid_for(column: str, actor: dict[str, Any]):
    columns: dict[str, Any] = {column: UUID(actor["id"])}
    payment = g.payment(**columns)
    assert g.told(approve(payment, actor=actor), payment) == g.Told(Refusal.SELF_APPROVAL, None)


def test_an_approval_in_another_persons_name_is_refused():
    payment = g.payment()
    decision = approve(payment, approvedBy=str(g.OTHER))
    assert g.told(decision, payment) == g.Told(Refusal.INVALID_FIELD, "approvedBy")


def test_a_payment_on_hold_is_not_approved():
    payment = g.payment(on_hold=True)
    assert g.told(approve(payment), payment) == g.Told(Refusal.ON_HOLD, None)


@pytest.mark.parametrize(("view", "flaw"), g.VIEWS)
def test_an_approval_is_of_the_payment_that_its_sender_saw(view: dict[str, Any], flaw: g.Told | None):
    payment = g.payment()
    decision = approve(payment, **view)
    if flaw is None:
        assert g.stepped(decision, payment).after.status is Status.APPROVED
    else:
        assert g.told(decision, payment) == flaw


def test_the_version_that_was_seen_is_the_one_that_is_approved():
    payment = g.payment(version=5)
    assert g.stepped(approve(payment, expectedVersion=5), payment).after.version == 6


@pytest.mark.parametrize(("status", "approver", "refusal"), DECIDED)
def test_a_repetition_is_absorbed_and_a_second_opinion_comes_too_late(
    status: Status, approver: UUID | None, refusal: Refusal | None
):
    payment = g.payment(status, approved_by=approver)
    decision = approve(payment)
    if refusal is None:
        assert decision == Absorb(payment)
    else:
        assert g.told(decision, payment) == g.Told(refusal, None)


@pytest.mark.parametrize("first", range(len(LAYERS)))
def test_of_several_reasons_the_first_in_order_of_precedence_is_told(first: int):
    code, fields, columns = g.flawed(LAYERS, first)
    payment = g.payment(**columns)
    assert g.told(approve(payment, **fields), payment).code is code


@pytest.mark.parametrize("text", g.NO_IDS)
def test_a_payment_that_cannot_exist_is_an_invalid_field(text: str):
    assert g.told(approve(None, paymentId=text), None) == g.Told(Refusal.INVALID_FIELD, "paymentId")


def test_a_payment_that_is_not_there_is_not_found_and_named():
    decision = approve(None)
    assert g.told(decision, None) == g.Told(Refusal.NOT_FOUND, None)
    assert g.refusal_event(decision)["paymentId"] == str(g.PAYMENT_ID)
