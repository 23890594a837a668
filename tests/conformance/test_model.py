"""The model against itself: every fault happens and follows from its seed, and every message is in one place.

And the use of it: broker, settler and worker with every fault at once, after which each message was settled as its
handler said.
"""

import threading
from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.kit.brokers import EVENTS, backlog, running
from tests.kit.sqs import MemorySqs, until
from tests.kit.sqs_model import KINDS, Faults, SqsModel, VirtualClock
from workers.delivery import Delivery, Settlement

MESSAGES = 300


def some_work(plan: Faults) -> tuple[Counter[str], list[str]]:
    """Do the same work on a model with a plan of faults; return what struck, and the messages in their order."""
    clock = VirtualClock()
    model = SqsModel(clock, plan)
    url = model.create_queue(QueueName="q")["QueueUrl"]
    order: list[str] = []
    for number in range(200):
        try:
            for body in (f"{number}-0", f"{number}-1"):
                model.send_message(QueueUrl=url, MessageBody=body)
            found = model.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=3)
            messages = found.get("Messages", [])
            order += [message["Body"] for message in messages]
            entries = [{"Id": message["Body"], "ReceiptHandle": message["ReceiptHandle"]} for message in messages]
            if entries:
                model.delete_message_batch(QueueUrl=url, Entries=entries)
        except (ClientError, BotoCoreError):
            clock.advance(1)
    return plan.struck, order


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fault_strikes_and_is_counted(kind):
    struck, order = some_work(Faults(1, {kind: 0.3}))
    assert struck[kind] > 5
    assert order


def test_the_same_seed_strikes_the_same():
    rates = dict.fromkeys(KINDS, 0.1)
    first, again, other = (some_work(Faults(seed, rates)) for seed in (1, 1, 2))
    assert first == again != other


def test_without_a_plan_nothing_strikes_and_the_order_is_that_of_sending():
    struck, order = some_work(Faults())
    assert not struck
    assert order == [f"{number}-{half}" for number in range(200) for half in (0, 1)]


def test_a_message_is_kept_no_longer_than_its_queue_says_wherever_it_lies():
    clock = VirtualClock()
    model = SqsModel(clock)
    url = model.create_queue(QueueName="q", Attributes={"MessageRetentionPeriod": "60"})["QueueUrl"]
    model.send_message(QueueUrl=url, MessageBody="x")
    clock.advance(59)
    assert model.receive_message(QueueUrl=url, VisibilityTimeout=0)["Messages"]
    clock.advance(1)
    assert not model.receive_message(QueueUrl=url)


def test_a_long_poll_costs_no_time_but_that_of_the_virtual_clock():
    clock = VirtualClock(1_000.0)
    model = SqsModel(clock)
    url = model.create_queue(QueueName="q")["QueueUrl"]
    assert not model.receive_message(QueueUrl=url, WaitTimeSeconds=20)
    assert clock.now() == pytest.approx(1_020, abs=0.1)


class Life(RuleBasedStateMachine):
    """Send, receive, delete, hide and wait in any order, and look where every message is."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.model = SqsModel(self.clock)
        self.dead = self.model.create_queue(QueueName="dead")["QueueUrl"]
        policy = '{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:dead", "maxReceiveCount": 3}'
        self.url = self.model.create_queue(QueueName="q", Attributes={"RedrivePolicy": policy})["QueueUrl"]
        self.sent: set[str] = set()
        self.deleted: set[str] = set()
        self.receives: Counter[str] = Counter()
        self.leases: dict[str, tuple[str, float]] = {}

    @rule(delay_s=st.sampled_from([0, 0, 5]))
    def send(self, delay_s: int) -> None:
        answer = self.model.send_message(QueueUrl=self.url, MessageBody="x", DelaySeconds=delay_s)
        self.sent.add(answer["MessageId"])

    @rule(most=st.integers(1, 10), lease_s=st.sampled_from([0, 5, 60]))
    def receive(self, most: int, lease_s: int) -> None:
        answer = self.model.receive_message(QueueUrl=self.url, MaxNumberOfMessages=most, VisibilityTimeout=lease_s)
        for message in answer.get("Messages", []):
            name = message["MessageId"]
            assert name not in self.deleted, "a deleted message came again"
            held_until = self.leases.get(name, ("", 0.0))[1]
            assert held_until <= self.clock.now(), "delivered while somebody held it"
            self.receives[name] += 1
            assert int(message["Attributes"]["ApproximateReceiveCount"]) == self.receives[name] <= 3
            self.leases[name] = (message["ReceiptHandle"], self.clock.now() + lease_s)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def delete(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.leases)))
        self.model.delete_message(QueueUrl=self.url, ReceiptHandle=self.leases[name][0])
        if name in self._in("q") or name not in self._in("dead"):
            self.deleted.add(name)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), lease_s=st.sampled_from([0, 5, 60]))
    def hide(self, data: Any, lease_s: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.leases)))
        receipt, until_s = self.leases[name]
        change = {"QueueUrl": self.url, "ReceiptHandle": receipt, "VisibilityTimeout": lease_s}
        try:
            self.model.change_message_visibility(**change)
        except ClientError:
            assert name in self.deleted or until_s <= self.clock.now()
        else:
            self.leases[name] = (receipt, self.clock.now() + lease_s)

    @rule(seconds=st.sampled_from([1, 5, 60]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        alive, dead = self._in("q"), self._in("dead")
        assert not alive & dead
        assert alive | dead == self.sent - self.deleted

    def _in(self, queue: str) -> set[str]:
        return set(self.model._queues[queue].messages)


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_a_worker_settles_every_message_as_its_handler_says_whatever_the_queue_does(monkeypatch):
    monkeypatch.setattr("workers.polling.POLL_ERROR_PAUSE_S", 0.01)
    sqs = backlog(MESSAGES, MemorySqs(plan=Faults(7)))
    seen, lock = Counter[str](), threading.Lock()

    def handle(delivery: Delivery) -> None:
        """Let every seventh be a dead letter, and every fifth fail at first."""
        with lock:
            seen[delivery.body] += 1
        number = int(delivery.body)
        if number % 7 == 0:
            delivery.settle_as(Settlement.DEAD_LETTER, "seventh")
        elif number % 5 == 0 and seen[delivery.body] == 1:
            delivery.settle_as(Settlement.RETRY, "fifth")
        else:
            delivery.settle_as(Settlement.DELETE)

    def redriven() -> set[str]:
        return {stored.body for stored in sqs.held(f"{EVENTS}-dlq")}

    with running(sqs, handle, visibility_s=2, renew_every_s=1, backoff_s=(0,)):
        sqs.plan.rates = dict.fromkeys(KINDS, 0.05)
        until(lambda: not sqs.held(EVENTS), within_s=60, what="the queue to be empty")
    assert set(seen) == set(map(str, range(MESSAGES))), "each was handled"
    sevenths = {str(number) for number in range(0, MESSAGES, 7)}
    assert sevenths <= redriven(), "a dead letter was lost"
    assert {kind for kind in KINDS if sqs.plan.struck[kind]} == set(KINDS)
