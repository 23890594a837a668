"""What checks and indexes alone refuse: each row is plain SQL, run with all triggers off, that must fail, and why.

What the triggers refuse on top of that, and for which role, stands in test_refused_writes.py.
"""

from typing import LiteralString

import pytest

from contracts.envelope import Queue
from store.db import Pool, StoreFault, Transient
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import once, rows

REFUSED: list[tuple[str, LiteralString, str]] = [
    ("an approver who created the payment", "UPDATE payments SET approved_by = created_by", "CheckViolation"),
    ("an approver who is paid", "UPDATE payments SET approved_by = vendor_id", "payments_vendor_approves_not"),
    ("an approval by nobody", "UPDATE payments SET approved_by = NULL", "CheckViolation"),
    ("an approval at no time", "UPDATE payments SET approved_at = NULL", "CheckViolation"),
    ("completion without its time", "UPDATE payments SET status = 'completed'", "CheckViolation"),
    ("a failure without a code", "UPDATE payments SET status = 'failed'", "CheckViolation"),
    ("a cancellation of no kind", "UPDATE payments SET status = 'cancelled'", "payments_cancelled_how"),
    (
        "a kind of cancellation of what goes on",
        "UPDATE payments SET cancel_kind = 'rejected'",
        "payments_cancelled_how",
    ),
    ("an amount of zero", "UPDATE payments SET amount_cents = 0", "CheckViolation"),
    ("an amount above the ceiling", "UPDATE payments SET amount_cents = 100000000000", "CheckViolation"),
    ("an unknown status", "UPDATE payments SET status = 'paid'", "CheckViolation"),
    ("a currency that is none", "UPDATE payments SET currency = 'us1'", "CheckViolation"),
    ("a line without words", "UPDATE payment_line_items SET description = '  '", "CheckViolation"),
    ("a line of nothing", "UPDATE payment_line_items SET quantity = 0", "CheckViolation"),
    ("a line total of its own", "UPDATE payment_line_items SET total_cents = 1", "GeneratedAlways"),
    ("a second first audit row", "INSERT INTO payment_audit_log SELECT * FROM payment_audit_log", "UniqueViolation"),
    ("a chain that begins in its middle", "UPDATE payment_audit_log SET seq = 9 WHERE seq = 1", "CheckViolation"),
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
SUCCESS: LiteralString = "UPDATE payout_attempts SET state = 'succeeded', provider_object_id = 'a', resolved_at = now()"
SECOND_ATTEMPT: LiteralString = """
INSERT INTO payout_attempts (attempt_id, payment_id, attempt_no, provider, operation, idempotency_key,
    request_fingerprint, amount_cents, currency, state, submit_before, provider_object_id, resolved_at)
SELECT gen_random_uuid(), payment_id, attempt_no + 1, provider, operation, 'another', request_fingerprint,
    amount_cents, currency, state, submit_before, provider_object_id || 'b', resolved_at FROM payout_attempts
"""


@pytest.fixture
def paying(pool: Pool) -> Pool:
    """A database with one payment that is being paid out."""
    payment_id = once(pool, m.parsed(m.work())).payment_id
    once(pool, m.parsed(m.command("ApprovePayment", paymentId=str(payment_id))))
    [order] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'ProcessPayment'")
    assert once(pool, m.parsed(order["payload"], queue=Queue.PAYOUTS)).status == "processing"
    return pool


@pytest.mark.parametrize(("statement", "error"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_checks_and_indexes_refuse(paying: Pool, statement: LiteralString, error: str):
    with pytest.raises(StoreFault, match=error):
        forge(paying, statement)


def test_a_second_open_attempt_is_a_lost_race(paying: Pool):
    with pytest.raises(Transient, match="23505"):
        forge(paying, SECOND_ATTEMPT)


def test_a_second_success_is_refused(paying: Pool):
    with pytest.raises(StoreFault, match="ux_attempt_success"):
        forge(paying, SUCCESS, SECOND_ATTEMPT)
