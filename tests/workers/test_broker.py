"""The SQS broker under Dramatiq's real Worker: what is deleted, what comes back, and what is left after a stop."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from dramatiq import MessageProxy
from dramatiq.middleware import CurrentMessage
from dramatiq.worker import ConsumerThread, Worker

from contracts.envelope import Queue
from tests.kit.sqs import URL, MemorySqs, throttled, unreachable, until
from workers import main
from workers.broker import BrokerOptions, SqsBroker
from workers.delivery import Delivery, MissingRedrivePolicyError, Settlement, inbound_queue
from workers.main import declare_actors
from workers.telemetry import Metrics

EVENTS = str(Queue.EVENTS)
DLQ = f"{EVENTS}-dlq"
OPTIONS = BrokerOptions(
    room=16, poll_wait_s=0, visibility_s=30, renew_every_s=30, backoff_s=(5, 15, 45, 120, 300), backoff_jitter=0.2
)
Handle = Callable[[Delivery], None]


class Running:
    """A broker with a worker on it."""

    def __init__(self, sqs: MemorySqs, options: BrokerOptions, handle: Handle) -> None:
        self.sqs = sqs
        self.metrics = Metrics()
        queues = [inbound_queue(sqs, queue, URL + queue) for queue in Queue]  # type: ignore[arg-type]
        self.broker = SqsBroker(sqs, queues, options, self.metrics)  # type: ignore[arg-type]

        def actor() -> None:
            delivery: object = CurrentMessage.get_current_message()
            assert isinstance(delivery, Delivery)
            handle(delivery)

        declare_actors(self.broker, actor)
        self.worker = Worker(self.broker, worker_threads=4, worker_timeout=50)

    def lost(self) -> float:
        return self.metrics.registry.get_sample_value("payments_visibility_extensions_total", {"result": "lost"}) or 0

    def settled(self, result: str) -> float:
        labels = {"queue": EVENTS, "result": result}
        return self.metrics.registry.get_sample_value("payments_messages_settled_total", labels) or 0


@contextmanager
def running(sqs: MemorySqs, handle: Handle, **options: object) -> Iterator[Running]:
    found = Running(sqs, replace(OPTIONS, **options), handle)  # type: ignore[arg-type]
    found.worker.start()
    found.broker.start()
    try:
        yield found
    finally:
        found.worker.stop(timeout=5_000)
        assert found.broker.shut_down(5)
    assert found.broker.held == 0, "room leaked"
    assert not [
        thread.name for thread in threading.enumerate() if thread.name.startswith(("poller", "lease", "settler"))
    ]


def work_until_the_stop() -> None:
    """Keep a handler at work until Dramatiq has told its thread to end: nothing else is begun after it."""
    thread = threading.current_thread()
    until(lambda: not thread.running, within_s=30)  # type: ignore[attr-defined]


def settle(settlement: Settlement, reason: str = "") -> Handle:
    return lambda delivery: delivery.settle_as(settlement, reason)


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
def test_whatever_is_not_an_outcome_leaves_the_same_message_to_come_back(handle):
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
def test_the_back_off_follows_the_receive_count(receives, base_s):
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    sqs.held(EVENTS)[0].receive_count = receives - 1
    with running(sqs, settle(Settlement.RETRY)):
        until(lambda: sqs.entries("change_message_visibility_batch"))
    delay_s = sqs.entries("change_message_visibility_batch")[0]["VisibilityTimeout"]
    assert base_s * 0.8 - 1 <= delay_s <= base_s * 1.2 + 1


def test_a_dead_letter_carries_body_and_reason_and_only_then_leaves_its_queue():
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


def test_a_dead_letter_that_cannot_be_sent_stays_where_it_is():
    sqs = MemorySqs()
    sqs.faults["send_message"].append(throttled())
    sqs.put(EVENTS, "rubbish")
    with running(sqs, settle(Settlement.DEAD_LETTER, "not_json")):
        until(lambda: sqs.named("send_message"))
    assert len(sqs.held(EVENTS)) == 1
    assert sqs.entries("delete_message_batch") == []


def test_a_failed_delete_leaks_no_room_and_costs_the_message_nothing(monkeypatch):
    sqs = MemorySqs()
    monkeypatch.setattr("workers.settling.LATE_S", 0.01)
    sqs.faults["delete_message_batch"].extend(unreachable() for _ in range(3))
    for number in range(60):
        sqs.put(EVENTS, str(number))
    with running(sqs, settle(Settlement.DELETE), room=4) as found:
        until(lambda: found.settled("deleted") + found.settled("given_up") == 60)
        assert found.broker.held == 0
        given_up = found.settled("given_up")
    assert len(sqs.held(EVENTS)) == given_up < 20, "they come back when their lease ends"


def test_a_failed_receive_does_not_end_its_poller(monkeypatch):
    monkeypatch.setattr("workers.polling.POLL_ERROR_PAUSE_S", 0.01)
    sqs = MemorySqs()
    sqs.faults["receive_message"].extend([throttled(), unreachable(), RuntimeError("unheard of")] * 3)
    sqs.put(EVENTS, "one")
    with running(sqs, settle(Settlement.DELETE)) as found:
        until(lambda: not sqs.held(EVENTS))
        assert found.broker.dead_threads() == []


def test_the_lease_is_renewed_while_a_message_is_handled_and_while_it_waits():
    sqs = MemorySqs()
    for number in range(6):  # four threads: two messages wait
        sqs.put(EVENTS, str(number))
    release = threading.Event()

    def slow(delivery: Delivery) -> None:
        release.wait(10)
        delivery.settle_as(Settlement.DELETE)

    with running(sqs, slow, visibility_s=1, renew_every_s=0.3):
        until(lambda: len(sqs.named("change_message_visibility_batch")) >= 5)
        assert all(stored.receive_count == 1 for stored in sqs.held(EVENTS)), "none was delivered a second time"
        release.set()
        until(lambda: not sqs.held(EVENTS))


def test_a_lost_lease_is_noticed_and_not_fought():
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
    release = threading.Event()

    def slow(_delivery: Delivery) -> None:
        release.wait(10)

    with running(sqs, slow, renew_every_s=0.05, hold_max_s=0.2) as found:
        until(lambda: found.lost() == 1)
        release.set()


def test_no_more_is_taken_than_there_is_room_for():
    sqs = MemorySqs()
    for number in range(40):
        sqs.put(EVENTS, str(number))
    release = threading.Event()

    def slow(delivery: Delivery) -> None:
        release.wait(10)
        delivery.settle_as(Settlement.DELETE)

    with running(sqs, slow, room=6) as found:
        until(lambda: found.broker.held == 6)
        threading.Event().wait(0.1)  # a poller that ignored its room would have taken more by now
        assert found.broker.held == 6
        assert sum(stored.receive_count for stored in sqs.held(EVENTS)) == 6
        release.set()
        until(lambda: not sqs.held(EVENTS))


def test_a_stop_finishes_what_is_handled_and_hands_back_what_waits():
    sqs = MemorySqs()
    for number in range(12):
        sqs.put(EVENTS, str(number))
    entered = threading.Semaphore(0)

    def slow(delivery: Delivery) -> None:
        entered.release()
        work_until_the_stop()
        delivery.settle_as(Settlement.DELETE)

    with running(sqs, slow, room=10):
        for _ in range(4):
            assert entered.acquire(timeout=5)
        until(lambda: sum(stored.receive_count for stored in sqs.held(EVENTS)) == 10)
    left = sqs.held(EVENTS)
    assert len(left) == 8, "four were finished"
    assert max(sqs.visible_in(EVENTS)) <= 0, "the others are visible again at once"
    assert sum(stored.receive_count for stored in left) == 6


def test_the_queue_of_a_delivery_is_the_one_it_came_from_whatever_its_body_says():
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


def test_a_queue_without_redrive_policy_is_refused():
    with pytest.raises(MissingRedrivePolicyError, match="payments-events has no RedrivePolicy"):
        inbound_queue(MemorySqs(redrive=False), Queue.EVENTS, URL + EVENTS)  # type: ignore[arg-type]


def test_nothing_can_be_sent_past_the_outbox():
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


def test_a_message_that_outlives_the_stop_is_left_to_its_lease_and_told():
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    entered, release = threading.Event(), threading.Event()

    def slow(delivery: Delivery) -> None:
        entered.set()
        release.wait(10)
        delivery.settle_as(Settlement.DELETE)

    found = Running(sqs, OPTIONS, slow)
    found.worker.start()
    found.broker.start()
    assert entered.wait(5)
    found.worker.stop(timeout=100)
    assert found.broker.shut_down(0.5) is False, "not everything was finished"
    assert sqs.entries("change_message_visibility_batch") == [], "handed back, it would run twice at once"
    release.set()
    until(lambda: not sqs.held(EVENTS), what="the delete of what was finished late")


def test_a_renewal_under_way_does_not_undo_a_back_off():
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    renewing, go_on, settled = threading.Event(), threading.Event(), threading.Event()
    real = sqs.change_message_visibility_batch

    def slow_renewal(**arguments: object) -> dict:
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
    sqs = MemorySqs()
    for number in range(8):
        sqs.put(EVENTS, str(number))
    release = threading.Event()

    def slow(delivery: Delivery) -> None:
        release.wait(10)
        delivery.settle_as(Settlement.DELETE)

    with running(sqs, slow, room=4, poll_wait_s=1) as found:
        until(lambda: found.broker.held == 4)
        until(
            lambda: (
                set(found.broker.stuck(patience_s=0.1)) == {"poller-payments-commands-0", "poller-payments-payouts-0"}
            )
        )
        assert found.broker.stuck(patience_s=60) == []
        release.set()


def test_a_message_handled_past_every_limit_is_told():
    sqs = MemorySqs()
    sqs.put(EVENTS, "one")
    release = threading.Event()

    def slow(_delivery: Delivery) -> None:
        release.wait(10)

    with running(sqs, slow, renew_every_s=0.05, hold_max_s=0.1) as found:
        until(lambda: "message of payments-events" in found.broker.stuck(patience_s=0.2))
        release.set()


def test_a_poller_waits_for_room_for_ten_and_asks_for_ten():
    sqs = MemorySqs()
    for number in range(100):
        sqs.put(EVENTS, str(number))
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


def test_a_backlog_is_fetched_by_several_pollers_and_an_idle_queue_asked_by_one():
    sqs = MemorySqs()
    at_once, most, lock = [0], [0], threading.Lock()
    real = sqs.receive_message

    def slow_receive(**arguments: object) -> dict:
        if str(arguments["QueueUrl"]).endswith(EVENTS):
            with lock:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            threading.Event().wait(0.02)
        try:
            return real(**arguments)
        finally:
            if str(arguments["QueueUrl"]).endswith(EVENTS):
                with lock:
                    at_once[0] -= 1

    sqs.receive_message = slow_receive  # type: ignore[method-assign]
    with running(sqs, settle(Settlement.DELETE), room=60, pollers=3) as found:
        until(lambda: len(sqs.named("receive_message")) > 12)
        assert most[0] == 1, "an idle queue costs one long poll at a time"
        for number in range(400):
            sqs.put(EVENTS, str(number))
        until(lambda: not sqs.held(EVENTS), within_s=20)
        assert most[0] == 3
        assert found.broker.dead_threads() == []


def test_a_hundred_deletes_take_ten_requests():
    sqs = MemorySqs()
    for number in range(100):
        sqs.put(EVENTS, str(number))
    with running(sqs, settle(Settlement.DELETE), settle_age_s=5):
        until(lambda: not sqs.held(EVENTS))
    assert [len(call["Entries"]) for call in sqs.named("delete_message_batch")] == [10] * 10


def test_a_delete_waits_for_nine_others_no_longer_than_it_may():
    sqs = MemorySqs()
    with running(sqs, settle(Settlement.DELETE), settle_age_s=0.05):
        sqs.put(EVENTS, "one")
        until(lambda: not sqs.held(EVENTS), within_s=1)
    [call] = sqs.named("delete_message_batch")
    assert len(call["Entries"]) == 1


def test_an_entry_that_the_service_failed_to_delete_is_sent_again_alone(monkeypatch):
    monkeypatch.setattr("workers.settling.LATE_S", 0.01)
    sqs = MemorySqs(late=1)
    for number in range(10):
        sqs.put(EVENTS, str(number))
    with running(sqs, settle(Settlement.DELETE), settle_age_s=5) as found:
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


def test_a_stop_sends_the_deletes_that_still_wait_for_others():
    sqs = MemorySqs()
    for number in range(7):
        sqs.put(EVENTS, str(number))
    with running(sqs, settle(Settlement.DELETE), settle_age_s=60) as found:
        until(lambda: found.broker.held == 0)
        assert len(sqs.held(EVENTS)) == 7, "done, and not yet told"
    assert sqs.held(EVENTS) == []
    assert [len(call["Entries"]) for call in sqs.named("delete_message_batch")] == [7]


def test_a_stop_hands_back_in_batches_and_nothing_twice():
    sqs = MemorySqs()
    for number in range(24):
        sqs.put(EVENTS, str(number))
    entered = threading.Semaphore(0)

    def slow(delivery: Delivery) -> None:
        entered.release()
        work_until_the_stop()
        delivery.settle_as(Settlement.DELETE)

    with running(sqs, slow, room=30) as found:
        for _ in range(4):
            assert entered.acquire(timeout=5)
        until(lambda: found.broker.held == 24)
    returned = [entry["ReceiptHandle"] for entry in sqs.entries("change_message_visibility_batch")]
    assert len(returned) == len(set(returned)) == 20, "four were being handled"
    assert len(sqs.named("change_message_visibility_batch")) == 2
    assert len(sqs.held(EVENTS)) == 20


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
    for number in range(60):
        sqs.put(EVENTS, str(number))
    entered = threading.Semaphore(0)

    def slow(delivery: Delivery) -> None:
        entered.release()
        work_until_the_stop()
        delivery.settle_as(Settlement.DELETE)

    found = Running(sqs, replace(OPTIONS, room=60), slow)
    found.worker.start()
    found.broker.start()
    for _ in range(4):
        assert entered.acquire(timeout=5)
    until(lambda: found.broker.held == 60)
    sqs.silent = True
    began = time.monotonic()
    assert main._drain(found.worker, found.broker, 2.0) is False
    assert time.monotonic() - began < 4, "56 messages would take six requests of half a second, three times each"
    assert sqs.asked_in_vain > 0


def test_the_drain_waits_for_every_handler_to_the_end_of_its_budget():
    sqs = MemorySqs()
    for number in range(4):
        sqs.put(EVENTS, str(number))
    entered = threading.Semaphore(0)

    def staggered(delivery: Delivery) -> None:
        entered.release()
        threading.Event().wait(0.4 + 0.3 * int(delivery.body))
        delivery.settle_as(Settlement.DELETE)

    found = Running(sqs, OPTIONS, staggered)
    found.worker.start()
    found.broker.start()
    for _ in range(4):
        assert entered.acquire(timeout=5)
    assert main._drain(found.worker, found.broker, 3.0) is True
    assert sqs.held(EVENTS) == []


def test_handing_back_after_an_outage_waits_for_no_request():
    sqs = SilentSqs()
    sqs.patience_s = 2.0
    for number in range(20):
        sqs.put(EVENTS, str(number))
    entered, release = threading.Semaphore(0), threading.Event()

    def slow(_delivery: Delivery) -> None:
        entered.release()
        release.wait(10)

    with running(sqs, slow, room=20) as found:
        for _ in range(4):
            assert entered.acquire(timeout=5)
        until(lambda: found.broker.held == 20)
        sqs.silent = True
        began = time.monotonic()
        found.broker.release_waiting()
        assert time.monotonic() - began < 1, "the breaker's thread must go on asking"
        sqs.silent = False
        until(lambda: found.settled("returned") == 16)
        release.set()


def test_what_only_waits_for_too_long_is_handed_back_and_not_called_lost():
    sqs = MemorySqs()
    for number in range(10):
        sqs.put(EVENTS, str(number))
    release = threading.Event()

    def slow(delivery: Delivery) -> None:
        release.wait(10)
        delivery.settle_as(Settlement.DELETE)

    with running(sqs, slow, room=20, renew_every_s=0.05, hold_max_s=0.3) as found:
        until(lambda: sum(seconds <= 0 for seconds in sqs.visible_in(EVENTS)) > 0 or found.lost() > 0)
        until(lambda: len(sqs.entries("change_message_visibility_batch")) >= 6)
        assert found.lost() <= 4, "only what is being handled is given up"
        assert found.broker.stuck(patience_s=60) == []
        release.set()


def test_one_slow_message_does_not_stop_a_queue_with_little_room():
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
    sqs = MemorySqs(late=90)
    for number in range(200):
        sqs.put(EVENTS, str(number))
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


def test_a_slow_provider_leaves_threads_to_the_other_queues():
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
