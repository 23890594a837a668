"""The sandbox's books: the same key moves money once, however often and from wherever it is asked."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from contracts.money import Money
from contracts.provider import Accepted, PayoutOrder
from store import db, migrate, sandbox
from store.db import Pool, PoolOptions, StoreFault, reading
from store.roles import GroupRole, ensure_login
from tests.kit import messages as m
from tests.kit.funnel import rows
from workers.local import postgres

ORDER = PayoutOrder(
    payment_id=m.INCIDENT,
    attempt_no=1,
    idempotency_key=f"pay-{m.INCIDENT}-1",
    money=Money(15000, "USD"),
    destination="acct_1",
)


REWRITES = (
    "UPDATE sandbox.transfers SET amount_cents = 1",
    "DELETE FROM sandbox.transfers",
    "TRUNCATE sandbox.transfers",
    "DROP TABLE sandbox.transfers",
)


@pytest.fixture
def bare_url(server: postgres.Server) -> Iterator[str]:
    """A migrated database in which the sandbox was never on."""
    name = f"bare_{uuid4().hex}"
    migrate.ensure_database(server.url("postgres"), name)
    migrate.upgrade(server.url(name))
    yield server.url(name)
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def without_books(bare_url: str) -> Iterator[Pool]:
    with opened(bare_url) as pool:
        yield pool


def opened(url: str) -> Pool:
    return db.open_pool(url, PoolOptions(size_min=1, wait_s=5))


def logged_in(url: str, role: GroupRole) -> Pool:
    """A pool of a user that has just this role."""
    name, password = f"sandbox_{role}", uuid4().hex
    ensure_login(url, name, password, role)
    return opened(
        urlsplit(url)._replace(netloc=f"{name}:{password}@{urlsplit(url).netloc.rpartition('@')[2]}").geturl()
    )


def transfers(pool: Pool) -> list[dict]:
    return rows(pool, "SELECT * FROM sandbox.transfers ORDER BY transfer_id")


def test_a_transfer_is_booked_as_it_was_ordered(pool: Pool):
    made = sandbox.make_transfer(pool, ORDER)
    [row] = transfers(pool)
    assert row["transfer_id"] == made.provider_object_id
    assert row["transfer_group"] == str(m.INCIDENT)
    assert (row["destination"], row["amount_cents"], row["currency"]) == ("acct_1", 15000, "USD")


def test_the_same_key_gives_the_same_transfer_whatever_else_is_said(pool: Pool):
    first = sandbox.make_transfer(pool, ORDER)
    assert sandbox.make_transfer(pool, ORDER) == first
    assert sandbox.make_transfer(pool, replace(ORDER, money=Money(99, "USD"))) == first
    assert [row["amount_cents"] for row in transfers(pool)] == [15000]


def test_another_key_is_another_transfer(pool: Pool):
    first = sandbox.make_transfer(pool, ORDER)
    second = sandbox.make_transfer(pool, replace(ORDER, attempt_no=2, idempotency_key="another"))
    assert first != second
    assert len(transfers(pool)) == 2


def test_eight_at_once_with_one_key_move_the_money_once(pool: Pool):
    start, made = threading.Barrier(8), []

    def transfer() -> None:
        start.wait(5)
        made.append(sandbox.make_transfer(pool, ORDER))

    threads = [threading.Thread(target=transfer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1
    assert len(transfers(pool)) == 1


def test_a_payment_is_looked_up_by_its_group_whichever_attempt_asks(pool: Pool):
    assert sandbox.find_transfer(pool, ORDER) is None
    made = sandbox.make_transfer(pool, ORDER)
    assert sandbox.find_transfer(pool, replace(ORDER, attempt_no=2, idempotency_key="another")) == made
    assert sandbox.find_transfer(pool, replace(ORDER, payment_id=m.VENDOR)) is None


def test_several_processes_may_make_the_books_at_once(without_books: Pool):
    start, failed = threading.Barrier(4), []

    def prepare() -> None:
        start.wait(5)
        try:
            sandbox.prepare(without_books)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failed.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sandbox.make_transfer(without_books, ORDER) == sandbox.find_transfer(without_books, ORDER)


def test_making_the_books_again_keeps_what_is_in_them(pool: Pool):
    made = sandbox.make_transfer(pool, ORDER)
    sandbox.prepare(pool)
    assert sandbox.find_transfer(pool, ORDER) == made == Accepted(transfers(pool)[0]["transfer_id"])


def test_a_database_without_the_sandbox_has_no_books(without_books: Pool):
    assert not sandbox.usable(without_books)
    with pytest.raises(StoreFault, match="UndefinedTable"):
        sandbox.make_transfer(without_books, ORDER)
    sandbox.prepare(without_books)
    assert sandbox.usable(without_books)


def test_a_worker_may_book_and_look_up_but_not_rewrite_the_books(database_url: str):
    with logged_in(database_url, GroupRole.WORKER) as worker:
        assert sandbox.usable(worker)
        made = sandbox.make_transfer(worker, ORDER)
        assert sandbox.make_transfer(worker, ORDER) == made == sandbox.find_transfer(worker, ORDER)
        for statement in REWRITES:
            with pytest.raises(StoreFault, match="InsufficientPrivilege"), reading(worker) as connection:
                connection.execute(statement)


@pytest.mark.parametrize("role", [GroupRole.READER, GroupRole.MONITOR])
def test_others_may_read_the_books_and_no_more(database_url: str, role: GroupRole):
    with logged_in(database_url, role) as reader:
        assert transfers(reader) == []
        assert not sandbox.usable(reader)
        with pytest.raises(StoreFault, match="InsufficientPrivilege"):
            sandbox.make_transfer(reader, ORDER)


def test_the_relay_has_no_business_with_the_books(database_url: str):
    with logged_in(database_url, GroupRole.RELAY) as relay:
        assert not sandbox.usable(relay)
        with pytest.raises(StoreFault, match="InsufficientPrivilege"):
            transfers(relay)


def test_a_worker_may_not_make_the_books(bare_url: str, without_books: Pool):
    with logged_in(bare_url, GroupRole.WORKER) as worker:
        assert not sandbox.usable(worker)
        with pytest.raises(StoreFault, match="InsufficientPrivilege"):
            sandbox.prepare(worker)


def test_books_of_an_earlier_release_which_gave_no_rights_become_usable(bare_url: str, without_books: Pool):
    with reading(without_books) as connection:
        connection.execute("CREATE SCHEMA sandbox")
        connection.execute(
            "CREATE TABLE sandbox.transfers (transfer_id TEXT PRIMARY KEY, idempotency_key TEXT NOT NULL UNIQUE,"
            " transfer_group TEXT NOT NULL, destination TEXT NOT NULL, amount_cents BIGINT NOT NULL,"
            " currency TEXT NOT NULL, created_at TIMESTAMPTZ NOT NULL DEFAULT now())"
        )
    made = sandbox.make_transfer(without_books, ORDER)
    with logged_in(bare_url, GroupRole.WORKER) as worker:
        assert not sandbox.usable(worker)
        sandbox.prepare(without_books)
        assert sandbox.usable(worker)
        assert sandbox.find_transfer(worker, ORDER) == made
