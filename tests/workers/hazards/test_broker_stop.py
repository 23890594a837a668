"""The broker's stop, and handing back: what is handled is finished, what waits is handed back, nothing twice."""

import threading
import time
from dataclasses import replace

from tests.kit.brokers import EVENTS, OPTIONS, AtWork, AtWorkUntilTheStop, Running, backlog, running, settle
from tests.kit.sqs import MemorySqs, unreachable, until
from workers.delivery import Delivery, Settlement
from workers.roles import worker


def test_z7_a_stop_finishes_what_is_handled_and_hands_back_what_waits():
    sqs = backlog(12)
    slow = AtWorkUntilTheStop()
    with running(sqs, slow, room=10):
        slow.await_begun()
        until(lambda: sum(stored.receive_count for stored in sqs.held(EVENTS)) == 10)
    left = sqs.held(EVENTS)
    assert len(left) == 8, "four were finished"
    assert max(sqs.visible_in(EVENTS)) <= 0, "the others are visible again at once"
    assert sum(stored.receive_count for stored in left) == 6


def test_a_message_that_outlives_the_stop_is_left_to_its_lease_and_told():
    sqs = backlog(1)
    slow = AtWork()
    found = Running(sqs, OPTIONS, slow)
    found.start()
    slow.await_begun(1)
    found.worker.stop(timeout=100)
    assert found.broker.shut_down(0.5) is False, "not everything was finished"
    assert sqs.entries("change_message_visibility_batch") == [], "handed back, it would run twice at once"
    slow.release()
    until(lambda: not sqs.held(EVENTS), what="the delete of what was finished late")


def test_z11_a_stop_sends_the_deletes_that_still_wait_for_others():
    sqs = backlog(7)
    with running(sqs, settle(Settlement.DELETE), settle_age_s=60) as found:
        until(lambda: found.broker.held == 0)
        assert len(sqs.held(EVENTS)) == 7, "done, and not yet told"
    assert sqs.held(EVENTS) == []
    assert [len(call["Entries"]) for call in sqs.named("delete_message_batch")] == [7]


def test_a_stop_hands_back_in_batches_and_nothing_twice():
    sqs = backlog(24)
    slow = AtWorkUntilTheStop()
    with running(sqs, slow, room=30) as found:
        slow.await_begun()
        until(lambda: found.broker.held == 24)
    returned = [entry["ReceiptHandle"] for entry in sqs.entries("change_message_visibility_batch")]
    assert len(returned) == len(set(returned)) == 20, "four were being handled"
    assert len(sqs.named("change_message_visibility_batch")) == 2
    assert len(sqs.held(EVENTS)) == 20


class SilentSqs(MemorySqs):
    """An SQS that takes a request and does not answer until its client has had enough."""

    def __init__(self) -> None:
        super().__init__()
        self.silent = False
        self.patience_s = 0.5
        self.asked_in_vain = 0

    def change_message_visibility_batch(self, **arguments: object) -> dict:
        if not self.silent:
            return super().change_message_visibility_batch(**arguments)
        self.asked_in_vain += 1
        threading.Event().wait(self.patience_s)
        raise unreachable()


def test_a_stop_with_a_silent_queue_ends_in_its_time_and_says_that_it_was_not_clean():
    sqs = SilentSqs()
    backlog(60, sqs)
    slow = AtWorkUntilTheStop()
    found = Running(sqs, replace(OPTIONS, room=60), slow)
    found.start()
    slow.await_begun()
    until(lambda: found.broker.held == 60)
    sqs.silent = True
    began = time.monotonic()
    assert worker._drain(found.worker, found.broker, 2.0) is False
    assert time.monotonic() - began < 4, "56 messages would take six requests of half a second, three times each"
    assert sqs.asked_in_vain > 0


def test_z9_the_drain_waits_for_every_handler_to_the_end_of_its_budget():
    sqs = backlog(4)

    class Staggered(AtWork):
        def work(self, delivery: Delivery) -> None:
            threading.Event().wait(0.4 + 0.3 * int(delivery.body))

    staggered = Staggered()
    found = Running(sqs, OPTIONS, staggered)
    found.start()
    staggered.await_begun()
    assert worker._drain(found.worker, found.broker, 3.0) is True
    assert sqs.held(EVENTS) == []


def test_handing_back_after_an_outage_waits_for_no_request():
    sqs = SilentSqs()
    sqs.patience_s = 2.0
    backlog(20, sqs)
    slow = AtWork()
    with running(sqs, slow, room=20) as found:
        slow.await_begun()
        until(lambda: found.broker.held == 20)
        sqs.silent = True
        began = time.monotonic()
        found.broker.release_waiting()
        assert time.monotonic() - began < 1, "the breaker's thread must go on asking"
        sqs.silent = False
        until(lambda: found.settled("returned") == 16)
        slow.release()
