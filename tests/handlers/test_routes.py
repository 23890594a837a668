"""ROUTES and DELIVERIES are total: a kind that is declared is delivered, loaded and decided."""

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from contracts import ids
from contracts.envelope import DELIVERIES, Queue
from contracts.inbound import KINDS, InboundMessage
from handlers.decisions import (
    approve_payment,
    cancel_payment,
    create_payment,
    execute_payout,
    hold_payment,
    membership_changed,
    process_payment,
    provider_event,
    reconcile_attempt,
    reject_payment,
    release_hold,
    set_approval_policy,
    vendor_account_changed,
    work_completed,
)
from handlers.routes import ROUTES
from tests.kit import messages as m

DECISIONS = {
    "WorkCompleted": work_completed,
    "CreatePayment": create_payment,
    "ApprovePayment": approve_payment,
    "RejectPayment": reject_payment,
    "CancelPayment": cancel_payment,
    "HoldPayment": hold_payment,
    "ReleaseHold": release_hold,
    "SetApprovalPolicy": set_approval_policy,
    "MembershipChanged": membership_changed,
    "ProcessPayment": process_payment,
    "VendorAccountChanged": vendor_account_changed,
    "ExecutePayout": execute_payout,
    "ReconcileAttempt": reconcile_attempt,
    "ProviderEvent": provider_event,
}

WORK_PAYMENT = ids.payment_id(ids.work_source_key(str(m.INCIDENT), str(m.VENDOR), str(m.EVENT)))
CREATION: dict[str, Any] = {
    "incidentId": str(m.INCIDENT),
    "vendorId": str(m.VENDOR),
    "payerType": "back_office",
    "amountCents": 1,
    "lineItems": [],
}

#: A message, and the payment that it names before anything is loaded.
SUBJECTS = [
    (m.work(), WORK_PAYMENT),
    (m.command("CreatePayment", **CREATION), ids.payment_id("command:aaaaaaaa-aaaa-4aaa-8aaa-000000000001")),
    (m.command("ApprovePayment", paymentId=str(m.INCIDENT)), m.INCIDENT),
    (m.command("ApprovePayment", paymentId="no uuid"), None),
    (m.command("ExecutePayout", attemptId=str(m.INCIDENT)), None),
    (m.command("ReconcileAttempt", attemptId=str(m.INCIDENT)), None),
    (m.provider_event(), None),
    (
        m.command("VendorAccountChanged", vendorId=str(m.VENDOR), stripeAccountId="acct_1", payoutsEnabled=True),
        None,
    ),
]


def test_every_kind_has_a_route_and_nothing_else_has():
    assert set(ROUTES) == set(KINDS.values())
    assert len(set(KINDS.values())) == len(KINDS)


def test_every_kind_has_a_place_of_delivery_and_nothing_else_has():
    assert set(DELIVERIES) == set(KINDS)
    assert all(DELIVERIES.values())


def test_every_queue_delivers_something():
    assert {queue for places in DELIVERIES.values() for queue, _ in places} == set(Queue)


@pytest.mark.parametrize(("kind", "model"), KINDS.items())
def test_a_kind_is_called_what_its_model_is_called(kind: str, model: type[InboundMessage]):
    assert model.__name__ == kind


@pytest.mark.parametrize(("kind", "module"), DECISIONS.items())
def test_a_kind_is_decided_in_the_file_that_bears_its_name(kind: str, module: ModuleType):
    assert ROUTES[KINDS[kind]].decide is module.decide


def test_every_kind_has_its_own_decision():
    assert set(DECISIONS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_names_an_existing_payment_waits_for_one(kind: str):
    without = {"WorkCompleted", "CreatePayment", "SetApprovalPolicy", "MembershipChanged", "VendorAccountChanged"}
    without.add("ProviderEvent")  # it waits too, once it is known to be about a payment
    assert ROUTES[KINDS[kind]].waits is (kind not in without)


@pytest.mark.parametrize(("message", "subject"), SUBJECTS)
def test_a_message_names_its_payment_as_far_as_it_can_be_told(message: dict[str, Any], subject: object):
    parsed = m.parsed(message)
    assert ROUTES[type(parsed.message)].subject(parsed.message, parsed.cause) == subject


def test_an_event_of_the_providers_is_about_what_its_object_turned_out_to_be_about():
    parsed = m.parsed(m.provider_event())
    found = replace(parsed.cause, about=m.INCIDENT)
    assert ROUTES[type(parsed.message)].subject(parsed.message, found) == m.INCIDENT
