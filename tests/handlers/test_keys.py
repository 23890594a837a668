"""Whose key it is: who proves nothing uses none up, nobody else's word contradicts, and a verdict stands."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts import ids
from contracts.outcome import Outcome
from contracts.payment import Role
from contracts.proof import Proof, ProofFlaw, Unproven
from contracts.refusals import Refusal
from handlers.process import process
from store.db import Pool
from tests.handlers.proving import (
    APP,
    DIGEST,
    DIRECTORY,
    OPERATOR,
    RULES,
    SERVICE,
    accesses,
    approval,
    judged,
    order,
    person,
)
from tests.kit import messages as m
from tests.kit.funnel import fresh, rows
from tests.kit.proofs import member


def test_who_is_turned_away_does_not_use_up_the_key_that_they_name(pool: Pool, payment: UUID):
    parsed = approval(payment)
    assert judged(pool, parsed, None).code is Refusal.UNAUTHENTICATED
    assert judged(pool, parsed).outcome is Outcome.APPLIED
    assert judged(pool, parsed).outcome is Outcome.DUPLICATE
    assert judged(pool, parsed, None).code is Refusal.UNAUTHENTICATED, "a captured command is none without its token"


def test_a_redelivery_of_what_was_turned_away_changes_nothing(pool: Pool, payment: UUID):
    parsed, proof = approval(payment), Proof("sqs-1", bytes(32), APP)
    assert process(pool, parsed, RULES, proof).outcome is Outcome.REFUSED
    assert process(pool, parsed, RULES, proof).outcome is Outcome.DUPLICATE
    assert len(accesses(pool)) == 1


@pytest.mark.parametrize("sender", [APP, DIRECTORY, OPERATOR, "AROASOMEBODY", None])
def test_nobody_but_the_service_orders_a_payout_and_who_tries_does_not_use_up_its_key(
    pool: Pool, payment: UUID, sender: Any
):
    judged(pool, approval(payment))
    assert judged(pool, order(pool), None, sender).code is Refusal.FORBIDDEN_SENDER
    assert judged(pool, order(pool), None, SERVICE).status == "processing"


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
