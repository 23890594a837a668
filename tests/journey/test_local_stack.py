"""`payments local` as a stranger meets it: one line of JSON, a whole fleet behind it, and nothing left afterwards."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journey.main_road import Journey, travel, until

PAYMENTS = [sys.executable, "-m", "workers.cli"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """`payments local --json`, stopped by SIGTERM at the end; it must leave no process behind."""
    data_dir = tmp_path_factory.mktemp("local")
    with (data_dir / "talk.log").open("w") as talk:
        process = subprocess.Popen(
            [*PAYMENTS, "local", "--json", "--no-fsync", "--data-dir", str(data_dir / "data")],
            stdout=subprocess.PIPE,
            stderr=talk,
            text=True,
        )
        assert process.stdout
        line = process.stdout.readline()
        assert line, (data_dir / "talk.log").read_text()
        before = descendants(process.pid)
        yield json.loads(line)
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        process.stdout.close()
        assert process.wait(30) == 0, (data_dir / "talk.log").read_text()
    assert rest == "", "standard output carries the one line of JSON and nothing else"
    assert len(before) >= 5
    until("every process to be gone", lambda: not [pid for pid in before if Path(f"/proc/{pid}").exists()])


def descendants(pid: int) -> set[int]:
    """Every process that a process has started, and theirs."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
    found: set[int] = set()
    fresh = {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


@pytest.mark.stack
def test_the_line_of_json_has_exactly_the_promised_keys(stack: dict):
    assert set(stack) == {"database_url", "aws_endpoint_url", "region", "event_bus", "queues", "status_url"}
    assert set(stack["queues"]) == {
        "events",
        "commands",
        "payouts",
        "approvals",
        "events_dlq",
        "commands_dlq",
        "payouts_dlq",
    }


@pytest.mark.stack
def test_the_same_work_twenty_times_and_the_approval_three_times_pay_once(stack: dict):
    travel(stack)


@pytest.mark.stack
def test_the_status_endpoint_shows_the_payment_in_the_specified_shape(stack: dict):
    journey = Journey(stack)
    journey.finish_job()
    until("the payment", lambda: bool(pending(stack, journey)))
    [listed] = pending(stack, journey)
    shown = get(f"{stack['status_url']}/payments/{listed['paymentId']}")
    assert shown["payment"] == listed
    assert [line["totalCents"] for line in shown["lineItems"]] == [12000, 3000, 2500]
    assert get(f"{stack['status_url']}/ready")["status"] == "ok"
    assert get(f"{stack['status_url']}/health")["status"] == "ok"


@pytest.mark.stack
def test_a_body_that_is_not_json_ends_in_the_dead_letter_queue_with_its_reason(stack: dict):
    journey = Journey(stack)
    url = stack["queues"]["commands_dlq"]
    journey.sqs.send_message(QueueUrl=stack["queues"]["commands"], MessageBody="this is no JSON")
    until("the dead letter", lambda: journey.left_in("commands_dlq") == 1)
    [message] = journey.sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    journey.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert message["Body"] == "this is no JSON"
    assert message["MessageAttributes"]["Reason"]["StringValue"] == "not_json"
    [failure] = journey.query("SELECT outcome, reason, queue FROM message_failures")
    assert failure == {"outcome": "invalid", "reason": "not_json", "queue": "payments-commands"}
    assert journey.left_in("commands") == 0


@pytest.mark.stack
def test_the_command_line_sends_and_shows(stack: dict):
    journey = Journey(stack)
    environment = {
        **os.environ,
        "PAYMENTS_DATABASE_URL": stack["database_url"],
        "PAYMENTS_COMMAND_QUEUE_URL": stack["queues"]["commands"],
        "EVENT_BUS_NAME": stack["event_bus"],
        "AWS_ENDPOINT_URL": stack["aws_endpoint_url"],
        "AWS_DEFAULT_REGION": stack["region"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }

    def payments(*arguments: str) -> str:
        done = subprocess.run(
            [*PAYMENTS, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    event_id = payments("send", "work-completed", "--incident", journey.incident, "--amount-cents", "4200")
    assert len(event_id) == 36
    until("the payment", lambda: bool(pending(stack, journey)))
    payment_id = pending(stack, journey)[0]["paymentId"]
    assert len(payments("send", "reject", payment_id, "--reason", "not ours")) == 36
    of_payment = "SELECT status FROM payments WHERE payment_id = %s"
    until("the rejection", lambda: journey.query(of_payment, payment_id)[0]["status"] == "cancelled")
    shown = json.loads(payments("show", payment_id, "--json"))
    assert shown["payment"]["cancelKind"] == "rejected"
    assert [entry["name"] for entry in shown["timeline"] if entry["what"] == "change"] == ["created", "rejected"]
    assert payment_id in payments("show", payment_id)


def pending(stack: dict, journey: Journey) -> list[dict]:
    found = get(f"{stack['status_url']}/payments/pending?limit=200")
    assert found["pagination"] == {"limit": 200, "offset": 0, "count": len(found["payments"])}
    return [payment for payment in found["payments"] if payment["incidentId"] == journey.incident]


def get(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - a loopback URL of our own
        return json.load(answer)
