"""The transaction: what commits, what rolls back, what its errors are called, and how many flights it takes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import pq

from store import db
from store.db import Pool, PoolOptions, StoreFault, Transient, TransientReason
from tests.kit import messages as m
from tests.kit.funnel import once, rows
from tests.kit.wire import FlightCounter
from workers.local import postgres

CANARY = "canary-8675309"
CLAIM = """
INSERT INTO message_inbox (consumer, message_key, fingerprint, outcome)
VALUES ('Test', %(key)s, sha256('x'), 'applied')
"""


def keys(pool: Pool) -> list[str]:
    return [row["message_key"] for row in rows(pool, "SELECT message_key FROM message_inbox ORDER BY 1")]


def assert_clean(pool: Pool) -> None:
    with pool.connection() as connection:
        assert connection.info.transaction_status is pq.TransactionStatus.IDLE
        assert connection.info.pipeline_status is pq.PipelineStatus.OFF
        assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}


def test_a_return_commits(pool: Pool):
    with db.transaction(pool) as tx:
        tx.send(CLAIM, {"key": "a"})
    assert keys(pool) == ["a"]
    assert_clean(pool)


def test_a_raise_rolls_back(pool: Pool):
    def broken() -> None:
        with db.transaction(pool) as tx:
            tx.send(CLAIM, {"key": "a"})
            raise LookupError

    with pytest.raises(LookupError):
        broken()
    assert keys(pool) == []
    assert_clean(pool)


def test_an_abandoned_transaction_writes_nothing(pool: Pool):
    with db.transaction(pool) as tx:
        tx.send(CLAIM, {"key": "a"})
        tx.abandon()
    assert keys(pool) == []
    assert_clean(pool)


def test_the_limits_are_set_on_the_server(database_url: str):
    options = PoolOptions(size_min=1, statement_s=7, lock_s=4, idle_in_transaction_s=9)
    with db.open_pool(database_url, options) as pool:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "TimeZone")
        shown = [rows(pool, f"SHOW {name}")[0][name] for name in names]
    assert shown == ["7s", "4s", "9s", "UTC"]


def test_the_pool_never_has_more_than_its_ten_connections():
    assert (PoolOptions().size_max, PoolOptions().idle_s) == (10, 30)


def fails_with(pool: Pool, query: str, **values: Any) -> Transient | StoreFault:
    with pytest.raises((Transient, StoreFault)) as caught, db.transaction(pool) as tx:
        tx.send(query, values)
    assert_clean(pool)
    return caught.value  # type: ignore[return-value]


def test_a_lost_race_on_a_named_key_is_transient_and_any_other_violation_is_a_fault(pool: Pool):
    once(pool, m.parsed(m.work()))
    insert = """
        INSERT INTO payments (payment_id, incident_id, vendor_id, payer_type, amount_cents, source, source_key,
                              request_fingerprint, created_by)
        SELECT gen_random_uuid(), incident_id, vendor_id, payer_type, amount_cents, source, %(key)s,
               request_fingerprint, created_by FROM payments
    """
    race = fails_with(pool, insert, key=CANARY)
    assert isinstance(race, Transient)
    assert (race.reason, race.sqlstate) == (TransientReason.CONFLICT, "23505")
    fault = fails_with(pool, CLAIM.replace("'applied'", "'nonsense'"), key=CANARY)
    assert isinstance(fault, StoreFault)
    assert "CheckViolation" in str(fault)
    repeated = fails_with(pool, "INSERT INTO message_inbox SELECT * FROM message_inbox", key=CANARY)
    assert isinstance(repeated, StoreFault)
    assert "message_inbox_pkey" in str(repeated)


def test_no_error_text_quotes_a_row(pool: Pool):
    fault = fails_with(pool, CLAIM.replace("'applied'", "%(key)s"), key=CANARY)
    assert CANARY not in str(fault) + repr(fault)
    assert fault.__cause__ is None
    assert fault.__suppress_context__


def test_a_statement_that_takes_too_long_is_a_timeout(database_url: str):
    with db.open_pool(database_url, PoolOptions(size_min=1, statement_s=0.1)) as pool:
        trouble = fails_with(pool, "SELECT pg_sleep(5)")
    assert isinstance(trouble, Transient)
    assert trouble.reason is TransientReason.TIMEOUT


def test_a_deadlock_is_a_conflict(pool: Pool):
    for key in ("a", "b"):
        with db.transaction(pool) as tx:
            tx.send(CLAIM, {"key": key})
    lock = "SELECT 1 FROM message_inbox WHERE message_key = %(key)s FOR UPDATE"
    both, reasons = threading.Barrier(2), []

    def cross(first: str, second: str) -> None:
        try:
            with db.transaction(pool) as tx:
                tx.ask(lock, {"key": first}).value()
                both.wait(5)
                tx.ask(lock, {"key": second}).value()
        except Transient as trouble:
            reasons.append((trouble.reason, trouble.sqlstate))

    threads = [threading.Thread(target=cross, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reasons == [(TransientReason.CONFLICT, "40P01")]


def test_a_killed_backend_is_a_lost_connection_and_the_pool_recovers(pool: Pool):
    def killed() -> None:
        with db.transaction(pool) as tx:
            backend = tx.ask("SELECT pg_backend_pid() AS pid", {}).value()[0]["pid"]
            rows(pool, "SELECT pg_terminate_backend(%s)", backend)
            tx.send(CLAIM, {"key": "a"})

    with pytest.raises(Transient) as caught:
        killed()
    assert caught.value.reason is TransientReason.CONNECTION
    assert keys(pool) == []
    assert_clean(pool)


def test_a_database_that_is_not_there_is_a_lost_connection():
    nowhere = db.open_pool("host=127.0.0.1 port=1 dbname=nowhere", PoolOptions(size_min=0, wait_s=0.1))
    with nowhere, pytest.raises(Transient) as caught:
        db.ping(nowhere)
    assert caught.value.reason is TransientReason.CONNECTION


def test_a_wrong_password_is_told_and_heals_with_the_right_one(server: postgres.Server):
    right = server.url("postgres")
    wrong = right.replace(server.password, "wrong")
    told: list[int] = []
    with db.open_pool(lambda: right if told else wrong, PoolOptions(size_min=1), lambda: told.append(1)) as pool:
        db.ping(pool)
    assert told, "so that fresh credentials are fetched"


def test_what_fails_only_at_commit_is_raised_and_rolled_back(pool: Pool):
    with db.reading(pool) as connection:
        connection.execute("CREATE TABLE parent (id int PRIMARY KEY)")
        connection.execute("CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
    fault = fails_with(pool, "INSERT INTO child VALUES (1)")
    assert isinstance(fault, StoreFault)
    assert "ForeignKeyViolation" in str(fault)
    assert rows(pool, "SELECT 1 FROM child") == []


@contextmanager
def wired(server: postgres.Server, database_url: str) -> Iterator[tuple[Pool, FlightCounter]]:
    with (
        FlightCounter(server.port).before(database_url) as (wire, url),
        db.open_pool(url, PoolOptions(size_min=1, size_max=1)) as pool,
    ):
        pool.wait(10)
        yield pool, wire


def test_the_common_message_takes_two_flights(server: postgres.Server, database_url: str):
    with wired(server, database_url) as (pool, wire):
        taken = []
        for number in range(8):  # prepared from the sixth on
            before = wire.flights
            once(pool, m.parsed(m.work(incidentId=f"1111111{number}-1111-4111-8111-111111111111", eventId=str(number))))
            taken.append(wire.flights - before)
    assert taken == [2] * 8


def test_a_duplicate_takes_one_look_and_one_rollback_more(server: postgres.Server, database_url: str):
    with wired(server, database_url) as (pool, wire):
        once(pool, m.parsed(m.work()))
        before = wire.flights
        once(pool, m.parsed(m.work()))
    assert wire.flights - before <= 4, "answers may come in two pieces"


def test_the_driver_has_what_the_pipeline_needs():
    assert psycopg.Pipeline.is_supported()
