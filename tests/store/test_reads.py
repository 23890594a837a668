"""The read-only questions: what a payment looks like, what waits, and what happened in which order."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest

from contracts.envelope import Queue
from contracts.lifecycle import Status
from contracts.payment import Role
from contracts.provider import Accepted, Unknown
from contracts.refusals import MESSAGES, Refusal
from store import db, reads
from store.db import Pool
from store.reads import NoteView, UnknownAttempts
from store.signed_in import Page, Sight, Viewer, seeing
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import once, rows
from tests.kit.proofs import member
from tests.kit.readers import reading_pool


def incident(number: int) -> str:
    return f"1111111{number}-1111-4111-8111-111111111111"


def create(pool: Pool, number: int = 1) -> UUID:
    found = once(pool, m.parsed(m.work(incidentId=incident(number), eventId=f"event-{number}"))).payment_id
    assert found
    return found


def posted(pool: Pool, kind: str) -> dict:
    return rows(pool, "SELECT payload FROM outbox WHERE detail_type = %s ORDER BY outbox_id DESC", kind)[0]["payload"]


def process(pool: Pool) -> UUID:
    """Bring one payment to its payout."""
    payment_id = create(pool)
    once(pool, m.parsed(m.command("ApprovePayment", paymentId=str(payment_id))))
    once(pool, m.parsed(posted(pool, "ProcessPayment"), queue=Queue.PAYOUTS))
    return payment_id


@contextmanager
def seeing_all(pool: Pool) -> Iterator[Sight]:
    """The eyes of an admin."""
    member(pool, m.ADMIN, Role.ADMIN)
    with seeing(pool, Viewer(m.ADMIN, frozenset({"admin"}))) as sight:
        yield sight


def test_a_payment_comes_with_its_lines_in_their_order(pool: Pool):
    payment_id = create(pool)
    view = reads.payment(pool, payment_id)
    assert view is not None
    assert view.payment.payment_id == payment_id
    assert (view.payment.status, view.payment.money.amount_cents) == (Status.PENDING_APPROVAL, 15000)
    assert [(line.line_no, line.quantity, line.unit_price_cents, line.total_cents) for line in view.lines] == [
        (1, 1, 12000, 12000),
        (2, 1, 3000, 3000),
    ]
    assert sum(line.total_cents for line in view.lines) == view.payment.amount_cents


def test_a_payment_that_is_not_there_is_none(pool: Pool):
    create(pool)
    assert reads.payment(pool, m.VENDOR) is None


def test_what_waits_comes_oldest_first_page_by_page_without_a_gap(pool: Pool):
    made = [create(pool, number) for number in range(5)]
    with seeing_all(pool) as sight:
        pages = [sight.pending(Page(2, offset), None) for offset in (0, 2, 4, 6)]
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert [payment.payment_id for page in pages for payment in page] == made


def test_payments_of_the_same_moment_keep_one_order(pool: Pool):
    made = {create(pool, number) for number in range(4)}
    forge(pool, "UPDATE payments SET created_at = now()")
    with seeing_all(pool) as sight:
        ids = [payment.payment_id for payment in sight.pending(Page(10), None)]
    assert ids == sorted(made), "or a page could show one twice and another never"


def test_what_was_decided_does_not_wait_any_more(pool: Pool):
    first, second = create(pool, 1), create(pool, 2)
    once(pool, m.parsed(m.command("CancelPayment", paymentId=str(first), reason="twice")))
    with seeing_all(pool) as sight:
        assert [payment.payment_id for payment in sight.pending(Page(10), None)] == [second]


def test_the_timeline_of_the_main_road_tells_changes_and_news_in_order_of_time(pool: Pool):
    payment_id = process(pool)
    once(pool, m.parsed(posted(pool, "ExecutePayout")), Accepted("tr_1"))
    found = reads.timeline(pool, payment_id)
    assert [entry.at for entry in found] == sorted(entry.at for entry in found)
    changes = [(entry.version, entry.status) for entry in found if entry.what == "change"]
    assert changes == [(1, "pending_approval"), (2, "approved"), (3, "processing"), (4, "completed")]
    sent = [(entry.name, entry.who) for entry in found if entry.what == "sent" and entry.who == "bus"]
    assert sent == [
        ("PaymentCreated", "bus"),
        ("PaymentApproved", "bus"),
        ("PaymentProcessing", "bus"),
        ("PaymentCompleted", "bus"),
    ]


_UNTRACED = """
INSERT INTO outbox (event_id, aggregate_id, aggregate_seq, destination, detail_type, payload)
VALUES (gen_random_uuid(), %(id)s, 0, 'bus', 'OfAnOlderRelease', '{}')
"""


def test_the_timeline_says_in_which_trace_something_was_sent(pool: Pool):
    work = m.parsed(m.work(traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
    payment_id = once(pool, work).payment_id
    assert payment_id
    with db.transaction(pool) as tx:
        tx.send(_UNTRACED, {"id": payment_id})
    traces = {entry.name: entry.data["traceId"] for entry in reads.timeline(pool, payment_id) if entry.what == "sent"}
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert traces == {"PaymentCreated": trace_id, "ApprovalRequest": trace_id, "OfAnOlderRelease": None}


def test_the_timeline_shows_a_refused_command_with_its_code(pool: Pool):
    payment_id = create(pool)
    stranger = m.dispatcher(companyId=str(m.OTHER_COMPANY))
    once(pool, m.parsed(m.command("ApprovePayment", paymentId=str(payment_id), actor=stranger)))
    [refusal] = [entry for entry in reads.timeline(pool, payment_id) if entry.what == "refusal"]
    assert refusal.name == "ApprovePayment"
    assert refusal.data["message"] == MESSAGES[Refusal.WRONG_COMPANY]
    assert (refusal.status, refusal.version) == ("pending_approval", 1)
    assert refusal.data["code"] == rows(pool, "SELECT outcome_code AS code FROM message_inbox")[-1]["code"]


def test_the_timeline_belongs_to_one_payment(pool: Pool):
    first, second = create(pool, 1), create(pool, 2)
    told = json.dumps([entry.data for entry in reads.timeline(pool, first)], default=str)
    assert str(second) not in told
    assert reads.timeline(pool, m.VENDOR) == []


def test_unknown_attempts_are_counted_with_the_age_of_the_oldest(pool: Pool):
    process(pool)
    assert reads.unknown_attempts(pool) == UnknownAttempts(0, 0.0), "a fresh attempt is not an unknown one"
    once(pool, m.parsed(posted(pool, "ExecutePayout")), Unknown("timeout"))
    forge(pool, "UPDATE payout_attempts SET created_at = now() - interval '1 hour'")
    found = reads.unknown_attempts(pool)
    assert found.unknown == 1
    assert found.oldest_age_s == pytest.approx(3600, abs=60)


def test_a_version_table_without_a_row_is_no_revision(pool: Pool):
    rows(pool, "DELETE FROM alembic_version RETURNING 1")
    assert reads.revision(pool) is None


def test_what_persons_wrote_is_read_by_who_may_and_by_nobody_else(pool: Pool, database_url: str):
    payment_id = create(pool)
    once(pool, m.parsed(m.command("HoldPayment", paymentId=str(payment_id), reason="no invoice")))
    assert reads.notes(pool, payment_id) == [NoteView(2, "held", "no invoice")]
    forge(pool, "UPDATE payment_audit_notes SET salt = NULL, note = NULL, redacted_at = now()")
    assert reads.notes(pool, payment_id) == [NoteView(2, "held", None)]
    with reading_pool(database_url) as reader:
        assert reads.notes(reader, payment_id) is None
