"""The pollers: several per queue, each asking only when there is room for ten, the further ones only under load."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from contracts.envelope import Queue
from workers import catalogue, clock
from workers.clock import jittered
from workers.delivery import Delivery, InboundQueue
from workers.holding import Holding
from workers.logs import logger
from workers.metrics import Metrics

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

#: How long a poller waits after an error before it asks again, before jitter.
POLL_ERROR_PAUSE_S = 1.0
_log = logger(__name__)


class Gate(Protocol):
    """Says whether messages may be asked for now."""

    @property
    def is_open(self) -> bool:
        """Whether they may."""

    def is_there(self) -> bool:
        """Wait for the verdict where one is pending; return whether they may be handled."""

    def wait_open(self, stop: threading.Event) -> bool:
        """Wait until they may, or until `stop`; return False when nothing shall be asked for any more."""


@dataclass(frozen=True, slots=True)
class PollOptions:
    """How to ask: pollers for each queue, the long poll and the lease in seconds."""

    per_queue: int
    wait_s: int
    visibility_s: int


@dataclass(slots=True)
class _Poller:
    queue: Queue
    number: int
    thread: threading.Thread = field(init=False)
    #: When it asked, while its request is open; a poller that waits for room or load asks nobody.
    asked_at: float | None = None


class Pollers:
    """Receives from every queue and hands over what arrives.

    The first poller of a queue always asks. A further one joins while receives come back full: an idle queue costs
    one long poll at a time, a backlog is fetched in parallel.
    """

    def __init__(
        self,
        client: "SQSClient",
        sources: Sequence[InboundQueue],
        holding: Holding,
        gates: Mapping[Queue, Gate],
        arrived: Callable[[list[Delivery]], None],
        metrics: Metrics,
        options: PollOptions,
    ) -> None:
        """Keep the limits.

        Args:
            client: the SQS client.
            sources: the queues.
            holding: where room is reserved and deliveries are held.
            gates: whether to ask a queue now.
            arrived: is given what was received, already held, in the poller's own thread; must not raise.
            metrics: the process's metrics.
            options: limits.
        """
        self._client = client
        self._sources = {source.queue: source for source in sources}
        self._holding = holding
        self._gates = gates
        self._arrived = arrived
        self._metrics = metrics
        self._options = options
        self._stopping = threading.Event()
        self._load = threading.Condition()
        self._loaded: set[Queue] = set()
        self._pollers = [_Poller(queue, number) for queue in self._sources for number in range(options.per_queue)]
        for poller in self._pollers:
            name = f"poller-{poller.queue}-{poller.number}"
            poller.thread = threading.Thread(target=self._run, args=(poller,), name=name, daemon=True)

    @property
    def stopping(self) -> threading.Event:
        """Set once nothing shall be asked for any more."""
        return self._stopping

    def start(self) -> None:
        """Start asking."""
        for poller in self._pollers:
            poller.thread.start()

    def stop(self) -> None:
        """Let no poller ask again; a long poll that is open ends by itself."""
        self._stopping.set()
        self._holding.close()
        with self._load:
            self._load.notify_all()

    def join(self, deadline: float) -> bool:
        """Wait until every poller has ended, at most until a deadline; return whether they have."""
        for poller in self._pollers:
            if poller.thread.is_alive():
                poller.thread.join(max(0.0, deadline - clock.monotonic()))
        return not any(poller.thread.is_alive() for poller in self._pollers)

    def threads(self) -> list[threading.Thread]:
        """Return the threads that should be alive."""
        return [poller.thread for poller in self._pollers]

    def stuck(self, patience_s: float) -> list[str]:
        """Return the pollers whose request has been open for longer than so many seconds."""
        now = clock.monotonic()
        asking = [(poller.thread.name, poller.asked_at) for poller in self._pollers]
        return [name for name, asked_at in asking if asked_at is not None and now - asked_at > patience_s]

    def _run(self, poller: _Poller) -> None:
        while self._wait_for_turn(poller) and (room := self._holding.reserve(poller.queue)):
            held = self._ask(poller, room)
            if held is None:
                self._stopping.wait(jittered(POLL_ERROR_PAUSE_S, 0.5))
            elif held:
                self._arrived(held)

    def _wait_for_turn(self, poller: _Poller) -> bool:
        """Wait until this poller shall ask; return False when the broker stops."""
        if not self._gates[poller.queue].wait_open(self._stopping):
            return False
        if poller.number:
            with self._load:
                self._load.wait_for(lambda: self._stopping.is_set() or poller.queue in self._loaded)
        return not self._stopping.is_set()

    def _ask(self, poller: _Poller, room: int) -> list[Delivery] | None:
        """Ask once, for no more than there is room; return what is now held, or None when the queue did not answer."""
        held: list[Delivery] = []
        try:
            if self._gates[poller.queue].is_open:  # the wait for room may have been long
                poller.asked_at = clock.monotonic()
                source = self._sources[poller.queue]
                held = [Delivery(source, raw, self._options.visibility_s) for raw in self._receive(source, room)]
                self._note_load(poller.queue, full=len(held) == room)
        except Exception as error:  # noqa: BLE001 - a poller that dies stalls its queue for ever
            _log.warning("poll failed", queue=poller.queue, error=type(error).__name__)
            return None
        finally:
            poller.asked_at = None
            self._holding.take_in(poller.queue, room, held)
        return held

    def _receive(self, source: InboundQueue, count: int) -> "list[MessageTypeDef]":
        answer = self._client.receive_message(
            QueueUrl=source.url,
            MaxNumberOfMessages=count,
            WaitTimeSeconds=self._options.wait_s,
            VisibilityTimeout=self._options.visibility_s,
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount", "SenderId", "AWSTraceHeader"],
            MessageAttributeNames=["All"],
        )
        self._metrics.set(catalogue.LAST_POLL, clock.now().timestamp(), source.queue)
        received = answer.get("Messages", [])
        self._metrics.inc(catalogue.RECEIVED, source.queue, by=len(received))
        return received

    def _note_load(self, queue: Queue, *, full: bool) -> None:
        with self._load:
            if full and queue not in self._loaded:
                self._loaded.add(queue)
                self._load.notify_all()
            elif not full:
                self._loaded.discard(queue)
