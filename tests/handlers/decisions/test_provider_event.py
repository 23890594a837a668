"""ProviderEvent: a hint; what its object is now is recorded, of our payments, in the mode and account that are ours."""

from dataclasses import replace
from typing import Any

import pytest

from contracts import ids
from contracts.inbound import ProviderEvent
from contracts.lifecycle import Event, Status
from contracts.money import Money
from contracts.payment import AttemptState, Payment
from contracts.provider import NotFound, PayoutSeen, Settlement, Told, TransferSeen
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, NotYet, Order
from tests.handlers.decisions import ground as g
from tests.kit import messages as m

ACCOUNT = ids.provider_account(str(m.VENDOR))
ATTEMPTS = tuple(ids.attempt_id(g.PAYMENT_ID, number) for number in (1, 2))
GONE = Told(seen=NotFound())


def hear(
    told: Told, payment: Payment | None = None, attempt: Any = None, *, late_s: float = 0, **event: Any
) -> Decision:
    parsed = m.late(m.provider_event(**event), seconds=late_s)
    return g.decide(parsed, payment=payment, attempt=attempt, told=told)


def moved(transfer: TransferSeen, payment: Payment | None = None, attempt: Any = None, **event: Any) -> Decision:
    return hear(Told(seen=transfer), payment, attempt, **event)


def paid_out(payout: PayoutSeen, *attempts: Any, livemode: bool = False, **event: Any) -> Decision:
    about = {"kind": "payout.paid", "about": "po_1", "account": ACCOUNT, "livemode": livemode}
    return hear(Told(seen=payout, attempts=attempts, livemode=livemode), **{**about, **event})


# -- which events are ours


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("told", [Told(), Told(seen=g.transfer()), Told(seen=g.payout()), GONE])
def test_an_event_of_the_other_mode_is_refused_whatever_it_is_about(told: Told, *, ours: bool):
    payment = g.payment(Status.PROCESSING)
    decision = hear(replace(told, livemode=ours), payment, g.attempt(), livemode=not ours)
    assert g.told(decision, payment) == g.Told(Refusal.INVALID_FIELD, "livemode")


@pytest.mark.parametrize("kind", ["charge.succeeded", "account.updated", "transfer.tomorrow", "payout.tomorrow"])
def test_an_event_about_nothing_that_was_read_is_ignored(kind: str):
    assert hear(Told(), kind=kind) == Absorb(None)


@pytest.mark.parametrize("group", [None, "", "order-4711", "11111111111141118111111111111111"])
def test_money_that_the_platform_moves_for_another_purpose_is_ignored(group: str | None):
    assert moved(g.transfer(transfer_group=group)) == Absorb(None)


def test_an_object_that_is_not_there_yet_is_waited_for_and_then_not_found():
    with pytest.raises(NotYet):
        hear(GONE)
    assert g.told(hear(GONE, late_s=121), None) == g.Told(Refusal.NOT_FOUND, "data.object.id")


@pytest.mark.parametrize("payment", [None, g.payment(Status.APPROVED)])
def test_a_movement_whose_payment_or_attempt_is_not_there_yet_is_waited_for_and_then_not_found(payment: Payment | None):
    with pytest.raises(NotYet):
        moved(g.transfer(), payment)
    refused = moved(g.transfer(), payment, late_s=121)
    assert g.told(refused, payment) == g.Told(Refusal.NOT_FOUND, "data.object.id")


#: What is not as it was ordered.
OTHERWISE: list[dict[str, Any]] = [
    {"money": Money(14999, "USD")},
    {"money": Money(15000, "EUR")},
    {"destination": "acct_thief"},
    {"destination": str(m.VENDOR)},
    {"idempotency_key": None, "destination": "acct_thief"},
    {"livemode": True},
]


@pytest.mark.parametrize("otherwise", OTHERWISE)
@pytest.mark.parametrize(
    ("status", "attempt"), [(Status.PROCESSING, g.attempt()), (Status.COMPLETED, g.paid())], ids=["open", "paid"]
)
def test_a_movement_that_is_not_as_ordered_changes_nothing_and_is_told(
    status: Status, attempt: Any, otherwise: dict[str, Any]
):
    payment = g.payment(status)
    decision = moved(g.transfer(**otherwise), payment, attempt)
    assert g.told(decision, payment) == g.Told(Refusal.AMOUNT_MISMATCH, "data.object.id")


# -- movements


@pytest.mark.parametrize("state", [state for state in AttemptState if state.open])
@pytest.mark.parametrize("kind", ["transfer.created", "transfer.updated", "transfer.reversed"])
def test_a_movement_completes_its_payment_and_fills_in_its_id(state: AttemptState, kind: str):
    payment = g.payment(Status.PROCESSING)
    [step] = g.steps(moved(g.transfer(), payment, g.attempt(state), kind=kind), payment)
    assert (step.event, step.after.status) == (Event.PAYOUT_SUCCEEDED, Status.COMPLETED)
    assert step.settles
    assert (step.settles.state, step.settles.provider_object_id) == (AttemptState.SUCCEEDED, "tr_1")


def test_a_movement_to_a_registered_account_is_known_by_that():
    payment, attempt = g.payment(Status.PROCESSING), g.attempt(destination="acct_1")
    assert g.steps(moved(g.transfer(destination="acct_1"), payment, attempt), payment)
    other = moved(g.transfer(), payment, attempt)
    assert g.told(other, payment).code is Refusal.AMOUNT_MISMATCH


def test_a_movement_of_an_earlier_attempt_completes_the_payment_wherever_it_went():
    payment, attempt = g.payment(Status.PROCESSING), g.attempt(attempt_no=2, destination="acct_new")
    step = g.stepped(moved(g.transfer(destination="acct_old"), payment, attempt), payment)
    assert step.settles
    assert (step.settles.attempt_no, step.settles.provider_object_id) == (2, "tr_1")


def test_a_movement_that_nobody_waits_for_any_more_is_left_to_the_next_attempt():
    payment = g.payment(Status.PROCESSING)
    assert moved(g.transfer(), payment, g.attempt(AttemptState.FAILED)) == Absorb(payment)


def test_a_second_movement_for_a_payment_that_is_paid_is_a_fault():
    with pytest.raises(AssertionError, match="contradicts attempt 1"):
        moved(g.transfer(provider_object_id="tr_2"), g.payment(Status.COMPLETED), g.paid())


def test_a_movement_that_is_known_changes_nothing_and_what_came_back_of_it_is_recorded():
    payment = g.payment(Status.COMPLETED)
    assert moved(g.transfer(), payment, g.paid()) == Absorb(payment)
    [step] = g.steps(moved(g.transfer(reversals=g.back(4000, 1)), payment, g.paid()), payment)
    assert (step.event, step.after.amount_reversed_cents) == (Event.REVERSED, 4001)


# -- settlements


def test_a_settlement_orders_a_look_at_each_attempt_that_it_pays_out_once_for_each_event():
    decision = paid_out(g.payout(), *ATTEMPTS, id="evt_9")
    assert isinstance(decision, Order)
    for order, attempt_id in zip(decision.orders, ATTEMPTS, strict=True):
        sent = order.wire()
        assert (sent["type"], sent["attemptId"], sent["payoutId"]) == ("ReconcileAttempt", str(attempt_id), "po_1")
        assert sent["commandId"] == str(ids.reconcile_settlement_key(attempt_id, "evt_9"))
    assert len({order.identity for order in decision.orders}) == len(ATTEMPTS)
    another = paid_out(g.payout(), *ATTEMPTS, id="evt_10")
    assert isinstance(another, Order)
    assert {order.identity for order in decision.orders}.isdisjoint(order.identity for order in another.orders)


def test_a_settlement_waits_for_movements_that_are_not_recorded_yet_and_then_goes_on_without_them():
    told = Told(seen=g.payout(), attempts=ATTEMPTS[:1], missing=1)
    event: dict[str, Any] = {"kind": "payout.paid", "about": "po_1", "account": ACCOUNT}
    with pytest.raises(NotYet):
        hear(told, **event)
    decision = hear(told, late_s=121, **event)
    assert isinstance(decision, Order)
    assert [order.about for order in decision.orders] == [ATTEMPTS[0]]
    assert hear(replace(told, attempts=()), late_s=121, **event) == Absorb(None)


@pytest.mark.parametrize("settlement", Settlement)
def test_a_settlement_that_pays_out_nothing_of_ours_is_ignored(settlement: Settlement):
    assert paid_out(g.payout(settlement)) == Absorb(None)


@pytest.mark.parametrize(
    ("payout", "account"),
    [
        (g.payout(account="acct_other"), ACCOUNT),
        (g.payout(), "acct_other"),
        (g.payout(), ...),
        (g.payout(livemode=True), ACCOUNT),
    ],
)
def test_a_settlement_of_another_account_or_mode_than_its_event_says_is_refused(payout: PayoutSeen, account: Any):
    decision = paid_out(payout, *ATTEMPTS, account=account)
    assert g.told(decision, None) == g.Told(Refusal.INVALID_FIELD, "account")


def test_an_event_has_the_key_that_the_provider_gave_it():
    parsed = m.parsed(m.provider_event(id="evt_9"))
    assert isinstance(parsed.message, ProviderEvent)
    assert (parsed.cause.kind, parsed.cause.message_key) == ("ProviderEvent", "evt_9")
