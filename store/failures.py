"""What could not be handled: one row per SQS message, with a reason and without its body; and who replayed it."""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from contracts.ids import derive
from contracts.outcome import Outcome
from store.db import Pending, Pool, Row, Tx, reading

_RECORD = """
INSERT INTO message_failures (
    failure_id, queue, sqs_message_id, kind, message_key, outcome, reason, detail, body_bytes, body_digest,
    sender, first_sent_at
) VALUES (
    %(failure_id)s, %(queue)s, %(sqs_message_id)s, %(kind)s, %(message_key)s, %(outcome)s, %(reason)s, %(detail)s,
    %(body_bytes)s, %(body_digest)s, %(sender)s, %(first_sent_at)s
)
ON CONFLICT (failure_id) DO UPDATE SET
    attempts = message_failures.attempts + 1, last_failed_at = clock_timestamp(),
    outcome = excluded.outcome, reason = excluded.reason, detail = excluded.detail,
    sender = coalesce(message_failures.sender, excluded.sender)
"""
# The newest attempt to replay it, and what became of the same message since it failed last: a fault that a later
# receive has outlived is none any more, and its inbox row says so.
_SELECT: LiteralString = """
SELECT failure.failure_id, failure.queue, failure.sqs_message_id, failure.kind, failure.message_key, failure.outcome,
       failure.reason, coalesce(failure.detail, '') AS detail, failure.body_bytes, failure.body_digest,
       failure.sender, failure.attempts, failure.first_sent_at, failure.first_failed_at, failure.last_failed_at,
       replay.replayed_at, replay.actor_id AS replayed_by, replay.reason AS replay_reason,
       replay.sent_at AS replay_sent_at, handled.outcome AS handled_as, handled.received_at AS handled_at
FROM message_failures AS failure
LEFT JOIN LATERAL (
    SELECT tried.replayed_at, tried.actor_id, tried.reason, sent.sent_at
    FROM failure_replays AS tried LEFT JOIN failure_replays_sent AS sent USING (replay_id)
    WHERE tried.failure_id = failure.failure_id
    ORDER BY tried.replayed_at DESC, tried.replay_id LIMIT 1
) AS replay ON true
LEFT JOIN message_inbox AS handled
    ON handled.consumer = failure.kind AND handled.message_key = failure.message_key
    AND handled.received_at >= failure.last_failed_at
"""
_ONE = _SELECT + "WHERE failure.failure_id = %(failure_id)s"
_RECENT = (
    _SELECT
    + """
WHERE (%(queue)s::text IS NULL OR failure.queue = %(queue)s)
  AND (%(outcome)s::text IS NULL OR failure.outcome = %(outcome)s)
  AND (%(reason)s::text IS NULL OR failure.reason = %(reason)s)
  AND (%(settled)s OR (
      handled.outcome IS NULL AND (replay.sent_at IS NULL OR replay.sent_at < failure.last_failed_at)
  ))
ORDER BY failure.last_failed_at DESC, failure.failure_id
LIMIT %(limit)s
"""
)
_PAST = """
SELECT min(failure.first_sent_at) AS first_sent_at, count(replay.replay_id) > 0 AS replayed,
       coalesce(array_agg(DISTINCT failure.sender) FILTER (WHERE failure.sender IS NOT NULL), '{}') AS senders
FROM message_failures AS failure LEFT JOIN failure_replays AS replay USING (failure_id)
WHERE failure.body_digest = %(body_digest)s AND failure.queue = %(queue)s
"""
_BEGIN_REPLAY = """
INSERT INTO failure_replays (replay_id, failure_id, actor_id, reason)
VALUES (%(replay_id)s, %(failure_id)s, %(actor_id)s, %(reason)s)
"""
_REPLAY_SENT = """
INSERT INTO failure_replays_sent (replay_id, sqs_message_id) VALUES (%(replay_id)s, %(sqs_message_id)s)
"""

#: The longest reason for a replay, in characters; the database holds the same limit.
REPLAY_REASON_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed handling of one SQS message.

    `reason` is a flaw's code or an exception's class name, `sender` the unique id of the IAM role that sent it.
    """

    queue: str
    sqs_message_id: str
    kind: str | None
    message_key: str
    outcome: Outcome
    reason: str
    detail: str
    body_bytes: int
    body_digest: bytes
    sender: str | None
    first_sent_at: datetime


@dataclass(frozen=True, slots=True)
class FailureView:
    """A failure as an operator sees it: with the newest attempt to replay it and what became of it since.

    Attributes:
        failure_id: what a replay names.
        queue: where it was received.
        sqs_message_id: what that queue called it.
        kind: the message kind, where it could be read.
        message_key: its identity where it could be parsed, else `sqs:` and the queue's own id.
        outcome: invalid, fault or retry.
        reason: a flaw's code, an exception's class name, or why it was to come again.
        detail: where it lies, in our own words.
        body_bytes: the size of its body.
        body_digest: SHA-256 of its body.
        sender: the unique id of the IAM role that sent it; None where an older release recorded it.
        attempts: how often it was tried, not how often it was received.
        first_sent_at: when it was first sent, by its queue's clock.
        first_failed_at: when it failed first.
        last_failed_at: when it failed last.
        replayed_at: when the newest replay was begun.
        replayed_by: by whom.
        replay_reason: and why.
        replay_sent_at: when that replay's message was taken by the queue; None where it was not, or nobody knows.
        handled_as: how a later receive or another copy of the message ended: applied, ignored or refused.
        handled_at: when that was.
    """

    failure_id: UUID
    queue: str
    sqs_message_id: str
    kind: str | None
    message_key: str
    outcome: Outcome
    reason: str
    detail: str
    body_bytes: int
    body_digest: bytes
    sender: str | None
    attempts: int
    first_sent_at: datetime
    first_failed_at: datetime
    last_failed_at: datetime
    replayed_at: datetime | None
    replayed_by: UUID | None
    replay_reason: str | None
    replay_sent_at: datetime | None
    handled_as: Outcome | None
    handled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a body that has failed here before.

    Attributes:
        first_sent_at: when it was first sent, under whichever id; None where it never failed.
        replayed: whether an operator has put it back, on record.
        senders: who had sent it then; an operator's word is only that it shall be tried again.
    """

    first_sent_at: datetime | None = None
    replayed: bool = False
    senders: frozenset[str] = frozenset()


def past(tx: Tx, queue: str, body_digest: bytes) -> Pending[Past]:
    """Return what is known of a body that may have failed before: put back, it has another id and sending time."""
    return tx.ask(_PAST, {"queue": queue, "body_digest": body_digest}).map(lambda rows: _past(rows[0]))


def past_of(pool: Pool, queue: str, body_digest: bytes) -> Past:
    """Return the same, asked outside a message's transaction.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        row = connection.execute(_PAST, {"queue": queue, "body_digest": body_digest}).fetchone()
    return _past(row) if row else Past()


def _past(row: Row) -> Past:
    return Past(row["first_sent_at"], row["replayed"], frozenset(row["senders"]))


def record(pool: Pool, failure: Failure) -> UUID:
    """Write or update the row of a message that failed, in a small transaction of its own; return its id.

    Raises:
        Transient: the database could not answer now.
    """
    failure_id = derive("failure", failure.queue, failure.sqs_message_id)
    values = {name: getattr(failure, name) for name in failure.__dataclass_fields__}
    values |= {"failure_id": failure_id, "reason": failure.reason[:64], "detail": failure.detail[:2000]}
    with reading(pool) as connection:
        connection.execute(_RECORD, values)
    return failure_id


def recent(
    pool: Pool,
    *,
    limit: int,
    queue: str | None = None,
    outcome: Outcome | None = None,
    reason: str | None = None,
    settled: bool = False,
) -> list[FailureView]:
    """Return failures, the one that failed last first.

    Args:
        pool: the database.
        limit: at most so many.
        queue: only those of this queue.
        outcome: only those that ended so.
        reason: only those with exactly this reason.
        settled: also those that were replayed, or handled after all, and have not failed again since.

    Raises:
        Transient: the database could not answer now.
    """
    values = {"limit": limit, "queue": queue, "outcome": outcome, "reason": reason, "settled": settled}
    with reading(pool) as connection:
        rows = connection.execute(_RECENT, values).fetchall()
    return [_view(row) for row in rows]


def find(pool: Pool, failure_id: UUID) -> FailureView | None:
    """Return one failure, or None.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        row = connection.execute(_ONE, {"failure_id": failure_id}).fetchone()
    return _view(row) if row else None


def begin_replay(pool: Pool, replay_id: UUID, failure_id: UUID, actor_id: UUID, reason: str) -> None:
    """Write down, for good, who is about to put a message back and why; to be called before it is sent.

    Raises:
        Transient: the database could not do it now.
        StoreFault: there is no such failure, or the reason is blank or too long.
    """
    values = {"replay_id": replay_id, "failure_id": failure_id, "actor_id": actor_id, "reason": reason}
    with reading(pool) as connection:
        connection.execute(_BEGIN_REPLAY, values)


def replay_sent(pool: Pool, replay_id: UUID, sqs_message_id: str) -> None:
    """Write down that the queue has taken the message of a replay, and what it calls it.

    Raises:
        Transient: the database could not do it now.
        StoreFault: there is no such replay, or this was said before.
    """
    with reading(pool) as connection:
        connection.execute(_REPLAY_SENT, {"replay_id": replay_id, "sqs_message_id": sqs_message_id})


def _view(row: Row) -> FailureView:
    handled_as = Outcome(row["handled_as"]) if row["handled_as"] else None
    fields: Row = {**row, "outcome": Outcome(row["outcome"]), "handled_as": handled_as}
    return FailureView(**fields)
