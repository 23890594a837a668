"""The audit chains as the monitor reads them: whole after the funnel, and broken at the very row that was edited."""

import gc
import tracemalloc
from collections.abc import Iterator
from typing import LiteralString
from uuid import UUID, uuid5

import pytest

from contracts.chain import Flaw, verify
from contracts.envelope import Queue
from contracts.provider import Accepted, Unknown
from store import chains, db
from store.db import Pool, PoolOptions, StoreFault, Transient
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import once, rows

#: Payments that are nothing but rows: nobody's history, but as many as one likes.
MANY: LiteralString = """
INSERT INTO payments (payment_id, incident_id, vendor_id, payer_type, amount_cents, source, source_key,
    request_fingerprint, created_by)
SELECT md5('payment' || n)::uuid, md5('incident' || n)::uuid, md5('vendor')::uuid, 'back_office', 1, 'command', n,
    sha256(n::text::bytea), md5('creator')::uuid FROM generate_series(1, 4000) AS n
"""
MANY_LINKS: LiteralString = """
INSERT INTO payment_audit_log (log_id, payment_id, seq, action, actor_id, actor_type, new_status, message_key, data,
    prev_hash, entry_hash, "timestamp")
SELECT md5(payment_id::text || seq)::uuid, payment_id, seq, 'created', created_by, 'system', 'pending_approval', 'key',
    jsonb_build_object('filling', repeat('x', 1500)), CASE WHEN seq > 1 THEN sha256('a') END, sha256('b'), now()
FROM payments, generate_series(1, 2) AS seq
"""


@pytest.fixture
def monitor(database_url: str) -> Iterator[Pool]:
    """A pool with the rights of payments_monitor and no others."""
    with db.open_pool(database_url, PoolOptions(size_min=1, size_max=1)) as found:
        with found.connection() as connection:
            connection.execute("SET ROLE payments_monitor")
        yield found


def create(pool: Pool, number: int, **more: str) -> UUID:
    work = m.work(incidentId=str(uuid5(m.INCIDENT, str(number))), eventId=str(uuid5(m.EVENT, str(number))), **more)
    payment_id = once(pool, m.parsed(work)).payment_id
    assert payment_id
    return payment_id


def command(pool: Pool, kind: str, number: int, payment_id: UUID, **more: str) -> None:
    once(pool, m.parsed(m.command(kind, number, paymentId=str(payment_id), **more)))


def order(pool: Pool, kind: str) -> dict:
    found = rows(pool, "SELECT payload FROM outbox WHERE detail_type = %s ORDER BY outbox_id DESC", kind)
    return found[0]["payload"]


@pytest.fixture
def paid(pool: Pool) -> UUID:
    """A payment with five links, of which the first two have notes."""
    payment_id = create(pool, 1, notes="at the gate")
    command(pool, "ApprovePayment", 1, payment_id, notes="looks right")
    once(pool, m.parsed(order(pool, "ProcessPayment"), queue=Queue.PAYOUTS))
    once(pool, m.parsed(order(pool, "ExecutePayout")), Unknown("timeout"))
    look = m.command("ReconcileAttempt", 9, attemptId=order(pool, "ExecutePayout")["attemptId"], check=2)
    once(pool, m.parsed(look), Accepted("tr_1"))
    return payment_id


@pytest.fixture
def rejected(pool: Pool) -> UUID:
    """A payment with two links, the second of which has a note."""
    payment_id = create(pool, 2)
    command(pool, "RejectPayment", 2, payment_id, reason="never happened", reasonCode="no_show")
    return payment_id


@pytest.fixture
def fresh(pool: Pool) -> UUID:
    """A payment with one link."""
    return create(pool, 3)


def breaches(monitor: Pool, payment_id: UUID | None = None) -> list[tuple[UUID, int, Flaw]]:
    with chains.snapshot(monitor, payment_id) as found:
        return [(breach.payment_id, breach.seq, breach.flaw) for breach in map(verify, found) if breach]


def seen(monitor: Pool, payment_id: UUID | None = None) -> list[tuple[UUID, list[int]]]:
    with chains.snapshot(monitor, payment_id) as found:
        return [(chain.payment_id, [link.seq for link in chain.links]) for chain in found]


def test_what_the_funnel_wrote_is_whole(monitor: Pool, paid: UUID, rejected: UUID, fresh: UUID):
    assert seen(monitor) == sorted([(paid, [1, 2, 3, 4, 5]), (rejected, [1, 2]), (fresh, [1])])
    assert breaches(monitor) == []


def test_an_empty_database_has_no_chains(monitor: Pool):
    assert seen(monitor) == []


def test_one_payment_can_be_asked_for_alone(monitor: Pool, pool: Pool, paid: UUID, rejected: UUID):
    assert seen(monitor, rejected) == [(rejected, [1, 2])]
    assert seen(monitor, m.INCIDENT) == []
    forge(pool, "UPDATE payment_audit_log SET message_key = 'x' WHERE seq = 5")
    assert breaches(monitor, rejected) == []
    assert breaches(monitor, paid) == [(paid, 5, Flaw.CONTENT)]


#: One edit of every column of the audit log, in the second link of the payment with five; where it is found, and how.
EDITS: dict[str, tuple[LiteralString, int, Flaw]] = {
    "log_id": ("gen_random_uuid()", 2, Flaw.LOG_ID),
    "payment_id": ("(SELECT payment_id FROM payments WHERE status = 'pending_approval')", 2, Flaw.MISSING),
    "seq": ("9", 2, Flaw.MISSING),
    "action": ("'rejected'", 2, Flaw.CONTENT),
    "actor_id": ("gen_random_uuid()", 2, Flaw.CONTENT),
    "actor_type": ("'admin'", 2, Flaw.CONTENT),
    "previous_status": ("'approved'", 2, Flaw.CONTENT),
    "new_status": ("'cancelled'", 2, Flaw.CONTENT),
    "message_key": ("'another'", 2, Flaw.CONTENT),
    "data": ("data || '{\"more\": 1}'", 2, Flaw.CONTENT),
    "note_digest": ("sha256('another')", 2, Flaw.CONTENT),
    "hash_version": ("2", 2, Flaw.HASH_VERSION),
    "prev_hash": ("sha256('another')", 2, Flaw.PREV_HASH),
    "entry_hash": ("sha256('another')", 2, Flaw.CONTENT),
    "timestamp": ("\"timestamp\" + interval '1 microsecond'", 2, Flaw.CONTENT),
}


def test_every_column_is_edited_below(pool: Pool):
    found = rows(
        pool, "SELECT column_name AS name FROM information_schema.columns WHERE table_name = 'payment_audit_log'"
    )
    assert {row["name"] for row in found} == set(EDITS)


@pytest.mark.parametrize("column", EDITS)
def test_an_edited_column_is_found(monitor: Pool, pool: Pool, paid: UUID, rejected: UUID, fresh: UUID, column):
    value, seq, flaw = EDITS[column]
    where: LiteralString = f"UPDATE payment_audit_log SET \"{column}\" = {value} WHERE seq = 2 AND action = 'approved'"
    forge(pool, where)
    found = breaches(monitor)
    assert (paid, seq, flaw) in found
    # A link that was moved to another payment is one too many there.
    assert [breach for breach in found if breach[0] != paid] == ([(fresh, 2, Flaw.LOG_ID)] * (column == "payment_id"))


#: Times without an end, and times that Python has no year for.
MOMENTS = ["-infinity", "infinity", "0044-03-15 12:00+00 BC", "12026-01-01 00:00+00", "0001-01-01 00:00+14"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_time_that_no_clock_of_ours_shows_is_found_too(monitor: Pool, pool: Pool, paid: UUID, moment: str):
    with db.transaction(pool) as tx:
        tx.send("SET LOCAL session_replication_role = replica", {})
        tx.send('UPDATE payment_audit_log SET "timestamp" = %(moment)s WHERE seq = 3', {"moment": moment})
    assert breaches(monitor) == [(paid, 3, Flaw.CONTENT)]


def test_a_time_before_christ_is_not_taken_for_the_one_after(monitor: Pool, pool: Pool, paid: UUID):
    forge(
        pool,
        """UPDATE payment_audit_log SET "timestamp" = (to_char("timestamp", 'YYYY-MM-DD HH24:MI:SS.US') || '+00 BC')
           ::timestamptz WHERE seq = 3""",
    )
    assert breaches(monitor) == [(paid, 3, Flaw.CONTENT)]


#: Every other way into the tables; where it is found, and how. The payment with five links unless another is named.
TAMPERED: dict[str, tuple[LiteralString, int, Flaw]] = {
    "a link from the middle is deleted": ("DELETE FROM payment_audit_log WHERE seq = 3", 3, Flaw.MISSING),
    "the first link is deleted": (
        (
            "DELETE FROM payment_audit_log AS log WHERE seq = 1 AND EXISTS"
            " (SELECT FROM payment_audit_log WHERE payment_id = log.payment_id AND seq = 5)"
        ),
        1,
        Flaw.MISSING,
    ),
    "the tail is deleted": ("DELETE FROM payment_audit_log WHERE seq > 3", 4, Flaw.MISSING),
    "the tail is deleted and the version put back": (
        (
            "WITH cut AS (DELETE FROM payment_audit_log WHERE seq = 5)"
            " UPDATE payments SET version = 4, status = 'processing', completed_at = NULL WHERE status = 'completed'"
        ),
        4,
        Flaw.HEAD,
    ),
    "the tail is deleted and the status left": (
        (
            "WITH cut AS (DELETE FROM payment_audit_log WHERE seq = 5)"
            " UPDATE payments SET version = 4, audit_head ="
            " (SELECT entry_hash FROM payment_audit_log WHERE seq = 4) WHERE status = 'completed'"
        ),
        4,
        Flaw.STATUS,
    ),
    "the whole chain is deleted": (
        "DELETE FROM payment_audit_log WHERE payment_id = (SELECT payment_id FROM payments WHERE status = 'completed')",
        1,
        Flaw.NO_LINKS,
    ),
    "the payment's row is deleted": ("DELETE FROM payments WHERE status = 'completed'", 1, Flaw.NO_PAYMENT),
    "the amount is changed": (
        "UPDATE payments SET amount_cents = amount_cents + 1 WHERE status = 'completed'",
        1,
        Flaw.CONTENT,
    ),
    "the currency is changed": ("UPDATE payments SET currency = 'CAD' WHERE status = 'completed'", 1, Flaw.CONTENT),
    "the status is changed": (
        "UPDATE payments SET status = 'processing', completed_at = NULL WHERE status = 'completed'",
        5,
        Flaw.STATUS,
    ),
    "the version is changed": ("UPDATE payments SET version = 4 WHERE status = 'completed'", 5, Flaw.EXTRA),
    "the head is changed": ("UPDATE payments SET audit_head = sha256('x') WHERE status = 'completed'", 5, Flaw.HEAD),
    "the head is taken away": ("UPDATE payments SET audit_head = NULL WHERE status = 'completed'", 5, Flaw.HEAD),
    "a note is changed": (
        "UPDATE payment_audit_notes SET note = 'never seen' WHERE note = 'looks right'",
        2,
        Flaw.NOTE_CHANGED,
    ),
    "a note's salt is changed": (
        "UPDATE payment_audit_notes SET salt = sha256('x') WHERE note = 'looks right'",
        2,
        Flaw.NOTE_CHANGED,
    ),
    "a note is deleted": ("DELETE FROM payment_audit_notes WHERE note = 'looks right'", 2, Flaw.NOTE_LOST),
    "a note is added": (
        (
            "INSERT INTO payment_audit_notes (log_id, salt, note)"
            " SELECT log_id, sha256('x'), 'as if' FROM payment_audit_log WHERE seq = 4"
        ),
        4,
        Flaw.NOTE_ADDED,
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_is_found(monitor: Pool, pool: Pool, paid: UUID, rejected: UUID, fresh: UUID, name: str):
    statement, seq, flaw = TAMPERED[name]
    forge(pool, statement)
    assert breaches(monitor) == [(paid, seq, flaw)]


def test_a_swapped_pair_is_found(monitor: Pool, pool: Pool, paid: UUID, rejected: UUID, fresh: UUID):
    forge(
        pool,
        "UPDATE payment_audit_log SET seq = 99 WHERE seq = 4",
        "UPDATE payment_audit_log SET seq = 4 WHERE seq = 3",
        "UPDATE payment_audit_log SET seq = 3 WHERE seq = 99",
    )
    assert breaches(monitor) == [(paid, 3, Flaw.LOG_ID)]


def test_a_swapped_pair_that_changed_its_ids_as_well_is_found(monitor: Pool, pool: Pool, paid: UUID):
    forge(
        pool,
        """
        CREATE TEMPORARY TABLE pair ON COMMIT DROP AS SELECT * FROM payment_audit_log WHERE seq IN (3, 4);
        """,
        "DELETE FROM payment_audit_log WHERE seq IN (3, 4)",
        "UPDATE pair SET seq = 7 - seq, log_id = (SELECT log_id FROM pair AS other WHERE other.seq = 7 - pair.seq)",
        "INSERT INTO payment_audit_log SELECT * FROM pair",
    )
    assert breaches(monitor) == [(paid, 3, Flaw.PREV_HASH)]


def test_an_erasure_leaves_the_chain_whole(monitor: Pool, pool: Pool, paid: UUID):
    forge(pool, "UPDATE payment_audit_notes SET salt = NULL, note = NULL, redacted_at = now()")
    assert breaches(monitor) == []


def test_links_whose_payments_are_gone_are_found_at_both_ends(monitor: Pool, pool: Pool, paid, rejected, fresh):
    forge(pool, "DELETE FROM payments")
    assert breaches(monitor) == [(payment_id, 1, Flaw.NO_PAYMENT) for payment_id in sorted([paid, rejected, fresh])]


def test_the_rights_of_the_monitor_suffice_and_reach_no_note(monitor: Pool, paid: UUID):
    assert rows(monitor, "SELECT current_user AS name") == [{"name": "payments_monitor"}]
    assert breaches(monitor) == []
    with pytest.raises(StoreFault, match="42501"):
        rows(monitor, "SELECT note FROM payment_audit_notes")


def test_a_snapshot_does_not_see_what_happens_meanwhile_and_writes_nothing(monitor: Pool, pool: Pool, rejected: UUID):
    waiting = create(pool, 4)
    with chains.snapshot(monitor) as found:
        first = next(found)
        command(pool, "CancelPayment", 4, waiting, reason="no longer wanted")
        create(pool, 5)
        both = [first, *found]
    assert {chain.payment_id: len(chain.links) for chain in both} == {waiting: 1, rejected: 2}
    assert [verify(chain) for chain in both] == [None, None]
    assert len(seen(monitor)) == 3


def test_chains_longer_than_a_fetch_are_put_together(monitor: Pool, paid, rejected, fresh, monkeypatch):
    monkeypatch.setattr(chains, "ROWS_PER_FETCH", 1)
    assert seen(monitor) == sorted([(paid, [1, 2, 3, 4, 5]), (rejected, [1, 2]), (fresh, [1])])
    assert breaches(monitor) == []


def test_who_stops_in_the_middle_gives_the_connection_back(monitor: Pool, paid: UUID, rejected: UUID):
    with chains.snapshot(monitor) as found:
        next(found)
    with pytest.raises(ZeroDivisionError), chains.snapshot(monitor) as found:
        raise ZeroDivisionError
    assert len(seen(monitor)) == 2


DIE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%audit_links%' AND pid <> pg_backend_pid()
"""


def die_after(taken: int, monitor: Pool, pool: Pool) -> None:
    with chains.snapshot(monitor) as found:
        for _ in range(taken):
            next(found)
        rows(pool, DIE)


@pytest.mark.parametrize("taken", [0, 1])
def test_a_connection_that_dies_meanwhile_leaves_no_cursor_open(monitor: Pool, pool: Pool, paid, rejected, taken: int):
    with pytest.raises(Transient):
        die_after(taken, monitor, pool)
    gc.collect()  # a cursor that was left open complains when it is deleted, which fails the test


@pytest.fixture
def crowded(pool: Pool) -> Pool:
    """A database of 4,000 payments with 8,000 links of 1.5 kB, and statistics that know it."""
    forge(pool, MANY, MANY_LINKS)
    with pool.connection() as connection:
        connection.execute("ANALYZE")
    return pool


def test_memory_does_not_grow_with_the_number_of_payments(monitor: Pool, crowded: Pool, monkeypatch):
    monkeypatch.setattr(chains, "ROWS_PER_FETCH", 100)
    tracemalloc.start()
    try:
        with chains.snapshot(monitor) as found:
            counted = sum(len(chain.links) for chain in found)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert counted == 8_000
    assert peak < 3_000_000, "the links' texts alone have 12 MB"


@pytest.mark.parametrize("query", [chains._EVERY_PAYMENT, chains._EVERY_CHAIN])
def test_the_tables_are_walked_in_the_order_of_an_index(monitor: Pool, crowded: Pool, query: LiteralString):
    with monitor.connection() as connection, connection.transaction():
        connection.execute(chains._BEGIN)
        found = connection.execute("EXPLAIN DECLARE walk CURSOR FOR " + query).fetchall()
    plan = "\n".join(row["QUERY PLAN"] for row in found)
    assert "Index Scan using payment" in plan
    assert "Sort" not in plan
    assert "Hash" not in plan


def test_a_database_that_is_away_is_transient():
    nowhere = db.open_pool("host=127.0.0.1 port=1 dbname=nowhere", PoolOptions(size_min=0, wait_s=0.1))
    with nowhere, pytest.raises(Transient), chains.snapshot(nowhere):
        pass
