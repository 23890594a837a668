"""Child processes: start them, watch them, stop them, and leave none behind, however the parent ends."""

import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

#: The only address that anything of the local stack listens on.
LOOPBACK = "127.0.0.1"

#: How often a starting or ending process is looked at, in seconds.
_LOOK_EVERY_SECONDS = 0.02
#: How much of the end of a log file an error message may look at, in bytes.
_TAIL_BYTES = 8_192
#: prctl(2): the signal that a process gets when the thread that started it ends.
_PR_SET_PDEATHSIG = 1
_PORT_MAX = 65_535
_HAS_PROC = Path("/proc/self/stat").exists()


class LocalStackError(Exception):
    """The local stack cannot start or go on; the text says why, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account that a child runs under; without one it runs under ours."""

    user: int
    group: int


@dataclass(frozen=True, slots=True)
class Program:
    """One program to run.

    Attributes:
        argv: the program, as an absolute path, and its arguments.
        env: its whole environment; nothing is inherited.
        log_path: the file that its output is appended to.
        name: what people call it, in messages.
        stop_signal: the signal that asks it to end in good order.
        urgent_signal: a second, stronger request, before it is killed.
        pid_path: where its identity is kept, so that a later run can end it if this one is killed.
        account: another account to run it under; only root may name one.
        cwd: its working directory.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    log_path: Path
    name: str
    stop_signal: signal.Signals = signal.SIGTERM
    urgent_signal: signal.Signals | None = None
    pid_path: Path | None = None
    account: Account | None = None
    cwd: Path = Path("/")


@dataclass(slots=True)
class Child:
    """A running program of ours."""

    program: Program
    process: subprocess.Popen[bytes]
    log_offset: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def start(cls, program: Program) -> "Child":
        """Start a program in a session of its own, so that a terminal's Ctrl-C does not reach it directly.

        On Linux it also gets its stop signal when we are killed. That signal follows the *thread* that started
        it, so it is arranged from the main thread only: a child of a helper thread would end with that thread.

        Raises:
            LocalStackError: the program cannot be started.
            OSError: its identity cannot be written down; it was stopped again.
        """
        try:
            with program.log_path.open("ab") as log:
                offset = log.tell()
                child = cls(program, _spawn(program, log.fileno()), offset)
        except (OSError, subprocess.SubprocessError) as error:
            raise LocalStackError(f"{program.name} cannot be started: {error}") from error
        try:
            child._write_identity()
        except OSError:
            child.stop()  # nobody has it yet who could
            raise
        return child

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def alive(self) -> bool:
        """Return whether it still runs."""
        return self.process.poll() is None

    def stop(self, timeout_seconds: float = 10.0) -> int:
        """Ask it to end, ask again, and at last kill it with its whole process group; return its exit code.

        Safe to call twice, and for a program that has ended by itself.

        Args:
            timeout_seconds: how long each request may take to have its effect.
        """
        with self._lock:
            for number in (self.program.stop_signal, self.program.urgent_signal):
                if number is None or not self.alive():
                    continue
                self.process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(timeout_seconds)
            if self.alive():
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
            code = self.process.wait()
            if self.program.pid_path is not None:
                self.program.pid_path.unlink(missing_ok=True)
        return code

    def _write_identity(self) -> None:
        """Write down for `end_orphan` which process this is."""
        if self.program.pid_path is not None:
            keep(self.program.pid_path, json.dumps({"pid": self.pid, "started": started_at(self.pid)}))

    def log_tail(self, lines_max: int = 12) -> str:
        """Return the last lines that it wrote since it was started."""
        try:
            with self.program.log_path.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self.log_offset, end - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines_max:])

    def failure(self, what: str) -> LocalStackError:
        """Return the error that tells what happened to it, with the end of its log and where the rest is."""
        tail = self.log_tail() or "(it wrote nothing)"
        hint = hint_for(tail)
        return LocalStackError(f"{self.program.name} {what}.\n{tail}\n{hint}The whole log: {self.program.log_path}")

    def check(self) -> None:
        """Raise if it has ended without being asked to.

        Raises:
            LocalStackError: it has.
        """
        if not self.alive():
            raise self.failure(f"ended by itself with exit code {self.process.returncode}")

    def wait_until(self, ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Wait until `ready` says so.

        Raises:
            LocalStackError: the program ended first, or was not ready in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready within {timeout_seconds:.0f} s")
            time.sleep(_LOOK_EVERY_SECONDS)


def start(stack: ExitStack, program: Program, *, stop_seconds: float = 10.0) -> Child:
    """Start a program that `stack` will stop; no signal can come between the two.

    Raises:
        LocalStackError: the program cannot be started.
    """
    with signals_held(deliver=True):
        child = Child.start(program)
        stack.callback(child.stop, stop_seconds)
    return child


@contextmanager
def signals_held(*, deliver: bool) -> Iterator[None]:
    """Hold SIGINT and SIGTERM back from a step that must not be cut in two.

    A handler is exchanged rather than the signal masked or ignored: a child would inherit a mask, and with
    other threads running a mask of the main thread alone holds nothing back.

    Args:
        deliver: whether what came meanwhile is delivered at the end. Not while everything is being stopped
            anyway: a second Ctrl-C then has nothing left to ask for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    before = {number: signal.signal(number, hold) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if deliver:
        for number_held in held:
            signal.raise_signal(number_held)


def end_orphan(pid_path: Path, stop_signal: signal.Signals, timeout_seconds: float = 20.0) -> None:
    """End the program that an earlier run started and could not stop, because it was killed itself.

    Only the very process that was written down is touched: its start time must agree as well as its pid.

    Args:
        pid_path: where `Child.start` wrote it down.
        stop_signal: the signal that asks it to end in good order.
        timeout_seconds: how long it may take before it is killed, and again before we give up.

    Raises:
        LocalStackError: it cannot be ended.
    """
    try:
        identity = json.loads(pid_path.read_text())
        pid, started = int(identity["pid"]), str(identity["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    for number in (stop_signal, signal.SIGKILL):
        deadline = time.monotonic() + timeout_seconds
        if not started or started_at(pid) != started:
            break
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
        while started_at(pid) == started and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_SECONDS)
    if started and started_at(pid) == started:
        raise LocalStackError(f"Process {pid} of an earlier run does not end ({command_line(pid)}): stop it first.")
    pid_path.unlink(missing_ok=True)


def started_at(pid: int) -> str:
    """Return when a process started, in words of the operating system; empty when there is no such process.

    Together with the pid it names one process for ever, though pids are used again.
    """
    if not _HAS_PROC:
        return _ps(pid, "lstart=")
    try:
        # The name in parentheses may hold anything; field 3 is the state, field 22 the start time (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[19]


def command_line(pid: int) -> str:
    """Return the command line of a process; empty when there is no such process."""
    if not _HAS_PROC:
        return _ps(pid, "args=")
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def free_port(wanted: int | None = None) -> int:
    """Return `wanted` if nothing listens on that TCP port of the loopback address, else one that is free."""
    for port in (wanted, 0) if wanted else (0,):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # Without it the port of a server that has just stopped counts as taken for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((LOOPBACK, port or 0))
                return int(probe.getsockname()[1])
    raise LocalStackError(f"No TCP port is free on {LOOPBACK}: stop some programs and try again.")


def answers(child: Child, port: int, path: str) -> bool:
    """Return whether *our* server answers a GET on loopback, not another one that happens to have the port."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)  # no proxy, whatever the environment says
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK and child.alive()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def kept_port(path: Path, name: str, say: Callable[[str], None]) -> int:
    """Return the port that was used last time if it is free, else another one, and keep it in a file.

    Programs and people remember addresses, and a local AWS writes its port into what it hands out.

    Args:
        path: the file that the port is kept in.
        name: whose port it is, for people.
        say: is told when the port had to change.
    """
    kept: int | None = None
    with suppress(OSError, ValueError):
        kept = int(path.read_text())
    port = free_port(kept if kept is not None and 0 < kept <= _PORT_MAX else None)
    if kept is not None and port != kept:
        say(f"Port {kept} of {name} is taken by another program; using {port} instead.")
    if port != kept:
        keep(path, str(port))
    return port


def keep(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a small file at once or not at all, readable as `mode` says from its first moment on."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(f"{text}\n")
    fresh.replace(path)


def take_lock(file: IO[str], *, wait: bool) -> bool:
    """Return whether we are now the only process that has locked the file; the kernel frees it however we end.

    Args:
        file: an open file; the lock lasts until it is closed.
        wait: whether to wait for whoever has it, instead of returning False.
    """
    import fcntl  # noqa: PLC0415 - POSIX only: elsewhere a plain error must come before an ImportError

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def hint_for(text: str) -> str:
    """Return what to do about an operating system's complaint in a program's words, with a line end, or nothing."""
    hints = {
        "No space left on device": "The disk is full: free some space and start again.",
        "Disk quota exceeded": "The disk quota is used up: free some space and start again.",
        "could not create shared memory segment": "The machine gives too little shared memory (/dev/shm).",
        "Cannot allocate memory": "The machine has too little memory left.",
        "Too many open files": "Raise the limit of open files (ulimit -n).",
    }
    return "".join(f"{advice}\n" for sign, advice in hints.items() if sign in text)


def _spawn(program: Program, log_descriptor: int) -> subprocess.Popen[bytes]:
    account = program.account
    return subprocess.Popen(
        list(program.argv),
        stdin=subprocess.DEVNULL,
        stdout=log_descriptor,
        stderr=subprocess.STDOUT,
        cwd=program.cwd,
        env=dict(program.env),
        start_new_session=True,
        user=account.user if account else None,
        group=account.group if account else None,
        extra_groups=[] if account else None,
        preexec_fn=_dies_with_us(program.stop_signal),  # noqa: PLW1509 - one system call; there is no other hook
    )


def _dies_with_us(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """Return what a new child does first so that the kernel stops it when we are killed, or None if it cannot."""
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    # Loaded here and not in the child: between fork and exec a child may do next to nothing.
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
        if os.getppid() != parent:  # killed between fork and here: the signal would never come
            os._exit(1)

    return ask_kernel


def _ps(pid: int, column: str) -> str:
    found = subprocess.run(
        ["/bin/ps", "-o", column, "-p", str(pid)],  # where there is no /proc, as on macOS
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip()
