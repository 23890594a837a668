"""HoldPayment and ReleaseHold: what is held is neither approved nor paid, and what goes on is paid where it is due."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts import ids
from contracts.lifecycle import Event, Status
from contracts.outbound import PaymentHeld, PaymentReleased
from contracts.payment import Actor, ActorType, Payment, Role
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Record
from tests.handlers.decisions import ground as g
from tests.kit import messages as m

LATER = g.NOW + timedelta(days=7)
HOLD_LAYERS = [
    g.Layer(Refusal.INVALID_FIELD, {"reasonCode": ""}),
    *g.COMMON_LAYERS,
    g.Layer(Refusal.ILLEGAL_TRANSITION, payment={"status": Status.PROCESSING}),
]
MAY_BE_HELD = (Status.PENDING_APPROVAL, Status.APPROVED)


def hold(payment: Payment | None, **fields: Any) -> Decision:
    return g.decided(g.command("HoldPayment", **{"reason": "No invoice.", **fields}), payment=payment)


def release(payment: Payment | None, **fields: Any) -> Decision:
    return g.decided(g.command("ReleaseHold", **{"reason": "It came.", **fields}), payment=payment)


def held(status: Status = Status.APPROVED, **columns: Any) -> Payment:
    return g.payment(status, **{"on_hold": True, **columns})


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("make", [hold, release])
def test_only_what_is_not_yet_being_paid_is_held_or_released(make: Any, status: Status):
    payment = held(status) if make is release else g.payment(status)
    decision = make(payment)
    if status in MAY_BE_HELD:
        step = g.stepped(decision, payment)
        assert isinstance(step, Record)
        assert step.after.status is status
    else:
        assert g.told(decision, payment) == g.Told(Refusal.ILLEGAL_TRANSITION, None)


def test_a_hold_says_by_whom_and_why_and_keeps_the_reason_beside_the_log():
    payment = g.payment(Status.APPROVED)
    step = g.stepped(hold(payment, reasonCode="awaiting_invoice"), payment)
    assert (step.event, step.note) == (Event.HELD, "No invoice.")
    assert step.data == {"role": Role.DISPATCHER, "reasonCode": "awaiting_invoice"}
    assert (step.after.on_hold, step.after.hold_until) == (True, None)
    assert g.posted(step) == [("PaymentHeld", None)]
    [event] = g.announced(step)
    assert isinstance(event, PaymentHeld)
    assert (event.held_by, event.held_at, event.hold_until) == (m.DISPATCHER, g.NOW, None)
    assert event.reason_code == "awaiting_invoice"


def test_a_hold_with_an_end_orders_the_payout_for_then():
    payment = g.payment(Status.APPROVED)
    step = g.stepped(hold(payment, until=LATER.isoformat()), payment)
    assert step.after.hold_until == LATER
    assert g.posted(step) == [("PaymentHeld", None), ("ProcessPayment", LATER)]
    assert g.order(step)["commandId"] == str(ids.process_payment_key(g.PAYMENT_ID, step.after.version, refusals=0))


@pytest.mark.parametrize("columns", [{"separate_releaser": True}, {"status": Status.PENDING_APPROVAL}])
def test_a_hold_with_an_end_orders_nothing_that_is_not_due_then(columns: dict[str, Any]):
    payment = g.payment(**{"status": Status.APPROVED, **columns})
    step = g.stepped(hold(payment, until=LATER.isoformat()), payment)
    assert g.posted(step) == [("PaymentHeld", None)]


def test_a_hold_cannot_end_before_it_begins():
    payment = g.payment()
    assert g.told(hold(payment, until=g.NOW.isoformat()), payment) == g.Told(Refusal.INVALID_FIELD, "until")


def test_a_hold_can_be_given_another_end_and_the_same_one_changes_nothing():
    payment = held(hold_until=LATER)
    assert isinstance(hold(payment, until=LATER.isoformat()), Absorb)
    longer = LATER + timedelta(days=1)
    assert g.stepped(hold(payment, until=longer.isoformat()), payment).after.hold_until == longer
    assert g.stepped(hold(payment), payment).after.hold_until is None


def test_a_hold_that_has_ended_can_be_made_again():
    payment = held(hold_until=g.NOW - timedelta(seconds=1))
    assert g.stepped(hold(payment), payment).after.on_hold


@pytest.mark.parametrize(
    ("columns", "posted"),
    [
        ({}, [("PaymentReleased", None), ("ProcessPayment", None)]),
        ({"separate_releaser": True}, [("PaymentReleased", None)]),
        ({"status": Status.PENDING_APPROVAL}, [("PaymentReleased", None)]),
    ],
)
def test_a_release_orders_the_payout_again_where_it_is_due(columns: dict[str, Any], posted: list[Any]):
    payment = held(**columns)
    step = g.stepped(release(payment), payment)
    assert g.posted(step) == posted
    assert (step.after.on_hold, step.after.hold_until) == (False, None)
    [event] = g.announced(step)
    assert isinstance(event, PaymentReleased)
    assert (event.released_by, event.released_at) == (m.DISPATCHER, g.NOW)
    assert (step.event, step.note) == (Event.HOLD_RELEASED, "It came.")


def test_a_release_of_what_is_not_held_changes_nothing():
    assert isinstance(release(g.payment(Status.APPROVED)), Absorb)


@pytest.mark.parametrize("make", [hold, release])
@pytest.mark.parametrize(("actor", "company", "refusal"), g.MATRIX, ids=g.MATRIX_IDS)
def test_it_takes_a_dispatcher_of_the_company_or_an_admin(
    make: Any, actor: dict[str, Any], company: UUID | None, refusal: Refusal | None
):
    payment = held(company_id=company) if make is release else g.payment(company_id=company)
    decision = make(payment, actor=actor)
    if refusal is None:
        assert g.stepped(decision, payment).actor.id == UUID(actor["id"])
    else:
        assert g.told(decision, payment) == g.Told(refusal, None)


@pytest.mark.parametrize("make", [hold, release])
@pytest.mark.parametrize("first", range(len(HOLD_LAYERS)))
def test_of_several_reasons_the_first_in_order_of_precedence_is_told(make: Any, first: int):
    code, fields, columns = g.flawed(HOLD_LAYERS, first)
    payment = g.payment(**columns)
    assert g.told(make(payment, **fields), payment).code is code


@pytest.mark.parametrize("status", MAY_BE_HELD)
@pytest.mark.parametrize("gains", ["is the vendor", "acts for the vendor"])
def test_nobody_lifts_the_hold_of_what_they_are_paid_by(status: Status, gains: str):
    payment = held(status)
    is_vendor = gains == "is the vendor"
    subject, vendor_id = (payment.vendor_id, None) if is_vendor else (m.DISPATCHER, payment.vendor_id)
    who = Actor(subject, ActorType.USER, Role.DISPATCHER, m.COMPANY, vendor_id)
    decision = g.decided(g.command("ReleaseHold", reason="It is mine."), payment=payment, actor=who)
    assert g.told(decision, payment) == g.Told(Refusal.SELF_APPROVAL, None)
    shorter = g.command("HoldPayment", reason="It is mine.", until=LATER.isoformat())
    for on_hold in (payment, held(status, hold_until=LATER + timedelta(days=1)), held(status, hold_until=g.NOW)):
        decision = g.decided(shorter, payment=on_hold, actor=who)
        assert g.told(decision, on_hold) == g.Told(Refusal.SELF_APPROVAL, None), "another end may be its end"
    anybody = g.decided(g.command("HoldPayment", reason="Not yet."), payment=g.payment(status), actor=who)
    assert isinstance(anybody, Record), "to stop it is anybody's right"
