"""The outbox: what must be said outside, written with the change itself, sent later by the relay."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from contracts.values import dataclass
from store.db import Pool, Tx, one, reading

#: In JSON it stands in texts and names alone (RFC 8259).
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_APPEND = """
INSERT INTO outbox (
    event_id, aggregate_id, aggregate_seq, destination, detail_type, payload, available_at, traceparent, created_at
)
SELECT row.event_id, row.aggregate_id, row.aggregate_seq, row.destination, row.detail_type, row.payload,
       row.available_at, row.traceparent, %(at)s
FROM jsonb_to_recordset(%(rows)s) AS row (
    event_id uuid, aggregate_id uuid, aggregate_seq int, destination text, detail_type text, payload jsonb,
    available_at timestamptz, traceparent varchar
)
ON CONFLICT (event_id) DO NOTHING
"""
_CLAIM = """
WITH due AS (
    SELECT outbox_id FROM outbox
    WHERE published_at IS NULL AND failed_at IS NULL AND available_at <= clock_timestamp()
    ORDER BY available_at, outbox_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE outbox SET
    available_at = clock_timestamp() + %(lease_s)s * interval '1 second', attempts = least(attempts + 1, 32000)
FROM due WHERE outbox.outbox_id = due.outbox_id
RETURNING outbox.outbox_id, event_id, aggregate_id, aggregate_seq, destination, detail_type, payload::text AS text,
          attempts, created_at, traceparent
"""
_PUBLISHED = """
UPDATE outbox SET published_at = clock_timestamp(), bus_event_id = sent.receipt, failed_at = NULL
FROM unnest(%(ids)s::bigint[], %(receipts)s::text[]) AS sent (outbox_id, receipt)
WHERE outbox.outbox_id = sent.outbox_id AND published_at IS NULL
"""
_POSTPONE = """
UPDATE outbox SET available_at = clock_timestamp() + late.delay_s * interval '1 second'
FROM unnest(%(ids)s::bigint[], %(delays_s)s::float8[]) AS late (outbox_id, delay_s)
WHERE outbox.outbox_id = late.outbox_id AND published_at IS NULL
"""
_FAILED = "UPDATE outbox SET failed_at = clock_timestamp() WHERE outbox_id = ANY(%(ids)s) AND published_at IS NULL"
# A row that was claimed once stays in the backlog while its lease or its back-off lasts: an outage is not up to date.
_BACKLOG = """
SELECT count(*) AS pending,
       coalesce(extract(epoch FROM clock_timestamp() - min(due.since)), 0)::float8 AS oldest_age_s
FROM (
    SELECT CASE WHEN attempts = 0 THEN available_at ELSE created_at END AS since
    FROM outbox WHERE published_at IS NULL AND failed_at IS NULL
) AS due
WHERE due.since <= clock_timestamp()
"""


@dataclass(frozen=True, slots=True)
class NewRow:
    """Something to say: to whom, about what, not before when, and in which trace (W3C `traceparent`)."""

    event_id: UUID
    aggregate_id: UUID
    aggregate_seq: int
    destination: str
    detail_type: str
    payload: Mapping[str, Any]
    available_at: datetime
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class DueRow:
    """A claimed row. `attempts` counts this claim; `created_at` is when its change was made.

    `text` is what is sent, as JSON in ASCII: Postgres writes it, so that it is not read only to be written again.
    `traceparent` is the trace of what it comes of; a row of an older release has none.
    """

    outbox_id: int
    event_id: UUID
    aggregate_id: UUID
    aggregate_seq: int
    destination: str
    detail_type: str
    text: str
    attempts: int
    created_at: datetime
    traceparent: str | None = None

    @property
    def payload(self) -> Mapping[str, Any]:
        """What is sent, read anew each time."""
        payload: Mapping[str, Any] = json.loads(self.text)
        return payload


@dataclass(frozen=True, slots=True)
class Backlog:
    """What was due once and is not yet sent; the age is the oldest one's, in seconds."""

    pending: int
    oldest_age_s: float


def append(tx: Tx, rows: Sequence[NewRow], at: datetime) -> None:
    """Write rows with the change they tell of; a row whose id is there already says the same and is skipped."""
    tx.send(
        _APPEND,
        {
            "at": at,
            "rows": Jsonb(
                [
                    {
                        "event_id": row.event_id.hex,
                        "aggregate_id": row.aggregate_id.hex,
                        "aggregate_seq": row.aggregate_seq,
                        "destination": row.destination,
                        "detail_type": row.detail_type,
                        "payload": row.payload,
                        "available_at": row.available_at.isoformat(),
                        "traceparent": row.traceparent,
                    }
                    for row in rows
                ]
            ),
        },
    )


def claim_batch(pool: Pool, *, limit: int, lease_s: float) -> list[DueRow]:
    """Lease due rows to this relay and commit; a row that is not marked comes back when its lease ends.

    Several relays may claim at once. Rows come in the order of their versions, as far as they are due together.

    Raises:
        Transient: the database could not answer now.
    """
    rows = one(pool, _CLAIM, {"limit": limit, "lease_s": lease_s})
    for row in rows:
        row["text"] = _escaped(row["text"])
    return sorted((DueRow(**row) for row in rows), key=lambda row: row.outbox_id)


def _escaped(text: str) -> str:
    """Return a JSON text in ASCII: Amazon SQS takes most of Unicode, but not U+FFFE and U+FFFF (SendMessage).

    Not by reading and writing it: a number with more digits than a float has would be another one.
    """
    return _BEYOND_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)


def mark_published(pool: Pool, receipts: Mapping[int, str]) -> None:
    """Mark exactly these rows as sent, each with the id that its receiver gave it."""
    if receipts:
        one(pool, _PUBLISHED, {"ids": list(receipts), "receipts": list(receipts.values())})


def postpone(pool: Pool, delays_s: Mapping[int, float]) -> None:
    """Let rows that could not be sent come again after their delay, in seconds."""
    if delays_s:
        one(pool, _POSTPONE, {"ids": list(delays_s), "delays_s": list(delays_s.values())})


def mark_failed(pool: Pool, outbox_ids: Sequence[int]) -> None:
    """Mark rows that their receiver will never take; they stay, for a person to look at."""
    if outbox_ids:
        one(pool, _FAILED, {"ids": list(outbox_ids)})


def backlog(pool: Pool) -> Backlog:
    """Return how much waits to be sent, also for another try, and for how long the oldest of it has waited."""
    with reading(pool) as connection:
        row = connection.execute(_BACKLOG).fetchone()
    return Backlog(**row) if row else Backlog(0, 0.0)
