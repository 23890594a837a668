"""What could not be processed goes back once its cause is gone: `payments failures` and `payments replay` for real.

No body is mended by a replay. What is mended is the service: a producer becomes known, a fault is repaired.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.journey.bad_input import Case, detail, envelope, fresh
from tests.journey.main_road import Journey, until
from tests.journey.running import PAYMENTS, Local, get, local, outcomes, url_in, worker

pytestmark = pytest.mark.long

#: A producer that joins the platform later.
SOURCE = "acme.incident"
KNOWN = {"PAYMENTS_WORK_SOURCES": f"roadcall.incident,{SOURCE}"}
#: Every retry comes at once, so that a queue gives a message up within seconds.
NO_PAUSE = {"PAYMENTS_BACKOFF_S": "0", "PAYMENTS_NOT_YET_S": "0"}
RECEIVES_MAX = 10


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """Postgres and a local AWS; the workers are the tests' own."""
    with local(tmp_path_factory.mktemp("local"), "--infra-only") as found:
        yield found


@pytest.fixture
def journey(running: Local) -> Journey:
    return Journey(running.stack)


def payments(running: Local, *arguments: str, code: int = 0) -> str:
    """Run the command line as an operator does; return what it says, on standard error where it fails."""
    done = subprocess.run(
        [*PAYMENTS, *arguments], env=running.environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def replay(running: Local, failure_id: str, *options: str, code: int = 0) -> str:
    who_and_why = ("--actor", fresh(), "--reason", "the cause is gone")
    return payments(running, "replay", failure_id, *who_and_why, *options, code=code)


def listed(running: Local, *options: str) -> dict[str, dict[str, Any]]:
    """What is listed, by the id that the queue gave the message."""
    found = json.loads(payments(running, "failures", "--json", *options))["failures"]
    return {one["sqsMessageId"]: one for one in found}


def post(journey: Journey, body: str, queue: str = "events", **attributes: str) -> str:
    """Send a body and return the id that its queue gives it."""
    texts: Any = {name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()}
    url = journey.stack["queues"][queue]
    return journey.sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=texts)["MessageId"]


def dead(journey: Journey, count: int) -> None:
    """Wait until so many are dead letters and nothing else is under way."""
    until("the dead letters", lambda: journey.left_in("events_dlq") == count and journey.left_in("events") == 0)


def paid_for(journey: Journey, case: Case) -> int:
    [found] = journey.query("SELECT count(*) AS count FROM payments WHERE incident_id = %s", case.incident)
    return found["count"]


def counted(log: Path) -> dict[str, int]:
    return outcomes(get(f"{url_in(log)}/metrics"))


@contextmanager
def broken(running: Local) -> Iterator[None]:
    """A fault of the database: a table that the worker writes to is not where it should be."""
    with psycopg.connect(running.stack["database_url"], autocommit=True) as connection:
        connection.execute("ALTER TABLE payment_line_items RENAME TO payment_line_items_elsewhere")
        try:
            yield
        finally:
            connection.execute("ALTER TABLE payment_line_items_elsewhere RENAME TO payment_line_items")


@pytest.mark.stack
def test_work_of_a_producer_that_becomes_known_is_replayed_into_one_payment(
    running: Local, journey: Journey, tmp_path: Path
):
    case = Case()
    body = envelope(detail(case), source=SOURCE)
    with worker(running, tmp_path / "before.log", {}):
        message_id = post(journey, body, trace="of the producer")
        dead(journey, 1)
    failure = listed(running)[message_id]
    failure_id = failure["failureId"]
    assert (failure["reason"], failure["kind"], failure["replay"]) == ("unknown_source", "WorkCompleted", None)
    assert "PAYMENTS_WORK_SOURCES" in payments(running, "failures")

    assert "Would put" in replay(running, failure_id, "--dry-run")
    assert (journey.left_in("events"), journey.left_in("events_dlq")) == (0, 1)
    assert message_id in listed(running)

    with worker(running, tmp_path / "after.log", KNOWN) as log:
        told = json.loads(replay(running, failure_id, "--json"))
        until("the payment", lambda: paid_for(journey, case) == 1)
        dead(journey, 0)
        assert message_id not in listed(running)
        assert listed(running, "--all")[message_id]["replay"]["reason"] == "the cause is gone"
        [record] = journey.query("SELECT replay_id::text AS id FROM failure_replays WHERE failure_id = %s", failure_id)
        assert record["id"] == told["replayId"]
        assert "It was replayed at" in replay(running, failure_id, code=1), "a second replay is told of the first"

        # As after a crash between sending and deleting: the dead letter is still there, and is replayed once more.
        post(journey, body, "events_dlq", OriginalMessageId=message_id, Reason="unknown_source")
        replay(running, failure_id)
        until("the duplicate", lambda: counted(log)["duplicate"] == 1)
        dead(journey, 0)
    assert paid_for(journey, case) == 1


@pytest.mark.stack
def test_what_is_still_malformed_fails_again_as_a_failure_of_its_own(running: Local, journey: Journey, tmp_path: Path):
    with worker(running, tmp_path / "worker.log", {}):
        message_id = post(journey, "no JSON at all")
        dead(journey, 1)
        first = listed(running)[message_id]
        told = json.loads(replay(running, first["failureId"], "--json"))
        dead(journey, 1)
    found = listed(running)
    assert message_id not in found
    second = found[told["sqsMessageId"]]
    assert (second["reason"], second["attempts"]) == ("not_json", 1)
    assert second["failureId"] != first["failureId"]
    url = journey.stack["queues"]["events_dlq"]
    [letter] = journey.sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    journey.sqs.delete_message(QueueUrl=url, ReceiptHandle=letter["ReceiptHandle"])
    assert letter["MessageAttributes"]["ReplayOf"]["StringValue"] == first["failureId"]
    assert letter["MessageAttributes"]["OriginalMessageId"]["StringValue"] == told["sqsMessageId"]


@pytest.mark.stack
def test_a_message_that_its_queue_gave_up_is_replayed_once_the_fault_is_repaired(
    running: Local, journey: Journey, tmp_path: Path
):
    case = Case()
    with worker(running, tmp_path / "worker.log", NO_PAUSE):
        with broken(running):
            message_id = post(journey, envelope(detail(case)))
            dead(journey, 1)
        failure = listed(running, "--outcome", "fault")[message_id]
        assert (failure["reason"], failure["attempts"]) == ("StoreFault", RECEIVES_MAX)
        assert paid_for(journey, case) == 0
        replay(running, failure["failureId"])
        until("the payment", lambda: paid_for(journey, case) == 1)
        dead(journey, 0)
    assert message_id not in listed(running)
