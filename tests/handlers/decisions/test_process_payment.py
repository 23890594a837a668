"""ProcessPayment: by a person from the command queue or by the service itself from the payouts queue."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts import ids
from contracts.envelope import Queue
from contracts.lifecycle import Event, Status
from contracts.outbound import PaymentProcessing
from contracts.payment import Actor, ActorType, AttemptState, PayerType, Payment, VendorAccount
from contracts.refusals import Refusal
from handlers.decision import Decision, Move, Rules
from tests.handlers.decisions import ground as g
from tests.kit import messages as m

SERVICE = Actor(ids.SYSTEM_PAYOUTS, ActorType.SYSTEM)

GUARDS = [
    g.Layer(Refusal.ILLEGAL_TRANSITION, payment={"status": Status.PENDING_APPROVAL}),
    g.Layer(Refusal.ON_HOLD, payment={"on_hold": True}),
    g.Layer(Refusal.FRAUD_REVIEW_REQUIRED, payment={"fraud_status": "flagged"}),
    g.Layer(Refusal.VENDOR_NOT_PAYABLE, {"vendorStripeAccountId": "acct_other"}),
    g.Layer(Refusal.PAYER_NOT_CHARGEABLE, payment={"payer_type": PayerType.DRIVER_IC}),
    g.Layer(Refusal.AMOUNT_BELOW_MINIMUM, {"amountCents": 49}, {"amount_cents": 49}),
]
LAYERS = [*g.COMMON_LAYERS, *GUARDS]
#: A vendor's account, whether vendors without one are paid, and whether this one is.
UNREGISTERED, REGISTERED_ONLY = Rules(), Rules(provider="stripe", unregistered_accounts=False)
ACCOUNTS: list[tuple[str, VendorAccount | None, Rules, bool]] = [
    ("none, at the sandbox", None, UNREGISTERED, True),
    ("none, at another provider", None, REGISTERED_ONLY, False),
    ("registered", g.account(), REGISTERED_ONLY, True),
    ("registered, at the sandbox", g.account(), UNREGISTERED, True),
    ("disabled", g.account(payouts_enabled=False), REGISTERED_ONLY, False),
    ("disabled, at the sandbox", g.account(payouts_enabled=False), UNREGISTERED, False),
    ("in its cool-down", g.account(held_until=g.NOW + timedelta(microseconds=1)), REGISTERED_ONLY, False),
    ("in its cool-down, at the sandbox", g.account(held_until=g.NOW + timedelta(days=1)), UNREGISTERED, False),
    ("after its cool-down", g.account(held_until=g.NOW), REGISTERED_ONLY, True),
    ("disabled after it", g.account(held_until=g.EARLIER, payouts_enabled=False), REGISTERED_ONLY, False),
    ("with requirements that stop nothing", g.account(requirements=("tos",)), REGISTERED_ONLY, True),
]
ACCOUNT_IDS = [row[0] for row in ACCOUNTS]

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


# -- whether the vendor can be paid


@pytest.mark.parametrize(("account", "rules", "paid"), [row[1:] for row in ACCOUNTS], ids=ACCOUNT_IDS)
@pytest.mark.parametrize("queue", QUEUES)
def test_a_vendor_is_paid_to_a_registered_account_that_may_be_paid_now(
    queue: Queue, account: VendorAccount | None, rules: Rules, *, paid: bool
):
    payment = g.payment(Status.APPROVED)
    decision = process(payment, queue, known={"account": account, "rules": rules})
    if not paid:
        assert g.told(decision, payment) == g.Told(Refusal.VENDOR_NOT_PAYABLE, None)
        return
    step = g.stepped(decision, payment)
    assert step.opens
    assert step.opens.destination == (account.account_id if account else str(m.VENDOR))


@pytest.mark.parametrize(
    ("account", "seen", "flaw"),
    [
        (g.account(), "acct_1", None),
        (g.account(), None, None),
        (g.account(), "acct_2", g.Told(Refusal.VENDOR_NOT_PAYABLE, "vendorStripeAccountId")),
        (g.account(), "", g.Told(Refusal.VENDOR_NOT_PAYABLE, "vendorStripeAccountId")),
        (None, "acct_1", g.Told(Refusal.VENDOR_NOT_PAYABLE, "vendorStripeAccountId")),
    ],
)
def test_the_account_is_the_one_that_the_sender_saw(
    account: VendorAccount | None, seen: str | None, flaw: g.Told | None
):
    payment = g.payment(Status.APPROVED)
    decision = process(payment, vendorStripeAccountId=seen, known={"account": account})
    if flaw is None:
        assert g.stepped(decision, payment).after.status is Status.PROCESSING
    else:
        assert g.told(decision, payment) == flaw


#: An amount, and why the provider does not take it.
AMOUNTS: list[tuple[int, str, Refusal | None]] = [
    (50, "USD", None),
    (49, "USD", Refusal.AMOUNT_BELOW_MINIMUM),
    (99_999_999, "USD", None),
    (100_000_000, "USD", Refusal.AMOUNT_OUT_OF_RANGE),
    (50, "JPY", None),
    (49, "JPY", Refusal.AMOUNT_BELOW_MINIMUM),
    (15000, "CUP", Refusal.UNSUPPORTED_CURRENCY),
    (20050, "HUF", Refusal.INVALID_FIELD),
    (15005, "KWD", Refusal.INVALID_FIELD),
]


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize(("amount", "currency", "refusal"), AMOUNTS)
def test_an_amount_that_the_provider_does_not_take_is_refused(
    amount: int, currency: str, refusal: Refusal | None, queue: Queue
):
    payment = g.payment(Status.APPROVED, amount_cents=amount, currency=currency)
    decision = process(payment, queue, amountCents=amount, currency=currency)
    if refusal is None:
        assert g.stepped(decision, payment).after.status is Status.PROCESSING
    else:
        assert g.told(decision, payment) == g.Told(refusal, None)


# -- the next attempt


FAILED = g.attempt(AttemptState.FAILED, attempt_no=2, failure_code="balance_insufficient")


def test_a_payment_whose_last_attempt_came_to_nothing_gets_its_next_one_to_where_the_vendor_is_paid_now():
    payment = g.payment(Status.PROCESSING)
    known = {"attempt": FAILED, "account": g.account("acct_2")}
    step = g.stepped(process(payment, Queue.PAYOUTS, known=known), payment)
    assert (step.event, step.after.status) == (Event.ATTEMPT_OPENED, Status.PROCESSING)
    assert (step.after.processed_at, step.actor) == (payment.processed_at, SERVICE)
    assert step.opens == g.attempt(
        attempt_no=3,
        created_at=g.NOW,
        submit_before=g.NOW + Rules().submit_window,
        next_check_at=g.NOW + Rules().check_after[0],
        destination="acct_2",
        request_fingerprint=step.opens.request_fingerprint if step.opens else b"",
    )
    assert g.posted(step) == [("PaymentProcessing", None), ("ExecutePayout", None)]
    assert g.order(step)["commandId"] == str(ids.execute_payout_key(ids.attempt_id(g.PAYMENT_ID, 3), 0))


@pytest.mark.parametrize("separate_releaser", [True, False])
def test_a_release_still_stands_for_the_next_attempt(*, separate_releaser: bool):
    payment = g.payment(Status.PROCESSING, separate_releaser=separate_releaser)
    assert g.stepped(process(payment, Queue.PAYOUTS, known={"attempt": FAILED}), payment).opens


@pytest.mark.parametrize("actor", [m.dispatcher(), m.admin()])
def test_no_person_opens_the_next_attempt(actor: dict[str, Any]):
    payment = g.payment(Status.PROCESSING)
    decision = process(payment, actor=actor, known={"attempt": FAILED})
    assert g.told(decision, payment) == g.Told(Refusal.ILLEGAL_TRANSITION, None)


@pytest.mark.parametrize("state", [AttemptState.READY, AttemptState.UNKNOWN, AttemptState.SUCCEEDED])
def test_no_attempt_follows_one_that_has_not_come_to_nothing(state: AttemptState):
    payment = g.payment(Status.PROCESSING)
    decision = process(payment, Queue.PAYOUTS, known={"attempt": g.attempt(state)})
    assert g.told(decision, payment) == g.Told(Refusal.ILLEGAL_TRANSITION, None)


def test_a_payment_that_has_failed_gets_no_next_attempt():
    payment = g.payment(Status.FAILED)
    decision = process(payment, Queue.PAYOUTS, known={"attempt": FAILED})
    assert g.told(decision, payment) == g.Told(Refusal.ILLEGAL_TRANSITION, None)


@pytest.mark.parametrize(("account", "rules", "paid"), [row[1:] for row in ACCOUNTS], ids=ACCOUNT_IDS)
def test_the_next_attempt_asks_again_whether_the_vendor_may_be_paid(
    account: VendorAccount | None, rules: Rules, *, paid: bool
):
    payment = g.payment(Status.PROCESSING)
    decision = process(payment, Queue.PAYOUTS, known={"attempt": FAILED, "account": account, "rules": rules})
    if paid:
        assert g.stepped(decision, payment).opens
    else:
        assert g.told(decision, payment) == g.Told(Refusal.VENDOR_NOT_PAYABLE, None)
