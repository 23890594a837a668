"""CancelPayment: what is not yet being paid out can be called off, with a reason, by those who may decide."""

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
    g.Layer(Refusal.INVALID_FIELD, {"reasonCode": ""}),
    *g.COMMON_LAYERS,
    g.Layer(Refusal.ILLEGAL_TRANSITION, payment={"status": Status.PROCESSING}),
]

STATUSES = [
    (Status.PENDING_APPROVAL, None),
    (Status.APPROVED, None),
    (Status.PROCESSING, Refusal.ILLEGAL_TRANSITION),
    (Status.COMPLETED, Refusal.ILLEGAL_TRANSITION),
    (Status.FAILED, Refusal.ILLEGAL_TRANSITION),
    (Status.CANCELLED, Refusal.ALREADY_DECIDED),
]


def cancel(payment: Payment | None, **fields: Any) -> Decision:
    return g.decided(g.command("CancelPayment", **{"reason": "Paid by the insurer.", **fields}), payment=payment)


@pytest.mark.parametrize(("status", "refusal"), STATUSES)
def test_a_payment_can_be_called_off_until_its_payout_begins(status: Status, refusal: Refusal | None):
    payment = g.payment(status)
    decision = cancel(payment)
    if refusal is None:
        assert isinstance(decision, Move)
        assert g.stepped(decision, payment).after.status is Status.CANCELLED
    else:
        assert g.told(decision, payment) == g.Told(refusal, None)


def test_a_cancellation_says_by_whom_and_why_and_keeps_who_had_approved():
    payment = g.payment(Status.APPROVED)
    step = g.stepped(cancel(payment, reasonCode="duplicate_work"), payment)
    assert (step.after.cancel_kind, step.after.approved_by, step.event) == ("cancelled", g.OTHER, Event.CANCELLED)
    assert step.data == {"role": Role.DISPATCHER, "reasonCode": "duplicate_work"}
    assert step.note == "Paid by the insurer."
    assert g.posted(step) == [("PaymentCancelled", None)]
    [event] = g.announced(step)
    assert isinstance(event, PaymentCancelled)
    assert (event.cancelled_by, event.cancelled_at, event.cancel_kind) == (m.DISPATCHER, g.NOW, "cancelled")
    assert (event.reason_code, event.reason) == ("duplicate_work", "Paid by the insurer.")


@pytest.mark.parametrize(("actor", "company", "refusal"), g.MATRIX, ids=g.MATRIX_IDS)
def test_a_cancellation_takes_a_dispatcher_of_the_company_or_an_admin(
    actor: dict[str, Any], company: UUID | None, refusal: Refusal | None
):
    payment = g.payment(Status.APPROVED, company_id=company)
    decision = cancel(payment, actor=actor)
    if refusal is None:
        assert g.stepped(decision, payment).actor.id == UUID(actor["id"])
    else:
        assert g.told(decision, payment) == g.Told(refusal, None)


@pytest.mark.parametrize(("view", "flaw"), g.VIEWS)
def test_a_cancellation_is_of_the_payment_that_its_sender_saw(view: dict[str, Any], flaw: g.Told | None):
    payment = g.payment(Status.APPROVED)
    decision = cancel(payment, **view)
    if flaw is None:
        assert g.stepped(decision, payment).after.status is Status.CANCELLED
    else:
        assert g.told(decision, payment) == flaw


@pytest.mark.parametrize(("fields", "field"), [({"reason": " "}, "reason"), ({"reasonCode": "x" * 65}, "reasonCode")])
def test_a_cancellation_needs_a_reason_that_says_something_and_fits(fields: dict[str, Any], field: str):
    payment = g.payment()
    assert g.told(cancel(payment, **fields), payment) == g.Told(Refusal.INVALID_FIELD, field)


@pytest.mark.parametrize("columns", [{"on_hold": True}, {"created_by": m.DISPATCHER}, {"fraud_status": "flagged"}])
def test_neither_a_hold_nor_a_flag_nor_ones_own_creation_is_in_the_way(columns: dict[str, Any]):
    payment = g.payment(Status.APPROVED, **columns)
    assert g.stepped(cancel(payment), payment).after.status is Status.CANCELLED


@pytest.mark.parametrize("first", range(len(LAYERS)))
def test_of_several_reasons_the_first_in_order_of_precedence_is_told(first: int):
    code, fields, columns = g.flawed(LAYERS, first)
    payment = g.payment(**columns)
    assert g.told(cancel(payment, **fields), payment).code is code


@pytest.mark.parametrize("text", g.NO_IDS)
def test_a_payment_that_cannot_exist_is_an_invalid_field(text: str):
    assert g.told(cancel(None, paymentId=text), None) == g.Told(Refusal.INVALID_FIELD, "paymentId")


def test_a_payment_that_is_not_there_is_not_found():
    assert g.told(cancel(None), None) == g.Told(Refusal.NOT_FOUND, None)
