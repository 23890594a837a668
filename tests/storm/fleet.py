"""The fleet in a storm: each process is killed, stopped or frozen, and started again, as a container would be."""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.drills.ground import PROJECT, Process
from tests.storm.servers import Ground
from workers.local.fleet import environment
from workers.local.processes import LOOPBACK, Child, Program, free_port

#: How long a process that was asked to stop may take: the relay's own limit is 30 s.
STOP_S = 45.0
#: How long it may take to its first answer on a machine that is busy with a storm.
START_S = 90.0
#: How often a starting process is asked whether it is at work.
LOOK_EVERY_S = 0.5
#: How wrong the clock of a host may be, in seconds.
SKEW_S = 90.0
#: How many processes of a kind the fleet has.
SIZES: Mapping[str, int] = {"worker": 3, "relay": 3}
#: What differs from the defaults beside the fast profile: leases that can be waited for, early looks at attempts.
PROFILE: Mapping[str, str] = {
    "PAYMENTS_WORKER_THREADS": "8",
    "PAYMENTS_PREFETCH_FACTOR": "4",
    "PAYMENTS_VISIBILITY_S": "8",
    "PAYMENTS_LEASE_RENEW_S": "3",
    "PAYMENTS_CHECK_AFTER_S": "2,4,8",
    "PAYMENTS_SUBMIT_WINDOW_S": "60",  # longer than an order lies in a queue that is behind
    "PAYMENTS_SWEEP_EVERY_S": "1",
    "PAYMENTS_SWEEP_AGAIN_S": "30",
    "PAYMENTS_STUCK_AFTER_S": "30",
    "PAYMENTS_RELAY_LEASE_S": "8",
    "PAYMENTS_RELAY_BACKOFF_MAX_S": "4",
    "PAYMENTS_LOCK_TIMEOUT_S": "3",
    "PAYMENTS_IDLE_IN_TRANSACTION_TIMEOUT_S": "5",
}


@dataclass
class Slot:
    """One place in the fleet; `stage` is down, starting, up, frozen or stopping."""

    role: str
    name: str
    random: random.Random
    stage: str = "down"
    #: When the stage ends, in seconds of the monotonic clock: a start that is due, a thaw, a limit.
    until: float = 0.0
    process: Process | None = None
    runs: int = 0
    #: When a starting process is asked next.
    look_at: float = 0.0

    @property
    def running(self) -> Process:
        """The process, where there must be one."""
        assert self.process is not None, f"{self.name} does not run"
        return self.process


@dataclass
class Fleet:
    """All slots. `findings` is what no storm may cause: (rule, subject, text)."""

    ground: Ground
    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[str, str, str]] = field(default_factory=list)
    #: Starts that failed because of the weather; the supervisor of a container repeats them.
    failed_starts: int = 0

    def __post_init__(self) -> None:
        self.faults_path = self.ground.home / "faults.jsonl"
        self.faults_path.touch()
        self.slots = [
            Slot(role, f"{role}-{number}", random.Random(f"{self.seed} {role} {number}"))  # noqa: S311 - a storm's seed
            for role, size in SIZES.items()
            for number in range(1, size + 1)
        ]

    # -- what the driver does to it

    def up(self, role: str) -> list[Slot]:
        """Return the slots of a role whose process is at work."""
        return [slot for slot in self.slots if slot.role == role and slot.stage == "up"]

    def kill(self, slot: Slot, back_after_s: float) -> None:
        """End a process as a crash would."""
        slot.running.kill()
        self.faults[f"{slot.role}: kill -9"] += 1
        self._down(slot, back_after_s)

    def terminate(self, slot: Slot) -> None:
        """Ask a process to stop; it is started again when it has."""
        slot.running.child.process.send_signal(signal.SIGTERM)
        self.faults[f"{slot.role}: SIGTERM"] += 1
        slot.stage, slot.until = "stopping", time.monotonic() + STOP_S

    def freeze(self, slot: Slot, seconds: float) -> None:
        """Stop the time of a process: for longer than a lease it wakes up without its messages."""
        slot.running.child.process.send_signal(signal.SIGSTOP)
        self.faults[f"{slot.role}: frozen"] += 1
        slot.stage, slot.until = "frozen", time.monotonic() + seconds

    def tend(self) -> None:
        """Start what is due, thaw what is due, and look at every process."""
        for slot in self.slots:
            getattr(self, f"_tend_{slot.stage}")(slot)

    # -- what it does by itself

    def _tend_down(self, slot: Slot) -> None:
        if time.monotonic() >= slot.until:
            self._start(slot)

    def _tend_starting(self, slot: Slot) -> None:
        if not slot.running.child.alive():
            self.failed_starts += 1
            self._down(slot, 1.0)
        elif time.monotonic() >= slot.look_at and self._answers(slot):
            slot.stage = "up"
        elif time.monotonic() > slot.until:
            self._found("hung start", slot, f"no answer within {START_S:.0f} s")
            slot.running.kill()
            self._down(slot, 0.0)

    def _answers(self, slot: Slot) -> bool:
        """Ask a starting process, now and then: the question costs more than it seems."""
        slot.look_at = time.monotonic() + LOOK_EVERY_S
        return answers(slot.running, "/health")

    def _tend_up(self, slot: Slot) -> None:
        child = slot.running.child
        if not child.alive():
            self._found("ended by itself", slot, f"exit code {child.process.returncode}: {child.log_tail(3)}")
            self._down(slot, 0.5)

    def _tend_frozen(self, slot: Slot) -> None:
        if time.monotonic() >= slot.until:
            slot.running.child.process.send_signal(signal.SIGCONT)
            slot.stage = "up"

    def _tend_stopping(self, slot: Slot) -> None:
        child = slot.running.child
        if not child.alive():
            if child.process.returncode != 0:
                text = f"exit code {child.process.returncode}: {child.log_tail(3)}"
                self._found("stop with an error", slot, text)
            self._down(slot, slot.random.uniform(0.0, 1.0))
        elif time.monotonic() > slot.until:
            self._found("hung stop", slot, f"still runs {STOP_S:.0f} s after SIGTERM")
            slot.running.kill()
            self._down(slot, 0.0)

    def _down(self, slot: Slot, seconds: float) -> None:
        slot.stage, slot.until = "down", time.monotonic() + seconds

    def _start(self, slot: Slot) -> None:
        port = free_port()
        slot.runs += 1
        skew_s = slot.random.choice([0.0, slot.random.uniform(-SKEW_S, SKEW_S)])
        program = Program(
            argv=[sys.executable, "-m", "tests.storm.launch", slot.role],
            env={
                "PATH": os.defpath,
                "TZ": "UTC",
                **environment(self.ground.running, slot.role),
                **PROFILE,
                "PAYMENTS_HEALTH_PORT": str(port),
                "STORM_CLOCK_SKEW_S": f"{skew_s:.3f}",
                "STORM_FAULTS": str(self.faults_path),
            },
            log_path=self.ground.home / f"{slot.name}.log",
            name=slot.name,
            cwd=PROJECT,
        )
        slot.process = Process(Child.start(program), f"http://{LOOPBACK}:{port}")
        slot.stage, slot.until = "starting", time.monotonic() + START_S

    def _found(self, rule: str, slot: Slot, text: str) -> None:
        self.findings.append((rule, slot.name, text))

    # -- what it tells

    def process_faults(self) -> Counter[str]:
        """Return what struck inside the processes: wrong clocks."""
        with self.faults_path.open() as lines:
            return Counter(json.loads(line)["kind"] for line in lines)

    def health(self, slot: Slot) -> tuple[int, dict[str, Any]]:
        """Ask a process how it is."""
        return slot.running.get("/health")

    def stop_all(self) -> None:
        """Kill what still runs: the way out when a storm cannot be held."""
        for slot in self.slots:
            if slot.process and slot.process.child.alive():
                slot.process.kill()


def answers(process: Process, path: str) -> bool:
    """Whether a process answers well."""
    return process.get(path)[0] == 200


def settled(fleet: Fleet, ready: Callable[[Slot], bool]) -> bool:
    """Whether every process is at work and `ready` agrees."""
    return all(slot.stage == "up" and ready(slot) for slot in fleet.slots)
