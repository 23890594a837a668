"""How many messages of one queue are handled at once, so that a slow kind does not take every thread."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from workers.delivery import Delivery


class Lane:
    """Hands over as many deliveries as may be handled at once; the others wait here, and keep no thread."""

    def __init__(self, width: int, hand_over: Callable[[Delivery], None]) -> None:
        """Keep the width.

        Args:
            width: how many may be handled at once.
            hand_over: puts one on the way to a thread; must not wait.
        """
        self._width = width
        self._hand_over = hand_over
        self._waiting: deque[Delivery] = deque()
        self._under_way = 0
        self._lock = threading.Lock()

    def enter(self, deliveries: Sequence[Delivery]) -> None:
        """Queue deliveries, in order."""
        with self._lock:
            self._waiting.extend(deliveries)
            self._advance()

    def left(self) -> None:
        """Say that one that was handed over has been dealt with, whatever became of it."""
        with self._lock:
            self._under_way -= 1
            self._advance()

    def _advance(self) -> None:
        while self._waiting and self._under_way < self._width:
            self._under_way += 1
            self._hand_over(self._waiting.popleft())
