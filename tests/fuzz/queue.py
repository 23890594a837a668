"""Fuzzed bodies through the real queue and the real fleet: each must end as effect, refusal or dead letter; once."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from contracts.envelope import Arrival, Malformed, Queue
from contracts.inbound import Parsed
from tests.drills import ground as drills
from tests.fuzz.bulk import Mutator, Sent
from tests.kit import bus
from tests.kit import messages as m
from tests.kit.people import People
from tests.storm.driver import INBOUND
from tests.storm.evidence import Gathered, gathered
from tests.storm.servers import Ground, ground

#: What Amazon SQS takes in a body, by its documentation of SendMessage; and how much.
_ALLOWED = re.compile(r"[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
_REQUEST_BYTES_MAX = 1_048_576
_BATCH = 10
_OUTSTANDING_MAX = 1_000
_DRAIN_S = 120.0
_NAMES = {Queue.EVENTS: "events", Queue.COMMANDS: "commands", Queue.PAYOUTS: "payouts"}
#: A message about a payment that never comes is to end soon; attempts of unknown outcome are looked at soon.
_PROFILE = {
    "PAYMENTS_NOT_YET_S": "3",
    "PAYMENTS_CHECK_AFTER_S": "1",
    "PAYMENTS_PROVIDER_SOURCES": ",".join(m.PROVIDER_SOURCES),
}
#: What senders write into free texts; none of it belongs in a log.
_PERSONAL = ("Looks right.", "Not wanted.", "Note ")


@dataclass
class Ends:
    """How the messages ended.

    Attributes:
        at_the_door: bodies that SQS would not have taken; others were sent in their place.
        ends: effect, refusal and dead letter, with what is more to say.
        findings: messages that ended otherwise, and anything else that is wrong.
    """

    sent: int = 0
    at_the_door: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def run(seed: int, messages: int, home: Path, *, say: Callable[[str], None] = print) -> Ends:
    """Send so many fuzzed messages to a worker and a relay on real servers, and look at how each has ended."""
    ends = Ends()
    with ExitStack() as stack:
        found = stack.enter_context(ground(home, seed))
        fleet = drills.Ground(found.running, home, stack, _PROFILE)
        processes = [fleet.start("relay"), fleet.start("worker")]
        sent = _send(found, _sendable(Mutator(f"{seed} queue"), ends, found.people), messages, say)
        ends.sent = len(sent)
        _drain(found, fleet, say)
        for process in processes:
            process.child.stop(30.0)
        _judge(ends, sent, gathered(found), fleet, list(bus.recorded(found.record)))
        for process in processes:
            log = process.child.program.log_path.read_text()
            ends.findings += [f"a log holds {text!r}" for text in _PERSONAL if text in log]
    return ends


def _sendable(bodies: Iterable[Sent], ends: Ends, people: People) -> Iterator[Sent]:
    for queue, raw in bodies:
        body = people.text(raw) if queue is Queue.COMMANDS else raw
        if _ALLOWED.fullmatch(body) and len(body.encode()) <= _REQUEST_BYTES_MAX:
            yield queue, body
        else:
            ends.at_the_door += 1


def _send(found: Ground, bodies: Iterator[Sent], messages: int, say: Callable[[str], None]) -> dict[str, Sent]:
    """Send, as fast as they are handled; return what was sent by the ids that SQS gave."""
    client = found.sqs()
    sent: dict[str, Sent] = {}
    while len(sent) < messages:
        for queue, group in _by_queue(islice(bodies, min(200, messages - len(sent)))):
            entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(group)]
            answer = client.send_message_batch(QueueUrl=found.running.queues[_NAMES[queue]], Entries=entries)
            assert not answer.get("Failed"), "SQS did not take what its documentation allows"
            sent |= {entry["MessageId"]: (queue, group[int(entry["Id"])]) for entry in answer["Successful"]}
        while _outstanding(found, client) > _OUTSTANDING_MAX:
            time.sleep(0.2)
        if len(sent) % 2_000 == 0:
            say(f"{len(sent):,} of {messages:,} messages sent")
    return sent


def _by_queue(bodies: Iterable[Sent]) -> Iterator[tuple[Queue, list[str]]]:
    """Group bodies into requests that SQS takes."""
    waiting: dict[Queue, list[str]] = defaultdict(list)
    for queue, body in bodies:
        group = waiting[queue]
        if len(group) == _BATCH or sum(len(other.encode()) for other in [*group, body]) > _REQUEST_BYTES_MAX:
            yield queue, waiting.pop(queue)
        waiting[queue].append(body)
    yield from waiting.items()


def _outstanding(found: Ground, client: Any) -> int:
    return sum(sum(found.depth(client, name).values()) for name in INBOUND)


def _drain(found: Ground, fleet: drills.Ground, say: Callable[[str], None]) -> None:
    client = found.sqs()
    deadline = time.monotonic() + _DRAIN_S
    owed = "outbox WHERE published_at IS NULL AND failed_at IS NULL"
    while _outstanding(found, client) or fleet.count(owed):
        if time.monotonic() > deadline:
            say(f"not done after {_DRAIN_S:.0f} s")
            return
        time.sleep(0.5)


def _judge(
    ends: Ends, sent: dict[str, Sent], found: Gathered, fleet: drills.Ground, said: list[dict[str, Any]]
) -> None:
    """Find the one end of every message: by what was written of it, and by what arrived in the dead letters."""
    inbox = {
        (row["consumer"], row["message_key"]): row
        for row in fleet.query("SELECT consumer, message_key, fingerprint, outcome, outcome_code FROM message_inbox")
    }
    failures = {row["sqs_message_id"]: row for row in fleet.query("SELECT * FROM message_failures")}
    letters = Counter(_letter(letter["queue"], letter["body"]) for letter in found.dead_letters)
    conflicts = {entry["detail"]["messageKey"] for entry in said if entry["detail_type"] == "PaymentConflictDetected"}
    ends.findings += [f"{count} messages left in {name}" for name, count in found.left.items() if count]
    for message_id, (queue, body) in sent.items():
        parsed = _parsed(queue, body, message_id)
        failure = failures.get(message_id)
        if isinstance(parsed, Malformed):
            letter = _letter(_NAMES[queue], body)
            end = _dead(parsed, failure, letter=letters[letter] > 0)
            letters[letter] -= 1
        elif failure:
            end = f"FINDING sound, and failed: {failure['outcome']}, {failure['reason']}"
        else:
            end = _handled(parsed, inbox, conflicts, message_id)
        ends.ends[end] += 1
        if end.startswith("FINDING"):
            ends.findings.append(f"message {message_id}: {end}")
    ends.findings += [f"{count} dead letters too many in {queue}" for (queue, _), count in letters.items() if count > 0]


def _letter(queue: str, body: str) -> tuple[str, bytes]:
    """Return what a dead letter is known by: the same body may be right in one queue and wrong in another."""
    return queue, sha256(body.encode()).digest()


def _parsed(queue: Queue, body: str, message_id: str) -> Parsed | Malformed:
    try:
        return m.read(body, Arrival(queue, message_id, datetime.now(UTC)))
    except Malformed as flaw:
        return flaw


def _dead(flaw: Malformed, failure: dict[str, Any] | None, *, letter: bool) -> str:
    recorded = failure and (failure["outcome"], failure["reason"])
    if not letter or recorded != ("invalid", flaw.flaw):
        return f"FINDING malformed: {flaw.flaw}, recorded as {recorded}, dead letter: {letter}"
    return f"dead letter: {flaw.flaw}"


def _handled(parsed: Parsed, inbox: dict[tuple[str, str], dict[str, Any]], conflicts: set[str], message_id: str) -> str:
    cause = parsed.cause
    keys = (f"turned-away:{message_id}", f"spared:{message_id}", cause.inbox_key)
    row = next((inbox[cause.kind, key] for key in keys if (cause.kind, key) in inbox), None)
    if row is None:
        return "FINDING sound, and without an end"
    if bytes(row["fingerprint"]) != cause.fingerprint:
        told = cause.message_key in conflicts
        return "refusal: payload_conflict" if told else "FINDING a conflict that nobody was told of"
    if row["outcome"] == "refused":
        return f"refusal: {row['outcome_code']}"
    return f"effect: {cause.kind} {row['outcome']}"
