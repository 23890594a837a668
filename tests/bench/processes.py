"""The processes of a contestant: started, stopped in time and thawed, and their CPU and memory read from the kernel."""

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from workers.local.aws import PROJECT_ROOT
from workers.local.processes import Child, Program, start

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_MIB = 1024


@dataclass
class Measured:
    """One process, and what it has used so far."""

    name: str
    child: Child

    @classmethod
    def start(
        cls, stack: ExitStack, name: str, module: str, *arguments: str, env: Mapping[str, str], log_path: Path
    ) -> "Measured":
        """Start a Python module; it is killed with `stack`: what it would end in good order goes with it anyway."""
        program = Program(
            argv=[sys.executable, "-m", module, *arguments],
            env={"PATH": os.defpath, "TZ": "UTC", **env},
            log_path=log_path,
            name=name,
            stop_signal=signal.SIGKILL,
            cwd=PROJECT_ROOT,
        )
        return cls(name, start(stack, program))

    def cpu_s(self) -> float:
        """CPU time used so far, by the program and by the kernel for it."""
        return cpu_s(self.child.pid)

    def peak_mib(self) -> float:
        """The most memory that it ever held, in MiB."""
        return _status_mib(self.child.pid, "VmHWM")

    def memory_mib(self) -> float:
        """The memory that it holds, in MiB."""
        return _status_mib(self.child.pid, "VmRSS")

    def freeze(self) -> None:
        """Stop its time."""
        self.child.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.child.process.send_signal(signal.SIGCONT)


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process, in seconds, of its own and of the children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) * _TICK_S


def cpu_of_tree_s(pid: int) -> float:
    """Return the CPU time of a process and of the children that it has now: Postgres with its backends."""
    total = 0.0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended just now, and its parent has its time
            total += cpu_s(int(child))
    return total + cpu_s(pid)


def _status_mib(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / _MIB
