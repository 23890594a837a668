"""What the tables themselves refuse, whatever code runs: each row is plain SQL that must fail, and why."""

import pytest

from contracts.envelope import Queue
from store import db
from store.db import Pool, StoreFault, Transient
from tests.kit import messages as m
from tests.kit.funnel import once, rows

CREATOR = "00000000-0000-4000-8000-00000000a001"

REFUSED = [
    ("an approver who created the payment", f"UPDATE payments SET approved_by = '{CREATOR}'", "CheckViolation"),
    ("an approval by nobody", "UPDATE payments SET status = 'approved', approved_at = now()", "CheckViolation"),
    ("completion without its time", "UPDATE payments SET status = 'completed'", "CheckViolation"),
    ("a failure without a code", "UPDATE payments SET status = 'failed'", "CheckViolation"),
    ("an amount of zero", "UPDATE payments SET amount_cents = 0", "CheckViolation"),
    ("an amount above the ceiling", "UPDATE payments SET amount_cents = 100000000000", "CheckViolation"),
    ("an unknown status", "UPDATE payments SET status = 'paid'", "CheckViolation"),
    ("a currency that is none", "UPDATE payments SET currency = 'us1'", "CheckViolation"),
    ("a line without words", "UPDATE payment_line_items SET description = '  '", "CheckViolation"),
    ("a line of nothing", "UPDATE payment_line_items SET quantity = 0", "CheckViolation"),
    ("a line total of its own", "UPDATE payment_line_items SET total_cents = 1", "GeneratedAlways"),
    ("a payment deleted under its history", "DELETE FROM payments", "ForeignKeyViolation"),
    ("a second first audit row", "INSERT INTO payment_audit_log SELECT * FROM payment_audit_log", "UniqueViolation"),
    ("a chain that begins in its middle", "UPDATE payment_audit_log SET seq = 2", "CheckViolation"),
    ("an inbox outcome that commits nothing", "UPDATE message_inbox SET outcome = 'retry'", "CheckViolation"),
    (
        "an outbox row that is sent and failed",
        "UPDATE outbox SET published_at = now(), failed_at = now()",
        "CheckViolation",
    ),
    ("an outbox row to nowhere", "UPDATE outbox SET destination = 'elsewhere'", "CheckViolation"),
    (
        "a success without the provider's id",
        "UPDATE payout_attempts SET state = 'succeeded', resolved_at = now()",
        "CheckViolation",
    ),
    ("an open attempt that is resolved", "UPDATE payout_attempts SET resolved_at = now()", "CheckViolation"),
]
ATTEMPT = """
INSERT INTO payout_attempts (attempt_id, payment_id, attempt_no, provider, operation, idempotency_key,
    request_fingerprint, amount_cents, currency, state, submit_before, provider_object_id, resolved_at)
SELECT gen_random_uuid(), payment_id, attempt_no + 1, provider, operation, 'another', request_fingerprint,
    amount_cents, currency, %(state)s, submit_before, %(object)s, %(resolved)s FROM payout_attempts
"""


@pytest.fixture
def paying(pool: Pool) -> Pool:
    """A database with one payment that is being paid out."""
    payment_id = once(pool, m.parsed(m.work())).payment_id
    once(pool, m.parsed(m.command("ApprovePayment", paymentId=str(payment_id))))
    [order] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'ProcessPayment'")
    once(pool, m.parsed(order["payload"], queue=Queue.PAYOUTS))
    rows(pool, "DELETE FROM payment_audit_log WHERE seq > 1 RETURNING 1")
    rows(pool, "UPDATE payments SET status = 'pending_approval', approved_by = NULL, approved_at = NULL RETURNING 1")
    return pool


@pytest.mark.parametrize(("statement", "error"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_the_database_refuses(paying: Pool, statement: str, error: str):
    with pytest.raises(StoreFault, match=error), db.transaction(paying) as tx:
        tx.send(statement, {})


def test_a_second_open_attempt_is_a_lost_race(paying: Pool):
    with pytest.raises(Transient, match="23505"), db.transaction(paying) as tx:
        tx.send(ATTEMPT, {"state": "ready", "object": None, "resolved": None})


def test_a_second_success_is_refused(paying: Pool):
    rows(
        paying,
        "UPDATE payout_attempts SET state = 'succeeded', provider_object_id = 'a', resolved_at = now() RETURNING 1",
    )
    with pytest.raises(StoreFault, match="ux_attempt_success"), db.transaction(paying) as tx:
        tx.send(ATTEMPT, {"state": "succeeded", "object": "b", "resolved": m.NOW})
