"""The SQS broker under Dramatiq's real Worker, on the SQS in memory."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from dramatiq.middleware import CurrentMessage
from dramatiq.worker import Worker

from contracts.envelope import Queue
from tests.kit.sqs import URL, MemorySqs, until
from workers.broker import BrokerOptions, SqsBroker
from workers.delivery import Delivery, Settlement, inbound_queue
from workers.metrics import Metrics
from workers.roles.worker import declare_actors

EVENTS = str(Queue.EVENTS)
OPTIONS = BrokerOptions(
    room=16, poll_wait_s=0, visibility_s=30, renew_every_s=30, backoff_s=(5, 15, 45, 120, 300), backoff_jitter=0.2
)
#: How many messages the worker handles at once.
THREADS = 4
Handle = Callable[[Delivery], None]


class Running:
    """A broker with a worker on it."""

    def __init__(self, sqs: MemorySqs, options: BrokerOptions, handle: Handle) -> None:
        self.sqs = sqs
        self.metrics = Metrics()
        queues = [inbound_queue(sqs, queue, URL + queue) for queue in Queue]  # type: ignore[arg-type]
        self.broker = SqsBroker(sqs, queues, options, self.metrics)  # type: ignore[arg-type]

        def actor() -> None:
            delivery: object = CurrentMessage.get_current_message()
            assert isinstance(delivery, Delivery)
            handle(delivery)

        declare_actors(self.broker, actor)
        self.worker = Worker(self.broker, worker_threads=THREADS, worker_timeout=50)

    def start(self) -> None:
        """Start the worker and its broker; whoever calls this stops them too."""
        self.worker.start()
        self.broker.start()

    def lost(self) -> float:
        """How many leases were lost."""
        return self.metrics.registry.get_sample_value("payments_visibility_extensions_total", {"result": "lost"}) or 0

    def settled(self, result: str) -> float:
        """How many events were settled with a result."""
        labels = {"queue": EVENTS, "result": result}
        return self.metrics.registry.get_sample_value("payments_messages_settled_total", labels) or 0


@contextmanager
def running(sqs: MemorySqs, handle: Handle, **options: object) -> Iterator[Running]:
    """Run a broker and its worker; stop them at the end, and see that nothing is left of them."""
    found = Running(sqs, replace(OPTIONS, **options), handle)  # type: ignore[arg-type]
    found.start()
    try:
        yield found
    finally:
        found.worker.stop(timeout=5_000)
        assert found.broker.shut_down(5)
    assert found.broker.held == 0, "something is held still"
    assert set(found.broker.holding._free.values()) == {found.broker.options.room}, "room leaked, or grew"
    assert not [
        thread.name for thread in threading.enumerate() if thread.name.startswith(("poller", "lease", "settler"))
    ]


def backlog(count: int, sqs: MemorySqs | None = None) -> MemorySqs:
    """Return an SQS with so many events, whose bodies are their numbers from 0 on."""
    found = sqs or MemorySqs()
    for number in range(count):
        found.put(EVENTS, str(number))
    return found


def settle(settlement: Settlement, reason: str = "") -> Handle:
    """Return a handler that settles at once."""
    return lambda delivery: delivery.settle_as(settlement, reason)


class AtWork:
    """A handler that is at work on each message until it is released, and has then done it."""

    def __init__(self) -> None:
        self._begun = threading.Semaphore(0)
        self._released = threading.Event()

    def __call__(self, delivery: Delivery) -> None:
        self._begun.release()
        self.work(delivery)
        delivery.settle_as(Settlement.DELETE)

    def work(self, _delivery: Delivery) -> None:
        """Wait for the release."""
        self._released.wait(10)

    def await_begun(self, count: int = THREADS) -> None:
        """Wait until so many messages have been begun."""
        for _ in range(count):
            assert self._begun.acquire(timeout=5), "waited in vain for a message to be begun"

    def release(self) -> None:
        """Let every message go on."""
        self._released.set()


class AtWorkUntilTheStop(AtWork):
    """A handler that is at work until Dramatiq has told its thread to end: nothing is begun after it."""

    def work(self, _delivery: Delivery) -> None:
        """Wait for the stop."""
        thread = threading.current_thread()
        until(lambda: not thread.running, within_s=30)  # type: ignore[attr-defined]
