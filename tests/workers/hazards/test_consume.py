"""The seven ends of a message: outcome, settlement, rows, one log event, and never its body."""

import dataclasses
import json
import threading
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
import structlog

from contracts.envelope import Malformed, Queue
from contracts.outcome import Outcome
from contracts.provider import Accepted, Answer, LookUp, NotFound, PayoutOrder, TryLater
from handlers.decision import Rules
from handlers.decisions import work_completed
from handlers.routes import ROUTES
from store import db, failures
from store.db import Pool, PoolOptions
from store.failures import Failure
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import rows
from tests.kit.proofs import SENDER, SENDERS, TRUST, enrol, signed
from tests.kit.providers import FakeProvider
from workers import clock
from workers.consume import MessageHandler
from workers.delivery import Delivery, InboundQueue, Settlement
from workers.metrics import Metrics
from workers.payouts import Asker

CANARY = "canary-8675309"
OPERATOR = "AROAOPERATOR"
FAILED = Failure(
    queue=Queue.PAYOUTS,
    sqs_message_id="sqs-0",
    kind="ExecutePayout",
    message_key="own:1",
    outcome=Outcome.FAULT,
    reason="Test",
    detail="",
    body_bytes=1,
    body_digest=bytes(32),
    sender=SENDER,
    first_sent_at=m.NOW,
)
KEYS = {"queue", "message_id", "message_type", "receive_count", "outcome", "duration_ms", "critical_ms", "log_level"}


class ScriptedProvider(FakeProvider):
    """A provider that answers as it was told to, and remembers what it was asked."""

    name = "sandbox"

    def __init__(self, found: LookUp | None = None, answer: Answer | None = None) -> None:
        self._found = found or NotFound()
        self._answer = answer or Accepted("tr_scripted")
        self.asked: list[str] = []

    def look_up(self, order: PayoutOrder) -> LookUp:
        self.asked.append(f"look_up {order.attempt_no}")
        return self._found

    def submit(self, order: PayoutOrder) -> Answer:
        self.asked.append(f"submit {order.idempotency_key}")
        return self._answer


@dataclasses.dataclass
class Desk:
    """A handler with everything around it that a test wants to look at."""

    pool: Pool
    provider: ScriptedProvider
    metrics: Metrics
    handler: MessageHandler
    commits: list[int]

    def take(
        self,
        body: str,
        queue: Queue = Queue.EVENTS,
        *,
        sent_at: datetime | None = None,
        receives: int = 2,
        sender: str = SENDER,
    ) -> Delivery:
        """Handle a body as it would come from a queue; return the delivery with its settlement."""
        at = sent_at or datetime.now(UTC)
        body = self._sent(body, queue)
        raw: Any = {
            "MessageId": "sqs-1",
            "ReceiptHandle": "receipt",
            "Body": body,
            "Attributes": {
                "SentTimestamp": str(int(at.timestamp() * 1000)),
                "ApproximateReceiveCount": str(receives),
                "SenderId": sender,
            },
        }
        delivery = Delivery(InboundQueue(queue, "url", "dlq"), raw)
        delivery.outcome = self.handler.handle(delivery)  # type: ignore[attr-defined]
        return delivery

    def _sent(self, body: str, queue: Queue) -> str:
        """A command as its actor would send it: with a token, and as the member that it says."""
        try:
            message = m.parsed(json.loads(body), queue=queue).message
        except (ValueError, Malformed, AttributeError):
            return body
        enrol(self.pool, message)
        return json.dumps(signed(json.loads(body))) if queue is Queue.COMMANDS else body


@pytest.fixture
def desk(pool: Pool) -> Desk:
    return make_desk(pool)


def make_desk(pool: Pool, provider: ScriptedProvider | None = None) -> Desk:
    found = provider or ScriptedProvider()
    metrics, commits = Metrics(), []
    rules = Rules(provider="sandbox", senders=dataclasses.replace(SENDERS, operators=frozenset({OPERATOR})))
    handler = MessageHandler(pool, Asker(pool, found), rules, TRUST, metrics, committed=lambda: commits.append(1))
    return Desk(pool, found, metrics, handler, commits)


def processing(desk: Desk) -> str:
    """Bring a payment to its payout; return the body of the order to execute it."""
    desk.take(m.body(m.work()))
    [payment] = rows(desk.pool, "SELECT payment_id FROM payments")
    desk.take(json.dumps(m.command("ApprovePayment", paymentId=str(payment["payment_id"]))), Queue.COMMANDS)
    desk.take(json.dumps(posted(desk.pool, "ProcessPayment")), Queue.PAYOUTS)
    return json.dumps(posted(desk.pool, "ExecutePayout"))


def posted(pool: Pool, kind: str) -> dict:
    return rows(pool, "SELECT payload FROM outbox WHERE detail_type = %s", kind)[0]["payload"]


def ended(delivery: Delivery) -> tuple[Outcome, Settlement]:
    return delivery.outcome, delivery.settlement


def test_applied_is_deleted_and_wakes_the_relay(desk: Desk):
    assert ended(desk.take(m.body(m.work()))) == (Outcome.APPLIED, Settlement.DELETE)
    assert desk.commits == [1]


def test_d9_a_repetition_is_a_duplicate_and_deleted(desk: Desk):
    desk.take(m.body(m.work()))
    assert ended(desk.take(m.body(m.work()))) == (Outcome.DUPLICATE, Settlement.DELETE)
    assert desk.commits == [1], "nothing was written, nobody needs to be woken"


def test_d5_the_same_work_under_another_key_is_ignored_and_deleted(desk: Desk):
    desk.take(m.body(m.work()))
    assert ended(desk.take(m.body(m.work(eventId="other")))) == (Outcome.IGNORED, Settlement.DELETE)


def test_a_broken_business_rule_is_refused_and_deleted(desk: Desk):
    delivery = desk.take(m.body(m.work(lineItems=...)))
    assert ended(delivery) == (Outcome.REFUSED, Settlement.DELETE)
    assert posted(desk.pool, "WorkCompletedRejected")["code"] == "missing_pricing"


def test_p10_a_command_that_overtakes_its_payment_comes_back(desk: Desk):
    early = json.dumps(m.command("ApprovePayment", paymentId=str(m.INCIDENT)))
    delivery = desk.take(early, Queue.COMMANDS)
    assert ended(delivery) == (Outcome.RETRY, Settlement.RETRY)
    assert delivery.reason == "not_yet"


def test_p10_an_order_that_overtakes_its_approval_is_refused_and_pays_nothing(desk: Desk):
    desk.take(m.body(m.work()))
    payment_id = posted(desk.pool, "PaymentCreated")["paymentId"]
    early = json.dumps(m.command("ProcessPayment", paymentId=payment_id))
    delivery = desk.take(early, Queue.PAYOUTS)
    assert (ended(delivery), delivery.reason) == ((Outcome.REFUSED, Settlement.DELETE), "illegal_transition")
    assert rows(desk.pool, "SELECT 1 FROM payout_attempts") == []


def test_who_waits_for_a_payment_is_answered_when_the_time_is_over(desk: Desk):
    early = json.dumps(m.command("ApprovePayment", paymentId=str(m.INCIDENT)))
    delivery = desk.take(early, Queue.COMMANDS, sent_at=datetime.now(UTC) - timedelta(seconds=100))
    assert delivery.reason == "not_yet"
    assert 1 <= delivery.delay_max_s <= 21
    late = desk.take(early, Queue.COMMANDS, sent_at=datetime.now(UTC) - timedelta(seconds=121))
    assert ended(late) == (Outcome.REFUSED, Settlement.DELETE)


def test_a_wrong_clock_of_the_host_does_not_use_up_the_receives_of_who_waits(desk: Desk, monkeypatch):
    right = clock.now
    monkeypatch.setattr(clock, "now", lambda: right() + timedelta(minutes=10))
    early = json.dumps(m.command("ApprovePayment", paymentId=str(m.INCIDENT)))
    delivery = desk.take(early, Queue.COMMANDS, sent_at=datetime.now(UTC))
    assert delivery.reason == "not_yet"
    assert 100 <= delivery.delay_max_s <= 121, "the database's clock decides when the time is over"


def test_a_message_on_its_last_receives_leaves_its_reason(desk: Desk):
    early = json.dumps(m.command("ApprovePayment", paymentId=str(m.INCIDENT)))
    desk.take(early, Queue.COMMANDS, receives=8)
    assert rows(desk.pool, "SELECT 1 FROM message_failures") == []
    desk.take(early, Queue.COMMANDS, receives=9)
    [failure] = rows(desk.pool, "SELECT outcome, reason, kind FROM message_failures")
    assert failure == {"outcome": "retry", "reason": "not_yet", "kind": "ApprovePayment"}


def test_a_database_that_is_away_leaves_the_message_alone():
    nowhere = db.open_pool("host=127.0.0.1 port=1 dbname=nowhere", PoolOptions(size_min=0, wait_s=0.1))
    try:
        delivery = make_desk(nowhere).take(m.body(m.work()))
        assert ended(delivery) == (Outcome.RETRY, Settlement.RETRY)
        assert delivery.reason == "transient_connection"
        invalid = make_desk(nowhere).take("rubbish")
        assert ended(invalid) == (Outcome.RETRY, Settlement.RETRY), "no dead letter without its row"
    finally:
        nowhere.close()


def test_a_lock_that_cannot_be_had_in_time_comes_back(database_url: str, desk: Desk):
    desk.take(m.body(m.work()))
    hurried = db.open_pool(database_url, PoolOptions(size_min=1, lock_s=0.1))
    approval = json.dumps(
        m.command("ApprovePayment", paymentId=str(rows(desk.pool, "SELECT * FROM payments")[0]["payment_id"]))
    )
    try:
        with db.transaction(desk.pool) as tx:
            tx.ask("SELECT 1 FROM payments FOR UPDATE", {}).value()
            delivery = make_desk(hurried).take(approval, Queue.COMMANDS)
        assert ended(delivery) == (Outcome.RETRY, Settlement.RETRY)
        assert delivery.reason == "transient_timeout"
        assert ended(make_desk(hurried).take(approval, Queue.COMMANDS)) == (Outcome.APPLIED, Settlement.DELETE)
    finally:
        hurried.close()


def test_a_busy_provider_lets_the_order_come_back(pool: Pool):
    order = processing(make_desk(pool))
    busy = make_desk(pool, ScriptedProvider(answer=TryLater("429")))
    assert ended(busy.take(order, Queue.PAYOUTS)) == (Outcome.RETRY, Settlement.RETRY)
    [attempt] = rows(pool, "SELECT state FROM payout_attempts")
    assert attempt["state"] == "ready"


@pytest.mark.parametrize(
    ("body", "queue", "reason"),
    [
        ("rubbish " + CANARY, Queue.EVENTS, "not_json"),
        (json.dumps({"type": CANARY}), Queue.COMMANDS, "unknown_kind"),
        (m.body(m.work(vendorId=7, notes=CANARY)), Queue.EVENTS, "schema"),
    ],
)
def test_p1_a_malformed_body_is_recorded_and_dead_lettered_with_its_reason(desk: Desk, body, queue, reason):
    delivery = desk.take(body, queue)
    assert ended(delivery) == (Outcome.INVALID, Settlement.DEAD_LETTER)
    assert delivery.reason == reason
    [failure] = rows(desk.pool, "SELECT * FROM message_failures")
    assert (failure["outcome"], failure["reason"], failure["message_key"]) == ("invalid", reason, "sqs:sqs-1")
    assert failure["body_bytes"] == len(body)
    assert CANARY not in str(failure)
    assert rows(desk.pool, "SELECT 1 FROM message_inbox") == []


@pytest.mark.parametrize(
    ("body", "queue", "reason"),
    [
        (json.dumps(m.envelope(m.work(), **{"detail-type": "WorkBegun"})), Queue.EVENTS, "unknown_kind"),
        (json.dumps(m.command("PayMe")), Queue.COMMANDS, "unknown_kind"),
        (m.body(m.work(version="2.0")), Queue.EVENTS, "unknown_version"),
        (m.body(m.work()), Queue.COMMANDS, "wrong_queue"),
        (json.dumps(m.command("ExecutePayout", attemptId=str(m.EVENT))), Queue.COMMANDS, "wrong_queue"),
    ],
    ids=["unknown event", "unknown command", "unknown version", "event on the wrong queue", "order of a stranger"],
)
def test_p3_what_this_release_does_not_know_is_kept_as_a_dead_letter_at_once(desk: Desk, body, queue, reason):
    delivery = desk.take(body, queue, receives=1)
    assert (ended(delivery), delivery.reason) == ((Outcome.INVALID, Settlement.DEAD_LETTER), reason)
    assert delivery.body == body, "a release that knows it can be given it"
    assert rows(desk.pool, "SELECT reason FROM message_failures") == [{"reason": reason}]


def test_p4_a_bug_keeps_the_message_and_is_recorded_by_class_and_place(desk: Desk, monkeypatch):
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError(CANARY)

    kind = type(m.parsed(m.work()).message)
    monkeypatch.setitem(ROUTES, kind, dataclasses.replace(ROUTES[kind], decide=broken))
    with structlog.testing.capture_logs() as logs:
        delivery = desk.take(m.body(m.work()))
    assert ended(delivery) == (Outcome.FAULT, Settlement.RETRY)
    [failure] = rows(desk.pool, "SELECT * FROM message_failures")
    assert (failure["outcome"], failure["reason"]) == ("fault", "ZeroDivisionError")
    assert failure["detail"].startswith("hazards/test_consume.py:")
    assert CANARY not in str(logs) + str(failure)
    assert rows(desk.pool, "SELECT 1 FROM message_inbox") == [], "rolled back"
    desk.take(m.body(m.work()))
    assert rows(desk.pool, "SELECT attempts FROM message_failures") == [{"attempts": 2}]
    monkeypatch.undo()
    assert work_completed.decide is ROUTES[kind].decide
    assert ended(desk.take(m.body(m.work()))) == (Outcome.APPLIED, Settlement.DELETE)


def test_each_message_is_one_log_event_without_a_word_of_its_body(desk: Desk):
    line = [{"description": CANARY, "unitPriceCents": 100}]
    with structlog.testing.capture_logs() as logs:
        desk.take(m.body(m.work(notes=CANARY, lineItems=line)))
    [event] = logs
    assert event["event"] == "message"
    assert set(event) >= KEYS - {"queue", "message_id"}, "queue and message id come from the context"
    assert event["outcome"] == "applied"
    assert event["receive_count"] == 2
    assert CANARY not in str(logs)


def test_o3_an_outcome_is_counted_under_its_queue_and_kind(desk: Desk):
    desk.take(m.body(m.work()), sent_at=datetime.now(UTC) - timedelta(seconds=100))
    desk.take(m.body(m.work()))
    desk.take("rubbish")
    value = desk.metrics.registry.get_sample_value
    labels = {"queue": "payments-events", "message_type": "WorkCompleted", "outcome": "applied"}
    assert value("payments_messages_processed_total", labels) == 1
    assert value("payments_message_critical_time_seconds_count", labels) == 1
    assert (value("payments_message_critical_time_seconds_sum", labels) or 0) >= 100, "since it was first sent"
    assert value("payments_messages_processed_total", labels | {"outcome": "duplicate"}) == 1
    unread = {"queue": "payments-events", "message_type": "none", "outcome": "invalid"}
    assert value("payments_messages_processed_total", unread) == 1


def test_o6_a_conversation_keeps_its_id_over_every_hop_and_each_message_names_its_cause(desk: Desk):
    desk.take(m.body(m.work(correlationId="call-4711")))
    created = posted(desk.pool, "PaymentCreated")
    assert (created["correlationId"], created["causationId"]) == ("call-4711", str(m.EVENT))
    approval = m.command("ApprovePayment", paymentId=created["paymentId"], correlationId="call-4711")
    desk.take(json.dumps(approval), Queue.COMMANDS)
    cause = approval["commandId"]
    for order, event in (("ProcessPayment", "PaymentProcessing"), ("ExecutePayout", "PaymentCompleted")):
        hop = posted(desk.pool, order)
        assert hop["correlationId"] == "call-4711"
        assert ended(desk.take(json.dumps(hop), Queue.PAYOUTS)) == (Outcome.APPLIED, Settlement.DELETE)
        told = posted(desk.pool, event)
        assert (told["correlationId"], told["causationId"]) == ("call-4711", hop["commandId"])
        assert hop["commandId"] != cause
        cause = hop["commandId"]


def test_the_provider_is_looked_at_before_every_submission(pool: Pool):
    desk = make_desk(pool)
    order = processing(desk)
    assert ended(desk.take(order, Queue.PAYOUTS)) == (Outcome.APPLIED, Settlement.DELETE)
    key = rows(pool, "SELECT idempotency_key FROM payout_attempts")[0]["idempotency_key"]
    assert desk.provider.asked == ["look_up 1", f"submit {key}"]


def test_what_the_provider_already_has_is_recorded_and_not_submitted(pool: Pool):
    order = processing(make_desk(pool))
    desk = make_desk(pool, ScriptedProvider(found=Accepted("tr_before_the_crash")))
    assert ended(desk.take(order, Queue.PAYOUTS)) == (Outcome.APPLIED, Settlement.DELETE)
    assert desk.provider.asked == ["look_up 1"]
    assert posted(pool, "PaymentCompleted")["providerObjectId"] == "tr_before_the_crash"


def test_past_its_window_an_attempt_is_looked_up_but_never_submitted(pool: Pool):
    order = processing(make_desk(pool))
    forge(pool, "UPDATE payout_attempts SET submit_before = now() - interval '1 second'")
    desk = make_desk(pool)
    assert ended(desk.take(order, Queue.PAYOUTS)) == (Outcome.APPLIED, Settlement.DELETE)
    assert desk.provider.asked == ["look_up 1"]
    [attempt] = rows(pool, "SELECT state FROM payout_attempts")
    assert attempt["state"] == "unknown"


def test_a_resolved_attempt_is_not_asked_about_again(pool: Pool):
    desk = make_desk(pool)
    order = processing(desk)
    desk.take(order, Queue.PAYOUTS)
    again = json.loads(order) | {"commandId": str(m.INCIDENT)}
    before = list(desk.provider.asked)
    assert ended(desk.take(json.dumps(again), Queue.PAYOUTS)) == (Outcome.IGNORED, Settlement.DELETE)
    assert desk.provider.asked == before


def test_the_same_order_in_eight_threads_at_once_pays_once(pool: Pool):
    order = processing(make_desk(pool))
    start = threading.Barrier(8)
    ends: list[Outcome] = []

    def take() -> None:
        desk = make_desk(pool)
        start.wait()
        ends.append(desk.take(order, Queue.PAYOUTS).outcome)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends.count(Outcome.APPLIED) == 1
    assert set(ends) <= {Outcome.APPLIED, Outcome.DUPLICATE, Outcome.IGNORED, Outcome.RETRY}
    assert rows(pool, "SELECT state FROM payout_attempts") == [{"state": "succeeded"}]
    assert len(rows(pool, "SELECT 1 FROM outbox WHERE detail_type = 'PaymentCompleted'")) == 1


def test_an_operators_payout_that_is_not_on_record_does_not_reach_the_provider(desk: Desk):
    body = processing(desk)
    assert ended(desk.take(body, Queue.PAYOUTS, sender=OPERATOR)) == (Outcome.REFUSED, Settlement.DELETE)
    assert desk.provider.asked == []
    failures.record(desk.pool, dataclasses.replace(FAILED, body_digest=sha256(body.encode()).digest()))
    [failure] = failures.recent(desk.pool, limit=1)
    assert ended(desk.take(body, Queue.PAYOUTS, sender=OPERATOR))[0] is Outcome.DUPLICATE, "the same message once more"
    failures.begin_replay(desk.pool, uuid4(), failure.failure_id, uuid4(), "the provider is back")
    assert desk.provider.asked == []
    assert ended(desk.take(body, Queue.PAYOUTS, sender=OPERATOR))[0] is Outcome.APPLIED
    assert [asked.split()[0] for asked in desk.provider.asked] == ["look_up", "submit"]
