"""Who has approved a payment: one row per person."""

from uuid import UUID

from contracts.payment import Approval, Role
from store.db import Pending, Tx

_OF = """
SELECT approver_id, level, approved_at AS at FROM payment_approvals WHERE payment_id = %(payment_id)s ORDER BY level
"""
_INSERT = """
INSERT INTO payment_approvals (payment_id, approver_id, level, role, message_key, approved_at)
VALUES (%(payment_id)s, %(approver_id)s, %(level)s, %(role)s, %(message_key)s, %(at)s)
"""


def of(tx: Tx, payment_id: UUID | None) -> Pending[tuple[Approval, ...]]:
    """Return a payment's approvals in order, once its row is locked."""
    return tx.ask(_OF, {"payment_id": payment_id}).map(lambda rows: tuple(Approval(**row) for row in rows))


def insert(tx: Tx, payment_id: UUID, approval: Approval, role: Role, message_key: str) -> None:
    """Write an approval; the database refuses one that does not count."""
    tx.send(
        _INSERT,
        {
            "payment_id": payment_id,
            "approver_id": approval.approver_id,
            "level": approval.level,
            "role": role,
            "message_key": message_key,
            "at": approval.at,
        },
    )
