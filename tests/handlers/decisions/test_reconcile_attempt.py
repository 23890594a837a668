"""ReconcileAttempt: an open attempt is settled by what is found; of a closed one, what has become of its money."""

from itertools import permutations
from typing import Any

import pytest

from contracts import ids
from contracts.lifecycle import Event, Status
from contracts.outbound import PaymentReversed, VendorPayoutFailed, VendorPayoutInTransit, VendorPayoutPaid
from contracts.payment import Actor, ActorType, Attempt, AttemptState, Payment
from contracts.provider import (
    Accepted,
    Answer,
    Declined,
    NotExecuted,
    NotFound,
    PayoutSeen,
    Settlement,
    Told,
    TryLater,
    Unfunded,
    Unknown,
)
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Facts, Move, Record, Returned, Rules
from handlers.decisions import execute_payout, reconcile_attempt
from tests.handlers.decisions import ground as g
from tests.kit import messages as m

SERVICE = Actor(ids.SYSTEM_PAYOUTS, ActorType.SYSTEM)
ANSWERS: list[Answer | None] = [
    Accepted("tr_1"),
    Accepted("tr_1", g.back(100)),
    Accepted("tr_2"),
    Declined("account_closed", "Closed."),
    Unfunded("balance_insufficient"),
    NotExecuted(),
    Unknown("timeout"),
    Unknown("two_transfers", stopped=True),
    TryLater("busy"),
    None,
]
#: What the provider says of a settlement, and the news of it.
NEWS = [
    (Settlement.IN_TRANSIT, VendorPayoutInTransit),
    (Settlement.PAID, VendorPayoutPaid),
    (Settlement.FAILED, VendorPayoutFailed),
]


def reconcile(
    payment: Payment | None, attempt: Attempt | None, answer: Answer | None, seen: PayoutSeen | NotFound | None = None
) -> Decision:
    message = m.command("ReconcileAttempt", attemptId=str(ids.attempt_id(g.PAYMENT_ID, 1)))
    return g.decided(message, payment=payment, attempt=attempt, told=Told(answer, seen))


def ended(decide: Any, facts: Facts) -> Any:
    """What is decided, or what is raised."""
    try:
        return decide(facts, None, g.NOW)
    except Exception as error:  # noqa: BLE001 - compared with what the other raises
        return type(error), str(error)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("state", AttemptState)
@pytest.mark.parametrize("status", [Status.PROCESSING, Status.COMPLETED, Status.FAILED])
def test_it_makes_of_an_answer_what_the_order_to_pay_makes_of_it(
    status: Status, state: AttemptState, answer: Answer | None
):
    parsed = m.parsed(m.command("ReconcileAttempt", attemptId=str(ids.attempt_id(g.PAYMENT_ID, 1))))
    attempt = g.paid() if state is AttemptState.SUCCEEDED else g.attempt(state)
    facts = Facts(parsed.cause, Rules(), g.payment(status), attempt, Told(answer))
    assert ended(reconcile_attempt.decide, facts) == ended(execute_payout.decide, facts)


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_attempt_that_is_not_there_is_not_found(answer: Answer | None):
    assert g.told(reconcile(None, None, answer), None) == g.Told(Refusal.NOT_FOUND, "attemptId")


# -- an open attempt


def test_what_is_found_completes_the_payment_and_what_came_back_of_it_since_follows_at_once():
    payment = g.payment(Status.PROCESSING)
    accepted = Accepted("tr_1", g.back(4000, 1000))
    completed, reversed_ = g.steps(reconcile(payment, g.attempt(AttemptState.UNKNOWN), accepted), payment)
    assert (completed.event, completed.after.amount_reversed_cents) == (Event.PAYOUT_SUCCEEDED, 0)
    assert (reversed_.event, reversed_.after.amount_reversed_cents) == (Event.REVERSED, 5000)
    assert (reversed_.after.status, reversed_.after.version) == (Status.COMPLETED, payment.version + 2)
    assert completed.settles
    assert reversed_.returned == Returned(completed.settles, accepted.reversals)


def test_of_a_settlement_that_arrives_before_its_payout_is_known_nothing_is_lost():
    payment = g.payment(Status.PROCESSING)
    decision = reconcile(payment, g.attempt(), Accepted("tr_1", g.back(1)), g.payout())
    assert [step.event for step in g.steps(decision, payment)] == [
        Event.PAYOUT_SUCCEEDED,
        Event.REVERSED,
        Event.SETTLEMENT_CHANGED,
    ]


# -- what came back


def came_back(before: int, *parts: int) -> tuple[Payment, Decision]:
    payment = g.payment(Status.COMPLETED, amount_reversed_cents=before)
    return payment, reconcile(payment, g.paid(), Accepted("tr_1", g.back(*parts)))


#: What had come back, in which parts it is told now, and whether that is all of it.
RETURNS = [
    (0, [1], False),
    (0, [15000], True),
    (0, [14999], False),
    (5000, [5000, 10000], True),
    (5000, [5000, 1, 2], False),
]


@pytest.mark.parametrize(("before", "parts", "fully"), RETURNS)
def test_what_came_back_is_recorded_and_the_payment_stays_completed(before: int, parts: list[int], *, fully: bool):
    payment, decision = came_back(before, *parts)
    [step] = g.steps(decision, payment)
    assert isinstance(step, Record)
    assert (step.event, step.actor, step.settles) == (Event.REVERSED, SERVICE, None)
    assert (step.after.status, step.after.amount_reversed_cents) == (Status.COMPLETED, sum(parts))
    assert step.returned == Returned(g.paid(), g.back(*parts))
    [event] = g.announced(step)
    assert isinstance(event, PaymentReversed)
    assert (event.amount_reversed_cents, event.fully_reversed) == (sum(parts), fully)
    assert (event.provider_object_id, event.reversed_at) == ("tr_1", g.NOW)
    names = [reversal.reversal_id for reversal in g.back(*parts)]
    assert step.data == {"amountReversedCents": sum(parts), "reversals": names}


@pytest.mark.parametrize(("before", "parts"), [(0, []), (5000, [5000]), (5000, [4999]), (5000, []), (15000, [15000])])
def test_the_same_again_or_a_look_from_before_it_changes_nothing(before: int, parts: list[int]):
    payment, decision = came_back(before, *parts)
    assert decision == Absorb(payment)


# -- how far it has come


def settled(before: Settlement, seen: Settlement) -> tuple[Payment, Decision]:
    payment = g.payment(Status.COMPLETED, settlement_status=str(before))
    return payment, reconcile(payment, g.paid(), Accepted("tr_1"), g.payout(seen))


@pytest.mark.parametrize(("seen", "news"), NEWS)
def test_how_far_the_money_has_come_is_recorded_and_told(seen: Settlement, news: type[Any]):
    payment, decision = settled(Settlement.NONE, seen)
    [step] = g.steps(decision, payment)
    assert (step.event, step.actor, step.after.settlement_status) == (Event.SETTLEMENT_CHANGED, SERVICE, str(seen))
    [event] = g.announced(step)
    assert type(event) is news
    assert (event.provider_payout_id, event.settled_at) == ("po_1", g.NOW)  # type: ignore[attr-defined]
    failure = {"failureCode": "account_closed"} if seen is Settlement.FAILED else {}
    assert step.data == {"settlement": seen, "payoutId": "po_1", **failure}
    assert getattr(event, "failure_code", None) == failure.get("failureCode")


@pytest.mark.parametrize("before", Settlement)
@pytest.mark.parametrize("seen", Settlement)
def test_a_settlement_goes_onward_only(before: Settlement, seen: Settlement):
    payment, decision = settled(before, seen)
    if seen.rank > before.rank:
        assert g.stepped(decision, payment).after.settlement_status == seen
    else:
        assert decision == Absorb(payment)


@pytest.mark.parametrize("order", list(permutations([Settlement.IN_TRANSIT, Settlement.PAID, Settlement.FAILED])))
def test_in_whichever_order_settlements_are_seen_the_furthest_remains(order: tuple[Settlement, ...]):
    payment = g.payment(Status.COMPLETED)
    for seen in order:
        decision = reconcile(payment, g.paid(), Accepted("tr_1"), g.payout(seen))
        payment = decision.after if isinstance(decision, Move | Record) else payment
    assert payment.settlement_status == Settlement.FAILED


@pytest.mark.parametrize("answer", [None, Unknown("timeout")])
def test_without_its_movement_nothing_is_said_of_a_settlement(answer: Answer | None):
    payment = g.payment(Status.COMPLETED)
    assert reconcile(payment, g.paid(), answer, g.payout()) == Absorb(payment)


def test_a_settlement_that_is_gone_says_nothing():
    payment = g.payment(Status.COMPLETED)
    assert reconcile(payment, g.paid(), Accepted("tr_1"), NotFound()) == Absorb(payment)


def test_one_look_records_what_came_back_and_how_far_the_rest_has_come():
    payment = g.payment(Status.COMPLETED)
    decision = reconcile(payment, g.paid(), Accepted("tr_1", g.back(5000)), g.payout())
    first, second = g.steps(decision, payment)
    assert (first.event, second.event) == (Event.REVERSED, Event.SETTLEMENT_CHANGED)
    assert (second.after.amount_reversed_cents, second.after.settlement_status) == (5000, "paid")


# -- contradictions


@pytest.mark.parametrize(
    ("status", "state", "answer"),
    [
        (Status.COMPLETED, AttemptState.SUCCEEDED, Accepted("tr_2")),
        (Status.COMPLETED, AttemptState.SUCCEEDED, Unknown("another_amount", stopped=True)),
        (Status.FAILED, AttemptState.FAILED, Accepted("tr_1")),
    ],
)
def test_what_contradicts_the_record_is_a_fault_even_where_a_settlement_is_seen(
    status: Status, state: AttemptState, answer: Answer
):
    attempt = g.paid() if state is AttemptState.SUCCEEDED else g.attempt(state)
    with pytest.raises(AssertionError, match="contradicts attempt 1"):
        reconcile(g.payment(status), attempt, answer, g.payout())
