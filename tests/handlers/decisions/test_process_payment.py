"""ProcessPayment: by a person from the command queue or by the service itself from the payouts queue."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from contracts import ids
from contracts.envelope import Queue
from contracts.lifecycle import Event, Status
from contracts.outbound import PaymentProcessing
from contracts.payment import Actor, ActorType, AttemptState, PayerType, Payment
from contracts.refusals import Refusal
from handlers.decision import Decision, Move, Rules
from tests.handlers.decisions import ground as g
from tests.kit import messages as m

SERVICE = Actor(ids.SYSTEM_PAYOUTS, ActorType.SYSTEM)

GUARDS = [
    g.Layer(Refusal.ILLEGAL_TRANSITION, payment={"status": Status.PENDING_APPROVAL}),
    g.Layer(Refusal.ON_HOLD, payment={"on_hold": True}),
    g.Layer(Refusal.FRAUD_REVIEW_REQUIRED, payment={"fraud_status": "flagged"}),
    g.Layer(Refusal.PAYER_NOT_CHARGEABLE, payment={"payer_type": PayerType.DRIVER_IC}),
]
LAYERS = [*g.COMMON_LAYERS, *GUARDS]

STATUSES = [status for status in Status if status is not Status.APPROVED]
FRAUD = [
    ("not_scored", None),
    ("low_risk", None),
    ("medium_risk", None),
    ("high_risk", None),
    ("cleared", None),
    ("flagged", Refusal.FRAUD_REVIEW_REQUIRED),
    ("confirmed", Refusal.FRAUD_REVIEW_REQUIRED),
]
QUEUES = [Queue.COMMANDS, Queue.PAYOUTS]


def process(payment: Payment | None, queue: Queue = Queue.COMMANDS, *, known: Any = None, **fields: Any) -> Decision:
    actor = {"id": str(ids.SYSTEM_PAYOUTS), "type": "system"} if queue is Queue.PAYOUTS else m.dispatcher()
    message = g.command("ProcessPayment", **{"actor": actor, **fields})
    return g.decided(message, queue=queue, payment=payment, **(known or {}))


@pytest.mark.parametrize("queue", QUEUES)
def test_an_approved_payment_begins_its_first_attempt(queue: Queue):
    payment = g.payment(Status.APPROVED)
    step = g.stepped(process(payment, queue), payment)
    assert isinstance(step, Move)
    assert (step.after.status, step.after.processed_at) == (Status.PROCESSING, g.NOW)
    assert (step.event, step.data) == (Event.PROCESSING_STARTED, {"attemptNo": 1, "provider": "sandbox"})
    opened = step.opens
    assert opened is not None
    assert opened == g.attempt(
        created_at=g.NOW,
        submit_before=g.NOW + Rules().submit_window,
        next_check_at=g.NOW + Rules().check_after[0],
        request_fingerprint=opened.request_fingerprint,
    )
    assert (step.settles, step.lines, step.note) == (None, (), None)


def test_the_attempt_is_ordered_at_once_under_check_number_zero():
    payment = g.payment(Status.APPROVED)
    step = g.stepped(process(payment, Queue.PAYOUTS, correlationId="incident-9"), payment)
    assert g.posted(step) == [("PaymentProcessing", None), ("ExecutePayout", None)]
    attempt_id = ids.attempt_id(g.PAYMENT_ID, 1)
    order = g.order(step)
    assert order["commandId"] == str(ids.execute_payout_key(attempt_id, 0))
    assert (order["attemptId"], order["check"], order["correlationId"]) == (str(attempt_id), 0, "incident-9")


def test_the_beginning_is_announced_with_the_attempt_and_what_is_known_of_it():
    payment = g.payment(Status.APPROVED)
    step = g.stepped(process(payment, known={"rules": Rules(provider="stripe")}), payment)
    [event] = g.announced(step)
    assert isinstance(event, PaymentProcessing)
    assert (event.processed_at, event.attempt_no, event.provider, event.payout_state) == (g.NOW, 1, "stripe", "ready")
    assert step.opens is not None
    assert step.opens.provider == "stripe"


def test_the_next_attempt_has_the_next_number_and_a_key_of_its_own():
    payment = g.payment(Status.APPROVED)
    failed = g.attempt(AttemptState.FAILED, attempt_no=2, failure_code="balance_insufficient")
    step = g.stepped(process(payment, Queue.PAYOUTS, known={"attempt": failed}), payment)
    assert step.opens is not None
    assert (step.opens.attempt_no, step.opens.idempotency_key) == (3, f"pay-{g.PAYMENT_ID}-3")
    assert step.opens.attempt_id == ids.attempt_id(g.PAYMENT_ID, 3)
    assert g.order(step)["commandId"] == str(ids.execute_payout_key(step.opens.attempt_id, 0))


@pytest.mark.parametrize("column", [{"amount_cents": 15001}, {"currency": "EUR"}, {"vendor_id": m.DRIVER}])
def test_the_attempts_fingerprint_is_of_who_is_paid_how_much(column: dict[str, Any]):
    payment = g.payment(Status.APPROVED)
    other = replace(payment, **column)
    first, again, changed = (g.stepped(process(each, Queue.PAYOUTS), each).opens for each in (payment, payment, other))
    assert first
    assert again
    assert changed
    assert len(first.request_fingerprint) == 32
    assert first.request_fingerprint == again.request_fingerprint != changed.request_fingerprint
    assert (changed.amount_cents, changed.currency) == (other.amount_cents, other.currency)
    assert changed.destination == str(other.vendor_id)


def test_from_the_command_queue_a_person_is_the_actor_and_from_the_payouts_queue_the_service():
    payment = g.payment(Status.APPROVED)
    assert g.stepped(process(payment), payment).actor.id == m.DISPATCHER
    by_service = process(payment, Queue.PAYOUTS, actor=m.dispatcher(role="vendor"))
    assert g.stepped(by_service, payment).actor == SERVICE


@pytest.mark.parametrize(("actor", "company", "refusal"), g.MATRIX, ids=g.MATRIX_IDS)
def test_by_command_a_payment_is_released_by_a_dispatcher_of_the_company_or_an_admin(
    actor: dict[str, Any], company: UUID | None, refusal: Refusal | None
):
    payment = g.payment(Status.APPROVED, company_id=company)
    decision = process(payment, actor=actor)
    if refusal is None:
        assert g.stepped(decision, payment).actor.id == UUID(actor["id"])
    else:
        assert g.told(decision, payment) == g.Told(refusal, None)


def test_the_service_itself_also_pays_what_belongs_to_no_company():
    payment = g.payment(Status.APPROVED, company_id=None)
    assert g.stepped(process(payment, Queue.PAYOUTS), payment).after.status is Status.PROCESSING


@pytest.mark.parametrize(("view", "flaw"), g.VIEWS)
def test_by_command_the_payment_is_the_one_that_its_sender_saw(view: dict[str, Any], flaw: g.Told | None):
    payment = g.payment(Status.APPROVED)
    decision = process(payment, **view)
    if flaw is None:
        assert g.stepped(decision, payment).after.status is Status.PROCESSING
    else:
        assert g.told(decision, payment) == flaw


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("status", STATUSES)
def test_only_an_approved_payment_is_processed(status: Status, queue: Queue):
    payment = g.payment(status)
    assert g.told(process(payment, queue), payment) == g.Told(Refusal.ILLEGAL_TRANSITION, None)


@pytest.mark.parametrize("queue", QUEUES)
def test_a_payment_on_hold_is_not_processed(queue: Queue):
    payment = g.payment(Status.APPROVED, on_hold=True)
    assert g.told(process(payment, queue), payment) == g.Told(Refusal.ON_HOLD, None)


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize(("fraud_status", "refusal"), FRAUD)
def test_a_flagged_payment_waits_for_its_review(fraud_status: str, refusal: Refusal | None, queue: Queue):
    payment = g.payment(Status.APPROVED, fraud_status=fraud_status)
    decision = process(payment, queue)
    if refusal is None:
        assert g.stepped(decision, payment).after.status is Status.PROCESSING
    else:
        assert g.told(decision, payment) == g.Told(refusal, None)


@pytest.mark.parametrize("queue", QUEUES)
def test_a_driver_cannot_be_charged_yet(queue: Queue):
    payment = g.payment(Status.APPROVED, payer_type=PayerType.DRIVER_IC, payer_id=m.DRIVER)
    assert g.told(process(payment, queue), payment) == g.Told(Refusal.PAYER_NOT_CHARGEABLE, None)


@pytest.mark.parametrize("first", range(len(LAYERS)))
def test_of_several_reasons_the_first_in_order_of_precedence_is_told(first: int):
    code, fields, columns = g.flawed(LAYERS, first)
    payment = g.payment(**{"status": Status.APPROVED, **columns})
    assert g.told(process(payment, **fields), payment).code is code


@pytest.mark.parametrize("first", range(len(GUARDS)))
def test_the_service_itself_is_told_its_reasons_in_the_same_order(first: int):
    code, fields, columns = g.flawed(GUARDS, first)
    payment = g.payment(**{"status": Status.APPROVED, **columns})
    assert g.told(process(payment, Queue.PAYOUTS, **fields), payment).code is code


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("text", g.NO_IDS)
def test_a_payment_that_cannot_exist_is_an_invalid_field(text: str, queue: Queue):
    decision = process(None, queue, paymentId=text)
    assert g.told(decision, None) == g.Told(Refusal.INVALID_FIELD, "paymentId")


@pytest.mark.parametrize("queue", QUEUES)
def test_a_payment_that_is_not_there_is_not_found(queue: Queue):
    assert g.told(process(None, queue), None) == g.Told(Refusal.NOT_FOUND, None)
