"""An SQS in memory behind boto3's method names: leases, receive counts, stale receipt handles, faults on demand."""

import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError

URL = "http://queues/000000000000/"
#: A long poll of the model looks this often, in seconds.
LOOK_EVERY_S = 0.005


def throttled(operation: str = "Any") -> ClientError:
    """The error of a service that has too much to do."""
    return ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, operation)


def unreachable() -> EndpointConnectionError:
    """The error of a service that is not there."""
    return EndpointConnectionError(endpoint_url=URL)


@dataclass(slots=True)
class Stored:
    """One message of a queue."""

    message_id: str
    body: str
    attributes: dict[str, Any]
    sent_at_ms: int
    visible_at: float = 0.0
    receive_count: int = 0
    receipt: str = ""


@dataclass
class MemorySqs:
    """The client. `calls` holds (operation, arguments) in order; `faults` holds errors to raise, by operation."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    faults: dict[str, deque[Exception]] = field(default_factory=lambda: defaultdict(deque))
    refused: set[str] = field(default_factory=set)  # receipt handles whose batch entries fail
    late: int = 0  # how many entries of batch deletes the service fails to do, by its own fault
    redrive: bool = True

    def __post_init__(self) -> None:
        self._queues: dict[str, dict[str, Stored]] = defaultdict(dict)
        self._lock = threading.RLock()
        self._numbers = count(1)

    # -- for tests

    def put(self, queue: str, body: str, attributes: dict[str, Any] | None = None) -> str:
        """Place a message; return its id."""
        with self._lock:
            message_id = f"message-{next(self._numbers)}"
            stored = Stored(message_id, body, attributes or {}, int(time.time() * 1000))
            self._queues[queue][message_id] = stored
            return message_id

    def held(self, queue: str) -> list[Stored]:
        """Every message of a queue, visible or not."""
        with self._lock:
            return list(self._queues[queue].values())

    def visible_in(self, queue: str) -> list[float]:
        """For how many seconds each message of a queue is still invisible."""
        return [stored.visible_at - time.monotonic() for stored in self.held(queue)]

    def named(self, operation: str) -> list[dict[str, Any]]:
        """The arguments of every call of an operation."""
        return [arguments for name, arguments in list(self.calls) if name == operation]

    def entries(self, operation: str) -> list[dict[str, Any]]:
        """The entries of every batch call of an operation."""
        return [entry for arguments in self.named(operation) for entry in arguments["Entries"]]

    # -- what boto3 offers

    def receive_message(self, **arguments: Any) -> dict[str, Any]:
        self._called("receive_message", arguments)
        deadline = time.monotonic() + arguments["WaitTimeSeconds"]
        while True:
            with self._lock:
                taken = self._take(arguments)
            if taken or time.monotonic() >= deadline:
                return {"Messages": taken} if taken else {}
            time.sleep(LOOK_EVERY_S)

    def delete_message(self, **arguments: Any) -> dict[str, Any]:
        self._called("delete_message", arguments)
        with self._lock:
            for message_id, stored in list(self._queue(arguments).items()):
                if stored.receipt == arguments["ReceiptHandle"]:
                    del self._queue(arguments)[message_id]
        return {}

    def delete_message_batch(self, **arguments: Any) -> dict[str, Any]:
        self._called("delete_message_batch", arguments)
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for entry in arguments["Entries"]:
            if self.late:
                answer["Failed"].append({"Id": entry["Id"], "Code": "InternalError", "SenderFault": False})
                self.late -= 1
                continue
            with self._lock:
                for message_id, stored in list(self._queue(arguments).items()):
                    if stored.receipt == entry["ReceiptHandle"]:
                        del self._queue(arguments)[message_id]
            answer["Successful"].append({"Id": entry["Id"]})  # a stale receipt too: nothing is deleted, none is told
        return answer

    def change_message_visibility(self, **arguments: Any) -> dict[str, Any]:
        self._called("change_message_visibility", arguments)
        self._change(arguments, arguments["ReceiptHandle"], arguments["VisibilityTimeout"])
        return {}

    def change_message_visibility_batch(self, **arguments: Any) -> dict[str, Any]:
        self._called("change_message_visibility_batch", arguments)
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for entry in arguments["Entries"]:
            refused = entry["ReceiptHandle"] in self.refused
            if refused or not self._change(arguments, entry["ReceiptHandle"], entry["VisibilityTimeout"]):
                answer["Failed"].append({"Id": entry["Id"], "Code": "ReceiptHandleIsInvalid", "SenderFault": True})
            else:
                answer["Successful"].append({"Id": entry["Id"]})
        return answer

    def send_message(self, **arguments: Any) -> dict[str, Any]:
        self._called("send_message", arguments)
        queue = arguments["QueueUrl"].removeprefix(URL)
        return {"MessageId": self.put(queue, arguments["MessageBody"], arguments.get("MessageAttributes"))}

    def send_message_batch(self, **arguments: Any) -> dict[str, Any]:
        self._called("send_message_batch", arguments)
        queue = arguments["QueueUrl"].removeprefix(URL)
        sent = [(entry["Id"], self.put(queue, entry["MessageBody"])) for entry in arguments["Entries"]]
        return {"Successful": [{"Id": name, "MessageId": message_id} for name, message_id in sent]}

    def get_queue_attributes(self, **arguments: Any) -> dict[str, Any]:
        self._called("get_queue_attributes", arguments)
        name = arguments["QueueUrl"].removeprefix(URL)
        if "ApproximateNumberOfMessages" in arguments["AttributeNames"]:
            hidden = sum(seconds > 0 for seconds in self.visible_in(name))
            counts = {"": len(self.held(name)) - hidden, "NotVisible": hidden}
            return {"Attributes": {f"ApproximateNumberOfMessages{kind}": str(count) for kind, count in counts.items()}}
        policy = json.dumps({"deadLetterTargetArn": f"arn:aws:sqs:eu:0:{name}-dlq", "maxReceiveCount": "10"})
        return {"Attributes": {"RedrivePolicy": policy}} if self.redrive else {}

    def get_queue_url(self, **arguments: Any) -> dict[str, Any]:
        self._called("get_queue_url", arguments)
        return {"QueueUrl": URL + arguments["QueueName"]}

    # -- inside

    def _called(self, operation: str, arguments: dict[str, Any]) -> None:
        with self._lock:
            self.calls.append((operation, arguments))
            if self.faults[operation]:
                raise self.faults[operation].popleft()

    def _queue(self, arguments: dict[str, Any]) -> dict[str, Stored]:
        return self._queues[arguments["QueueUrl"].removeprefix(URL)]

    def _take(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        now = time.monotonic()
        due = [stored for stored in self._queue(arguments).values() if stored.visible_at <= now]
        taken = due[: arguments["MaxNumberOfMessages"]]
        for stored in taken:
            stored.receive_count += 1
            stored.receipt = f"{stored.message_id}#{stored.receive_count}"
            stored.visible_at = now + arguments["VisibilityTimeout"]
        return [
            {
                "MessageId": stored.message_id,
                "ReceiptHandle": stored.receipt,
                "Body": stored.body,
                "MessageAttributes": stored.attributes,
                "Attributes": {
                    "SentTimestamp": str(stored.sent_at_ms),
                    "ApproximateReceiveCount": str(stored.receive_count),
                },
            }
            for stored in taken
        ]

    def _change(self, arguments: dict[str, Any], receipt: str, seconds: float) -> bool:
        with self._lock:
            for stored in self._queue(arguments).values():
                if stored.receipt == receipt:
                    stored.visible_at = time.monotonic() + seconds
                    return True
        return False


def until(
    found: Callable[[], object], *, within_s: float = 5.0, what: str = "the condition", every_s: float = 0.005
) -> None:
    """Wait for a condition, looking every so many seconds.

    Raises:
        AssertionError: it did not come true in time.
    """
    deadline = time.monotonic() + within_s
    while not found():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(every_s)
