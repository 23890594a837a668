"""A model of Amazon SQS's standard queues behind boto3's method names: in memory, seeded, on a clock of the test's own.

It follows AWS's documentation, page by page where a rule stands (`tests/conformance` holds it against real servers):
leases, receive counts, receipt handles, redrive, delays, retention, batch limits, long polls. And it can be as unkind
as the service may be (`sqs_faults`).
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from botocore.exceptions import ClientError

from tests.kit import sqs_rules as rules
from tests.kit.sqs_clocks import Clock, RealClock
from tests.kit.sqs_faults import (
    AFTER,
    BEFORE,
    DUPLICATE,
    ENTRIES_FAILED,
    LATE_DELETE,
    LATE_MAX_S,
    SHUFFLED,
    UNDELETED,
    Faults,
    trouble,
)
from tests.kit.sqs_rules import ARN, BATCH_MAX, DELAY_MAX_S, URL, VISIBILITY_MAX_S, WAIT_MAX_S, error, within


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
    trace: str | None = None
    #: Whether a copy of it is there to be received, though somebody holds it.
    copied: bool = False

    @property
    def sent_at_ms(self) -> int:
        """When it was first sent, as SentTimestamp says."""
        return int(self.sent_at * 1000)

    def told(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return it as it is received by who asks for some of its attributes (ReceiveMessage)."""
        system = {
            "SenderId": "AIDAMODEL",
            "SentTimestamp": str(self.sent_at_ms),
            "ApproximateReceiveCount": str(self.receive_count),
            "ApproximateFirstReceiveTimestamp": str(int((self.first_received_at or 0) * 1000)),
            **({"DeadLetterQueueSourceArn": self.source_arn} if self.source_arn else {}),
            **({"AWSTraceHeader": self.trace} if self.trace else {}),
        }
        names = {*asked.get("AttributeNames", ()), *asked.get("MessageSystemAttributeNames", ())}
        told_system = rules.wanted(system, names)
        own = rules.wanted(self.attributes, asked.get("MessageAttributeNames", ()))
        return {
            "MessageId": self.message_id,
            "ReceiptHandle": self.receipt,
            "Body": self.body,
            "MD5OfBody": rules.md5(self.body),
            **({"Attributes": told_system} if told_system else {}),
            **({"MessageAttributes": own, "MD5OfMessageAttributes": rules.attributes_md5(own)} if own else {}),
        }


@dataclass(slots=True)
class Stock:
    """A queue: its attributes, and its messages by their ids in the order of arrival."""

    name: str
    attributes: dict[str, str]
    messages: dict[str, Stored] = field(default_factory=dict)

    @classmethod
    def new(cls, name: str, now: float, attributes: Mapping[str, str]) -> "Stock":
        """Return an empty queue with some attributes, and AWS's defaults for the others."""
        numbers = {key: str(default) for key, (default, _, _) in rules.NUMBERS.items()}
        born = dict.fromkeys(("CreatedTimestamp", "LastModifiedTimestamp"), str(int(now)))
        return cls(name, {**numbers, **born, "QueueArn": ARN + name, **attributes})

    def seconds(self, name: str) -> int:
        """Return an attribute that is a number."""
        return int(self.attributes[name])

    def counts(self, now: float) -> dict[str, int]:
        """Return how many messages are visible, not visible, delayed."""
        hidden = [stored for stored in self.messages.values() if stored.visible_at > now]
        in_flight = sum(bool(stored.receipt) for stored in hidden)
        kinds = {"": len(self.messages) - len(hidden), "NotVisible": in_flight, "Delayed": len(hidden) - in_flight}
        return {f"ApproximateNumberOfMessages{kind}": number for kind, number in kinds.items()}


class SqsModel:
    """The client."""

    def __init__(
        self, clock: Clock | None = None, faults: Faults | None = None, *, in_flight_max: int = rules.IN_FLIGHT_MAX
    ) -> None:
        self.clock = clock or RealClock()
        self.plan = faults or Faults()
        self._in_flight_max = in_flight_max
        self._queues: dict[str, Stock] = {}
        self._changed = threading.Condition(threading.RLock())
        self._numbers = count(1)
        #: Of each receipt handle ever given, its queue and its message.
        self._receipts: dict[str, tuple[str, str]] = {}
        self._later: list[tuple[float, Callable[[], object]]] = []

    # -- queues

    def create_queue(self, **arguments: Any) -> dict[str, Any]:
        """Create a queue, or find the same one (CreateQueue)."""
        name, wanted = arguments["QueueName"], dict(arguments.get("Attributes") or {})

        def do() -> dict[str, Any]:
            rules.check_queue(name, wanted, {ARN + known for known in self._queues})
            found = self._queues.setdefault(name, Stock.new(name, self.clock.now(), wanted))
            if any(found.attributes.get(key) != value for key, value in wanted.items()):
                raise error("QueueAlreadyExists")
            return {"QueueUrl": URL + name}

        return self._asked("create_queue", arguments, do)

    def get_queue_url(self, **arguments: Any) -> dict[str, Any]:
        """Return the URL of a queue."""
        url = URL + arguments["QueueName"]
        return self._asked("get_queue_url", arguments, lambda: {"QueueUrl": URL + self._at(url).name})

    def get_queue_attributes(self, **arguments: Any) -> dict[str, Any]:
        """Return attributes; those counts that AWS calls approximate are exact."""

        def do() -> dict[str, Any]:
            queue, names = self._at(arguments["QueueUrl"]), arguments.get("AttributeNames", ())
            rules.check_names(names)
            counts = {key: str(number) for key, number in queue.counts(self.clock.now()).items()}
            found = rules.wanted({**queue.attributes, **counts}, names)
            return {"Attributes": found} if found else {}

        return self._asked("get_queue_attributes", arguments, do)

    # -- sending

    def send_message(self, **arguments: Any) -> dict[str, Any]:
        """Send a message."""
        return self._asked("send_message", arguments, lambda: self._send(arguments["QueueUrl"], arguments))

    def send_message_batch(self, **arguments: Any) -> dict[str, Any]:
        """Send up to ten messages."""

        def do() -> dict[str, Any]:
            if sum(map(rules.size, arguments["Entries"])) > rules.BODY_BYTES_MAX:
                raise error("AWS.SimpleQueueService.BatchRequestTooLong")
            return self._batch("send_message_batch", arguments, self._send)

        return self._asked("send_message_batch", arguments, do)

    def _send(self, url: str, sent: Mapping[str, Any], _operation: str = "") -> dict[str, Any]:
        queue = self._at(url)
        rules.check_message(sent, queue.seconds("MaximumMessageSize"))
        delay_s = within("DelaySeconds", sent.get("DelaySeconds", queue.seconds("DelaySeconds")), 0, DELAY_MAX_S)
        attributes, system = dict(sent.get("MessageAttributes") or {}), sent.get("MessageSystemAttributes") or {}
        stored = self._store(queue, sent["MessageBody"], attributes, delay_s)
        stored.trace = system.get("AWSTraceHeader", {}).get("StringValue")
        return {
            "MessageId": stored.message_id,
            "MD5OfMessageBody": rules.md5(stored.body),
            **({"MD5OfMessageAttributes": rules.attributes_md5(attributes)} if attributes else {}),
            **({"MD5OfMessageSystemAttributes": rules.attributes_md5(system)} if system else {}),
        }

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
            most = within("MaxNumberOfMessages", arguments.get("MaxNumberOfMessages", 1), 1, BATCH_MAX)
            wait_s = arguments.get("WaitTimeSeconds", queue.seconds("ReceiveMessageWaitTimeSeconds"))
            hide_s = arguments.get("VisibilityTimeout", queue.seconds("VisibilityTimeout"))
            within("WaitTimeSeconds", wait_s, 0, WAIT_MAX_S)
            taken = self._await(queue, most, within("VisibilityTimeout", hide_s, 0, VISIBILITY_MAX_S), wait_s)
            return {"Messages": [stored.told(arguments) for stored in taken]} if taken else {}

        return self._asked("receive_message", arguments, do)

    def _await(self, queue: Stock, most: int, hide_s: float, wait_s: float) -> list[Stored]:
        deadline = self.clock.now() + wait_s
        while True:
            self._let_happen()
            taken = self._take(queue, most, hide_s, polls_long=wait_s > 0)
            now = self.clock.now()
            if taken or now >= deadline:
                return taken
            dues = [stored.visible_at for stored in queue.messages.values() if stored.visible_at > now]
            self.clock.wait(self._changed, max(0.001, min([deadline, *dues]) - now))

    def _take(self, queue: Stock, most: int, hide_s: float, *, polls_long: bool) -> list[Stored]:
        """Lease what is due; where too many are in flight, a long poll waits and a short one is told (quotas)."""
        now = self.clock.now()
        due = [stored for stored in list(queue.messages.values()) if self._is_due(queue, stored, now)]
        room = self._in_flight_max - queue.counts(now)["ApproximateNumberOfMessagesNotVisible"]
        if due and room <= 0 and not polls_long:
            raise error("OverLimit")
        if len(due) > 1 and self.plan.strikes("receive_message", SHUFFLED):
            self.plan.chance.shuffle(due)
        taken = due[: max(0, min(most, room))]
        for stored in taken:
            self._lease(queue, stored, now, hide_s)
        return taken

    def _is_due(self, queue: Stock, stored: Stored, now: float) -> bool:
        """Whether a message may be delivered; one that was so often enough becomes a dead letter instead."""
        policy = json.loads(queue.attributes.get("RedrivePolicy") or "null")
        exhausted = bool(policy) and stored.receive_count >= int(policy["maxReceiveCount"])
        if not exhausted:
            return stored.copied or stored.visible_at <= now
        if stored.visible_at <= now:
            del queue.messages[stored.message_id]
            target = self._at(URL + policy["deadLetterTargetArn"].rsplit(":", 1)[-1])
            stored.source_arn, stored.receipt, stored.visible_at = ARN + queue.name, "", now
            target.messages[stored.message_id] = stored
            self._changed.notify_all()
        return False

    def _lease(self, queue: Stock, stored: Stored, now: float, hide_s: float) -> None:
        stored.receive_count += 1
        stored.receipt = f"{stored.message_id}#{stored.receive_count}"
        self._receipts[stored.receipt] = (queue.name, stored.message_id)
        stored.first_received_at = stored.first_received_at or now
        stored.received_at, stored.visible_at = now, now + hide_s
        stored.copied = self.plan.strikes("receive_message", DUPLICATE) is not None

    # -- deleting and hiding

    def delete_message(self, **arguments: Any) -> dict[str, Any]:
        """Delete a message."""
        do = lambda: self._delete(arguments["QueueUrl"], arguments, "delete_message")  # noqa: E731 - one expression
        return self._asked("delete_message", arguments, do)

    def delete_message_batch(self, **arguments: Any) -> dict[str, Any]:
        """Delete up to ten messages."""
        do = lambda: self._batch("delete_message_batch", arguments, self._delete)  # noqa: E731 - one expression
        return self._asked("delete_message_batch", arguments, do)

    def _delete(self, url: str, entry: Mapping[str, Any], operation: str) -> dict[str, Any]:
        """Delete by the newest receipt; by an older one it is said to be done, and is not (DeleteMessage, "Note")."""
        queue, receipt = self._at(url), entry["ReceiptHandle"]
        self._known(queue, receipt)
        match self.plan.strikes(operation, LATE_DELETE, UNDELETED):
            case "late_delete":
                at = self.clock.now() + self.plan.chance.uniform(0, LATE_MAX_S)
                self._later.append((at, lambda: self._gone(queue, receipt)))
            case None:
                self._gone(queue, receipt)
        return {}

    def _gone(self, queue: Stock, receipt: str) -> None:
        if stored := self._held(queue, receipt):
            del queue.messages[stored.message_id]
            self._changed.notify_all()

    def change_message_visibility(self, **arguments: Any) -> dict[str, Any]:
        """Hide a message for longer or shorter, from now on."""
        do = lambda: self._change(arguments["QueueUrl"], arguments)  # noqa: E731 - one expression
        return self._asked("change_message_visibility", arguments, do)

    def change_message_visibility_batch(self, **arguments: Any) -> dict[str, Any]:
        """Hide up to ten messages for longer or shorter."""
        name = "change_message_visibility_batch"
        return self._asked(name, arguments, lambda: self._batch(name, arguments, self._change))

    def _change(self, url: str, entry: Mapping[str, Any], _operation: str = "") -> dict[str, Any]:
        queue, receipt, now = self._at(url), entry["ReceiptHandle"], self.clock.now()
        hide_s = within("VisibilityTimeout", entry.get("VisibilityTimeout", 0), 0, VISIBILITY_MAX_S)
        self._known(queue, receipt)
        stored = self._held(queue, receipt)
        if stored is None:
            raise error("InvalidParameterValue", message="Message does not exist or is not available")
        if stored.visible_at <= now:
            raise error("AWS.SimpleQueueService.MessageNotInflight")
        if now + hide_s - stored.received_at > VISIBILITY_MAX_S:
            raise error("InvalidParameterValue", message="Total VisibilityTimeout is beyond the limit of 12 hours")
        stored.visible_at = now + hide_s
        self._changed.notify_all()
        return {}

    def _known(self, queue: Stock, receipt: str) -> None:
        if self._receipts.get(receipt, ("", ""))[0] != queue.name:
            raise error("ReceiptHandleIsInvalid")

    def _held(self, queue: Stock, receipt: str) -> Stored | None:
        """Return the message that a receipt stands for, if it is the newest one of it."""
        stored = queue.messages.get(self._receipts[receipt][1])
        return stored if stored and stored.receipt == receipt else None

    # -- inside

    def failing(self, operation: str, entry: Mapping[str, Any]) -> str | None:
        """Return the code with which one entry of a batch fails and is not done, beside what the plan lets fail."""
        del operation, entry
        return None

    def _batch(
        self, operation: str, arguments: Mapping[str, Any], do: Callable[[str, Mapping[str, Any], str], dict[str, Any]]
    ) -> dict[str, Any]:
        url, entries = arguments["QueueUrl"], arguments["Entries"]
        self._at(url)
        rules.check_ids([entry["Id"] for entry in entries])
        fails = self.plan.strikes(operation, ENTRIES_FAILED) is not None
        doomed = self.plan.chance.randrange(len(entries)) if fails else None
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for number, entry in enumerate(entries):
            code = "InternalError" if number == doomed else self.failing(operation, entry)
            try:
                done = do(url, entry, operation) if code is None else None
            except ClientError as flaw:
                code, done = flaw.response["Error"]["Code"], None
            if done is None:
                failed = {"Id": entry["Id"], "Code": code, "SenderFault": code != "InternalError"}
                answer["Failed"].append(failed)
            else:
                answer["Successful"].append({"Id": entry["Id"], **done})
        return {key: told for key, told in answer.items() if told}

    def _asked(self, operation: str, arguments: Mapping[str, Any], do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do what is asked, unless the plan has something else in mind."""
        rules.check_arguments(operation, arguments)
        with self._changed:
            self._let_happen()
            if kind := self.plan.strikes(operation, *BEFORE):
                raise trouble(kind, operation)
            done = do()
            if kind := self.plan.strikes(operation, *AFTER):
                raise trouble(kind, operation)
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
