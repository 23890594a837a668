"""Runs one process of the fleet as it would run on another host: its clock is wrong, and its provider is troubled.

What it does is set by the environment, STORM_CLOCK_SKEW_S, STORM_SEED and STORM_FAULTS, and by a file of rates that
STORM_RATES names and that is read again when it changes. Every fault that struck is a line of the file STORM_FAULTS.
"""

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from contracts.provider import Accepted, Answer, Declined, LookUp, PayoutOrder, TryLater, Unknown
from tests.storm.manifest import DECLINED_ENDING
from workers import cli, clock
from workers.providers import SandboxProvider

SKEWED = "clock: skewed"
DONE_UNKNOWN, LOST, BUSY, SLOW = (
    "provider: time-out after success",
    "provider: time-out before",
    "provider: busy",
    "provider: slow",
)
#: Every kind of fault of the provider, to be set a rate for.
PROVIDER_FAULTS = (DONE_UNKNOWN, LOST, BUSY, SLOW)
_SLOW_S = (0.1, 1.5)
_LOOK_EVERY_S = 0.5


class Trouble:
    """Decides when a fault strikes, and keeps the account of it."""

    def __init__(self, seed: str, rates_path: Path, faults_path: Path) -> None:
        self._random = random.Random(seed)  # noqa: S311 - chooses faults
        self._rates_path = rates_path
        self._file = os.open(faults_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._lock = threading.Lock()
        self._rates: Mapping[str, float] = {}
        self._looked_at = float("-inf")

    def strikes(self, kind: str) -> bool:
        """Whether a fault of this kind strikes now."""
        with self._lock:
            if time.monotonic() - self._looked_at > _LOOK_EVERY_S:
                self._looked_at = time.monotonic()
                self._rates = json.loads(self._rates_path.read_text())
            struck = self._random.random() < self._rates.get(kind, 0.0)
        if struck:
            self.count(kind)
        return struck

    def count(self, kind: str) -> None:
        """Write down that one has struck; one write, so that lines of several processes do not mix."""
        os.write(self._file, f"{json.dumps({'kind': kind})}\n".encode())

    def pause(self) -> None:
        """Take the time of a slow provider."""
        time.sleep(self._random.uniform(*_SLOW_S))


def trouble_provider(trouble: Trouble) -> None:
    """Let the sandbox be as slow, busy and forgetful as a provider behind a network."""
    submit, look_up = SandboxProvider.submit, SandboxProvider.look_up

    def troubled_submit(self: SandboxProvider, order: PayoutOrder) -> Answer:
        if trouble.strikes(SLOW):
            trouble.pause()
        if trouble.strikes(BUSY):
            return TryLater("storm")
        if trouble.strikes(LOST):
            return Unknown("storm")
        answer = declined(order) or submit(self, order)
        return Unknown("storm") if _certain(answer) and trouble.strikes(DONE_UNKNOWN) else answer

    def troubled_look_up(self: SandboxProvider, order: PayoutOrder) -> LookUp:
        if trouble.strikes(SLOW):
            trouble.pause()
        return TryLater("storm") if trouble.strikes(BUSY) else look_up(self, order)

    SandboxProvider.submit = troubled_submit  # type: ignore[method-assign]
    SandboxProvider.look_up = troubled_look_up  # type: ignore[method-assign]


def declined(order: PayoutOrder) -> Declined | None:
    """Return the provider's refusal, for the amounts that it always declines."""
    if order.money.amount_cents % 100 == DECLINED_ENDING:
        return Declined("account_closed", "The account is closed.")
    return None


def _certain(answer: Answer) -> bool:
    return isinstance(answer, Accepted | Declined)


def skew_clock(seconds: float) -> None:
    """Let the wall clock be wrong by so many seconds; intervals are not touched."""
    right: Callable[[], datetime] = clock.now
    clock.now = lambda: right() + timedelta(seconds=seconds)


def main() -> None:
    """Do what the environment says, then run the role that is the argument."""
    trouble = Trouble(os.environ["STORM_SEED"], Path(os.environ["STORM_RATES"]), Path(os.environ["STORM_FAULTS"]))
    skew_s = float(os.environ["STORM_CLOCK_SKEW_S"])
    if skew_s:
        skew_clock(skew_s)
        trouble.count(SKEWED)
    trouble_provider(trouble)
    sys.argv[0] = "payments"
    cli.main()


if __name__ == "__main__":
    main()
