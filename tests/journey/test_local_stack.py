"""`payments local` as a stranger meets it: one line of JSON, a whole fleet behind it, and nothing left afterwards."""

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

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
    where = {"database_url", "aws_endpoint_url", "region", "event_bus", "queues", "status_url", "token_keys_file"}
    assert set(stack) == where | {"provider_url"}
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
    shown = get(f"{stack['status_url']}/payments/{listed['paymentId']}", journey.signed_in())
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
    until("the queue without it, which it leaves after it has arrived here", lambda: journey.left_in("commands") == 0)


@pytest.mark.stack
@pytest.mark.long
def test_the_command_line_sends_and_shows(stack: dict):
    journey = Journey(stack)
    payments = command_line(stack)
    event_id = payments("send", "work-completed", "--incident", journey.incident, "--amount-cents", "4200")
    assert len(event_id) == 36
    until("the payment", lambda: bool(pending(stack, journey)))
    payment_id = pending(stack, journey)[0]["paymentId"]
    subject = str(uuid4())
    assert payments("members", "set", subject, "--role", "admin") == "applied"
    assert subject in payments("members", "list")
    payments.environment["PAYMENTS_ACTOR_TOKEN"] = payments("token", subject, "--group", "admin")
    assert payment_id in payments("pending")
    assert payments("hold", payment_id, "--reason", "no invoice", "--yes") == "PaymentHeld: pending_approval, version 2"
    refused = payments("approve", payment_id, "--yes", code=1)
    assert "on_hold" in refused
    assert "pending_approval, version 2" in refused
    released = payments("release-hold", payment_id, "--reason", "here it is", "--yes")
    assert released == "PaymentReleased: pending_approval, version 3"
    rejected = payments("reject", payment_id, "--reason", "not ours", "--yes")
    assert rejected == "PaymentCancelled: cancelled, version 4"
    assert len(payments("cancel", payment_id, "--reason", "again", "--yes", "--no-wait")) == 36
    shown = json.loads(payments("show", payment_id, "--json"))
    assert shown["payment"]["cancelKind"] == "rejected"
    assert [entry["name"] for entry in shown["timeline"] if entry["what"] == "change"] == [
        "created",
        "held",
        "hold_released",
        "rejected",
    ]
    assert payment_id in payments("show", payment_id)


@pytest.mark.stack
@pytest.mark.long
def test_the_command_line_sets_a_policy_and_says_beforehand_what_it_would_do(stack: dict):
    journey, subject = Journey(stack), str(uuid4())
    payments = command_line(stack)
    payments("members", "set", subject, "--role", "admin")
    payments.environment["PAYMENTS_ACTOR_TOKEN"] = payments("token", subject, "--group", "admin")
    payments("send", "work-completed", "--company", journey.company, "--amount-cents", "90000")
    until("the payment", lambda: "900.00 USD" in payments("pending", "--company", journey.company))
    tiers = ("--tier", "USD:50000:1", "--tier", "USD::2:admin", "--separate-releaser")
    shown = payments("policy", "set", "--company", journey.company, *tiers, "--dry-run")
    assert "1 x dispatcher or admin" in shown
    assert "2 x admin, then a releaser" in shown
    assert payments("policy", "set", "--company", journey.company, *tiers, "--yes") == "applied"
    assert "Version 1" in payments("policy", "show", "--company", journey.company)
    wrong = ("--tier", "USD:50000:1")
    assert "invalid_field" in payments("policy", "set", "--company", journey.company, *wrong, code=1)
    assert "invalid_field" in payments("policy", "set", "--company", journey.company, *wrong, "--dry-run", code=1)


class CommandLine:
    """`payments`, as somebody uses it who has loaded the stack's environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run a command; return what it has printed, or on a failure that is expected what it says about it."""
        done = subprocess.run(
            [*PAYMENTS, *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == code, done.stderr
        return (done.stderr if code else done.stdout).strip()


def command_line(stack: dict) -> CommandLine:
    kept = (Path(stack["token_keys_file"]).parents[1] / "environment").read_text()
    exports = [shlex.split(line)[1].partition("=") for line in kept.splitlines()]
    return CommandLine({**os.environ, **{name: value for name, _, value in exports}, "COLUMNS": "160"})


def pending(stack: dict, journey: Journey) -> list[dict]:
    found = get(f"{stack['status_url']}/payments/pending?limit=200", journey.signed_in())
    page = {"limit": 200, "offset": 0, "count": len(found["payments"]), "nextCursor": None}
    assert found["pagination"] == page
    return [payment for payment in found["payments"] if payment["incidentId"] == journey.incident]


def get(url: str, token: str | None = None) -> dict:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    asked = urllib.request.Request(url, headers=headers)  # noqa: S310 - a loopback URL of our own
    with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310 - the same
        return json.load(answer)
