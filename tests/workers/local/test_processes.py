"""Children start, are watched, stop, and never outlive us."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from workers.local import processes
from workers.local.processes import LOOPBACK, Child, LocalStackError, Program

PROJECT = Path(__file__).resolve().parents[3]
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help exists on Linux only")


def program(tmp_path: Path, *argv: str, **more: object) -> Program:
    return Program(argv=argv, env={"PATH": os.defpath}, log_path=tmp_path / "child.log", name="It", **more)  # type: ignore[arg-type]


def python(tmp_path: Path, code: str, **more: object) -> Program:
    return program(tmp_path, sys.executable, "-I", "-u", "-c", code, **more)


def gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not processes.started_at(pid):
            return True
        time.sleep(0.02)
    return False


def until_logged(child: Child, word: str) -> None:
    child.wait_until(lambda: word in child.log_tail(), 10)


def test_a_child_has_its_own_session_and_only_the_environment_it_was_given(tmp_path):
    child = Child.start(
        Program(
            argv=(sys.executable, "-I", "-c", "import os; print(os.getsid(0) == os.getpid(), sorted(os.environ))"),
            env={"ONLY": "this", "LC_ALL": "C.UTF-8"},
            log_path=tmp_path / "child.log",
            name="It",
        )
    )
    assert child.process.wait(10) == 0
    assert child.log_tail() == "True ['LC_ALL', 'ONLY']"
    assert child.stop() == 0


def test_stop_asks_first(tmp_path):
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(7)); print('up'); time.sleep(60)"
    child = Child.start(python(tmp_path, code))
    until_logged(child, "up")
    assert child.stop() == 7
    assert child.stop() == 7  # once more is harmless


def test_stop_asks_a_second_time_with_the_urgent_signal(tmp_path):
    code = (
        "import signal, sys, time; signal.signal(2, lambda *_: None); signal.signal(3, lambda *_: sys.exit(8));"
        "print('up')\nwhile True: time.sleep(60)"
    )
    child = Child.start(python(tmp_path, code, stop_signal=signal.SIGINT, urgent_signal=signal.SIGQUIT))
    until_logged(child, "up")
    assert child.stop(timeout_seconds=0.3) == 8


def test_stop_kills_the_whole_group_of_a_child_that_does_not_listen(tmp_path):
    code = (
        "import signal, subprocess, time; signal.signal(15, signal.SIG_IGN);"
        "print('below', subprocess.Popen(['/bin/sleep', '60']).pid, flush=True); time.sleep(60)"
    )
    child = Child.start(python(tmp_path, code))
    until_logged(child, "below")
    below = int(child.log_tail().split()[1])
    assert child.stop(timeout_seconds=0.3) == -signal.SIGKILL
    assert gone(below)


def test_a_child_that_ends_too_early_is_told_with_the_end_of_its_log_and_the_file(tmp_path):
    (tmp_path / "child.log").write_text("of an earlier run\n")
    child = Child.start(python(tmp_path, "print('No space left on device'); raise SystemExit(3)"))
    with pytest.raises(LocalStackError) as failed:
        child.wait_until(lambda: False, 10)
    child.stop()
    text = str(failed.value)
    assert "exit code 3" in text
    assert "free some space" in text
    assert str(tmp_path / "child.log") in text
    assert "earlier run" not in text


def test_a_child_that_is_never_ready_is_told(tmp_path):
    child = Child.start(program(tmp_path, "/bin/sleep", "60"))
    try:
        with pytest.raises(LocalStackError, match="not ready"):
            child.wait_until(lambda: False, 0.1)
    finally:
        child.stop()


def test_a_program_that_is_not_there_is_told(tmp_path):
    with pytest.raises(LocalStackError, match="It cannot be started"):
        Child.start(program(tmp_path, "/nowhere/at/all"))


def test_a_child_whose_identity_cannot_be_kept_is_not_left_running(tmp_path, monkeypatch):
    started: list[subprocess.Popen[bytes]] = []
    original = processes._spawn

    def remember(wanted: Program, log_descriptor: int) -> "subprocess.Popen[bytes]":
        started.append(original(wanted, log_descriptor))
        return started[0]

    monkeypatch.setattr(processes, "_spawn", remember)
    with pytest.raises(FileNotFoundError):
        Child.start(program(tmp_path, "/bin/sleep", "60", pid_path=tmp_path / "missing" / "pid"))
    assert started[0].poll() is not None


@LINUX_ONLY
def test_a_child_is_stopped_when_its_parent_is_killed(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(PROJECT)!r})
from workers.local.processes import Child, Program
child = Child.start(Program(("/bin/sleep", "60"), {{}}, Path({str(tmp_path / "log")!r}), "It"))
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    assert gone(pid)


def test_a_child_outlives_the_helper_thread_that_started_it(tmp_path):
    children: list[Child] = []
    thread = threading.Thread(target=lambda: children.append(Child.start(program(tmp_path, "/bin/sleep", "60"))))
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert children[0].alive()
    children[0].stop()


def test_an_orphan_of_an_earlier_run_is_ended(tmp_path):
    child = Child.start(program(tmp_path, "/bin/sleep", "60", pid_path=tmp_path / "pid"))
    reaper = threading.Thread(target=child.process.wait)  # init would do it for a real orphan
    reaper.start()
    processes.end_orphan(tmp_path / "pid", signal.SIGTERM)
    reaper.join()
    assert child.process.returncode == -signal.SIGTERM
    assert not (tmp_path / "pid").exists()


def test_a_process_that_only_has_the_pid_of_an_orphan_is_left_alone(tmp_path):
    pid_path = tmp_path / "pid"
    child = Child.start(program(tmp_path, "/bin/sleep", "60"))
    pid_path.write_text(json.dumps({"pid": child.pid, "started": "long ago"}))
    processes.end_orphan(pid_path, signal.SIGTERM)
    assert child.alive()
    assert not pid_path.exists()
    child.stop()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"pid": "x", "started": ""}'])
def test_a_damaged_note_of_an_orphan_is_no_obstacle(tmp_path, text):
    (tmp_path / "pid").write_text(text)
    processes.end_orphan(tmp_path / "pid", signal.SIGTERM)


def test_a_stack_stops_what_it_started(tmp_path):
    with ExitStack() as stack:
        child = processes.start(stack, program(tmp_path, "/bin/sleep", "60"))
        assert child.alive()
    assert not child.alive()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own SIGINT, which a shell takes from what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_signal_is_held_until_the_step_is_done():
    steps: list[str] = []

    def step() -> None:
        with processes.signals_held(deliver=True):
            signal.raise_signal(signal.SIGINT)
            steps.append("done")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert steps == ["done"]


def test_a_signal_is_dropped_while_everything_stops_anyway():
    before = signal.getsignal(signal.SIGTERM)
    with processes.signals_held(deliver=False):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_port_is_kept_and_changed_only_when_it_is_taken(tmp_path):
    said: list[str] = []
    port = processes.kept_port(tmp_path / "port", "It", said.append)
    assert processes.kept_port(tmp_path / "port", "It", said.append) == port
    assert said == []
    with socket.socket() as other:
        other.bind((LOOPBACK, port))
        other.listen()
        moved = processes.kept_port(tmp_path / "port", "It", said.append)
    assert moved != port
    assert str(port) in said[0]
    assert int((tmp_path / "port").read_text()) == moved


@pytest.mark.parametrize("damaged", ["", "x", "-1", "0", "70000"])
def test_a_damaged_note_of_a_port_is_no_obstacle(tmp_path, damaged):
    (tmp_path / "port").write_text(damaged)
    assert processes.kept_port(tmp_path / "port", "It", lambda _line: None) > 0


def test_a_secret_is_never_readable_by_others(tmp_path):
    processes.keep(tmp_path / "secret", "x", mode=0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_lock_has_one_holder(tmp_path):
    with (tmp_path / "lock").open("w") as one, (tmp_path / "lock").open("w") as other:
        assert processes.take_lock(one, wait=False)
        assert not processes.take_lock(other, wait=False)
    with (tmp_path / "lock").open("w") as third:
        assert processes.take_lock(third, wait=False)
