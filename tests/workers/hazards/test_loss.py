"""Loss: a message that fails, however often and however the queue answers, is neither deleted nor sent anew."""

import json
from collections import deque

import pytest
from cfnlint.decode import decode  # type: ignore[import-untyped]

from tests.kit.brokers import EVENTS, backlog, running, settle
from tests.kit.sqs import MemorySqs, throttled, until
from workers.delivery import Delivery, Settlement
from workers.local.template import TEMPLATE_PATH
from workers.quotas import VISIBILITY_MAX_S
from workers.settings import MAX_RECEIVES, Settings

DAY_S = 86_400


def fail(_delivery: Delivery) -> None:
    raise RuntimeError("a bug")


def test_l1_a_message_that_fails_at_its_last_receive_is_still_there():
    sqs = backlog(1)
    [stored] = sqs.held(EVENTS)
    stored.receive_count = MAX_RECEIVES - 1  # the stock pair would delay this try beyond 900 s, and lose the message
    with running(sqs, fail):
        until(lambda: sqs.named("change_message_visibility_batch"))
    assert [kept.message_id for kept in sqs.held(EVENTS)] == [stored.message_id]
    assert not sqs.named("send_message")
    assert not sqs.named("delete_message_batch")


def test_l1_no_back_off_is_longer_than_a_message_can_be_hidden():
    assert max(Settings().backoff_s) * (1 + Settings().backoff_jitter) < VISIBILITY_MAX_S


@pytest.mark.parametrize("operation", ["send_message", "send_message_batch"])
def test_l2_a_retry_needs_no_sending_so_that_none_can_fail(operation):
    sqs = backlog(3)
    sqs.faults[operation] = deque(throttled() for _ in range(100))
    with running(sqs, fail):
        until(lambda: len(sqs.entries("change_message_visibility_batch")) >= 3)
    assert len(sqs.held(EVENTS)) == 3
    assert not sqs.named(operation)
    assert not sqs.entries("delete_message_batch")


def test_l2_a_back_off_that_cannot_be_set_leaves_the_message_to_its_lease(monkeypatch):
    monkeypatch.setattr("workers.settling.LATE_S", 0.01)
    sqs = backlog(3)
    sqs.faults["change_message_visibility_batch"] = deque(throttled() for _ in range(1_000))
    with running(sqs, fail, visibility_s=1):
        until(lambda: all(stored.receive_count >= 2 for stored in sqs.held(EVENTS)), what="the end of the leases")
        assert len(sqs.held(EVENTS)) == 3
        sqs.faults.clear()
    assert not sqs.named("send_message")
    assert not sqs.entries("delete_message_batch")


def test_l7_queues_keep_messages_long_enough_and_the_rule_has_dead_letters_of_its_own():
    document, problems = decode(str(TEMPLATE_PATH))
    assert not problems
    resources = json.loads(json.dumps(document))["Resources"]
    queues = {name: each["Properties"] for name, each in resources.items() if each["Type"] == "AWS::SQS::Queue"}
    for name, queue in queues.items():
        days = 14 if "DeadLetter" in name else 4
        assert queue["MessageRetentionPeriod"] >= days * DAY_S, name
    targets = [
        target
        for each in resources.values()
        if each["Type"] == "AWS::Events::Rule"
        for target in each["Properties"]["Targets"]
    ]
    assert targets
    for target in targets:
        assert "DeadLetterConfig" in target
        assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": DAY_S, "MaximumRetryAttempts": 185}


def test_d2_after_a_crash_a_message_is_hidden_for_its_lease_and_no_longer():
    asked = Settings().visibility_s
    assert asked <= 60
    sqs = MemorySqs()
    sqs.put(EVENTS, "0")
    with running(sqs, settle(Settlement.DELETE), visibility_s=7, renew_every_s=30):
        until(lambda: not sqs.held(EVENTS))
    assert {call["VisibilityTimeout"] for call in sqs.named("receive_message")} == {7}
