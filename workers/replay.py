"""Puts one failed message back into its queue: finds it among the dead letters, checks it, sends it, deletes it there.

The database holds no body, so the message itself is looked for: a malformed one is a copy of ours that names the
original, one that ran out of receives was moved by its queue and keeps its id. The replay is written down before it is
sent. A crash in between leaves the message where it was; one after sending leaves a copy, and the inbox makes its
second coming a duplicate.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from threading import Event
from typing import TYPE_CHECKING, Any
from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError

from contracts.outcome import Outcome
from store import failures
from store.db import Pool, StoreFault, Transient
from store.failures import FailureView
from workers import clock
from workers.delivery import InboundQueue, tens
from workers.quotas import ATTRIBUTES_MAX, BATCH_MAX, VISIBILITY_MAX_S

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

#: How long one look waits for a message, in seconds: a long poll asks every server of the queue, a short one some.
LOOK_WAIT_S = 1
#: For how long a message that was looked at stays out of sight, at least; a long search hides them for longer.
HIDE_S_MIN = 60
#: What looking at one message may cost, in seconds: ten times what it does.
LOOK_S_MAX = 0.05
#: A search tells of its progress after every so many messages.
TELL_EVERY = 1_000
#: How long a dead letter is kept: MessageRetentionPeriod in deploy/messaging.yaml.
KEPT_FOR = timedelta(days=14)

#: What the worker writes on its copy of a malformed message.
_NOTES = frozenset({"Reason", "OriginalQueue", "OriginalMessageId", "OriginalSentAt"})
#: What a replay writes on what it sends.
_MARKS = frozenset({"ReplayOf", "ReplayId"})
_AWS_ERRORS = (BotoCoreError, ClientError)

Say = Callable[[str], None]


class ReplayError(Exception):
    """The message was not put back; the text says why and what to do."""


class StoppedError(ReplayError):
    """A signal ended the search; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Order:
    """Who puts a message back, and why; `replay_id` is fresh for every attempt."""

    replay_id: UUID
    actor_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was sent; `left_over` says that the dead letter could not be deleted and may be replayed once more."""

    sqs_message_id: str
    left_over: bool


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The message among the dead letters, held for as long as the search lasts."""

    message_id: str
    receipt_handle: str
    body: str
    attributes: Mapping[str, Any]


class Replayer:
    """Looks for one queue's failed messages among its dead letters and puts them back."""

    def __init__(
        self, client: "SQSClient", source: InboundQueue, *, say: Say = lambda _line: None, stop: Event | None = None
    ) -> None:
        """Keep what every replay needs.

        Args:
            client: Amazon SQS.
            source: the queue, with its dead-letter queue.
            say: is told, line by line, what a person should know.
            stop: ends a search between two looks.
        """
        self._client = client
        self._source = source
        self._say = say
        self._stop = stop or Event()
        self._held: dict[str, str] = {}  # receipt handles by message id: what the search has taken and still holds

    def replay(self, pool: Pool, failure: FailureView, order: Order) -> Replayed:
        """Put a failed message back: find, check, write down who and why, send, write that down, delete.

        Raises:
            ReplayError: it is not among the dead letters, is another one than the one that failed, or was not taken.
            Transient: the database could not answer now; nothing was sent.
            ClientError: Amazon SQS could not answer during the search; nothing was sent.
        """
        with self.found(failure) as letter:
            failures.begin_replay(pool, order.replay_id, failure.failure_id, order.actor_id, order.reason)
            sent_as = self._send(failure, letter, order)
            self._write_down(pool, order, sent_as)
            return Replayed(sent_as, left_over=not self._deleted(letter))

    @contextmanager
    def found(self, failure: FailureView) -> Generator[DeadLetter]:
        """Find a failed message and check that it is the one; whatever was taken and not deleted is handed back.

        Raises:
            ReplayError: it is not there, or it is another one.
            ClientError: Amazon SQS could not answer now.
        """
        self._held = {}
        try:
            yield self._find(failure)
        finally:
            self._hand_back()

    def _find(self, failure: FailureView) -> DeadLetter:
        there, hidden = self._counts()
        hide_s = min(max(HIDE_S_MIN, math.ceil(there * LOOK_S_MAX)), VISIBILITY_MAX_S)
        until = clock.monotonic() + hide_s * 0.8  # what was taken first is still ours then
        impostors = 0
        while received := self._look(hide_s):
            named = [raw for raw in received if failure.sqs_message_id in _names(raw)]
            for raw in named:
                if _is_the_one(raw, failure):
                    return _letter(raw)
            impostors += len(named)
            self._go_on(len(received), there, until)
        raise ReplayError(_other_body(failure) if impostors else self._missing(failure, hidden))

    def _go_on(self, received: int, there: int, until: float) -> None:
        """Tell of the progress; end a search that is told to stop, or that would lose what it holds."""
        looked_at = len(self._held)
        if self._stop.is_set():
            raise StoppedError("Stopped while searching. Nothing was sent.")
        if clock.monotonic() > until:
            raise ReplayError(
                f"The search was given up after {looked_at} of about {there} messages, as it takes too long. Nothing"
                " was sent. Try again from a machine nearer to the queue, or take out of it what is settled."
            )
        if looked_at // TELL_EVERY > (looked_at - received) // TELL_EVERY:
            self._say(f"Looked at {looked_at} of about {there} messages.")

    def _look(self, hide_s: int) -> "list[MessageTypeDef]":
        answer = self._client.receive_message(
            QueueUrl=self._source.dead_letter_url,
            MaxNumberOfMessages=BATCH_MAX,
            WaitTimeSeconds=LOOK_WAIT_S,
            VisibilityTimeout=hide_s,
            MessageAttributeNames=["All"],
        )
        received = answer.get("Messages", [])
        self._held.update((raw["MessageId"], raw["ReceiptHandle"]) for raw in received)
        return received

    def _counts(self) -> tuple[int, int]:
        """How many dead letters can be seen, and how many are hidden as somebody else looks at them."""
        answer = self._client.get_queue_attributes(
            QueueUrl=self._source.dead_letter_url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )
        found = answer.get("Attributes", {})
        there = found.get("ApproximateNumberOfMessages", "0")
        return int(there), int(found.get("ApproximateNumberOfMessagesNotVisible", "0"))

    def _send(self, failure: FailureView, letter: DeadLetter, order: Order) -> str:
        """Send the body as it came and return what its queue calls it now."""
        marks = {"ReplayOf": str(failure.failure_id), "ReplayId": str(order.replay_id)}
        kept = list(_original(letter.attributes).items())[: ATTRIBUTES_MAX - len(marks)]
        texts: Any = {name: {"DataType": "String", "StringValue": text} for name, text in marks.items()}
        try:
            answer = self._client.send_message(
                QueueUrl=self._source.url, MessageBody=letter.body, MessageAttributes={**dict(kept), **texts}
            )
        except _AWS_ERRORS as error:
            raise ReplayError(
                f"{self._source.queue} did not take the message ({type(error).__name__}). It stays among the dead"
                f" letters, and the attempt {order.replay_id} is on record as not sent: run the same command again."
            ) from None
        return answer["MessageId"]

    def _write_down(self, pool: Pool, order: Order, sent_as: str) -> None:
        try:
            failures.replay_sent(pool, order.replay_id, sent_as)
        except (Transient, StoreFault) as trouble:
            self._say(
                f"The message was sent ({sent_as}), but the database did not take note of it ({trouble}):"
                " `payments failures` goes on listing it."
            )

    def _deleted(self, letter: DeadLetter) -> bool:
        try:
            self._client.delete_message(QueueUrl=self._source.dead_letter_url, ReceiptHandle=letter.receipt_handle)
        except _AWS_ERRORS as error:
            self._say(
                f"The message was sent, but its dead letter could not be deleted ({type(error).__name__}). Leave it:"
                " replayed once more, it would end as a duplicate."
            )
            return False
        del self._held[letter.message_id]
        return True

    def _hand_back(self) -> None:
        """Make visible again what is still held; what cannot be made so comes back by itself."""
        left = sum(self._not_shown(chunk) for chunk in tens(list(self._held.values())))
        if left:
            self._say(f"{left} messages of {self._place} stay hidden for a while longer, then come back by themselves.")

    def _not_shown(self, receipts: Sequence[str]) -> int:
        """Hand back up to ten messages; return for how many that failed."""
        entries: Any = [
            {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
            for number, receipt in enumerate(receipts)
        ]
        try:
            answer = self._client.change_message_visibility_batch(
                QueueUrl=self._source.dead_letter_url, Entries=entries
            )
        except _AWS_ERRORS:
            return len(entries)
        return len(answer.get("Failed", []))

    @property
    def _place(self) -> str:
        return self._source.dead_letter_url.rpartition("/")[2]

    def _missing(self, failure: FailureView, hidden: int) -> str:
        """Say why a message may not be among the dead letters: what is known first, then what is likely."""
        if failure.handled_at:
            return (
                f"It was handled after all, at {told(failure.handled_at)}: {failure.handled_as}. Nothing is to be done."
            )
        if replayed(failure):
            return f"{replay_told(failure)} If it has failed again, `payments failures` lists it under a new id."
        if hidden:
            return (
                f"It is not among the messages of {self._place} that can be seen, but somebody else is looking at"
                f" {hidden} of them. Try again in a minute."
            )
        idle = clock.now() - failure.last_failed_at
        if failure.outcome is not Outcome.INVALID and idle < timedelta(seconds=VISIBILITY_MAX_S):
            return (
                f"It is not in {self._place} yet: it is still being retried in its own queue, {self._source.queue},"
                " which moves it there after its last receive. Look again later."
            )
        if idle > KEPT_FOR:
            why = f"it has expired, as {self._place} keeps a message for {KEPT_FOR.days} days"
        else:
            why = "it has expired, or somebody has taken it out"
        return f"It is no longer in {self._place}: {why}. Its sender has to send it again."


def replayed(failure: FailureView) -> bool:
    """Whether it was put back after it had failed last."""
    return failure.replay_sent_at is not None and failure.replay_sent_at >= failure.last_failed_at


def replay_told(failure: FailureView) -> str:
    """Return by whom, when and why it was replayed, or began to be; empty where it never was."""
    if failure.replayed_at is None:
        return ""
    who = f"at {told(failure.replayed_at)} by {failure.replayed_by} ({failure.replay_reason})"
    if failure.replay_sent_at is None:
        return f"A replay was begun {who}, but that it was sent is not on record."
    return f"It was replayed {who}."


def told(at: datetime) -> str:
    """Return a time for people: UTC, to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


def _names(raw: "MessageTypeDef") -> tuple[str, ...]:
    """Under which ids a dead letter may have failed: a copy of ours names the original, a moved one keeps its own."""
    attributes: Mapping[str, Any] = raw.get("MessageAttributes", {})
    return attributes.get("OriginalMessageId", {}).get("StringValue", ""), raw["MessageId"]


def _letter(raw: "MessageTypeDef") -> DeadLetter:
    return DeadLetter(raw["MessageId"], raw["ReceiptHandle"], raw["Body"], raw.get("MessageAttributes", {}))


def _is_the_one(raw: "MessageTypeDef", failure: FailureView) -> bool:
    body = raw["Body"].encode(errors="surrogatepass")
    return len(body) == failure.body_bytes and sha256(body).digest() == failure.body_digest


def _other_body(failure: FailureView) -> str:
    return (
        f"There is a message that says it is {failure.sqs_message_id}, but its body is not the one that failed (its"
        " SHA-256 differs), so it was left alone. Find out who put it there."
    )


def _original(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that a message came with: without the notes on a copy of ours, without older marks."""
    ours = _MARKS | _NOTES if "OriginalMessageId" in attributes else _MARKS
    return {name: value for name, value in attributes.items() if name not in ours}
