"""The books of the `sandbox` provider: a stand-in for a bank, in a schema of its own.

Never part of a payment's transaction. Production databases do not have it: it is made where the sandbox is on.
"""

from contracts.ids import derive
from contracts.provider import Accepted, PayoutOrder
from store.db import Pool, reading, transaction

_LOCK = "SELECT pg_advisory_xact_lock(7246002)"
_SCHEMA = "CREATE SCHEMA IF NOT EXISTS sandbox"
_TABLE = """
CREATE TABLE IF NOT EXISTS sandbox.transfers (
    transfer_id TEXT PRIMARY KEY,
    idempotency_key TEXT NOT NULL UNIQUE,
    transfer_group TEXT NOT NULL,
    destination TEXT NOT NULL,
    amount_cents BIGINT NOT NULL,
    currency TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
)
"""
_FIND = "SELECT transfer_id FROM sandbox.transfers WHERE transfer_group = %(group)s ORDER BY created_at LIMIT 1"
_MAKE = """
INSERT INTO sandbox.transfers (transfer_id, idempotency_key, transfer_group, destination, amount_cents, currency)
VALUES (%(transfer_id)s, %(key)s, %(group)s, %(destination)s, %(amount_cents)s, %(currency)s)
ON CONFLICT (idempotency_key) DO NOTHING
"""


def prepare(pool: Pool) -> None:
    """Make the sandbox's books unless they are there; several processes may try at once."""
    with transaction(pool) as tx:
        for statement in (_LOCK, _SCHEMA, _TABLE):
            tx.send(statement, {})


def find_transfer(pool: Pool, order: PayoutOrder) -> Accepted | None:
    """Return the transfer that this payment already has, by its transfer group."""
    with reading(pool) as connection:
        row = connection.execute(_FIND, {"group": order.transfer_group}).fetchone()
    return Accepted(str(row["transfer_id"])) if row else None


def make_transfer(pool: Pool, order: PayoutOrder) -> Accepted:
    """Move the money; the same idempotency key moves it once and gives the same transfer."""
    transfer_id = f"tr_{derive('sandbox', order.idempotency_key).hex}"
    with reading(pool) as connection:
        connection.execute(
            _MAKE,
            {
                "transfer_id": transfer_id,
                "key": order.idempotency_key,
                "group": order.transfer_group,
                "destination": order.destination,
                "amount_cents": order.money.amount_cents,
                "currency": order.money.currency,
            },
        )
    return Accepted(transfer_id)
