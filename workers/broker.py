"""Our own SQS broker for Dramatiq, on its public Broker, Consumer and MessageProxy classes.

What it guarantees, and the hazards behind it, stand in ARCHITECTURE.md. In short: a message is deleted only on an
explicit, committed outcome; anything else leaves the *same* message to come back after a back-off by visibility, and
the queue's own RedrivePolicy has the last word. Every message held, waiting ones too, has its lease renewed.

Its parts: `polling` receives, `holding` is the room, `leases` keeps what is held, `settling` deletes and hides in
batches. A message changes threads once: a poller puts it on Dramatiq's work queue, and the worker thread that takes
it there also settles it.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

from dramatiq import Broker, Consumer, Message, MessageProxy
from dramatiq.middleware import CurrentMessage, Middleware
from dramatiq.worker import ConsumerThread

from contracts.envelope import Queue
from workers import clock
from workers.clock import between, jittered
from workers.delivery import Delivery, InboundQueue, Settlement
from workers.holding import Holding
from workers.lanes import Lane
from workers.leases import LeaseKeeper
from workers.logs import logger
from workers.metrics import Metrics
from workers.polling import Gate, Pollers, PollOptions
from workers.quotas import ATTRIBUTES_MAX, VISIBILITY_MAX_S
from workers.settling import Settler

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

#: How long the broker's own threads may take to end after the pollers have, in seconds.
END_S = 5.0
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """Limits of receiving, holding and settling; durations in seconds.

    Attributes:
        room: how many messages of one queue are held at most, waiting and being handled.
        payouts_at_once: how many messages of the payouts queue are handled at once: a slow provider must leave
            threads to the other queues.
        pollers: how many pollers a queue has under load.
        poll_wait_s: the long poll.
        visibility_s: the lease.
        renew_every_s: how often leases are renewed.
        hold_max_s: after which time a message is given up.
        backoff_s: the pauses of a retry, by receive count; the last one repeats.
        backoff_jitter: by which share they are made longer or shorter.
        settle_age_s: how long a delete waits for nine others: a tenth of a second fills a request from 100 messages a
            second on, and is what a crash may repeat.
        outage_s: between which bounds a message comes back that met an outage.
    """

    room: int = 32
    payouts_at_once: int = 6
    pollers: int = 2
    poll_wait_s: int = 20
    visibility_s: int = 60
    renew_every_s: float = 20
    hold_max_s: float = 600
    backoff_s: Sequence[float] = (5, 15, 45, 120, 300)
    backoff_jitter: float = 0.2
    settle_age_s: float = 0.1
    outage_s: tuple[float, float] = (30, 60)


class _Hooks(Middleware):
    """What the broker has to know of Dramatiq's threads."""

    def before_worker_shutdown(self, broker: Broker, _worker: Any) -> None:
        """Stop the pollers before Dramatiq's threads: what is received during a stop would only be handed back."""
        if isinstance(broker, SqsBroker):
            broker.stop_polling()

    def after_consumer_thread_boot(self, broker: Broker, thread: ConsumerThread) -> None:
        """Keep the way into the worker."""
        if isinstance(broker, SqsBroker):
            broker.connect(thread)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Mark what is being handled: handed back, it would run twice at once."""
        if isinstance(broker, SqsBroker) and isinstance(message, Delivery):
            broker.holding.begin(message)


class AlwaysOpen:
    """The gate of a broker without a circuit breaker."""

    @property
    def is_open(self) -> bool:
        """Return True."""
        return True

    def is_there(self) -> bool:
        """Return at once."""
        return True

    def wait_open(self, stop: threading.Event) -> bool:
        """Return at once."""
        return not stop.is_set()


class SqsBroker(Broker):
    """Receives from our queues and settles what was handled. It never sends for others: that is the outbox's part."""

    def __init__(
        self,
        client: "SQSClient",
        queues: Iterable[InboundQueue],
        options: BrokerOptions,
        metrics: Metrics,
        gate: Gate | None = None,
        payout_gate: Gate | None = None,
        settling_client: "SQSClient | None" = None,
    ) -> None:
        """Put the parts together.

        Args:
            client: the SQS client that receives; its calls take as long as a long poll.
            queues: the queues.
            options: limits.
            metrics: the process's metrics.
            gate: says whether to receive; by default always.
            payout_gate: the same for the payouts queue, which waits for the provider too; by default the same.
            settling_client: the SQS client that deletes and renews, with timeouts well below a lease; by default
                the same.
        """
        super().__init__(middleware=[CurrentMessage(), _Hooks()])
        sources = list(queues)
        quick = settling_client or client
        self._client = quick
        self._sources = {source.queue: source for source in sources}
        self.options = options
        everywhere: Gate = gate or AlwaysOpen()
        self._gates = {
            queue: payout_gate if payout_gate and queue is Queue.PAYOUTS else everywhere for queue in self._sources
        }
        self._consumers: dict[Queue, ConsumerThread] = {}
        self.holding = Holding(self._sources, options.room)
        self._settler = Settler(quick, options.settle_age_s, metrics)
        self._leases = LeaseKeeper(
            quick,
            self.holding,
            metrics,
            visibility_s=options.visibility_s,
            every_s=options.renew_every_s,
            hold_max_s=options.hold_max_s,
            give_back=self.release,
        )
        everything = options.room * len(sources)
        self._lanes = {
            queue: Lane(options.payouts_at_once if queue is Queue.PAYOUTS else everything, self._to_worker)
            for queue in self._sources
        }
        self._pollers = Pollers(
            client,
            sources,
            self.holding,
            self._gates,
            self._hand_over,
            metrics,
            PollOptions(options.pollers, options.poll_wait_s, options.visibility_s),
        )

    # -- what Dramatiq calls

    def declare_queue(self, queue_name: str) -> None:
        """Make one of our queues known to the Worker; queues are created by the deployment, never here."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = self._sources[Queue(queue_name)]
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 1000) -> Consumer:  # noqa: ARG002
        """Return a consumer that settles; what arrives takes the shorter way, from the poller to the work queue."""
        return _Consumer(self, timeout / 1000)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> NoReturn:
        """Refuse: everything outbound goes through the outbox, in its change's transaction."""
        raise NotImplementedError("send through the outbox, not through the broker")

    def connect(self, thread: ConsumerThread) -> None:
        """Take note of the thread through which a queue's messages reach the worker."""
        self._consumers[Queue(thread.queue_name)] = thread

    # -- life

    def start(self) -> None:
        """Start receiving, after the Worker: what arrives goes straight to it.

        Raises:
            RuntimeError: the Worker has not been started.
        """
        deadline = clock.monotonic() + END_S
        while set(self._consumers) != set(self._sources):
            if clock.monotonic() > deadline:
                raise RuntimeError("start the Worker before the broker")
            clock.sleep(0.01)
        self._settler.start()
        self._leases.start()
        self._pollers.start()

    def stop_polling(self) -> None:
        """Let no poller ask again; a long poll that is open ends by itself."""
        self._pollers.stop()

    def shut_down(self, timeout_s: float) -> bool:
        """End every thread, hand back what waits, settle what is done; return whether all of it was done in time.

        A message that is still being handled is left to its lease: handed back, it would run twice at once.
        """
        deadline = clock.monotonic() + timeout_s
        self.stop_polling()
        self._leases.stop(min(END_S, timeout_s))
        self.release(self.holding.deliveries())
        ended = self._pollers.join(deadline)
        self.release(self.holding.deliveries())
        # What waits now is sent even when the pollers have used up the time, but no request follows a failed one.
        unsent = self._settler.stop(max(deadline, clock.monotonic() + 1))
        return ended and unsent == 0 and len(self.holding) == 0

    def dead_threads(self) -> list[str]:
        """Return the names of threads of the broker that should be alive and are not."""
        if self._pollers.stopping.is_set():
            return []
        threads = (*self._pollers.threads(), self._leases.thread, self._settler.thread)
        return [thread.name for thread in threads if not thread.is_alive()]

    def stuck(self, patience_s: float) -> list[str]:
        """Return what hangs: pollers whose request is open for so long, and messages handled past their time."""
        now = clock.monotonic()
        late_s = self.options.hold_max_s + patience_s
        begun = ((delivery, delivery.begun_at) for delivery in self.holding.deliveries())
        late = [delivery for delivery, begun_at in begun if begun_at is not None and now - begun_at > late_s]
        return self._pollers.stuck(patience_s) + [f"message of {delivery.source.queue}" for delivery in late]

    @property
    def held(self) -> int:
        """How many messages are held: waiting or being handled."""
        return len(self.holding)

    @property
    def busy(self) -> int:
        """How many messages are being handled."""
        return sum(delivery.begun_at is not None for delivery in self.holding.deliveries())

    # -- receiving

    def _hand_over(self, deliveries: list[Delivery]) -> None:
        if self._pollers.stopping.is_set():
            self.release(deliveries)
        elif not self._gates[
            deliveries[0].source.queue
        ].is_there():  # a long poll that was open when the dependency went away
            self.release(deliveries, self.options.outage_s)
        else:
            self._lanes[deliveries[0].source.queue].enter(deliveries)

    def _to_worker(self, delivery: Delivery) -> None:
        self._consumers[delivery.source.queue].handle_message(delivery)

    def handled(self, delivery: Delivery) -> None:
        """Let the next message of its queue have the place of one that a thread has dealt with."""
        self._lanes[delivery.source.queue].left()

    # -- settling

    def settle(self, delivery: Delivery) -> None:
        """Carry out what the delivery's handler said; whatever fails here leaves the message to its lease."""
        try:
            # Handed back already, or somebody else has it: the inbox makes their pass a duplicate.
            if self.holding.let_go(delivery) and not delivery.lease_lost:
                self._carry_out(delivery)
        except Exception as error:  # noqa: BLE001 - it would end one of Dramatiq's threads
            _log.warning(
                "settling failed",
                settlement=delivery.settlement.value,
                error=type(error).__name__,
                **delivery.facts,
            )

    def _carry_out(self, delivery: Delivery) -> None:
        match delivery.settlement:
            case Settlement.DELETE:
                self._settler.delete(delivery)
            case Settlement.DEAD_LETTER:
                self._copy_to_dead_letters(delivery)
                self._settler.delete(delivery)
            case Settlement.RETRY if delivery.lease_stands:
                self._leases.wait_for(delivery)
                self._settler.hide(delivery, self._visibility_s(delivery, self._back_off_s(delivery)))
            case Settlement.RETRY:
                pass  # an ended lease cannot be changed without changing somebody else's

    def _copy_to_dead_letters(self, delivery: Delivery) -> None:
        """Send the body as it came, with the reason; deleted only after this has been taken."""
        notes = {
            "Reason": delivery.reason,
            "OriginalQueue": str(delivery.source.queue),
            "OriginalMessageId": delivery.arrival.sqs_message_id,
            "OriginalSentAt": delivery.arrival.sent_at.isoformat(),
        }
        kept = dict(list(delivery.attributes.items())[: ATTRIBUTES_MAX - len(notes)])
        texts: Any = {name: {"DataType": "String", "StringValue": text} for name, text in notes.items() if text}
        self._client.send_message(
            QueueUrl=delivery.source.dead_letter_url, MessageBody=delivery.body, MessageAttributes={**kept, **texts}
        )

    def _back_off_s(self, delivery: Delivery) -> float:
        if delivery.delay_s is not None:
            return delivery.delay_s
        schedule = self.options.backoff_s
        pause_s = schedule[min(delivery.arrival.receive_count, len(schedule)) - 1]
        return min(jittered(pause_s, self.options.backoff_jitter), delivery.delay_max_s)

    def _visibility_s(self, delivery: Delivery, seconds: float) -> int:
        left_s = VISIBILITY_MAX_S - (clock.monotonic() - delivery.received_at)
        return int(min(round(seconds), left_s))

    def release(self, deliveries: Iterable[Delivery], bounds_s: tuple[float, float] = (0, 0)) -> None:
        """Hand messages back, for another worker or for later; what fails comes back when its lease ends.

        It waits for no request: the settler's thread sends, and a renewal under way that undoes it costs a lease.

        Args:
            deliveries: what is held and not being handled.
            bounds_s: between how many seconds each of them comes back; by default at once.
        """
        for delivery in deliveries:
            if self.holding.let_go(delivery, unless_begun=True) and delivery.lease_stands:
                self._settler.give_back(delivery, self._visibility_s(delivery, between(*bounds_s)))

    def release_waiting(self, queue: Queue | None = None) -> None:
        """Hand back what nobody has begun, of one queue or of all, for after an outage."""
        waiting = (held for held in self.holding.deliveries() if queue is None or held.source.queue is queue)
        self.release(waiting, self.options.outage_s)


class _Consumer(Consumer):
    """What Dramatiq's consumer thread iterates over; it owns nothing, so that a restart of it loses nothing."""

    def __init__(self, broker: SqsBroker, timeout_s: float) -> None:
        self._broker = broker
        self._timeout_s = timeout_s

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> None:
        clock.sleep(self._timeout_s)

    def ack(self, message: MessageProxy) -> None:
        self._settle(message)

    def nack(self, message: MessageProxy) -> None:
        self._settle(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        self._broker.release(message for message in messages if isinstance(message, Delivery))

    def close(self) -> None:
        """Do nothing: what is held is the broker's."""

    def _settle(self, message: MessageProxy) -> None:
        if isinstance(message, Delivery):
            self._broker.settle(message)
            self._broker.handled(message)
