"""What a signed-in person may see, asked as that person: row-level security decides, whatever the question says.

Each read is one transaction that says whose it is. Two locks: the questions name the company where they can, and the
database shows nothing that the person's membership does not reach.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from contracts.payment import Approval, Membership, Payment
from store.db import Connection, Pool, reading
from store.memberships import from_row as membership_from_row
from store.payments import SELECT, from_row
from store.reads import LineView, PaymentView

_ACT = """
SELECT set_config('app.subject', %(subject)s, true), set_config('app.groups', %(groups)s, true)
"""
_OWN = """
SELECT sub AS subject, role, company_id, vendor_id, enabled, as_of FROM memberships
WHERE sub = %(subject)s AND enabled AND role = ANY(%(groups)s)
"""
_ONE = SELECT + "WHERE payment_id = %(payment_id)s"
_LINES = """
SELECT line_item_id, line_no, description, quantity, unit_price_cents, total_cents
FROM payment_line_items WHERE payment_id = %(payment_id)s ORDER BY line_no
"""
_APPROVALS = """
SELECT approver_id, level, approved_at AS at FROM payment_approvals WHERE payment_id = %(payment_id)s ORDER BY level
"""
_AUDIT = """
SELECT seq, action, actor_id, actor_type, previous_status, new_status, message_key, data - 'proof' AS data, entry_hash,
       "timestamp" AS at
FROM payment_audit_log WHERE payment_id = %(payment_id)s ORDER BY seq
"""
_PAGE: LiteralString = """
  AND (%(company_id)s::uuid IS NULL OR company_id = %(company_id)s)
  AND (%(after_at)s::timestamptz IS NULL OR (created_at, payment_id) > (%(after_at)s, %(after_id)s))
ORDER BY created_at, payment_id LIMIT %(limit)s OFFSET %(offset)s
"""
_PENDING = SELECT + "WHERE status = 'pending_approval'" + _PAGE
_FLAGGED = SELECT + "WHERE fraud_status IN ('flagged', 'high_risk')" + _PAGE
_RECORD = """
INSERT INTO access_audit (operation, decision, code, actor_id, object_id, proof)
VALUES (%(operation)s, %(decision)s, %(code)s, %(actor_id)s, %(object_id)s, %(proof)s)
"""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whose eyes these are: the `sub` of a token that was verified, and the groups that it names."""

    subject: UUID
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: at most `limit`, after so many, or after the last one that was seen."""

    limit: int
    offset: int = 0
    after: tuple[datetime, UUID] | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of a payment's history."""

    seq: int
    action: str
    actor_id: UUID
    actor_type: str
    previous_status: str | None
    new_status: str
    message_key: str
    data: Mapping[str, Any]
    entry_hash: bytes
    at: datetime


def _nothing() -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Access:
    """A read that was denied, with its code, or that is to be on record although it was allowed.

    Attributes:
        operation: the read, as the matrix calls it.
        code: why it was denied; None where it was allowed.
        actor_id: who it was, where the token proves somebody.
        object_id: the payment that it was about.
        proof: what is kept of the token; never the token.
    """

    operation: str
    code: str | None
    actor_id: UUID | None
    object_id: UUID | None = None
    proof: Mapping[str, Any] = field(default_factory=_nothing)


class Sight:
    """One transaction of one viewer: everything that is asked in it is asked as them."""

    def __init__(self, connection: Connection, viewer: Viewer) -> None:
        self._connection = connection
        self._viewer = viewer

    def membership(self) -> Membership | None:
        """Return what the viewer may do; None where they may do nothing."""
        values = {"subject": self._viewer.subject, "groups": list(self._viewer.groups)}
        row = self._connection.execute(_OWN, values).fetchone()
        return membership_from_row(row) if row else None

    def payment(self, payment_id: UUID) -> PaymentView | None:
        """Return a payment with its lines, None also where it is not the viewer's to see."""
        # Both are asked whatever the first one finds: how long it takes must not tell what exists.
        row = self._connection.execute(_ONE, {"payment_id": payment_id}).fetchone()
        lines = self._connection.execute(_LINES, {"payment_id": payment_id}).fetchall()
        return PaymentView(from_row(row), [LineView(**line) for line in lines]) if row else None

    def approvals(self, payment_id: UUID) -> list[Approval]:
        """Return who has approved a payment, in order."""
        rows = self._connection.execute(_APPROVALS, {"payment_id": payment_id}).fetchall()
        return [Approval(**row) for row in rows]

    def audit(self, payment_id: UUID) -> list[AuditRow]:
        """Return a payment's history."""
        rows = self._connection.execute(_AUDIT, {"payment_id": payment_id}).fetchall()
        return [AuditRow(**row) for row in rows]

    def pending(self, page: Page, company_id: UUID | None) -> list[Payment]:
        """Return payments that wait for approval, the oldest first; of one company, or of all that the viewer sees."""
        return self._list(_PENDING, page, company_id)

    def flagged(self, page: Page, company_id: UUID | None) -> list[Payment]:
        """Return payments that a fraud check has flagged, the oldest first; of one company, or of all."""
        return self._list(_FLAGGED, page, company_id)

    def record(self, access: Access) -> None:
        """Put an access on record; it is there when the transaction ends."""
        _record(self._connection, access)

    def _list(self, query: LiteralString, page: Page, company_id: UUID | None) -> list[Payment]:
        after_at, after_id = page.after or (None, None)
        values = {
            "company_id": company_id,
            "after_at": after_at,
            "after_id": after_id,
            "limit": page.limit,
            "offset": page.offset,
        }
        return [from_row(row) for row in self._connection.execute(query, values).fetchall()]


@contextmanager
def seeing(pool: Pool, viewer: Viewer) -> Generator[Sight]:
    """Open a transaction that sees what the viewer may see.

    Raises:
        Transient: the same work may succeed later.
        StoreFault: the database refused a statement of ours.
    """
    with reading(pool) as connection, connection.transaction():
        groups = ",".join(sorted(group for group in viewer.groups if "," not in group))
        connection.execute(_ACT, {"subject": str(viewer.subject), "groups": groups})
        yield Sight(connection, viewer)


def record(pool: Pool, access: Access) -> None:
    """Put an access on record of somebody who could not even be made out.

    Raises:
        Transient: the database did not answer.
        StoreFault: the database refused it.
    """
    with reading(pool) as connection:
        _record(connection, access)


def _record(connection: psycopg.Connection[Any], access: Access) -> None:
    connection.execute(
        _RECORD,
        {
            "operation": access.operation,
            "decision": "denied" if access.code else "allowed",
            "code": access.code,
            "actor_id": access.actor_id,
            "object_id": access.object_id,
            "proof": Jsonb(dict(access.proof)),
        },
    )
