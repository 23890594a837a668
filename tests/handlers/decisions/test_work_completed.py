"""WorkCompleted: one payment per finished job, whatever it is called, or a reason that its producer can act on."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from contracts import ids
from contracts.inbound import WorkCompleted
from contracts.lifecycle import Event
from contracts.outbound import PaymentConflictDetected, PaymentCreated, WorkCompletedRejected
from contracts.payment import Actor, ActorType, LineItem, Payment, Source
from contracts.refusals import MESSAGES, Refusal
from handlers.decision import Absorb, Decision, Move, Refuse, Rules
from handlers.decisions import work_completed
from tests.handlers.decisions import ground as g
from tests.kit import messages as m

SKEW = Rules().clock_skew
TICK = timedelta(microseconds=1)

#: When the work is said to have been completed, and whether that is too far ahead.
TIMES = [
    (g.NOW - timedelta(days=365), None),
    (g.NOW, None),
    (g.NOW + SKEW - TICK, None),
    (g.NOW + SKEW, None),
    (g.NOW + SKEW + TICK, Refusal.COMPLETED_IN_FUTURE),
    (g.NOW + timedelta(days=1), Refusal.COMPLETED_IN_FUTURE),
]

REFUSED = [
    ({"lineItems": ...}, Refusal.MISSING_PRICING, "pricing"),
    ({"lineItems": [{"description": "Tow", "unitPriceCents": 350.5}]}, Refusal.NON_INTEGER_MINOR_UNITS, "lineItems.0"),
    ({"lineItems": [{"description": "Tow", "unitPriceCents": -1}]}, Refusal.NEGATIVE_AMOUNT, "lineItems.0"),
    ({"lineItems": [{"description": "Tow", "unitPriceCents": 0}]}, Refusal.AMOUNT_OUT_OF_RANGE, "lineItems"),
    ({"totalCents": 14999}, Refusal.SUM_MISMATCH, "totalCents"),
    ({"currency": "XXX"}, Refusal.UNSUPPORTED_CURRENCY, "currency"),
    ({"vendorId": "vendor-7"}, Refusal.NON_UUID_ID, "vendorId"),
    ({"payerType": "insurer"}, Refusal.INVALID_FIELD, "payerType"),
]


def report(payment: Payment | None = None, *, rules: Rules | None = None, **fields: Any) -> Decision:
    return g.decided(m.work(**fields), payment=payment, rules=rules or Rules())


def rejected(decision: Decision) -> WorkCompletedRejected:
    assert isinstance(decision, Refuse)
    assert isinstance(decision.event, WorkCompletedRejected)
    assert (decision.code, decision.payment) == (decision.event.code, None)
    assert decision.event.message == MESSAGES[decision.code]
    return decision.event


def test_finished_work_becomes_a_payment_that_waits_for_approval():
    decision = report(notes="By the red barn.")
    assert isinstance(decision, Move)
    assert decision.before is None
    assert decision.after == g.payment(
        request_fingerprint=m.parsed(m.work()).cause.fingerprint,
        created_at=g.NOW,
        updated_at=g.NOW,
        metadata={"workCompletedAt": "2026-03-01T12:00:00.000000Z"},
    )
    assert decision.lines == (
        LineItem(1, "Tire Replacement - Base Service", 1, 12000),
        LineItem(2, "Mileage Charge", 1, 3000),
    )
    assert decision.actor == Actor(ids.SYSTEM_INTAKE, ActorType.SYSTEM)
    assert (decision.event, decision.note) == (Event.CREATED, "By the red barn.")
    assert decision.data == {"source": Source.WORK_COMPLETED, "lineItemCount": 2, "requiredApprovals": 1}


def test_finished_work_is_announced_and_asks_for_approval_once():
    decision = report(correlationId="incident-9")
    assert isinstance(decision, Move)
    assert g.posted(decision) == [("PaymentCreated", None), ("ApprovalRequest", None)]
    [event] = g.announced(decision)
    assert isinstance(event, PaymentCreated)
    assert (event.correlation_id, event.causation_id) == ("incident-9", str(m.EVENT))
    assert (event.line_item_count, event.created_at) == (2, g.NOW)


def test_work_has_its_payments_id_from_incident_vendor_and_event():
    decision = report()
    assert isinstance(decision, Move)
    assert decision.after.source_key == f"work:{m.INCIDENT}:{m.VENDOR}:{m.EVENT}"
    assert decision.after.payment_id == ids.payment_id(decision.after.source_key)


def test_work_without_an_event_id_has_its_payments_id_from_its_content():
    parsed = m.parsed(m.work(eventId=...))
    decision = g.decide(parsed)
    assert isinstance(decision, Move)
    assert decision.after.source_key == f"work:{m.INCIDENT}:{m.VENDOR}:{parsed.cause.fingerprint.hex()}"


def test_what_looks_for_the_payment_and_what_creates_it_use_the_same_key():
    parsed = m.parsed(m.work())
    decision = g.decide(parsed)
    assert isinstance(decision, Move)
    assert isinstance(parsed.message, WorkCompleted)
    assert work_completed.source_key(parsed.message, parsed.cause.fingerprint) == decision.after.source_key


@pytest.mark.parametrize(("completed_at", "refusal"), TIMES)
def test_completion_may_lie_ahead_by_the_skew_of_a_clock_and_no_more(completed_at: datetime, refusal: Refusal | None):
    decision = report(completedAt=completed_at.isoformat())
    if refusal is None:
        assert isinstance(decision, Move)
    else:
        assert (rejected(decision).code, rejected(decision).field) == (refusal, "completedAt")


def test_the_skew_is_a_setting_and_is_counted_from_our_time():
    rules = Rules(clock_skew=timedelta(seconds=1))
    ahead = m.work(completedAt=(g.NOW + timedelta(seconds=2)).isoformat())
    assert rejected(g.decided(ahead, rules=rules)).code is Refusal.COMPLETED_IN_FUTURE
    assert isinstance(g.decided(ahead, rules=rules, now=g.NOW + timedelta(seconds=1)), Move)


@pytest.mark.parametrize(("fields", "code", "field"), REFUSED)
def test_work_that_cannot_be_paid_is_refused_and_its_producer_told(fields: dict[str, Any], code: Refusal, field: str):
    event = rejected(report(**fields))
    assert (event.code, event.field) == (code, field)
    expected = m.work(**fields)
    assert (event.incident_id, event.vendor_id) == (expected["incidentId"], expected["vendorId"])
    fingerprint = m.parsed(expected).cause.fingerprint
    assert event.event_id == ids.notice_id(str(m.EVENT), fingerprint, "WorkCompletedRejected")


@pytest.mark.parametrize(("fields", "code", "field"), REFUSED)
def test_a_flaw_of_a_field_is_told_before_a_wrong_clock(fields: dict[str, Any], code: Refusal, field: str):
    late = (g.NOW + timedelta(days=1)).isoformat()
    event = rejected(report(**fields, completedAt=late))
    assert (event.code, event.field) == (code, field)


def test_a_producers_words_for_its_ids_are_repeated_only_in_part():
    event = rejected(report(incidentId="i" * 1000, vendorId="v" * 1000))
    assert (event.incident_id, event.vendor_id) == ("i" * 64, "v" * 64)


def test_legacy_ids_are_mapped_where_the_rules_allow_it():
    decision = report(rules=Rules(allow_legacy_ids=True), incidentId="test-incident-001")
    assert isinstance(decision, Move)
    assert decision.after.incident_id == ids.derive("legacy", "test-incident-001")
    assert rejected(report(incidentId="test-incident-001")).code is Refusal.NON_UUID_ID


def test_the_same_work_under_another_event_is_absorbed():
    known = g.payment(request_fingerprint=m.parsed(m.work()).cause.fingerprint)
    assert report(known, eventId="another-event") == Absorb(known)


def test_other_content_for_known_work_is_a_conflict_and_names_the_payment():
    known = g.payment(request_fingerprint=m.parsed(m.work()).cause.fingerprint)
    decision = report(known, eventId="another-event", currency="EUR")
    assert isinstance(decision, Refuse)
    assert (decision.code, decision.payment) == (Refusal.PAYLOAD_CONFLICT, known)
    event = decision.event
    assert isinstance(event, PaymentConflictDetected)
    assert (event.payment_id, event.message_key, event.message_kind) == (
        known.payment_id,
        "another-event",
        "WorkCompleted",
    )


def test_a_repeated_conflict_is_announced_under_the_same_id_and_another_one_is_not():
    known = g.payment(request_fingerprint=bytes(32))
    first, again, other = (report(known, currency=currency) for currency in ("EUR", "EUR", "CHF"))
    assert isinstance(first, Refuse)
    assert isinstance(again, Refuse)
    assert isinstance(other, Refuse)
    assert first.event.identity == again.event.identity != other.event.identity
