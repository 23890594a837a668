"""Flights: what a statement says arrives as it was meant, each is prepared once, and nothing is left half read."""

from datetime import UTC, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from store import db
from store.db import Pool, PoolOptions, StoreFault, Transient, TransientReason
from store.flights import numbered


class Word(StrEnum):
    ONE = "it's one"


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))])
TIMES = st.datetimes(timezones=ZONES).filter(lambda moment: 1 < moment.year < 9999)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT,
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "bytea": st.binary(),
    "uuid": st.uuids(),
    "timestamptz": TIMES,
    "numeric": st.decimals(allow_nan=False, allow_infinity=False, places=6),
    "interval": st.timedeltas(timedelta(days=-9999), timedelta(days=9999)),
    "text[]": st.lists(TEXT),
    "uuid[]": st.lists(st.uuids()),
    "jsonb": st.dictionaries(TEXT, TEXT | st.integers(-(2**53), 2**53) | st.none() | st.lists(st.booleans())),
}


def test_placeholders_become_numbers_a_name_has_one():
    assert numbered("SELECT %(a)s, %(b)s, %(a)s, '100%%'") == (b"SELECT $1, $2, $1, '100%'", ("a", "b"))
    assert numbered("SELECT 1") == (b"SELECT 1", ())


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_arrives_as_it_was_meant(pool: Pool, kind: str):
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(value=st.none() | VALUES[kind])
    def arrives(value: Any) -> None:
        given_value = Jsonb(value) if kind == "jsonb" and value is not None else value
        query: Any = f"SELECT %(value)s::{kind} AS it"
        assert db.one(pool, query, {"value": given_value}) == [{"it": value}]

    arrives()


def test_a_word_of_ours_arrives_as_its_text_and_a_list_of_them_too(pool: Pool):
    query = "SELECT %(word)s::text AS word, %(words)s::text[] AS words, %(number)s::int AS number"
    found = db.one(pool, query, {"word": Word.ONE, "words": [Word.ONE], "number": 7, "unused": object()})
    assert found == [{"word": "it's one", "words": ["it's one"], "number": 7}]


def test_a_text_that_postgres_cannot_hold_is_refused_before_it_is_sent(pool: Pool):
    with pytest.raises(StoreFault, match="DataError"):
        db.one(pool, "SELECT %(text)s::text", {"text": "a\0b"})
    assert db.one(pool, "SELECT 1 AS one", {}) == [{"one": 1}]


def test_a_statement_without_rows_has_none_and_one_that_finds_none_has_none(pool: Pool):
    assert db.one(pool, "SET LOCAL lock_timeout = 1", {}) == []
    assert db.one(pool, "SELECT 1 AS one WHERE false", {}) == []


# -- preparing


@pytest.fixture
def single(database_url: str) -> Any:
    """A pool of one connection, so that each block meets the same."""
    with db.open_pool(database_url, PoolOptions(size_min=1, size_max=1)) as found:
        yield found


def prepared(pool: Pool, text: str) -> int:
    query = "SELECT count(*) AS n FROM pg_prepared_statements WHERE statement LIKE %(text)s"
    return int(db.one(pool, query, {"text": f"{text}%"})[0]["n"])


def test_each_statement_is_prepared_once_whatever_is_null_in_it(single: Pool):
    for value in (None, UUID(int=1), None, UUID(int=2)):
        with db.transaction(single) as tx:
            tx.send("SELECT %(value)s::uuid AS other", {"value": value})
            assert tx.ask("SELECT %(value)s::uuid AS it", {"value": value}).value() == [{"it": value}]
            tx.send("SELECT %(value)s::uuid AS other", {"value": value})
    assert (prepared(single, "SELECT $1::uuid AS it"), prepared(single, "SELECT $1::uuid AS other")) == (1, 1)


def test_a_flight_that_fails_leaves_prepared_what_was_and_prepares_the_rest_later(single: Pool):
    def broken() -> None:
        with db.transaction(single) as tx:
            tx.send("SELECT 1 AS before", {})
            tx.send("SELECT 1 / %(zero)s::int", {"zero": 0})
            tx.send("SELECT 1 AS after", {})

    for _ in range(2):
        with pytest.raises(StoreFault, match="DivisionByZero"):
            broken()
    assert (prepared(single, "SELECT 1 AS before"), prepared(single, "SELECT 1 AS after")) == (1, 0)
    assert db.one(single, "SELECT 1 AS after", {}) == [{"after": 1}]


def test_a_server_that_was_made_to_forget_is_told_anew(single: Pool):
    query = "SELECT 1 AS one"
    assert db.one(single, query, {}) == [{"one": 1}]
    with single.connection() as connection:
        connection.execute("DEALLOCATE ALL")
    with pytest.raises(Transient) as caught:
        db.one(single, query, {})
    assert (caught.value.reason, caught.value.sqlstate) == (TransientReason.CONFLICT, "26000")
    assert db.one(single, query, {}) == [{"one": 1}]


def test_a_statement_whose_columns_have_changed_is_prepared_anew(single: Pool, pool: Pool):
    with pool.connection() as connection:
        connection.execute("CREATE TABLE changing (word varchar(20))")
    query = "SELECT word FROM changing"
    assert db.one(single, query, {}) == []
    with pool.connection() as connection:
        connection.execute("ALTER TABLE changing ALTER word TYPE varchar(40)")
    with pytest.raises(Transient) as caught:
        db.one(single, query, {})
    assert (caught.value.reason, caught.value.sqlstate) == (TransientReason.CONFLICT, "0A000")
    assert db.one(single, query, {}) == []


# -- the wire


def test_a_flight_may_be_larger_than_what_the_socket_takes_at_once(single: Pool):
    large = "x" * 20_000_000
    with db.transaction(single) as tx:
        first = tx.ask("SELECT length(%(text)s::text) AS n", {"text": large})
        second = tx.ask("SELECT %(text)s::text AS it", {"text": large})
        assert first.value() == [{"n": len(large)}]
        assert second.value() == [{"it": large}]


def test_who_is_interrupted_while_waiting_leaves_no_answer_to_the_next(single: Pool, monkeypatch: pytest.MonkeyPatch):
    with single.connection() as connection:
        flights = connection.flights

    def interrupted(_events: int) -> None:
        raise KeyboardInterrupt

    def broken() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(flights, "_wait", interrupted)
            db.one(single, "SELECT 1 AS one", {})

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert db.one(single, "SELECT 2 AS two", {}) == [{"two": 2}], "on a new connection"


def test_who_is_interrupted_while_rolling_back_costs_the_pool_nothing(single: Pool, monkeypatch: pytest.MonkeyPatch):
    with single.connection() as connection:
        flights = connection.flights

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def broken() -> None:
        with monkeypatch.context() as patch, db.transaction(single) as tx:
            tx.ask("SELECT 1 AS one", {}).value()
            patch.setattr(flights, "_send", interrupted)
            raise LookupError

    with pytest.raises((KeyboardInterrupt, LookupError)):
        broken()
    assert db.one(single, "SELECT 2 AS two", {}) == [{"two": 2}]


def test_an_answer_is_there_for_each_who_asked_in_one_flight(pool: Pool):
    with db.transaction(pool) as tx:
        asked = [tx.ask("SELECT %(n)s::numeric AS n", {"n": Decimal(number)}) for number in range(50)]
        assert [found.value()[0]["n"] for found in asked] == list(range(50))


def test_reading_after_a_failure_fails_the_same_way(pool: Pool):
    seen: list[str] = []

    def broken() -> None:
        with db.transaction(pool) as tx:
            later = tx.ask("SELECT 1 AS one", {})
            tx.send("SELECT 1 / 0", {})
            earlier = tx.ask("SELECT 2 AS two", {})
            for found in (earlier, later):
                try:
                    found.value()
                    seen.append("an answer")
                except psycopg.Error as error:
                    seen.append(type(error).__name__)
            raise LookupError

    with pytest.raises(LookupError):
        broken()
    assert seen == ["DivisionByZero", "an answer"], "what was answered before the failure is known, and rolled back"
