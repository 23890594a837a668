"""Read-only questions of operators: one payment, a payment's timeline, the state of the fleet's tables.

What a signed-in person may see is asked in `store.signed_in`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from contracts.inbound import OWN_KEY
from contracts.payment import Payment
from store.db import Pool, reading
from store.payments import SELECT, from_row

_ONE = SELECT + "WHERE payment_id = %(payment_id)s"
_LINES = """
SELECT line_item_id, line_no, description, quantity, unit_price_cents, total_cents
FROM payment_line_items WHERE payment_id = %(payment_id)s ORDER BY line_no
"""
_TIMELINE: LiteralString = """
SELECT log."timestamp" AS at, 'change' AS what, log.action AS name, log.actor_type || ' ' || log.actor_id AS who,
       log.new_status AS status, log.seq AS version, log.data AS data
FROM payment_audit_log AS log WHERE log.payment_id = %(payment_id)s
UNION ALL
SELECT inbox.received_at, 'refusal', inbox.consumer, inbox.key, told.payload ->> 'currentStatus',
       (told.payload ->> 'currentVersion')::int,
       jsonb_build_object('code', inbox.outcome_code, 'message', told.payload ->> 'message')
FROM (
    SELECT *, regexp_replace(message_key, '^' || %(own)s, '') AS key FROM message_inbox
    WHERE payment_id = %(payment_id)s AND outcome = 'refused'
) AS inbox LEFT JOIN outbox AS told
    ON told.aggregate_id = inbox.payment_id AND told.aggregate_seq = 0 AND told.detail_type = 'PaymentCommandRejected'
    AND told.payload ->> 'command' = inbox.consumer AND told.payload ->> 'commandId' = inbox.key
UNION ALL
SELECT outbox.created_at, 'sent', outbox.detail_type, outbox.destination, NULL, nullif(outbox.aggregate_seq, 0),
       jsonb_build_object('eventId', outbox.event_id, 'publishedAt', outbox.published_at,
                          'traceId', nullif(split_part(outbox.traceparent, '-', 2), ''))
FROM outbox WHERE outbox.aggregate_id = %(payment_id)s
ORDER BY at, version NULLS LAST, what
"""
#: Free text of persons is personal data: none but those who were given the right see it.
_MAY_READ_NOTES = """
SELECT has_column_privilege('payment_audit_notes', 'note', 'SELECT')
    AND has_column_privilege('payment_audit_notes', 'log_id', 'SELECT') AS may
"""
_NOTES = """
SELECT log.seq, log.action, note.note AS text
FROM payment_audit_log AS log JOIN payment_audit_notes AS note USING (log_id)
WHERE log.payment_id = %(payment_id)s ORDER BY log.seq
"""
_ATTEMPTS_UNKNOWN = """
SELECT count(*) AS unknown,
       coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS oldest_age_s
FROM payout_attempts WHERE state = 'unknown'
"""
_REVISION = "SELECT to_regclass('alembic_version') IS NOT NULL AS migrated"
_REVISION_NUMBER = "SELECT version_num FROM alembic_version"


@dataclass(frozen=True, slots=True)
class LineView:
    """A line item as it is stored."""

    line_item_id: UUID
    line_no: int
    description: str
    quantity: int
    unit_price_cents: int
    total_cents: int


@dataclass(frozen=True, slots=True)
class PaymentView:
    """A payment with its lines."""

    payment: Payment
    lines: Sequence[LineView]


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """Something that happened to a payment: a change, a refused command, or a message sent about it."""

    at: datetime
    what: str
    name: str
    who: str
    status: str | None
    version: int | None
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NoteView:
    """What a person wrote to a payment's version `seq`; no text where it has been erased."""

    seq: int
    action: str
    text: str | None


@dataclass(frozen=True, slots=True)
class UnknownAttempts:
    """Payout attempts of which nobody can say whether the money moved; the age is the oldest one's, in seconds."""

    unknown: int
    oldest_age_s: float


def payment(pool: Pool, payment_id: UUID) -> PaymentView | None:
    """Return one payment with its lines, or None."""
    with reading(pool) as connection:
        row = connection.execute(_ONE, {"payment_id": payment_id}).fetchone()
        if row is None:
            return None
        lines = connection.execute(_LINES, {"payment_id": payment_id}).fetchall()
    return PaymentView(from_row(row), [LineView(**line) for line in lines])


def timeline(pool: Pool, payment_id: UUID) -> list[TimelineEntry]:
    """Return what happened to a payment, in order of time."""
    with reading(pool) as connection:
        rows = connection.execute(_TIMELINE, {"payment_id": payment_id, "own": OWN_KEY}).fetchall()
    return [TimelineEntry(**row) for row in rows]


def notes(pool: Pool, payment_id: UUID) -> list[NoteView] | None:
    """Return what persons wrote to a payment's changes, in order; None where this database user may not read it."""
    with reading(pool) as connection:
        right = connection.execute(_MAY_READ_NOTES).fetchone()
        if right is None or not right["may"]:
            return None
        rows = connection.execute(_NOTES, {"payment_id": payment_id}).fetchall()
    return [NoteView(**row) for row in rows]


def unknown_attempts(pool: Pool) -> UnknownAttempts:
    """Return how many payout attempts have an unknown outcome."""
    with reading(pool) as connection:
        row = connection.execute(_ATTEMPTS_UNKNOWN).fetchone()
    return UnknownAttempts(**row) if row else UnknownAttempts(0, 0.0)


def revision(pool: Pool) -> str | None:
    """Return the database's schema revision, or None where it was never migrated."""
    with reading(pool) as connection:
        migrated = connection.execute(_REVISION).fetchone()
        if migrated is None or not migrated["migrated"]:
            return None
        row = connection.execute(_REVISION_NUMBER).fetchone()
    return str(row["version_num"]) if row else None
