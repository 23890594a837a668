"""Where each vendor is paid, by our own word, and which approved payments wait for that."""

from datetime import datetime
from typing import LiteralString
from uuid import UUID

from contracts.payment import VendorAccount, Waiting
from store.db import Pending, Pool, Row, Tx, reading

#: How many waiting payments one message orders to be paid at most; the sweep orders the others.
WAITING_MAX = 100

_SELECT: LiteralString = """
SELECT vendor_id, account_id, payouts_enabled, requirements, as_of, held_until FROM vendor_accounts
"""
_LOCK = _SELECT + "WHERE vendor_id = %(vendor_id)s FOR UPDATE"
_OF_PAYMENT = (
    _SELECT  # noqa: S608 - a LiteralString: pyright proves that nothing but literals can get in
    + "WHERE vendor_id = (SELECT vendor_id FROM payments WHERE payment_id = %(payment_id)s) FOR SHARE"
)
_ALL = _SELECT + "ORDER BY vendor_id"
_INSERT = """
INSERT INTO vendor_accounts (
    vendor_id, account_id, payouts_enabled, requirements, as_of, held_until, changed_at, message_key
) VALUES (
    %(vendor_id)s, %(account_id)s, %(payouts_enabled)s, %(requirements)s, %(as_of)s, %(held_until)s, %(changed_at)s,
    %(message_key)s
)
"""
_CHANGE = """
UPDATE vendor_accounts SET
    account_id = %(account_id)s, payouts_enabled = %(payouts_enabled)s, requirements = %(requirements)s,
    as_of = %(as_of)s, held_until = %(held_until)s, changed_at = %(changed_at)s, message_key = %(message_key)s
WHERE vendor_id = %(vendor_id)s
"""
#: How often a payment's payout was refused at its present version: the service's own orders since its last change.
REFUSALS: LiteralString = """
SELECT count(*) FROM message_inbox
WHERE consumer = 'ProcessPayment' AND outcome = 'refused' AND payment_id = payment.payment_id
  AND received_at >= payment.updated_at
"""
_WAITING = (
    "SELECT payment.payment_id, payment.version, ("
    + REFUSALS
    + """) AS refusals
FROM payments AS payment
WHERE payment.vendor_id = %(vendor_id)s AND payment.status = 'approved' AND payment.payer_type = 'back_office'
  AND NOT payment.separate_releaser AND (NOT payment.on_hold OR payment.hold_until <= now())
ORDER BY payment.created_at LIMIT %(limit)s
"""
)


def lock(tx: Tx, vendor_id: UUID | None) -> Pending[VendorAccount | None]:
    """Lock a vendor's account to the end of the transaction and return it, or None."""
    return tx.ask(_LOCK, {"vendor_id": vendor_id}).map(_first)


def of_payment(tx: Tx, payment_id: UUID | None) -> Pending[VendorAccount | None]:
    """Return the account of the vendor that a payment is for, once the payment's row is locked; it stays as it is."""
    return tx.ask(_OF_PAYMENT, {"payment_id": payment_id}).map(_first)


def waiting(tx: Tx, vendor_id: UUID | None) -> Pending[tuple[Waiting, ...]]:
    """Return a vendor's approved payments that the service may pay out by itself, the oldest first, at most 100."""
    rows = tx.ask(_WAITING, {"vendor_id": vendor_id, "limit": WAITING_MAX})
    return rows.map(lambda found: tuple(Waiting(**row) for row in found))


def everybody(pool: Pool) -> list[VendorAccount]:
    """Return all accounts.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        return [_account(row) for row in connection.execute(_ALL).fetchall()]


def put(tx: Tx, account: VendorAccount, changed_at: datetime, message_key: str, *, replaces: bool) -> None:
    """Write where a vendor is paid from now on.

    Args:
        tx: the message's transaction.
        account: the new row.
        changed_at: the transaction's time.
        message_key: the message that says so.
        replaces: whether the vendor has a row already, which is locked.
    """
    values = {name: getattr(account, name) for name in account.__dataclass_fields__}
    values["requirements"] = list(account.requirements)
    tx.send(_CHANGE if replaces else _INSERT, {**values, "changed_at": changed_at, "message_key": message_key})


def _first(rows: list[Row]) -> VendorAccount | None:
    return _account(rows[0]) if rows else None


def _account(row: Row) -> VendorAccount:
    typed: Row = {"requirements": tuple(row["requirements"])}
    return VendorAccount(**(row | typed))
