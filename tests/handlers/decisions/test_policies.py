"""Approval under a policy: tiers, several approvers, a separate releaser, and payments that need nobody's approval."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts import ids
from contracts.envelope import Queue
from contracts.lifecycle import Event, Status
from contracts.outbound import PaymentApprovalRecorded, PaymentApproved, PaymentCreated
from contracts.payment import Actor, ActorType, Approval, Payment, Role
from contracts.policy import Policy, Tier
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Enact, Move, Record
from tests.handlers.decisions import ground as g
from tests.kit import messages as m

BOTH = (Role.DISPATCHER, Role.ADMIN)
POLICY = Policy(
    m.COMPANY,
    3,
    (Tier("USD", 15_000, 1, BOTH), Tier("USD", None, 2, BOTH), Tier("EUR", None, 3, (Role.ADMIN,))),
    separate_releaser=True,
    created_by=m.ADMIN,
    created_at=g.EARLIER,
    as_of=g.EARLIER,
)
FIRST = Approval(g.OTHER, 1, g.EARLIER)


def approve(payment: Payment, *approvals: Approval, actor: Actor | None = None) -> Decision:
    known: dict[str, Any] = {"actor": actor} if actor else {}
    return g.decided(g.command("ApprovePayment"), payment=payment, approvals=approvals, **known)


def created(policy: Policy | None = None, **work: Any) -> Move:
    decision = g.decided(m.work(**work), policy=policy)
    assert isinstance(decision, Move)
    return decision


# -- what is frozen


@pytest.mark.parametrize(
    ("price", "currency", "approvers", "roles"),
    [
        (15_000, "USD", 1, BOTH),
        (15_001, "USD", 2, BOTH),
        (1, "EUR", 3, (Role.ADMIN,)),
        (1, "CHF", 3, (Role.ADMIN,)),  # a currency without a tier takes the strictest of all
    ],
)
def test_what_a_payments_approval_takes_is_frozen_when_it_is_created(
    price: int, currency: str, approvers: int, roles: Any
):
    line = {"description": "Tow", "quantity": 1, "unitPriceCents": price}
    payment = created(POLICY, lineItems=[line], currency=currency).after
    assert (payment.policy_version, payment.required_approvals, payment.approver_roles) == (3, approvers, roles)
    assert payment.separate_releaser


def test_a_creation_under_a_policy_says_so_in_the_log_and_to_the_world():
    line = {"description": "Tow", "quantity": 1, "unitPriceCents": 15_001}
    decision = created(POLICY, lineItems=[line])
    assert (decision.data["policyVersion"], decision.data["requiredApprovals"]) == (3, 2)
    [event] = g.announced(decision)
    assert isinstance(event, PaymentCreated)
    assert event.required_approvals == 2


def test_without_a_policy_one_dispatcher_or_admin_suffices():
    payment = created().after
    assert (payment.policy_version, payment.required_approvals, payment.approver_roles) == (None, 1, BOTH)
    assert not payment.separate_releaser


def test_a_payment_that_the_driver_pays_is_approved_by_the_system_at_once_whatever_the_policy():
    decision = created(POLICY, payerType="driver_ic", driverId=str(m.DRIVER))
    assert g.posted(decision) == [("PaymentCreated", None)], "nobody is asked"
    approval = decision.then
    assert approval is not None
    after = approval.after
    assert (after.status, after.version, after.approved_by, after.approved_at) == (Status.APPROVED, 2, None, g.NOW)
    assert (after.policy_version, after.separate_releaser) == (None, False)
    assert approval.actor == Actor(ids.SYSTEM_INTAKE, ActorType.SYSTEM)
    assert approval.data == {"policy": "driver_authorised"}
    assert [post.message.kind for post in approval.posts] == ["PaymentApproved", "ProcessPayment"]
    event = approval.posts[0].message
    assert isinstance(event, PaymentApproved)
    assert (event.approved_by, event.approvals, event.payment_version) == (None, (), 2)


# -- several approvers


def test_an_approval_of_several_is_recorded_and_orders_nothing():
    payment = g.payment(required_approvals=2, policy_version=3)
    step = g.stepped(approve(payment), payment)
    assert isinstance(step, Record)
    assert step.event is Event.APPROVAL_RECORDED
    assert (step.after.status, step.after.approved_by) == (Status.PENDING_APPROVAL, None)
    assert step.approval == Approval(m.DISPATCHER, 1, g.NOW)
    assert g.posted(step) == [("PaymentApprovalRecorded", None)]
    [event] = g.announced(step)
    assert isinstance(event, PaymentApprovalRecorded)
    assert (event.approved_by, event.required_approvals, event.policy_version) == (m.DISPATCHER, 2, 3)
    assert [one.level for one in event.approvals] == [1]


def test_the_last_approval_approves_names_every_approver_and_orders_the_payout():
    payment = g.payment(required_approvals=2, policy_version=3)
    step = g.stepped(approve(payment, FIRST), payment)
    assert (step.event, step.after.approved_by) == (Event.APPROVED, m.DISPATCHER)
    assert step.approval == Approval(m.DISPATCHER, 2, g.NOW)
    assert g.posted(step) == [("PaymentApproved", None), ("ProcessPayment", None)]
    [event] = g.announced(step)
    assert isinstance(event, PaymentApproved)
    assert [(one.approver_id, one.level) for one in event.approvals] == [(g.OTHER, 1), (m.DISPATCHER, 2)]
    assert event.policy_version == 3


def test_a_person_counts_once():
    payment = g.payment(required_approvals=2)
    again = approve(payment, Approval(m.DISPATCHER, 1, g.EARLIER))
    assert g.told(again, payment) == g.Told(Refusal.ALREADY_DECIDED, None)


def test_whoever_has_counted_may_say_it_again_once_it_is_approved():
    payment = g.payment(Status.APPROVED)
    assert isinstance(approve(payment, Approval(m.DISPATCHER, 1, g.EARLIER), Approval(g.OTHER, 2, g.EARLIER)), Absorb)


def test_an_approval_takes_a_role_that_the_policy_asks_for():
    payment = g.payment(approver_roles=(Role.ADMIN,))
    assert g.told(approve(payment), payment) == g.Told(Refusal.FORBIDDEN_ROLE, None)
    admin = Actor(m.ADMIN, ActorType.ADMIN, Role.ADMIN)
    assert g.stepped(approve(payment, actor=admin), payment).after.status is Status.APPROVED


@pytest.mark.parametrize("role", BOTH)
def test_nobody_approves_for_the_vendor_that_they_act_for(role: Role):
    payment = g.payment()
    actor = Actor(m.DISPATCHER, ActorType.USER, role, m.COMPANY, m.VENDOR)
    assert g.told(approve(payment, actor=actor), payment) == g.Told(Refusal.SELF_APPROVAL, None)


def test_a_hold_that_has_ended_is_lifted_by_the_approval():
    payment = g.payment(on_hold=True, hold_until=g.NOW - timedelta(seconds=1))
    after = g.stepped(approve(payment), payment).after
    assert (after.status, after.on_hold, after.hold_until) == (Status.APPROVED, False, None)
    still = replace(payment, hold_until=g.NOW + timedelta(seconds=1))
    assert g.told(approve(still), still) == g.Told(Refusal.ON_HOLD, None)


# -- a separate releaser


def process(payment: Payment, queue: Queue, *approvals: Approval, actor: Actor | None = None) -> Decision:
    known: dict[str, Any] = {"actor": actor} if actor else {}
    return g.decided(g.command("ProcessPayment"), queue=queue, payment=payment, approvals=approvals, **known)


def test_an_approval_under_a_separate_releaser_orders_no_payout():
    payment = g.payment(separate_releaser=True)
    assert g.posted(g.stepped(approve(payment), payment)) == [("PaymentApproved", None)]


def test_what_a_person_has_to_release_is_not_paid_by_the_services_own_order():
    payment = g.payment(Status.APPROVED, separate_releaser=True)
    assert g.told(process(payment, Queue.PAYOUTS), payment) == g.Told(Refusal.FORBIDDEN_ROLE, None)


def test_a_releaser_is_somebody_who_has_not_approved():
    payment = g.payment(Status.APPROVED, separate_releaser=True)
    own = process(payment, Queue.COMMANDS, Approval(m.DISPATCHER, 1, g.EARLIER))
    assert g.told(own, payment) == g.Told(Refusal.SELF_APPROVAL, None)
    step = g.stepped(process(payment, Queue.COMMANDS, FIRST), payment)
    assert (step.after.status, step.actor.id) == (Status.PROCESSING, m.DISPATCHER)


def test_without_that_an_approver_may_release_too():
    payment = g.payment(Status.APPROVED)
    own = process(payment, Queue.COMMANDS, Approval(m.DISPATCHER, 1, g.EARLIER))
    assert g.stepped(own, payment).after.status is Status.PROCESSING


def test_nobody_releases_what_they_are_paid_by():
    payment = g.payment(Status.APPROVED)
    actor = Actor(m.DISPATCHER, ActorType.USER, Role.DISPATCHER, m.COMPANY, m.VENDOR)
    paid = process(payment, Queue.COMMANDS, actor=actor)
    assert g.told(paid, payment) == g.Told(Refusal.SELF_APPROVAL, None)


# -- setting a policy

TIERS: list[dict[str, Any]] = [
    {"upToCents": 50_000, "currency": "usd", "approvers": 1},
    {"currency": "USD", "approvers": 2, "roles": ["admin"]},
]


def set_policy(policy: Policy | None = None, **fields: Any) -> Decision:
    body = m.command("SetApprovalPolicy", **{"actor": m.admin(), "companyId": str(m.COMPANY), "tiers": TIERS, **fields})
    return g.decided(body, policy=policy)


def test_an_admin_sets_the_next_version():
    decision = set_policy(POLICY, separateReleaser=True, expectedVersion=3)
    assert isinstance(decision, Enact)
    assert decision.what == Policy(
        m.COMPANY,
        4,
        (Tier("USD", 50_000, 1, BOTH), Tier("USD", None, 2, (Role.ADMIN,))),
        separate_releaser=True,
        created_by=m.ADMIN,
        created_at=g.NOW,
        as_of=g.NOW,
    )
    assert (decision.subject, decision.actor.id) == (m.COMPANY, m.ADMIN)
    first = set_policy()
    assert isinstance(first, Enact)
    assert isinstance(first.what, Policy)
    assert first.what.version == 1


def tier(**fields: Any) -> list[dict[str, Any]]:
    return [{"currency": "USD", "approvers": 1, **fields}]


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"companyId": "acme"}, Refusal.NON_UUID_ID, "companyId"),
        ({"tiers": []}, Refusal.INVALID_FIELD, "tiers"),
        ({"tiers": tier() * 51}, Refusal.INVALID_FIELD, "tiers"),
        ({"tiers": tier(approvers=0)}, Refusal.INVALID_FIELD, "tiers.0.approvers"),
        ({"tiers": tier(approvers=6)}, Refusal.INVALID_FIELD, "tiers.0.approvers"),
        ({"tiers": tier(roles=[])}, Refusal.INVALID_FIELD, "tiers.0.roles"),
        ({"tiers": tier(roles=["vendor"])}, Refusal.INVALID_FIELD, "tiers.0.roles"),
        ({"tiers": tier(roles=["dispatcher", "owner"])}, Refusal.INVALID_FIELD, "tiers.0.roles"),
        ({"tiers": tier(currency="XXX")}, Refusal.UNSUPPORTED_CURRENCY, "tiers.0.currency"),
        ({"tiers": tier(upToCents=0.5)}, Refusal.NON_INTEGER_MINOR_UNITS, "tiers.0.upToCents"),
        ({"tiers": tier(upToCents=-1)}, Refusal.NEGATIVE_AMOUNT, "tiers.0.upToCents"),
        ({"tiers": tier(upToCents=50_000)}, Refusal.INVALID_FIELD, "tiers.upToCents"),  # and above that?
        ({"tiers": tier() + tier()}, Refusal.INVALID_FIELD, "tiers.upToCents"),
        ({"tiers": tier(upToCents=2) + tier(upToCents=1) + tier()}, Refusal.INVALID_FIELD, "tiers.upToCents"),
        ({"tiers": tier(upToCents=2) + tier(upToCents=2) + tier()}, Refusal.INVALID_FIELD, "tiers.upToCents"),
        ({"actor": m.dispatcher()}, Refusal.FORBIDDEN_ROLE, None),
        ({"expectedVersion": 2}, Refusal.VERSION_CONFLICT, "expectedVersion"),
    ],
)
def test_a_policy_that_does_not_add_up_is_refused_with_its_field(
    fields: dict[str, Any], code: Refusal, field: str | None
):
    assert g.told(set_policy(POLICY, **fields), None) == g.Told(code, field)


def test_a_policy_that_was_overtaken_by_a_later_one_is_refused():
    later = replace(POLICY, as_of=g.NOW + timedelta(seconds=1))
    assert g.told(set_policy(later), None) == g.Told(Refusal.VERSION_CONFLICT, None)
