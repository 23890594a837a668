"""What could not be handled: one row per SQS message, with a reason and without its body."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from contracts.ids import derive
from contracts.outcome import Outcome
from store.db import Pool, reading

_RECORD = """
INSERT INTO message_failures (
    failure_id, queue, sqs_message_id, kind, message_key, outcome, reason, detail, body_bytes, body_digest,
    first_sent_at
) VALUES (
    %(failure_id)s, %(queue)s, %(sqs_message_id)s, %(kind)s, %(message_key)s, %(outcome)s, %(reason)s, %(detail)s,
    %(body_bytes)s, %(body_digest)s, %(first_sent_at)s
)
ON CONFLICT (failure_id) DO UPDATE SET
    attempts = message_failures.attempts + 1, last_failed_at = clock_timestamp(),
    outcome = excluded.outcome, reason = excluded.reason, detail = excluded.detail
"""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed handling of one SQS message; `reason` is a flaw's code or an exception's class name."""

    queue: str
    sqs_message_id: str
    kind: str | None
    message_key: str
    outcome: Outcome
    reason: str
    detail: str
    body_bytes: int
    body_digest: bytes
    first_sent_at: datetime


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
