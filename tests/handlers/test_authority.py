"""Whose word a message is, through the funnel: proof, sender, age, membership; what is denied is on record."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts import ids
from contracts.chain import verify
from contracts.envelope import Queue
from contracts.inbound import MembershipChanged, Parsed
from contracts.outcome import Outcome
from contracts.payment import Actor, ActorType, Role
from contracts.proof import Person, Proof, ProofFlaw, Unproven
from contracts.refusals import Refusal
from handlers.apply import Result, apply
from handlers.decision import Facts, Rules, Senders
from handlers.decisions import membership_changed
from handlers.process import process
from store import chains, db, failures
from store.db import Pool, Transient
from store.failures import Failure
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import fresh, once, rows
from tests.kit.proofs import member

APP, DIRECTORY, SERVICE, OPERATOR = "AROAAPP", "AROADIRECTORY", "AROASERVICE", "AROAOPERATOR"
SENDERS = Senders(
    commands=frozenset({APP}),
    memberships=frozenset({DIRECTORY}),
    payouts=frozenset({SERVICE}),
    operators=frozenset({OPERATOR}),
)
RULES = Rules(senders=SENDERS)
TOKEN = {"clientId": "client", "jti": "jti-1", "kid": "kid-1"}


def person(
    at: datetime, subject: UUID = m.DISPATCHER, groups: tuple[str, ...] = ("dispatcher",), **times: Any
) -> Person:
    usual: dict[str, Any] = {"issued_at": at - timedelta(minutes=1), "expires_at": at + timedelta(minutes=14)}
    return Person(
        subject, frozenset(groups), **{**usual, **times}, client_id="client", proof_id="jti-1", key_id="kid-1"
    )


@pytest.fixture
def payment(pool: Pool) -> UUID:
    """A payment of COMPANY; DISPATCHER is a dispatcher of it."""
    made = once(pool, m.parsed(m.work()))
    assert made.payment_id
    member(pool, m.DISPATCHER, Role.DISPATCHER, company=m.COMPANY)
    return made.payment_id


def approval(payment_id: UUID, **fields: Any) -> Parsed:
    return fresh(
        m.parsed(m.command("ApprovePayment", **{"commandId": str(uuid4()), "paymentId": str(payment_id), **fields}))
    )


def judged(pool: Pool, parsed: Parsed, who: Any = ..., sender: str | None = APP, digest: bytes = bytes(32)) -> Result:
    """Process a message that came with this proof; by default a good one of DISPATCHER's."""
    found = person(parsed.cause.sent_at) if who is ... else who
    return process(pool, parsed, RULES, Proof(f"sqs-{uuid4()}", digest, sender, found))


def accesses(pool: Pool) -> list[dict[str, Any]]:
    return rows(pool, "SELECT * FROM access_audit ORDER BY access_id")


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


def test_who_is_turned_away_does_not_use_up_the_key_that_they_name(pool: Pool, payment: UUID):
    parsed = approval(payment)
    assert judged(pool, parsed, None).code is Refusal.UNAUTHENTICATED
    assert judged(pool, parsed).outcome is Outcome.APPLIED
    assert judged(pool, parsed).outcome is Outcome.DUPLICATE
    assert judged(pool, parsed, None).code is Refusal.UNAUTHENTICATED, "a captured command is none without its token"


def test_who_is_turned_away_waits_for_no_lock(pool: Pool, payment: UUID):
    with db.transaction(pool) as tx:
        tx.ask("SELECT 1 FROM payments WHERE payment_id = %(id)s FOR UPDATE", {"id": payment}).value()
        assert judged(pool, approval(payment), None).code is Refusal.UNAUTHENTICATED


def test_a_redelivery_of_what_was_turned_away_changes_nothing(pool: Pool, payment: UUID):
    parsed, proof = approval(payment), Proof("sqs-1", bytes(32), APP)
    assert process(pool, parsed, RULES, proof).outcome is Outcome.REFUSED
    assert process(pool, parsed, RULES, proof).outcome is Outcome.DUPLICATE
    assert len(accesses(pool)) == 1


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


def failed_before(pool: Pool, queue: Queue, sent_at: datetime, digest: bytes, sender: str | None = APP) -> UUID:
    return failures.record(
        pool,
        Failure(
            queue=queue,
            sqs_message_id=f"sqs-{uuid4()}",
            kind="ApprovePayment",
            message_key="key",
            outcome=Outcome.FAULT,
            reason="test",
            detail="",
            body_bytes=1,
            body_digest=digest,
            sender=sender,
            first_sent_at=sent_at,
        ),
    )


def replayed(pool: Pool, failure_id: UUID) -> None:
    with db.transaction(pool) as tx:
        tx.send(
            "INSERT INTO failure_replays (replay_id, failure_id, actor_id, reason)"
            " VALUES (%(id)s, %(of)s, %(id)s, 'test')",
            {"id": uuid4(), "of": failure_id},
        )


DIGEST = b"d" * 32


def test_what_was_put_back_is_as_old_as_at_its_first_sending(pool: Pool, payment: UUID):
    failed_before(pool, Queue.COMMANDS, datetime.now(UTC) - timedelta(hours=25), DIGEST)
    parsed = approval(payment)
    old = person(parsed.cause.sent_at - timedelta(hours=25))
    assert judged(pool, parsed, old, digest=DIGEST).code is Refusal.STALE
    assert judged(pool, approval(payment), old, digest=b"e" * 32).code is Refusal.UNAUTHENTICATED, "another body"


def test_what_was_put_back_in_time_is_judged_at_its_first_sending(pool: Pool, payment: UUID):
    sent_at = datetime.now(UTC) - timedelta(hours=5)
    failed_before(pool, Queue.COMMANDS, sent_at, DIGEST)
    assert judged(pool, approval(payment), person(sent_at), digest=DIGEST).outcome is Outcome.APPLIED


def test_an_operator_puts_back_what_failed_here_on_record_and_nothing_else(pool: Pool, payment: UUID):
    assert judged(pool, approval(payment), sender=OPERATOR, digest=DIGEST).code is Refusal.FORBIDDEN_SENDER
    failure_id = failed_before(pool, Queue.COMMANDS, datetime.now(UTC), DIGEST)
    assert judged(pool, approval(payment), sender=OPERATOR, digest=DIGEST).code is Refusal.FORBIDDEN_SENDER
    replayed(pool, failure_id)
    assert judged(pool, approval(payment), sender=OPERATOR, digest=DIGEST).outcome is Outcome.APPLIED


def order(pool: Pool) -> Parsed:
    [row] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'ProcessPayment'")
    return fresh(m.parsed(row["payload"], queue=Queue.PAYOUTS))


@pytest.mark.parametrize("sender", [APP, DIRECTORY, OPERATOR, "AROASOMEBODY", None])
def test_nobody_but_the_service_orders_a_payout_and_who_tries_does_not_use_up_its_key(
    pool: Pool, payment: UUID, sender: Any
):
    judged(pool, approval(payment))
    assert judged(pool, order(pool), None, sender).code is Refusal.FORBIDDEN_SENDER
    assert judged(pool, order(pool), None, SERVICE).status == "processing"


def test_an_operator_puts_back_an_order_of_the_service(pool: Pool, payment: UUID):
    judged(pool, approval(payment))
    replayed(pool, failed_before(pool, Queue.PAYOUTS, datetime.now(UTC), DIGEST, SERVICE))
    assert judged(pool, order(pool), None, OPERATOR, DIGEST).status == "processing"


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


def told(sub: UUID, **fields: Any) -> Parsed:
    body = {"actor": {"id": str(ids.SYSTEM_DIRECTORY), "type": "system"}, "sub": str(sub), "enabled": True, **fields}
    return fresh(m.parsed(m.command("MembershipChanged", **{"commandId": str(uuid4()), **body})))


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


def test_an_operator_brings_no_finished_work_of_their_own(pool: Pool):
    work = fresh(m.parsed(m.work(payerType="driver_ic", driverId=str(m.DRIVER))))
    assert judged(pool, work, None, OPERATOR, DIGEST).code is Refusal.FORBIDDEN_SENDER
    assert rows(pool, "SELECT 1 FROM payments") == []
    assert [access["code"] for access in accesses(pool)] == ["forbidden_sender"]
    [told] = rows(pool, "SELECT detail_type, payload FROM outbox")
    assert (told["detail_type"], told["payload"]["code"]) == ("WorkCompletedRejected", "forbidden_sender")
    replayed(pool, failed_before(pool, Queue.EVENTS, datetime.now(UTC), DIGEST, None))
    assert judged(pool, work, None, OPERATOR, DIGEST).outcome is Outcome.APPLIED


LAUNDERED = [
    ("an approval by another sender", Queue.COMMANDS, "AROASOMEBODY"),
    ("an approval by the directory", Queue.COMMANDS, DIRECTORY),
    ("an approval of which nobody knows", Queue.COMMANDS, None),
    ("an order by an application", Queue.PAYOUTS, APP),
    ("an order of which nobody knows", Queue.PAYOUTS, None),
]


@pytest.mark.parametrize(("name", "queue", "sender"), LAUNDERED, ids=[row[0] for row in LAUNDERED])
def test_what_an_operator_puts_back_is_as_good_as_who_had_sent_it(
    pool: Pool, payment: UUID, name: str, queue: Queue, sender: str | None
):
    if queue is Queue.PAYOUTS:
        judged(pool, approval(payment))
    parsed, who = (order(pool), None) if queue is Queue.PAYOUTS else (approval(payment), ...)
    replayed(pool, failed_before(pool, queue, datetime.now(UTC), DIGEST, sender))
    assert judged(pool, parsed, who, OPERATOR, DIGEST).code is Refusal.FORBIDDEN_SENDER
    replayed(pool, failed_before(pool, queue, datetime.now(UTC), DIGEST, SERVICE if queue is Queue.PAYOUTS else APP))
    assert judged(pool, parsed, who, OPERATOR, DIGEST).outcome is Outcome.APPLIED, "the same from who may send it"


def test_a_word_of_the_directory_that_failed_is_put_back_as_what_it_was(pool: Pool):
    subject = uuid4()
    word = told(subject, role="admin", enabled=False)
    assert judged(pool, word, None, OPERATOR, DIGEST).code is Refusal.FORBIDDEN_SENDER
    replayed(pool, failed_before(pool, Queue.COMMANDS, datetime.now(UTC), DIGEST, DIRECTORY))
    assert judged(pool, word, None, OPERATOR, DIGEST).outcome is Outcome.APPLIED
    assert rows(pool, "SELECT enabled FROM memberships WHERE sub = %s", subject) == [{"enabled": False}]


def test_an_old_word_of_the_directory_that_comes_again_counts_for_nothing(pool: Pool):
    subject, days = uuid4(), timedelta(days=1)
    first = told(subject, role="admin")
    failed_before(pool, Queue.COMMANDS, datetime.now(UTC) - 2 * days, DIGEST, DIRECTORY)
    dismissal = told(subject, role="admin", enabled=False)
    earlier = dataclasses.replace(dismissal.cause, sent_at=datetime.now(UTC) - days)
    assert judged(pool, dataclasses.replace(dismissal, cause=earlier), None, DIRECTORY).outcome is Outcome.APPLIED
    assert judged(pool, first, None, DIRECTORY, DIGEST).outcome is Outcome.IGNORED, "however late its sending looks"
    assert rows(pool, "SELECT enabled FROM memberships WHERE sub = %s", subject) == [{"enabled": False}]


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


def test_a_key_of_the_services_own_cannot_be_used_up_by_whoever_derives_it(pool: Pool, payment: UUID):
    own = str(ids.process_payment_key(payment, 2, refusals=0))
    stranger, colleague = uuid4(), uuid4()
    member(pool, colleague, Role.DISPATCHER, company=m.COMPANY)
    for who in (stranger, colleague):
        body = m.command("ProcessPayment", commandId=own, paymentId=str(payment), actor=m.dispatcher(id=str(who)))
        release = fresh(m.parsed(body))
        assert judged(pool, release, person(release.cause.sent_at, who)).outcome is Outcome.REFUSED
    judged(pool, approval(payment))
    assert order(pool).cause.message_key == own
    assert judged(pool, order(pool), None, SERVICE).status == "processing"


def test_a_stale_command_is_told_how_the_payment_stands(pool: Pool, payment: UUID):
    parsed = approval(payment)
    sent_at = datetime.now(UTC) - timedelta(hours=25)
    judged(pool, dataclasses.replace(parsed, cause=dataclasses.replace(parsed.cause, sent_at=sent_at)))
    [event] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'PaymentCommandRejected'")
    told = event["payload"]
    assert (told["code"], told["currentStatus"], told["currentVersion"]) == ("stale", "pending_approval", 1)


@pytest.mark.parametrize(
    ("groups", "days_ago"), [((), 0), (("dispatcher",), 9)], ids=["no member", "with an expired token"]
)
def test_nobodys_contradiction_is_a_denial_and_no_conflict(
    pool: Pool, payment: UUID, groups: tuple[str, ...], days_ago: int
):
    good = approval(payment)
    judged(pool, good)
    stranger = uuid4()
    other = approval(payment, commandId=good.cause.message_key, actor=m.dispatcher(id=str(stranger)))
    at = other.cause.sent_at - timedelta(days=days_ago)
    code = Refusal.UNAUTHENTICATED if days_ago else Refusal.FORBIDDEN_ROLE
    assert judged(pool, other, person(at, stranger, groups)).code is code
    assert [(access["code"], access["actor_id"]) for access in accesses(pool)] == [(code, stranger)]
    assert rows(pool, "SELECT 1 FROM outbox WHERE detail_type = 'PaymentConflictDetected'") == []


def test_who_is_no_member_does_not_use_up_the_key_that_they_name(pool: Pool, payment: UUID):
    stranger, key = uuid4(), str(uuid4())
    first = approval(payment, commandId=key, actor=m.dispatcher(id=str(stranger)))
    assert judged(pool, first, person(first.cause.sent_at, stranger)).code is Refusal.FORBIDDEN_ROLE
    assert judged(pool, approval(payment, commandId=key)).outcome is Outcome.APPLIED


@pytest.mark.parametrize("flaw", list(ProofFlaw))
def test_a_verdict_outlives_the_key_that_it_was_reached_with(pool: Pool, payment: UUID, flaw: ProofFlaw):
    good = approval(payment)
    assert judged(pool, good).outcome is Outcome.APPLIED
    again = judged(pool, good, Unproven(flaw))
    outlived = flaw in {ProofFlaw.KEY, ProofFlaw.ISSUER, ProofFlaw.CLIENT, ProofFlaw.SCOPE}
    assert again.outcome is (Outcome.DUPLICATE if outlived else Outcome.REFUSED)
    other = approval(payment, commandId=good.cause.message_key, expectedVersion=1)
    assert judged(pool, other, Unproven(flaw)).code is Refusal.UNAUTHENTICATED, "other content was never judged"


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


def test_a_stale_command_of_nobody_uses_up_nothing_and_tells_nothing(pool: Pool, payment: UUID):
    stranger, key = uuid4(), str(uuid4())
    first = approval(payment, commandId=key, actor=m.dispatcher(id=str(stranger)))
    sent_at = datetime.now(UTC) - timedelta(hours=25)
    old = dataclasses.replace(first, cause=dataclasses.replace(first.cause, sent_at=sent_at))
    assert judged(pool, old, person(sent_at, stranger)).code is Refusal.FORBIDDEN_ROLE
    [event] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'PaymentCommandRejected'")
    assert event["payload"]["currentStatus"] is None
    assert judged(pool, approval(payment, commandId=key)).outcome is Outcome.APPLIED


def test_a_stale_contradiction_is_recorded_once_however_often_it_comes(pool: Pool, payment: UUID):
    good = approval(payment)
    judged(pool, good)
    other = approval(payment, commandId=good.cause.message_key, expectedVersion=1)
    sent_at = datetime.now(UTC) - timedelta(hours=25)
    old = dataclasses.replace(other, cause=dataclasses.replace(other.cause, sent_at=sent_at))
    proof = Proof("sqs-1", DIGEST, APP, person(sent_at))
    outcomes = [process(pool, old, RULES, proof).outcome for _ in range(3)]
    assert outcomes == [Outcome.REFUSED, Outcome.DUPLICATE, Outcome.DUPLICATE]
    assert [access["code"] for access in accesses(pool)] == ["stale"]


CONTRADICTORS = [
    ("a vendor", {"role": Role.VENDOR, "vendor": m.VENDOR}, "vendor", Refusal.FORBIDDEN_ROLE),
    (
        "another company's dispatcher",
        {"role": Role.DISPATCHER, "company": m.OTHER_COMPANY},
        "dispatcher",
        Refusal.WRONG_COMPANY,
    ),
    ("a colleague", {"role": Role.DISPATCHER, "company": m.COMPANY}, "dispatcher", Refusal.PAYLOAD_CONFLICT),
]


@pytest.mark.parametrize(("name", "membership", "group", "code"), CONTRADICTORS, ids=[row[0] for row in CONTRADICTORS])
def test_a_contradiction_is_a_conflict_only_of_who_may_say_such_a_thing(
    pool: Pool, payment: UUID, name: str, membership: Any, group: str, code: Refusal
):
    good, other = approval(payment), uuid4()
    judged(pool, good)
    member(pool, other, **membership)
    contradiction = approval(payment, commandId=good.cause.message_key, actor=m.dispatcher(id=str(other)))
    assert judged(pool, contradiction, person(contradiction.cause.sent_at, other, (group,))).code is code
    conflicts = rows(pool, "SELECT 1 FROM outbox WHERE detail_type = 'PaymentConflictDetected'")
    assert (len(conflicts), len(accesses(pool))) == ((1, 0) if code is Refusal.PAYLOAD_CONFLICT else (0, 1))


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
