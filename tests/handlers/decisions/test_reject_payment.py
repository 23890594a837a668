"""RejectPayment: only what waits for approval can be rejected, with a reason, by those who may decide."""

from typing import Any
from uuid import UUID

import pytest

from contracts.lifecycle import Event, Status
from contracts.outbound import PaymentCancelled
from contracts.payment import Payment, Role
from contracts.refusals import Refusal
from handlers.decision import Decision, Move
from tests.handlers.decisions import ground as g
from tests.kit import messages as m

LAYERS = [
    g.Layer(Refusal.INVALID_FIELD, {"reason": ""}),
    *g.COMMON_LAYERS,
    g.Layer(Refusal.ILLEGAL_TRANSITION, payment={"status": Status.APPROVED}),
]

STATUSES = [
    (Status.APPROVED, Refusal.ILLEGAL_TRANSITION),
    (Status.PROCESSING, Refusal.ILLEGAL_TRANSITION),
    (Status.COMPLETED, Refusal.ILLEGAL_TRANSITION),
    (Status.FAILED, Refusal.ILLEGAL_TRANSITION),
    (Status.CANCELLED, Refusal.ALREADY_DECIDED),
]

BAD_FIELDS = [
    ({"reason": ""}, "reason"),
    ({"reason": " \n\t"}, "reason"),
    ({"reason": "x" * 2001}, "reason"),
    ({"reasonCode": ""}, "reasonCode"),
    ({"reasonCode": "x" * 65}, "reasonCode"),
]


def reject(payment: Payment | None, **fields: Any) -> Decision:
    return g.decided(g.command("RejectPayment", **{"reason": "Wrong price.", **fields}), payment=payment)


def test_a_rejection_cancels_the_payment_and_says_by_whom_and_why():
    payment = g.payment()
    step = g.stepped(reject(payment, reasonCode="wrong_price"), payment)
    assert isinstance(step, Move)
    assert (step.after.status, step.after.cancel_kind, step.event) == (Status.CANCELLED, "rejected", Event.REJECTED)
    assert (step.data, step.note) == ({"role": Role.DISPATCHER, "reasonCode": "wrong_price"}, "Wrong price.")
    assert g.posted(step) == [("PaymentCancelled", None)]
    [event] = g.announced(step)
    assert isinstance(event, PaymentCancelled)
    assert (event.cancelled_by, event.cancelled_at, event.cancel_kind) == (m.DISPATCHER, g.NOW, "rejected")
    assert (event.reason_code, event.reason) == ("wrong_price", "Wrong price.")


def test_a_rejection_without_a_code_is_announced_as_unspecified():
    payment = g.payment()
    [event] = g.announced(g.stepped(reject(payment), payment))
    assert event.wire()["reasonCode"] == "unspecified"


@pytest.mark.parametrize("fields", [{"reason": "x" * 2000}, {"reasonCode": "x" * 64}])
def test_a_reason_and_a_code_of_full_length_are_taken(fields: dict[str, Any]):
    payment = g.payment()
    assert g.stepped(reject(payment, **fields), payment).after.status is Status.CANCELLED


@pytest.mark.parametrize(("fields", "field"), BAD_FIELDS)
def test_a_rejection_needs_a_reason_that_says_something_and_fits(fields: dict[str, Any], field: str):
    payment = g.payment()
    assert g.told(reject(payment, **fields), payment) == g.Told(Refusal.INVALID_FIELD, field)


@pytest.mark.parametrize(("actor", "company", "refusal"), g.MATRIX, ids=g.MATRIX_IDS)
def test_a_rejection_takes_a_dispatcher_of_the_company_or_an_admin(
    actor: dict[str, Any], company: UUID | None, refusal: Refusal | None
):
    payment = g.payment(company_id=company)
    decision = reject(payment, actor=actor)
    if refusal is None:
        assert g.stepped(decision, payment).actor.id == UUID(actor["id"])
    else:
        assert g.told(decision, payment) == g.Told(refusal, None)


@pytest.mark.parametrize(("view", "flaw"), g.VIEWS)
def test_a_rejection_is_of_the_payment_that_its_sender_saw(view: dict[str, Any], flaw: g.Told | None):
    payment = g.payment()
    decision = reject(payment, **view)
    if flaw is None:
        assert g.stepped(decision, payment).after.status is Status.CANCELLED
    else:
        assert g.told(decision, payment) == flaw


@pytest.mark.parametrize(("status", "refusal"), STATUSES)
def test_only_what_waits_for_approval_can_be_rejected(status: Status, refusal: Refusal):
    payment = g.payment(status)
    assert g.told(reject(payment), payment) == g.Told(refusal, None)


@pytest.mark.parametrize("columns", [{"on_hold": True}, {"created_by": m.DISPATCHER}, {"fraud_status": "flagged"}])
def test_neither_a_hold_nor_a_flag_nor_ones_own_creation_is_in_the_way(columns: dict[str, Any]):
    payment = g.payment(**columns)
    assert g.stepped(reject(payment), payment).after.status is Status.CANCELLED


@pytest.mark.parametrize("first", range(len(LAYERS)))
def test_of_several_reasons_the_first_in_order_of_precedence_is_told(first: int):
    code, fields, columns = g.flawed(LAYERS, first)
    payment = g.payment(**columns)
    assert g.told(reject(payment, **fields), payment).code is code


@pytest.mark.parametrize("text", g.NO_IDS)
def test_a_payment_that_cannot_exist_is_an_invalid_field(text: str):
    assert g.told(reject(None, paymentId=text), None) == g.Told(Refusal.INVALID_FIELD, "paymentId")


def test_a_payment_that_is_not_there_is_not_found():
    assert g.told(reject(None), None) == g.Told(Refusal.NOT_FOUND, None)
