"""Databases that have seen so many payments already: rows as the service would have left them, loaded in bulk.

Of 100 payments one waits for an approval, 93 are completed, five cancelled, one failed. They were made evenly over the
last 25 days, by twenty companies, so that with the usual retention nothing is old enough to be pruned. Each has three
lines, its whole history in the audit log, an inbox row and a sent outbox row; what was paid or failed has its approval
and its payout attempt. The hashes of the log are none of what it says.

The rows pass no guard: triggers and foreign keys are off while they are loaded, and checks are not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from uuid import UUID

import psycopg
from psycopg import sql

from tests.bench.ground import TEMPLATE, Ground

_COMPANIES = 20
TABLES = (
    "payments",
    "payment_line_items",
    "payment_audit_log",
    "payment_approvals",
    "payout_attempts",
    "message_inbox",
    "outbox",
)
#: Far more than usual, so that no checkpoint makes pages go into the log whole again and again.
_LOG_SIZE = "8GB"
#: What is known of each payment; the tables are filled from it.
_SEED = """
CREATE UNLOGGED TABLE seed (
    number bigint, payment_id uuid, incident_id uuid, vendor_id uuid, company_id uuid, key text, hash bytea,
    at timestamptz, status text
)
"""
_SOW = """
INSERT INTO seed
SELECT number, md5('payment ' || number)::uuid, md5('incident ' || number)::uuid,
       md5('vendor ' || number %% 5000)::uuid, md5('company ' || number / 100 %% %(companies)s)::uuid,
       md5('event ' || number), sha256(convert_to('row ' || number, 'UTF8')),
       now() - interval '25 days' * (1 - number::float8 / %(payments)s),
       CASE WHEN number %% 100 = 0 THEN 'pending_approval' WHEN number %% 100 <= 93 THEN 'completed'
            WHEN number %% 100 <= 98 THEN 'cancelled' ELSE 'failed' END
FROM generate_series(1, %(payments)s) AS number
"""
_PAYMENTS = """
INSERT INTO payments (
    payment_id, incident_id, vendor_id, company_id, payer_type, amount_cents, currency, status, source, source_key,
    request_fingerprint, created_by, approved_by, approved_at, processed_at, completed_at, failure_code, cancel_kind,
    metadata, audit_head, version, created_at, updated_at
)
SELECT payment_id, incident_id, vendor_id, company_id, 'back_office', 19500, 'USD', status, 'work_completed',
       format('work:%s:%s:%s', incident_id, vendor_id, key), hash, '00000000-0000-4000-8000-00000000a001',
       CASE WHEN paid THEN md5('approver')::uuid END, CASE WHEN paid THEN at END, CASE WHEN paid THEN at END,
       CASE WHEN status = 'completed' THEN at END, CASE WHEN status = 'failed' THEN 'account_closed' END,
       CASE WHEN status = 'cancelled' THEN 'rejected' END, jsonb_build_object('workCompletedAt', at),
       sha256(convert_to(number || ' ' || version, 'UTF8')), version, at, at
FROM (
    SELECT *, status IN ('completed', 'failed') AS paid,
           CASE status WHEN 'pending_approval' THEN 1 WHEN 'cancelled' THEN 2 ELSE 4 END AS version
    FROM seed
) AS seed
"""
_LINES = """
INSERT INTO payment_line_items (
    line_item_id, payment_id, line_no, description, quantity, unit_price_cents, created_at
)
SELECT md5('line ' || number || ' ' || line)::uuid, payment_id, line, 'Tire Replacement - Base Service', line, 3250, at
FROM seed, generate_series(1, 3) AS line
"""
_AUDIT = """
INSERT INTO payment_audit_log (
    log_id, payment_id, seq, action, actor_id, actor_type, previous_status, new_status, message_key, data, prev_hash,
    entry_hash, "timestamp"
)
SELECT md5('log ' || number || ' ' || seq)::uuid, payment_id, seq, action,
       CASE actor WHEN 'user' THEN md5('approver')::uuid ELSE '00000000-0000-4000-8000-00000000a001' END, actor,
       previous, new, key, '{"source": "work_completed", "lineItemCount": 3, "requiredApprovals": 1}',
       CASE WHEN seq > 1 THEN sha256(convert_to(number || ' ' || seq - 1, 'UTF8')) END,
       sha256(convert_to(number || ' ' || seq, 'UTF8')), at
FROM seed JOIN (
    VALUES (1, 'created', 'system', NULL, 'pending_approval', '{pending_approval,cancelled,completed,failed}'::text[]),
           (2, 'rejected', 'user', 'pending_approval', 'cancelled', '{cancelled}'),
           (2, 'approved', 'user', 'pending_approval', 'approved', '{completed,failed}'),
           (3, 'processing_started', 'system', 'approved', 'processing', '{completed,failed}'),
           (4, 'payout_succeeded', 'system', 'processing', 'completed', '{completed}'),
           (4, 'payout_failed', 'system', 'processing', 'failed', '{failed}')
) AS step (seq, action, actor, previous, new, statuses) ON status = ANY(statuses)
"""
_APPROVALS = """
INSERT INTO payment_approvals (payment_id, approver_id, level, role, message_key, approved_at)
SELECT payment_id, md5('approver')::uuid, 1, 'admin', key, at FROM seed WHERE status IN ('completed', 'failed')
"""
_ATTEMPTS = """
INSERT INTO payout_attempts (
    attempt_id, payment_id, attempt_no, provider, operation, idempotency_key, request_fingerprint, destination,
    amount_cents, currency, state, failure_code, provider_object_id, created_at, submit_before, resolved_at
)
SELECT md5('attempt ' || number)::uuid, payment_id, 1, 'sandbox', 'transfer', 'attempt-' || number, hash,
       vendor_id::text, 19500, 'USD', CASE status WHEN 'completed' THEN 'succeeded' ELSE 'failed' END,
       CASE status WHEN 'failed' THEN 'account_closed' END, 'tr_' || number, at, at + interval '23 hours', at
FROM seed WHERE status IN ('completed', 'failed')
"""
_INBOX = """
INSERT INTO message_inbox (consumer, message_key, fingerprint, outcome, payment_id, received_at)
SELECT 'WorkCompleted', key, hash, 'applied', payment_id, at FROM seed
"""
_OUTBOX = """
INSERT INTO outbox (
    event_id, aggregate_id, aggregate_seq, destination, detail_type, payload, available_at, attempts, published_at,
    bus_event_id, created_at
)
SELECT md5('sent ' || number)::uuid, payment_id, 1, 'bus', 'PaymentCreated', jsonb_build_object(
           'eventId', md5('sent ' || number)::uuid, 'version', '1.0', 'timestamp', at, 'status', 'pending_approval',
           'paymentId', payment_id, 'incidentId', incident_id, 'vendorId', vendor_id, 'companyId', company_id,
           'amountCents', 19500, 'currency', 'USD', 'payerType', 'back_office', 'lineItemCount', 3,
           'correlationId', key, 'causationId', key, 'createdAt', at, 'paymentVersion', 1, 'requiredApprovals', 1
       ), at, 1, at, md5('bus ' || number), at
FROM seed
"""


def template(ground: Ground, payments: int) -> str:
    """Make a database that holds so many payments, and return its name."""
    name = f"bench_grown_{payments}"
    ground.copy(TEMPLATE, name)
    with _roomy_log(ground):
        fill(ground.postgres.url(name), payments)
    return name


def fill(url: str, payments: int) -> None:
    """Fill a database of ours that is empty, as its administrator."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET synchronous_commit = off")
        connection.execute(_SEED)
        connection.execute(_SOW, {"payments": payments, "companies": _COMPANIES})
        for statement in (_PAYMENTS, _LINES, _AUDIT, _APPROVALS, _ATTEMPTS, _INBOX, _OUTBOX):
            connection.execute(statement)
        connection.execute("DROP TABLE seed")
        connection.execute("VACUUM (ANALYZE, FREEZE)")


def company() -> UUID:
    """Return the id of one of the companies."""
    return UUID(md5(b"company 0", usedforsecurity=False).hexdigest())


@contextmanager
def _roomy_log(ground: Ground) -> Iterator[None]:
    size = sql.SQL("ALTER SYSTEM SET max_wal_size = {}").format(sql.Literal(_LOG_SIZE))
    try:
        ground.administer(size, sql.SQL("SELECT pg_reload_conf()"))
        yield
    finally:
        back = sql.SQL("ALTER SYSTEM RESET max_wal_size")
        ground.administer(back, sql.SQL("SELECT pg_reload_conf()"), sql.SQL("CHECKPOINT"))
