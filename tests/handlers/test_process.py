"""The funnel against a real Postgres: the main road, every message twice."""

import pytest

from contracts.inbound import Parsed
from contracts.outcome import Outcome
from contracts.provider import Accepted, Declined, Unknown
from contracts.refusals import Refusal
from handlers.decision import NotYet, Rules
from store.db import Pool
from tests.handlers.road import approve, create, events, pay, posted, reconcile, start
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import fresh, once, rows, twice


def test_the_main_road_ends_completed_with_one_audit_row_and_one_event_per_version(pool: Pool):
    payment_id = create(pool)
    assert approve(pool, payment_id).status == "approved"
    assert start(pool, payment_id).status == "processing"
    assert pay(pool, Accepted("tr_1")).status == "completed"
    assert events(pool) == [
        ("PaymentCreated", 1),
        ("PaymentApproved", 2),
        ("PaymentProcessing", 3),
        ("PaymentCompleted", 4),
    ]
    log = rows(pool, "SELECT seq, action, previous_status, new_status FROM payment_audit_log ORDER BY seq")
    assert [(row["seq"], row["previous_status"], row["new_status"]) for row in log] == [
        (1, None, "pending_approval"),
        (2, "pending_approval", "approved"),
        (3, "approved", "processing"),
        (4, "processing", "completed"),
    ]
    [payment] = rows(pool, "SELECT * FROM payments")
    assert (payment["version"], payment["amount_cents"], payment["approved_by"]) == (4, 15000, m.DISPATCHER)
    [attempt] = rows(pool, "SELECT * FROM payout_attempts")
    assert (attempt["state"], attempt["provider_object_id"], attempt["attempt_no"]) == ("succeeded", "tr_1", 1)
    assert attempt["idempotency_key"] == f"pay-{payment_id}-1"
    lines = rows(pool, "SELECT description, total_cents FROM payment_line_items ORDER BY line_no")
    assert [row["total_cents"] for row in lines] == [12000, 3000]


def test_the_audit_rows_form_a_chain_whose_head_the_payment_holds(pool: Pool):
    payment_id = create(pool)
    approve(pool, payment_id)
    first, second = rows(pool, "SELECT prev_hash, entry_hash FROM payment_audit_log ORDER BY seq")
    assert first["prev_hash"] is None
    assert second["prev_hash"] == first["entry_hash"]
    [payment] = rows(pool, "SELECT audit_head FROM payments")
    assert payment["audit_head"] == second["entry_hash"]


def test_a_definite_refusal_by_the_provider_fails_the_payment(pool: Pool):
    payment_id = create(pool)
    approve(pool, payment_id)
    start(pool, payment_id)
    assert pay(pool, Declined("account_closed", "The account is closed.")).status == "failed"
    [payment] = rows(pool, "SELECT failure_code, failed_reason FROM payments")
    assert payment == {"failure_code": "account_closed", "failed_reason": "The account is closed."}


def test_an_unknown_outcome_keeps_the_payment_in_processing_and_leaves_the_next_look_to_the_sweep(pool: Pool):
    payment_id = create(pool)
    approve(pool, payment_id)
    start(pool, payment_id)
    assert pay(pool, Unknown("timeout")).status == "processing"
    [attempt] = rows(pool, "SELECT state, checks, next_check_at FROM payout_attempts")
    assert (attempt["state"], attempt["checks"]) == ("unknown", 2)
    [order] = rows(pool, "SELECT payload, available_at FROM outbox WHERE detail_type = 'ExecutePayout'")
    assert order["payload"]["check"] == 0
    assert attempt["next_check_at"] > order["available_at"]
    assert twice(pool, reconcile(payment_id, check=2), Accepted("tr_late")).status == "completed"
    assert [version for _, version in events(pool)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("price", "outcome", "code"),
    [
        (12000, Outcome.IGNORED, None),
        (12001, Outcome.REFUSED, Refusal.PAYLOAD_CONFLICT),
    ],
)
def test_another_event_for_the_same_work_meets_its_payment(pool: Pool, price, outcome, code):
    create(pool)
    other = m.work(eventId="another-event")
    other["lineItems"][0]["unitPriceCents"] = price
    result = twice(pool, m.parsed(other))
    assert (result.outcome, result.code) == (outcome, code)
    assert len(rows(pool, "SELECT 1 FROM payments")) == 1


def test_work_that_is_reported_again_after_its_payment_was_cancelled_makes_a_new_one(pool: Pool):
    payment_id = create(pool)
    twice(pool, m.parsed(m.command("RejectPayment", paymentId=str(payment_id), reason="wrong price")))
    again = twice(pool, m.parsed(m.work(eventId="after-the-cancellation")))
    assert again.outcome is Outcome.APPLIED
    assert again.payment_id != payment_id


def test_work_under_legacy_ids_meets_its_payment_again(pool: Pool):
    rules = Rules(provider="sandbox", allow_legacy_ids=True)
    first = twice(pool, m.parsed(m.work(incidentId="test-incident-001")), rules=rules)
    again = twice(pool, m.parsed(m.work(incidentId="test-incident-001", eventId="second")), rules=rules)
    assert (first.outcome, again.outcome) == (Outcome.APPLIED, Outcome.IGNORED)
    assert again.payment_id == first.payment_id


def test_a_pruned_inbox_does_not_create_a_second_payment(pool: Pool):
    create(pool)
    forge(pool, "UPDATE message_inbox SET received_at = now() - interval '121 days'")
    assert len(rows(pool, "DELETE FROM message_inbox RETURNING 1")) == 1
    assert once(pool, m.parsed(m.work())).outcome is Outcome.IGNORED
    assert len(rows(pool, "SELECT 1 FROM payments")) == 1


def test_a_command_that_overtakes_its_payment_waits_and_is_then_refused(pool: Pool):
    missing = m.parsed(m.command("ApprovePayment", paymentId=str(m.INCIDENT)))
    with pytest.raises(NotYet):
        once(pool, fresh(missing))
    assert rows(pool, "SELECT 1 FROM message_inbox") == []
    result = twice(pool, missing)  # first sent long ago
    assert (result.outcome, result.code) == (Outcome.REFUSED, Refusal.NOT_FOUND)


def test_a_refusal_commits_its_inbox_row_and_its_event_and_no_audit_row(pool: Pool):
    payment_id = create(pool)
    foreign = m.dispatcher(companyId=str(m.OTHER_COMPANY))
    result = twice(pool, m.parsed(m.command("ApprovePayment", paymentId=str(payment_id), actor=foreign)))
    assert (result.outcome, result.code) == (Outcome.REFUSED, Refusal.WRONG_COMPANY)
    [row] = rows(pool, "SELECT outcome, outcome_code, payment_id FROM message_inbox WHERE consumer = 'ApprovePayment'")
    assert row == {"outcome": "refused", "outcome_code": "wrong_company", "payment_id": payment_id}
    refusal = posted(pool, "PaymentCommandRejected")
    assert (refusal["code"], refusal["currentStatus"], refusal["currentVersion"]) == (
        "wrong_company",
        "pending_approval",
        1,
    )
    assert len(rows(pool, "SELECT 1 FROM payment_audit_log")) == 1


def test_a_note_of_any_length_keeps_nobody_from_being_paid(pool: Pool):
    long = "x" * 20_000
    created = twice(pool, m.parsed(m.work(notes=long)))
    approval = m.command("ApprovePayment", paymentId=str(created.payment_id), notes=long, reviewNotes=long)
    assert twice(pool, m.parsed(approval)).status == "approved"
    found = rows(pool, "SELECT length(note) AS chars FROM payment_audit_notes")
    assert [row["chars"] for row in found] == [10_000, 10_000]


def test_an_overlong_legacy_id_and_failure_code_are_no_fault(pool: Pool):
    rules = Rules(provider="sandbox", allow_legacy_ids=True)
    result = once(pool, m.parsed(m.work(incidentId="i" * 800, eventId="long")), rules=rules)
    assert (result.outcome, result.code) == (Outcome.REFUSED, Refusal.NON_UUID_ID)
    payment_id = create(pool)
    approve(pool, payment_id)
    start(pool, payment_id)
    assert pay(pool, Declined("c" * 100, "long")).status == "failed"


def test_a_payment_id_that_is_none_is_refused_at_once(pool: Pool):
    result = once(pool, fresh(m.parsed(m.command("ApprovePayment", paymentId="not-a-uuid"))))
    assert (result.outcome, result.code) == (Outcome.REFUSED, Refusal.INVALID_FIELD)


def test_personal_text_lies_beside_the_chain_and_not_in_it(pool: Pool):
    canary = "canary: the driver's phone is 555-0100"
    twice(pool, m.parsed(m.work(notes=canary)))
    [note] = rows(pool, "SELECT note, salt FROM payment_audit_notes")
    assert note["note"] == canary
    assert len(note["salt"]) == 32
    [link] = rows(pool, "SELECT note_digest, data::text AS data FROM payment_audit_log")
    assert link["note_digest"] is not None
    everything_else = str(rows(pool, "SELECT payload::text AS payload FROM outbox")) + link["data"]
    assert "canary" not in everything_else


def test_what_follows_from_a_message_is_sent_in_the_trace_that_it_is_handled_in(pool: Pool):
    work = m.parsed(m.work(metadata={"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}))
    created = twice(pool, work)
    approval = m.parsed(m.command("ApprovePayment", paymentId=str(created.payment_id)))
    twice(pool, approval)
    refused = m.parsed(m.command("RejectPayment", 2, paymentId=str(created.payment_id), reason="late"))
    twice(pool, refused)
    sent = {
        row["detail_type"]: (row["traceparent"], row["payload"]["traceparent"])
        for row in rows(pool, "SELECT detail_type, traceparent, payload FROM outbox")
    }
    traces = {
        name: (found.cause.trace.traceparent,) * 2
        for name, found in _followed(work, approval, refused)
        if found.cause.trace
    }
    assert sent == traces
    assert sent["PaymentCreated"][0].startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")


def _followed(work: Parsed, approval: Parsed, refused: Parsed) -> list[tuple[str, Parsed]]:
    return [
        ("PaymentCreated", work),
        ("ApprovalRequest", work),
        ("PaymentApproved", approval),
        ("ProcessPayment", approval),
        ("PaymentCommandRejected", refused),
    ]
