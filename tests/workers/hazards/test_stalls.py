"""Stalls: restarts of Dramatiq's consumers and of whole workers cost neither room nor receives."""

import threading

from contracts.envelope import Queue
from tests.kit.brokers import EVENTS, THREADS, AtWorkUntilTheStop, backlog, running, settle
from tests.kit.sqs import MemorySqs, until
from workers import broker
from workers.delivery import Delivery, Settlement
from workers.settings import MAX_RECEIVES

DLQ = f"{EVENTS}-dlq"


def test_z5_a_restarted_consumer_neither_leaks_room_nor_makes_more_of_it(monkeypatch):
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.01)
    sqs, broken, go_on = backlog(40), threading.Event(), threading.Semaphore(0)
    made: list[str] = []
    consume, rest = broker.SqsBroker.consume, broker._Consumer.__next__

    def watched(self: broker.SqsBroker, queue_name: str, prefetch: int = 1, timeout: int = 1000) -> object:
        made.append(queue_name)
        return consume(self, queue_name, prefetch, timeout)

    def rest_or_break(self: broker._Consumer) -> None:
        if broken.is_set():
            raise OSError("the connection is gone")
        rest(self)

    def handle(delivery: Delivery) -> None:
        go_on.acquire(timeout=10)
        delivery.settle_as(Settlement.DELETE)

    monkeypatch.setattr(broker.SqsBroker, "consume", watched)
    monkeypatch.setattr(broker._Consumer, "__next__", rest_or_break)
    with running(sqs, handle, room=8) as found:
        until(lambda: found.broker.held == 8)
        broken.set()
        until(lambda: all(made.count(queue) > 2 for queue in Queue), what="every consumer's restart")
        broken.clear()
        assert found.broker.held == 8, "what was held before is held still"
        go_on.release(4)
        until(lambda: sum(stored.receive_count for stored in sqs.held(EVENTS)) == 8 and len(sqs.held(EVENTS)) == 36)
        threading.Event().wait(0.1)  # an old delivery that made room for two would have let more in by now
        assert found.broker.held == 8
        go_on.release(36)
        until(lambda: not sqs.held(EVENTS), what="what was held before, and what came after it")


def deploy(sqs: MemorySqs, room: int) -> None:
    """Run a worker until it has as much as it has room for, and stop it."""
    slow = AtWorkUntilTheStop()
    with running(sqs, slow, room=room) as found:
        slow.await_begun()
        until(lambda: found.broker.held == room)


def test_z10_deploys_in_a_row_send_no_good_message_to_the_dead_letters():
    room = 4 * THREADS
    sqs = backlog(100)
    for _ in range(MAX_RECEIVES):
        deploy(sqs, room)
    left = sqs.held(EVENTS)
    assert len(left) == 100 - MAX_RECEIVES * THREADS, "each deploy finished what it had begun"
    # A message waits behind what is held before it: for so many deploys at most, however many follow.
    assert max(stored.receive_count for stored in left) <= room // THREADS
    with running(sqs, settle(Settlement.DELETE)):
        until(lambda: not sqs.held(EVENTS))
    assert sqs.held(DLQ) == []
