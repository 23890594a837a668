"""The probe: an answer in time from a server that writes, over a connection of its own; anything else is an outage."""

import time

import psycopg
import pytest
from psycopg import sql

from store import db, probe
from store.db import PoolOptions, Transient, TransientReason
from tests.kit.wire import Valve
from workers.local import postgres


def named(database_url: str) -> sql.Identifier:
    return sql.Identifier(database_url.rsplit("/", 1)[-1].partition("?")[0])


def test_a_database_that_could_work_now_is_no_trouble(database_url: str):
    probe.ask(database_url, 2)
    probe.ask(lambda: database_url, 2)


def test_a_server_that_only_reads_is_away_though_it_answers(server: postgres.Server, database_url: str):
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        only_reads = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on")
        connection.execute(only_reads.format(named(database_url)))
    with pytest.raises(Transient) as caught:
        probe.ask(database_url, 2)
    assert (caught.value.reason, caught.value.sqlstate) == (TransientReason.CONNECTION, "25006")


def test_a_pool_whose_connections_are_all_busy_is_no_outage(database_url: str):
    with db.open_pool(database_url, PoolOptions(size_min=1, size_max=1, wait_s=0.1)) as pool, db.reading(pool):
        probe.ask(database_url, 2)


def test_nobody_at_the_port_is_a_lost_connection():
    with pytest.raises(Transient) as caught:
        probe.ask("host=127.0.0.1 port=1 dbname=nowhere", 2)
    assert caught.value.reason is TransientReason.CONNECTION


def test_a_refused_login_is_told_so_that_fresh_credentials_are_fetched(database_url: str):
    told: list[int] = []
    wrong = database_url.replace(database_url.split(":")[2].partition("@")[0], "wrong")
    with pytest.raises(Transient):
        probe.ask(wrong, 2, lambda: told.append(1))
    assert told == [1]


@pytest.mark.parametrize("silent_from", [b"", b"pg_is_in_recovery"])
def test_a_server_that_takes_the_question_and_never_answers_is_away_in_seconds(
    server: postgres.Server, database_url: str, silent_from: bytes
):
    with Valve(server.port).before(database_url) as (valve, url):
        probe.ask(url, 2)
        valve.shut_after = silent_from
        began = time.monotonic()
        with pytest.raises(Transient):
            probe.ask(url, 2)
        assert time.monotonic() - began < 8
