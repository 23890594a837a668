"""How often something may be done in a minute, whoever asks for it."""

import threading
from collections.abc import Callable

from workers import clock
from workers.logs import logger

WINDOW_S = 60.0
#: How many denied sign-ins are put on record in a minute by one process, unless it is set otherwise.
PER_MINUTE = 60
_log = logger(__name__)


class Allowance:
    """So many a minute, and no more; safe to share between threads. What was left out is counted and logged."""

    def __init__(self, per_minute: int, now: Callable[[], float] = clock.monotonic) -> None:
        """Begin with a whole minute's.

        Args:
            per_minute: how many.
            now: the seconds of a clock that never goes back.
        """
        self._per_minute = per_minute
        self._now = now
        self._lock = threading.Lock()
        self._ends_at = float("-inf")
        self._taken = 0

    def take(self) -> bool:
        """Return whether there is another one in this minute."""
        with self._lock:
            left_out = self._begin() if self._now() >= self._ends_at else 0
            self._taken += 1
            may = self._taken <= self._per_minute
        if left_out:
            _log.warning("denied reads not recorded", count=left_out)
        return may

    def _begin(self) -> int:
        """Begin another minute; return how many were left out in the one before."""
        left_out = max(0, self._taken - self._per_minute)
        self._ends_at, self._taken = self._now() + WINDOW_S, 0
        return left_out
