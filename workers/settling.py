"""Settles messages at their queues, ten to a request: what is done is deleted, what shall come back is hidden.

A batch leaves when it is full or its first entry has waited long enough, whichever comes first. The thread that fills
a batch sends it; one thread of ours sends what has waited, what is handed back, and what is tried again. Every
entry's own answer is looked at: a request that succeeds may hold entries that did not.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from workers import catalogue, clock
from workers.delivery import Delivery, InboundQueue, tens
from workers.logs import logger
from workers.metrics import Metrics
from workers.quotas import BATCH_MAX

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

#: How often an entry is sent in all, beside the client's own repetitions; then its message comes back by itself.
TRIES_MAX = 3
#: How long an entry waits that the service could not take, in seconds.
LATE_S = 0.5
#: How long the thread sleeps when nothing waits; a new entry wakes it.
IDLE_S = 3600.0
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A message to be deleted (`hide_s` is None) or hidden for so many seconds."""

    delivery: Delivery
    hide_s: int | None
    due_at: float
    tries: int = 1


@dataclass(frozen=True, slots=True)
class _Batch:
    source: InboundQueue
    deletes: bool


@dataclass(slots=True)
class _Answer:
    done: int = 0
    late: list[_Entry] = field(default_factory=list)
    refused: list[_Entry] = field(default_factory=list)


class Settler:
    """Deletes and hides messages. It never raises: whatever fails leaves the message to its lease."""

    def __init__(self, client: "SQSClient", age_max_s: float, metrics: Metrics) -> None:
        """Keep the client.

        Args:
            client: the SQS client.
            age_max_s: how long an entry waits for others, in seconds.
            metrics: the process's metrics.
        """
        self._client = client
        self._age_max_s = age_max_s
        self._metrics = metrics
        self._waiting: dict[_Batch, list[_Entry]] = defaultdict(list)
        self._late: list[tuple[_Batch, _Entry]] = []
        self._changed = threading.Condition()
        self._wakes_at = 0.0
        self._unsent = 0
        self._stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name="settler", daemon=True)

    def start(self) -> None:
        """Start the thread that sends what has waited long enough."""
        self.thread.start()

    def delete(self, delivery: Delivery) -> None:
        """Delete a message whose outcome is committed."""
        self._add(_Entry(delivery, None, clock.monotonic() + self._age_max_s))

    def hide(self, delivery: Delivery, seconds: int) -> None:
        """Let a message come back after so many seconds."""
        self._add(_Entry(delivery, seconds, clock.monotonic() + self._age_max_s))

    def give_back(self, delivery: Delivery, seconds: int) -> None:
        """Let a message that nobody has begun come back after so many seconds; waits for no request."""
        entry = _Entry(delivery, seconds, clock.monotonic())
        with self._changed:
            self._waiting[_Batch(delivery.source, deletes=False)].append(entry)
            self._changed.notify_all()

    def stop(self, deadline: float) -> int:
        """Send what waits, until a deadline, and end; return how many entries were left unsent.

        A message that is settled after this is sent by itself, in its own thread.
        """
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        if self.thread.is_alive():
            self.thread.join(max(0.0, deadline - clock.monotonic()))
        for batch, chunk in self._all():
            if self._unsent or clock.monotonic() > deadline:
                self._unsent += len(chunk)  # after one failure the others would only take their time to fail as well
            else:
                self._send(batch, chunk)
        return self._unsent

    def _all(self) -> list[tuple[_Batch, Sequence[_Entry]]]:
        with self._changed:
            for batch, entry in self._late:
                self._waiting[batch].append(entry)
            batches, self._waiting, self._late = self._waiting, defaultdict(list), []
        return [(batch, chunk) for batch, entries in batches.items() for chunk in tens(entries)]

    def _add(self, entry: _Entry) -> None:
        batch = _Batch(entry.delivery.source, deletes=entry.hide_s is None)
        with self._changed:
            waiting = self._waiting[batch]
            waiting.append(entry)
            if len(waiting) < BATCH_MAX and not self._stopping.is_set():
                if entry.due_at < self._wakes_at:
                    self._changed.notify_all()
                return
            full, self._waiting[batch] = waiting[:BATCH_MAX], waiting[BATCH_MAX:]
        self._send(batch, full)

    def _run(self) -> None:
        while not self._stopping.is_set():
            for batch, entries in self._due():
                if not self._stopping.is_set():
                    self._send(batch, entries)
                    continue
                with self._changed:  # for `stop`, which knows how much time is left
                    self._waiting[batch] += entries

    def _due(self) -> list[tuple[_Batch, Sequence[_Entry]]]:
        """Wait for the first entry that has waited long enough; return its batch, and others like it."""
        with self._changed:
            dues = [entry.due_at for waiting in self._waiting.values() for entry in waiting]
            first = min([*dues, *(entry.due_at for _, entry in self._late)], default=None)
            now = clock.monotonic()
            self._wakes_at = now + IDLE_S if first is None else first
            if self._wakes_at > now and not self._stopping.is_set():
                self._changed.wait(self._wakes_at - now)
            now = clock.monotonic()
            ripe = [late for late in self._late if late[1].due_at <= now]
            self._late = [late for late in self._late if late[1].due_at > now]
            for batch, entry in ripe:
                self._waiting[batch].append(entry)
            found: list[tuple[_Batch, Sequence[_Entry]]] = []
            for batch, waiting in list(self._waiting.items()):
                if waiting and min(entry.due_at for entry in waiting) <= now:
                    del self._waiting[batch]
                    found += ((batch, chunk) for chunk in tens(waiting))
            return found

    def _send(self, batch: _Batch, entries: Sequence[_Entry]) -> None:
        try:
            answer = self._sorted(entries, self._request(batch, entries))
        except Exception as error:  # noqa: BLE001 - a thread that dies here would settle nothing for ever
            named = [entry.delivery.arrival.sqs_message_id for entry in entries]
            _log.warning("settling failed", queue=batch.source.queue, error=type(error).__name__, message_ids=named)
            answer = _Answer(late=list(entries))
        with self._changed:
            again = [entry for entry in answer.late if entry.tries < TRIES_MAX and not self._stopping.is_set()]
            due_at = clock.monotonic() + LATE_S
            self._late += [(batch, replace(entry, tries=entry.tries + 1, due_at=due_at)) for entry in again]
            if again and due_at < self._wakes_at:
                self._changed.notify_all()
            self._unsent += len(answer.late) if self._stopping.is_set() else 0
        self._count(batch, answer, given_up=len(answer.late) - len(again))

    def _request(self, batch: _Batch, entries: Sequence[_Entry]) -> Mapping[str, Any]:
        url = batch.source.url
        if batch.deletes:
            deletes: Any = [
                {"Id": str(number), "ReceiptHandle": entry.delivery.receipt_handle}
                for number, entry in enumerate(entries)
            ]
            return self._client.delete_message_batch(QueueUrl=url, Entries=deletes)
        hides: Any = [
            {"Id": str(number), "ReceiptHandle": entry.delivery.receipt_handle, "VisibilityTimeout": entry.hide_s}
            for number, entry in enumerate(entries)
        ]
        return self._client.change_message_visibility_batch(QueueUrl=url, Entries=hides)

    def _sorted(self, entries: Sequence[_Entry], answer: Mapping[str, Any]) -> _Answer:
        """Tell what was done from what may be tried again and what was refused: a lease that is not ours any more."""
        found = _Answer()
        fates: dict[str, Mapping[str, Any] | None] = {entry["Id"]: None for entry in answer.get("Successful", [])}
        fates |= {entry["Id"]: entry for entry in answer.get("Failed", [])}
        for number, entry in enumerate(entries):
            fate = fates.get(str(number), {})  # not mentioned at all: nobody has said that it was done
            if fate is None:
                found.done += 1
            elif fate.get("SenderFault"):
                found.refused.append(entry)
            else:
                found.late.append(entry)
        return found

    def _count(self, batch: _Batch, answer: _Answer, *, given_up: int) -> None:
        done = "deleted" if batch.deletes else "returned"
        for result, count in ((done, answer.done), ("refused", len(answer.refused)), ("given_up", given_up)):
            if count:
                self._metrics.inc(catalogue.SETTLED, batch.source.queue, result, by=count)
        for entry in answer.refused:
            _log.warning("settling refused: the lease was lost", **entry.delivery.facts)
