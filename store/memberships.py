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
_INSERT = """
INSERT INTO memberships (sub, role, company_id, vendor_id, enabled, as_of, changed_at, message_key)
VALUES (
    %(subject)s, %(role)s, %(company_id)s, %(vendor_id)s, %(enabled)s, %(as_of)s, %(changed_at)s, %(message_key)s
)
"""
_CHANGE = """
UPDATE memberships SET
    role = %(role)s, company_id = %(company_id)s, vendor_id = %(vendor_id)s, enabled = %(enabled)s, as_of = %(as_of)s,
    changed_at = %(changed_at)s, message_key = %(message_key)s
WHERE sub = %(subject)s
"""


def of(tx: Tx, subject: UUID) -> Pending[Membership | None]:
    """Return what a person may do."""
    return tx.ask(_OF, {"subject": subject}).map(_first)


def lock(tx: Tx, subject: UUID | None) -> Pending[Membership | None]:
    """Lock a person's membership to the end of the transaction and return it, or None."""
    return tx.ask(_LOCK, {"subject": subject}).map(_first)


def put(tx: Tx, membership: Membership, changed_at: datetime, message_key: str, *, replaces: bool) -> None:
    """Write what a person may do from now on.

    Args:
        tx: the message's transaction.
        membership: the new row.
        changed_at: the transaction's time.
        message_key: the message that says so.
        replaces: whether the person has a row already, which is locked. Of two first words at once one loses the
            race: it meets the other's row when it comes again.
    """
    values = {name: getattr(membership, name) for name in membership.__dataclass_fields__}
    tx.send(_CHANGE if replaces else _INSERT, {**values, "changed_at": changed_at, "message_key": message_key})


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
