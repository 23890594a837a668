"""The sweeper: orders under derived keys, a queue that refuses, several rounds, and what is counted."""

import json
import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest

from contracts import ids
from contracts.envelope import Queue
from contracts.outcome import Outcome
from contracts.provider import Accepted, Reversal
from contracts.traces import from_traceparent
from store import sweep
from store.db import Pool, Transient, TransientReason
from store.outbox import DueRow
from store.sweep import Patience
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import once, rows
from tests.kit.sqs import URL, MemorySqs, until
from workers.metrics import Metrics
from workers.relay import QueueSender, Sent
from workers.sweep import Sweeper, SweepOptions

HOUR = timedelta(hours=1)
PATIENCE = Patience(again_after=HOUR, stuck_after=timedelta(0), pauses=(timedelta(0),), unregistered=True)


class Taken:
    """A queue that keeps what it takes, or takes nothing."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.requests: list[int] = []
        self.orders: list[DueRow] = []

    def __call__(self, chunk: Sequence[DueRow]) -> Sent:
        self.requests.append(len(chunk))
        if self.refuses:
            return Sent({}, list(chunk), [])
        self.orders += chunk
        return Sent({row.outbox_id: f"sqs-{row.outbox_id}" for row in chunk}, [], [])


def sweeper(pool: Pool, send: object, metrics: Metrics | None = None, batch: int = 500) -> Sweeper:
    options = SweepOptions(PATIENCE, every_s=0.02, batch=batch)
    return Sweeper(pool, send, options, metrics or Metrics(), threading.Event())  # type: ignore[arg-type]


def approved(pool: Pool, number: int = 1) -> str:
    incident_id = f"11111111-1111-4111-8111-{number:012d}"
    created = once(pool, m.parsed(m.work(incidentId=incident_id, eventId=f"event-{number}")))
    approval = m.command("ApprovePayment", number, paymentId=str(created.payment_id))
    assert once(pool, m.parsed(approval)).status == "approved"
    return str(created.payment_id)


def swept(metrics: Metrics, kind: str, result: str) -> float | None:
    return metrics.registry.get_sample_value("payments_swept_orders_total", {"message_type": kind, "result": result})


def read(body: str) -> dict:
    found: dict = json.loads(body)
    return found


def test_it_posts_what_is_due_as_orders_that_the_funnel_takes(pool: Pool):
    payment_id, sqs, metrics = approved(pool), MemorySqs(), Metrics()
    found = sweeper(pool, QueueSender(sqs, URL + Queue.PAYOUTS), metrics)  # type: ignore[arg-type]
    assert found.run_once() == 1
    [order] = [read(stored.body) for stored in sqs.held(Queue.PAYOUTS)]
    [posted] = rows(pool, "SELECT event_id FROM outbox WHERE detail_type = 'ProcessPayment'")
    assert order["commandId"] == str(posted["event_id"]), "the same order as the lost one, so never a second"
    assert order["paymentId"] == payment_id
    assert once(pool, m.parsed(order, queue=Queue.PAYOUTS)).status == "processing"
    forge(pool, "UPDATE payout_attempts SET next_check_at = now()")
    assert found.run_once() == 1
    look = read(sqs.held(Queue.PAYOUTS)[-1].body)
    [attempt] = rows(pool, "SELECT attempt_id, checks FROM payout_attempts")
    assert (look["type"], look["attemptId"]) == ("ReconcileAttempt", str(attempt["attempt_id"]))
    assert look["commandId"] == str(ids.reconcile_attempt_key(attempt["attempt_id"], attempt["checks"]))
    done = once(pool, m.parsed(look, queue=Queue.PAYOUTS), Accepted("tr_1"))
    assert (done.outcome, done.status) == (Outcome.APPLIED, "completed")
    assert found.run_once() == 0
    assert swept(metrics, "ProcessPayment", "sent") == swept(metrics, "ReconcileAttempt", "sent") == 1


def test_a_round_takes_all_that_is_due_in_several_claims_and_requests_of_ten(pool: Pool):
    for number in range(23):
        approved(pool, number)
    queue = Taken()
    assert sweeper(pool, queue, batch=5).run_once() == 23
    assert queue.requests == [5, 5, 5, 5, 3]
    forge(pool, "UPDATE swept SET posted_at = posted_at - interval '2 hours'")
    again = Taken()
    assert sweeper(pool, again).run_once() == 23
    assert again.requests == [10, 10, 3]
    assert [row.event_id for row in again.orders] == [row.event_id for row in queue.orders], "first in, first out"


def test_several_sweepers_at_once_post_an_order_once(pool: Pool):
    for number in range(12):
        approved(pool, number)
    queue, start = Taken(), threading.Barrier(4)

    def run() -> None:
        found = sweeper(pool, queue, batch=5)
        start.wait(5)
        found.run_once()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    posted = [row.event_id for row in queue.orders]
    assert len(posted) == len(set(posted)) == 12


def test_what_a_queue_refuses_is_counted_and_posted_by_a_later_round(pool: Pool):
    approved(pool)
    queue, metrics = Taken(refuses=True), Metrics()
    found = sweeper(pool, queue, metrics)
    assert found.run_once() == 0
    assert swept(metrics, "ProcessPayment", "failed") == 1
    queue.refuses = False
    assert found.run_once() == 1, "at once, and not only when nothing has come of it for long"
    assert swept(metrics, "ProcessPayment", "sent") == 1


def test_a_queue_that_refuses_everything_ends_the_round(pool: Pool):
    for number in range(6):
        approved(pool, number)
    queue = Taken(refuses=True)
    assert sweeper(pool, queue, batch=2).run_once() == 0
    assert len(queue.requests) <= 3


def test_a_stop_ends_a_round_between_two_claims(pool: Pool):
    for number in range(4):
        approved(pool, number)
    stop = threading.Event()

    def send(chunk: Sequence[DueRow]) -> Sent:
        stop.set()
        return Sent({row.outbox_id: "sqs" for row in chunk}, [], [])

    found = Sweeper(pool, send, SweepOptions(PATIENCE, batch=2), Metrics(), stop)
    assert found.run_once() == 2


@pytest.mark.parametrize("trouble", [Transient(TransientReason.CONNECTION, None), ZeroDivisionError()])
def test_no_trouble_ends_the_thread(pool: Pool, monkeypatch, trouble: Exception):
    payment_id, queue, stop = approved(pool), Taken(), threading.Event()
    real, troubles = sweep.due_attempts, [trouble, trouble]

    def claim(*arguments: object) -> object:
        if troubles:
            raise troubles.pop()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep, "due_attempts", claim)
    found = Sweeper(pool, queue, SweepOptions(PATIENCE, every_s=0.02), Metrics(), stop)
    found.start()
    until(lambda: queue.orders, what=f"the order to pay {payment_id}")
    assert found.thread.is_alive()
    stop.set()
    found.join()
    assert not found.thread.is_alive()


def test_a_look_that_an_operator_asked_for_is_posted_once_under_a_key_of_its_own(pool: Pool):
    approved(pool)
    [order] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'ProcessPayment'")
    once(pool, m.parsed(order["payload"], queue=Queue.PAYOUTS))
    [execute] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'ExecutePayout'")
    assert once(pool, m.parsed(execute["payload"]), Accepted("tr_1")).status == "completed"
    [attempt] = rows(pool, "SELECT attempt_id FROM payout_attempts")
    queue = Taken(refuses=True)
    found = sweeper(pool, queue)
    assert sweep.request(pool, [attempt["attempt_id"]]) == [attempt["attempt_id"]]
    assert found.run_once() == 0
    queue.refuses = False
    assert [found.run_once(), found.run_once()] == [1, 0], "what was refused is posted by the next round"
    assert sweep.request(pool, [attempt["attempt_id"]]) == [attempt["attempt_id"]]
    assert found.run_once() == 1
    first, second = queue.orders
    assert first.event_id != second.event_id, "each look is another one"
    back = Accepted("tr_1", (Reversal("trr_1", 5000),))
    done = once(pool, m.parsed(dict(first.payload), queue=Queue.PAYOUTS), back)
    assert (done.outcome, done.version) == (Outcome.APPLIED, 5)


def test_an_order_of_the_sweep_begins_a_trace_that_its_handling_goes_on_with(pool: Pool):
    approved(pool)
    queue = Taken()
    sweeper(pool, queue).run_once()
    [order] = queue.orders
    begun = from_traceparent(order.traceparent)
    assert begun is not None
    assert order.payload["traceparent"] == order.traceparent
    assert m.parsed(dict(order.payload), queue=Queue.PAYOUTS).cause.caller == begun
