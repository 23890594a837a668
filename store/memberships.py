"""What each person may do, by our own word."""

from datetime import datetime
from typing import LiteralString
from uuid import UUID

from contracts.payment import Membership, Role
from store.db import Pending, Pool, Row, Tx, reading

_SELECT: LiteralString = "SELECT sub AS subject, role, company_id, vendor_id, enabled, as_of FROM memberships "
_OF = _SELECT + "WHERE sub = %(subject)s"
_LOCK = _SELECT + "WHERE sub = %(subject)s FOR UPDATE"
_ALL = _SELECT + "ORDER BY role, company_id, vendor_id, sub"
_PUT = """
INSERT INTO memberships (sub, role, company_id, vendor_id, enabled, as_of, changed_at, message_key)
VALUES (
    %(subject)s, %(role)s, %(company_id)s, %(vendor_id)s, %(enabled)s, %(as_of)s, %(changed_at)s, %(message_key)s
)
ON CONFLICT (sub) DO UPDATE SET
    role = excluded.role, company_id = excluded.company_id, vendor_id = excluded.vendor_id,
    enabled = excluded.enabled, as_of = excluded.as_of, changed_at = excluded.changed_at,
    message_key = excluded.message_key
WHERE memberships.as_of <= excluded.as_of
"""


def of(tx: Tx, subject: UUID) -> Pending[Membership | None]:
    """Return what a person may do."""
    return tx.ask(_OF, {"subject": subject}).map(_first)


def lock(tx: Tx, subject: UUID | None) -> Pending[Membership | None]:
    """Lock a person's membership to the end of the transaction and return it, or None."""
    return tx.ask(_LOCK, {"subject": subject}).map(_first)


def put(tx: Tx, membership: Membership, changed_at: datetime, message_key: str) -> None:
    """Write what a person may do from now on; an earlier word never overwrites a later one."""
    values = {name: getattr(membership, name) for name in membership.__dataclass_fields__}
    tx.send(_PUT, {**values, "changed_at": changed_at, "message_key": message_key})


def everybody(pool: Pool) -> list[Membership]:
    """Return all memberships, disabled ones too."""
    with reading(pool) as connection:
        rows = connection.execute(_ALL).fetchall()
    return [from_row(row) for row in rows]


def from_row(row: Row) -> Membership:
    """Return a membership from a row with all columns of `of`."""
    typed: Row = {"role": Role(row["role"])}
    return Membership(**(row | typed))


def _first(rows: list[Row]) -> Membership | None:
    return from_row(rows[0]) if rows else None
