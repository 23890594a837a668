"""One receipt of one SQS message: its body, its lease, and what shall become of it."""

import json
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from dramatiq import Message, MessageProxy

from contracts.envelope import Arrival, Queue
from contracts.traces import TRACEPARENT, TraceContext, handling
from contracts.values import dataclass
from workers import clock
from workers.quotas import BATCH_MAX, VISIBILITY_MAX_S

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueOutputTypeDef, MessageTypeDef

T = TypeVar("T")


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


class MissingRedrivePolicyError(Exception):
    """A queue has no RedrivePolicy; `deploy/messaging.yaml` gives it one."""

    def __init__(self, queue: Queue) -> None:
        super().__init__(f"{queue} has no RedrivePolicy: deploy it from deploy/messaging.yaml before starting a worker")


class Delivery(MessageProxy):
    """A message as one receive brought it.

    The default is to come back: only an explicit outcome deletes. Dramatiq acknowledges on any exception; here
    neither way out of the actor decides anything.
    """

    def __init__(self, source: InboundQueue, raw: "MessageTypeDef", lease_s: float = VISIBILITY_MAX_S) -> None:
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
            # A role shows as its unique id and the session's name, which is chosen by whoever takes the role.
            sender=attributes.get("SenderId", "").partition(":")[0] or None,
            traceparent=_text(self.attributes.get(TRACEPARENT)),
            trace_header=attributes.get("AWSTraceHeader"),
        )
        self.received_at = clock.monotonic()
        self.lease_until = self.received_at + lease_s
        self.lease_lost = False
        self._trace: TraceContext | None = None
        self.begun_at: float | None = None
        self.settlement = Settlement.RETRY
        self.reason = ""
        self.delay_s: float | None = None
        self.delay_max_s = float(VISIBILITY_MAX_S)

    @property
    def lease_stands(self) -> bool:
        """Whether the message is still ours alone; if not, another worker may have it now."""
        return not self.lease_lost and clock.monotonic() < self.lease_until

    @property
    def trace(self) -> TraceContext:
        """The context that it is handled in: until its body is read, by the word of its queue alone."""
        if self._trace is None:
            caller, trace_id = self.arrival.trace()
            self._trace = handling(trace_id, caller, "sqs", self.arrival.sqs_message_id)
        return self._trace

    @trace.setter
    def trace(self, found: TraceContext) -> None:
        self._trace = found

    @property
    def facts(self) -> dict[str, str]:
        """What every log line about it says of it."""
        return {
            "queue": self.source.queue,
            "message_id": self.arrival.sqs_message_id,
            "trace_id": self.trace.trace_id,
            "span_id": self.trace.span_id,
        }

    def settle_as(
        self,
        settlement: Settlement,
        reason: str = "",
        *,
        delay_s: float | None = None,
        delay_max_s: float = VISIBILITY_MAX_S,
    ) -> None:
        """Say what shall become of the message once its actor has returned.

        Args:
            settlement: delete, retry or dead-letter.
            reason: why, as a code.
            delay_s: after how many seconds a retry comes back, instead of the schedule's next pause.
            delay_max_s: the longest back-off of a retry, in seconds.
        """
        self.settlement, self.reason, self.delay_s, self.delay_max_s = settlement, reason, delay_s, delay_max_s


def _text(attribute: "MessageAttributeValueOutputTypeDef | None") -> str | None:
    return attribute.get("StringValue") if attribute else None


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


def tens(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut a sequence into what one batch request carries."""
    for start in range(0, len(items), BATCH_MAX):
        yield items[start : start + BATCH_MAX]
