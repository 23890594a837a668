"""The outbox as the relays see it: leases, marks that touch only what they name, and no row twice."""

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pytest

from store import db, outbox
from store.db import Pool, PoolOptions, StoreFault
from store.outbox import DueRow, NewRow
from tests.kit import messages as m
from tests.kit.funnel import rows
from tests.kit.sqs import until

PAST = datetime(2026, 1, 1, tzinfo=UTC)


def row(name: str, *, destination: str = "bus", available_at: datetime = PAST) -> NewRow:
    return NewRow(uuid5(m.EVENT, name), m.INCIDENT, 1, destination, "Test", {"name": name}, available_at)


def append(pool: Pool, *new: NewRow) -> None:
    with db.transaction(pool) as tx:
        outbox.append(tx, new, PAST)


def claim(pool: Pool, limit: int = 100, lease_s: float = 30) -> list[DueRow]:
    return outbox.claim_batch(pool, limit=limit, lease_s=lease_s)


def test_what_is_sent_is_ascii_whatever_it_says(pool: Pool):
    name = "caf\u00e9 \uffff \ufffe \U0001f600"
    append(pool, row(name))
    (due,) = claim(pool)
    assert due.text.isascii(), "Amazon SQS refuses U+FFFE and U+FFFF for good"
    assert due.payload == {"name": name}


def test_a_number_is_sent_as_it_stands_beside_a_text_that_is_escaped(pool: Pool):
    append(pool, dataclasses.replace(row("n"), payload={"name": "caf\u00e9", "quantity": 1e-7}))
    (due,) = claim(pool)
    assert due.text == '{"name": "caf\\u00e9", "quantity": 0.0000001}', "as Postgres keeps it, digit by digit"


def names(claimed: list[DueRow]) -> list[str]:
    return [each.payload["name"] for each in claimed]


def states(pool: Pool) -> dict[str, tuple[bool, bool, str | None]]:
    """Whether each row is published, whether it has failed, and what its receiver called it."""
    found = rows(pool, "SELECT payload->>'name' AS name, published_at, failed_at, bus_event_id FROM outbox")
    return {
        each["name"]: (each["published_at"] is not None, each["failed_at"] is not None, each["bus_event_id"])
        for each in found
    }


@pytest.fixture
def other(database_url: str) -> Iterator[Pool]:
    """The pool of a second relay."""
    with db.open_pool(database_url, PoolOptions(size_min=1)) as found:
        yield found


def test_what_is_appended_comes_out_as_it_went_in(pool: Pool):
    append(pool, row("a"))
    [due] = claim(pool)
    assert (due.event_id, due.aggregate_id, due.aggregate_seq) == (uuid5(m.EVENT, "a"), m.INCIDENT, 1)
    assert (due.destination, due.detail_type, due.payload) == ("bus", "Test", {"name": "a"})
    assert (due.attempts, due.created_at, due.traceparent) == (1, PAST, None)


def test_a_row_s_trace_comes_out_as_it_went_in(pool: Pool):
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    append(pool, dataclasses.replace(row("a"), traceparent=traceparent), row("b"))
    assert {due.payload["name"]: due.traceparent for due in claim(pool)} == {"a": traceparent, "b": None}


def test_the_same_event_twice_is_one_row_that_keeps_its_first_words(pool: Pool):
    append(pool, row("a"))
    append(pool, row("a", destination="payouts"), row("b"))
    found = rows(pool, "SELECT event_id, destination FROM outbox ORDER BY payload->>'name'")
    assert [(each["event_id"], each["destination"]) for each in found] == [
        (uuid5(m.EVENT, "a"), "bus"),
        (uuid5(m.EVENT, "b"), "bus"),
    ]


def test_an_append_that_rolls_back_says_nothing(pool: Pool):
    with db.transaction(pool) as tx:
        outbox.append(tx, [row("a")], PAST)
        tx.abandon()
    assert claim(pool) == []


def test_nothing_to_say_is_no_row(pool: Pool):
    append(pool)
    assert rows(pool, "SELECT 1 FROM outbox") == []


def test_rows_come_in_the_order_they_were_written_and_no_more_than_asked_for(pool: Pool):
    append(pool, *(row(f"n{number}") for number in range(5)))
    assert names(claim(pool, limit=3)) == ["n0", "n1", "n2"]
    assert names(claim(pool, limit=3)) == ["n3", "n4"]


def test_what_has_been_due_for_longer_comes_first(pool: Pool):
    append(pool, row("later"), row("sooner", available_at=PAST - timedelta(days=1)))
    assert names(claim(pool, limit=1)) == ["sooner"]
    assert names(claim(pool, limit=1)) == ["later"]


def test_a_delayed_row_is_not_claimed_before_its_time(pool: Pool):
    append(pool, row("now"), row("soon", available_at=datetime.now(UTC) + timedelta(seconds=0.5)))
    append(pool, row("tomorrow", available_at=datetime.now(UTC) + timedelta(days=1)))
    assert names(claim(pool)) == ["now"]
    due: list[DueRow] = []
    until(lambda: due.extend(claim(pool)) or due, what="the delayed row")  # type: ignore[func-returns-value]
    assert names(due) == ["soon"]
    assert datetime.now(UTC) >= rows(pool, "SELECT created_at FROM outbox LIMIT 1")[0]["created_at"]


def test_two_relays_get_disjoint_rows_even_while_the_first_has_not_committed(pool: Pool, other: Pool):
    append(pool, *(row(f"n{number}") for number in range(4)))
    with db.transaction(pool) as tx:
        taken = tx.ask("SELECT payload FROM outbox ORDER BY outbox_id LIMIT 2 FOR UPDATE", {}).value()
        assert names(claim(other)) == ["n2", "n3"], "it skips what is locked and does not wait"
    assert [each["payload"]["name"] for each in taken] == ["n0", "n1"]
    assert names(claim(other)) == ["n0", "n1"]


def test_a_lease_keeps_a_row_from_the_others_until_it_ends(pool: Pool, other: Pool):
    append(pool, row("a"))
    assert names(claim(pool, lease_s=0.3)) == ["a"]
    assert claim(other) == []
    again: list[DueRow] = []
    until(lambda: again.extend(claim(other)) or again, what="the lease to end")  # type: ignore[func-returns-value]
    assert (names(again), again[0].attempts) == (["a"], 2)


def test_exactly_the_named_rows_are_published_with_their_receipts(pool: Pool):
    append(pool, row("a"), row("b"), row("c"))
    a, _, c = claim(pool, lease_s=0)
    outbox.mark_published(pool, {a.outbox_id: "bus-1", c.outbox_id: "bus-3"})
    assert states(pool) == {"a": (True, False, "bus-1"), "b": (False, False, None), "c": (True, False, "bus-3")}
    assert names(claim(pool)) == ["b"]


def test_a_row_that_two_relays_sent_keeps_its_first_receipt(pool: Pool):
    append(pool, row("a"))
    [a] = claim(pool)
    outbox.mark_published(pool, {a.outbox_id: "first"})
    outbox.mark_published(pool, {a.outbox_id: "second"})
    assert states(pool) == {"a": (True, False, "first")}


def test_a_postponed_row_comes_after_its_own_delay(pool: Pool):
    append(pool, row("soon"), row("late"), row("leased"))
    soon, late, _ = claim(pool)
    outbox.postpone(pool, {soon.outbox_id: 0.2, late.outbox_id: 60.0})
    assert claim(pool) == []
    due: list[DueRow] = []
    until(lambda: due.extend(claim(pool)) or due, what="the postponed row")  # type: ignore[func-returns-value]
    assert names(due) == ["soon"]


def test_a_failed_row_stays_for_a_person_and_is_never_claimed_again(pool: Pool):
    append(pool, row("bad"), row("good"))
    bad, _ = claim(pool, lease_s=0)
    outbox.mark_failed(pool, [bad.outbox_id])
    assert states(pool)["bad"] == (False, True, None)
    assert names(claim(pool, lease_s=0)) == ["good"]


def test_what_was_published_is_neither_postponed_nor_failed_by_a_relay_that_comes_late(pool: Pool):
    append(pool, row("a"))
    [a] = claim(pool)
    outbox.mark_published(pool, {a.outbox_id: "bus-1"})
    [before] = rows(pool, "SELECT * FROM outbox")
    outbox.mark_failed(pool, [a.outbox_id])
    outbox.postpone(pool, {a.outbox_id: 0.0})
    assert rows(pool, "SELECT * FROM outbox") == [before]
    assert claim(pool) == []


def test_a_late_success_counts_although_another_relay_gave_the_row_up(pool: Pool):
    append(pool, row("given up"), row("neighbour"))
    given_up, neighbour = claim(pool)
    outbox.mark_failed(pool, [given_up.outbox_id])
    outbox.mark_published(pool, {given_up.outbox_id: "bus-1", neighbour.outbox_id: "bus-2"})
    assert states(pool) == {"given up": (True, False, "bus-1"), "neighbour": (True, False, "bus-2")}


def test_marking_nothing_asks_nothing_of_the_database():
    with db.open_pool("host=127.0.0.1 port=1 dbname=nowhere", PoolOptions(size_min=0, wait_s=0.1)) as nowhere:
        outbox.mark_published(nowhere, {})
        outbox.postpone(nowhere, {})
        outbox.mark_failed(nowhere, [])


def test_the_count_of_attempts_has_an_end(pool: Pool):
    append(pool, row("a"))
    rows(pool, "UPDATE outbox SET attempts = 32000 RETURNING 1")
    assert [due.attempts for due in claim(pool)] == [32_000]


def test_the_backlog_is_what_is_due_and_the_age_of_its_oldest(pool: Pool):
    assert outbox.backlog(pool) == outbox.Backlog(0, 0.0)
    append(pool, row("sent"), row("failed"), row("due"))
    append(pool, row("tomorrow", available_at=datetime.now(UTC) + timedelta(days=1)))
    sent, failed, _ = claim(pool, lease_s=0)
    outbox.mark_published(pool, {sent.outbox_id: "bus-1"})
    outbox.mark_failed(pool, [failed.outbox_id])
    found = outbox.backlog(pool)
    assert found.pending == 1
    assert found.oldest_age_s == pytest.approx((datetime.now(UTC) - PAST).total_seconds(), abs=60)


def test_what_is_claimed_belongs_to_the_backlog_until_it_is_sent(pool: Pool):
    append(pool, row("a"))
    [a] = claim(pool, lease_s=60)
    assert outbox.backlog(pool).pending == 1
    outbox.postpone(pool, {a.outbox_id: 60})
    assert outbox.backlog(pool).pending == 1, "a back-off is no delivery"


def test_a_delayed_row_is_as_old_as_its_time_is_over(pool: Pool):
    append(pool, row("delayed", available_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert outbox.backlog(pool).oldest_age_s < timedelta(days=1).total_seconds(), "its change was made long before"


@pytest.mark.parametrize(
    "broken",
    [
        NewRow(UUID(int=1), m.INCIDENT, -1, "bus", "Test", {}, PAST),
        NewRow(UUID(int=1), m.INCIDENT, 1, "elsewhere", "Test", {}, PAST),
        NewRow(UUID(int=1), m.INCIDENT, 1, "bus", "x" * 65, {}, PAST),
    ],
)
def test_a_row_that_could_never_be_sent_is_refused_with_its_change(pool: Pool, broken: NewRow):
    with pytest.raises(StoreFault, match="CheckViolation"):
        append(pool, row("a"), broken)
    assert rows(pool, "SELECT 1 FROM outbox") == []
