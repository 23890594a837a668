"""What could not be handled: one row per SQS message, without its body."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from uuid import UUID, uuid4

import psycopg
import pytest

from contracts.outcome import Outcome
from store import db, failures
from store.db import Pool, PoolOptions, StoreFault, Transient
from store.failures import Failure
from store.roles import GroupRole, ensure_login
from tests.kit import messages as m
from tests.kit.funnel import fresh, once, rows

FAILURE = Failure(
    queue="payments-events",
    sqs_message_id="sqs-1",
    kind="WorkCompleted",
    message_key="event-1",
    outcome=Outcome.FAULT,
    reason="ZeroDivisionError",
    detail="handlers/process.py:1",
    body_bytes=12,
    body_digest=sha256(b"body").digest(),
    sender="AROASERVICE",
    first_sent_at=m.NOW,
)


def test_a_failure_is_stored_with_all_that_is_known_of_it(pool: Pool):
    failure_id = failures.record(pool, FAILURE)
    [row] = rows(pool, "SELECT * FROM message_failures")
    for name in FAILURE.__dataclass_fields__:
        assert row[name] == getattr(FAILURE, name), name
    assert (row["failure_id"], row["attempts"]) == (failure_id, 1)


def test_the_same_message_failing_again_counts_up_and_keeps_its_newest_reason(pool: Pool):
    first = failures.record(pool, FAILURE)
    second = failures.record(pool, replace(FAILURE, outcome=Outcome.INVALID, reason="schema", detail="vendorId"))
    third = failures.record(pool, FAILURE)
    assert first == second == third
    [row] = rows(pool, "SELECT * FROM message_failures")
    assert (row["attempts"], row["outcome"], row["reason"]) == (3, "fault", "ZeroDivisionError")
    assert row["last_failed_at"] > row["first_failed_at"]


def test_another_message_or_another_queue_is_another_row(pool: Pool):
    for failure in (FAILURE, replace(FAILURE, sqs_message_id="sqs-2"), replace(FAILURE, queue="payments-commands")):
        failures.record(pool, failure)
    assert [row["attempts"] for row in rows(pool, "SELECT attempts FROM message_failures")] == [1, 1, 1]


def test_a_long_reason_or_detail_is_cut_and_does_not_cost_the_row(pool: Pool):
    failures.record(pool, replace(FAILURE, reason="R" * 500, detail="d" * 5000))
    [row] = rows(pool, "SELECT reason, detail FROM message_failures")
    assert (len(row["reason"]), len(row["detail"])) == (64, 2000)


@pytest.mark.parametrize("outcome", [Outcome.APPLIED, Outcome.IGNORED])
def test_what_did_not_fail_is_no_failure(pool: Pool, outcome: Outcome):
    with pytest.raises(StoreFault, match="CheckViolation"):
        failures.record(pool, replace(FAILURE, outcome=outcome))


def test_without_a_database_it_is_transient():
    with (
        db.open_pool("host=127.0.0.1 port=1 dbname=nowhere", PoolOptions(size_min=0, wait_s=0.1)) as nowhere,
        pytest.raises(Transient),
    ):
        failures.record(nowhere, FAILURE)


# ---- what an operator sees -------------------------------------------------------------------------------------------


@pytest.fixture
def monitor(database_url: str) -> Iterator[Pool]:
    """A pool that is logged in as an operator is: as a member of payments_monitor and of nothing else."""
    name = f"operator_{uuid4().hex}"
    ensure_login(database_url, name, "secret", GroupRole.MONITOR)
    conninfo = psycopg.conninfo.make_conninfo(database_url, user=name, password="secret")
    opened = db.open_pool(conninfo, PoolOptions(size_min=1, wait_s=5))
    opened.wait(5)
    yield opened
    opened.close()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("DROP ROLE {}").format(psycopg.sql.Identifier(name)))


def recorded(pool: Pool, number: int, **changes: object) -> UUID:
    return failures.record(pool, replace(FAILURE, sqs_message_id=f"sqs-{number}", **changes))  # type: ignore[arg-type]


def listed(pool: Pool, **wanted: object) -> list[UUID]:
    return [found.failure_id for found in failures.recent(pool, **{"limit": 100, **wanted})]  # type: ignore[arg-type]


def sent(pool: Pool, failure_id: UUID) -> None:
    replay_id = uuid4()
    failures.begin_replay(pool, replay_id, failure_id, m.ADMIN, "the cause is mended")
    failures.replay_sent(pool, replay_id, "sqs-anew")


def test_a_failure_is_read_as_it_was_recorded(pool: Pool, monitor: Pool):
    failure_id = failures.record(pool, FAILURE)
    [found] = failures.recent(monitor, limit=10)
    for name in FAILURE.__dataclass_fields__.keys() & found.__dataclass_fields__.keys():
        assert getattr(found, name) == getattr(FAILURE, name), name
    assert (found.failure_id, found.attempts) == (failure_id, 1)
    assert found.first_failed_at == found.last_failed_at
    assert (found.replayed_at, found.replayed_by, found.replay_reason, found.replay_sent_at) == (None,) * 4
    assert (found.handled_as, found.handled_at) == (None, None)
    assert failures.find(monitor, failure_id) == found


def test_the_one_that_failed_last_comes_first(pool: Pool, monitor: Pool):
    first, second, third = (recorded(pool, number) for number in range(3))
    recorded(pool, 1)
    assert listed(monitor) == [second, third, first]
    assert listed(monitor, limit=2) == [second, third]


def test_failures_are_chosen_by_queue_outcome_and_reason(pool: Pool, monitor: Pool):
    fault = recorded(pool, 1)
    schema = recorded(pool, 2, outcome=Outcome.INVALID, reason="schema")
    command = recorded(pool, 3, outcome=Outcome.INVALID, reason="not_json", queue="payments-commands")
    assert listed(monitor, queue="payments-commands") == [command]
    assert listed(monitor, outcome=Outcome.INVALID) == [command, schema]
    assert listed(monitor, outcome=Outcome.INVALID, queue="payments-events") == [schema]
    assert listed(monitor, reason="ZeroDivisionError") == [fault]
    assert listed(monitor, reason="Zero%") == []


def test_one_that_is_not_there_is_none(monitor: Pool):
    assert failures.find(monitor, uuid4()) is None


def test_a_replayed_failure_is_left_out_unless_all_are_wanted(pool: Pool, monitor: Pool):
    failure_id = failures.record(pool, FAILURE)
    sent(monitor, failure_id)
    assert listed(monitor) == []
    [found] = failures.recent(monitor, limit=10, settled=True)
    assert (found.replayed_by, found.replay_reason) == (m.ADMIN, "the cause is mended")
    assert found.replayed_at
    assert found.replay_sent_at
    assert found.last_failed_at < found.replayed_at < found.replay_sent_at


def test_a_replayed_failure_that_failed_again_is_open_again(pool: Pool, monitor: Pool):
    failure_id = failures.record(pool, FAILURE)
    sent(monitor, failure_id)
    failures.record(pool, FAILURE)
    assert listed(monitor) == [failure_id]


def test_a_replay_that_was_begun_and_not_sent_leaves_the_failure_open(pool: Pool, monitor: Pool):
    failure_id = failures.record(pool, FAILURE)
    failures.begin_replay(monitor, uuid4(), failure_id, m.ADMIN, "the cause is mended")
    [found] = failures.recent(monitor, limit=10)
    assert found.replayed_at
    assert found.replay_sent_at is None


def test_the_newest_of_several_replays_is_shown(pool: Pool, monitor: Pool):
    failure_id = failures.record(pool, FAILURE)
    sent(monitor, failure_id)
    failures.begin_replay(monitor, uuid4(), failure_id, m.DISPATCHER, "once more")
    [found] = failures.recent(monitor, limit=10)
    assert (found.replayed_by, found.replay_reason, found.replay_sent_at) == (m.DISPATCHER, "once more", None)


def test_a_fault_that_a_later_receive_has_outlived_is_settled(pool: Pool, monitor: Pool):
    parsed = fresh(m.parsed(m.work()))
    recorded(pool, 1, message_key=parsed.cause.message_key)
    other = recorded(pool, 2, message_key="another message")
    once(pool, parsed)
    assert listed(monitor) == [other]
    handled = failures.recent(monitor, limit=10, settled=True)[1]
    assert handled.handled_as is Outcome.APPLIED
    assert handled.handled_at


def test_a_fault_of_a_message_that_had_its_effect_before_stays_open(pool: Pool, monitor: Pool):
    parsed = fresh(m.parsed(m.work()))
    once(pool, parsed)
    failure_id = recorded(pool, 1, message_key=parsed.cause.message_key)
    assert listed(monitor) == [failure_id]


@pytest.mark.parametrize("reason", ["", "   ", "r" * 501])
def test_a_replay_needs_a_reason_of_bounded_length(pool: Pool, monitor: Pool, reason: str):
    failure_id = failures.record(pool, FAILURE)
    with pytest.raises(StoreFault, match="CheckViolation"):
        failures.begin_replay(monitor, uuid4(), failure_id, m.ADMIN, reason)


def test_a_replay_of_nothing_is_refused(monitor: Pool):
    with pytest.raises(StoreFault, match="ForeignKeyViolation"):
        failures.begin_replay(monitor, uuid4(), uuid4(), m.ADMIN, "why")
    with pytest.raises(StoreFault, match="ForeignKeyViolation"):
        failures.replay_sent(monitor, uuid4(), "sqs-1")


def test_a_replay_is_sent_once(pool: Pool, monitor: Pool):
    replay_id = uuid4()
    failures.begin_replay(monitor, replay_id, failures.record(pool, FAILURE), m.ADMIN, "why")
    failures.replay_sent(monitor, replay_id, "sqs-1")
    with pytest.raises(StoreFault, match="UniqueViolation"):
        failures.replay_sent(monitor, replay_id, "sqs-2")


@pytest.mark.parametrize("table", ["failure_replays", "failure_replays_sent"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET replay_id = gen_random_uuid()", "DELETE FROM {}"])
def test_an_operator_cannot_change_what_is_on_record(pool: Pool, monitor: Pool, table: str, statement: str):
    sent(monitor, failures.record(pool, FAILURE))
    with pytest.raises(StoreFault, match="InsufficientPrivilege"), db.reading(monitor) as connection:
        connection.execute(statement.format(table))
    assert len(rows(pool, f"SELECT * FROM {table}")) == 1


def test_an_operator_cannot_record_a_failure(monitor: Pool):
    with pytest.raises(StoreFault, match="InsufficientPrivilege"):
        failures.record(monitor, FAILURE)


def test_a_row_that_names_no_sender_learns_of_one_and_never_of_another(pool: Pool):
    failures.record(pool, replace(FAILURE, sender=None))
    for sender in ("AROAFIRST", "AROASECOND"):
        failures.record(pool, replace(FAILURE, sender=sender))
    assert rows(pool, "SELECT sender, attempts FROM message_failures") == [{"sender": "AROAFIRST", "attempts": 3}]
