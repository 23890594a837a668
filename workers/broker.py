"""Our own SQS broker for Dramatiq, on its public Broker, Consumer and MessageProxy classes.

What it guarantees, and the hazards behind it, stand in ARCHITECTURE.md. In short: a message is deleted only on an
explicit, committed outcome; anything else leaves the *same* message to come back after a back-off by visibility, and
the queue's own RedrivePolicy has the last word. Every message held, waiting ones too, has its lease renewed.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn, Self

from botocore.exceptions import BotoCoreError, ClientError
from dramatiq import Broker, Consumer, Message, MessageProxy
from dramatiq.middleware import CurrentMessage, Middleware

from contracts.envelope import Arrival, Queue
from workers import clock
from workers.clock import jittered
from workers.quotas import BATCH_MAX, VISIBILITY_MAX_S
from workers.telemetry import Metrics, logger

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

#: How long a poller waits after an error before it asks again, before jitter.
POLL_ERROR_PAUSE_S = 1.0
#: How long settling a message waits for a renewal of its lease that is under way.
RENEWAL_TURN_S = 15.0
#: How often a consumer looks whether it shall stop, and a waiting poller whether there is room.
WAKE_UP_S = 0.2
_AWS_ERRORS = (BotoCoreError, ClientError)
_log = logger(__name__)


class Settlement(Enum):
    """What shall become of a message at its queue."""

    DELETE = "delete"
    RETRY = "retry"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class InboundQueue:
    """One of our queues, with the dead-letter queue that its RedrivePolicy names."""

    queue: Queue
    url: str
    dead_letter_url: str


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """Limits of receiving and holding; durations in seconds."""

    room: int = 16
    poll_wait_s: int = 20
    visibility_s: int = 60
    renew_every_s: float = 20
    hold_max_s: float = 600
    backoff_s: Sequence[float] = (5, 15, 45, 120, 300)
    backoff_jitter: float = 0.2


class Delivery(MessageProxy):
    """One receipt of one SQS message: its body, its lease, and what shall become of it.

    The default is to come back: only an explicit outcome deletes. Dramatiq acknowledges on any exception; here
    neither way out of the actor decides anything.
    """

    def __init__(self, source: InboundQueue, raw: "MessageTypeDef") -> None:
        attributes: dict[str, str] = {str(name): value for name, value in raw.get("Attributes", {}).items()}
        sqs_message_id = raw.get("MessageId", "")
        super().__init__(
            Message(
                queue_name=source.queue,  # the queue it came from, never a name from the body
                actor_name=source.queue,
                args=(),
                kwargs={},
                options={},
                message_id=sqs_message_id,
                message_timestamp=int(attributes.get("SentTimestamp", "0")),
            )
        )
        self.source = source
        self.body = raw.get("Body", "")
        self.receipt_handle = raw.get("ReceiptHandle", "")
        self.attributes = raw.get("MessageAttributes", {})
        self.arrival = Arrival(
            queue=source.queue,
            sqs_message_id=sqs_message_id,
            sent_at=clock.from_milliseconds(attributes.get("SentTimestamp", "0")),
            receive_count=int(attributes.get("ApproximateReceiveCount", "1")),
        )
        self.received_at = clock.monotonic()
        self.settlement = Settlement.RETRY
        self.reason = ""
        self.delay_max_s = float(VISIBILITY_MAX_S)
        self.lease_lost = False

    def settle_as(self, settlement: Settlement, reason: str = "", delay_max_s: float = VISIBILITY_MAX_S) -> None:
        """Say what shall become of the message once its actor has returned.

        Args:
            settlement: delete, retry or dead-letter.
            reason: why, as a code.
            delay_max_s: the longest back-off of a retry, in seconds.
        """
        self.settlement, self.reason, self.delay_max_s = settlement, reason, delay_max_s


class _StopPolling(Middleware):
    """Stops the pollers before Dramatiq's threads: what is received during a stop would only be handed back."""

    def before_worker_shutdown(self, broker: Broker, _worker: Any) -> None:
        if isinstance(broker, SqsBroker):
            broker.stop_polling()


class SqsBroker(Broker):
    """Receives from our queues and settles what was handled. It never sends for others: that is the outbox's part."""

    def __init__(
        self, client: "SQSClient", queues: Iterable[InboundQueue], options: BrokerOptions, metrics: Metrics
    ) -> None:
        super().__init__(middleware=[CurrentMessage(), _StopPolling()])
        self._client = client
        self._sources = {source.queue: source for source in queues}
        self._options = options
        self._metrics = metrics
        self._held: dict[str, Delivery] = {}
        self._renewing: set[str] = set()
        self._changed = threading.Condition(threading.RLock())
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._inbox: dict[Queue, SimpleQueue[Delivery]] = {queue: SimpleQueue() for queue in self._sources}
        self.last_poll: dict[Queue, float] = {}
        self._pollers: list[threading.Thread] = []
        self._keeper = threading.Thread(target=self._keep_leases, name="lease-keeper", daemon=True)

    # -- what Dramatiq calls

    def declare_queue(self, queue_name: str) -> None:
        """Make one of our queues known to the Worker; queues are created by the deployment, never here."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = self._sources[Queue(queue_name)]
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 1000) -> Consumer:  # noqa: ARG002
        """Return a consumer of what the pollers receive; capacity is the broker's own, not Dramatiq's prefetch."""
        return _Consumer(self, Queue(queue_name))

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> NoReturn:
        """Refuse: everything outbound goes through the outbox, in its change's transaction."""
        raise NotImplementedError("send through the outbox, not through the broker")

    # -- life

    def start(self) -> None:
        """Start one poller per declared queue, and the lease keeper."""
        self._keeper.start()
        for queue in self._inbox:
            poller = threading.Thread(target=self._poll, args=(queue,), name=f"poller-{queue}", daemon=True)
            self.last_poll[queue] = clock.monotonic()
            self._pollers.append(poller)
            poller.start()

    def stop_polling(self) -> None:
        """Let no poller ask again; a long poll that is open ends by itself."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()

    def shut_down(self, timeout_s: float) -> bool:
        """End pollers and lease keeper, hand back what waits; return whether everything ended in time.

        A message that is still being handled is left to its lease: handed back, it would run twice at once.
        """
        self.stop_polling()
        deadline = clock.monotonic() + timeout_s
        for poller in self._pollers:
            poller.join(max(0.0, deadline - clock.monotonic()))
        self._stopped.set()
        if self._keeper.is_alive():
            self._keeper.join(max(0.1, deadline - clock.monotonic()))
        for queue in self._inbox:
            self.release_waiting(queue)
        return self.held == 0 and not any(poller.is_alive() for poller in self._pollers)

    def dead_threads(self) -> list[str]:
        """Return the names of pollers and keeper that should be alive and are not."""
        if self._stopping.is_set():
            return []
        return [thread.name for thread in (*self._pollers, self._keeper) if not thread.is_alive()]

    def stuck(self, patience_s: float) -> list[Queue]:
        """Return the queues that have room and whose poller has not asked for so many seconds."""
        now = clock.monotonic()
        late = [queue for queue, polled_at in self.last_poll.items() if now - polled_at > patience_s]
        return [queue for queue in late if self._room(queue) > 0]

    @property
    def held(self) -> int:
        """How many messages are held: waiting or being handled."""
        return len(self._held)

    # -- receiving

    def _poll(self, queue: Queue) -> None:
        while (room := self._wait_for_room(queue)) > 0:
            self.last_poll[queue] = clock.monotonic()  # before the call: a queue that is away is no dead poller
            try:
                self._take_in(queue, self._receive(queue, min(room, BATCH_MAX)))
            except Exception as error:  # noqa: BLE001 - a poller that dies stalls its queue for ever
                _log.warning("poll failed", queue=queue, error=type(error).__name__)
                self._stopping.wait(jittered(POLL_ERROR_PAUSE_S, 0.5))

    def _wait_for_room(self, queue: Queue) -> int:
        """Wait until there is room for another message of this queue; return 0 when the broker stops."""
        with self._changed:
            while not self._stopping.is_set():
                if (room := self._room(queue)) > 0:
                    return room
                self._changed.wait(WAKE_UP_S)
        return 0

    def _room(self, queue: Queue) -> int:
        with self._changed:
            held = sum(1 for delivery in self._held.values() if delivery.source.queue is queue)
        return self._options.room - held

    def _receive(self, queue: Queue, count: int) -> "list[MessageTypeDef]":
        answer = self._client.receive_message(
            QueueUrl=self._sources[queue].url,
            MaxNumberOfMessages=count,
            WaitTimeSeconds=self._options.poll_wait_s,
            VisibilityTimeout=self._options.visibility_s,
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount", "SenderId"],
            MessageAttributeNames=["All"],
        )
        return answer.get("Messages", [])

    def _take_in(self, queue: Queue, received: "list[MessageTypeDef]") -> None:
        deliveries = [Delivery(self._sources[queue], raw) for raw in received]
        if self._stopping.is_set():
            self.release(deliveries)
            return
        with self._changed:
            self._held.update((delivery.receipt_handle, delivery) for delivery in deliveries)
        for delivery in deliveries:
            self._inbox[queue].put(delivery)

    def next_delivery(self, queue: Queue) -> Delivery | None:
        """Return a received message whose lease still stands, or None after a short wait."""
        try:
            delivery = self._inbox[queue].get(timeout=WAKE_UP_S)
        except Empty:
            return None
        if delivery.lease_lost:
            self._let_go(delivery)
            return None
        return delivery

    # -- settling

    def settle(self, delivery: Delivery) -> None:
        """Carry out what the delivery's handler said; whatever fails here leaves the message to its lease."""
        self._let_go(delivery)  # the keeper must not renew what is being settled
        if delivery.lease_lost:
            return  # somebody else has it now; the inbox makes their pass a duplicate
        try:
            self._carry_out(delivery)
        except _AWS_ERRORS as error:
            _log.warning(
                "settling failed",
                queue=delivery.source.queue,
                message_id=delivery.arrival.sqs_message_id,
                settlement=delivery.settlement.value,
                error=type(error).__name__,
            )

    def _carry_out(self, delivery: Delivery) -> None:
        match delivery.settlement:
            case Settlement.DELETE:
                self._delete(delivery)
            case Settlement.DEAD_LETTER:
                self._copy_to_dead_letters(delivery)
                self._delete(delivery)
            case Settlement.RETRY:
                self._back_off(delivery)

    def _delete(self, delivery: Delivery) -> None:
        self._client.delete_message(QueueUrl=delivery.source.url, ReceiptHandle=delivery.receipt_handle)

    def _copy_to_dead_letters(self, delivery: Delivery) -> None:
        """Send the body as it came, with the reason; deleted only after this has been taken."""
        notes = {
            "Reason": delivery.reason,
            "OriginalQueue": str(delivery.source.queue),
            "OriginalMessageId": delivery.arrival.sqs_message_id,
            "OriginalSentAt": delivery.arrival.sent_at.isoformat(),
        }
        kept = dict(list(delivery.attributes.items())[: BATCH_MAX - len(notes)])
        texts: Any = {name: {"DataType": "String", "StringValue": text} for name, text in notes.items() if text}
        self._client.send_message(
            QueueUrl=delivery.source.dead_letter_url, MessageBody=delivery.body, MessageAttributes={**kept, **texts}
        )

    def _back_off(self, delivery: Delivery) -> None:
        schedule = self._options.backoff_s
        delay_s = jittered(
            schedule[min(delivery.arrival.receive_count, len(schedule)) - 1], self._options.backoff_jitter
        )
        held_s = clock.monotonic() - delivery.received_at
        self._set_visibility(delivery, int(min(round(delay_s), delivery.delay_max_s, VISIBILITY_MAX_S - held_s)))

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """Hand messages back at once, for another worker; what fails comes back when its lease ends."""
        for delivery in deliveries:
            self._let_go(delivery)
            with suppress(*_AWS_ERRORS):
                self._set_visibility(delivery, 0)

    def release_waiting(self, queue: Queue) -> None:
        """Hand back what was received but never given to Dramatiq."""
        waiting: list[Delivery] = []
        with suppress(Empty):
            while True:
                waiting.append(self._inbox[queue].get_nowait())
        self.release(waiting)

    def _set_visibility(self, delivery: Delivery, seconds: int) -> None:
        self._client.change_message_visibility(
            QueueUrl=delivery.source.url, ReceiptHandle=delivery.receipt_handle, VisibilityTimeout=seconds
        )

    def _let_go(self, delivery: Delivery) -> None:
        """Forget a delivery, after a renewal that is under way: it would undo the visibility set next."""
        with self._changed:
            self._changed.wait_for(lambda: delivery.receipt_handle not in self._renewing, RENEWAL_TURN_S)
            self._held.pop(delivery.receipt_handle, None)
            self._changed.notify_all()

    # -- leases

    def _keep_leases(self) -> None:
        while not self._stopped.wait(self._options.renew_every_s):
            try:
                self._renew_all()
            except Exception as error:  # noqa: BLE001 - without its keeper every slow message would run twice
                _log.warning("lease renewal failed", error=type(error).__name__)

    def _renew_all(self) -> None:
        with self._changed:
            held = list(self._held.values())
        now = clock.monotonic()
        for delivery in held:
            if now - delivery.received_at > self._options.hold_max_s:
                self._lost(delivery)
        for source in self._sources.values():
            own = [delivery for delivery in held if delivery.source is source and not delivery.lease_lost]
            for chunk in _chunks(own):
                self._renew(source, chunk)

    def _renew(self, source: InboundQueue, chunk: Sequence[Delivery]) -> None:
        with self._changed:
            still = [delivery for delivery in chunk if delivery.receipt_handle in self._held]
            self._renewing = {delivery.receipt_handle for delivery in still}
        try:
            if still:
                self._renew_now(source, still)
        finally:
            with self._changed:
                self._renewing = set()
                self._changed.notify_all()

    def _renew_now(self, source: InboundQueue, chunk: Sequence[Delivery]) -> None:
        try:
            answer = self._client.change_message_visibility_batch(
                QueueUrl=source.url,
                Entries=[
                    {
                        "Id": str(index),
                        "ReceiptHandle": delivery.receipt_handle,
                        "VisibilityTimeout": self._options.visibility_s,
                    }
                    for index, delivery in enumerate(chunk)
                ],
            )
        except _AWS_ERRORS as error:
            _log.warning("lease renewal failed", queue=source.queue, error=type(error).__name__)
            return
        self._metrics.leases.labels("extended").inc(len(answer.get("Successful", [])))
        for failed in answer.get("Failed", []):
            self._lost(chunk[int(failed["Id"])])

    def _lost(self, delivery: Delivery) -> None:
        """Notice that another worker may have the message now; do not fight for it."""
        if delivery.receipt_handle in self._held and not delivery.lease_lost:
            delivery.lease_lost = True
            self._metrics.leases.labels("lost").inc()
            _log.warning("lease lost", queue=delivery.source.queue, message_id=delivery.arrival.sqs_message_id)


class _Consumer(Consumer):
    """What Dramatiq's consumer thread iterates over; it owns nothing, so that a restart of it loses nothing."""

    def __init__(self, broker: SqsBroker, queue: Queue) -> None:
        self._broker = broker
        self._queue = queue

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delivery | None:
        return self._broker.next_delivery(self._queue)

    def ack(self, message: MessageProxy) -> None:
        self._settle(message)

    def nack(self, message: MessageProxy) -> None:
        self._settle(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        self._broker.release(message for message in messages if isinstance(message, Delivery))

    def close(self) -> None:
        self._broker.release_waiting(self._queue)

    def _settle(self, message: MessageProxy) -> None:
        if isinstance(message, Delivery):
            self._broker.settle(message)


def inbound_queue(client: "SQSClient", queue: Queue, url: str) -> InboundQueue:
    """Return a queue with its dead-letter queue.

    Raises:
        MissingRedrivePolicyError: the queue has none, so an exhausted message would come back until it expires.
        botocore.exceptions.ClientError: the queue does not exist, or may not be looked at.
    """
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
    policy = json.loads(answer.get("Attributes", {}).get("RedrivePolicy", "{}"))
    if not policy.get("deadLetterTargetArn"):
        raise MissingRedrivePolicyError(queue)
    name = policy["deadLetterTargetArn"].rsplit(":", 1)[-1]
    return InboundQueue(queue, url, client.get_queue_url(QueueName=name)["QueueUrl"])


class MissingRedrivePolicyError(Exception):
    """A queue has no RedrivePolicy; `deploy/messaging.yaml` gives it one."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(f"{queue} has no RedrivePolicy: deploy it from deploy/messaging.yaml before starting a worker")


def _chunks(deliveries: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
    for start in range(0, len(deliveries), BATCH_MAX):
        yield deliveries[start : start + BATCH_MAX]
