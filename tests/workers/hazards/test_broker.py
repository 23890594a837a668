"""The SQS broker under Dramatiq's real Worker: what is deleted, what comes back, and whose lease is kept."""

import threading
import time
from typing import Any

import pytest
from dramatiq import MessageProxy
from dramatiq.worker import ConsumerThread

from contracts.envelope import Queue
from tests.kit.brokers import EVENTS, OPTIONS, AtWork, Running, backlog, running, settle
from tests.kit.sqs import URL, MemorySqs, throttled, unreachable, until
from workers import polling
from workers.delivery import Delivery, MissingRedrivePolicyError, Settlement, inbound_queue

DLQ = f"{EVENTS}-dlq"


def say_nothing(_delivery: Delivery) -> None:
    """A handler that ends without an outcome."""


def fail(_delivery: Delivery) -> None:
    raise RuntimeError("a bug")


def test_a_message_is_deleted_once_its_handler_has_said_so():
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    with running(sqs, settle(Settlement.DELETE)):
        until(lambda: not sqs.held(EVENTS))
    assert sqs.entries("change_message_visibility_batch") == []


@pytest.mark.parametrize("handle", [say_nothing, fail, settle(Settlement.RETRY)])
def test_l4_whatever_is_not_an_outcome_leaves_the_same_message_to_come_back(handle):
    sqs = MemorySqs()
    message_id = sqs.put(EVENTS, "one")
    with running(sqs, handle):
        until(lambda: sqs.entries("change_message_visibility_batch"))
        [stored] = sqs.held(EVENTS)
        assert stored.message_id == message_id
        assert 3 <= sqs.visible_in(EVENTS)[0] <= 6.5, "5 s, give or take a fifth"
    assert sqs.entries("delete_message_batch") == []
    assert sqs.named("send_message") == []


@pytest.mark.parametrize(("receives", "base_s"), [(1, 5), (2, 15), (3, 45), (4, 120), (5, 300), (9, 300)])
def test_l1_the_back_off_follows_the_receive_count(receives, base_s):
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    sqs.held(EVENTS)[0].receive_count = receives - 1
    with running(sqs, settle(Settlement.RETRY)):
        until(lambda: sqs.entries("change_message_visibility_batch"))
    delay_s = sqs.entries("change_message_visibility_batch")[0]["VisibilityTimeout"]
    assert base_s * 0.8 - 1 <= delay_s <= base_s * 1.2 + 1


def test_p5_a_dead_letter_carries_body_and_reason_and_only_then_leaves_its_queue():
    sqs = MemorySqs()
    kept = {"trace": {"DataType": "String", "StringValue": "abc"}}
    message_id = sqs.put(EVENTS, "rubbish", kept)
    with running(sqs, settle(Settlement.DEAD_LETTER, "not_json")):
        until(lambda: not sqs.held(EVENTS))
    [dead] = sqs.held(DLQ)
    texts = {name: value["StringValue"] for name, value in dead.attributes.items()}
    assert dead.body == "rubbish"
    assert texts["Reason"] == "not_json"
    assert texts["OriginalMessageId"] == message_id
    assert texts["OriginalQueue"] == EVENTS
    assert texts["trace"] == "abc"
    operations = [operation for operation, _ in sqs.calls]
    assert operations.index("send_message") < operations.index("delete_message_batch")


def test_z2_a_dead_letter_that_cannot_be_sent_stays_where_it_is():
    sqs = MemorySqs()
    sqs.faults["send_message"].append(throttled())
    sqs.put(EVENTS, "rubbish")
    with running(sqs, settle(Settlement.DEAD_LETTER, "not_json")):
        until(lambda: sqs.named("send_message"))
    assert len(sqs.held(EVENTS)) == 1
    assert sqs.entries("delete_message_batch") == []


def test_z1_a_failed_delete_leaks_no_room_and_costs_the_message_nothing(monkeypatch):
    sqs = MemorySqs()
    monkeypatch.setattr("workers.settling.LATE_S", 0.01)
    sqs.faults["delete_message_batch"].extend(unreachable() for _ in range(3))
    backlog(60, sqs)
    with running(sqs, settle(Settlement.DELETE), room=4) as found:
        until(lambda: found.settled("deleted") + found.settled("given_up") == 60)
        assert found.broker.held == 0
        given_up = found.settled("given_up")
    assert len(sqs.held(EVENTS)) == given_up < 20, "they come back when their lease ends"


def test_z3_a_failed_receive_does_not_end_its_poller(monkeypatch):
    monkeypatch.setattr("workers.polling.POLL_ERROR_PAUSE_S", 0.01)
    sqs = MemorySqs()
    sqs.faults["receive_message"].extend([throttled(), unreachable(), RuntimeError("unheard of")] * 3)
    sqs.put(EVENTS, "one")
    with running(sqs, settle(Settlement.DELETE)) as found:
        until(lambda: not sqs.held(EVENTS))
        assert found.broker.dead_threads() == []


def test_d1_the_lease_is_renewed_while_a_message_is_handled_and_while_it_waits():
    sqs = backlog(6)
    slow = AtWork()
    with running(sqs, slow, visibility_s=2, renew_every_s=0.4):
        until(lambda: len(sqs.named("change_message_visibility_batch")) >= 7)  # longer than a lease
        assert all(stored.receive_count == 1 for stored in sqs.held(EVENTS)), "none was delivered a second time"
        slow.release()
        until(lambda: not sqs.held(EVENTS))


def test_d3_a_lost_lease_is_noticed_and_not_fought():
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    release, entered = threading.Event(), threading.Event()

    def slow(delivery: Delivery) -> None:
        sqs.refused.add(delivery.receipt_handle)
        entered.set()
        release.wait(10)
        delivery.settle_as(Settlement.DELETE)

    with running(sqs, slow, renew_every_s=0.05) as found:
        assert entered.wait(5)
        until(lambda: found.lost() == 1)
        release.set()
        until(lambda: found.broker.held == 0)
    assert sqs.entries("delete_message_batch") == []


def test_a_message_held_too_long_is_given_up():
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    slow = AtWork()
    with running(sqs, slow, renew_every_s=0.05, hold_max_s=0.2) as found:
        until(lambda: found.lost() == 1)
        slow.release()


def test_z10_no_more_is_taken_than_there_is_room_for():
    sqs = backlog(40)
    slow = AtWork()
    with running(sqs, slow, room=6) as found:
        until(lambda: found.broker.held == 6)
        threading.Event().wait(0.1)  # a poller that ignored its room would have taken more by now
        assert found.broker.held == 6
        assert sum(stored.receive_count for stored in sqs.held(EVENTS)) == 6
        slow.release()
        until(lambda: not sqs.held(EVENTS))


def test_z4_the_queue_of_a_delivery_is_the_one_it_came_from_whatever_its_body_says():
    sqs = MemorySqs()
    sqs.put(EVENTS, '{"queue_name": "payments-payouts", "actor_name": "evil"}')
    seen: list[str] = []

    def look(delivery: Delivery) -> None:
        seen.append(delivery.queue_name)
        delivery.settle_as(Settlement.DELETE)

    with running(sqs, look) as found:
        until(lambda: not sqs.held(EVENTS))
        assert all(thread.is_alive() for thread in found.worker.workers)
    assert seen == [EVENTS]


def test_l3_a_queue_without_redrive_policy_is_refused():
    with pytest.raises(MissingRedrivePolicyError, match="payments-events has no RedrivePolicy"):
        inbound_queue(MemorySqs(redrive=False), Queue.EVENTS, URL + EVENTS)  # type: ignore[arg-type]


def test_l5_nothing_can_be_sent_past_the_outbox():
    found = Running(MemorySqs(), OPTIONS, say_nothing)
    with pytest.raises(NotImplementedError, match="outbox"):
        found.broker.enqueue(object())  # type: ignore[arg-type]


def test_a_dead_poller_is_noticed():
    sqs = MemorySqs()
    with running(sqs, settle(Settlement.DELETE)) as found:
        assert found.broker.dead_threads() == []
        poller = found.broker._pollers._pollers[0]
        alive, poller.thread = poller.thread, threading.Thread(name="poller-dead")
        assert found.broker.dead_threads() == ["poller-dead"]
        poller.thread = alive


def test_d3_a_renewal_under_way_does_not_undo_a_back_off():
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    renewing, go_on, settled = threading.Event(), threading.Event(), threading.Event()
    real = sqs.change_message_visibility_batch

    def slow_renewal(**arguments: Any) -> dict:
        if arguments["Entries"][0]["VisibilityTimeout"] == OPTIONS.visibility_s:
            renewing.set()
            go_on.wait(10)
        return real(**arguments)

    sqs.change_message_visibility_batch = slow_renewal  # type: ignore[method-assign]

    def handle(delivery: Delivery) -> None:
        assert renewing.wait(5)
        delivery.settle_as(Settlement.RETRY)
        settled.set()

    with running(sqs, handle, renew_every_s=0.05):
        assert settled.wait(5)
        threading.Event().wait(0.2)  # a back-off that did not wait for the renewal would be set by now
        go_on.set()
        until(lambda: len(sqs.entries("change_message_visibility_batch")) == 2)
        assert sqs.visible_in(EVENTS)[0] <= 6.5, "the back-off of 5 s, not the lease of 30"


def test_a_queue_that_is_away_is_no_dead_poller(monkeypatch):
    monkeypatch.setattr("workers.polling.POLL_ERROR_PAUSE_S", 0.01)
    sqs = MemorySqs()
    sqs.faults["receive_message"].extend(unreachable() for _ in range(10_000))
    with running(sqs, settle(Settlement.DELETE)) as found:
        until(lambda: len(sqs.named("receive_message")) > 20)
        assert found.broker.stuck(patience_s=1) == []
        sqs.faults["receive_message"].clear()


def test_a_poller_whose_request_hangs_is_stuck_and_one_that_waits_for_room_is_not():
    sqs = backlog(8)
    slow = AtWork()
    with running(sqs, slow, room=4, poll_wait_s=1) as found:
        until(lambda: found.broker.held == 4)
        until(
            lambda: (
                set(found.broker.stuck(patience_s=0.1)) == {"poller-payments-commands-0", "poller-payments-payouts-0"}
            )
        )
        assert found.broker.stuck(patience_s=60) == []
        slow.release()


def test_a_message_handled_past_every_limit_is_told():
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    slow = AtWork()
    with running(sqs, slow, renew_every_s=0.05, hold_max_s=0.1) as found:
        until(lambda: "message of payments-events" in found.broker.stuck(patience_s=0.2))
        slow.release()


def test_t2_a_poller_waits_for_room_for_ten_and_asks_for_ten():
    sqs = backlog(100)
    go_on = threading.Semaphore(0)

    def handle(delivery: Delivery) -> None:
        go_on.acquire(timeout=10)
        delivery.settle_as(Settlement.DELETE)

    with running(sqs, handle, room=25) as found:
        until(lambda: found.broker.held == 20)
        for _ in range(4):
            go_on.release()
        until(lambda: found.broker.held == 16)
        threading.Event().wait(0.1)  # room for nine: a poller that did not wait for ten would have asked
        assert found.broker.held == 16
        for _ in range(96):
            go_on.release()
        until(lambda: not sqs.held(EVENTS))
    asked = [call["MaxNumberOfMessages"] for call in sqs.named("receive_message")]
    assert set(asked) == {10}


def test_t1_a_backlog_is_fetched_by_several_pollers_and_an_idle_queue_asked_by_one():
    sqs = MemorySqs()
    asked, at_once, most, lock = [0], [0], [0], threading.Lock()
    real = sqs.receive_message

    def slow_receive(**arguments: object) -> dict:
        if not str(arguments["QueueUrl"]).endswith(EVENTS):
            return real(**arguments)
        with lock:
            asked[0] += 1
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        threading.Event().wait(0.02)
        try:
            return real(**arguments)
        finally:
            with lock:
                at_once[0] -= 1

    def most_while_idle() -> int:
        with lock:
            asked[0], most[0] = 0, at_once[0]
        until(lambda: asked[0] > 10)
        return most[0]

    sqs.receive_message = slow_receive  # type: ignore[method-assign]
    with running(sqs, settle(Settlement.DELETE), room=60, pollers=3) as found:
        assert most_while_idle() == 1, "an idle queue costs one long poll at a time"
        backlog(410, sqs)
        until(lambda: not sqs.held(EVENTS), within_s=20)
        assert most[0] == 3
        until(lambda: most_while_idle() == 1, what="the further pollers to rest again")
        assert found.broker.dead_threads() == []


def test_an_idle_consumer_sleeps_and_does_not_spin(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("workers.clock.sleep", slept.append)
    found = Running(MemorySqs(), OPTIONS, settle(Settlement.DELETE))  # not started: its own consumers sleep nowhere
    assert next(found.broker.consume(EVENTS, timeout=250)) is None
    assert slept == [0.25]


@pytest.mark.parametrize("said", ["ack", "nack"])
def test_whatever_dramatiq_says_of_a_message_its_delivery_is_settled_and_let_go(monkeypatch, said):
    sqs = MemorySqs()
    found = Running(sqs, OPTIONS, settle(Settlement.DELETE))
    calls: list[tuple[str, object]] = []
    for name in ("settle", "handled"):
        monkeypatch.setattr(found.broker, name, lambda delivery, name=name: calls.append((name, delivery)))
    sqs.put(EVENTS, "one")
    raw: Any = sqs.receive_message(QueueUrl=URL + EVENTS, MessageSystemAttributeNames=["All"])["Messages"][0]
    delivery = Delivery(inbound_queue(sqs, Queue.EVENTS, URL + EVENTS), raw)  # type: ignore[arg-type]
    getattr(found.broker.consume(EVENTS), said)(delivery)
    assert calls == [("settle", delivery), ("handled", delivery)]


def test_t4_a_hundred_deletes_take_ten_requests():
    sqs = backlog(100)
    with running(sqs, settle(Settlement.DELETE), settle_age_s=5):
        until(lambda: not sqs.held(EVENTS))
    assert [len(call["Entries"]) for call in sqs.named("delete_message_batch")] == [10] * 10


def test_t4_a_delete_waits_for_nine_others_no_longer_than_it_may():
    sqs = MemorySqs()
    with running(sqs, settle(Settlement.DELETE), settle_age_s=0.05):
        sqs.put(EVENTS, "one")
        until(lambda: not sqs.held(EVENTS), within_s=1)
    [call] = sqs.named("delete_message_batch")
    assert len(call["Entries"]) == 1


def test_l6_an_entry_that_the_service_failed_to_delete_is_sent_again_alone(monkeypatch):
    monkeypatch.setattr("workers.settling.LATE_S", 0.01)
    sqs = MemorySqs(late=1)
    backlog(9, sqs)
    with running(sqs, settle(Settlement.DELETE), settle_age_s=60) as found:
        until(lambda: all(stored.receipt for stored in sqs.held(EVENTS)) and found.broker.held == 0)
        threading.Event().wait(0.1)  # so that the settler sleeps, for a minute, when the tenth fills the batch
        sqs.put(EVENTS, "the tenth")
        until(lambda: not sqs.held(EVENTS))
        until(lambda: found.settled("deleted") == 10)
    assert [len(call["Entries"]) for call in sqs.named("delete_message_batch")] == [10, 1]


def test_an_entry_that_waits_for_its_second_try_keeps_no_other_waiting(monkeypatch):
    monkeypatch.setattr("workers.settling.LATE_S", 60)
    sqs = MemorySqs(late=1)
    sqs.put(EVENTS, "one")
    with running(sqs, settle(Settlement.DELETE)):
        until(lambda: sqs.named("delete_message_batch"))
        sqs.put(EVENTS, "two")
        until(lambda: len(sqs.named("delete_message_batch")) == 2, within_s=2)
    assert sqs.held(EVENTS) == []


def test_an_entry_that_the_service_never_deletes_is_given_up_and_comes_back(monkeypatch):
    monkeypatch.setattr("workers.settling.LATE_S", 0.01)
    sqs = MemorySqs(late=99)
    sqs.put(EVENTS, "one")
    with running(sqs, settle(Settlement.DELETE)) as found:
        until(lambda: found.settled("given_up") == 1)
    assert len(sqs.named("delete_message_batch")) == 3
    assert len(sqs.held(EVENTS)) == 1


def test_a_message_changes_threads_once():
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    names: list[str] = []
    real = ConsumerThread.handle_message

    def watched(self: ConsumerThread, message: MessageProxy) -> None:
        names.append(threading.current_thread().name)
        real(self, message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConsumerThread, "handle_message", watched)
        with running(sqs, settle(Settlement.DELETE)):
            until(lambda: not sqs.held(EVENTS))
    assert names == ["poller-payments-events-0"]


def test_a_broker_without_a_worker_does_not_start(monkeypatch):
    monkeypatch.setattr("workers.broker.END_S", 0.05)
    with pytest.raises(RuntimeError, match="start the Worker"):
        Running(MemorySqs(), OPTIONS, say_nothing).broker.start()


def test_what_only_waits_for_too_long_is_handed_back_and_not_called_lost():
    sqs = backlog(10)
    slow = AtWork()
    with running(sqs, slow, room=20, renew_every_s=0.05, hold_max_s=0.3) as found:
        until(lambda: sum(seconds <= 0 for seconds in sqs.visible_in(EVENTS)) > 0 or found.lost() > 0)
        until(lambda: len(sqs.entries("change_message_visibility_batch")) >= 6)
        assert found.lost() <= 4, "only what is being handled is given up"
        assert found.broker.stuck(patience_s=60) == []
        slow.release()


def test_t6_one_slow_message_does_not_stop_a_queue_with_little_room():
    sqs = MemorySqs()
    sqs.put(EVENTS, "slow")
    for _ in range(40):
        sqs.put(EVENTS, "quick")
    release = threading.Event()

    def handle(delivery: Delivery) -> None:
        if delivery.body == "slow":
            release.wait(10)
        delivery.settle_as(Settlement.DELETE)

    with running(sqs, handle, room=8):
        until(lambda: [stored.body for stored in sqs.held(EVENTS)] == ["slow"])
        release.set()


def test_a_service_that_cannot_delete_for_a_moment_costs_no_message_its_tries(monkeypatch):
    monkeypatch.setattr("workers.settling.LATE_S", 0.2)
    sqs = backlog(200, MemorySqs(late=90))
    with running(sqs, settle(Settlement.DELETE), room=60) as found:
        until(lambda: found.settled("deleted") == 200, within_s=10)
        assert found.settled("given_up") == 0


def test_a_lease_that_has_ended_is_noticed_and_not_renewed():
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    release = threading.Event()

    def slow(delivery: Delivery) -> None:
        delivery.lease_until = time.monotonic() - 1  # as after a renewal that hung for longer than the lease
        release.wait(10)

    with running(sqs, slow, renew_every_s=0.05) as found:
        until(lambda: found.lost() == 1)
        release.set()
    assert sqs.entries("change_message_visibility_batch") == []


def test_t6_a_slow_provider_leaves_threads_to_the_other_queues():
    sqs = MemorySqs()
    for number in range(20):
        sqs.put(Queue.PAYOUTS, str(number))
    at_once, most, release = [0], [0], threading.Event()
    approved = threading.Event()
    lock = threading.Lock()

    def handle(delivery: Delivery) -> None:
        if delivery.source.queue is Queue.COMMANDS:
            approved.set()
        else:
            with lock:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            release.wait(10)
            with lock:
                at_once[0] -= 1
        delivery.settle_as(Settlement.DELETE)

    with running(sqs, handle, room=20, payouts_at_once=2):
        until(lambda: most[0] == 2)
        sqs.put(Queue.COMMANDS, "approve")
        assert approved.wait(2), "two of four threads are left"
        release.set()
        until(lambda: not sqs.held(Queue.PAYOUTS))
    assert most[0] == 2


def test_t3_an_empty_answer_is_followed_by_the_next_question_and_by_no_pause(monkeypatch):
    monkeypatch.setattr(polling, "POLL_ERROR_PAUSE_S", 3_600.0)
    sqs = MemorySqs()
    with running(sqs, settle(Settlement.DELETE)):
        until(lambda: len(sqs.named("receive_message")) >= 20)
