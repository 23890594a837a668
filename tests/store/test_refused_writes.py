"""What the database refuses whatever code runs: each row is plain SQL, tried as the worker's role and as the owner.

The history that the statements attack is made by the funnel. Every statement must fail by COMMIT at the latest, with
the named constraint. The owner is stopped by triggers and constraints alone, the worker by its grants first where it
has no business at all: there the table says DENIED. What checks refuse by themselves stands in test_guards.py.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest

from contracts.envelope import Queue
from contracts.lifecycle import INITIAL, MOVES, RECORDS, Event, Status
from contracts.outcome import Outcome
from contracts.payment import FRAUD_BLOCKS, Role
from contracts.provider import Accepted, Answer, Declined, Unfunded, Unknown
from store import db, migrate
from store.db import Pool, PoolOptions, StoreFault
from store.roles import OWNER, GroupRole
from tests.kit import messages as m
from tests.kit.funnel import once, rows
from tests.kit.proofs import member
from workers.local import postgres

#: What the worker meets where its grants do not reach.
DENIED = "insufficient_privilege"
CONNECTION = "-c lock_timeout=5s -c timezone=UTC"

# -- statements that are whole and right, to be spoilt in one point

NEW = UUID("99999999-9999-4999-8999-999999999999")
REGISTERED = UUID("22222222-2222-4222-8222-222222222229")
GONE, VENDORS, STRANGER = (UUID(f"99999999-9999-4999-8999-99999999999{number}") for number in range(3))
CREATE: LiteralString = """
INSERT INTO payments (payment_id, incident_id, vendor_id, payer_type, amount_cents, currency, status, source,
    source_key, request_fingerprint, created_by, version, audit_head, created_at, updated_at)
SELECT %(new)s, gen_random_uuid(), vendor_id, payer_type, 15000, 'USD', 'pending_approval', 'command', 'command:new',
    sha256('new'), %(system)s, 1, sha256('1'), '2026-03-01Z', '2026-03-01Z'
FROM payments WHERE payment_id = %(pending)s
"""
LINE: LiteralString = """
INSERT INTO payment_line_items (line_item_id, payment_id, line_no, description, quantity, unit_price_cents)
VALUES (gen_random_uuid(), %(new)s, 1, 'Tow', 1, 15000)
"""
CREATED: LiteralString = """
INSERT INTO payment_audit_log (log_id, payment_id, seq, action, actor_id, actor_type, previous_status, new_status,
    message_key, prev_hash, entry_hash, "timestamp")
VALUES (gen_random_uuid(), %(new)s, 1, 'created', %(system)s, 'system', NULL, 'pending_approval',
    'new', NULL, sha256('1'), '2026-03-01Z')
"""
APPROVE: LiteralString = """
UPDATE payments SET status = 'approved', approved_by = %(person)s, approved_at = now(), version = 2,
    audit_head = sha256('2'), updated_at = now() WHERE payment_id = %(pending)s
"""
APPROVES: LiteralString = """
INSERT INTO payment_approvals (payment_id, approver_id, level, role, message_key, approved_at)
VALUES (%(pending)s, %(person)s, 1, 'admin', 'new', now())
"""
#: An approval of a payment as it stands, which the payment's own row says nothing of.
LATE: LiteralString = """
INSERT INTO payment_approvals (payment_id, approver_id, level, role, message_key, approved_at)
SELECT payment_id, %(person)s, 1, 'admin', 'new', updated_at FROM payments WHERE payment_id = %(pending)s
"""
APPROVED: LiteralString = """
INSERT INTO payment_audit_log (log_id, payment_id, seq, action, actor_id, actor_type, previous_status, new_status,
    message_key, prev_hash, entry_hash, "timestamp")
SELECT gen_random_uuid(), payment_id, 2, 'approved', %(person)s, 'user', 'pending_approval', 'approved',
    'new', entry_hash, sha256('2'), now() FROM payment_audit_log WHERE payment_id = %(pending)s AND seq = 1
"""
RELEASE: LiteralString = """
UPDATE payments SET status = 'processing', processed_at = now(), version = 3, audit_head = sha256('3'),
    updated_at = now() WHERE payment_id = %(releasable)s
"""
RELEASED: LiteralString = """
INSERT INTO payment_audit_log (log_id, payment_id, seq, action, actor_id, actor_type, previous_status, new_status,
    message_key, prev_hash, entry_hash, "timestamp")
SELECT gen_random_uuid(), payment_id, 3, 'processing_started', %(system)s, 'system', 'approved', 'processing',
    'new', entry_hash, sha256('3'), now() FROM payment_audit_log WHERE payment_id = %(releasable)s AND seq = 2
"""
HELD: LiteralString = """
INSERT INTO payment_audit_log (log_id, payment_id, seq, action, actor_id, actor_type, previous_status, new_status,
    message_key, prev_hash, entry_hash, "timestamp")
SELECT gen_random_uuid(), payment_id, 2, 'held', %(person)s, 'user', 'pending_approval', 'pending_approval',
    'new', entry_hash, sha256('2'), now() FROM payment_audit_log WHERE payment_id = %(pending)s AND seq = 1
"""
LIFT: LiteralString = """
UPDATE payments SET on_hold = false, version = 3, audit_head = sha256('3'), updated_at = now()
WHERE payment_id = %(half)s
"""
LIFTED: LiteralString = """
INSERT INTO payment_audit_log (log_id, payment_id, seq, action, actor_id, actor_type, previous_status, new_status,
    message_key, prev_hash, entry_hash, "timestamp")
SELECT gen_random_uuid(), payment_id, 3, 'hold_released', %(person)s, 'user', 'pending_approval', 'pending_approval',
    'new', entry_hash, sha256('3'), now() FROM payment_audit_log WHERE payment_id = %(half)s AND seq = 2
"""
#: Who gains from the payments: the vendor, and who acts for them.
PAID: tuple[tuple[str, LiteralString], ...] = (
    ("who is paid", "%(vendor)s"),
    ("who acts for the vendor", "%(vendors)s"),
)
POLICY: LiteralString = """
INSERT INTO approval_policies (company_id, version, tiers, separate_releaser, created_by, message_key, as_of,
    created_at)
SELECT company_id, 7, tiers, separate_releaser, created_by, 'new', now(), now() FROM approval_policies
"""
COMPLETE: LiteralString = """
UPDATE payments SET status = 'completed', completed_at = now(), version = 4, audit_head = sha256('4'),
    updated_at = now() WHERE payment_id = %(processing)s
"""
SUCCEED: LiteralString = """
UPDATE payout_attempts SET state = 'succeeded', provider_object_id = 'tr_new', resolved_at = now(),
    next_check_at = NULL WHERE payment_id = %(processing)s
"""
SUCCEEDED: LiteralString = """
INSERT INTO payment_audit_log (log_id, payment_id, seq, action, actor_id, actor_type, previous_status, new_status,
    message_key, prev_hash, entry_hash, "timestamp")
SELECT gen_random_uuid(), payment_id, 4, 'payout_succeeded', %(system)s, 'system', 'processing', 'completed',
    'new', entry_hash, sha256('4'), now() FROM payment_audit_log WHERE payment_id = %(processing)s AND seq = 3
"""
ATTEMPT: LiteralString = """
INSERT INTO payout_attempts (attempt_id, payment_id, attempt_no, provider, operation, idempotency_key,
    request_fingerprint, destination, amount_cents, currency, state, submit_before)
SELECT gen_random_uuid(), payment_id, 2, 'sandbox', 'transfer', 'another', sha256('x'), vendor_id, amount_cents,
    currency, 'ready', now() FROM payments WHERE payment_id = %(processing)s
"""
#: The next attempt of a payment whose vendor has an account.
NEXT: LiteralString = """
INSERT INTO payout_attempts (attempt_id, payment_id, attempt_no, provider, operation, idempotency_key,
    request_fingerprint, destination, amount_cents, currency, state, submit_before)
SELECT gen_random_uuid(), payment_id, 2, 'stripe', 'transfer', 'another', sha256('x'), 'acct_Registered1',
    amount_cents, currency, 'ready', now() FROM payments WHERE payment_id = %(registered)s
"""
FAIL: LiteralString = """
UPDATE payout_attempts SET state = 'failed', failure_code = 'unfunded', resolved_at = now(), next_check_at = NULL
WHERE payment_id = %(processing)s
"""
FALL: LiteralString = """
UPDATE payments SET version = 4, audit_head = sha256('4'), updated_at = now() WHERE payment_id = %(processing)s
"""
FELL: LiteralString = """
INSERT INTO payment_audit_log (log_id, payment_id, seq, action, actor_id, actor_type, previous_status, new_status,
    message_key, prev_hash, entry_hash, "timestamp")
SELECT gen_random_uuid(), payment_id, 4, 'attempt_failed', %(system)s, 'system', 'processing', 'processing',
    'new', entry_hash, sha256('4'), now() FROM payment_audit_log WHERE payment_id = %(processing)s AND seq = 3
"""
REVERSE: LiteralString = """
UPDATE payments SET amount_reversed_cents = 5000, version = 5, audit_head = sha256('5'), updated_at = now()
WHERE payment_id = %(completed)s
"""
RETURNED: LiteralString = """
INSERT INTO payout_reversals (provider, reversal_id, payment_id, attempt_id, amount_cents, recorded_at, message_key)
SELECT provider, 'trr_new', payment_id, attempt_id, 5000, now(), 'new' FROM payout_attempts
WHERE payment_id = %(completed)s
"""
REVERSED: LiteralString = """
INSERT INTO payment_audit_log (log_id, payment_id, seq, action, actor_id, actor_type, previous_status, new_status,
    message_key, prev_hash, entry_hash, "timestamp")
SELECT gen_random_uuid(), payment_id, 5, 'reversed', %(system)s, 'system', 'completed', 'completed',
    'new', entry_hash, sha256('5'), now() FROM payment_audit_log WHERE payment_id = %(completed)s AND seq = 4
"""
#: What came back of a payment, and how far its money has come, is what a completed payment still tells.
SETTLED: LiteralString = """
UPDATE payments SET settlement_status = 'paid', version = version + 1 WHERE payment_id = %(completed)s
"""
BACK: LiteralString = """
UPDATE payments SET amount_reversed_cents = 2000, version = version + 1 WHERE payment_id = %(completed)s
"""
COOLING: LiteralString = "UPDATE vendor_accounts SET held_until = now() + interval '1 day'"
#: What is fixed once a payment is completed, each with a value that it does not have.
AFTER_COMPLETION: tuple[tuple[str, LiteralString], ...] = (
    ("approver", "approved_by = %(person)s"),
    ("time of approval", "approved_at = now()"),
    ("time of processing", "processed_at = now()"),
    ("time of completion", "completed_at = now()"),
    ("failure code", "failure_code = 'declined'"),
    ("reason of failure", "failed_reason = 'declined'"),
    ("hold", "on_hold = true"),
    ("end of a hold", "hold_until = now()"),
)
NOTED: LiteralString = """
INSERT INTO payment_audit_notes (log_id, salt, note)
SELECT log_id, sha256('salt'), 'other words' FROM payment_audit_log WHERE payment_id = %(pending)s AND seq = 1
"""
REDACT: LiteralString = "UPDATE payment_audit_notes SET salt = NULL, note = NULL, redacted_at = now()"
CLAIM: LiteralString = """
INSERT INTO message_inbox (consumer, message_key, fingerprint, outcome) VALUES ('Test', 'new', sha256('x'), 'refused')
"""
CREATION = (CREATE, LINE, CREATED)
APPROVAL = (APPROVE, APPROVES, APPROVED)
COMPLETION = (COMPLETE, SUCCEED, SUCCEEDED)
REVERSAL = (REVERSE, RETURNED, REVERSED)


def but(statement: LiteralString, was: LiteralString, now: LiteralString) -> LiteralString:
    """The statement, spoilt in one point."""
    assert statement.count(was) == 1, f"{was!r} is not one point of {statement}"
    return statement.replace(was, now)


@dataclass(frozen=True, slots=True)
class Refused:
    """One write that must fail: what it is, its statements, and what stops the owner and the worker."""

    what: str
    statements: tuple[LiteralString, ...]
    owner: str
    worker: str


def both(what: str, constraint: str, *statements: LiteralString) -> Refused:
    """Refused to owner and worker by the same constraint."""
    return Refused(what, statements, constraint, constraint)


def owner(what: str, constraint: str, *statements: LiteralString) -> Refused:
    """Refused to the owner by a constraint; the worker has no right to try."""
    return Refused(what, statements, constraint, DENIED)


REFUSED = [
    # payments
    both("a payment that is born approved", "payments_begin", but(CREATE, "'pending_approval'", "'processing'")),
    both("a payment that begins in its middle", "payments_begin", but(CREATE, "%(system)s, 1,", "%(system)s, 2,")),
    owner(
        "a payment that is born with an approver",
        "payments_begin",
        but(
            but(CREATE, "created_by, version", "created_by, approved_by, version"),
            "%(system)s, 1",
            "%(system)s, %(person)s, 1",
        ),
    ),
    both("an illegal move", "payments_moves", but(COMPLETE, "%(processing)s", "%(pending)s")),
    both("a move back", "payments_moves", but(APPROVE, "%(pending)s", "%(processing)s")),
    both("a move out of the end", "payments_moves", but(APPROVE, "%(pending)s", "%(cancelled)s")),
    both("a change that is none", "payments_moves", "UPDATE payments SET updated_at = now(), version = version + 1"),
    both("a version that stays", "payments_version", but(APPROVE, "version = 2", "version = 1")),
    both("a version that is left out", "payments_version", but(APPROVE, "version = 2", "version = 3")),
    both("an approver who created the payment", "payments_check2", but(APPROVE, "%(person)s", "created_by")),
    both("an approver who is paid", "payments_vendor_approves_not", but(APPROVE, "%(person)s", "vendor_id")),
    both("another approver", "payments_set_once", but(COMPLETE, "SET", "SET approved_by = %(system)s,")),
    both("another time of approval", "payments_set_once", but(COMPLETE, "SET", "SET approved_at = now(),")),
    both("approval taken back", "payments_set_once", but(COMPLETE, "SET", "SET approved_by = NULL,")),
    both("approval while the payment is held", "payments_unblocked", but(APPROVE, "SET", "SET on_hold = true,")),
    owner("approval of what is flagged", "payments_unblocked", but(APPROVE, "SET", "SET fraud_status = 'flagged',")),
    owner("a changed amount", "payments_frozen", but(APPROVE, "SET", "SET amount_cents = 15001,")),
    owner("a changed currency", "payments_frozen", but(APPROVE, "SET", "SET currency = 'EUR',")),
    owner("a changed vendor", "payments_frozen", but(APPROVE, "SET", "SET vendor_id = gen_random_uuid(),")),
    owner("a changed id", "payments_frozen", but(APPROVE, "SET", "SET payment_id = gen_random_uuid(),")),
    owner("a changed incident", "payments_frozen", but(APPROVE, "SET", "SET incident_id = gen_random_uuid(),")),
    owner("a changed company", "payments_frozen", but(APPROVE, "SET", "SET company_id = NULL,")),
    owner("a changed driver", "payments_frozen", but(APPROVE, "SET", "SET driver_id = gen_random_uuid(),")),
    owner("another kind of payer", "payments_frozen", but(APPROVE, "SET", "SET payer_type = 'driver_ic',")),
    owner("a changed payer", "payments_frozen", but(APPROVE, "SET", "SET payer_id = gen_random_uuid(),")),
    owner("a changed source", "payments_frozen", but(APPROVE, "SET", "SET source = 'command',")),
    owner("a changed business key", "payments_frozen", but(APPROVE, "SET", "SET source_key = 'another',")),
    owner("a changed fingerprint", "payments_frozen", but(APPROVE, "SET", "SET request_fingerprint = sha256('x'),")),
    owner("another creator", "payments_frozen", but(APPROVE, "SET", "SET created_by = gen_random_uuid(),")),
    owner("another time of creation", "payments_frozen", but(APPROVE, "SET", "SET created_at = now(),")),
    owner("changed metadata", "payments_frozen", but(APPROVE, "SET", "SET metadata = '{\"a\": 1}',")),
    owner("another policy", "payments_frozen", but(APPROVE, "SET", "SET policy_version = 2,")),
    owner("a deleted payment", "payments_kept", "DELETE FROM payments WHERE payment_id = %(pending)s"),
    owner("truncated payments", "payments_kept", "TRUNCATE payments CASCADE"),
    both("a creation without its audit row", "payments_explained", CREATE, LINE),
    both("a version without its audit row", "payments_explained", APPROVE, APPROVES),
    both("an approval that nobody gave", "payments_approved", APPROVE),
    both("a hold that an approval lifts", "payments_unblocked", but(APPROVE, "%(pending)s", "%(held)s")),
    both(
        "a payment that fails while it waits",
        "payments_kept_as_they_are",
        but(but(APPROVE, "'approved'", "'pending_approval'"), "approved_by = %(person)s, approved_at", "processed_at"),
    ),
    # approvals
    both("an approval by the creator", "payment_approvals_count", but(APPROVES, "%(person)s", "%(system)s")),
    both("an approval by the vendor", "payment_approvals_count", but(APPROVES, "%(person)s", "%(vendor)s")),
    both("an approval in another role", "payment_approvals_count", but(APPROVES, "'admin'", "'vendor'")),
    both("an approval that skips a level", "payment_approvals_count", APPROVE, but(APPROVES, " 1,", " 2,")),
    both(
        "an approval of another time",
        "payment_approvals_count",
        APPROVE,
        but(APPROVES, "now()", "now() - interval '1 hour'"),
    ),
    both("an approval that approves nothing", "payment_approvals_count", LATE),
    both(
        "an approval too many",
        "payment_approvals_count",
        but(but(LATE, "%(pending)s", "%(completed)s"), " 1,", " 2,"),
    ),
    both("an approval without its payment", "payment_approvals_count", but(LATE, " 1,", " 0,")),
    both(
        "an approver who is no member",
        "payment_approvals_member",
        but(APPROVE, "%(person)s", "%(nobody)s"),
        but(APPROVES, "%(person)s", "%(nobody)s"),
    ),
    both(
        "an approver who is a member no more",
        "payment_approvals_member",
        but(APPROVE, "%(person)s", "%(gone)s"),
        but(APPROVES, "%(person)s", "%(gone)s"),
    ),
    both(
        "an approver who acts for the vendor",
        "payment_approvals_member",
        but(APPROVE, "%(person)s", "%(vendors)s"),
        but(APPROVES, "%(person)s", "%(vendors)s"),
    ),
    both(
        "an approver of another company",
        "payment_approvals_member",
        but(APPROVE, "%(person)s", "%(stranger)s"),
        but(but(APPROVES, "%(person)s", "%(stranger)s"), "'admin'", "'dispatcher'"),
    ),
    both("an approval that the log explains and nobody gave", "payment_audit_log_chain", APPROVE, APPROVED),
    owner("an edited approval", "payment_approvals_append_only", "UPDATE payment_approvals SET role = 'admin'"),
    owner("a deleted approval", "payment_approvals_append_only", "DELETE FROM payment_approvals"),
    owner("truncated approvals", "payment_approvals_append_only", "TRUNCATE payment_approvals"),
    both(
        "a hold that is none",
        "payment_audit_log_chain",
        but(APPROVE, "'approved', approved_by = %(person)s, approved_at = now()", "'pending_approval'"),
        HELD,
    ),
    both("a release by the service", "payment_audit_log_chain", RELEASE, RELEASED),
    both(
        "a release by who has approved",
        "payment_audit_log_chain",
        RELEASE,
        but(but(RELEASED, "%(system)s", "%(dispatcher)s"), "'system'", "'user'"),
    ),
    *(
        both(
            f"a release by {who}",
            "payment_audit_log_beneficiary",
            RELEASE,
            but(but(RELEASED, "%(system)s", name), "'system'", "'user'"),
        )
        for who, name in PAID
    ),
    *(
        both(f"a hold that is lifted by {who}", "payment_audit_log_beneficiary", LIFT, but(LIFTED, "%(person)s", name))
        for who, name in PAID
    ),
    *(
        both(
            f"a hold that is changed by {who}",
            "payment_audit_log_beneficiary",
            but(LIFT, "on_hold = false", "hold_until = now()"),
            but(but(LIFTED, "'hold_released'", "'held'"), "%(person)s", name),
        )
        for who, name in PAID
    ),
    both(
        "a hold that a recorded approval lifts",
        "payment_audit_log_hold_kept",
        LIFT,
        but(LATE, "%(pending)s", "%(half)s"),
        but(LIFTED, "'hold_released'", "'approval_recorded'"),
    ),
    both(
        "an approval that is recorded during a hold",
        "payment_audit_log_hold_kept",
        but(LIFT, "on_hold = false, ", ""),
        but(LATE, "%(pending)s", "%(half)s"),
        but(LIFTED, "'hold_released'", "'approval_recorded'"),
    ),
    # what follows on a completed payment
    *(
        both(
            f"a completed payment's other {what}",
            "payments_after_completion",
            f"UPDATE payments SET {change}, version = version + 1 WHERE payment_id = %(completed)s",
        )
        for what, change in AFTER_COMPLETION
    ),
    both(
        "money back before it was paid", "payments_after_completion", but(FALL, "SET", "SET amount_reversed_cents = 1,")
    ),
    both(
        "money back with its payment",
        "payments_after_completion",
        but(COMPLETE, "SET", "SET amount_reversed_cents = 1,"),
    ),
    both(
        "a settlement before it was paid",
        "payments_after_completion",
        but(FALL, "SET", "SET settlement_status = 'paid',"),
    ),
    both(
        "a settlement with its payment",
        "payments_after_completion",
        but(COMPLETE, "SET", "SET settlement_status = 'in_transit',"),
    ),
    both("less money back than before", "payments_after_completion", BACK, but(BACK, "2000", "1999")),
    both("a settlement that goes back", "payments_after_completion", SETTLED, but(SETTLED, "'paid'", "'in_transit'")),
    both("money back that is not itemised", "payment_audit_log_reversed", REVERSE, REVERSED),
    both(
        "money back that is itemised as another amount",
        "payment_audit_log_reversed",
        REVERSE,
        but(RETURNED, "5000", "4999"),
        REVERSED,
    ),
    owner("an edited reversal", "payout_reversals_append_only", "UPDATE payout_reversals SET amount_cents = 1"),
    owner("a deleted reversal", "payout_reversals_append_only", "DELETE FROM payout_reversals"),
    owner("truncated reversals", "payout_reversals_append_only", "TRUNCATE payout_reversals"),
    both(
        "a release without a payout",
        "payments_settled",
        RELEASE,
        but(but(RELEASED, "%(system)s", "%(person)s"), "'system'", "'user'"),
    ),
    # where vendors are paid
    both(
        "an account told of from before",
        "vendor_accounts_onward",
        "UPDATE vendor_accounts SET as_of = as_of - interval '1 hour'",
    ),
    owner("an account of another vendor", "vendor_accounts_onward", "UPDATE vendor_accounts SET vendor_id = %(new)s"),
    both(
        "another account without a cool-down",
        "vendor_accounts_cool_down",
        "UPDATE vendor_accounts SET account_id = 'acct_Other1', changed_at = now()",
    ),
    both(
        "another account under a cool-down that has ended",
        "vendor_accounts_cool_down",
        "UPDATE vendor_accounts SET held_until = now() - interval '1 second'",
        "UPDATE vendor_accounts SET account_id = 'acct_Other1', changed_at = now()",
    ),
    both("a cool-down that is shortened", "vendor_accounts_cool_down", COOLING, but(COOLING, "1 day", "1 hour")),
    both(
        "a cool-down that is taken back",
        "vendor_accounts_cool_down",
        COOLING,
        "UPDATE vendor_accounts SET held_until = NULL",
    ),
    owner("a look that nobody asked for", "reconcile_requests_kept", "DELETE FROM reconcile_requests"),
    owner("truncated requests", "reconcile_requests_kept", "TRUNCATE reconcile_requests"),
    owner("a deleted account", "vendor_accounts_kept", "DELETE FROM vendor_accounts"),
    owner("truncated accounts", "vendor_accounts_kept", "TRUNCATE vendor_accounts"),
    # policies, memberships, access
    both("a policy that skips a version", "approval_policies_in_order", POLICY),
    owner("an edited policy", "approval_policies_append_only", "UPDATE approval_policies SET version = 2"),
    owner("a deleted policy", "approval_policies_append_only", "DELETE FROM approval_policies"),
    both(
        "a membership told of from before",
        "memberships_onward",
        "UPDATE memberships SET as_of = as_of - interval '1 hour'",
    ),
    owner("a membership of somebody else", "memberships_onward", "UPDATE memberships SET sub = gen_random_uuid()"),
    owner("a deleted membership", "memberships_kept", "DELETE FROM memberships"),
    owner("truncated memberships", "memberships_kept", "TRUNCATE memberships"),
    owner("an edited denial", "access_audit_append_only", "UPDATE access_audit SET code = 'none'"),
    owner("a deleted denial", "access_audit_append_only", "DELETE FROM access_audit"),
    owner("truncated denials", "access_audit_append_only", "TRUNCATE access_audit"),
    both("a payment whose chain has no head", "payments_explained", but(CREATE, "sha256('1')", "NULL"), LINE),
    both("a payment without a line", "payment_audit_log_chain", CREATE, CREATED),
    both(
        "a line sum that differs from the amount",
        "payment_audit_log_chain",
        CREATE,
        but(LINE, "15000", "14999"),
        CREATED,
    ),
    both("completion without a payout", "payments_settled", COMPLETE, SUCCEEDED),
    both(
        "a failure while the payout is open",
        "payments_settled",
        but(but(COMPLETE, "'completed'", "'failed'"), "completed_at = now()", "failure_code = 'declined'"),
        but(but(SUCCEEDED, "'payout_succeeded'", "'payout_failed'"), "'completed'", "'failed'"),
    ),
    # line items
    owner("an edited line item", "payment_line_items_append_only", "UPDATE payment_line_items SET quantity = 2"),
    owner("a deleted line item", "payment_line_items_append_only", "DELETE FROM payment_line_items"),
    owner("truncated line items", "payment_line_items_append_only", "TRUNCATE payment_line_items"),
    both("a line after its payment", "payment_line_items_complete", *CREATION, but(LINE, "1, 'Tow'", "2, 'Tow'")),
    both(
        "a later line for nothing",
        "payment_line_items_complete",
        but(but(but(LINE, "%(new)s", "%(pending)s"), "1, 'Tow'", "3, 'Tow'"), "15000", "0"),
    ),
    # the audit log
    owner("an edited audit row", "payment_audit_log_append_only", "UPDATE payment_audit_log SET actor_type = 'admin'"),
    owner("a deleted audit row", "payment_audit_log_append_only", "DELETE FROM payment_audit_log"),
    owner("a truncated audit log", "payment_audit_log_append_only", "TRUNCATE payment_audit_log CASCADE"),
    both("an audit row without its version", "payment_audit_log_chain", APPROVED),
    both("an audit row of no payment", "payment_audit_log_chain", CREATED),
    both(
        "an audit row that skips one",
        "payment_audit_log_chain",
        APPROVE,
        but(APPROVED, "payment_id, 2,", "payment_id, 3,"),
    ),
    both(
        "an audit row off its chain",
        "payment_audit_log_chain",
        APPROVE,
        but(APPROVED, "'new', entry_hash", "'new', sha256('x')"),
    ),
    both(
        "an audit row with another hash",
        "payment_audit_log_chain",
        APPROVE,
        but(APPROVED, "sha256('2')", "sha256('x')"),
    ),
    both(
        "an audit row of another time",
        "payment_audit_log_chain",
        APPROVE,
        but(APPROVED, "now()", "now() - interval '1 hour'"),
    ),
    both(
        "somebody else's approval", "payment_audit_log_chain", APPROVE, but(APPROVED, "%(person)s", "gen_random_uuid()")
    ),
    both("somebody else's payment", "payment_audit_log_chain", CREATE, LINE, but(CREATED, "%(system)s", "%(person)s")),
    both(
        "a rejection that is called a cancellation",
        "payment_audit_log_chain",
        but(
            APPROVE,
            "'approved', approved_by = %(person)s, approved_at = now()",
            "'cancelled', cancel_kind = 'rejected'",
        ),
        but(but(APPROVED, "2, 'approved'", "2, 'cancelled'"), "'approved',\n", "'cancelled',\n"),
    ),
    both(
        "an audit row from where the payment was not",
        "payment_audit_log_action",
        APPROVE,
        but(APPROVED, "'pending_approval'", "'failed'"),
    ),
    both(
        "an audit row that tells another event",
        "payment_audit_log_action",
        APPROVE,
        but(APPROVED, "2, 'approved'", "2, 'retried'"),
    ),
    both(
        "an audit row that leads nowhere",
        "payment_audit_log_action",
        APPROVE,
        but(APPROVED, "'approved',\n", "NULL,\n"),
    ),
    both(
        "a digest without its note",
        "payment_audit_log_noted",
        APPROVE,
        APPROVES,
        but(but(APPROVED, "prev_hash", "note_digest, prev_hash"), "entry_hash, sha", "sha256('x'), entry_hash, sha"),
    ),
    # notes
    both("a note that the chain does not know", "payment_audit_notes_digest", NOTED),
    both(
        "a note that was never there",
        "payment_audit_notes_digest",
        but(but(NOTED, "(log_id, salt, note)", "(log_id, salt)"), ", 'other words'", ""),
    ),
    owner("an edited note", "payment_audit_notes_redaction", "UPDATE payment_audit_notes SET note = 'other words'"),
    owner("half a redaction", "payment_audit_notes_redaction", but(REDACT, "note = NULL", "note = ''")),
    owner(
        "a redaction that is taken back",
        "payment_audit_notes_redaction",
        REDACT,
        "UPDATE payment_audit_notes SET redacted_at = NULL, salt = sha256('x'), note = 'again'",
    ),
    owner("a second redaction", "payment_audit_notes_redaction", REDACT, REDACT),
    owner("a deleted note", "payment_audit_notes_kept", "DELETE FROM payment_audit_notes"),
    owner("truncated notes", "payment_audit_notes_kept", "TRUNCATE payment_audit_notes"),
    # attempts
    both("a second open attempt", "ux_attempt_open", ATTEMPT),
    both("a second success", "payout_attempts_agrees", but(ATTEMPT, "%(processing)s", "%(completed)s")),
    both(
        "an attempt for what is not approved", "payout_attempts_agrees", but(ATTEMPT, "%(processing)s", "%(pending)s")
    ),
    both(
        "an attempt for another amount",
        "payout_attempts_agrees",
        but(ATTEMPT, "amount_cents,\n", "amount_cents + 1,\n"),
    ),
    both(
        "an attempt to somebody else",
        "payout_attempts_agrees",
        but(ATTEMPT, "vendor_id, amount_cents", "'acct_of_somebody_else', amount_cents"),
    ),
    both("an attempt that skips a number", "payout_attempts_agrees", but(ATTEMPT, "payment_id, 2,", "payment_id, 7,")),
    both(
        "an attempt that may be submitted for ever",
        "payout_attempts_agrees",
        but(ATTEMPT, "'ready', now()", "'ready', now() + interval '90 years'"),
    ),
    both(
        "an attempt to the vendor who has an account",
        "payout_attempts_agrees",
        but(NEXT, "'acct_Registered1'", "vendor_id"),
    ),
    both("an attempt to another account", "payout_attempts_agrees", but(NEXT, "Registered1", "Registered2")),
    both(
        "an attempt to an account that cannot be paid",
        "payout_attempts_agrees",
        "UPDATE vendor_accounts SET payouts_enabled = false",
        NEXT,
    ),
    both(
        "an attempt to an account before its cool-down has ended",
        "payout_attempts_agrees",
        "UPDATE vendor_accounts SET held_until = now() + interval '1 minute'",
        NEXT,
    ),
    both(
        "an attempt of a real provider to a vendor who has no account",
        "payout_attempts_agrees",
        but(but(ATTEMPT, "%(processing)s", "%(unfunded)s"), "'sandbox'", "'stripe'"),
    ),
    both(
        "an attempt beyond what a provider's key lasts",
        "payout_attempts_agrees",
        but(NEXT, "'ready', now()", "'ready', now() + interval '25 hours'"),
    ),
    both(
        "an attempt in another currency", "payout_attempts_agrees", but(ATTEMPT, "currency, 'ready'", "'EUR', 'ready'")
    ),
    both("an attempt that begins as unknown", "payout_attempts_begin", but(ATTEMPT, "'ready'", "'unknown'")),
    owner(
        "an attempt that begins as paid",
        "payout_attempts_begin",
        but(but(ATTEMPT, "state, submit", "state, provider_object_id, submit"), "'ready'", "'ready', 'tr_new'"),
    ),
    both("a success of what is still in processing", "payout_attempts_agrees", SUCCEED),
    both(
        "a completion whose payout failed", "payout_attempts_agrees", COMPLETE, but(SUCCEED, "'succeeded'", "'failed'")
    ),
    both(
        "a success that becomes a failure",
        "payout_attempts_agrees",
        but(but(SUCCEED, "'succeeded'", "'failed'"), "%(processing)s", "%(completed)s"),
    ),
    both("a failure that becomes a success", "payout_attempts_agrees", but(SUCCEED, "%(processing)s", "%(failed)s")),
    both(
        "a success that becomes another one",
        "payout_attempts_final",
        but(SUCCEED, "%(processing)s", "%(completed)s"),
    ),
    both(
        "a settled attempt that is checked again",
        "payout_attempts_final",
        "UPDATE payout_attempts SET checks = checks + 1 WHERE payment_id = %(failed)s",
    ),
    both(
        "a check that is forgotten",
        "payout_attempts_onward",
        "UPDATE payout_attempts SET checks = checks - 1 WHERE payment_id = %(unknown)s",
    ),
    both(
        "an unknown outcome that is forgotten",
        "payout_attempts_onward",
        "UPDATE payout_attempts SET state = 'ready' WHERE payment_id = %(unknown)s",
    ),
    both(
        "a provider's object that is forgotten",
        "payout_attempts_onward",
        "UPDATE payout_attempts SET provider_object_id = 'tr_new' WHERE payment_id = %(processing)s",
        "UPDATE payout_attempts SET provider_object_id = NULL WHERE payment_id = %(processing)s",
    ),
    *(
        owner(
            f"an attempt's changed {column}",
            "payout_attempts_frozen",
            f"UPDATE payout_attempts SET {column} = {value} WHERE payment_id = %(processing)s",
        )
        for column, value in (
            ("attempt_id", "gen_random_uuid()"),
            ("payment_id", "%(unknown)s"),
            ("attempt_no", "2"),
            ("provider", "'stripe'"),
            ("operation", "'offline'"),
            ("idempotency_key", "'another'"),
            ("request_fingerprint", "sha256('x')"),
            ("destination", "'another'"),
            ("amount_cents", "15001"),
            ("currency", "'EUR'"),
            ("created_at", "now()"),
            ("submit_before", "now() + interval '1 year'"),
        )
    ),
    owner("a deleted attempt", "payout_attempts_kept", "DELETE FROM payout_attempts"),
    owner("truncated attempts", "payout_attempts_kept", "TRUNCATE payout_attempts CASCADE"),
    # the inbox
    owner("a claim of another kind", "message_inbox_frozen", "UPDATE message_inbox SET consumer = 'Test'"),
    owner("a claim under another key", "message_inbox_frozen", "UPDATE message_inbox SET message_key = 'x'"),
    owner(
        "a claim that said something else", "message_inbox_frozen", "UPDATE message_inbox SET fingerprint = sha256('x')"
    ),
    owner(
        "a claim that is backdated",
        "message_inbox_frozen",
        "UPDATE message_inbox SET received_at = received_at - interval '1 year'",
    ),
    both(
        "a refusal that was applied after all",
        "message_inbox_settled_once",
        CLAIM,
        "UPDATE message_inbox SET outcome = 'applied'",
    ),
    owner("a forgotten message of this month", "message_inbox_kept", "DELETE FROM message_inbox"),
    owner("a truncated inbox", "message_inbox_kept_whole", "TRUNCATE message_inbox"),
    # the outbox
    *(
        owner(f"an event's changed {column}", "outbox_frozen", f"UPDATE outbox SET {column} = {value}")
        for column, value in (
            ("payload", "'{}'"),
            ("event_id", "gen_random_uuid()"),
            ("aggregate_id", "gen_random_uuid()"),
            ("aggregate_seq", "aggregate_seq + 1"),
            ("destination", "CASE destination WHEN 'bus' THEN 'payouts' ELSE 'bus' END"),
            ("detail_type", "'Test'"),
            ("created_at", "now()"),
        )
    ),
    owner("an event that is deleted before it is sent", "outbox_kept", "DELETE FROM outbox"),
    owner(
        "a failed event that nobody looked at",
        "outbox_kept",
        "UPDATE outbox SET failed_at = now()",
        "DELETE FROM outbox",
    ),
    owner("a truncated outbox", "outbox_kept_whole", "TRUNCATE outbox"),
    # failures
    owner(
        "a failure that is deleted under its replay", "failure_replays_failure_id_fkey", "DELETE FROM message_failures"
    ),
    owner("truncated failures", "message_failures_kept_whole", "TRUNCATE message_failures CASCADE"),
    owner("an edited replay", "failure_replays_append_only", "UPDATE failure_replays SET reason = 'another'"),
    owner("a deleted replay", "failure_replays_append_only", "DELETE FROM failure_replays"),
    owner("truncated replays", "failure_replays_append_only", "TRUNCATE failure_replays CASCADE"),
    owner("an edited sending", "failure_replays_sent_append_only", "UPDATE failure_replays_sent SET sent_at = now()"),
]


# -- the history that is attacked


@dataclass(frozen=True, slots=True)
class World:
    """A database with a payment in each situation, by the names that the statements use."""

    url: str
    values: Mapping[str, Any]


class Builder:
    """Brings payments about by the funnel, each by messages of its own."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._commands = 0

    def create(self, number: int, **fields: str) -> UUID:
        incident_id = f"11111111-1111-4111-8111-{number:012d}"
        work = m.work(incidentId=incident_id, eventId=f"{number}", notes="at the gate", **fields)
        made = once(self._pool, m.parsed(work))
        assert made.payment_id
        return made.payment_id

    def command(self, kind: str, payment_id: UUID, **fields: str) -> None:
        self._commands += 1
        command = m.command(kind, self._commands, paymentId=str(payment_id), **fields)
        assert once(self._pool, m.parsed(command)).outcome is Outcome.APPLIED

    def start(self, number: int, **fields: str) -> UUID:
        payment_id = self.create(number, **fields)
        self.command("ApprovePayment", payment_id)
        assert once(self._pool, m.parsed(self._order("ProcessPayment", payment_id), queue=Queue.PAYOUTS)).code is None
        return payment_id

    def policy(self, number: int, approvers: int, *, separate_releaser: bool) -> None:
        tiers = [{"currency": "USD", "approvers": approvers}]
        asked = {"companyId": str(m.COMPANY), "tiers": tiers, "separateReleaser": separate_releaser}
        body = m.command("SetApprovalPolicy", number, actor=m.admin(), **asked)
        assert once(self._pool, m.parsed(body)).outcome is Outcome.APPLIED

    def releasable(self, number: int) -> UUID:
        self.policy(99, 1, separate_releaser=True)
        payment_id = self.create(number)
        self.command("ApprovePayment", payment_id)
        return payment_id

    def account(self, number: int, vendor_id: UUID) -> None:
        asked = {"vendorId": str(vendor_id), "stripeAccountId": "acct_Registered1", "payoutsEnabled": True}
        body = m.command("VendorAccountChanged", number, actor=m.admin(), **asked)
        assert once(self._pool, m.parsed(body)).outcome is Outcome.APPLIED

    def pay(self, number: int, answer: Answer, **fields: str) -> UUID:
        payment_id = self.start(number, **fields)
        done = once(self._pool, m.parsed(self._order("ExecutePayout", payment_id)), answer)
        assert done.outcome is Outcome.APPLIED
        return payment_id

    def _order(self, kind: str, payment_id: UUID) -> dict[str, Any]:
        query = "SELECT payload FROM outbox WHERE detail_type = %s AND aggregate_id = %s"
        [order] = rows(self._pool, query, kind, payment_id)
        return order["payload"]


FAILURE: LiteralString = """
WITH failed AS (
    INSERT INTO message_failures (failure_id, queue, sqs_message_id, message_key, outcome, reason, body_bytes,
        body_digest, first_sent_at)
    VALUES (gen_random_uuid(), 'payments-events', 'a', 'a', 'fault', 'test', 1, sha256('x'), now())
    RETURNING failure_id
), replayed AS (
    INSERT INTO failure_replays (replay_id, failure_id, actor_id, reason)
    SELECT gen_random_uuid(), failure_id, gen_random_uuid(), 'test' FROM failed RETURNING replay_id
)
INSERT INTO failure_replays_sent (replay_id, sqs_message_id) SELECT replay_id, 'b' FROM replayed
"""


@pytest.fixture(scope="module")
def world(server: postgres.Server) -> World:
    """One database for the whole table: nothing that is refused changes it."""
    name = f"refused_{uuid4().hex}"
    migrate.ensure_database(server.url("postgres"), name)
    url = server.url(name)
    migrate.upgrade(url)
    with db.open_pool(url, PoolOptions(size_min=1)) as pool:
        build = Builder(pool)
        values = {
            "pending": build.create(0),
            "cancelled": build.create(1),
            "processing": build.start(2),
            "unknown": build.pay(3, Unknown("timeout")),
            "completed": build.pay(4, Accepted("tr_1")),
            "failed": build.pay(5, Declined("account_closed", "closed")),
            "unfunded": build.pay(9, Unfunded("balance_insufficient")),
        }
        build.command("RejectPayment", values["cancelled"], reason="wrong price")
        build.account(97, REGISTERED)
        values["registered"] = build.pay(10, Unfunded("balance_insufficient"), vendorId=str(REGISTERED))
        values |= {"held": build.create(6), "releasable": build.releasable(7)}
        build.policy(98, 2, separate_releaser=False)
        values["half"] = build.create(8)
        for held in ("held", "half"):
            build.command("HoldPayment", values[held], reason="no invoice")
        member(pool, m.ADMIN, Role.ADMIN)
        member(pool, GONE, Role.ADMIN, enabled=False)
        member(pool, VENDORS, Role.ADMIN, vendor=m.VENDOR)
        member(pool, STRANGER, Role.DISPATCHER, company=m.OTHER_COMPANY)
        rows(pool, f"{FAILURE} RETURNING 1")
        [payment] = rows(pool, "SELECT created_by FROM payments WHERE payment_id = %s", values["pending"])
    people = {"person": m.ADMIN, "dispatcher": m.DISPATCHER, "vendor": m.VENDOR, "nobody": NEW}
    people |= {"gone": GONE, "vendors": VENDORS, "stranger": STRANGER}
    return World(url, {**values, **people, "new": NEW, "system": payment["created_by"]})


@contextmanager
def session(world: World, role: str) -> Iterator[psycopg.Connection]:
    """A transaction of one of our roles, which is rolled back unless the test commits it."""
    with superuser(world) as connection:
        connection.execute(f"SET LOCAL ROLE {role}")
        yield connection


@contextmanager
def superuser(world: World) -> Iterator[psycopg.Connection]:
    """A transaction that may do anything, and of which nothing stays."""
    # Values are put in by the client: the server would want a type for each of them.
    with psycopg.connect(world.url, options=CONNECTION, cursor_factory=psycopg.ClientCursor) as connection:
        yield connection
        connection.rollback()


def attempt(world: World, role: str, statements: tuple[str, ...]) -> None:
    with session(world, role) as connection:
        for statement in statements:
            connection.execute(statement, world.values)
        connection.commit()


# -- the table


@pytest.mark.parametrize("case", REFUSED, ids=[case.what for case in REFUSED])
@pytest.mark.parametrize("role", [OWNER, GroupRole.WORKER])
def test_the_database_refuses(world: World, role: str, case: Refused):
    with pytest.raises(psycopg.Error) as refused:
        attempt(world, role, case.statements)
    error, expected = refused.value, case.owner if role == OWNER else case.worker
    if expected == DENIED:
        assert isinstance(error, psycopg.errors.InsufficientPrivilege), error
        return
    assert error.diag.constraint_name == expected, error
    assert (error.sqlstate or "").startswith("23"), "an integrity constraint, so neither a retry nor a typing error"
    told = db.translated(error)
    assert expected in str(told) if isinstance(told, StoreFault) else expected in db.LOST_RACES


ALLOWED: Mapping[str, tuple[LiteralString, ...]] = {
    "creation": CREATION,
    "approval": APPROVAL,
    "completion": COMPLETION,
    "reversal": REVERSAL,
    "a settlement": (
        but(REVERSE, "amount_reversed_cents = 5000", "settlement_status = 'paid'"),
        but(REVERSED, "'reversed'", "'settlement_changed'"),
    ),
    "an attempt that comes to nothing": (FALL, FAIL, FELL),
    "the next attempt": (NEXT,),
    "the next attempt without an account": (but(ATTEMPT, "%(processing)s", "%(unfunded)s"),),
    "the next attempt after a cool-down": (but(COOLING, "+ interval '1 day'", "- interval '1 second'"), NEXT),
    "another account": (
        "UPDATE vendor_accounts SET account_id = 'acct_Other1', changed_at = now(), held_until = now()",
    ),
    "a longer cool-down": (COOLING, but(COOLING, "1 day", "2 days")),
}


def test_every_case_has_a_name_of_its_own():
    assert len({case.what for case in REFUSED}) == len(REFUSED)


def test_every_trigger_refuses_something_above(world: World):
    found = "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal"
    with superuser(world) as connection:
        triggers = dict(connection.execute(found).fetchall())
    assert set(triggers) - {case.owner for case in REFUSED} == set()
    assert set(triggers.values()) == {"O"}, "none is switched off"


def test_every_column_that_a_message_writes_once_is_frozen(world: World):
    """What may change of a payment or an attempt is listed; a new column must be told to the trigger or to this."""
    query = """
        SELECT column_name FROM information_schema.columns WHERE table_name = %s EXCEPT
        SELECT event_object_column FROM information_schema.triggered_update_columns WHERE trigger_name = %s
    """
    with superuser(world) as connection:
        payment = {name for (name,) in connection.execute(query, ("payments", "payments_frozen"))}
        payout = {name for (name,) in connection.execute(query, ("payout_attempts", "payout_attempts_frozen"))}
    assert payment == {
        *("status", "version", "audit_head", "updated_at", "processed_at", "failure_code", "failed_reason"),
        *("approved_by", "approved_at", "completed_at", "cancel_kind"),  # once: payments_set_once
        *("fraud_score", "fraud_status", "on_hold", "hold_until", "settlement_status", "amount_reversed_cents"),
    }
    assert payout == {"state", "failure_code", "provider_object_id", "checks", "next_check_at", "resolved_at"}


@pytest.mark.parametrize("role", [OWNER, GroupRole.WORKER])
@pytest.mark.parametrize("statements", ALLOWED.values(), ids=ALLOWED)
def test_the_statements_are_refused_for_nothing_but_the_point_in_which_they_were_spoilt(
    world: World, role: str, statements: tuple[str, ...]
):
    with session(world, role) as connection:
        for statement in statements:
            connection.execute(statement, world.values)
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_a_note_can_be_redacted_by_the_owner_and_its_chain_stays(world: World):
    with session(world, OWNER) as connection:
        assert connection.execute(REDACT).rowcount > 0
        [left] = connection.execute("SELECT count(note) + count(salt) FROM payment_audit_notes").fetchall()
    assert left == (0,)


def test_a_refusal_says_what_is_wrong_and_of_which_payment(world: World):
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        attempt(world, OWNER, (but(COMPLETE, "%(processing)s", "%(pending)s"),))
    assert refused.value.diag.message_primary == "UPDATE on payments refused: the lifecycle has no such move"
    detail = f"payment_id {world.values['pending']}, status pending_approval -> completed"
    assert refused.value.diag.message_detail == detail


def test_no_guard_quotes_a_value(world: World):
    values = ("15000", "15001", "tr_new", "other words", "at the gate", "wrong price")
    for case in REFUSED:
        with pytest.raises(psycopg.Error) as refused:
            attempt(world, OWNER, case.statements)
        diagnosis = refused.value.diag
        if diagnosis.context and "guard_" in diagnosis.context:  # Postgres's own words never leave store/db.py
            told = f"{diagnosis.message_primary} {diagnosis.message_detail}"
            assert not [value for value in values if value in told], case.what


# -- what the relay may delete

SENT_LONG_AGO: LiteralString = """
INSERT INTO outbox (event_id, aggregate_id, aggregate_seq, destination, detail_type, payload, published_at)
VALUES (gen_random_uuid(), gen_random_uuid(), 0, 'bus', 'Test', '{}', now() - interval '1 year')
"""
CAME_BEFORE: LiteralString = """
INSERT INTO message_inbox (consumer, message_key, fingerprint, outcome, received_at)
VALUES ('Test', 'old', sha256('x'), 'applied', now() - interval '18 days' - %(margin)s::interval)
"""


def test_the_relay_deletes_what_was_sent_and_nothing_else(world: World):
    with session(world, OWNER) as connection:
        connection.execute(SENT_LONG_AGO)
        connection.execute(f"SET LOCAL ROLE {GroupRole.RELAY}")
        assert connection.execute("DELETE FROM outbox WHERE published_at IS NOT NULL").rowcount == 1
        with pytest.raises(psycopg.errors.RestrictViolation, match="what was not sent is kept"):
            connection.execute("DELETE FROM outbox")


@pytest.mark.parametrize(("margin", "gone"), [("1 minute", True), ("-1 minute", False)])
def test_the_relay_forgets_a_message_once_it_cannot_come_back(world: World, margin: str, *, gone: bool):
    with session(world, OWNER) as connection:
        connection.execute(CAME_BEFORE, {"margin": margin})
        connection.execute(f"SET LOCAL ROLE {GroupRole.RELAY}")
        forget = "DELETE FROM message_inbox WHERE message_key = 'old'"
        if gone:
            assert connection.execute(forget).rowcount == 1
            return
        with pytest.raises(psycopg.errors.RestrictViolation, match="may still come back"):
            connection.execute(forget)


def test_the_relay_reschedules_and_marks_without_meeting_the_guards(world: World):
    with session(world, GroupRole.RELAY) as connection:
        later = "UPDATE outbox SET available_at = now(), attempts = attempts + 1, published_at = now()"
        assert connection.execute(later).rowcount > 0


# -- the twins of contracts/

FORGED: LiteralString = """
UPDATE payments SET status = %(before)s, version = 1,
    approved_by = CASE WHEN %(before)s NOT IN ('pending_approval', 'cancelled') THEN %(person)s::uuid END,
    approved_at = CASE WHEN %(before)s NOT IN ('pending_approval', 'cancelled') THEN now() END,
    completed_at = CASE %(before)s WHEN 'completed' THEN now() END, failure_code = 'code',
    cancel_kind = CASE %(before)s WHEN 'cancelled' THEN 'cancelled' END
WHERE payment_id = %(pending)s
"""
MOVED: LiteralString = """
UPDATE payments SET status = %(after)s, version = 2,
    approved_by = coalesce(approved_by, CASE WHEN %(after)s <> 'pending_approval' THEN %(person)s::uuid END),
    approved_at = coalesce(approved_at, CASE WHEN %(after)s <> 'pending_approval' THEN now() END),
    completed_at = coalesce(completed_at, CASE %(after)s WHEN 'completed' THEN now() END),
    cancel_kind = CASE %(after)s WHEN 'cancelled' THEN 'cancelled' END
WHERE payment_id = %(pending)s
"""
TOLD: LiteralString = """
INSERT INTO payment_audit_log (log_id, payment_id, seq, action, actor_id, actor_type, previous_status, new_status,
    message_key, prev_hash, entry_hash, "timestamp")
SELECT gen_random_uuid(), payment_id, 2, %(event)s, approved_by, 'user', %(before)s, %(after)s, 'new', NULL,
    sha256('2'), now() FROM payments WHERE payment_id = %(pending)s
"""
ALLOWED_MOVES = {(before, after) for (before, _), after in MOVES.items()} | {(status, status) for status, _ in RECORDS}
ALLOWED_EVENTS = (
    {(before, event, after) for (before, event), after in MOVES.items()}
    | {(status, event, status) for status, event in RECORDS}
    | {(None, Event.CREATED, INITIAL)}
)


def verdict(connection: psycopg.Connection, statement: str, values: Mapping[str, Any]) -> str | None:
    """Which constraint refuses a statement, or None; nothing stays of it."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement, values)
    except psycopg.errors.IntegrityError as refused:
        return refused.diag.constraint_name
    return None


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)))
def test_the_database_moves_a_payment_exactly_as_the_lifecycle_does(world: World, before: Status, after: Status):
    values = {**world.values, "before": before, "after": after}
    with superuser(world) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(FORGED, values)
        connection.execute("SET LOCAL session_replication_role = origin")
        refused = verdict(connection, MOVED, values)
    assert refused == (None if (before, after) in ALLOWED_MOVES else "payments_moves")


@pytest.mark.parametrize("before", [None, *Status])
def test_the_audit_log_takes_exactly_the_events_of_the_lifecycle(world: World, before: Status | None):
    """An event that passes the table is then refused by the chain, since no payment was changed here."""
    with superuser(world) as connection:
        found = {
            (before, event, after)
            for event, after in product(Event, Status)
            if verdict(connection, TOLD, {**world.values, "before": before, "event": event, "after": after})
            != "payment_audit_log_action"
        }
    assert found == {allowed for allowed in ALLOWED_EVENTS if allowed[0] == before}


FRAUD_STATUSES = ["not_scored", "low_risk", "medium_risk", "high_risk", "flagged", "cleared", "confirmed"]


@pytest.mark.parametrize("fraud", FRAUD_STATUSES)
def test_the_database_blocks_the_same_fraud_statuses_as_the_code(world: World, fraud: str):
    with session(world, OWNER) as connection:
        approve = but(APPROVE, "SET", "SET fraud_status = %(fraud)s,")
        refused = verdict(connection, approve, {**world.values, "fraud": fraud})
    assert refused == ("payments_unblocked" if fraud in FRAUD_BLOCKS else None)
