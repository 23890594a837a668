"""The use of the model: the broker and the relay, with every fault of the queues at once.

After it each message was settled as its handler said, and each row was marked with the receipt of its own message.
"""

import json
import threading
from collections import Counter
from uuid import UUID

import pytest

from contracts.outbound import Destination
from store import db, outbox
from store.db import Pool
from store.outbox import NewRow
from tests.kit.brokers import EVENTS, backlog, running
from tests.kit.funnel import rows
from tests.kit.sqs import URL, MemorySqs, until
from tests.kit.sqs_faults import AFTER, BEFORE, ENTRIES_FAILED, KINDS, Faults
from workers.delivery import Delivery, Settlement
from workers.metrics import Metrics
from workers.relay import QueueSender, Relay, RelayOptions

pytestmark = pytest.mark.long

MESSAGES = 500
ROWS = 200
RATE = 0.05


class Handler:
    """Lets every seventh message be a dead letter, and every fifth fail at first."""

    def __init__(self) -> None:
        self.seen = Counter[str]()
        self._lock = threading.Lock()

    def __call__(self, delivery: Delivery) -> None:
        with self._lock:
            self.seen[delivery.body] += 1
            first = self.seen[delivery.body] == 1
        number = int(delivery.body)
        if number % 7 == 0:
            delivery.settle_as(Settlement.DEAD_LETTER, "seventh")
        elif number % 5 == 0 and first:
            delivery.settle_as(Settlement.RETRY, "fifth")
        else:
            delivery.settle_as(Settlement.DELETE)


def test_a_worker_settles_every_message_as_its_handler_says_whatever_the_queue_does(monkeypatch):
    monkeypatch.setattr("workers.polling.POLL_ERROR_PAUSE_S", 0.01)
    sqs, handler = backlog(MESSAGES, MemorySqs(plan=Faults(7))), Handler()
    with running(sqs, handler, visibility_s=2, renew_every_s=1, backoff_s=(0,)):
        sqs.plan.rates = dict.fromkeys(KINDS, RATE)
        for kind in KINDS:  # some have few opportunities: chance alone would leave one out now and then
            sqs.plan.once(kind)
        until(lambda: not sqs.held(EVENTS), within_s=120, what="the queue to be empty", every_s=0.05)
        sqs.plan.rates = {}
    assert set(sqs.plan.struck) == set(KINDS), "a kind of fault has not struck"
    assert set(handler.seen) == set(map(str, range(MESSAGES))), "a message was never handled"
    fifths = [str(number) for number in range(0, MESSAGES, 5) if number % 7]
    assert min(handler.seen[body] for body in fifths) >= 2, "a message that failed did not come back"
    letters = {stored.body: stored.attributes["Reason"]["StringValue"] for stored in sqs.held(f"{EVENTS}-dlq")}
    assert letters == {str(number): "seventh" for number in range(0, MESSAGES, 7)}


@pytest.fixture
def numbered(pool: Pool) -> Pool:
    """A database whose outbox holds rows for a queue, each with its number."""
    with db.transaction(pool) as tx:
        at = tx.ask("SELECT clock_timestamp() AS at", {}).value()[0]["at"]
        new = [
            NewRow(UUID(int=number), UUID(int=number), 1, Destination.PAYOUTS, "Test", {"number": number}, at)
            for number in range(ROWS)
        ]
        outbox.append(tx, new, at)
    return pool


def test_a_relay_sends_every_row_and_marks_it_with_its_own_message_whatever_the_queue_does(numbered):
    kinds = (*BEFORE, *AFTER, ENTRIES_FAILED)
    sqs = MemorySqs(plan=Faults(7, dict.fromkeys(kinds, RATE)))
    for kind in kinds:  # the requests are few: chance alone would leave one out
        sqs.plan.once(kind, "send_message_batch")
    relay = Relay(
        numbered,
        {Destination.PAYOUTS: QueueSender(sqs, f"{URL}target")},  # type: ignore[arg-type]
        RelayOptions(batch=20, lease_s=30, backoff_max_s=0.05),
        Metrics(),
    )
    due = "SELECT outbox_id FROM outbox WHERE published_at IS NULL"
    until(lambda: relay.run_once() == 0 and not rows(numbered, due), within_s=60, what="every row to be sent")
    assert set(sqs.plan.struck) == set(kinds)
    sent = rows(numbered, "SELECT payload, bus_event_id FROM outbox ORDER BY outbox_id")
    bodies = {stored.message_id: stored.body for stored in sqs.held("target")}
    assert [json.loads(bodies[row["bus_event_id"]]) for row in sent] == [{"number": number} for number in range(ROWS)]
    assert len(bodies) > ROWS, "what was taken without an answer was not sent again"
