"""`payments provider` as a process of its own: it says where it is, survives a kill, and ends well."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.workers.sandbox.paying import paid
from workers.sandbox.command import parse_rates, provider
from workers.sandbox.plan import Fault

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = "import typer; from workers.sandbox.command import provider; typer.run(provider)"
Started = Callable[..., tuple[subprocess.Popen[str], str]]

app = typer.Typer()
app.command()(provider)


@pytest.fixture
def started() -> Iterator[Started]:
    """Starts the command and returns its process and the URL that it says."""
    with ExitStack() as stack:

        def start(*options: str) -> tuple[subprocess.Popen[str], str]:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, "--port", "0", *options],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            return process, process.stdout.readline().strip()

        yield start


def test_it_survives_a_kill_and_ends_well(started, connect, journal):
    process, url = started("--journal", str(journal))
    first = paid(connect(url), "k")
    process.kill()
    process.wait()
    process, url = started("--journal", str(journal))
    assert paid(connect(url), "k").id == first.id
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_it_ends_well_on_an_interrupt(started):
    process, url = started("--fault", "slow=0.1", "--seed", "3", "--api-key", "sk_test_x")
    assert url.startswith("http://127.0.0.1:")
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(5) == 0


def test_a_taken_port_is_said_in_a_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(app, ["--port", str(taken.getsockname()[1])])
    assert result.exit_code == 1


def test_a_bus_without_a_region_is_said_in_a_line(monkeypatch):
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert CliRunner().invoke(app, ["--port", "0", "--event-bus", "main"]).exit_code == 1


def test_a_journal_in_use_is_said_in_a_line(opened, journal):
    opened()
    assert CliRunner().invoke(app, ["--journal", str(journal)]).exit_code == 1


@pytest.mark.parametrize("text", ["fire=1", "slow", "slow=often", "slow=2"])
def test_a_fault_that_cannot_be_is_wrong_usage(text):
    assert CliRunner().invoke(app, ["--fault", text]).exit_code == 2


def test_faults_are_read():
    assert parse_rates(["slow=0.1", "lost_after=0.05"]) == {Fault.SLOW: 0.1, Fault.LOST_AFTER: 0.05}


def test_help_names_every_option_and_fault():
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    for option in ("--host", "--port", "--journal", "--event-bus", "--event-source", "--seed", "--fault", "--api-key"):
        assert option in text
    assert "lost_after" in text
