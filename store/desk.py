"""What the back office's command line asks: what waits for somebody, and what became of a command."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from contracts.payment import Payment
from store.db import Pool, reading
from store.payments import SELECT, from_row

_GIVEN: LiteralString = """
SELECT payment_id, count(*) AS given FROM payment_approvals WHERE payment_id = ANY(%(ids)s) GROUP BY payment_id
"""
_WAITING = (
    SELECT
    + """
WHERE (status = 'pending_approval' OR (status = 'approved' AND (separate_releaser OR on_hold) AND %(approved)s))
  AND (%(company_id)s::uuid IS NULL OR company_id = %(company_id)s)
ORDER BY created_at, payment_id LIMIT %(limit)s
"""
)
_APPROVERS = "SELECT approver_id FROM payment_approvals WHERE payment_id = %(payment_id)s ORDER BY level"
_INBOX = """
SELECT outcome, outcome_code FROM message_inbox WHERE consumer = %(kind)s AND message_key = %(message_key)s
"""
#: By the payment, or where a refusal names none by what the outbox calls it: there is an index on that alone.
_EVENT = """
SELECT detail_type, payload FROM outbox
WHERE aggregate_id = ANY(%(about)s) AND destination = 'bus' AND payload ->> 'causationId' = %(message_key)s
ORDER BY outbox_id DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A payment that waits for somebody; `given` is how many persons have approved it."""

    payment: Payment
    given: int


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a command: its outcome and a refusal's code, and the event that tells of it, if there is one."""

    outcome: str
    code: str | None
    event: str | None
    detail: Mapping[str, Any]


def waiting(pool: Pool, *, company_id: UUID | None, limit: int, approved: bool = False) -> list[Waiting]:
    """Return payments that wait for approval, the oldest first.

    Args:
        pool: the database.
        company_id: only those of this company; None for all.
        limit: at most so many.
        approved: also those that are approved and go on only when somebody releases them.
    """
    values = {"company_id": company_id, "limit": limit, "approved": approved}
    with reading(pool) as connection:
        rows = connection.execute(_WAITING, values).fetchall()
        given = connection.execute(_GIVEN, {"ids": [row["payment_id"] for row in rows]}).fetchall()
    counts = {row["payment_id"]: int(row["given"]) for row in given}
    return [Waiting(from_row(row), counts.get(row["payment_id"], 0)) for row in rows]


def approvers(pool: Pool, payment_id: UUID) -> list[UUID]:
    """Return who has approved a payment, in order."""
    with reading(pool) as connection:
        rows = connection.execute(_APPROVERS, {"payment_id": payment_id}).fetchall()
    return [row["approver_id"] for row in rows]


def ended(pool: Pool, kind: str, message_key: str, about: list[UUID]) -> Ended | None:
    """Return what became of a command, or None while nobody knows.

    Args:
        pool: the database.
        kind: the command's kind.
        message_key: its id.
        about: the payment that it names, or what else its refusal may be filed under.
    """
    with reading(pool) as connection:
        # The inbox first: whoever is in it has told what there is to tell, whereas the other way round a commit in
        # between would look like an end without its event.
        inbox = connection.execute(_INBOX, {"kind": kind, "message_key": message_key}).fetchone()
        event = connection.execute(_EVENT, {"about": about, "message_key": message_key}).fetchone()
    if event is not None:
        detail: Mapping[str, Any] = event["payload"]
        refused = detail.get("code") if "currentStatus" in detail else None
        return Ended("refused" if refused else "applied", refused, event["detail_type"], detail)
    return Ended(inbox["outcome"], inbox["outcome_code"], None, {}) if inbox else None
