"""The model against itself: every fault happens and follows from its seed, and every message is in one place."""

import threading
from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.kit.sqs import until
from tests.kit.sqs_clocks import VirtualClock
from tests.kit.sqs_faults import AFTER, BEFORE, KINDS, Faults
from tests.kit.sqs_model import SqsModel
from tests.kit.sqs_rules import ARN, URL, action, service

pytestmark = pytest.mark.long

ERRORS = (ClientError, BotoCoreError)


def made(plan: Faults | None = None, **options: Any) -> tuple[SqsModel, VirtualClock, str]:
    """Return a model with a queue, its clock, and the queue's URL; faults begin after that."""
    clock = VirtualClock()
    model = SqsModel(clock, **options)
    url = model.create_queue(QueueName="q")["QueueUrl"]
    model.plan = plan or Faults()
    return model, clock, url


def received(model: SqsModel, url: str, **more: Any) -> list[dict[str, Any]]:
    return model.receive_message(QueueUrl=url, MaxNumberOfMessages=10, **more).get("Messages", [])


def some_work(plan: Faults) -> tuple[Counter[str], list[str]]:
    """Do the same work on a model with a plan of faults; return what struck, and the messages in their order."""
    model, clock, url = made(plan)
    order: list[str] = []
    for number in range(200):
        try:
            for body in (f"{number}-0", f"{number}-1"):
                model.send_message(QueueUrl=url, MessageBody=body)
            messages = received(model, url, VisibilityTimeout=3)
            order += [message["Body"] for message in messages]
            entries = [
                {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]} for place, message in enumerate(messages)
            ]
            if entries:
                model.delete_message_batch(QueueUrl=url, Entries=entries)
        except ERRORS:
            pass
        clock.advance(1)
    return plan.struck, order


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fault_strikes_and_is_counted(kind):
    struck, order = some_work(Faults(1, {kind: 0.3}))
    assert set(struck) == {kind}
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


# -- what each fault does


@pytest.mark.parametrize("kind", BEFORE)
def test_a_fault_before_the_work_leaves_nothing_done(kind):
    model, _, url = made()
    model.plan.once(kind)
    with pytest.raises(ERRORS):
        model.send_message(QueueUrl=url, MessageBody="x")
    assert received(model, url) == []


@pytest.mark.parametrize("kind", AFTER)
def test_a_fault_after_the_work_is_told_though_all_is_done(kind):
    model, _, url = made()
    model.plan.once(kind)
    with pytest.raises(BotoCoreError):
        model.send_message(QueueUrl=url, MessageBody="x")
    assert len(received(model, url)) == 1


def test_a_fault_that_is_told_strikes_once_and_at_its_operation():
    model, _, url = made()
    model.plan.once("throttled", "receive_message")
    model.send_message(QueueUrl=url, MessageBody="x")
    with pytest.raises(ClientError) as told:
        received(model, url)
    assert (told.value.response["Error"]["Code"], told.value.operation_name) == (
        "ThrottlingException",
        "ReceiveMessage",
    )
    assert len(received(model, url)) == 1


def test_the_rate_of_one_operation_goes_before_that_of_all():
    model, _, url = made(Faults(1, {"throttled": 1.0, "throttled send_message": 0.0}))
    model.send_message(QueueUrl=url, MessageBody="x")
    with pytest.raises(ClientError):
        received(model, url)


def test_a_kind_of_fault_that_is_none_is_noticed():
    with pytest.raises(AssertionError):
        Faults(1, {"trottled": 0.1})
    with pytest.raises(AssertionError):
        Faults().once("trottled")


def test_a_batch_that_fails_in_part_says_which_entry_and_does_the_others():
    model, _, url = made()
    model.plan.once("entries_failed")
    entries = [{"Id": str(number), "MessageBody": str(number)} for number in range(10)]
    answer = model.send_message_batch(QueueUrl=url, Entries=entries)
    [failed] = answer["Failed"]
    assert (failed["Code"], failed["SenderFault"]) == ("InternalError", False)
    there = {message["Body"] for message in received(model, url)}
    assert there == {entry["Id"] for entry in answer["Successful"]} == set(map(str, range(10))) - {failed["Id"]}


def test_a_duplicate_is_there_while_the_first_is_held_and_makes_its_receipt_an_older_one():
    model, _, url = made()
    model.send_message(QueueUrl=url, MessageBody="x")
    model.plan.once("duplicate")
    [first] = received(model, url)
    [second] = received(model, url)
    assert received(model, url) == []
    assert first["MessageId"] == second["MessageId"]
    model.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    assert model._queues["q"].messages, "the older receipt deletes nothing"
    model.delete_message(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"])
    assert not model._queues["q"].messages


@pytest.mark.parametrize(("kind", "comes_again"), [("late_delete", False), ("undeleted", True)])
def test_a_delete_that_was_told_as_done_may_come_late_or_never(kind, comes_again):
    model, clock, url = made()
    model.send_message(QueueUrl=url, MessageBody="x")
    [message] = received(model, url, VisibilityTimeout=30)
    model.plan.once(kind)
    model.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert model._queues["q"].messages, "not yet"
    clock.advance(30)
    assert bool(received(model, url)) is comes_again


def test_a_late_delete_is_void_once_the_message_was_received_again():
    model, clock, url = made()
    model.send_message(QueueUrl=url, MessageBody="x")
    [message] = received(model, url, VisibilityTimeout=0)
    model.plan.once("late_delete")
    model.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert len(received(model, url, VisibilityTimeout=2)) == 1
    clock.advance(2)
    assert len(received(model, url)) == 1


# -- what no server shows, or only by waiting long


def test_a_message_is_kept_no_longer_than_its_queue_says_wherever_it_lies():
    clock = VirtualClock()
    model = SqsModel(clock)
    dead = model.create_queue(QueueName="dead", Attributes={"MessageRetentionPeriod": "90"})["QueueUrl"]
    policy = f'{{"deadLetterTargetArn": "{ARN}dead", "maxReceiveCount": 1}}'
    url = model.create_queue(QueueName="q", Attributes={"MessageRetentionPeriod": "60", "RedrivePolicy": policy})
    for body in ("dies", "stays"):
        model.send_message(QueueUrl=url["QueueUrl"], MessageBody=body)
    assert len(model.receive_message(QueueUrl=url["QueueUrl"], VisibilityTimeout=0)["Messages"]) == 1
    clock.advance(59)
    [message] = received(model, url["QueueUrl"], VisibilityTimeout=30)
    assert message["Body"] == "stays"
    clock.advance(1)
    assert received(model, dead, VisibilityTimeout=0), "which is older, and is kept for longer"
    assert not model._queues["q"].messages, "though somebody holds it"
    clock.advance(29)
    assert [letter["Body"] for letter in received(model, dead, VisibilityTimeout=0)] == ["dies"]
    clock.advance(1)
    assert received(model, dead) == [], "its age counts from its first sending"


def test_a_long_poll_costs_no_time_but_that_of_the_virtual_clock():
    model, clock, url = made()
    began = clock.now()
    assert received(model, url, WaitTimeSeconds=20) == []
    assert clock.now() == began + 20


def test_a_long_poll_is_woken_by_the_next_lease_that_ends():
    model, clock, url = made()
    model.send_message(QueueUrl=url, MessageBody="x")
    began = clock.now()
    assert len(received(model, url, VisibilityTimeout=7)) == 1
    assert len(received(model, url, WaitTimeSeconds=20)) == 1
    assert clock.now() == began + 7


def test_a_long_poll_on_the_wall_clock_is_woken_by_a_message():
    model = SqsModel()
    url = model.create_queue(QueueName="q")["QueueUrl"]
    found: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: found.extend(received(model, url, WaitTimeSeconds=20)))
    waiting.start()
    model.send_message(QueueUrl=url, MessageBody="x")
    until(lambda: found, within_s=15, what="the message")
    waiting.join()


def test_too_many_in_flight_are_told_to_a_short_poll_and_kept_from_a_long_one():
    model, _, url = made(in_flight_max=3)
    for number in range(5):
        model.send_message(QueueUrl=url, MessageBody=str(number))
    held = received(model, url)
    assert len(held) == 3
    with pytest.raises(ClientError, match="OverLimit"):
        received(model, url)
    assert received(model, url, WaitTimeSeconds=1) == []
    model.delete_message(QueueUrl=url, ReceiptHandle=held[0]["ReceiptHandle"])
    assert len(received(model, url)) == 1


def test_arguments_are_those_that_boto3_knows():
    model, _, url = made()
    wrong: list[dict[str, Any]] = [
        {"Url": url},
        {"QueueUrl": url, "WaitTimeSeconds": "20"},
        {"QueueUrl": url, "AttributesNames": ["All"]},
    ]
    for arguments in wrong:
        with pytest.raises(ParamValidationError):
            model.receive_message(**arguments)


def test_every_public_method_is_an_operation_of_the_service():
    own = {"failing"}  # a hook for tests
    methods = {name for name in vars(SqsModel) if not name.startswith("_")} - own
    assert len(methods) >= 10
    assert {action(name) for name in methods} <= set(service().operation_names)


class Life(RuleBasedStateMachine):
    """Send, receive, delete, hide and wait in any order, and look where every message is."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.model = SqsModel(self.clock)
        self.model.create_queue(QueueName="dead")
        policy = f'{{"deadLetterTargetArn": "{ARN}dead", "maxReceiveCount": 3}}'
        self.url = self.model.create_queue(QueueName="q", Attributes={"RedrivePolicy": policy})["QueueUrl"]
        self.sent: set[str] = set()
        self.deleted: set[str] = set()
        self.receives: Counter[str] = Counter()
        self.leases: dict[str, tuple[str, float]] = {}
        self.older: list[str] = []

    @rule(delay_s=st.sampled_from([0, 0, 5]))
    def send(self, delay_s: int) -> None:
        answer = self.model.send_message(QueueUrl=self.url, MessageBody="x", DelaySeconds=delay_s)
        self.sent.add(answer["MessageId"])

    @rule(most=st.integers(1, 10), lease_s=st.sampled_from([0, 5, 60]))
    def receive(self, most: int, lease_s: int) -> None:
        answer = self.model.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=most,
            VisibilityTimeout=lease_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        for message in answer.get("Messages", []):
            name = message["MessageId"]
            assert name not in self.deleted, "a deleted message came again"
            receipt, held_until = self.leases.get(name, ("", 0.0))
            assert held_until <= self.clock.now(), "delivered while somebody held it"
            self.older += [receipt] if receipt else []
            self.receives[name] += 1
            assert int(message["Attributes"]["ApproximateReceiveCount"]) == self.receives[name] <= 3
            self.leases[name] = (message["ReceiptHandle"], self.clock.now() + lease_s)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def delete(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.leases)))
        there = name in self._in("q")
        self.model.delete_message(QueueUrl=self.url, ReceiptHandle=self.leases[name][0])
        if there:
            self.deleted.add(name)

    @precondition(lambda self: self.older)
    @rule(data=st.data())
    def delete_by_an_older_receipt(self, data: Any) -> None:
        self.model.delete_message(QueueUrl=self.url, ReceiptHandle=data.draw(st.sampled_from(self.older)))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), lease_s=st.sampled_from([0, 5, 60]))
    def hide(self, data: Any, lease_s: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.leases)))
        receipt, until_s = self.leases[name]
        change = {"QueueUrl": self.url, "ReceiptHandle": receipt, "VisibilityTimeout": lease_s}
        gone = name in self.deleted or until_s <= self.clock.now()
        try:
            self.model.change_message_visibility(**change)
        except ClientError:
            assert gone
        else:
            assert not gone
            self.leases[name] = (receipt, self.clock.now() + lease_s)

    @rule(seconds=st.sampled_from([1, 5, 60]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        alive, dead = self._in("q"), self._in("dead")
        assert not alive & dead
        assert alive | dead == self.sent - self.deleted

    @invariant()
    def only_what_was_received_often_enough_is_dead(self) -> None:
        assert all(self.receives[name] == 3 for name in self._in("dead"))

    @invariant()
    def the_counts_are_those_of_the_messages(self) -> None:
        told = self.model.get_queue_attributes(QueueUrl=URL + "q", AttributeNames=["All"])["Attributes"]
        counts = [int(told[f"ApproximateNumberOfMessages{kind}"]) for kind in ("", "NotVisible", "Delayed")]
        held = {name for name, (_, until_s) in self.leases.items() if until_s > self.clock.now()}
        assert counts[1] == len(held & self._in("q"))
        assert sum(counts) == len(self._in("q"))

    def _in(self, queue: str) -> set[str]:
        return set(self.model._queues[queue].messages)


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
