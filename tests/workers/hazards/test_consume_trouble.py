"""When even the record of a failure cannot be written: the message stays, is counted once, and is logged once."""

from typing import Any

import psycopg
import pytest
import structlog

from contracts.envelope import Queue
from contracts.outcome import Outcome
from contracts.payment import Role
from handlers.decision import Rules
from store import failures
from store.db import Pool, StoreFault, Transient, TransientReason
from tests.kit import messages as m
from tests.kit.funnel import rows
from tests.kit.proofs import SENDER, SENDERS, TRUST, member, signed
from tests.kit.providers import nobody
from workers import clock
from workers.consume import LAST_RECEIVES, MessageHandler
from workers.delivery import Delivery, InboundQueue, Settlement
from workers.metrics import Metrics

CANARY = "canary-8675309"
EARLY = m.body(signed(m.command("ApprovePayment", paymentId=str(m.INCIDENT), notes=CANARY)))


def deliver(body: str, queue: Queue = Queue.EVENTS, *, receives: int = 1) -> Delivery:
    raw: Any = {
        "MessageId": "sqs-1",
        "ReceiptHandle": "receipt",
        "Body": body,
        "Attributes": {
            "SentTimestamp": str(int(clock.now().timestamp() * 1000)),
            "ApproximateReceiveCount": str(receives),
            "SenderId": SENDER,
        },
    }
    return Delivery(InboundQueue(queue, "url", "dlq"), raw)


def make(pool: Pool, metrics: Metrics | None = None) -> MessageHandler:
    return MessageHandler(pool, nobody(pool), Rules(provider="none", senders=SENDERS), TRUST, metrics or Metrics())


def refuse_records(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(failures, "record", refuse)


def processed(metrics: Metrics) -> dict[str, float]:
    """How often each outcome was counted, where it was."""
    counted: dict[str, float] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name == "payments_messages_processed_total" and sample.value:
                counted[sample.labels["outcome"]] = sample.value
    return counted


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (StoreFault(psycopg.errors.CheckViolation(CANARY)), Outcome.FAULT),
        (Transient(TransientReason.TIMEOUT, "57014"), Outcome.RETRY),
    ],
)
def test_a_malformed_body_that_cannot_be_recorded_is_not_dead_lettered(pool: Pool, monkeypatch, error, outcome):
    refuse_records(monkeypatch, error)
    metrics, delivery = Metrics(), deliver(f"rubbish {CANARY}")
    with structlog.testing.capture_logs() as logs:
        assert make(pool, metrics).handle(delivery) is outcome
    assert delivery.settlement is Settlement.RETRY
    assert [log["event"] for log in logs].count("message") == 1
    assert processed(metrics) == {str(outcome): 1}
    assert CANARY not in str(logs)


@pytest.mark.parametrize(
    "error", [StoreFault(psycopg.errors.CheckViolation(CANARY)), Transient(TransientReason.CONNECTION, None)]
)
def test_a_reason_that_cannot_be_kept_changes_nothing_for_its_message(pool: Pool, monkeypatch, error):
    member(pool, m.DISPATCHER, Role.DISPATCHER, company=m.COMPANY)
    refuse_records(monkeypatch, error)
    metrics, delivery = Metrics(), deliver(EARLY, Queue.COMMANDS, receives=LAST_RECEIVES)
    assert make(pool, metrics).handle(delivery) is Outcome.RETRY
    assert (delivery.settlement, delivery.reason) == (Settlement.RETRY, "not_yet")
    assert processed(metrics) == {"retry": 1}


def test_a_fault_that_cannot_be_recorded_is_still_one_event_and_keeps_its_message(pool: Pool, monkeypatch):
    refuse_records(monkeypatch, RuntimeError(CANARY))
    monkeypatch.setattr("workers.consume.process", lambda *_: 1 // 0)
    metrics, delivery = Metrics(), deliver(m.body(m.work(notes=CANARY)))
    with structlog.testing.capture_logs() as logs:
        assert make(pool, metrics).handle(delivery) is Outcome.FAULT
    assert delivery.settlement is Settlement.RETRY
    assert [log["event"] for log in logs] == ["fault", "failure not recorded", "message"]
    assert processed(metrics) == {"fault": 1}
    assert CANARY not in str(logs)


def test_before_its_last_receives_a_retry_leaves_no_row(pool: Pool):
    member(pool, m.DISPATCHER, Role.DISPATCHER, company=m.COMPANY)
    make(pool).handle(deliver(EARLY, Queue.COMMANDS, receives=LAST_RECEIVES - 1))
    assert rows(pool, "SELECT 1 FROM message_failures") == []
    make(pool).handle(deliver(EARLY, Queue.COMMANDS, receives=LAST_RECEIVES))
    [row] = rows(pool, "SELECT * FROM message_failures")
    assert (row["outcome"], row["reason"], row["kind"]) == ("retry", "not_yet", "ApprovePayment")
    assert CANARY not in str(row)


def test_every_log_line_of_a_message_says_which_queue_and_message_it_is_about(pool: Pool):
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        make(pool).handle(deliver(m.body(m.work())))
    assert [(log["queue"], log["message_id"]) for log in logs] == [("payments-events", "sqs-1")]
    assert structlog.contextvars.get_contextvars() == {}, "the next message of this thread is another one"


@pytest.mark.parametrize(
    "body", ["", "null", "[]", '"text"', "{}", '{"detail-type": 7}', "\ud800", '{"type": "\\u0000"}', "[" * 100_000]
)
def test_no_body_whatever_ends_in_a_fault(pool: Pool, body: str):
    delivery = deliver(body)
    assert make(pool).handle(delivery) is Outcome.INVALID
    assert delivery.settlement is Settlement.DEAD_LETTER
