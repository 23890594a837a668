"""ExecutePayout: what each answer of the provider makes of the payment, the attempt and the next look."""

from datetime import timedelta
from typing import Any

import pytest

from contracts import ids
from contracts.lifecycle import Event, Status
from contracts.outbound import PaymentAttemptFailed, PaymentCompleted, PaymentFailed, PaymentProcessing
from contracts.payment import Actor, ActorType, Attempt, AttemptState, Payment
from contracts.provider import Accepted, Answer, Declined, NotExecuted, Told, TryLater, Unfunded, Unknown
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Move, NotYet, Record, Rules
from tests.handlers.decisions import ground as g
from tests.kit import messages as m

SERVICE = Actor(ids.SYSTEM_PAYOUTS, ActorType.SYSTEM)
OPEN = [state for state in AttemptState if state.open]
RESOLVED = [state for state in AttemptState if not state.open]
#: What ends an attempt that leaves its payment to the next one, and the failure code that it gets.
CAME_TO_NOTHING: list[tuple[Answer, str]] = [
    (Unfunded("balance_insufficient"), "balance_insufficient"),
    (Unfunded("c" * 100), "c" * 64),
    (NotExecuted(), "not_executed"),
]
SETTLING: list[Answer] = [
    Accepted("tr_1"),
    Declined("account_closed", "Closed."),
    Unknown("timeout"),
    Unknown("contradiction", stopped=True),
    *(answer for answer, _ in CAME_TO_NOTHING),
]
#: What is no news of a resolved attempt.
LATE: list[Answer | None] = [
    Unknown("timeout"),
    TryLater("busy"),
    Unfunded("balance_insufficient"),
    NotExecuted(),
    None,
]
ANSWERS: list[Answer | None] = [*SETTLING, TryLater("busy"), None]

#: The number of the check that is due, and how long until the one after it.
SCHEDULE = [
    (1, timedelta(minutes=5)),
    (2, timedelta(hours=1)),
    (3, timedelta(days=1)),
    (4, timedelta(days=1)),
    (100, timedelta(days=1)),
]

#: The provider, and the transfer id under its own name.
PROVIDERS = [("stripe", "tr_1"), ("sandbox", None)]


def execute(
    payment: Payment | None, attempt: Attempt | None, answer: Answer | None, rules: Rules | None = None, **fields: Any
) -> Decision:
    attempt_id = str(attempt.attempt_id if attempt else ids.attempt_id(g.PAYMENT_ID, 1))
    actor = {"id": str(ids.SYSTEM_PAYOUTS), "type": "system"}
    message = m.command("ExecutePayout", **{"actor": actor, "attemptId": attempt_id, "check": 0, **fields})
    return g.decided(message, payment=payment, attempt=attempt, told=Told(answer), rules=rules or Rules())


@pytest.mark.parametrize("state", OPEN)
def test_an_accepted_movement_completes_the_payment_and_settles_the_attempt(state: AttemptState):
    payment, attempt = g.payment(Status.PROCESSING), g.attempt(state, next_check_at=g.NOW)
    step = g.stepped(execute(payment, attempt, Accepted("tr_1")), payment)
    assert isinstance(step, Move)
    assert (step.after.status, step.after.completed_at) == (Status.COMPLETED, g.NOW)
    assert (step.event, step.actor, step.opens) == (Event.PAYOUT_SUCCEEDED, SERVICE, None)
    assert step.settles == g.attempt(AttemptState.SUCCEEDED, provider_object_id="tr_1", resolved_at=g.NOW)
    assert step.data == {"attemptNo": 1, "provider": "sandbox", "providerObjectId": "tr_1"}
    assert g.posted(step) == [("PaymentCompleted", None)]


@pytest.mark.parametrize(("provider", "transfer_id"), PROVIDERS)
def test_a_completion_names_the_provider_and_its_object(provider: str, transfer_id: str | None):
    payment, attempt = g.payment(Status.PROCESSING), g.attempt(provider=provider, attempt_no=2)
    [event] = g.announced(g.stepped(execute(payment, attempt, Accepted("tr_1")), payment))
    assert isinstance(event, PaymentCompleted)
    assert (event.completed_at, event.provider, event.provider_object_id) == (g.NOW, provider, "tr_1")
    assert (event.stripe_transfer_id, event.stripe_payment_intent_id, event.attempt_no) == (transfer_id, None, 2)


@pytest.mark.parametrize("state", OPEN)
def test_a_definite_refusal_fails_the_payment_and_settles_the_attempt(state: AttemptState):
    payment, attempt = g.payment(Status.PROCESSING), g.attempt(state, next_check_at=g.NOW)
    step = g.stepped(execute(payment, attempt, Declined("account_closed", "Closed.")), payment)
    assert isinstance(step, Move)
    after = step.after
    assert (after.status, after.failure_code, after.failed_reason) == (Status.FAILED, "account_closed", "Closed.")
    assert (step.event, step.actor, step.opens) == (Event.PAYOUT_FAILED, SERVICE, None)
    assert step.settles == g.attempt(AttemptState.FAILED, failure_code="account_closed", resolved_at=g.NOW)
    assert step.data == {"attemptNo": 1, "provider": "sandbox", "failureCode": "account_closed"}
    assert g.posted(step) == [("PaymentFailed", None)]


def test_a_failure_is_announced_as_final_with_its_reason_and_the_attempts_before():
    payment, attempt = g.payment(Status.PROCESSING), g.attempt(attempt_no=3)
    [event] = g.announced(g.stepped(execute(payment, attempt, Declined("account_closed", "Closed.")), payment))
    assert isinstance(event, PaymentFailed)
    assert (event.reason, event.failed_reason, event.failure_code) == ("Closed.", "Closed.", "account_closed")
    assert (event.failed_at, event.retryable, event.retry_attempts, event.attempt_no) == (g.NOW, False, 2, 3)


def test_a_long_winded_reason_is_cut():
    payment = g.payment(Status.PROCESSING)
    step = g.stepped(execute(payment, g.attempt(), Declined("code", "x" * 600)), payment)
    assert step.after.failed_reason == "x" * 500


@pytest.mark.parametrize("state", OPEN)
def test_an_unknown_outcome_is_recorded_and_keeps_the_payment_in_processing(state: AttemptState):
    payment, attempt = g.payment(Status.PROCESSING), g.attempt(state)
    step = g.stepped(execute(payment, attempt, Unknown("read timed out " * 10)), payment)
    assert isinstance(step, Record)
    assert (step.after.status, step.event, step.actor) == (Status.PROCESSING, Event.PAYOUT_UNKNOWN, SERVICE)
    assert step.after.processed_at == payment.processed_at == g.EARLIER
    [event] = g.announced(step)
    assert isinstance(event, PaymentProcessing)
    assert (event.payout_state, event.processed_at, event.attempt_no) == ("unknown", g.EARLIER, 1)
    assert ("read timed out " * 10)[:64] in step.data.values()


@pytest.mark.parametrize(("checks", "delay"), SCHEDULE)
def test_an_unknown_outcome_leaves_the_next_look_to_the_sweep_under_the_next_number(checks: int, delay: timedelta):
    payment, attempt = g.payment(Status.PROCESSING), g.attempt(AttemptState.UNKNOWN, checks=checks)
    step = g.stepped(execute(payment, attempt, Unknown("timeout")), payment)
    assert g.posted(step) == [("PaymentProcessing", None)]
    assert step.settles == g.attempt(AttemptState.UNKNOWN, checks=checks + 1, next_check_at=g.NOW + delay)


def test_what_a_person_has_to_look_at_first_is_not_looked_at_again_by_itself():
    payment, attempt = g.payment(Status.PROCESSING), g.attempt(next_check_at=g.NOW)
    step = g.stepped(execute(payment, attempt, Unknown("key_reused", stopped=True)), payment)
    assert step.settles == g.attempt(AttemptState.UNKNOWN, checks=2, next_check_at=None)
    assert step.data["unknownBecause"] == "key_reused"


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize(("answer", "code"), CAME_TO_NOTHING)
def test_an_attempt_that_came_to_nothing_is_closed_and_its_payment_goes_on(
    answer: Answer, code: str, state: AttemptState
):
    payment, attempt = g.payment(Status.PROCESSING), g.attempt(state, attempt_no=2, next_check_at=g.NOW)
    step = g.stepped(execute(payment, attempt, answer), payment)
    assert (step.after.status, step.after.failure_code) == (Status.PROCESSING, None)
    assert (step.event, step.actor, step.opens) == (Event.ATTEMPT_FAILED, SERVICE, None)
    assert step.settles == g.attempt(AttemptState.FAILED, attempt_no=2, failure_code=code, resolved_at=g.NOW)
    assert step.data == {"attemptNo": 2, "provider": "sandbox", "failureCode": code}
    [event] = g.announced(step)
    assert isinstance(event, PaymentAttemptFailed)
    assert (event.attempt_no, event.provider, event.failure_code, event.failed_at) == (2, "sandbox", code, g.NOW)
    assert g.posted(step) == [("PaymentAttemptFailed", None)]


def test_the_schedule_of_looks_is_a_setting():
    payment = g.payment(Status.PROCESSING)
    rules = Rules(check_after=(timedelta(seconds=7),))
    step = g.stepped(execute(payment, g.attempt(checks=9), Unknown("timeout"), rules), payment)
    assert step.settles
    assert step.settles.next_check_at == g.NOW + timedelta(seconds=7)


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("answer", [TryLater("busy"), None])
def test_without_an_answer_the_order_comes_again(state: AttemptState, answer: Answer | None):
    with pytest.raises(NotYet):
        execute(g.payment(Status.PROCESSING), g.attempt(state), answer)


@pytest.mark.parametrize("status", [Status.PROCESSING, Status.COMPLETED, Status.FAILED])
@pytest.mark.parametrize("state", RESOLVED)
@pytest.mark.parametrize("answer", LATE)
def test_an_answer_that_moves_nothing_about_a_resolved_attempt_changes_nothing(
    status: Status, state: AttemptState, answer: Answer | None
):
    payment = g.payment(status)
    assert execute(payment, g.attempt(state), answer) == Absorb(payment)


def test_a_definite_answer_that_agrees_with_the_record_changes_nothing():
    paid = g.attempt(AttemptState.SUCCEEDED, provider_object_id="tr_1")
    payment = g.payment(Status.COMPLETED)
    assert execute(payment, paid, Accepted("tr_1")) == Absorb(payment)
    refused = g.attempt(AttemptState.FAILED, failure_code="account_closed")
    payment = g.payment(Status.FAILED)
    assert execute(payment, refused, Declined("account_closed", "closed")) == Absorb(payment)


@pytest.mark.parametrize(
    ("status", "state", "known", "answer"),
    [
        (Status.FAILED, AttemptState.FAILED, None, Accepted("tr_1")),
        (Status.COMPLETED, AttemptState.SUCCEEDED, "tr_1", Accepted("tr_2")),
        (Status.COMPLETED, AttemptState.SUCCEEDED, "tr_1", Declined("account_closed", "closed")),
    ],
)
def test_a_definite_answer_that_contradicts_the_record_is_a_fault(status, state, known, answer):
    with pytest.raises(AssertionError, match="contradicts attempt 1"):
        execute(g.payment(status), g.attempt(state, provider_object_id=known), answer)


@pytest.mark.parametrize(
    ("status", "state"), [(Status.COMPLETED, AttemptState.SUCCEEDED), (Status.FAILED, AttemptState.FAILED)]
)
def test_a_contradiction_that_the_provider_itself_shows_is_a_fault(status: Status, state: AttemptState):
    with pytest.raises(AssertionError, match="contradicts attempt 1"):
        execute(g.payment(status), g.attempt(state), Unknown("contradiction", stopped=True))


@pytest.mark.parametrize("status", [Status.PROCESSING, Status.COMPLETED])
def test_of_an_attempt_that_came_to_nothing_it_is_not_while_the_payment_goes_on(status: Status):
    payment = g.payment(status)
    stopped = Unknown("contradiction", stopped=True)
    assert execute(payment, g.attempt(AttemptState.FAILED), stopped) == Absorb(payment)


@pytest.mark.parametrize("status", [Status.PROCESSING, Status.COMPLETED])
def test_a_late_success_of_an_attempt_that_was_given_up_is_the_next_ones_which_looks_first(status: Status):
    payment = g.payment(status)
    assert execute(payment, g.attempt(AttemptState.FAILED), Accepted("tr_1")) == Absorb(payment)


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_attempt_that_is_not_there_is_not_found(answer: Answer | None):
    assert g.told(execute(None, None, answer), None) == g.Told(Refusal.NOT_FOUND, "attemptId")


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.PROCESSING])
@pytest.mark.parametrize("answer", SETTLING)
def test_an_open_attempt_of_a_payment_that_is_not_being_paid_is_a_broken_invariant(status: Status, answer: Answer):
    with pytest.raises(AssertionError, match=f"met a payment in {status}"):
        execute(g.payment(status), g.attempt(), answer)
