"""A model of Amazon SQS's standard queues behind boto3's method names: in memory, seeded, on a clock of the test's own.

It follows AWS's documentation, page by page where a rule stands (`tests/conformance` holds it against real servers):
leases, receive counts, receipt handles, redrive, delays, retention, batch limits, long polls. And it can be as unkind
as the service may be: duplicates, other orders, throttling, errors, broken connections before and after success,
batches that fail in part, deletes that come late.
"""

import hashlib
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

URL = "http://queues/000000000000/"
_ARN = "arn:aws:sqs:us-east-1:000000000000:"
#: AWS, "Amazon SQS message quotas" and "SetQueueAttributes".
BATCH_MAX, BODY_BYTES_MAX, ATTRIBUTES_MAX, IN_FLIGHT_MAX = 10, 1_048_576, 10, 120_000
WAIT_MAX_S, DELAY_MAX_S, VISIBILITY_MAX_S = 20, 900, 43_200
_ALLOWED = re.compile(r"[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
_DEFAULTS = {
    "VisibilityTimeout": "30",
    "DelaySeconds": "0",
    "MessageRetentionPeriod": "345600",
    "ReceiveMessageWaitTimeSeconds": "0",
}
#: How late a late delete is, in seconds.
_LATE_S = 0.5


class Clock(Protocol):
    """What time it is, in seconds since 1970."""

    def now(self) -> float:
        """Return the time."""

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        """Let so much time pass, or less where the condition is notified."""


class RealClock:
    """The clock on the wall."""

    def now(self) -> float:
        """Return the time."""
        return time.time()

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        """Wait."""
        changed.wait(seconds)


class VirtualClock:
    """A clock that stands still until it is told to go on; who waits for it makes it go on."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        """Return the time."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        """Let time pass at once."""
        del changed
        self.advance(seconds)


def error(code: str, operation: str = "Any", status: int = 400, message: str = "") -> ClientError:
    """Return an error as botocore raises it."""
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


#: What may happen to a request, whatever it asks for.
WHOLE = ("throttled", "error_500", "error_503", "reset_before", "reset_after", "timeout_after")
#: What may happen to a batch, to a delete, to what is received.
ENTRIES_FAILED, LATE_DELETE, DUPLICATE, SHUFFLED = "entries_failed", "late_delete", "duplicate", "shuffled"
KINDS = (*WHOLE, ENTRIES_FAILED, LATE_DELETE, DUPLICATE, SHUFFLED)


@dataclass(slots=True)
class Faults:
    """A seeded plan of faults: the chance of each kind, and how often each has struck."""

    seed: int = 0
    rates: Mapping[str, float] = field(default_factory=dict)
    struck: Counter[str] = field(default_factory=Counter)
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        assert set(self.rates) <= set(KINDS), self.rates
        self.chance = random.Random(self.seed)  # noqa: S311 - a plan that can be repeated

    def strikes(self, *kinds: str) -> str | None:
        """Return which of some kinds strikes now, if any."""
        for kind in kinds:
            if self.chance.random() < self.rates.get(kind, 0.0):
                self.struck[kind] += 1
                return kind
        return None


@dataclass(slots=True)
class Stored:
    """One message of a queue; times in seconds since 1970, `receipt` is the one that counts."""

    message_id: str
    body: str
    attributes: dict[str, Any]
    sent_at: float
    visible_at: float
    receive_count: int = 0
    receipt: str = ""
    first_received_at: float | None = None
    received_at: float = 0.0
    source_arn: str | None = None

    @property
    def sent_at_ms(self) -> int:
        """When it was first sent, as SentTimestamp says."""
        return int(self.sent_at * 1000)


@dataclass(slots=True)
class Stock:
    """A queue: its attributes, and its messages by their ids in the order of arrival."""

    name: str
    attributes: dict[str, str]
    messages: dict[str, Stored] = field(default_factory=dict)

    def seconds(self, name: str) -> int:
        """Return an attribute that is a number of seconds."""
        return int(self.attributes[name])


class SqsModel:
    """The client."""

    def __init__(self, clock: Clock | None = None, faults: Faults | None = None) -> None:
        self.clock = clock or RealClock()
        self.plan = faults or Faults()
        self._queues: dict[str, Stock] = {}
        self._changed = threading.Condition(threading.RLock())
        self._numbers = count(1)
        self._receipts: dict[str, str] = {}
        self._later: list[tuple[float, Callable[[], object]]] = []

    # -- queues

    def create_queue(self, *, QueueName: str, Attributes: Mapping[str, str] | None = None) -> dict[str, Any]:  # noqa: N803
        """Create a queue."""
        with self._changed:
            self._queues[QueueName] = Stock(QueueName, {**_DEFAULTS, **(Attributes or {})})
        return {"QueueUrl": URL + QueueName}

    def get_queue_url(self, **arguments: Any) -> dict[str, Any]:
        """Return the URL of a queue."""
        url = URL + arguments["QueueName"]
        return self._asked("get_queue_url", arguments, lambda: {"QueueUrl": URL + self._at(url).name})

    def get_queue_attributes(self, **arguments: Any) -> dict[str, Any]:
        """Return attributes; those counts that AWS calls approximate are exact."""

        def do() -> dict[str, Any]:
            queue = self._at(arguments["QueueUrl"])
            known = {**queue.attributes, "QueueArn": _ARN + queue.name, **self._counts(queue)}
            wanted = arguments["AttributeNames"]
            return {"Attributes": {name: known[name] for name in known if name in wanted or "All" in wanted}}

        return self._asked("get_queue_attributes", arguments, do)

    def _counts(self, queue: Stock) -> dict[str, str]:
        now, messages = self.clock.now(), list(queue.messages.values())
        hidden = [stored for stored in messages if stored.visible_at > now]
        in_flight = sum(bool(stored.receipt) for stored in hidden)
        counts = {"": len(messages) - len(hidden), "NotVisible": in_flight, "Delayed": len(hidden) - in_flight}
        return {f"ApproximateNumberOfMessages{kind}": str(number) for kind, number in counts.items()}

    # -- sending

    def send_message(self, **arguments: Any) -> dict[str, Any]:
        """Send a message."""
        return self._asked("send_message", arguments, lambda: self._send(arguments["QueueUrl"], arguments))

    def send_message_batch(self, **arguments: Any) -> dict[str, Any]:
        """Send up to ten messages."""
        entries = arguments["Entries"]

        def do() -> dict[str, Any]:
            if sum(_bytes(entry) for entry in entries) > BODY_BYTES_MAX:
                raise error("AWS.SimpleQueueService.BatchRequestTooLong")
            return self._batch("send_message_batch", entries, lambda entry: self._send(arguments["QueueUrl"], entry))

        return self._asked("send_message_batch", arguments, do)

    def _send(self, url: str, sent: Mapping[str, Any]) -> dict[str, Any]:
        queue, body = self._at(url), sent["MessageBody"]
        attributes = dict(sent.get("MessageAttributes") or {})
        if not body or not _ALLOWED.fullmatch(body):
            raise error("InvalidMessageContents" if body else "MissingParameter")
        if _bytes(sent) > BODY_BYTES_MAX or len(attributes) > ATTRIBUTES_MAX:
            raise error("InvalidParameterValue")
        delay_s = _within(sent.get("DelaySeconds", queue.seconds("DelaySeconds")), 0, DELAY_MAX_S)
        stored = self._store(queue, body, attributes, delay_s)
        return {"MessageId": stored.message_id, "MD5OfMessageBody": _md5(body)}

    def _store(self, queue: Stock, body: str, attributes: dict[str, Any], delay_s: float = 0) -> Stored:
        now = self.clock.now()
        stored = Stored(f"message-{next(self._numbers)}", body, attributes, now, now + delay_s)
        queue.messages[stored.message_id] = stored
        self._changed.notify_all()
        return stored

    # -- receiving

    def receive_message(self, **arguments: Any) -> dict[str, Any]:
        """Receive up to ten messages; wait for them up to twenty seconds, and no longer than for the first."""

        def do() -> dict[str, Any]:
            queue = self._at(arguments["QueueUrl"])
            most = _within(arguments.get("MaxNumberOfMessages", 1), 1, BATCH_MAX)
            wait_s = arguments.get("WaitTimeSeconds", queue.seconds("ReceiveMessageWaitTimeSeconds"))
            hide_s = arguments.get("VisibilityTimeout", queue.seconds("VisibilityTimeout"))
            deadline = self.clock.now() + _within(wait_s, 0, WAIT_MAX_S)
            taken = self._await(queue, most, _within(hide_s, 0, VISIBILITY_MAX_S), deadline)
            return {"Messages": taken} if taken else {}

        return self._asked("receive_message", arguments, do)

    def _await(self, queue: Stock, most: int, hide_s: float, deadline: float) -> list[dict[str, Any]]:
        while True:
            self._let_happen()
            taken = self._take(queue, most, hide_s)
            left_s = deadline - self.clock.now()
            if taken or left_s <= 0:
                return taken
            due = [stored.visible_at - self.clock.now() for stored in queue.messages.values()]
            self.clock.wait(self._changed, max(0.001, min([left_s, *due])))

    def _take(self, queue: Stock, most: int, hide_s: float) -> list[dict[str, Any]]:
        now = self.clock.now()
        due = [stored for stored in queue.messages.values() if stored.visible_at <= now]
        if len(due) > 1 and self.plan.strikes(SHUFFLED):
            self.plan.chance.shuffle(due)
        taken: list[dict[str, Any]] = []
        for stored in due:
            if len(taken) == most or self._redriven(queue, stored):
                continue
            if int(self._counts(queue)["ApproximateNumberOfMessagesNotVisible"]) >= IN_FLIGHT_MAX:
                raise error("OverLimit")
            taken.append(self._delivered(stored, now, hide_s))
        return taken

    def _delivered(self, stored: Stored, now: float, hide_s: float) -> dict[str, Any]:
        stored.receive_count += 1
        stored.receipt = f"{stored.message_id}#{stored.receive_count}"
        self._receipts[stored.receipt] = stored.message_id
        stored.first_received_at = stored.first_received_at or now
        stored.received_at, stored.visible_at = now, now + hide_s
        if self.plan.strikes(DUPLICATE):
            stored.visible_at = now  # at-least-once delivery: a copy of it was not there to be hidden
        return _told(stored)

    def _redriven(self, queue: Stock, stored: Stored) -> bool:
        """Move a message to the dead letters instead of delivering it once more than the policy says."""
        policy = json.loads(queue.attributes.get("RedrivePolicy", "null"))
        if not policy or stored.receive_count < int(policy["maxReceiveCount"]):
            return False
        del queue.messages[stored.message_id]
        target = self._at(URL + policy["deadLetterTargetArn"].rsplit(":", 1)[-1])
        stored.source_arn, stored.receipt, stored.visible_at = _ARN + queue.name, "", self.clock.now()
        target.messages[stored.message_id] = stored
        return True

    # -- deleting and hiding

    def delete_message(self, **arguments: Any) -> dict[str, Any]:
        """Delete a message."""
        return self._asked("delete_message", arguments, lambda: self._delete(arguments["QueueUrl"], arguments))

    def delete_message_batch(self, **arguments: Any) -> dict[str, Any]:
        """Delete up to ten messages."""
        url, entries = arguments["QueueUrl"], arguments["Entries"]
        do = lambda: self._batch("delete_message_batch", entries, lambda entry: self._delete(url, entry))  # noqa: E731
        return self._asked("delete_message_batch", arguments, do)

    def _delete(self, url: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Delete by the newest receipt; by an older one it is said to be done, and is not (DeleteMessage, "Note")."""
        queue, receipt = self._at(url), entry["ReceiptHandle"]
        if receipt not in self._receipts:
            raise error("ReceiptHandleIsInvalid")
        if self.plan.strikes(LATE_DELETE):
            self._later.append((self.clock.now() + _LATE_S, lambda: self._gone(queue, receipt)))
        else:
            self._gone(queue, receipt)
        return {}

    def _gone(self, queue: Stock, receipt: str) -> None:
        stored = queue.messages.get(self._receipts[receipt])
        if stored and stored.receipt == receipt:
            del queue.messages[stored.message_id]

    def change_message_visibility(self, **arguments: Any) -> dict[str, Any]:
        """Hide a message for longer or shorter, from now on."""
        do = lambda: self._change(arguments["QueueUrl"], arguments)  # noqa: E731
        return self._asked("change_message_visibility", arguments, do)

    def change_message_visibility_batch(self, **arguments: Any) -> dict[str, Any]:
        """Hide up to ten messages for longer or shorter."""
        url, name = arguments["QueueUrl"], "change_message_visibility_batch"
        do = lambda: self._batch(name, arguments["Entries"], lambda entry: self._change(url, entry))  # noqa: E731
        return self._asked(name, arguments, do)

    def _change(self, url: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        queue, receipt, now = self._at(url), entry["ReceiptHandle"], self.clock.now()
        hide_s = _within(entry["VisibilityTimeout"], 0, VISIBILITY_MAX_S)
        if receipt not in self._receipts:
            raise error("ReceiptHandleIsInvalid")
        stored = queue.messages.get(self._receipts[receipt])
        if stored is None or stored.receipt != receipt:
            raise error("InvalidParameterValue", message="Message does not exist or is not available")
        if stored.visible_at <= now:
            raise error("AWS.SimpleQueueService.MessageNotInflight")
        if now + hide_s - stored.received_at > VISIBILITY_MAX_S:
            raise error("InvalidParameterValue", message="Total VisibilityTimeout is beyond the limit of 12 hours")
        stored.visible_at = now + hide_s
        self._changed.notify_all()
        return {}

    # -- inside

    def failing(self, operation: str, entry: Mapping[str, Any]) -> str | None:
        """Return the code with which one entry of a batch fails and is not done, beside what the plan lets fail."""
        del operation, entry
        return None

    def _batch(
        self, operation: str, entries: list[Mapping[str, Any]], do: Callable[[Mapping[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        _check_ids([entry["Id"] for entry in entries])
        fails = self.plan.strikes(ENTRIES_FAILED) is not None
        doomed = self.plan.chance.randrange(len(entries)) if fails else None
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for number, entry in enumerate(entries):
            code = "InternalError" if number == doomed else self.failing(operation, entry)
            try:
                done = do(entry) if code is None else None
            except ClientError as flaw:
                code, done = flaw.response["Error"]["Code"].rsplit(".", 1)[-1], None
            if done is None:
                own = code != "InternalError"
                answer["Failed"].append({"Id": entry["Id"], "Code": code, "SenderFault": own})
            else:
                answer["Successful"].append({"Id": entry["Id"], **done})
        return answer

    def _asked(self, operation: str, arguments: Mapping[str, Any], do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do what is asked, unless the plan has something else in mind."""
        del arguments
        with self._changed:
            self._let_happen()
            kind = self.plan.strikes(*WHOLE)
            if kind in {"throttled", "error_500", "error_503", "reset_before"}:
                raise _trouble(kind, operation)
            done = do()
            if kind:
                raise _trouble(kind, operation)
            return done

    def _let_happen(self) -> None:
        """Do what was to be done by now: deletes that came late, and the end of messages that nobody wanted."""
        now = self.clock.now()
        for at, do in [entry for entry in self._later if entry[0] <= now]:
            self._later.remove((at, do))
            do()
        for queue in self._queues.values():
            kept_s = queue.seconds("MessageRetentionPeriod")
            for stored in [old for old in queue.messages.values() if now - old.sent_at >= kept_s]:
                del queue.messages[stored.message_id]

    def _at(self, url: str) -> Stock:
        found = self._queues.get(url.removeprefix(URL))
        if found is None:
            raise error("AWS.SimpleQueueService.NonExistentQueue")
        return found


def _trouble(kind: str, operation: str) -> Exception:
    match kind:
        case "throttled":
            return error("ThrottlingException", operation)
        case "error_500":
            return error("InternalFailure", operation, 500)
        case "error_503":
            return error("ServiceUnavailable", operation, 503)
        case "timeout_after":
            return ReadTimeoutError(endpoint_url=URL)
        case _:
            return ConnectionClosedError(endpoint_url=URL)


def _told(stored: Stored) -> dict[str, Any]:
    """Return a message as it is received."""
    system = {
        "SentTimestamp": str(stored.sent_at_ms),
        "ApproximateReceiveCount": str(stored.receive_count),
        "ApproximateFirstReceiveTimestamp": str(int((stored.first_received_at or 0) * 1000)),
        **({"DeadLetterQueueSourceArn": stored.source_arn} if stored.source_arn else {}),
    }
    return {
        "MessageId": stored.message_id,
        "ReceiptHandle": stored.receipt,
        "Body": stored.body,
        "MD5OfBody": _md5(stored.body),
        "Attributes": system,
        **({"MessageAttributes": stored.attributes} if stored.attributes else {}),
    }


def _check_ids(ids: list[str]) -> None:
    if not ids:
        raise error("AWS.SimpleQueueService.EmptyBatchRequest")
    if len(ids) > BATCH_MAX:
        raise error("AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
    if len(set(ids)) < len(ids):
        raise error("AWS.SimpleQueueService.BatchEntryIdsNotDistinct")
    if not all(_ENTRY_ID.fullmatch(name) for name in ids):
        raise error("AWS.SimpleQueueService.InvalidBatchEntryId")


def _within(value: Any, low: int, high: int) -> Any:
    if not low <= value <= high:
        raise error("InvalidParameterValue")
    return value


def _bytes(sent: Mapping[str, Any]) -> int:
    """Return how much a message counts: its body, and names, types and values of its attributes."""
    texts = [sent["MessageBody"], *_texts(sent.get("MessageAttributes") or {})]
    return sum(len(text.encode()) for text in texts)


def _texts(attributes: Mapping[str, Any]) -> Iterator[str]:
    for name, value in attributes.items():
        yield from (name, value["DataType"], value.get("StringValue", ""))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
