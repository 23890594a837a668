"""Single adversities, each at the one moment at which it would cost money or leave a payment where it is."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts import ids
from contracts.envelope import Arrival, Queue
from contracts.inbound import Parsed, parse
from contracts.outbound import ExecutePayoutOrder, OwnOrder, ProcessPaymentOrder, ReconcileAttemptOrder
from contracts.outcome import Outcome
from contracts.provider import Answer, PayoutOrder, TryLater, Unknown
from handlers.decision import Rules
from store import attempts, sweep
from store.db import Pool
from tests.kit import messages as m
from tests.kit.funnel import rows
from tests.kit.proofs import SENDERS
from tests.payouts.desk import PROVIDER_SOURCE, Desk
from workers import clock
from workers.payouts import Asker, ProviderBusy
from workers.sandbox.books import PayoutStatus
from workers.sandbox.plan import Fault
from workers.sandbox.server import Sandbox
from workers.stripe_provider import StripeProvider

#: Longer ago than a message waits for what it is about.
LONG_AGO = timedelta(minutes=10)


def approved(desk: Desk, number: int = 1) -> UUID:
    payment_id = desk.finish(number)
    desk.approve(payment_id, number)
    return payment_id


def ordered(desk: Desk) -> dict[str, Any]:
    """The newest order to put an attempt to the provider."""
    query = "SELECT payload FROM outbox WHERE detail_type = 'ExecutePayout' ORDER BY outbox_id DESC LIMIT 1"
    payload: dict[str, Any] = rows(desk.pool, query)[0]["payload"]
    return payload


def of_a_lost_life(desk: Desk, order: OwnOrder) -> Outcome:
    """How an order ends that was sent before the database was restored."""
    body = json.loads(json.dumps(order.wire(), default=str))
    result = desk.handle(m.parsed(body, queue=Queue.PAYOUTS, sent_at=datetime.now(UTC) - LONG_AGO))
    assert result
    return result.outcome


def stands(desk: Desk) -> tuple[str, list[tuple[Any, ...]], int]:
    """The payment's status, its attempts, and how many transfers there are."""
    [payment] = rows(desk.pool, "SELECT status FROM payments")
    tries = rows(desk.pool, "SELECT attempt_no, state, failure_code FROM payout_attempts ORDER BY attempt_no")
    return payment["status"], [tuple(row.values()) for row in tries], len(desk.sandbox.books.transfers())


PAID = ("completed", [(1, "succeeded", None)], 1)
PAID_BY_THE_SECOND = ("completed", [(1, "failed", "not_executed"), (2, "succeeded", None)], 1)


def test_who_was_frozen_after_reading_an_attempt_does_not_submit_what_others_have_given_up(
    pool: Pool, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
):
    window = timedelta(seconds=0.5)
    rules = Rules(provider="sandbox", check_after=(timedelta(0),), senders=SENDERS, submit_window=window)
    desk = Desk(pool, sandbox, rules)
    desk.asker = Asker(pool, desk.provider, grace=timedelta(0))
    approved(desk)
    desk.pay_once()
    mine, find, froze = ordered(desk), attempts.find, list[bool]()

    def freezing(where: Pool, attempt_id: UUID) -> Any:
        found = find(where, attempt_id)
        if not froze:
            froze.append(True)
            time.sleep(0.6)  # past window and grace
            desk.settle()  # the others give attempt 1 up and pay by attempt 2
        return found

    monkeypatch.setattr(attempts, "find", freezing)
    desk.take(mine, Queue.PAYOUTS)
    assert stands(desk) == PAID_BY_THE_SECOND


@pytest.mark.parametrize("name", ["monotonic", "now"])
def test_a_reading_that_is_old_by_either_clock_is_not_submitted(desk: Desk, monkeypatch, name: str):
    approved(desk)
    desk.pay_once()
    order, find, read = ordered(desk), attempts.find, getattr(clock, name)
    hour: Any = timedelta(hours=1) if name == "now" else 3_600.0
    found: list[Any] = []

    def finding(where: Pool, attempt_id: UUID) -> Any:
        found.append(find(where, attempt_id))
        return found[-1]

    monkeypatch.setattr(attempts, "find", finding)
    monkeypatch.setattr(clock, name, lambda: read() + hour if len(found) > 1 else read())
    assert desk.take(order, Queue.PAYOUTS) is None, "it comes again"
    assert desk.sandbox.books.transfers() == []


def test_an_order_to_pay_from_before_a_restore_does_not_use_up_the_key_of_the_next_one(desk: Desk):
    payment_id = desk.finish(1)
    key = ids.process_payment_key(payment_id, 2, 0)
    order = ProcessPaymentOrder(command_id=key, correlation_id="x", payment_id=payment_id)
    assert of_a_lost_life(desk, order) is Outcome.REFUSED, "it is not approved in this life"
    desk.approve(payment_id, 1)
    desk.pay()
    desk.settle()
    assert stands(desk) == PAID


def test_orders_about_an_attempt_from_before_a_restore_do_not_use_up_the_keys_of_the_next_ones(desk: Desk):
    payment_id = ids.payment_id(ids.work_source_key(str(UUID(int=2)), str(m.VENDOR), "job-1"))
    attempt_id = ids.attempt_id(payment_id, 1)
    common = {"correlation_id": "x", "attempt_id": attempt_id}
    execute = ExecutePayoutOrder(command_id=ids.execute_payout_key(attempt_id, 0), check=0, **common)
    look = ReconcileAttemptOrder(command_id=ids.reconcile_attempt_key(attempt_id, 1), check=1, **common)
    assert [of_a_lost_life(desk, execute), of_a_lost_life(desk, look)] == [Outcome.REFUSED] * 2
    assert approved(desk) == payment_id
    desk.pay()
    desk.settle()
    assert stands(desk) == PAID


def test_a_late_look_at_an_attempt_that_came_to_nothing_is_no_fault_when_the_next_one_has_paid(desk: Desk):
    payment_id = approved(desk)
    desk.pay_once()
    desk.sandbox.plan.force(Fault.INSUFFICIENT, method="POST")
    desk.pay()
    desk.settle()
    attempt_id = ids.attempt_id(payment_id, 1)
    key = ids.reconcile_attempt_key(attempt_id, 1)
    order = ReconcileAttemptOrder(command_id=key, correlation_id="x", attempt_id=attempt_id, check=1)
    assert of_a_lost_life(desk, order) is Outcome.IGNORED
    assert sweep.request(desk.pool, [payment_id]) == [ids.attempt_id(payment_id, 2)]
    assert desk.sweep() == 1
    assert stands(desk) == ("completed", [(1, "failed", "balance_insufficient"), (2, "succeeded", None)], 1)


def named(desk: Desk, number: int, account: str, *, enabled: bool) -> None:
    """Say where the vendor is paid."""
    fields = {"vendorId": str(m.VENDOR), "stripeAccountId": account, "payoutsEnabled": enabled}
    desk.take(m.command("VendorAccountChanged", number, actor=m.admin(), **fields))


@pytest.mark.parametrize(("account", "enabled"), [("acct_old", False), ("acct_new", True), ("acct_new", False)])
def test_what_was_not_submitted_yet_is_not_paid_to_an_account_that_is_no_more(desk: Desk, account: str, enabled: bool):  # noqa: FBT001 - a column of a table
    named(desk, 50, "acct_old", enabled=True)
    approved(desk)
    desk.pay_once()
    named(desk, 51, account, enabled=enabled)
    desk.pay()
    assert stands(desk) == ("processing", [(1, "unknown", None)], 0)


def test_what_was_submitted_before_its_account_changed_is_found_all_the_same(desk: Desk):
    named(desk, 50, "acct_old", enabled=True)
    approved(desk)
    desk.pay_once()
    desk.sandbox.plan.force(Fault.LOST_AFTER, method="POST")
    desk.pay()
    named(desk, 51, "acct_new", enabled=True)
    desk.settle()
    assert stands(desk) == PAID


def test_a_provider_that_refuses_only_payouts_leaves_them_to_the_sweep(desk: Desk, monkeypatch):
    def refused(_self: StripeProvider, _order: PayoutOrder) -> Answer:
        return TryLater("credentials", away=True)

    approved(desk)
    desk.pay_once()
    monkeypatch.setattr(StripeProvider, "submit", refused)
    parsed = m.parsed(ordered(desk), queue=Queue.PAYOUTS)
    with pytest.raises(ProviderBusy):
        desk.asker.ask(parsed)
    _, told = desk.asker.ask(parsed, last_try=True)
    assert told.answer == Unknown("credentials")


def test_a_settlement_that_is_told_before_its_payment_is_known_to_be_paid_can_be_told_again(desk: Desk):
    approved(desk)
    desk.pay_once()
    desk.sandbox.plan.force(Fault.LOST_AFTER, method="POST")
    desk.pay_once()
    [transfer] = desk.sandbox.books.transfers()
    [payout] = desk.sandbox.books.settle(transfer["destination"])
    desk.sandbox.books.finish_payout(payout["id"], PayoutStatus.PAID)
    books = desk.sandbox.books
    events = [event for name in books.undelivered() if (event := books.event(name))["type"].startswith("payout.")]
    for number, event in enumerate(events):
        result = desk.handle(told(event, f"first-{number}"))
        assert result
        assert result.outcome is Outcome.IGNORED, "it has waited long enough"
    desk.settle()
    for number, event in enumerate(events):
        desk.handle(told(event, f"second-{number}"))
    desk.settle()
    assert rows(desk.pool, "SELECT settlement_status AS status FROM payments") == [{"status": "paid"}]


def told(event: dict[str, Any], sqs_message_id: str) -> Parsed:
    """An event that was sent long ago."""
    envelope = m.envelope(event, source=PROVIDER_SOURCE, **{"detail-type": event["type"]})
    arrival = Arrival(Queue.EVENTS, sqs_message_id, datetime.now(UTC) - LONG_AGO)
    sources = frozenset({PROVIDER_SOURCE})
    return parse(json.dumps(envelope), arrival, sources=m.SOURCES, provider_sources=sources)


def test_a_settlement_is_recorded_the_second_time_when_the_first_came_too_early(desk: Desk):
    """The other order: the events come in time, wait, and are taken when the payment is there."""
    approved(desk)
    desk.pay()
    [transfer] = desk.sandbox.books.transfers()
    desk.sandbox.books.settle(transfer["destination"])
    desk.hear([desk.sandbox.books.event(name) for name in desk.sandbox.books.undelivered()])
    assert rows(desk.pool, "SELECT settlement_status AS status FROM payments") == [{"status": "in_transit"}]
