"""What this process holds of each queue, and how much more it has room for."""

import threading
from collections.abc import Iterable, Mapping, Sequence

from contracts.envelope import Queue
from workers import clock
from workers.delivery import Delivery
from workers.quotas import BATCH_MAX


class Holding:
    """The deliveries held, waiting and being handled, and the room that is left.

    A place is reserved before a message is asked for, so that no more arrive than there is room for. Every
    delivery leaves exactly once: whoever `let_go` tells so may settle it, and nobody else.
    """

    def __init__(self, queues: Iterable[Queue], room: int) -> None:
        self._held: dict[str, Delivery] = {}
        self._lock = threading.Lock()
        self._free = dict.fromkeys(queues, room)
        self._freed: Mapping[Queue, threading.Condition] = {
            queue: threading.Condition(self._lock) for queue in self._free
        }
        # Half of a small room: else one slow message, as long as it is handled, would keep its whole queue waiting.
        self._batch = max(1, min(BATCH_MAX, room // 2))
        self._closed = False

    def reserve(self, queue: Queue) -> int:
        """Wait until there is room for a whole batch and reserve it; return its size, or 0 once closed.

        Asking for fewer would turn one request per ten messages into one per message.
        """
        with self._lock:
            self._freed[queue].wait_for(lambda: self._closed or self._free[queue] >= self._batch)
            if self._closed:
                return 0
            self._free[queue] -= self._batch
            return self._batch

    def take_in(self, queue: Queue, reserved: int, deliveries: Sequence[Delivery]) -> None:
        """Hold what a reservation has brought, and give back what it did not need."""
        with self._lock:
            self._held.update((delivery.receipt_handle, delivery) for delivery in deliveries)
            self._give_back(queue, reserved - len(deliveries))

    def begin(self, delivery: Delivery) -> bool:
        """Mark a delivery as being handled; return whether it is held still, and so may be."""
        with self._lock:
            held = self._held.get(delivery.receipt_handle) is delivery
            delivery.begun_at = clock.monotonic() if held else None
            return held

    def let_go(self, delivery: Delivery, *, unless_begun: bool = False) -> bool:
        """Forget a delivery; return whether it was held, which is true once.

        Args:
            delivery: what is settled, or handed back.
            unless_begun: keep it when it is being handled: handed back, it would run twice at once.
        """
        with self._lock:
            if self._held.get(delivery.receipt_handle) is not delivery or (
                unless_begun and delivery.begun_at is not None
            ):
                return False
            del self._held[delivery.receipt_handle]
            self._give_back(delivery.source.queue, 1)
            return True

    def holds(self, delivery: Delivery) -> bool:
        """Whether a delivery is held."""
        return self._held.get(delivery.receipt_handle) is delivery

    def deliveries(self) -> list[Delivery]:
        """Return everything held, the oldest first."""
        with self._lock:
            return list(self._held.values())

    def __len__(self) -> int:
        """Return how many are held."""
        return len(self._held)

    def close(self) -> None:
        """Let nobody wait for room any more."""
        with self._lock:
            self._closed = True
            for freed in self._freed.values():
                freed.notify_all()

    def _give_back(self, queue: Queue, places: int) -> None:
        self._free[queue] += places
        if self._free[queue] >= self._batch:  # one is enough: who takes the room leaves none for the next
            self._freed[queue].notify()
