"""The books of the `sandbox` provider: a stand-in for a bank, in a schema of its own.

Never part of a payment's transaction. Production databases do not have it: `payments migrate` makes it where the
sandbox is the provider.
"""

from typing import LiteralString

from contracts.ids import derive
from contracts.provider import Accepted, PayoutOrder
from store.db import Pool, reading, transaction

#: Everything may be there already, made by an earlier run or by an earlier release, which gave no rights.
_PREPARE: tuple[LiteralString, ...] = (
    "SELECT pg_advisory_xact_lock(7246002)",
    "CREATE SCHEMA IF NOT EXISTS sandbox",
    "ALTER SCHEMA sandbox OWNER TO payments_owner",
    """
    CREATE TABLE IF NOT EXISTS sandbox.transfers (
        transfer_id TEXT PRIMARY KEY,
        idempotency_key TEXT NOT NULL UNIQUE,
        transfer_group TEXT NOT NULL,
        destination TEXT NOT NULL,
        amount_cents BIGINT NOT NULL,
        currency TEXT NOT NULL,
        created_at TIMESTAMPTZ NOT NULL DEFAULT now()
    )
    """,
    "ALTER TABLE sandbox.transfers OWNER TO payments_owner",
    "GRANT USAGE ON SCHEMA sandbox TO payments_worker, payments_reader, payments_monitor",
    "GRANT SELECT, INSERT ON sandbox.transfers TO payments_worker",
    "GRANT SELECT ON sandbox.transfers TO payments_reader, payments_monitor",
)
_USABLE = """
SELECT EXISTS (
    SELECT FROM pg_class AS books JOIN pg_namespace AS place ON place.oid = books.relnamespace
    WHERE place.nspname = 'sandbox' AND books.relname = 'transfers'
        AND has_schema_privilege(place.oid, 'USAGE')
        AND has_table_privilege(books.oid, 'SELECT') AND has_table_privilege(books.oid, 'INSERT')
) AS usable
"""
_FIND = "SELECT transfer_id FROM sandbox.transfers WHERE transfer_group = %(group)s ORDER BY created_at LIMIT 1"
_MAKE = """
INSERT INTO sandbox.transfers (transfer_id, idempotency_key, transfer_group, destination, amount_cents, currency)
VALUES (%(transfer_id)s, %(key)s, %(group)s, %(destination)s, %(amount_cents)s, %(currency)s)
ON CONFLICT (idempotency_key) DO NOTHING
"""


def prepare(pool: Pool) -> None:
    """Make the sandbox's books unless they are there, and let workers write and others read them.

    Part of a migration, as whoever migrates; several processes may try at once.

    Raises:
        Transient: the database could not do it now.
        StoreFault: the user lacks a right, or the group roles of revision 0004 are not there.
    """
    with transaction(pool) as tx:
        for statement in _PREPARE:
            tx.send(statement, {})


def usable(pool: Pool) -> bool:
    """Whether the books are there and this pool's user may use them as a worker does.

    Raises:
        Transient: the database could not say now.
    """
    with reading(pool) as connection:
        row = connection.execute(_USABLE).fetchone()
    return bool(row and row["usable"])


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
