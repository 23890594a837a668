"""The fleet on one machine: workers, a relay, a monitor and the status endpoint, as processes of their own."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from workers.local.processes import LOOPBACK, Child, Program, free_port, signals_held, start
from workers.local.stack import Running
from workers.settings import FAST_PROFILE

#: How long a process of the fleet may take until it is ready, in seconds.
READY_S = 30.0
#: How long it may take to stop: its own budget in the fast profile, and some air.
STOP_S = 15.0
#: What a process inherits of ours: nothing that could change what it does.
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """What a person may choose.

    Attributes:
        logs: the folder for the processes' logs.
        say: is told, line by line, what goes on.
        workers: how many worker processes.
        threads: how many threads each of them has.
        port: the port of the status endpoint; another one is taken if it is not free.
    """

    logs: Path
    say: Callable[[str], None]
    workers: int = 1
    threads: int = 8
    port: int = 8080


@dataclass(frozen=True, slots=True)
class Member:
    """One process of the fleet and where it serves its health."""

    child: Child
    url: str

    def ready(self) -> bool:
        """Whether it says that it could work now."""
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=2) as answer:  # noqa: S310 - our own loopback URL
                return bool(answer.status == 200)  # noqa: PLR2004 - OK
        except (urllib.error.URLError, OSError):
            return False


@dataclass(frozen=True, slots=True)
class Fleet:
    """The running processes."""

    members: tuple[Member, ...]
    status_url: str

    @property
    def targets(self) -> list[tuple[str, str]]:
        """Where each process serves its metrics: its role, and its URL."""
        return [(member.child.program.name.partition("-")[0], member.url) for member in self.members]

    def check(self) -> None:
        """Raise if one of them has ended.

        Raises:
            LocalStackError: one has; the text holds the end of its log.
        """
        for member in self.members:
            member.child.check()


@contextmanager
def fleet(running: Running, options: FleetOptions) -> Iterator[Fleet]:
    """Run the fleet against a stack whose database is migrated and has its users; stop it at the end, workers first.

    Raises:
        LocalStackError: a process ended or was not ready in time; the text holds the end of its log.
    """
    stack = ExitStack()
    try:
        # Stopped in the opposite order: the relay still sends what the workers' last messages have said.
        roles = ["status", "monitor", "relay", *(f"worker-{number}" for number in range(1, options.workers + 1))]
        members = {name: _start(stack, running, options, name) for name in roles}
        for member in members.values():
            member.child.wait_until(member.ready, READY_S)
        found = Fleet(tuple(members.values()), members["status"].url)
        options.say(f"The fleet is ready: {', '.join(roles)}; status at {found.status_url}.")
        yield found
    finally:
        with signals_held(deliver=False):
            stack.close()


def environment(running: Running, role: str | None = None) -> dict[str, str]:
    """Return what a process of the fleet needs to join this stack, with the fast profile's intervals.

    Args:
        running: the stack.
        role: as whose user it logs in to the database; absent: the administrator.
    """
    return {**running.environment(role), **FAST_PROFILE}


def with_status(running: Running, found: Fleet) -> Running:
    """Return the stack with the fleet's status endpoint in it."""
    return replace(running, status_url=found.status_url)


def _start(stack: ExitStack, running: Running, options: FleetOptions, name: str) -> Member:
    role = name.partition("-")[0]
    port = free_port(options.port if role == "status" else None)
    program = Program(
        argv=[sys.executable, "-m", "workers.cli", role],
        env={
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            **environment(running, role),
            "PAYMENTS_WORKER_THREADS": str(options.threads),
            "PAYMENTS_POOL_SIZE_MAX": str(max(options.threads + 2, 10)),
            ("PAYMENTS_STATUS_PORT" if role == "status" else "PAYMENTS_HEALTH_PORT"): str(port),
        },
        log_path=options.logs / f"{name}.log",
        name=name,
    )
    return Member(start(stack, program, stop_seconds=STOP_S), f"http://{LOOPBACK}:{port}")
