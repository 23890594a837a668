"""The monitor's figures, with the monitor's rights: what waits and for how long, what failed, what was verified."""

from datetime import timedelta
from typing import LiteralString

import pytest

from contracts.fleet import Waiting
from contracts.ids import derive
from contracts.outcome import Outcome
from store import failures, gauges
from store.db import Pool
from store.failures import Failure
from store.gauges import Verification
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import rows
from tests.kit.lives import Lives, created, told

#: Payments and attempts that have come to their end: nobody's history, but as many as one likes.
FINAL: LiteralString = """
INSERT INTO payments (payment_id, incident_id, vendor_id, payer_type, amount_cents, status, cancel_kind, source,
    source_key, request_fingerprint, created_by)
SELECT md5('payment' || n)::uuid, md5('incident' || n)::uuid, md5('vendor')::uuid, 'back_office', 1, 'cancelled',
    'cancelled', 'command', n, sha256(n::text::bytea), md5('creator')::uuid FROM generate_series(1, 20000) AS n
"""
FINAL_ATTEMPTS: LiteralString = """
INSERT INTO payout_attempts (attempt_id, payment_id, attempt_no, provider, operation, idempotency_key,
    request_fingerprint, amount_cents, currency, state, failure_code, submit_before, resolved_at)
SELECT md5('attempt' || payment_id)::uuid, payment_id, 1, 'sandbox', 'transfer', payment_id, sha256('x'), 1, 'USD',
    'failed', 'account_closed', now(), now() FROM payments WHERE status = 'cancelled'
"""
HOUR_S = 3_600.0


def of(found: Waiting) -> tuple[int, float]:
    """The count, and the age in whole hours."""
    return found.count, found.oldest_age_s // HOUR_S


def test_nothing_waits_in_an_empty_database(monitor: Pool):
    assert gauges.pending(monitor) == {}
    assert gauges.unknown_attempts(monitor) == {}
    assert gauges.message_failures(monitor) == {}
    assert gauges.last_verification(monitor) is None
    found = gauges.counts(monitor)
    assert (found.payments, found.failures) == ({}, {})


def test_what_waits_for_approval_is_counted_by_payer_with_the_age_of_the_oldest(monitor: Pool, pool: Pool):
    first, second = created(pool, 1), created(pool, 2)
    told(pool, "RejectPayment", 3, created(pool, 3), reason="never happened")
    forge(
        pool,
        "UPDATE payments SET created_at = now() - interval '9 hours' WHERE status = 'cancelled'",
        f"UPDATE payments SET created_at = now() - interval '5 hours' WHERE payment_id = '{first}'",
        f"UPDATE payments SET created_at = now() - interval '2 hours' WHERE payment_id = '{second}'",
    )
    assert {name: of(waiting) for name, waiting in gauges.pending(monitor).items()} == {"back_office": (2, 5)}
    forge(pool, f"UPDATE payments SET payer_type = 'driver_ic' WHERE payment_id = '{second}'")
    found = {name: of(waiting) for name, waiting in gauges.pending(monitor).items()}
    assert found == {"back_office": (1, 5), "driver_ic": (1, 2)}


def test_payouts_that_nobody_knows_the_end_of_are_counted_by_provider(monitor: Pool, pool: Pool, world: Lives):
    forge(pool, "UPDATE payout_attempts SET created_at = created_at - interval '3 hours'")
    assert {name: of(waiting) for name, waiting in gauges.unknown_attempts(monitor).items()} == {"sandbox": (1, 3)}
    forge(pool, "UPDATE payout_attempts SET state = 'ready' WHERE state = 'unknown'")
    assert gauges.unknown_attempts(monitor) == {}, "what was not tried yet is not in doubt"


def test_all_payments_are_counted_by_status_and_the_failed_ones_by_code(monitor: Pool, world: Lives):
    found = gauges.counts(monitor)
    assert found.payments == {
        "pending_approval": 2,
        "approved": 2,
        "processing": 1,
        "completed": 1,
        "failed": 1,
        "cancelled": 1,
    }
    assert found.failures == {"account_closed": 1}
    [row] = rows(monitor, "SELECT clock_timestamp() - %s AS age", found.at)
    assert timedelta(0) <= row["age"] < timedelta(seconds=30)
    assert rows(monitor, "SHOW statement_timeout") == [{"statement_timeout": "10s"}], "its patience ends with it"


def fail(pool: Pool, number: int, outcome: Outcome, reason: str) -> None:
    failures.record(
        pool,
        Failure(
            queue="payments-events",
            sqs_message_id=f"sqs-{number}",
            kind=None,
            message_key=f"sqs:sqs-{number}",
            outcome=outcome,
            reason=reason,
            detail="",
            body_bytes=2,
            body_digest=derive("body", str(number)).bytes * 2,
            sender=None,
            first_sent_at=m.NOW,
        ),
    )


def test_messages_that_failed_within_the_last_day_are_counted(monitor: Pool, pool: Pool):
    for number, (outcome, reason) in enumerate(
        [
            (Outcome.INVALID, "not_json"),
            (Outcome.INVALID, "not_json"),
            (Outcome.INVALID, "wrong_queue"),
            (Outcome.FAULT, "KeyError"),
            (Outcome.RETRY, "not_yet"),
        ]
    ):
        fail(pool, number, outcome, reason)
    everything = {"invalid": {"not_json": 2, "wrong_queue": 1}, "fault": {"KeyError": 1}, "retry": {"not_yet": 1}}
    assert gauges.message_failures(monitor) == everything
    forge(
        pool,
        "UPDATE message_failures SET last_failed_at = now() - interval '24 hours 1 minute' WHERE outcome = 'fault'",
        "UPDATE message_failures SET last_failed_at = now() - interval '23 hours 59 minutes' WHERE outcome = 'retry'",
    )
    del everything["fault"]
    assert gauges.message_failures(monitor) == everything


def test_the_newest_verification_is_recalled(monitor: Pool):
    first = gauges.keep_verification(monitor, payments=5, links=20, broken=1)
    assert gauges.last_verification(monitor) == Verification(first, 5, 20, 1)
    second = gauges.keep_verification(monitor, payments=6, links=24, broken=0)
    assert second > first
    assert gauges.last_verification(monitor) == Verification(second, 6, 24, 0)
    assert len(rows(monitor, "SELECT 1 FROM audit_verifications")) == 2


@pytest.fixture
def crowded(pool: Pool) -> Pool:
    """A database of 20,000 payments that have come to their end, and statistics that know it."""
    forge(pool, FINAL, FINAL_ATTEMPTS)
    with pool.connection() as connection:
        connection.execute("ANALYZE payments, payout_attempts")
    return pool


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        (gauges._PENDING, ("idx_payments_pending", "idx_payments_status")),
        (gauges._UNKNOWN, ("idx_attempt_due", "ux_attempt_open")),
    ],
    ids=["pending", "unknown"],
)
def test_what_waits_costs_the_same_however_many_payments_there_are(
    monitor: Pool, crowded: Pool, query: LiteralString, indexes: tuple[str, ...]
):
    created(crowded, 1)
    plan = "\n".join(row["QUERY PLAN"] for row in rows(monitor, "EXPLAIN " + query))
    assert any(index in plan for index in indexes), plan
    assert "Seq Scan" not in plan
