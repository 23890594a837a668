"""The payments and their line items: lock, insert, change."""

from collections.abc import Sequence
from operator import attrgetter
from typing import LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from contracts import ids
from contracts.lifecycle import Status
from contracts.payment import LineItem, PayerType, Payment, Role, Source
from store.db import Pending, Row, Tx

SELECT: LiteralString = """
SELECT payment_id, incident_id, vendor_id, company_id, driver_id, payer_type, payer_id, amount_cents, currency,
       status, source, source_key, request_fingerprint, created_by, created_at, updated_at, metadata,
       fraud_status, on_hold, hold_until, policy_version, required_approvals, approver_roles, separate_releaser,
       approved_by, approved_at, processed_at, completed_at, failure_code, failed_reason,
       cancel_kind, amount_reversed_cents, settlement_status, version, audit_head
FROM payments
"""
_LOCK = SELECT + "WHERE payment_id = %(payment_id)s FOR UPDATE"
_LOCK_BY_ATTEMPT = (
    SELECT  # noqa: S608 - a LiteralString: pyright proves that nothing but literals can get in
    + """
WHERE payment_id = (SELECT payment_id FROM payout_attempts WHERE attempt_id = %(attempt_id)s) FOR UPDATE
"""
)
# Each way to find it by itself, so that each is a probe of its index: as one condition the plan depends on how large
# the table was when it was made, and a session that began on an empty table reads all of it for every message. What
# was found is looked at again once it is locked: it may have been cancelled meanwhile.
_LOCK_WORK = (
    SELECT  # noqa: S608 - put together from constants
    + """
WHERE payment_id = coalesce(
    (SELECT payment_id FROM payments WHERE payment_id = %(payment_id)s),
    (SELECT payment_id FROM payments WHERE source_key = %(source_key)s),
    (SELECT payment_id FROM payments
     WHERE incident_id = %(incident_id)s AND vendor_id = %(vendor_id)s
         AND source = 'work_completed' AND status <> 'cancelled')
) AND (
    payment_id = %(payment_id)s
    OR source_key = %(source_key)s
    OR (incident_id = %(incident_id)s AND vendor_id = %(vendor_id)s
        AND source = 'work_completed' AND status <> 'cancelled')
)
FOR UPDATE
"""
)
_INSERT = """
INSERT INTO payments (
    payment_id, incident_id, vendor_id, company_id, driver_id, payer_type, payer_id, amount_cents, currency,
    status, source, source_key, request_fingerprint, created_by, metadata, fraud_status, policy_version,
    required_approvals, approver_roles, separate_releaser, version, audit_head, created_at, updated_at
) VALUES (
    %(payment_id)s, %(incident_id)s, %(vendor_id)s, %(company_id)s, %(driver_id)s, %(payer_type)s, %(payer_id)s,
    %(amount_cents)s, %(currency)s, %(status)s, %(source)s, %(source_key)s, %(request_fingerprint)s,
    %(created_by)s, %(metadata)s, %(fraud_status)s, %(policy_version)s, %(required_approvals)s, %(approver_roles)s,
    %(separate_releaser)s, %(version)s, %(audit_head)s, %(created_at)s, %(updated_at)s
)
"""
_INSERT_LINES = """
INSERT INTO payment_line_items (
    line_item_id, payment_id, line_no, description, quantity, unit_price_cents, created_at
)
SELECT line.id, %(payment_id)s, line.line_no, line.description, line.quantity, line.unit_price_cents, %(at)s
FROM jsonb_to_recordset(%(lines)s) AS line (
    id uuid, line_no smallint, description text, quantity int, unit_price_cents bigint
)
"""
_CHANGE = """
UPDATE payments SET
    status = %(status)s, approved_by = %(approved_by)s, approved_at = %(approved_at)s,
    processed_at = %(processed_at)s, completed_at = %(completed_at)s, failure_code = %(failure_code)s,
    failed_reason = %(failed_reason)s, cancel_kind = %(cancel_kind)s, on_hold = %(on_hold)s,
    hold_until = %(hold_until)s, amount_reversed_cents = %(amount_reversed_cents)s,
    settlement_status = %(settlement_status)s, version = %(version)s, audit_head = %(audit_head)s,
    updated_at = %(updated_at)s
WHERE payment_id = %(payment_id)s AND status = %(expected_status)s AND version = %(expected_version)s
"""


def lock(tx: Tx, payment_id: UUID | None) -> Pending[Payment | None]:
    """Lock one payment's row to the end of the transaction and return it, or None."""
    return tx.ask(_LOCK, {"payment_id": payment_id}).map(_first)


def lock_of_attempt(tx: Tx, attempt_id: UUID) -> Pending[Payment | None]:
    """Lock the payment that a payout attempt belongs to; always before the attempt itself."""
    return tx.ask(_LOCK_BY_ATTEMPT, {"attempt_id": attempt_id}).map(_first)


def lock_work(
    tx: Tx, payment_id: UUID, source_key: str, incident_id: UUID | None, vendor_id: UUID | None
) -> Pending[Payment | None]:
    """Lock the payment that finished work already has: by its id, its business key, or as live work.

    Where several match, the one with the id comes first: it is this very event's payment.
    """
    values = {
        "payment_id": payment_id,
        "source_key": source_key,
        "incident_id": incident_id,
        "vendor_id": vendor_id,
    }
    return tx.ask(_LOCK_WORK, values).map(_first)


def insert(tx: Tx, payment: Payment, lines: Sequence[LineItem], audit_head: bytes) -> None:
    """Write a new payment and its lines; a lost race for the same work surfaces as Transient.

    Args:
        tx: the transaction.
        payment: the payment, in its first version.
        lines: what makes up its amount.
        audit_head: the hash of the audit row that explains it.
    """
    tx.send(_INSERT, {**_columns(payment, audit_head), "metadata": Jsonb(dict(payment.metadata))})
    tx.send(
        _INSERT_LINES,
        {
            "payment_id": payment.payment_id,
            "at": payment.created_at,
            # As one JSON value: psycopg takes longer over five arrays than over all the rest of the payment.
            "lines": Jsonb(
                [
                    {
                        "id": ids.line_item_id(payment.payment_id, line.line_no).hex,
                        "line_no": line.line_no,
                        "description": line.description,
                        "quantity": line.quantity,
                        "unit_price_cents": line.unit_price_cents,
                    }
                    for line in lines
                ]
            ),
        },
    )


def change(tx: Tx, before: Payment, after: Payment, audit_head: bytes) -> None:
    """Write what may change of a payment, guarded by the status and version it had under the row lock.

    Args:
        tx: the transaction.
        before: the payment as it was locked.
        after: the payment, one version on.
        audit_head: the hash of the audit row that explains the change.
    """
    guard = {"expected_status": before.status, "expected_version": before.version}
    tx.send(_CHANGE, {**_columns(after, audit_head), **guard})


def from_row(row: Row) -> Payment:
    """Return a payment from a row with all columns of a lock."""
    typed: Row = {
        "status": Status(row["status"]),
        "source": Source(row["source"]),
        "payer_type": PayerType(row["payer_type"]),
        "approver_roles": tuple(Role(word) for word in row["approver_roles"]),
    }
    return Payment(**(row | typed))


def _first(rows: list[Row]) -> Payment | None:
    return from_row(rows[0]) if rows else None


_NAMES = tuple(name for name in Payment.__dataclass_fields__ if name not in {"metadata", "audit_head"})
_VALUES = attrgetter(*_NAMES)


def _columns(payment: Payment, audit_head: bytes) -> dict[str, object]:
    columns = dict(zip(_NAMES, _VALUES(payment), strict=True))
    return {**columns, "approver_roles": list(payment.approver_roles), "audit_head": audit_head}
