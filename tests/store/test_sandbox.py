"""The sandbox's books: the same key moves money once, however often and from wherever it is asked."""

import threading
from dataclasses import replace

import pytest

from contracts.money import Money
from contracts.provider import Accepted, PayoutOrder
from store import sandbox
from store.db import Pool, StoreFault
from tests.kit import messages as m
from tests.kit.funnel import rows

ORDER = PayoutOrder(
    payment_id=m.INCIDENT,
    attempt_no=1,
    idempotency_key=f"pay-{m.INCIDENT}-1",
    money=Money(15000, "USD"),
    destination="acct_1",
)


@pytest.fixture
def books(pool: Pool) -> Pool:
    sandbox.prepare(pool)
    return pool


def transfers(pool: Pool) -> list[dict]:
    return rows(pool, "SELECT * FROM sandbox.transfers ORDER BY transfer_id")


def test_a_transfer_is_booked_as_it_was_ordered(books: Pool):
    made = sandbox.make_transfer(books, ORDER)
    [row] = transfers(books)
    assert row["transfer_id"] == made.provider_object_id
    assert row["transfer_group"] == str(m.INCIDENT)
    assert (row["destination"], row["amount_cents"], row["currency"]) == ("acct_1", 15000, "USD")


def test_the_same_key_gives_the_same_transfer_whatever_else_is_said(books: Pool):
    first = sandbox.make_transfer(books, ORDER)
    assert sandbox.make_transfer(books, ORDER) == first
    assert sandbox.make_transfer(books, replace(ORDER, money=Money(99, "USD"))) == first
    assert [row["amount_cents"] for row in transfers(books)] == [15000]


def test_another_key_is_another_transfer(books: Pool):
    first = sandbox.make_transfer(books, ORDER)
    second = sandbox.make_transfer(books, replace(ORDER, attempt_no=2, idempotency_key="another"))
    assert first != second
    assert len(transfers(books)) == 2


def test_eight_at_once_with_one_key_move_the_money_once(books: Pool):
    start, made = threading.Barrier(8), []

    def transfer() -> None:
        start.wait(5)
        made.append(sandbox.make_transfer(books, ORDER))

    threads = [threading.Thread(target=transfer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1
    assert len(transfers(books)) == 1


def test_a_payment_is_looked_up_by_its_group_whichever_attempt_asks(books: Pool):
    assert sandbox.find_transfer(books, ORDER) is None
    made = sandbox.make_transfer(books, ORDER)
    assert sandbox.find_transfer(books, replace(ORDER, attempt_no=2, idempotency_key="another")) == made
    assert sandbox.find_transfer(books, replace(ORDER, payment_id=m.VENDOR)) is None


def test_several_processes_may_make_the_books_at_once(pool: Pool):
    start, failed = threading.Barrier(4), []

    def prepare() -> None:
        start.wait(5)
        try:
            sandbox.prepare(pool)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failed.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sandbox.make_transfer(pool, ORDER) == sandbox.find_transfer(pool, ORDER)


def test_making_the_books_again_keeps_what_is_in_them(books: Pool):
    made = sandbox.make_transfer(books, ORDER)
    sandbox.prepare(books)
    assert sandbox.find_transfer(books, ORDER) == made == Accepted(transfers(books)[0]["transfer_id"])


def test_a_database_without_the_sandbox_has_no_books(pool: Pool):
    with pytest.raises(StoreFault, match="UndefinedTable"):
        sandbox.make_transfer(pool, ORDER)
