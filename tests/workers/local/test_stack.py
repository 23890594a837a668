"""Everything together: what a start gives, what a second one does, and what is left after every kind of end."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from workers.local import aws, processes, sandbox, stack, template
from workers.local.processes import LocalStackError
from workers.local.stack import Running, StackOptions, infrastructure

pytestmark = [pytest.mark.long, pytest.mark.stack]

PROJECT = Path(__file__).resolve().parents[3]
QUEUES = {"events", "commands", "payouts", "approvals", "events_dlq", "commands_dlq", "payouts_dlq"}
WORK_COMPLETED = {
    "Source": "roadcall.incident",
    "DetailType": "WorkCompleted",
    "Detail": json.dumps({"eventId": "e-1", "pricing": {"totalCents": 350}}),
}


def silent(_line: str) -> None:
    pass


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="roadcall-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder / "state"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def running_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="roadcall-test-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "state"


@pytest.fixture(scope="module")
def running(running_dir: Path) -> Iterator[Running]:
    """One stack for the tests that only look at it."""
    with infrastructure(StackOptions(data_dir=running_dir, say=silent)) as it:
        yield it


def pids(running: Running) -> list[int]:
    return [child.pid for child in running.children]


def gone(pid: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while processes.started_at(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not processes.started_at(pid)


def receive(running: Running, queue: str, wait_seconds: int = 5) -> list[str]:
    sqs = aws.session(running.aws_endpoint_url).client("sqs")
    found = sqs.receive_message(
        QueueUrl=running.queues[queue], WaitTimeSeconds=wait_seconds, MaxNumberOfMessages=10
    ).get("Messages", [])
    for message in found:
        sqs.delete_message(QueueUrl=running.queues[queue], ReceiptHandle=message["ReceiptHandle"])
    return [message["Body"] for message in found]


# ---- what it gives ---------------------------------------------------------------------------------------------------


def test_the_json_is_one_line_with_the_promised_names(running):
    line = running.as_json()
    assert "\n" not in line
    told = json.loads(line)
    assert list(told) == [
        *("database_url", "aws_endpoint_url", "region", "event_bus", "queues"),
        *("status_url", "provider_url", "token_keys_file"),
    ]
    assert set(told["queues"]) == QUEUES
    assert told["status_url"] is None
    with_status = dataclasses.replace(running, status_url="http://127.0.0.1:1/")
    assert json.loads(with_status.as_json())["status_url"] == "http://127.0.0.1:1/"


def test_the_environment_names_everything_a_process_needs(running):
    environment = running.environment()
    assert environment["PAYMENTS_DATABASE_URL"] == running.database_url
    assert environment["PAYMENTS_EVENT_QUEUE_URL"].endswith("/payments-events")
    assert environment["PAYMENTS_COMMAND_QUEUE_URL"].endswith("/payments-commands")
    assert environment["PAYMENTS_PAYOUT_QUEUE_URL"].endswith("/payments-payouts")
    assert environment["APPROVAL_QUEUE_URL"].endswith("/payment-approvals")
    assert environment["EVENT_BUS_NAME"] == "roadcall-events"
    assert environment["PAYMENTS_PROVIDER"] == "sandbox"
    assert environment["PAYMENTS_PROVIDER_URL"] == running.provider_url
    assert environment["PAYMENTS_PROVIDER_SOURCES"] == sandbox.EVENT_SOURCE
    assert environment["AWS_ENDPOINT_URL"] == running.aws_endpoint_url
    assert environment["AWS_DEFAULT_REGION"] == "us-east-1"
    assert {environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]} == {"test"}


def test_plain_boto3_works_with_that_environment(running):
    code = "import boto3, os; print(boto3.client('sqs').list_queues()['QueueUrls'])"
    environment = running.environment() | {"PATH": os.defpath}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert running.queues["events"] in done.stdout


def test_the_database_is_there(running):
    with psycopg.connect(running.database_url) as connection:
        assert connection.info.dbname == "roadcall"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's tables")
def test_nothing_listens_on_every_address(running):
    inodes = set()
    for link in (link for pid in pids(running) for link in Path(f"/proc/{pid}/fd").iterdir()):
        with suppress(FileNotFoundError):  # a connection that was closed meanwhile
            inodes.add(str(link.readlink()))
    addresses = {
        row[1].split(":")[0]
        for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
        if table.exists()
        for row in (line.split() for line in table.read_text().splitlines()[1:])
        if row[3] == "0A" and f"socket:[{row[9]}]" in inodes
    }
    assert addresses == {"0100007F"}


def test_an_event_on_the_bus_arrives_as_a_full_envelope_and_others_do_not(running):
    events = aws.session(running.aws_endpoint_url).client("events")
    other_source = WORK_COMPLETED | {"Source": "somebody.else"}
    other_type = WORK_COMPLETED | {"DetailType": "WorkStarted"}
    entries = [entry | {"EventBusName": running.event_bus} for entry in (other_source, other_type, WORK_COMPLETED)]
    assert events.put_events(Entries=entries)["FailedEntryCount"] == 0  # type: ignore[arg-type]
    envelopes = [json.loads(body) for body in receive(running, "events")]
    assert len(envelopes) == 1
    assert set(envelopes[0]) == {
        "version",
        "id",
        "source",
        "account",
        "time",
        "region",
        "resources",
        "detail-type",
        "detail",
    }
    assert envelopes[0]["detail"] == json.loads(WORK_COMPLETED["Detail"])
    assert receive(running, "events", wait_seconds=1) == []


@pytest.mark.parametrize("queue", ["events", "commands", "payouts"])
def test_an_inbound_queue_really_has_its_redrive_policy(running, queue):
    sqs = aws.session(running.aws_endpoint_url).client("sqs")
    found = sqs.get_queue_attributes(QueueUrl=running.queues[queue], AttributeNames=["All"])["Attributes"]
    dead = sqs.get_queue_attributes(QueueUrl=running.queues[f"{queue}_dlq"], AttributeNames=["All"])["Attributes"]
    redrive = json.loads(found["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"] == dead["QueueArn"]
    assert int(redrive["maxReceiveCount"]) == 10
    assert found["VisibilityTimeout"] == "60"
    assert (found["MessageRetentionPeriod"], dead["MessageRetentionPeriod"]) == ("345600", "1209600")
    assert found["ReceiveMessageWaitTimeSeconds"] == "20"


# ---- starting again --------------------------------------------------------------------------------------------------


def test_a_second_start_finds_everything_again(data_dir):
    options = StackOptions(data_dir=data_dir, say=silent, fsync=False)
    with infrastructure(options) as first:
        with psycopg.connect(first.database_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS answer")
        sqs = aws.session(first.aws_endpoint_url).client("sqs")
        sqs.send_message(QueueUrl=first.queues["commands"], MessageBody="kept")
    with infrastructure(options) as second:
        assert second == first
        assert receive(second, "commands") == ["kept"]
        with psycopg.connect(second.database_url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (1,)


def test_the_queue_urls_are_those_of_this_run(data_dir):
    options = StackOptions(data_dir=data_dir, say=silent)
    with infrastructure(options):
        pass
    (data_dir / "aws" / "port").unlink()
    with infrastructure(options) as second:
        assert all(url.startswith(f"{second.aws_endpoint_url}/") for url in second.queues.values())
        sqs = aws.session(second.aws_endpoint_url).client("sqs")
        sqs.send_message(QueueUrl=second.queues["commands"], MessageBody="found")
        assert receive(second, "commands") == ["found"]


def test_a_second_start_on_the_same_folder_is_refused(running, running_dir):
    with (
        pytest.raises(LocalStackError, match=f"already running \\(pid {os.getpid()}\\) on {running_dir}"),
        infrastructure(StackOptions(data_dir=running_dir, say=silent)),
    ):
        pass
    running.check()


def test_another_server_is_used_when_one_is_named(data_dir, tmp_path):
    with ExitStack() as ours:
        _child, url = aws.serve(ours, tmp_path / "aws", tmp_path / "log", aws.prepare(silent), silent)
        with infrastructure(StackOptions(data_dir=data_dir, say=silent, aws_endpoint_url=url)) as running:
            assert running.aws_endpoint_url == url
            assert [child.program.name for child in running.children] == ["Postgres", "the sandbox provider"]
            assert not (data_dir / "aws").exists()
            assert set(running.queues) == QUEUES
        assert aws.session(url).client("sqs").list_queues()["QueueUrls"]


# ---- ending ----------------------------------------------------------------------------------------------------------


def test_nothing_is_left_running(data_dir):
    with infrastructure(StackOptions(data_dir=data_dir, say=silent)) as running:
        assert len(pids(running)) == 3
    assert all(gone(pid, 0) for pid in pids(running))
    assert not [*data_dir.rglob("server.pid"), *data_dir.rglob("provider.pid")]


def test_a_start_that_fails_half_way_leaves_nothing(data_dir, monkeypatch):
    started: list[int] = []
    original = processes.Child.start

    def remember(program: processes.Program) -> processes.Child:
        child = original(program)
        started.append(child.pid)
        return child

    def fail(*_: object, **__: object) -> None:
        raise LocalStackError("no template today")

    monkeypatch.setattr(processes.Child, "start", remember)
    monkeypatch.setattr(template, "apply", fail)
    with (
        pytest.raises(LocalStackError, match="no template today"),
        infrastructure(StackOptions(data_dir=data_dir, say=silent)),
    ):
        pass
    assert len(started) == 2
    assert all(gone(pid, 0) for pid in started)


def test_an_error_of_the_work_inside_passes_through_unchanged(data_dir, monkeypatch):
    monkeypatch.setattr(stack, "_bring_up", lambda *_: None)
    with pytest.raises(PermissionError, match="mine"), infrastructure(StackOptions(data_dir=data_dir, say=silent)):
        raise PermissionError("mine")


def test_a_server_that_dies_meanwhile_is_noticed(data_dir):
    with infrastructure(StackOptions(data_dir=data_dir, say=silent)) as running:
        running.check()
        os.kill(running.children[1].pid, signal.SIGKILL)
        running.children[1].process.wait(10)
        with pytest.raises(LocalStackError, match="ministack"):
            running.check()


def _supervisor(data_dir: Path) -> "subprocess.Popen[str]":
    """A process like `payments local`: it turns SIGTERM into SystemExit and waits."""
    code = f"""
import signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(PROJECT)!r})
from workers.local.stack import StackOptions, infrastructure
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it runs in the background
with infrastructure(StackOptions(data_dir=Path({str(data_dir)!r}), say=lambda line: print(line, flush=True))) as it:
    print("pids", *(child.pid for child in it.children), flush=True)
    time.sleep(60)
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _read_until(process: "subprocess.Popen[str]", word: str) -> str:
    assert process.stdout is not None
    return next(line for line in process.stdout if word in line)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_and_impatience_stop_it_in_good_order(data_dir, number):
    with _supervisor(data_dir) as process:
        started = [int(word) for word in _read_until(process, "pids").split()[1:]]
        for _ in range(5):
            process.send_signal(number)
            time.sleep(0.01)
        process.wait(30)
    assert all(gone(pid, 0) for pid in started)
    assert "database system is shut down" in (data_dir / "logs" / "postgres.log").read_text()
    assert (data_dir / "aws" / "state" / "sqs.json").exists()


def test_a_signal_during_the_start_leaves_nothing(data_dir):
    with _supervisor(data_dir) as process:
        _read_until(process, "Postgres listens")
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert "database system is shut down" in (data_dir / "logs" / "postgres.log").read_text()
    assert not list(data_dir.rglob("server.pid"))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help exists on Linux only")
def test_a_killed_supervisor_takes_its_servers_with_it_and_the_next_start_works(data_dir):
    with _supervisor(data_dir) as process:
        started = [int(word) for word in _read_until(process, "pids").split()[1:]]
        process.kill()
    with infrastructure(StackOptions(data_dir=data_dir, say=silent)) as running:
        assert all(gone(pid) for pid in started)
        running.check()


# ---- what is in the way ----------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "file").touch()
    for data_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        with (
            pytest.raises(LocalStackError, match="name a data directory that you may write to"),
            infrastructure(StackOptions(data_dir=data_dir, say=silent)),
        ):
            pass


def test_a_full_disk_is_told(data_dir, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(processes, "keep", full)
    with (
        pytest.raises(LocalStackError, match="free some space"),
        infrastructure(StackOptions(data_dir=data_dir, say=silent)),
    ):
        pass


def test_another_platform_is_told(data_dir, monkeypatch):
    monkeypatch.setattr(stack, "_PLATFORM", "nt")
    with (
        pytest.raises(LocalStackError, match="use WSL"),
        infrastructure(StackOptions(data_dir=data_dir, say=silent)),
    ):
        pass
