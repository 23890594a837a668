"""Putting a failed message back: which dead letter it is, what is sent, what is on record, what is left alone."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.envelope import Queue
from contracts.outcome import Outcome
from store import failures
from store.db import Pool, Transient, TransientReason
from store.failures import Failure, FailureView
from tests.kit import messages as m
from tests.kit.funnel import rows
from tests.kit.sqs import URL, MemorySqs, throttled
from workers import clock
from workers.delivery import inbound_queue
from workers.replay import Order, Replayed, Replayer, ReplayError, StoppedError

EVENTS = str(Queue.EVENTS)
DLQ = f"{EVENTS}-dlq"
BODY = '{"detail": "of a message"}'
TRACE = {"trace": {"DataType": "String", "StringValue": "abc"}}


@pytest.fixture
def sqs() -> MemorySqs:
    return MemorySqs()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def replayer(sqs: MemorySqs, told: list[str]) -> Replayer:
    return Replayer(sqs, inbound_queue(sqs, Queue.EVENTS, URL + EVENTS), say=told.append)  # type: ignore[arg-type]


def failed(pool: Pool, sqs_message_id: str, body: str = BODY, outcome: Outcome = Outcome.INVALID) -> FailureView:
    """Record a failure and return it as an operator finds it."""
    failure = Failure(
        queue=EVENTS,
        sqs_message_id=sqs_message_id,
        kind="WorkCompleted",
        message_key=f"sqs:{sqs_message_id}",
        outcome=outcome,
        reason="unknown_source",
        detail="",
        body_bytes=len(body.encode()),
        body_digest=sha256(body.encode()).digest(),
        sender="AIDAEVENTBRIDGE",
        first_sent_at=clock.now(),
    )
    found = failures.find(pool, failures.record(pool, failure))
    assert found
    return found


def text(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}


def copied(sqs: MemorySqs, original: str, more: dict[str, Any] | None = None, *, body: str = BODY) -> str:
    """A dead letter as the worker copies it."""
    notes = {"Reason": "unknown_source", "OriginalQueue": EVENTS, "OriginalMessageId": original, "OriginalSentAt": "x"}
    return sqs.put(DLQ, body, {**{name: text(note) for name, note in notes.items()}, **(more or {})})


def an_order() -> Order:
    return Order(uuid4(), m.ADMIN, "the source is configured now")


def record_of(pool: Pool) -> list[dict[str, Any]]:
    return rows(
        pool,
        "SELECT replay_id, failure_id, actor_id, reason, sqs_message_id FROM failure_replays"
        " LEFT JOIN failure_replays_sent USING (replay_id) ORDER BY replayed_at",
    )


def all_visible(sqs: MemorySqs, queue: str) -> bool:
    return all(seconds <= 0 for seconds in sqs.visible_in(queue))


def test_a_copy_of_ours_goes_back_with_its_own_attributes_and_the_mark_of_its_replay(pool, sqs, replayer):
    failure, order = failed(pool, "original-1"), an_order()
    copied(sqs, "original-1", TRACE)
    done = replayer.replay(pool, failure, order)
    [sent] = sqs.held(EVENTS)
    assert sent.body == BODY
    assert sent.attributes == {
        **TRACE,
        "ReplayOf": text(str(failure.failure_id)),
        "ReplayId": text(str(order.replay_id)),
    }
    assert done == Replayed(sent.message_id, left_over=False)
    assert sqs.held(DLQ) == []


def test_a_message_that_its_queue_gave_up_is_found_by_its_own_id(pool, sqs, replayer):
    message_id = sqs.put(DLQ, BODY, {**TRACE, "Reason": text("its producer's own word")})
    failure = failed(pool, message_id, outcome=Outcome.FAULT)
    replayer.replay(pool, failure, an_order())
    [sent] = sqs.held(EVENTS)
    assert {"trace", "Reason"} < set(sent.attributes), "it is not a copy of ours, so these are not our notes"
    assert sqs.held(DLQ) == []


def test_who_and_why_is_on_record_with_what_the_queue_called_it(pool, sqs, replayer):
    failure, order = failed(pool, "original-1"), an_order()
    copied(sqs, "original-1")
    done = replayer.replay(pool, failure, order)
    [row] = record_of(pool)
    assert row == {
        "replay_id": order.replay_id,
        "failure_id": failure.failure_id,
        "actor_id": m.ADMIN,
        "reason": "the source is configured now",
        "sqs_message_id": done.sqs_message_id,
    }


def test_the_record_is_there_before_the_message_is_sent(pool, sqs, replayer, monkeypatch):
    failure, order = failed(pool, "original-1"), an_order()
    copied(sqs, "original-1")
    seen: list[UUID] = []
    send: Callable[..., Any] = sqs.send_message

    def look_and_send(**arguments: Any) -> Any:
        seen.extend(row["replay_id"] for row in record_of(pool))
        return send(**arguments)

    monkeypatch.setattr(sqs, "send_message", look_and_send)
    replayer.replay(pool, failure, order)
    assert seen == [order.replay_id]


def test_what_is_not_wanted_is_handed_back_at_once_batch_by_batch(pool, sqs, replayer):
    for number in range(25):
        copied(sqs, f"another-{number}")
    copied(sqs, "original-1")
    replayer.replay(pool, failed(pool, "original-1"), an_order())
    assert len(sqs.held(DLQ)) == 25
    assert all_visible(sqs, DLQ)
    assert [len(call["Entries"]) for call in sqs.named("change_message_visibility_batch")] == [10, 10, 5]


def test_a_long_search_hides_what_it_holds_for_longer_and_tells_of_its_progress(pool, sqs, replayer, told):
    for number in range(2_005):
        copied(sqs, f"another-{number}")
    copied(sqs, "original-1")
    replayer.replay(pool, failed(pool, "original-1"), an_order())
    assert {call["VisibilityTimeout"] for call in sqs.named("receive_message")} == {101}
    assert told == ["Looked at 1000 of about 2006 messages.", "Looked at 2000 of about 2006 messages."]


def test_what_cannot_be_handed_back_is_said(pool, sqs, replayer, told):
    copied(sqs, "another")
    copied(sqs, "original-1")
    sqs.faults["change_message_visibility_batch"].append(throttled())
    replayer.replay(pool, failed(pool, "original-1"), an_order())
    assert told == ["1 messages of payments-events-dlq stay hidden for a while longer, then come back by themselves."]


def test_a_refused_entry_of_the_hand_back_is_counted(pool, sqs, replayer, told):
    other = copied(sqs, "another")
    copied(sqs, "original-1")
    sqs.refused.add(f"{other}#1")
    replayer.replay(pool, failed(pool, "original-1"), an_order())
    assert told
    assert told[0].startswith("1 messages")


def test_looking_alone_changes_nothing(pool, sqs, replayer):
    failure = failed(pool, "original-1")
    copied(sqs, "original-1")
    with replayer.found(failure) as letter:
        assert letter.body == BODY
    assert (len(sqs.held(DLQ)), sqs.held(EVENTS)) == (1, [])
    assert all_visible(sqs, DLQ)
    assert record_of(pool) == []


def test_another_body_under_the_same_name_is_left_alone(pool, sqs, replayer):
    copied(sqs, "original-1", body="something else")
    with pytest.raises(ReplayError, match="not the one that failed"):
        replayer.replay(pool, failed(pool, "original-1"), an_order())
    assert (len(sqs.held(DLQ)), sqs.held(EVENTS)) == (1, [])
    assert all_visible(sqs, DLQ)
    assert record_of(pool) == []


def test_an_impostor_does_not_hide_the_true_one(pool, sqs, replayer):
    copied(sqs, "original-1", body="something else")
    copied(sqs, "original-1")
    replayer.replay(pool, failed(pool, "original-1"), an_order())
    assert [sent.body for sent in sqs.held(EVENTS)] == [BODY]
    assert [left.body for left in sqs.held(DLQ)] == ["something else"]


def test_a_producer_with_ten_attributes_loses_two_and_not_the_message(pool, sqs, replayer):
    message_id = sqs.put(DLQ, BODY, {f"own-{number}": text("x") for number in range(10)})
    replayer.replay(pool, failed(pool, message_id), an_order())
    [sent] = sqs.held(EVENTS)
    assert len(sent.attributes) == 10
    assert {"ReplayOf", "ReplayId"} < set(sent.attributes)


def test_a_replay_of_a_replay_names_the_newest_failure(pool, sqs, replayer):
    failure = failed(pool, "original-2")
    copied(sqs, "original-2", {"ReplayOf": text("an older failure"), "ReplayId": text("an older replay")})
    replayer.replay(pool, failure, an_order())
    assert sqs.held(EVENTS)[0].attributes["ReplayOf"] == text(str(failure.failure_id))


# ---- it is not there -------------------------------------------------------------------------------------------------


def why_not(replayer: Replayer, pool: Pool, failure: FailureView) -> str:
    with pytest.raises(ReplayError) as found:
        replayer.replay(pool, failure, an_order())
    return str(found.value)


def test_a_message_that_is_still_retried_is_not_there_yet(pool, replayer):
    said = why_not(replayer, pool, failed(pool, "original-1", outcome=Outcome.FAULT))
    assert "still being retried in its own queue, payments-events" in said
    assert record_of(pool) == []


def test_a_second_replay_is_told_when_and_by_whom_the_first_was_done(pool, sqs, replayer):
    failure = failed(pool, "original-1")
    copied(sqs, "original-1")
    replayer.replay(pool, failure, an_order())
    again = failures.find(pool, failure.failure_id)
    assert again
    said = why_not(replayer, pool, again)
    assert f"replayed at {again.replay_sent_at:%Y-%m-%d}" in said
    assert str(m.ADMIN) in said
    assert "the source is configured now" in said
    assert len(record_of(pool)) == 1


def test_a_message_that_was_handled_meanwhile_needs_no_replay(pool, replayer):
    failure = replace(failed(pool, "original-1"), handled_as=Outcome.APPLIED, handled_at=clock.now())
    assert "handled after all" in why_not(replayer, pool, failure)


def test_after_fourteen_days_it_has_expired(pool, replayer):
    failure = replace(failed(pool, "original-1"), last_failed_at=clock.now() - timedelta(days=15))
    said = why_not(replayer, pool, failure)
    assert "expired" in said
    assert "14 days" in said


def test_a_malformed_one_that_is_gone_was_taken_out_or_has_expired(pool, replayer):
    assert "somebody has taken it out" in why_not(replayer, pool, failed(pool, "original-1"))


def test_one_that_somebody_else_looks_at_is_to_be_tried_again(pool, sqs, replayer):
    failure = failed(pool, "original-1")
    copied(sqs, "original-1")
    with replayer.found(failure):
        other = Replayer(sqs, inbound_queue(sqs, Queue.EVENTS, URL + EVENTS))
        assert "somebody else is looking at 1 of them" in why_not(other, pool, failure)


# ---- trouble in the middle -------------------------------------------------------------------------------------------


def test_a_queue_that_does_not_take_it_leaves_the_dead_letter_and_an_attempt_that_was_not_sent(pool, sqs, replayer):
    failure = failed(pool, "original-1")
    copied(sqs, "original-1")
    sqs.faults["send_message"].append(throttled())
    assert "run the same command again" in why_not(replayer, pool, failure)
    assert len(sqs.held(DLQ)) == 1
    assert all_visible(sqs, DLQ)
    assert [row["sqs_message_id"] for row in record_of(pool)] == [None]
    assert [one.failure_id for one in failures.recent(pool, limit=10)] == [failure.failure_id], "it is still open"
    replayer.replay(pool, failure, an_order())
    assert failures.recent(pool, limit=10) == []


def test_a_dead_letter_that_cannot_be_deleted_is_said_and_may_be_replayed_once_more(pool, sqs, replayer, told):
    failure = failed(pool, "original-1")
    copied(sqs, "original-1")
    sqs.faults["delete_message"].append(throttled())
    assert replayer.replay(pool, failure, an_order()).left_over
    assert "would end as a duplicate" in told[0]
    assert all_visible(sqs, DLQ)
    assert not replayer.replay(pool, failure, an_order()).left_over
    assert len(sqs.held(EVENTS)) == 2


def test_without_a_record_nothing_is_sent(pool, sqs, replayer, monkeypatch):
    failure = failed(pool, "original-1")
    copied(sqs, "original-1")

    def away(*_: Any) -> None:
        raise Transient(TransientReason.CONNECTION, None)

    monkeypatch.setattr(failures, "begin_replay", away)
    with pytest.raises(Transient):
        replayer.replay(pool, failure, an_order())
    assert (len(sqs.held(DLQ)), sqs.held(EVENTS)) == (1, [])
    assert all_visible(sqs, DLQ)


def test_a_database_that_goes_away_after_sending_does_not_bring_the_message_back(
    pool, sqs, replayer, told, monkeypatch
):
    failure = failed(pool, "original-1")
    copied(sqs, "original-1")

    def away(*_: Any) -> None:
        raise Transient(TransientReason.CONNECTION, None)

    monkeypatch.setattr(failures, "replay_sent", away)
    replayer.replay(pool, failure, an_order())
    assert (sqs.held(DLQ), len(sqs.held(EVENTS))) == ([], 1)
    assert "did not take note" in told[0]


def test_a_stop_ends_the_search_and_hands_everything_back(pool, sqs):
    stop = Event()
    stop.set()
    replayer = Replayer(sqs, inbound_queue(sqs, Queue.EVENTS, URL + EVENTS), stop=stop)
    copied(sqs, "another")
    with pytest.raises(StoppedError):
        replayer.replay(pool, failed(pool, "original-1"), an_order())
    assert all_visible(sqs, DLQ)


def test_a_search_that_would_lose_what_it_holds_is_given_up(pool, sqs, replayer, monkeypatch):
    for number in range(20):
        copied(sqs, f"another-{number}")
    times = iter([0.0, 10.0, 49.0])
    monkeypatch.setattr(clock, "monotonic", lambda: next(times))
    said = why_not(replayer, pool, failed(pool, "original-1"))
    assert said.startswith("The search was given up after 20 of about 20 messages")
    assert all_visible(sqs, DLQ)


def test_it_asks_of_the_queues_what_the_template_lets_operators_do(pool, sqs, told):
    copied(sqs, "another")
    copied(sqs, "original-1")
    replayer = Replayer(sqs, inbound_queue(sqs, Queue.EVENTS, URL + EVENTS), say=told.append)
    replayer.replay(pool, failed(pool, "original-1"), an_order())
    asked = {(arguments.get("QueueUrl", URL + DLQ).removeprefix(URL), name) for name, arguments in sqs.calls}
    assert asked == {
        (EVENTS, "get_queue_attributes"),
        (EVENTS, "send_message"),
        (DLQ, "get_queue_url"),
        (DLQ, "get_queue_attributes"),
        (DLQ, "receive_message"),
        (DLQ, "change_message_visibility_batch"),
        (DLQ, "delete_message"),
    }
