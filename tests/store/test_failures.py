"""What could not be handled: one row per SQS message, without its body."""

from dataclasses import replace
from hashlib import sha256

import pytest

from contracts.outcome import Outcome
from store import db, failures
from store.db import Pool, PoolOptions, StoreFault, Transient
from store.failures import Failure
from tests.kit import messages as m
from tests.kit.funnel import rows

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
