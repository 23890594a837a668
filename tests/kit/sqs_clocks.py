"""The clocks that the model of SQS runs on: the one on the wall, and one that a test moves by hand."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What time it is, in seconds since 1970."""

    def now(self) -> float:
        """Return the time."""

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        """Let so much time pass, or less where the condition is notified."""


class RealClock:
    """The clock on the wall."""

    def now(self) -> float:
        """Return the time."""
        return time.time()

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        """Wait."""
        changed.wait(seconds)


class VirtualClock:
    """A clock that stands still until it is told to go on; who waits for it makes it go on."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        """Return the time."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        """Let time pass at once."""
        del changed
        self.advance(seconds)
