"""The wire, sample by sample: what is accepted keeps its identity, what is announced keeps its shape.

`python -m tests.contracts.regenerate` writes the goldens anew; the inbound samples are written by hand.
"""

import json
import re

import pytest

from contracts.envelope import DELIVERIES, Queue
from contracts.inbound import KINDS, WorkCompleted
from contracts.outbound import (
    EVENTS,
    OUTBOUND,
    EventMessage,
    PaymentEvent,
)
from contracts.payment import PaymentRequest
from contracts.requests import Rejected, from_work
from tests.contracts import golden
from tests.kit import messages as m

BODIES = golden.inbound_samples()
WORK = sorted(name for name in BODIES if golden.expected_kind(name) == "WorkCompleted")
PROVIDERS = sorted(name for name in BODIES if golden.expected_kind(name) == "ProviderEvent")
GOLDENS = json.loads(golden.GOLDEN.read_text())
MESSAGES = golden.outbound_samples()
WRITTEN = {path.name: json.loads(path.read_text()) for path in sorted(golden.OUTBOUND.glob("*.json"))}

#: What existing consumers read (payments.md §1.2 and the bold fields of §4.4).
CONSUMED = {
    "payment_created.json": {"createdAt"},
    "payment_approved.json": {"paymentId", "incidentId", "vendorId", "amountCents", "approvedBy", "approvedAt"},
    "payment_completed.json": {"paymentId", "incidentId", "vendorId", "amountCents", "completedAt"},
    "payment_failed.json": {"reason", "failedAt"},
    "payment_reversed.json": {"amountReversedCents", "fullyReversed"},
    "work_completed_rejected.json": {"incidentId", "vendorId", "code"},
    "payment_command_rejected.json": {
        "commandId",
        "command",
        "paymentId",
        "code",
        "message",
        "currentStatus",
        "currentVersion",
    },
    "approval_request.json": {
        "paymentId",
        "incidentId",
        "vendorId",
        "amountCents",
        "createdAt",
        "priority",
        "reason",
    },
}
TRACE = {"eventId", "timestamp", "version", "correlationId", "causationId"}
ABOUT = {
    "paymentId",
    "incidentId",
    "vendorId",
    "driverId",
    "companyId",
    "amountCents",
    "currency",
    "payerType",
    "status",
    "paymentVersion",
}

#: Every producer's shape of finished work, and the total that it asks for.
TOTALS = {
    "work_completed_both_shapes.json": 20000,
    "work_completed_driver_ic.json": 6500,
    "work_completed_flat_service_type.json": 20000,
    "work_completed_integral_decimals.json": 13000,
    "work_completed_line_items_unit_price.json": 20000,
    "work_completed_line_items_unit_price_cents.json": 20000,
    "work_completed_pricing.json": 15000,
    "work_completed_pricing_additional_charges.json": 30000,
    "work_completed_source_incident_service.json": 20000,
    "work_completed_source_incident_svc.json": 20000,
    "work_completed_without_base_fields.json": 10800,
    "work_completed_without_price.json": "missing_pricing",
}


@pytest.mark.parametrize("name", BODIES)
def test_an_inbound_sample_keeps_its_kind_its_key_and_its_fingerprint(name: str):
    read = golden.read(name, BODIES[name])
    assert golden.summary(read) == GOLDENS[name]
    assert read.cause.kind == golden.expected_kind(name)
    assert type(read.message) is KINDS[read.cause.kind]


def test_every_golden_has_its_sample():
    assert set(GOLDENS) == set(BODIES)


def test_every_kind_has_a_sample_on_every_queue_that_it_is_taken_from():
    seen = {(golden.expected_kind(name), golden.home(name)) for name in BODIES}
    assert seen == {(kind, queue) for kind, places in DELIVERIES.items() for queue, _ in places}


def test_every_source_of_work_and_of_the_providers_events_has_a_sample():
    assert {json.loads(BODIES[name])["source"] for name in WORK} == m.SOURCES
    assert {json.loads(BODIES[name])["source"] for name in PROVIDERS} == m.PROVIDER_SOURCES


def test_work_without_an_event_id_is_known_by_its_envelope():
    body = BODIES["work_completed_without_base_fields.json"]
    key = golden.read("work_completed_without_base_fields.json", body).cause.message_key
    assert key == f"eb:{json.loads(body)['id']}"


@pytest.mark.parametrize("name", PROVIDERS)
def test_an_event_of_the_providers_is_known_by_its_own_id_whatever_its_detail_type_says(name: str):
    sample = json.loads(BODIES[name])
    found = golden.read(name, BODIES[name]).cause
    assert (found.kind, found.message_key) == ("ProviderEvent", sample["detail"]["id"])
    assert sample["detail-type"] == sample["detail"]["type"]
    again = json.dumps({**sample, "id": "another delivery", "time": "2026-03-09T00:00:00Z"})
    assert golden.read(name, again).cause == found


@pytest.mark.parametrize("name", WORK)
def test_every_shape_of_work_asks_for_its_total_or_is_refused_for_its_reason(name: str):
    message = golden.read(name, BODIES[name]).message
    assert isinstance(message, WorkCompleted)
    request = from_work(message, allow_legacy_ids=True)
    found = request.money.amount_cents if isinstance(request, PaymentRequest) else request.code
    assert found == TOTALS[name]


@pytest.mark.parametrize("name", WORK)
def test_legacy_ids_are_refused_unless_they_are_allowed(name: str):
    message = golden.read(name, BODIES[name]).message
    assert isinstance(message, WorkCompleted)
    refused = from_work(message, allow_legacy_ids=False)
    legacy = isinstance(refused, Rejected) and refused.code == "non_uuid_id"
    assert legacy is message.incident_id.startswith("test-")


@pytest.mark.parametrize("name", MESSAGES)
def test_an_outbound_sample_is_what_its_model_writes_today(name: str):
    assert WRITTEN[name] == MESSAGES[name].wire()


def test_every_event_and_every_order_has_a_sample_and_no_sample_is_left_over():
    assert {type(message) for message in MESSAGES.values()} == set(OUTBOUND)
    assert set(WRITTEN) == {f"{golden.snake(kind.__name__)}.json" for kind in OUTBOUND}


@pytest.mark.parametrize("name", WRITTEN)
def test_an_outbound_sample_has_camel_case_names_only(name: str):
    assert [field for field in _names(WRITTEN[name]) if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", field)] == []


@pytest.mark.parametrize("name", CONSUMED)
def test_an_outbound_sample_has_what_existing_consumers_read(name: str):
    assert {field for field in CONSUMED[name] if WRITTEN[name].get(field) is not None} == CONSUMED[name]


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_says_what_it_follows_from_and_where_its_payment_stands(event: type[EventMessage]):
    sample = WRITTEN[f"{golden.snake(event.__name__)}.json"]
    common = TRACE | ABOUT if issubclass(event, PaymentEvent) else TRACE
    assert common - set(sample) == set()


def test_the_approvals_in_an_announcement_say_who_on_which_level_and_when():
    [approval] = WRITTEN["payment_approved.json"]["approvals"]
    assert set(approval) == {"approverId", "level", "at"}


def test_a_failure_says_its_reason_under_both_of_its_names():
    sample = WRITTEN["payment_failed.json"]
    assert sample["failedReason"] == sample["reason"]


@pytest.mark.parametrize(
    "name", ["process_payment_order.json", "execute_payout_order.json", "reconcile_attempt_order.json"]
)
def test_an_order_to_ourselves_is_a_message_that_we_take(name: str):
    order = MESSAGES[name]
    taken = m.parsed(WRITTEN[name], queue=Queue.PAYOUTS)
    assert (taken.cause.kind, taken.cause.message_key) == (order.kind, str(order.identity))
    assert taken.cause.correlation_id == "incident-4711"


def test_the_messages_that_are_no_orders_know_their_kind_and_identity():
    assert MESSAGES["payment_created.json"].kind == "PaymentCreated"
    assert str(MESSAGES["payment_created.json"].identity) == WRITTEN["payment_created.json"]["eventId"]
    assert MESSAGES["approval_request.json"].kind == "ApprovalRequest"
    assert str(MESSAGES["approval_request.json"].identity) == "bdf6cd79-e98a-5626-bf4d-fd958b0e324f"


def _names(value: object) -> list[str]:
    match value:
        case dict():
            return [*value, *(name for inner in value.values() for name in _names(inner))]
        case list():
            return [name for inner in value for name in _names(inner)]
        case _:
            return []
