"""The pool and its errors: never more connections than allowed, every sqlstate in our own words, clean afterwards."""

import threading
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import pq

from store import db, probe
from store.db import Pool, PoolOptions, StoreFault, Transient, TransientReason
from tests.kit.funnel import rows
from workers.local import postgres

CANARY = "canary-8675309"
#: What the server may say, and what it is to us; what is not here is a fault.
NOT_NOW = {
    "40001": TransientReason.CONFLICT,  # serialization failure
    "40P01": TransientReason.CONFLICT,  # deadlock
    "55P03": TransientReason.TIMEOUT,  # lock not available
    "57014": TransientReason.TIMEOUT,  # query cancelled
    "08006": TransientReason.CONNECTION,  # connection failure
    "28P01": TransientReason.CONNECTION,  # rotated credentials
    "25006": TransientReason.CONNECTION,  # a writer that has become a reader
    "53100": TransientReason.CONNECTION,  # disk full
    "53300": TransientReason.CONNECTION,  # too many connections
    "57P01": TransientReason.CONNECTION,  # shutting down
    "57P03": TransientReason.CONNECTION,  # starting up
}
FAULTS = ("22012", "23502", "23503", "23514", "42P01", "42703", "0A000", "54000", "P0001", "XX000")


def raise_with(pool: Pool, code: str) -> Transient | StoreFault:
    """Let a statement of a transaction fail with a sqlstate and a text that quotes a row."""
    told = f"DO $$ BEGIN RAISE EXCEPTION '{CANARY}' USING ERRCODE = '{code}', DETAIL = '{CANARY}'; END $$"

    def broken() -> None:
        with db.transaction(pool) as tx:
            tx.send("CREATE TABLE never (id int)", {})
            tx.send(told, {})

    with pytest.raises((Transient, StoreFault)) as caught:
        broken()
    assert rows(pool, "SELECT to_regclass('never') AS found") == [{"found": None}], "rolled back"
    with pool.connection() as connection:
        assert connection.info.transaction_status is pq.TransactionStatus.IDLE
        assert connection.info.pipeline_status is pq.PipelineStatus.OFF
    error = caught.value
    assert isinstance(error, Transient | StoreFault)
    assert CANARY not in f"{error} {error!r}"
    assert error.__cause__ is None, "the driver's text would quote the row"
    assert error.__suppress_context__
    return error


@pytest.mark.parametrize("code", NOT_NOW)
def test_what_may_do_better_later_is_transient_with_its_reason(pool: Pool, code: str):
    error = raise_with(pool, code)
    assert isinstance(error, Transient)
    assert (error.reason, error.sqlstate) == (NOT_NOW[code], code)


@pytest.mark.parametrize("code", FAULTS)
def test_what_will_never_do_better_is_a_fault(pool: Pool, code: str):
    error = raise_with(pool, code)
    assert isinstance(error, StoreFault)
    assert code in str(error)


def test_a_plain_read_speaks_the_same_words(pool: Pool):
    with pytest.raises(StoreFault, match="UndefinedTable"):
        rows(pool, "SELECT 1 FROM nowhere")
    with pytest.raises(Transient, match="40001"):
        rows(pool, "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$")


def test_an_answer_is_read_once_and_kept(pool: Pool):
    reads: list[int] = []

    def seven(got: list[db.Row]) -> int:
        reads.append(1)
        return int(got[0]["seven"])

    with db.transaction(pool) as tx:
        found = tx.ask("SELECT 7 AS seven", {}).map(seven)
        assert (found.value(), found.value()) == (7, 7)
    assert reads == [1]


def test_an_error_in_the_first_flight_is_met_at_the_first_read(pool: Pool):
    seen: list[str] = []

    def broken() -> None:
        with db.transaction(pool) as tx:
            tx.send("SELECT 1 / 0", {})
            seen.append("sent")
            tx.ask("SELECT 1 AS one", {}).value()
            seen.append("read")

    with pytest.raises(StoreFault, match="DivisionByZero"):
        broken()
    assert seen == ["sent"]


def test_no_more_connections_are_opened_than_allowed_however_many_ask(pool: Pool, database_url: str):
    options = PoolOptions(size_min=1, size_max=3, wait_s=10, application="crowd")
    most: list[int] = []

    def work() -> None:
        with db.transaction(crowd) as tx:
            tx.ask("SELECT pg_sleep(0.02)", {}).value()
        counted = rows(pool, "SELECT count(*) AS found FROM pg_stat_activity WHERE application_name = 'crowd'")
        most.append(counted[0]["found"])

    with db.open_pool(database_url, options) as crowd:
        threads = [threading.Thread(target=work) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(most) == 24, "everybody had their turn"
    assert 2 <= max(most) <= 3


def test_a_pool_that_has_none_in_time_is_transient(database_url: str):
    options = PoolOptions(size_min=1, size_max=1, wait_s=0.1)
    with db.open_pool(database_url, options) as small, small.connection(), pytest.raises(Transient) as caught:
        db.ping(small)
    assert (caught.value.reason, caught.value.sqlstate) == (TransientReason.CONNECTION, None)


def test_a_pool_that_is_closed_is_transient(database_url: str):
    closed = db.open_pool(database_url, PoolOptions(size_min=1))
    closed.close()
    with pytest.raises(Transient):
        db.ping(closed)


def test_a_password_that_stays_wrong_is_transient_and_told_each_time(server: postgres.Server):
    told: list[int] = []
    wrong = server.url("postgres").replace(server.password, "wrong")
    options = PoolOptions(size_min=0, wait_s=0.5)
    with db.open_pool(wrong, options, lambda: told.append(1)) as pool, pytest.raises(Transient) as caught:
        db.ping(pool)
    assert caught.value.reason is TransientReason.CONNECTION
    assert told
    assert "wrong" not in f"{caught.value!r}"


def test_only_a_refused_login_asks_for_fresh_credentials():
    told: list[int] = []
    options = PoolOptions(size_min=0, wait_s=0.2)
    nowhere = db.open_pool("host=127.0.0.1 port=1 dbname=nowhere", options, lambda: told.append(1))
    with nowhere, pytest.raises(Transient):
        db.ping(nowhere)
    assert told == []


def test_a_connection_source_that_fails_leaves_the_pool_trying(database_url: str):
    asked: list[int] = []

    def source() -> str:
        asked.append(1)
        if len(asked) == 1:
            raise ConnectionError("no credentials now")
        return database_url

    with db.open_pool(source, PoolOptions(size_min=1, wait_s=10)) as pool:
        db.ping(pool)
    assert len(asked) >= 2


def test_every_connection_says_whose_it_is(database_url: str):
    with db.open_pool(database_url, PoolOptions(size_min=1, application="payments-worker")) as pool:
        [row] = rows(pool, "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()")
    assert row["application_name"] == "payments-worker"


def test_a_pool_that_is_refreshed_has_no_connection_of_before(database_url: str):
    with db.open_pool(database_url, PoolOptions(size_min=4, size_max=4)) as pool:
        pool.wait(10)
        before = backends(pool, 4)
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (list(before),))
        probe.ask(database_url, 2)
        probe.refresh(pool)
        assert not before & backends(pool, 4)


def backends(pool: Pool, count: int) -> set[int]:
    """The server's process behind each of so many connections; every one of them must work."""
    with ExitStack() as stack:
        held = [stack.enter_context(db.reading(pool)) for _ in range(count)]
        return {connection.info.backend_pid for connection in held if connection.execute("SELECT 1")}


def test_a_server_that_vanishes_without_a_word_is_noticed(database_url: str):
    with db.open_pool(database_url, PoolOptions(size_min=1)) as pool, db.reading(pool) as connection:
        parameters = connection.info.get_parameters()
        assert parameters["tcp_user_timeout"] == "10000"
        assert parameters["keepalives_idle"] == "5"
