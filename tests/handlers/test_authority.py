"""Whose word a message is, through the funnel: proof, sender, age, membership; what is denied is on record."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts import ids
from contracts.chain import verify
from contracts.inbound import MembershipChanged
from contracts.outcome import Outcome
from contracts.payment import Actor, ActorType, Role
from contracts.proof import Proof, ProofFlaw, Unproven
from contracts.refusals import Refusal
from handlers.apply import Result, apply
from handlers.decision import Facts
from handlers.decisions import membership_changed
from store import chains, db
from store.db import Pool, Transient
from tests.handlers.proving import (
    APP,
    DIGEST,
    DIRECTORY,
    OPERATOR,
    RULES,
    SERVICE,
    TOKEN,
    accesses,
    approval,
    judged,
    order,
    person,
    told,
)
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import fresh, once, rows
from tests.kit.proofs import member


def test_a_proven_member_approves_and_the_body_says_nothing_about_role_or_company(pool: Pool, payment: UUID):
    wrong = m.dispatcher(role="vendor", companyId=str(m.OTHER_COMPANY))
    assert judged(pool, approval(payment, actor=wrong)).outcome is Outcome.APPLIED
    [row] = rows(pool, "SELECT approver_id, level, role FROM payment_approvals")
    assert row == {"approver_id": m.DISPATCHER, "level": 1, "role": "dispatcher"}
    assert accesses(pool) == []


def test_a_role_that_the_body_claims_is_none(pool: Pool, payment: UUID):
    stranger = uuid4()
    claimed = m.admin(id=str(stranger))
    result = judged(pool, approval(payment, actor=claimed), person(datetime.now(UTC), stranger, ("admin",)))
    assert result.code is Refusal.FORBIDDEN_ROLE


UNPROVEN = [
    ("no token", None, APP, Refusal.UNAUTHENTICATED),
    ("a token that proves nobody", Unproven(ProofFlaw.SIGNATURE), APP, Refusal.UNAUTHENTICATED),
    ("another sender", ..., "AROASOMEBODY", Refusal.FORBIDDEN_SENDER),
    ("no sender", ..., None, Refusal.FORBIDDEN_SENDER),
    ("the directory's sender with somebody's token", ..., DIRECTORY, Refusal.FORBIDDEN_SENDER),
    ("the directory without a token", None, DIRECTORY, Refusal.UNAUTHENTICATED),
    ("an operator without a token", None, OPERATOR, Refusal.UNAUTHENTICATED),
    ("a token of nobody from nowhere", Unproven(ProofFlaw.KEY), None, Refusal.UNAUTHENTICATED),
]


@pytest.mark.parametrize(("name", "who", "sender", "code"), UNPROVEN, ids=[row[0] for row in UNPROVEN])
def test_who_proves_nothing_is_turned_away_on_record(
    pool: Pool, payment: UUID, name: str, who: Any, sender: Any, code: Refusal
):
    parsed = approval(payment)
    result = judged(pool, parsed, who, sender)
    assert (result.outcome, result.code) == (Outcome.REFUSED, code)
    [access] = accesses(pool)
    assert (access["operation"], access["decision"], access["code"]) == ("ApprovePayment", "denied", code)
    assert (access["object_id"], access["sender"], access["message_key"]) == (payment, sender, parsed.cause.message_key)
    [event] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'PaymentCommandRejected'")
    assert (event["payload"]["code"], event["payload"]["commandId"]) == (code, parsed.cause.message_key)
    assert event["payload"]["currentStatus"] is None, "who proves nothing learns nothing"


def test_who_is_turned_away_waits_for_no_lock(pool: Pool, payment: UUID):
    with db.transaction(pool) as tx:
        tx.ask("SELECT 1 FROM payments WHERE payment_id = %(id)s FOR UPDATE", {"id": payment}).value()
        assert judged(pool, approval(payment), None).code is Refusal.UNAUTHENTICATED


def test_somebody_elses_token_on_ones_own_command_proves_nothing(pool: Pool, payment: UUID):
    other = person(datetime.now(UTC), uuid4())
    assert judged(pool, approval(payment), other).code is Refusal.UNAUTHENTICATED


SKEW = RULES.token_skew
TIMES = [
    ("issued before", {"issued_at": -timedelta(minutes=10)}, None),
    ("issued just within the skew", {"issued_at": SKEW - timedelta(seconds=1)}, None),
    ("issued after it was sent", {"issued_at": SKEW + timedelta(seconds=1)}, Refusal.UNAUTHENTICATED),
    ("expired just within the skew", {"expires_at": -SKEW + timedelta(seconds=1)}, None),
    ("expired when it was sent", {"expires_at": -SKEW - timedelta(seconds=1)}, Refusal.UNAUTHENTICATED),
]


@pytest.mark.parametrize(("name", "offsets", "code"), TIMES, ids=[row[0] for row in TIMES])
def test_a_token_is_judged_at_the_time_of_sending(
    pool: Pool, payment: UUID, name: str, offsets: Any, code: Refusal | None
):
    parsed = approval(payment)
    at = parsed.cause.sent_at
    who = person(at, **{claim: at + offset for claim, offset in offsets.items()})
    assert judged(pool, parsed, who).code is code


def test_a_command_that_waited_in_its_queue_holds_although_its_token_has_expired_since(pool: Pool, payment: UUID):
    parsed = approval(payment)
    earlier = dataclasses.replace(
        parsed, cause=dataclasses.replace(parsed.cause, sent_at=datetime.now(UTC) - timedelta(hours=23))
    )
    assert judged(pool, earlier).outcome is Outcome.APPLIED


def test_a_command_that_waited_too_long_is_stale(pool: Pool, payment: UUID):
    parsed = approval(payment)
    earlier = dataclasses.replace(
        parsed, cause=dataclasses.replace(parsed.cause, sent_at=datetime.now(UTC) - timedelta(hours=25))
    )
    assert judged(pool, earlier).code is Refusal.STALE
    assert [access["code"] for access in accesses(pool)] == ["stale"]


MEMBERS = [
    ("no member", None, ("admin",), Refusal.FORBIDDEN_ROLE),
    ("disabled", {"role": Role.ADMIN, "enabled": False}, ("admin",), Refusal.FORBIDDEN_ROLE),
    ("narrowed to nothing", {"role": Role.ADMIN}, (), Refusal.FORBIDDEN_ROLE),
    ("narrowed to another group", {"role": Role.ADMIN}, ("dispatcher",), Refusal.FORBIDDEN_ROLE),
    ("elevated by a group", {"role": Role.VENDOR}, ("admin", "vendor"), Refusal.FORBIDDEN_ROLE),
    ("of two groups", {"role": Role.ADMIN}, ("dispatcher", "admin"), None),
    (
        "of another company",
        {"role": Role.DISPATCHER, "company": m.OTHER_COMPANY},
        ("dispatcher",),
        Refusal.WRONG_COMPANY,
    ),
    ("who acts for the vendor", {"role": Role.ADMIN, "vendor": m.VENDOR}, ("admin",), Refusal.SELF_APPROVAL),
]


@pytest.mark.parametrize(("name", "membership", "groups", "code"), MEMBERS, ids=[row[0] for row in MEMBERS])
def test_what_a_person_may_is_our_own_word_and_a_token_only_narrows_it(
    pool: Pool, payment: UUID, name: str, membership: Any, groups: tuple[str, ...], code: Refusal | None
):
    subject = uuid4()
    if membership:
        member(pool, subject, **membership)
    parsed = approval(payment, actor=m.dispatcher(id=str(subject)))
    assert judged(pool, parsed, person(parsed.cause.sent_at, subject, groups)).code is code
    assert [access["code"] for access in accesses(pool)] == ([code] if code else [])


def test_a_denial_keeps_of_the_token_what_it_was_and_never_the_token(pool: Pool, payment: UUID):
    stranger = uuid4()
    parsed = approval(payment, actor=m.dispatcher(id=str(stranger)))
    judged(pool, parsed, person(parsed.cause.sent_at, stranger))
    [access] = accesses(pool)
    assert access["actor_id"] == stranger
    assert access["proof"].keys() == {*TOKEN, "iat", "exp"}
    assert access["proof"].items() >= TOKEN.items()


@pytest.mark.parametrize("kind", ["ProcessPayment", "ApprovePayment", "SetApprovalPolicy", "CreatePayment"])
def test_the_directory_tells_of_members_and_of_nothing_else(pool: Pool, payment: UUID, kind: str):
    fields: dict[str, Any] = {"paymentId": str(payment)} if kind in m.ABOUT_A_PAYMENT else {}
    more: dict[str, dict[str, Any]] = {
        "SetApprovalPolicy": {"companyId": str(m.COMPANY), "tiers": []},
        "CreatePayment": {
            "incidentId": str(uuid4()),
            "vendorId": str(m.VENDOR),
            "payerType": "back_office",
            "amountCents": 1,
            "lineItems": [],
        },
    }
    parsed = fresh(m.parsed(m.command(kind, **fields, **more.get(kind, {}))))
    assert judged(pool, parsed, None, DIRECTORY).code is Refusal.UNAUTHENTICATED


def test_the_directory_tells_of_members_without_a_token_and_it_is_recorded(pool: Pool):
    subject = uuid4()
    assert judged(pool, told(subject, role="admin"), None, DIRECTORY).outcome is Outcome.APPLIED
    [row] = rows(pool, "SELECT sub, role, enabled FROM memberships")
    assert row == {"sub": subject, "role": "admin", "enabled": True}
    [access] = accesses(pool)
    assert (access["decision"], access["sender"], access["object_id"]) == ("allowed", DIRECTORY, subject)
    assert access["data"]["role"] == "admin"
    assert judged(pool, told(subject, role="admin"), None, APP).code is Refusal.UNAUTHENTICATED


def test_an_admin_sets_a_policy_and_it_is_recorded(pool: Pool):
    member(pool, m.ADMIN, Role.ADMIN)
    tiers = [{"currency": "USD", "approvers": 2}]
    body = m.command("SetApprovalPolicy", actor=m.admin(), companyId=str(m.COMPANY), tiers=tiers)
    parsed = fresh(m.parsed(body))
    assert judged(pool, parsed, person(parsed.cause.sent_at, m.ADMIN, ("admin",))).outcome is Outcome.APPLIED
    [access] = accesses(pool)
    assert (access["decision"], access["object_id"], access["actor_id"]) == ("allowed", m.COMPANY, m.ADMIN)
    made = once(pool, m.parsed(m.work()))
    [row] = rows(pool, "SELECT policy_version, required_approvals FROM payments WHERE payment_id = %s", made.payment_id)
    assert row == {"policy_version": 1, "required_approvals": 2}


def test_finished_work_needs_no_sender_of_ours(pool: Pool):
    assert judged(pool, fresh(m.parsed(m.work())), None, "AIDAEVENTBRIDGE").outcome is Outcome.APPLIED


def test_of_two_first_words_at_once_the_loser_comes_again_and_nothing_is_on_record_that_was_not_done(pool: Pool):
    subject, now = uuid4(), datetime.now(UTC)
    older, newer = told(subject, role="admin"), told(subject, role="admin", enabled=False)
    earlier = dataclasses.replace(older.cause, sent_at=now - timedelta(minutes=5))
    older = dataclasses.replace(older, cause=earlier)
    assert isinstance(older.message, MembershipChanged)
    actor = Actor(ids.SYSTEM_DIRECTORY, ActorType.SYSTEM)
    decision = membership_changed.decide(Facts(older.cause, RULES, actor=actor), older.message, now)
    assert judged(pool, newer, None, DIRECTORY).outcome is Outcome.APPLIED
    with pytest.raises(Transient), db.transaction(pool) as tx:
        apply(tx, decision, older.cause, now, proof=Proof("sqs", DIGEST, DIRECTORY), subject=None, claimed=False)
    assert judged(pool, older, None, DIRECTORY).outcome is Outcome.IGNORED
    assert [access["data"]["enabled"] for access in accesses(pool)] == [False]


def test_what_is_done_keeps_how_its_person_proved_to_be_who_they_are(pool: Pool, payment: UUID):
    judged(pool, approval(payment))
    judged(pool, order(pool), None, SERVICE)
    log = rows(pool, "SELECT action, data FROM payment_audit_log ORDER BY seq")
    assert [row["action"] for row in log if "proof" in row["data"]] == ["approved"]
    proof = log[1]["data"]["proof"]
    assert proof.keys() == {*TOKEN, "iat", "exp", "sender"}
    assert proof.items() >= {**TOKEN, "sender": APP}.items()
    with chains.snapshot(pool, payment) as found:
        [chain] = list(found)
    assert verify(chain) is None, "and it is part of the chain"


def test_a_stale_command_is_told_how_the_payment_stands(pool: Pool, payment: UUID):
    parsed = approval(payment)
    sent_at = datetime.now(UTC) - timedelta(hours=25)
    judged(pool, dataclasses.replace(parsed, cause=dataclasses.replace(parsed.cause, sent_at=sent_at)))
    [event] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'PaymentCommandRejected'")
    told = event["payload"]
    assert (told["code"], told["currentStatus"], told["currentVersion"]) == ("stale", "pending_approval", 1)


def test_with_ids_that_are_no_uuids_a_company_has_its_policy_all_the_same(pool: Pool):
    member(pool, m.ADMIN, Role.ADMIN)
    tiers = [{"currency": "USD", "approvers": 3, "roles": ["admin"]}]
    company = str(ids.legacy_uuid("company-001"))
    asked = fresh(m.parsed(m.command("SetApprovalPolicy", actor=m.admin(), companyId=company, tiers=tiers)))
    assert judged(pool, asked, person(asked.cause.sent_at, m.ADMIN, ("admin",))).outcome is Outcome.APPLIED
    rules = dataclasses.replace(RULES, allow_legacy_ids=True)
    once(pool, m.parsed(m.work(companyId="company-001")), rules=rules)
    [row] = rows(pool, "SELECT company_id::text, policy_version, required_approvals FROM payments")
    assert row == {"company_id": company, "policy_version": 1, "required_approvals": 3}


def test_who_gains_may_stop_a_payment_whose_hold_an_approval_has_lifted(pool: Pool, payment: UUID):
    insider = uuid4()
    member(pool, insider, Role.DISPATCHER, company=m.COMPANY, vendor=m.VENDOR)

    def hold(who: UUID, **fields: Any) -> Result:
        body = m.command("HoldPayment", commandId=str(uuid4()), paymentId=str(payment), reason="wait", **fields)
        asked = fresh(m.parsed({**body, "actor": m.dispatcher(id=str(who))}))
        return judged(pool, asked, person(asked.cause.sent_at, who))

    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert hold(m.DISPATCHER, until=until).outcome is Outcome.APPLIED
    assert hold(insider).code is Refusal.SELF_APPROVAL
    forge(pool, "UPDATE payments SET hold_until = now() - interval '1 second'")
    assert judged(pool, approval(payment)).status == "approved"
    assert hold(insider).outcome is Outcome.APPLIED, "the database knows that no hold stands"
    assert hold(insider, until=until).code is Refusal.SELF_APPROVAL
