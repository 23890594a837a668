"""The relay: sends what the outbox holds to the bus, the approval queue and our own payouts queue.

At least once: a crash between sending and marking sends again, under the same id. Order is best effort; receivers
order by `paymentVersion`. Many relays may run; a claim is a lease that skips what another relay holds.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier, Event
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from contracts.outbound import Destination, OwnOrder
from contracts.traces import TRACEPARENT, begun, from_traceparent
from store import outbox
from store.db import Pool
from store.outbox import DueRow
from workers import catalogue, clock
from workers.catalogue import OTHER
from workers.clock import jittered
from workers.logs import logger
from workers.metrics import Metrics
from workers.quotas import BATCH_BYTES_MAX, BATCH_MAX
from workers.tracing import Tracing

if TYPE_CHECKING:
    from mypy_boto3_events.client import EventBridgeClient
    from mypy_boto3_sqs.client import SQSClient

#: The first pause of a row that could not be sent; it doubles with every attempt.
BACKOFF_FIRST_S = 0.5
#: By which share a pause is made longer or shorter, so that relays do not march in step.
BACKOFF_JITTER = 0.2
#: What a trace adds to an entry, in bytes at most: X-Ray's header, or an attribute with its name and its type.
TRACE_BYTES_MAX = 100
#: Error codes that no repetition will cure.
PERMANENT = frozenset({"MalformedDetail", "InvalidArgument", "InvalidMessageContents", "InvalidParameterValue"})
_AWS_ERRORS = (BotoCoreError, ClientError)
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """Limits of the relay; durations in seconds."""

    batch: int = 100
    lease_s: float = 60
    busy_s: float = 0.02
    idle_s: float = 0.25
    backoff_max_s: float = 300
    #: How many requests are under way at once: each takes a round trip, and no message waits for another.
    at_once: int = 4


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a batch: receipts by row, rows to send again, rows that nobody will ever take."""

    receipts: Mapping[int, str]
    late: Sequence[DueRow]
    rejected: Sequence[DueRow]


Sender = Callable[[Sequence[DueRow]], Sent]


class Relay:
    """Claims, sends, marks; `run_once` is one round and `run` the loop around it."""

    def __init__(
        self,
        pool: Pool,
        senders: Mapping[Destination, Sender],
        options: RelayOptions,
        metrics: Metrics,
        tracing: Tracing | None = None,
    ) -> None:
        self._pool = pool
        self._senders = senders
        self._options = options
        self._metrics = metrics
        self._tracing = tracing or Tracing()
        self._threads = ThreadPoolExecutor(options.at_once, "relay-sender")
        self.last_turn = clock.monotonic()

    def run_once(self, stop: Event | None = None) -> int:
        """Send one batch of due rows; return how many were claimed.

        Before each few requests it looks whether it shall stop, and whether half of the lease is over: rows that
        are not sent by then are given back at once, instead of being sent by two relays.

        Raises:
            Transient: the database could not answer; what was sent but not marked is sent again.
        """
        began = clock.monotonic()
        rows = outbox.claim_batch(self._pool, limit=self._options.batch, lease_s=self._options.lease_s)
        groups: dict[str, list[DueRow]] = defaultdict(list)
        for row in rows:
            groups[row.destination].append(row)
        requests = [(destination, chunk) for destination, group in groups.items() for chunk in chunks(group)]
        for first in range(0, len(requests), self._options.at_once):
            self.last_turn = clock.monotonic()
            if (stop and stop.is_set()) or self.last_turn - began > self._options.lease_s / 2:
                left = [row for _, unsent in requests[first:] for row in unsent]
                outbox.postpone(self._pool, dict.fromkeys((row.outbox_id for row in left), 0.0))
                break
            self._send_some(requests[first : first + self._options.at_once])
        return len(rows)

    def _send_some(self, requests: Sequence[tuple[str, Sequence[DueRow]]]) -> None:
        """Send requests at once, and mark what was taken of them, all in one statement."""
        if len(requests) == 1:
            answers = [self._send(*requests[0])]
        else:
            answers = list(self._threads.map(self._send, *zip(*requests, strict=True)))
        self._settle([row for _, chunk in requests for row in chunk], _together(answers))

    def run(self, stop: Event, nap: Callable[[float], object] | None = None) -> None:
        """Send until told to stop: at once while there is a backlog, at short intervals when busy, seldom when idle.

        Args:
            stop: ends the loop within one pause.
            nap: waits, when idle, for so many seconds, or less when there is reason to look again; by default for
                the stop.
        """
        self._start_threads()
        try:
            self._rounds(stop, nap or stop.wait)
        finally:
            self._threads.shutdown(wait=False)

    def _rounds(self, stop: Event, wait: Callable[[float], object]) -> None:
        pause_s = self._options.busy_s
        while not stop.is_set():
            self.last_turn = clock.monotonic()
            try:
                claimed = self.run_once(stop)
            except Exception as trouble:  # noqa: BLE001 - what is not marked is sent again; a dead relay sends nothing
                _log.warning("relay round failed", error=type(trouble).__name__)
                stop.wait(jittered(1.0, BACKOFF_JITTER))
                continue
            if claimed >= self._options.batch:
                continue
            if claimed:
                # Nobody is listened to: what is committed meanwhile shares a request with nine others, instead of
                # costing one each.
                pause_s = self._options.busy_s
                stop.wait(pause_s)
            else:
                pause_s = min(pause_s * 1.5, self._options.idle_s)
                wait(pause_s)

    def _start_threads(self) -> None:
        """Let all threads be there from the beginning: a process that has worked has no more than a fresh one."""
        there = Barrier(self._options.at_once)
        list(self._threads.map(lambda _: there.wait(), range(self._options.at_once)))

    def _send(self, destination: str, chunk: Sequence[DueRow]) -> Sent:
        with self._tracing.sending(destination, [row.traceparent for row in chunk]) as span:
            try:
                sent = self._senders[Destination(destination)](chunk)
            except Exception as error:  # noqa: BLE001 - the rows come again; those of the requests beside it are marked
                sent = _nothing_sent(chunk, error)
            if sent.late or sent.rejected:
                span.not_taken()
        return sent

    def _settle(self, chunk: Sequence[DueRow], sent: Sent) -> None:
        """Mark exactly the rows that were taken; the others come again, each after its own back-off."""
        outbox.mark_published(self._pool, sent.receipts)
        delays_s = {row.outbox_id: self._delay_s(row) for row in sent.late}
        outbox.postpone(self._pool, delays_s)
        outbox.mark_failed(self._pool, [row.outbox_id for row in sent.rejected])
        self._count([row for row in chunk if row.outbox_id in sent.receipts], "sent")
        self._count(sent.late, "failed")
        self._count(sent.rejected, "rejected")
        for row in sent.rejected:
            _log.error(
                "outbox row rejected", destination=row.destination, event_id=str(row.event_id), kind=row.detail_type
            )

    def _count(self, rows: Sequence[DueRow], result: str) -> None:
        for row in rows:
            # Another release may have written a kind that this one does not know.
            kind = row.detail_type if (row.destination, row.detail_type) in catalogue.PUBLISHED_KINDS else OTHER
            self._metrics.inc(catalogue.PUBLISHED, row.destination, kind, result)

    def _delay_s(self, row: DueRow) -> float:
        doubled = BACKOFF_FIRST_S * 2.0 ** min(row.attempts - 1, 20)
        return jittered(min(doubled, self._options.backoff_max_s), BACKOFF_JITTER)


class BusSender:
    """Puts events on the bus, each entry's answer checked."""

    def __init__(self, client: "EventBridgeClient", bus: str, source: str) -> None:
        self._client = client
        self._bus = bus
        self._source = source

    def __call__(self, rows: Sequence[DueRow]) -> Sent:
        """Send up to ten events in one request."""
        try:
            answer = self._client.put_events(Entries=[self._entry(row) for row in rows])
        except _AWS_ERRORS as error:
            return _nothing_sent(rows, error)
        receipts: dict[int, str] = {}
        failed: list[tuple[DueRow, str]] = []
        for row, entry in zip(rows, answer["Entries"], strict=True):
            if "EventId" in entry:
                receipts[row.outbox_id] = entry["EventId"]
            else:
                failed.append((row, entry.get("ErrorCode", "unknown")))
        return _sorted_out(receipts, failed)

    def _entry(self, row: DueRow) -> Any:
        return {
            "EventBusName": self._bus,
            "Source": self._source,
            "DetailType": row.detail_type,
            "Detail": row.text,
            "Resources": _resources(row.payload),
            **_trace_header(row),
        }


class QueueSender:
    """Sends messages to one queue, each entry's answer checked."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url

    def __call__(self, rows: Sequence[DueRow]) -> Sent:
        """Send up to ten messages in one request."""
        by_id = {str(row.outbox_id): row for row in rows}
        entries: Any = [{"Id": name, "MessageBody": row.text, **_trace_attribute(row)} for name, row in by_id.items()]
        try:
            answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
        except _AWS_ERRORS as error:
            return _nothing_sent(rows, error)
        receipts = {int(entry["Id"]): entry["MessageId"] for entry in answer.get("Successful", [])}
        failed = [(by_id[entry["Id"]], entry["Code"]) for entry in answer.get("Failed", [])]
        return _sorted_out(receipts, failed)


def as_row(number: int, order: OwnOrder) -> DueRow:
    """Return an order that stands in no outbox as senders take it; its receipt comes back under `number`.

    Nothing incoming has caused it: its trace begins with it, and is the same however often it is posted.
    """
    trace = begun(order.identity)
    return DueRow(
        outbox_id=number,
        event_id=order.identity,
        aggregate_id=order.about,
        aggregate_seq=0,
        destination=order.destination,
        detail_type=order.kind,
        text=json.dumps(order.wire(trace), separators=(",", ":")),
        attempts=1,
        created_at=clock.now(),
        traceparent=trace.traceparent,
    )


def chunks(rows: Sequence[DueRow]) -> Iterator[list[DueRow]]:
    """Cut rows into requests of at most ten entries and `BATCH_BYTES_MAX` bytes, in order."""
    chunk: list[DueRow] = []
    size = 0
    for row in rows:
        row_size = len(row.text) + len(row.detail_type) + TRACE_BYTES_MAX
        if chunk and (len(chunk) == BATCH_MAX or size + row_size > BATCH_BYTES_MAX):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += row_size
    if chunk:
        yield chunk


def _together(answers: Sequence[Sent]) -> Sent:
    return Sent(
        {number: receipt for sent in answers for number, receipt in sent.receipts.items()},
        [row for sent in answers for row in sent.late],
        [row for sent in answers for row in sent.rejected],
    )


def _nothing_sent(rows: Sequence[DueRow], error: Exception) -> Sent:
    _log.warning("sending failed", error=type(error).__name__, rows=len(rows))
    return Sent({}, rows, ())


def _sorted_out(receipts: Mapping[int, str], failed: Sequence[tuple[DueRow, str]]) -> Sent:
    for row, code in failed:
        _log.warning("entry failed", code=code, event_id=str(row.event_id), kind=row.detail_type)
    return Sent(
        receipts,
        late=[row for row, code in failed if code not in PERMANENT],
        rejected=[row for row, code in failed if code in PERMANENT],
    )


def _trace_header(row: DueRow) -> dict[str, str]:
    """Return what carries a row's trace through EventBridge: to its targets it gives no attributes but this."""
    trace = from_traceparent(row.traceparent)
    return {} if trace is None else {"TraceHeader": trace.xray_header}


def _trace_attribute(row: DueRow) -> dict[str, Any]:
    """Return what carries a row's trace through Amazon SQS."""
    trace = from_traceparent(row.traceparent)
    if trace is None:
        return {}
    return {"MessageAttributes": {TRACEPARENT: {"DataType": "String", "StringValue": trace.traceparent}}}


def _resources(payload: Mapping[str, Any]) -> list[str]:
    named = (("payment", "paymentId"), ("incident", "incidentId"), ("vendor", "vendorId"))
    return [f"{noun}/{payload[field]}" for noun, field in named if payload.get(field)]
