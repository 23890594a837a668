"""Pruning: what is old enough goes, in batches, once, by an index; nothing else does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import LiteralString

import pytest

from contracts.outcome import Outcome
from store import db, housekeeping
from store.db import Pool, PoolOptions, StoreFault, Transient
from store.housekeeping import prune_inbox, prune_outbox
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import once, rows

INBOX_AGE = timedelta(days=120)
OUTBOX_AGE = timedelta(days=30)
#: So many rows in each table, one for every hour of age from 1.
CROWD: LiteralString = """
INSERT INTO message_inbox (consumer, message_key, fingerprint, outcome, received_at)
SELECT 'Test', n::text, sha256('x'), 'applied', now() - n * interval '1 hour' FROM generate_series(1, 6000) AS n
"""
SENT_CROWD: LiteralString = """
INSERT INTO outbox (event_id, aggregate_id, aggregate_seq, destination, detail_type, payload, created_at, published_at)
SELECT md5(n::text)::uuid, md5('payment')::uuid, 0, 'bus', 'Test', '{}', now() - n * interval '1 hour',
       now() - n * interval '1 hour' FROM generate_series(1, 6000) AS n
"""
#: An inbox of 139 days at a message a minute, where reading it all would be the dearer way.
LARGE_INBOX: LiteralString = """
INSERT INTO message_inbox (consumer, message_key, fingerprint, outcome, received_at)
SELECT 'Test', 'large ' || n, '\\x00000000000000000000000000000000000000000000000000000000000000ff', 'applied',
       now() - n * interval '1 minute' FROM generate_series(1, 200000) AS n
"""
#: Rows of the crowd that are older than the two ages.
OLD_INBOX, OLD_OUTBOX = 6000 - 120 * 24 + 1, 6000 - 30 * 24 + 1


@contextmanager
def relay_pool(url: str) -> Iterator[Pool]:
    """A pool with the rights of payments_relay and no others."""
    with db.open_pool(url, PoolOptions(size_min=1, size_max=1)) as found:
        with found.connection() as connection:
            connection.execute("SET ROLE payments_relay")
        yield found


@pytest.fixture
def relay(database_url: str) -> Iterator[Pool]:
    with relay_pool(database_url) as found:
        yield found


@pytest.fixture
def other_relay(database_url: str) -> Iterator[Pool]:
    with relay_pool(database_url) as found:
        yield found


@pytest.fixture
def crowded(pool: Pool) -> Pool:
    """A database whose inbox and outbox have a row for every hour of 250 days, and statistics that know it."""
    forge(pool, CROWD, SENT_CROWD)
    with pool.connection() as connection:
        connection.execute("ANALYZE")
    return pool


def count(pool: Pool, table: str) -> int:
    return int(rows(pool, f"SELECT count(*) AS n FROM {table}")[0]["n"])


def received(pool: Pool, key: str, age: str) -> None:
    with db.transaction(pool) as tx:
        values = {"key": key, "age": age}
        tx.send(
            "INSERT INTO message_inbox (consumer, message_key, fingerprint, outcome, received_at)"
            " VALUES ('Test', %(key)s, sha256('x'), 'applied', clock_timestamp() - %(age)s::interval)",
            values,
        )


def published(pool: Pool, name: str, age: str | None) -> None:
    """An outbox row that was made a year ago and published so long ago, or never."""
    with db.transaction(pool) as tx:
        tx.send(
            "INSERT INTO outbox (event_id, aggregate_id, aggregate_seq, destination, detail_type, payload, created_at,"
            " available_at, published_at) VALUES (gen_random_uuid(), gen_random_uuid(), 0, 'bus', %(name)s, '{}',"
            " now() - interval '1 year', now() - interval '1 year', clock_timestamp() - %(age)s::interval)",
            {"name": name, "age": age},
        )


def test_an_inbox_row_goes_when_its_time_is_over_and_no_moment_sooner(pool: Pool, relay: Pool):
    for key, age in (("old", "120 days 1 second"), ("almost", "119 days 23:59:00"), ("new", "0 seconds")):
        received(pool, key, age)
    assert prune_inbox(relay, INBOX_AGE, 500) == 1
    assert {row["message_key"] for row in rows(pool, "SELECT message_key FROM message_inbox")} == {"almost", "new"}


def test_an_outbox_row_s_time_begins_with_its_publication(pool: Pool, relay: Pool):
    for name, age in (("old", "30 days 1 second"), ("almost", "29 days 23:59:00"), ("just now", "0 seconds")):
        published(pool, name, age)
    assert prune_outbox(relay, OUTBOX_AGE, 500) == 1
    assert {row["detail_type"] for row in rows(pool, "SELECT detail_type FROM outbox")} == {"almost", "just now"}


def test_what_was_not_sent_or_will_never_be_taken_stays_whatever_its_age(pool: Pool, relay: Pool):
    published(pool, "still to be sent", None)
    published(pool, "rejected", None)
    rows(pool, "UPDATE outbox SET failed_at = created_at WHERE detail_type = 'rejected' RETURNING 1")
    assert prune_outbox(relay, timedelta(seconds=0), 500) == 0
    assert count(pool, "outbox") == 2


def test_a_batch_takes_the_oldest_and_no_more_than_it_may(crowded: Pool, relay: Pool):
    assert prune_inbox(relay, INBOX_AGE, 500) == 500
    assert prune_outbox(relay, OUTBOX_AGE, 500) == 500
    oldest = "SELECT round(extract(epoch FROM now() - min({})) / 3600) AS hours FROM {}"
    assert rows(crowded, oldest.format("received_at", "message_inbox"))[0]["hours"] == 5500
    assert rows(crowded, oldest.format("published_at", "outbox"))[0]["hours"] == 5500


def test_batch_after_batch_comes_to_an_end(crowded: Pool, relay: Pool):
    def until_done(prune: Callable[..., int], age: timedelta) -> list[int]:
        found = [prune(relay, age, 2000)]
        while found[-1]:
            found.append(prune(relay, age, 2000))
        return found

    assert until_done(prune_inbox, INBOX_AGE) == [2000, OLD_INBOX - 2000, 0]
    assert until_done(prune_outbox, OUTBOX_AGE) == [2000, 2000, OLD_OUTBOX - 4000, 0]
    assert (count(crowded, "message_inbox"), count(crowded, "outbox")) == (6000 - OLD_INBOX, 6000 - OLD_OUTBOX)


@pytest.mark.parametrize(
    ("query", "index", "condition"),
    [
        (housekeeping._PRUNE_INBOX, "idx_inbox_received", "Index Cond: (received_at < (now() - "),
        (housekeeping._PRUNE_OUTBOX, "idx_outbox_published", "Index Cond: (published_at < (now() - "),
    ],
)
def test_the_old_ones_are_found_by_an_index(crowded: Pool, relay: Pool, query: LiteralString, index, condition):
    forge(crowded, LARGE_INBOX)
    with crowded.connection() as connection:
        connection.execute("ANALYZE message_inbox")
    values = {"older_than": INBOX_AGE, "limit": 500, "lock": housekeeping.INBOX_LOCK}
    with relay.connection() as connection:
        found = connection.execute("EXPLAIN " + query, values).fetchall()
    plan = "\n".join(row["QUERY PLAN"] for row in found)
    assert f"Index Scan using {index}" in plan
    assert condition in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan


@pytest.mark.parametrize("prune", [prune_inbox, prune_outbox])
def test_two_pruners_at_once_remove_each_row_once(crowded: Pool, relay: Pool, other_relay: Pool, prune):
    table, age, old = (
        ("message_inbox", INBOX_AGE, OLD_INBOX) if prune is prune_inbox else ("outbox", OUTBOX_AGE, OLD_OUTBOX)
    )
    start, removed = threading.Barrier(2), [0, 0]

    def work(number: int, pool: Pool) -> None:
        start.wait(10)
        while count(crowded, table) > 6000 - old:  # the other one may hold the rest
            removed[number] += prune(pool, age, 50)

    threads = [threading.Thread(target=work, args=args) for args in enumerate((relay, other_relay))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(removed) == old
    assert count(crowded, table) == 6000 - old


def test_a_pruner_passes_by_outbox_rows_that_another_one_holds(crowded: Pool, relay: Pool, other_relay: Pool):
    with db.transaction(relay) as tx:
        held = tx.ask(housekeeping._PRUNE_OUTBOX, {"older_than": OUTBOX_AGE, "limit": 300}).value()
        assert len(held) == 300
        assert prune_outbox(other_relay, OUTBOX_AGE, 10_000) == OLD_OUTBOX - 300, "at once, without waiting"
        tx.abandon()
    assert prune_outbox(other_relay, OUTBOX_AGE, 10_000) == 300, "what was rolled back is there again"


def test_a_pruner_leaves_the_inbox_to_the_one_that_is_at_it(crowded: Pool, relay: Pool, other_relay: Pool):
    values = {"older_than": INBOX_AGE, "limit": 300, "lock": housekeeping.INBOX_LOCK}
    with db.transaction(relay) as tx:
        assert len(tx.ask(housekeeping._PRUNE_INBOX, values).value()) == 300
        assert prune_inbox(other_relay, INBOX_AGE, 500) == 0, "at once, without waiting"
    assert prune_inbox(other_relay, INBOX_AGE, 10_000) == OLD_INBOX - 300, "the lock ends with its transaction"


def test_a_claim_does_not_wait_for_a_pruner_of_other_rows(crowded: Pool, relay: Pool):
    values = {"older_than": INBOX_AGE, "limit": 300, "lock": housekeeping.INBOX_LOCK}
    with db.transaction(relay) as tx:
        assert len(tx.ask(housekeeping._PRUNE_INBOX, values).value()) == 300
        assert once(crowded, m.parsed(m.work())).outcome is Outcome.APPLIED
        tx.abandon()


def test_the_database_itself_keeps_what_may_still_come_back(pool: Pool, relay: Pool):
    received(pool, "in the dead-letter queue", "17 days 23:00:00")
    with pytest.raises(StoreFault, match="message_inbox_kept"):
        prune_inbox(relay, timedelta(days=1), 500)
    assert count(pool, "message_inbox") == 1


def test_work_whose_inbox_row_was_pruned_is_not_paid_twice(pool: Pool, relay: Pool):
    first = once(pool, m.parsed(m.work()))
    forge(pool, "UPDATE message_inbox SET received_at = now() - interval '121 days'")
    assert prune_inbox(relay, INBOX_AGE, 500) == 1
    told = count(pool, "outbox")
    again = once(pool, m.parsed(m.work()))
    assert (again.outcome, again.payment_id) == (Outcome.IGNORED, first.payment_id)
    assert [count(pool, table) for table in ("payments", "payment_audit_log", "outbox")] == [1, 1, told]
    assert count(pool, "message_inbox") == 1, "and the next delivery is a duplicate again"


def test_work_whose_outbox_rows_were_pruned_too_is_not_announced_anew(pool: Pool, relay: Pool):
    once(pool, m.parsed(m.work()))
    forge(
        pool,
        "UPDATE message_inbox SET received_at = now() - interval '121 days'",
        "UPDATE outbox SET published_at = now() - interval '31 days'",
    )
    assert prune_inbox(relay, INBOX_AGE, 500) == 1
    assert prune_outbox(relay, OUTBOX_AGE, 500) == 2
    assert once(pool, m.parsed(m.work())).outcome is Outcome.IGNORED
    assert count(pool, "outbox") == 0


@pytest.mark.parametrize("prune", [prune_inbox, prune_outbox])
def test_a_database_that_is_away_is_transient(prune):
    nowhere = db.open_pool("host=127.0.0.1 port=1 dbname=nowhere", PoolOptions(size_min=0, wait_s=0.1))
    with nowhere, pytest.raises(Transient):
        prune(nowhere, INBOX_AGE, 500)
