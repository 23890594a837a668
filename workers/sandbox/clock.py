"""The provider's own clock: the wall clock, and as much later as it was told."""

import threading
from datetime import datetime, timedelta

from workers import clock


class Clock:
    """The time as the provider has it; it can be moved on, so that a day passes in no time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset_s = 0.0

    @property
    def offset_s(self) -> float:
        """How many seconds it is ahead of the wall clock."""
        with self._lock:
            return self._offset_s

    def advance(self, seconds: float) -> float:
        """Move it on and return the new offset.

        Raises:
            ValueError: it would go back.
        """
        if seconds < 0:
            raise ValueError("a provider's clock does not go back")
        with self._lock:
            self._offset_s += seconds
            return self._offset_s

    def set_offset(self, seconds: float) -> None:
        """Put it so many seconds ahead of the wall clock, as a journal remembers it."""
        with self._lock:
            self._offset_s = seconds

    def now(self) -> datetime:
        """Return the provider's time."""
        return clock.now() + timedelta(seconds=self.offset_s)

    def timestamp(self) -> int:
        """Return the provider's time in whole seconds since the epoch, as its objects carry it."""
        return int(self.now().timestamp())
