"""The broker's edges: what a lost lease skips, how far a back-off may go, and the real handler on a real Worker."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from dramatiq import MessageProxy
from dramatiq.middleware import CurrentMessage
from dramatiq.worker import Worker

from contracts.envelope import Queue
from contracts.payment import Role
from handlers.decision import Rules
from store import db
from store.db import Pool, PoolOptions
from tests.kit import messages as m
from tests.kit.funnel import rows
from tests.kit.proofs import SENDERS, TRUST, member, signed
from tests.kit.providers import nobody
from tests.kit.sqs import URL, MemorySqs, throttled, unreachable, until
from workers import clock
from workers.broker import BrokerOptions, SqsBroker
from workers.consume import MessageHandler
from workers.delivery import Delivery, InboundQueue, Settlement, inbound_queue
from workers.metrics import Metrics
from workers.quotas import BATCH_MAX, VISIBILITY_MAX_S
from workers.roles.worker import declare_actors

EVENTS = str(Queue.EVENTS)
DLQ = f"{EVENTS}-dlq"
OPTIONS = BrokerOptions(room=16, poll_wait_s=0, visibility_s=30, renew_every_s=30)


def make_broker(sqs: MemorySqs, metrics: Metrics | None = None, **options: Any) -> SqsBroker:
    queues = [inbound_queue(sqs, queue, URL + queue) for queue in Queue]  # type: ignore[arg-type]
    return SqsBroker(sqs, queues, replace(OPTIONS, **options), metrics or Metrics())  # type: ignore[arg-type]


class Shelf:
    """In place of Dramatiq's consumer thread: what is put here waits for ever."""

    def __init__(self, queue: Queue) -> None:
        self.queue_name = str(queue)

    def handle_message(self, message: MessageProxy) -> None:
        """Leave it where it is."""


def settled_at_once(broker: SqsBroker, delivery: Delivery) -> None:
    """Settle a delivery that no poller has brought, and send what that takes."""
    broker.holding.take_in(delivery.source.queue, broker.holding.reserve(delivery.source.queue), [delivery])
    broker.settle(delivery)
    broker.shut_down(1)


@contextmanager
def receiving(sqs: MemorySqs, **options: Any) -> Iterator[SqsBroker]:
    """A broker that receives, without a Worker: what it holds waits."""
    broker = make_broker(sqs, **options)
    for queue in Queue:
        broker.connect(Shelf(queue))  # type: ignore[arg-type]
    broker.start()
    try:
        yield broker
    finally:
        assert broker.shut_down(5)


@contextmanager
def working(broker: SqsBroker, handler: Any, threads: int = 4) -> Iterator[Worker]:
    declare_actors(broker, handler)
    worker = Worker(broker, worker_threads=threads, worker_timeout=50)
    worker.start()
    broker.start()
    try:
        yield worker
        assert all(thread.is_alive() for thread in worker.workers)
    finally:
        worker.stop(timeout=5_000)
        assert broker.shut_down(5)


def current() -> Delivery:
    delivery: object = CurrentMessage.get_current_message()
    assert isinstance(delivery, Delivery)
    return delivery


def make_handler(pool: Pool) -> MessageHandler:
    return MessageHandler(pool, nobody(pool), Rules(provider="none", senders=SENDERS), TRUST, Metrics())


def received(sqs: MemorySqs, body: str = "one", attributes: dict[str, Any] | None = None) -> Delivery:
    """A message as a poller receives it, without a poller."""
    sqs.put(EVENTS, body, attributes)
    answer = sqs.receive_message(
        QueueUrl=URL + EVENTS,
        MaxNumberOfMessages=1,
        WaitTimeSeconds=0,
        VisibilityTimeout=OPTIONS.visibility_s,
        MessageSystemAttributeNames=["All"],
        MessageAttributeNames=["All"],
    )
    return Delivery(InboundQueue(Queue.EVENTS, URL + EVENTS, URL + DLQ), answer["Messages"][0])


def test_a_waiting_message_whose_lease_was_lost_is_neither_handled_nor_settled():
    sqs = MemorySqs()
    blocked, release, handled = threading.Event(), threading.Event(), []

    def handle() -> None:
        delivery = current()
        if delivery.body == "first":
            blocked.set()
            release.wait(10)
        elif delivery.lease_stands:
            handled.append(delivery.body)

    broker = make_broker(sqs, renew_every_s=0.05)
    with working(broker, handle, threads=1):
        sqs.put(EVENTS, "first")
        assert blocked.wait(5)
        sqs.put(EVENTS, "second")
        until(lambda: broker.held == 2)
        sqs.refused.add(sqs.held(EVENTS)[1].receipt)
        until(lambda: any(delivery.lease_lost for delivery in broker.holding.deliveries()))
        sqs.calls.clear()
        release.set()
        until(lambda: broker.held == 0)
    assert handled == []
    assert len(sqs.held(EVENTS)) == 2
    returned = {entry["ReceiptHandle"] for entry in sqs.entries("change_message_visibility_batch")}
    assert sqs.held(EVENTS)[1].receipt not in returned


def test_a_delivery_whose_lease_was_lost_is_not_handled(pool: Pool, monkeypatch):
    delivery = received(MemorySqs(), m.body(m.work()))
    monkeypatch.setattr(CurrentMessage, "get_current_message", lambda: delivery)
    handler = make_handler(pool)
    handler()
    delivery.begun_at, delivery.lease_lost = clock.monotonic(), True
    handler()
    delivery.lease_lost, delivery.lease_until = False, clock.monotonic() - 1
    handler()
    assert rows(pool, "SELECT 1 FROM message_inbox") == []
    delivery.lease_until = clock.monotonic() + 30
    handler()
    assert len(rows(pool, "SELECT 1 FROM message_inbox")) == 1
    assert delivery.settlement is Settlement.DELETE


@pytest.mark.parametrize("settlement", list(Settlement))
def test_after_a_lost_lease_nothing_is_done_to_the_message(settlement: Settlement):
    sqs = MemorySqs()
    delivery = received(sqs)
    delivery.settle_as(settlement)
    delivery.lease_lost = True
    broker = make_broker(sqs)
    sqs.calls.clear()
    settled_at_once(broker, delivery)
    assert sqs.calls == []


def test_leases_are_renewed_in_requests_of_ten_and_none_is_left_out():
    sqs = MemorySqs()
    for number in range(20):
        sqs.put(EVENTS, str(number))
    with receiving(sqs, renew_every_s=0.1, room=30) as broker:
        until(lambda: broker.held == 20)
        sqs.calls.clear()
        until(lambda: len(sqs.named("change_message_visibility_batch")) >= 4)
        requests = [len(call["Entries"]) for call in sqs.named("change_message_visibility_batch")]
    assert max(requests) <= BATCH_MAX
    assert requests[:2] == [10, 10]


def test_the_keeper_survives_every_error():
    sqs, metrics = MemorySqs(), Metrics()
    sqs.put(EVENTS, "one")
    sqs.faults["change_message_visibility_batch"].extend([throttled(), unreachable(), RuntimeError("unheard of")])
    broker = make_broker(sqs, metrics, renew_every_s=0.05)
    for queue in Queue:
        broker.connect(Shelf(queue))  # type: ignore[arg-type]
    broker.start()
    extended = {"result": "extended"}
    until(lambda: metrics.registry.get_sample_value("payments_visibility_extensions_total", extended))
    assert broker.dead_threads() == []
    assert not any(delivery.lease_lost for delivery in broker.holding.deliveries()), "an error proves nothing"
    assert broker.shut_down(5)


def test_l1_a_back_off_ends_within_the_twelve_hours_that_a_message_may_be_hidden():
    sqs = MemorySqs()
    delivery = received(sqs)
    delivery.received_at -= VISIBILITY_MAX_S - 3
    settled_at_once(make_broker(sqs), delivery)
    assert 0 <= sqs.entries("change_message_visibility_batch")[0]["VisibilityTimeout"] <= 3
    assert sqs.entries("delete_message_batch") == []


def test_a_back_off_is_no_longer_than_its_handler_allows():
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    sqs.held(EVENTS)[0].receive_count = 4
    broker = make_broker(sqs)
    with working(broker, lambda: current().settle_as(Settlement.RETRY, "not_yet", delay_max_s=2.0)):
        until(lambda: sqs.entries("change_message_visibility_batch"))
        assert sqs.entries("change_message_visibility_batch")[0]["VisibilityTimeout"] == 2


def test_the_jitter_spreads_the_back_off_within_its_share():
    delays = []
    for _ in range(60):
        sqs = MemorySqs()
        settled_at_once(make_broker(sqs, backoff_s=(1000,), backoff_jitter=0.2), received(sqs))
        delays.append(sqs.entries("change_message_visibility_batch")[0]["VisibilityTimeout"])
    assert min(delays) >= 800
    assert max(delays) <= 1200
    assert len(set(delays)) > 20, "processes must not march in step"


def test_p5_a_dead_letter_has_room_for_its_reason_whatever_attributes_came_with_it():
    sqs = MemorySqs()
    many = {f"name-{number}": {"DataType": "String", "StringValue": "x"} for number in range(10)}
    delivery = received(sqs, "rubbish", many)
    delivery.settle_as(Settlement.DEAD_LETTER, "not_json")
    settled_at_once(make_broker(sqs), delivery)
    [dead] = sqs.held(DLQ)
    assert len(dead.attributes) == 10, "SQS takes no more"
    assert dead.attributes["Reason"]["StringValue"] == "not_json"
    assert sqs.held(EVENTS) == []


def test_a_dead_letter_whose_original_cannot_be_deleted_is_there_twice_but_not_lost():
    sqs = MemorySqs()
    delivery = received(sqs, "rubbish")
    sqs.faults["delete_message_batch"].extend(unreachable() for _ in range(9))
    delivery.settle_as(Settlement.DEAD_LETTER, "not_json")
    settled_at_once(make_broker(sqs), delivery)
    assert (len(sqs.held(DLQ)), len(sqs.held(EVENTS))) == (1, 1)


def test_d4_a_stale_receipt_deletes_nothing():
    sqs = MemorySqs()
    first = received(sqs)
    sqs.held(EVENTS)[0].visible_at = 0
    again = sqs.receive_message(QueueUrl=URL + EVENTS, MaxNumberOfMessages=1, WaitTimeSeconds=0, VisibilityTimeout=30)[
        "Messages"
    ][0]
    first.settle_as(Settlement.DELETE)
    settled_at_once(make_broker(sqs), first)
    assert [stored.receipt for stored in sqs.held(EVENTS)] == [again["ReceiptHandle"]]


def test_z7_a_stop_that_cannot_hand_back_still_ends_and_says_so():
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    broker = make_broker(sqs)
    for queue in Queue:
        broker.connect(Shelf(queue))  # type: ignore[arg-type]
    broker.start()
    until(lambda: broker.held == 1)
    sqs.faults["change_message_visibility_batch"].extend(unreachable() for _ in range(9))
    assert broker.shut_down(5) is False
    assert broker.held == 0
    assert len(sqs.held(EVENTS)) == 1, "it comes back when its lease ends"


def test_z8_what_arrives_during_a_stop_is_handed_back_at_once():
    sqs = MemorySqs()
    with receiving(sqs, poll_wait_s=1) as broker:
        until(lambda: len(sqs.named("receive_message")) >= len(Queue))
        broker.stop_polling()
        sqs.put(EVENTS, "one")
        until(lambda: sqs.entries("change_message_visibility_batch"))
    assert max(sqs.visible_in(EVENTS)) <= 0


def test_a_broker_that_never_started_can_be_shut_down():
    assert make_broker(MemorySqs()).shut_down(1)


@pytest.fixture
def crowd(database_url: str) -> Iterator[Pool]:
    with db.open_pool(database_url, PoolOptions(size_min=4)) as pool:
        pool.wait(10)
        yield pool


def test_the_real_handler_on_the_real_worker_takes_every_message_to_its_end(crowd: Pool):
    sqs = MemorySqs()
    for number in range(20):
        incident = f"11111111-1111-4111-8111-1111111111{number:02d}"
        body = m.body(m.work(incidentId=incident, eventId=f"event-{number}"))
        sqs.put(EVENTS, body)
        sqs.put(EVENTS, body)  # the bus delivers at least once
    sqs.put(EVENTS, "rubbish")
    early = signed(m.command("ApprovePayment", paymentId=str(m.INCIDENT)))
    member(crowd, m.DISPATCHER, Role.DISPATCHER, company=m.COMPANY)
    waiting = sqs.put(Queue.COMMANDS, m.body(early))
    with working(make_broker(sqs, backoff_s=(100,)), make_handler(crowd)):
        until(lambda: not sqs.held(EVENTS), within_s=20)
        until(lambda: sqs.entries("change_message_visibility_batch"))
    assert len(rows(crowd, "SELECT 1 FROM payments")) == 20
    assert len(rows(crowd, "SELECT 1 FROM message_inbox")) == 20
    assert [dead.body for dead in sqs.held(DLQ)] == ["rubbish"]
    [comes_back] = sqs.held(Queue.COMMANDS)
    assert comes_back.message_id == waiting
    assert rows(crowd, "SELECT reason FROM message_failures") == [{"reason": "not_json"}]


def test_a_stop_in_full_work_loses_nothing_and_does_nothing_twice(crowd: Pool):
    sqs = MemorySqs()
    for number in range(60):
        incident = f"11111111-1111-4111-8111-1111111111{number:02d}"
        sqs.put(EVENTS, m.body(m.work(incidentId=incident, eventId=f"event-{number}")))
    with working(make_broker(sqs), make_handler(crowd)):
        until(lambda: len(sqs.held(EVENTS)) < 50)
    left = len(sqs.held(EVENTS))
    assert len(rows(crowd, "SELECT 1 FROM payments")) == 60 - left
    assert all(seconds <= 0 for seconds in sqs.visible_in(EVENTS)), "what is left is there for the next worker"
    with working(make_broker(sqs), make_handler(crowd)):
        until(lambda: not sqs.held(EVENTS), within_s=20)
    assert len(rows(crowd, "SELECT 1 FROM payments")) == len(rows(crowd, "SELECT 1 FROM payment_audit_log")) == 60
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("poller", "lease"))]


def test_an_unheard_of_error_while_settling_costs_no_thread_and_no_message(monkeypatch):
    sqs = MemorySqs()
    for number in range(3):
        sqs.put(EVENTS, str(number))
    sqs.faults["delete_message_batch"].extend([RuntimeError("unheard of"), OSError("broken pipe"), KeyError("no")])
    monkeypatch.setattr("workers.settling.LATE_S", 0.01)
    broker = make_broker(sqs)
    with working(broker, lambda: current().settle_as(Settlement.DELETE), threads=2):
        until(lambda: len(sqs.named("delete_message_batch")) >= 3)
        sqs.put(EVENTS, "another")
        until(lambda: len(sqs.named("delete_message_batch")) >= 4)
        assert broker.dead_threads() == []
