"""Every bad input through the real queues: refused with its code and event, or dead-lettered with its reason; no worse.

The whole table is sent at once to one worker. Afterwards each row is looked at by itself, and the fleet as a whole.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.journey.bad_input import (
    TABLE,
    Accepted,
    Case,
    Duplicate,
    Ignored,
    Invalid,
    Known,
    Refused,
    Row,
    creation,
    detail,
    envelope,
)
from tests.journey.main_road import Journey, travel, until
from tests.journey.running import Local, get, local, outcomes
from tests.kit.people import People

QUEUES = ("events", "commands", "payouts")
INVALID = [row for row in TABLE if isinstance(row.end, Invalid)]
REFUSED = [row for row in TABLE if isinstance(row.end, Refused)]
ACCEPTED = [row for row in TABLE if isinstance(row.end, Accepted)]


@dataclass
class Sent:
    """What was sent, and what was found when all of it was settled."""

    running: Local
    journey: Journey
    known: Known
    people: People
    cases: dict[str, Case] = field(default_factory=dict)
    bodies: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    dead: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the original's id
    announced: set[str] = field(default_factory=set)  # event ids that came over the bus
    roles: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    def key(self, row: Row) -> str:
        case = self.cases[row.name]
        if row.key:
            return row.key(case, self.known)
        return case.event if row.queue == "events" else case.command

    def send(self, row: Row) -> None:
        case = self.cases[row.name] = Case()
        body = row.body(case, self.known)
        self.bodies[row.name] = self.people.text(body) if row.queue == "commands" else body
        answer = self.journey.sqs.send_message(
            QueueUrl=self.running.stack["queues"][row.queue], MessageBody=self.bodies[row.name]
        )
        self.ids[row.name] = answer["MessageId"]

    def settled(self) -> bool:
        return all(self.journey.left_in(queue) == 0 for queue in QUEUES) and not self.journey.query(
            "SELECT 1 FROM outbox WHERE published_at IS NULL AND failed_at IS NULL"
        )

    def take_dead_letters(self) -> None:
        """Empty the dead-letter queues into `dead`."""
        sqs = self.journey.sqs
        for queue in QUEUES:
            url = self.running.stack["queues"][f"{queue}_dlq"]
            while received := sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            ).get("Messages"):
                for message in received:
                    notes = message["MessageAttributes"]
                    self.dead[notes["OriginalMessageId"]["StringValue"]] = {
                        "queue": queue,
                        "body": message["Body"],
                        "notes": {name: note["StringValue"] for name, note in notes.items()},
                    }
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def hear(self, url: str) -> None:
        """Take in what has come over the bus."""
        while received := self.journey.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            self.announced |= {json.loads(message["Body"])["detail"]["eventId"] for message in received}
            for message in received:
                self.journey.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def prepared(journey: Journey, people: People) -> Known:
    """Let one job be finished and one payment be created by hand, and wait for both."""
    work, creator = Case(), Case()
    queues = journey.stack["queues"]
    journey.sqs.send_message(QueueUrl=queues["events"], MessageBody=envelope(detail(work)))
    journey.sqs.send_message(QueueUrl=queues["commands"], MessageBody=json.dumps(people.signed(creation(creator))))
    found: dict[str, str] = {}

    def there() -> bool:
        rows = journey.query(
            "SELECT incident_id::text AS incident, payment_id::text AS payment FROM payments"
            " WHERE incident_id IN (%s, %s)",
            work.incident,
            creator.incident,
        )
        found.update((row["incident"], row["payment"]) for row in rows)
        return len(found) == 2

    until("the two payments", there)
    return Known(work, found[work.incident], creator, found[creator.incident])


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    with local(tmp_path_factory.mktemp("local")) as running:
        journey = Journey(running.stack)
        with journey.watching() as watcher:
            people = People(running.stack["token_keys_file"], running.stack["database_url"])
            sent = Sent(running, journey, prepared(journey, people), people, roles=running.roles())
            began = time.monotonic()
            for row in TABLE:
                sent.send(row)
            until("everything to be settled", sent.settled)
            sent.seconds = time.monotonic() - began
            sent.take_dead_letters()
            sent.hear(watcher)
        yield sent


def test_the_table_is_long_and_every_row_has_a_name_of_its_own():
    assert len(TABLE) >= 60
    assert len({row.name for row in TABLE}) == len(TABLE)
    assert {row.queue for row in TABLE} == set(QUEUES)


@pytest.mark.stack
@pytest.mark.parametrize("row", INVALID, ids=[row.name for row in INVALID])
def test_what_can_never_be_read_is_dead_lettered_with_its_reason(sent: Sent, row: Row):
    assert isinstance(row.end, Invalid)
    assert sent.ids[row.name] in sent.dead, "not in its dead-letter queue"
    letter = sent.dead[sent.ids[row.name]]
    assert letter["body"] == sent.bodies[row.name]
    assert letter["queue"] == row.queue
    assert (letter["notes"]["Reason"], letter["notes"]["OriginalQueue"]) == (row.end.reason, f"payments-{row.queue}")
    [failure] = sent.journey.query("SELECT * FROM message_failures WHERE sqs_message_id = %s", sent.ids[row.name])
    assert (failure["queue"], failure["outcome"]) == (f"payments-{row.queue}", "invalid")
    assert (failure["reason"], failure["attempts"]) == (row.end.reason, 1)
    body = sent.bodies[row.name].encode()
    assert (failure["body_bytes"], failure["body_digest"]) == (len(body), sha256(body).digest())


@pytest.mark.stack
@pytest.mark.parametrize("row", REFUSED, ids=[row.name for row in REFUSED])
def test_what_breaks_a_rule_is_refused_with_its_code_and_its_sender_is_told(sent: Sent, row: Row):
    assert isinstance(row.end, Refused)
    key, conflict = sent.key(row), row.end.code == "payload_conflict"
    kind = "PaymentConflictDetected" if conflict else _rejection(row)
    told = sent.journey.query(
        "SELECT payload, published_at, failed_at FROM outbox WHERE detail_type = %s AND payload->>'causationId' = %s",
        kind,
        key,
    )
    assert len(told) == 1, "exactly one event tells the sender"
    event = told[0]["payload"]
    assert (event["code"], event.get("field")) == (row.end.code, row.end.field)
    assert event["message"]
    assert (told[0]["published_at"] is not None, told[0]["failed_at"]) == (True, None)
    assert event["eventId"] in sent.announced, "it came over the bus"
    if row.key is None:  # a known key keeps the inbox row of its first message
        # Who proves nothing does not use up the key, and the service's own keys lie apart.
        keys = [key, f"own:{key}", f"turned-away:{sent.ids[row.name]}"]
        [known] = sent.journey.query(
            "SELECT outcome, outcome_code FROM message_inbox WHERE message_key = ANY(%s)", keys
        )
        assert known == {"outcome": "refused", "outcome_code": row.end.code}
    assert sent.ids[row.name] not in sent.dead


def _rejection(row: Row) -> str:
    return "WorkCompletedRejected" if row.queue == "events" else "PaymentCommandRejected"


@pytest.mark.stack
@pytest.mark.parametrize("row", ACCEPTED, ids=[row.name for row in ACCEPTED])
def test_what_only_looks_wrong_makes_its_payment(sent: Sent, row: Row):
    assert isinstance(row.end, Accepted)
    [known] = sent.journey.query("SELECT outcome, payment_id FROM message_inbox WHERE message_key = %s", sent.key(row))
    assert known["outcome"] == "applied"
    [payment] = sent.journey.query(
        "SELECT amount_cents, currency, status FROM payments WHERE payment_id = %s", known["payment_id"]
    )
    assert payment == {
        "amount_cents": row.end.amount_cents,
        "currency": row.end.currency,
        "status": "pending_approval",
    }


@pytest.mark.stack
def test_the_same_work_under_another_id_is_ignored_and_under_the_same_one_a_duplicate(sent: Sent):
    [ignored] = [row for row in TABLE if isinstance(row.end, Ignored)]
    [known] = sent.journey.query("SELECT outcome FROM message_inbox WHERE message_key = %s", sent.key(ignored))
    assert known["outcome"] == "ignored"
    [duplicate] = [row for row in TABLE if isinstance(row.end, Duplicate)]
    [first] = sent.journey.query("SELECT outcome FROM message_inbox WHERE message_key = %s", sent.key(duplicate))
    assert first["outcome"] == "applied"


@pytest.mark.stack
def test_the_known_payments_are_as_they_were(sent: Sent):
    found = sent.journey.query(
        "SELECT status, version, amount_cents, currency FROM payments WHERE payment_id = ANY(%s::uuid[])",
        [sent.known.payment_id, sent.known.created_id],
    )
    assert found == [{"status": "pending_approval", "version": 1, "amount_cents": 15_000, "currency": "USD"}] * 2


@pytest.mark.stack
def test_nothing_else_came_of_it(sent: Sent):
    assert len(sent.dead) == len(INVALID)
    failures = sent.journey.query("SELECT outcome FROM message_failures")
    assert [failure["outcome"] for failure in failures] == ["invalid"] * len(INVALID), "no fault, no exhausted retry"
    [payments] = sent.journey.query("SELECT count(*) AS count FROM payments WHERE source_key LIKE %s", "work:%")
    travelled = sent.journey.query("SELECT 1 FROM payments WHERE status = 'completed'")
    assert payments["count"] - len(travelled) == len(ACCEPTED) + 1
    assert sent.journey.query("SELECT 1 FROM outbox WHERE failed_at IS NOT NULL") == []


@pytest.mark.stack
def test_every_invalid_and_every_refused_message_is_counted_once(sent: Sent):
    counted = outcomes(get(f"{sent.running.url_of('worker-1')}/metrics"))
    assert counted["invalid"] == len(INVALID)
    assert counted["refused"] == len(REFUSED)
    assert counted["fault"] == 0


@pytest.mark.stack
def test_no_process_died_and_all_of_them_are_well(sent: Sent):
    assert sorted(sent.roles.values()) == ["monitor", "provider", "relay", "status", "worker"]
    assert sent.running.roles() == sent.roles, "the same processes as before"
    assert sent.running.process.poll() is None
    for url in (*(sent.running.url_of(member) for member in ("worker-1", "relay")), sent.running.stack["status_url"]):
        assert json.loads(get(f"{url}/health"))["status"] == "ok"


@pytest.mark.stack
def test_no_log_holds_a_word_of_any_body(sent: Sent):
    canaries = {case.canary for case in sent.cases.values()}
    logs = sorted(sent.running.logs.glob("*.log"))
    assert {"worker-1.log", "relay.log", "status.log", "postgres.log"} <= {log.name for log in logs}
    assert _told_in(sent.running.logs / "worker-1.log") >= len(TABLE), "the worker did log every message"
    for log in (*logs, sent.running.folder / "talk.log"):
        text = log.read_text(errors="replace")
        assert not [canary for canary in canaries if canary in text], log.name


def _told_in(log: Path) -> int:
    return sum('"event": "message"' in line for line in log.read_text().splitlines())


@pytest.mark.stack
def test_no_failure_on_record_holds_a_word_of_its_body(sent: Sent):
    canaries = {case.canary for case in sent.cases.values()}
    text = "\n".join(
        row["row"] for row in sent.journey.query("SELECT failure::text AS row FROM message_failures AS failure")
    )
    assert "missing" in text, "it says where a body is wrong"
    assert not [canary for canary in canaries if canary in text]


@pytest.mark.stack
def test_no_announcement_holds_a_word_of_a_note(sent: Sent):
    text = "\n".join(row["row"] for row in sent.journey.query("SELECT payload::text AS row FROM outbox"))
    assert not [case.canary for case in sent.cases.values() if case.canary in text]


@pytest.mark.stack
def test_the_queues_are_empty_and_good_work_still_goes_through_to_its_payout(sent: Sent):
    assert {queue: sent.journey.left_in(queue) for queue in QUEUES} == dict.fromkeys(QUEUES, 0)
    travel(sent.running.stack)
