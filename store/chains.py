"""Reads every payment with its audit chain, in order and one at a time, from one snapshot; for the verifier.

What it needs is granted to payments_monitor: of the notes their digests alone.
"""

import heapq
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import LiteralString
from uuid import UUID

from psycopg import ServerCursor

from contracts.chain import Chain, Link, Standing, StoredNote
from store.db import Connection, Pool, Row, reading

#: Rows per round trip of each of the two cursors; with one payment's links, all that is ever in memory.
ROWS_PER_FETCH = 1_000

# A pager or a full disk may keep the reader waiting longer than a message's transaction would ever be allowed to, and
# the tables may be large. Without the fraction the planner would sort them first, instead of walking their indexes.
_BEGIN = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL idle_in_transaction_session_timeout = '10min';
SET LOCAL statement_timeout = '5min';
SET LOCAL cursor_tuple_fraction = 0.0001;
"""
_PAYMENTS: LiteralString = "SELECT payment_id, amount_cents, currency, status, version, audit_head FROM payments"
# A time that Python cannot hold was put there by hand; as NULL it fits no hash.
_LINKS: LiteralString = """
SELECT log.payment_id, log.log_id, log.seq, log.action, log.actor_id, log.actor_type, log.previous_status,
       log.new_status, log.message_key, log.data, log.note_digest, log.hash_version, log.prev_hash, log.entry_hash,
       CASE WHEN log."timestamp" >= '0001-01-01 00:00:00+00' AND log."timestamp" < '10000-01-01 00:00:00+00'
            THEN log."timestamp" END AS at,
       note.log_id IS NOT NULL AS noted, note.digest AS digest_found
FROM payment_audit_log AS log LEFT JOIN payment_audit_note_digests AS note ON note.log_id = log.log_id
"""
_ONE_PAYMENT = _PAYMENTS + " WHERE payment_id = %(payment_id)s"
_ONE_CHAIN = _LINKS + " WHERE log.payment_id = %(payment_id)s ORDER BY log.seq"
_EVERY_PAYMENT = _PAYMENTS + " ORDER BY payment_id"
_EVERY_CHAIN = _LINKS + " ORDER BY log.payment_id, log.seq"

_of = itemgetter("payment_id")


@contextmanager
def snapshot(pool: Pool, payment_id: UUID | None = None) -> Generator[Iterator[Chain]]:
    """Lend the chains of all payments, or of one, in the order of the payments' ids, as they are at one moment.

    Links without a payment come as a chain without one. Memory is bounded, whatever the number of payments. The
    snapshot is held open meanwhile, so that vacuum waits for it; it may be taken on a replica.

    Args:
        pool: whoever it logs in as is a member of payments_monitor.
        payment_id: the only payment wanted; nothing comes where neither it nor a link of it is there.

    Raises:
        Transient: the database could not answer, or the reader kept it waiting for ten minutes.
        StoreFault: the database refused a statement of ours.
    """
    with reading(pool) as connection, connection.transaction():
        connection.execute(_BEGIN)
        with _cursor(connection, "audit_payments") as payments, _cursor(connection, "audit_links") as links:
            if payment_id is None:
                payments.execute(_EVERY_PAYMENT)
                links.execute(_EVERY_CHAIN)
            else:
                payments.execute(_ONE_PAYMENT, {"payment_id": payment_id})
                links.execute(_ONE_CHAIN, {"payment_id": payment_id})
            yield _merged(payments, links)


@contextmanager
def _cursor(connection: Connection, name: str) -> Generator[ServerCursor[Row]]:
    cursor = connection.cursor(name=name)
    cursor.itersize = ROWS_PER_FETCH
    try:
        with cursor:
            yield cursor
    finally:
        # The first close fails where the connection is found dead by it, and leaves the cursor open (psycopg 3.3); the
        # second knows of that, and sends nothing.
        if not cursor.closed:
            cursor.close()


def _merged(payments: Iterable[Row], links: Iterable[Row]) -> Iterator[Chain]:
    """Join two streams that are in the order of their payments; a payment's own row comes before its links."""
    for payment_id, rows in groupby(heapq.merge(payments, links, key=_of), key=_of):
        standing: Standing | None = None
        chain: list[Link] = []
        for row in rows:
            if "seq" in row:
                chain.append(_link(row))
            else:
                standing = _standing(row)
        yield Chain(payment_id=payment_id, payment=standing, links=chain)


def _standing(row: Row) -> Standing:
    return Standing(**{name: value for name, value in row.items() if name != "payment_id"})


def _link(row: Row) -> Link:
    note = StoredNote(digest=row["digest_found"]) if row["noted"] else None
    return Link(
        log_id=row["log_id"],
        seq=row["seq"],
        action=row["action"],
        actor_id=row["actor_id"],
        actor_type=row["actor_type"],
        previous_status=row["previous_status"],
        new_status=row["new_status"],
        message_key=row["message_key"],
        data=row["data"],
        note_digest=row["note_digest"],
        prev_hash=row["prev_hash"],
        at=row["at"],
        hash_version=row["hash_version"],
        entry_hash=row["entry_hash"],
        note=note,
    )
