"""One payout per payment, however many workers have its orders at once: real threads, the real provider over HTTP."""

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts import ids
from contracts.envelope import Queue
from contracts.outbound import ReconcileAttemptOrder
from contracts.outcome import Outcome
from handlers.decision import Rules
from store import db
from store.db import Pool, PoolOptions
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import once, rows
from tests.kit.proofs import SENDER, SENDERS, TRUST
from workers.consume import MessageHandler
from workers.delivery import Delivery, InboundQueue
from workers.metrics import Metrics
from workers.payouts import Asker
from workers.sandbox.plan import Fault
from workers.sandbox.server import Sandbox
from workers.stripe_provider import StripeProvider, Timeouts

#: What the handlers of one order may end in beside the one that had its effect.
BESIDE = {Outcome.DUPLICATE, Outcome.IGNORED, Outcome.RETRY}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A provider that takes its time, so that everybody looks before anybody has paid."""
    with Sandbox() as found:
        found.plan.set(rates={Fault.SLOW: 1.0}, slow_s=(0.05, 0.2))
        yield found


@pytest.fixture
def crowd(database_url: str) -> Iterator[Pool]:
    """A pool with a connection for each of five threads."""
    with db.open_pool(database_url, PoolOptions(size_min=6, size_max=8)) as pool:
        pool.wait(10)
        yield pool


def approved(pool: Pool) -> dict[str, Any]:
    """The service's order to pay an approved payment."""
    created = once(pool, m.parsed(m.work()))
    assert once(pool, m.parsed(m.command("ApprovePayment", paymentId=str(created.payment_id)))).status == "approved"
    return posted(pool, "ProcessPayment")[0]


def posted(pool: Pool, kind: str) -> list[dict[str, Any]]:
    query = "SELECT payload FROM outbox WHERE detail_type = %s ORDER BY outbox_id"
    return [row["payload"] for row in rows(pool, query, kind)]


def executable(pool: Pool) -> dict[str, Any]:
    """The order to execute the one attempt of an approved payment."""
    assert once(pool, m.parsed(approved(pool), queue=Queue.PAYOUTS)).status == "processing"
    [order] = posted(pool, "ExecutePayout")
    return order


def look(pool: Pool, check: int) -> dict[str, Any]:
    """The sweep's order to look the one attempt up."""
    [attempt] = rows(pool, "SELECT attempt_id FROM payout_attempts")
    attempt_id = attempt["attempt_id"]
    key = ids.reconcile_attempt_key(attempt_id, check)
    return ReconcileAttemptOrder(command_id=key, correlation_id="sweep", attempt_id=attempt_id, check=check).wire()


def worker(pool: Pool, sandbox: Sandbox) -> MessageHandler:
    """A worker of its own, as another process would be."""
    quick = Timeouts(look_up_s=2, submit_s=2)
    provider = StripeProvider(name="sandbox", key=lambda: "sk_test_1", api_base=sandbox.url, timeouts=quick)
    rules = Rules(provider="sandbox", senders=SENDERS)
    return MessageHandler(pool, Asker(pool, provider, timedelta(hours=1)), rules, TRUST, Metrics())


def delivered(order: dict[str, Any], receives: int = 1) -> Delivery:
    raw: Any = {
        "MessageId": f"sqs-{order['commandId']}",
        "ReceiptHandle": "receipt",
        "Body": m.body(order),
        "Attributes": {
            "SentTimestamp": str(int(datetime.now(UTC).timestamp() * 1000)),
            "ApproximateReceiveCount": str(receives),
            "SenderId": SENDER,
        },
    }
    return Delivery(InboundQueue(Queue.PAYOUTS, "url", "dlq"), raw)


def at_once(pool: Pool, sandbox: Sandbox, orders: Sequence[dict[str, Any]]) -> list[Outcome]:
    """Hand each order to a worker of its own at the same moment; return how each ended."""
    start, ends = threading.Barrier(len(orders)), []

    def run(order: dict[str, Any]) -> None:
        handler, delivery = worker(pool, sandbox), delivered(order)
        start.wait(10)
        ends.append(handler.handle(delivery))

    threads = [threading.Thread(target=run, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == len(orders)
    return ends


def paid_once(pool: Pool, sandbox: Sandbox) -> None:
    [transfer] = sandbox.books.transfers()
    [attempt] = rows(pool, "SELECT state, provider_object_id FROM payout_attempts")
    assert attempt == {"state": "succeeded", "provider_object_id": transfer["id"]}
    assert rows(pool, "SELECT status FROM payments") == [{"status": "completed"}]
    assert len(posted(pool, "PaymentCompleted")) == 1


@pytest.mark.parametrize("_round", range(3))
def test_an_order_to_pay_that_is_delivered_five_times_at_once_is_one_transfer(
    crowd: Pool, sandbox: Sandbox, _round: int
):
    ends = at_once(crowd, sandbox, [executable(crowd)] * 5)
    assert ends.count(Outcome.APPLIED) == 1
    assert set(ends) - {Outcome.APPLIED} <= BESIDE
    paid_once(crowd, sandbox)


def test_orders_to_pay_and_to_look_at_once_are_one_transfer(crowd: Pool, sandbox: Sandbox):
    execute = executable(crowd)
    ends = at_once(crowd, sandbox, [execute, look(crowd, 1), look(crowd, 2), execute, look(crowd, 3)])
    assert Outcome.APPLIED in ends
    assert set(ends) <= BESIDE | {Outcome.APPLIED}
    paid_once(crowd, sandbox)


@pytest.mark.parametrize("fault", [Fault.LOST_AFTER, Fault.CUT_OFF, Fault.GARBLED, Fault.ERROR_AFTER])
def test_an_answer_that_was_lost_among_five_is_one_transfer(crowd: Pool, sandbox: Sandbox, fault: Fault):
    execute = executable(crowd)
    sandbox.plan.force(fault)
    ends = at_once(crowd, sandbox, [execute] * 5)
    assert set(ends) <= BESIDE | {Outcome.APPLIED}
    for check in range(1, 4):  # what the sweep orders until it is known
        if rows(crowd, "SELECT 1 FROM payout_attempts WHERE state <> 'succeeded'"):
            worker(crowd, sandbox).handle(delivered(look(crowd, check)))
    paid_once(crowd, sandbox)


@pytest.mark.parametrize("same", [True, False], ids=["the same order", "orders under keys of their own"])
def test_a_payment_that_is_ordered_to_be_processed_three_times_at_once_has_one_attempt_and_one_transfer(
    crowd: Pool, sandbox: Sandbox, *, same: bool
):
    order = approved(crowd)
    orders = [order if same else {**order, "commandId": str(ids.derive("another", number))} for number in range(3)]
    ends = at_once(crowd, sandbox, orders)
    assert ends.count(Outcome.APPLIED) == 1
    assert set(ends) - {Outcome.APPLIED} <= BESIDE | {Outcome.REFUSED}
    assert rows(crowd, "SELECT attempt_no, state FROM payout_attempts") == [{"attempt_no": 1, "state": "ready"}]
    [execute] = posted(crowd, "ExecutePayout")
    at_once(crowd, sandbox, [execute] * 3)
    paid_once(crowd, sandbox)


def test_the_next_attempt_is_opened_once_however_often_it_is_ordered(crowd: Pool, sandbox: Sandbox):
    order = approved(crowd)
    assert once(crowd, m.parsed(order, queue=Queue.PAYOUTS)).status == "processing"
    sandbox.books.set_balance("usd", 0)
    assert at_once(crowd, sandbox, posted(crowd, "ExecutePayout")) == [Outcome.APPLIED]
    assert rows(crowd, "SELECT state FROM payout_attempts") == [{"state": "failed"}]
    again = [{**order, "commandId": str(ids.derive("next", number))} for number in range(4)]
    ends = at_once(crowd, sandbox, again)
    assert ends.count(Outcome.APPLIED) == 1
    assert set(ends) - {Outcome.APPLIED} <= BESIDE | {Outcome.REFUSED}
    sandbox.books.set_balance("usd", 1_000_000)
    second = posted(crowd, "ExecutePayout")[-1]
    assert at_once(crowd, sandbox, [second] * 3).count(Outcome.APPLIED) == 1
    [transfer] = sandbox.books.transfers()
    attempts = rows(crowd, "SELECT attempt_no, state, provider_object_id FROM payout_attempts ORDER BY attempt_no")
    assert attempts == [
        {"attempt_no": 1, "state": "failed", "provider_object_id": None},
        {"attempt_no": 2, "state": "succeeded", "provider_object_id": transfer["id"]},
    ]


def test_what_was_restored_from_a_backup_is_found_and_not_paid_again(crowd: Pool, sandbox: Sandbox):
    """The database forgets the payout, and the provider its key: what is left is the transfer's group."""
    execute = executable(crowd)
    assert worker(crowd, sandbox).handle(delivered(execute)) is Outcome.APPLIED
    forge(
        crowd,
        "UPDATE payout_attempts SET state = 'ready', provider_object_id = NULL, resolved_at = NULL,"
        " next_check_at = now()",
        "UPDATE payments SET status = 'processing', completed_at = NULL, version = 3,"
        " audit_head = (SELECT entry_hash FROM payment_audit_log WHERE seq = 3)",
        "DELETE FROM payment_audit_log WHERE seq > 3",
        "DELETE FROM message_inbox WHERE consumer = 'ExecutePayout'",
        "DELETE FROM outbox WHERE aggregate_seq > 3",
    )
    sandbox.books.advance(40 * 86_400)
    sandbox.books.prune()
    assert worker(crowd, sandbox).handle(delivered(execute)) is Outcome.APPLIED
    paid_once(crowd, sandbox)
