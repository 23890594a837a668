"""Stalls: restarts of Dramatiq's consumers and of whole workers cost neither room nor receives."""

import threading

from contracts.envelope import Queue
from tests.kit.brokers import EVENTS, THREADS, AtWork, AtWorkUntilTheStop, backlog, running, settle
from tests.kit.sqs import MemorySqs, until
from workers import broker
from workers.delivery import Settlement
from workers.settings import MAX_RECEIVES

DLQ = f"{EVENTS}-dlq"


def test_a_restarted_consumer_neither_leaks_room_nor_makes_more_of_it(monkeypatch):
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.01)
    sqs, slow, broken = backlog(40), AtWork(), threading.Event()
    restarted: list[str] = []
    consume, rest = broker.SqsBroker.consume, broker._Consumer.__next__

    def watched(self: broker.SqsBroker, queue_name: str, prefetch: int = 1, timeout: int = 1000) -> object:
        restarted.append(queue_name)
        return consume(self, queue_name, prefetch, timeout)

    def next_or_break(self: broker._Consumer) -> None:
        if broken.is_set():
            raise OSError("the connection is gone")
        rest(self)

    monkeypatch.setattr(broker.SqsBroker, "consume", watched)
    monkeypatch.setattr(broker._Consumer, "__next__", next_or_break)
    with running(sqs, slow, room=8) as found:
        slow.await_begun()
        until(lambda: found.broker.held == 8)
        broken.set()
        until(lambda: all(restarted.count(queue) > 2 for queue in Queue), what="every consumer's restart")
        broken.clear()
        assert found.broker.held == 8, "what was held before is held still"
        slow.release()
        until(lambda: not sqs.held(EVENTS), what="what was held before, and what came after it")
        until(lambda: found.settled("deleted") == 40)


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
