"""What a message did to its payment is counted: for real results, and for every result that there could be."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from contracts.envelope import DELIVERIES, Queue
from contracts.outcome import Outcome
from contracts.payment import Role as PersonRole
from contracts.provider import Accepted, Declined
from contracts.refusals import DENIALS, Refusal
from handlers.apply import Result
from store.db import Pool
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import RULES, once
from tests.kit.lives import DEAR, SECOND, TIERS, creation, id_of, ordered, told
from tests.kit.shown import every_series, shown
from workers import catalogue, counting
from workers.catalogue import CATALOGUE, NO_KIND, NONE, Role
from workers.counting import Ended, count
from workers.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Role.WORKER)


def ended(result: Result | None, queue: Queue, kind: str, **others: Any) -> Ended:
    known = {"outcome": result.outcome, "reason": result.code} if result else {}
    times = {"receive_count": 1, "wait_s": 0.1, "critical_s": 0.2, "handling_s": 0.1}
    return Ended(queue=queue, kind=kind, result=result, **{**known, **times, **others})


def events(metrics: Metrics, result: Result) -> Result:
    count(metrics, ended(result, Queue.EVENTS, "WorkCompleted"))
    return result


def commands(metrics: Metrics, kind: str, result: Result) -> Result:
    count(metrics, ended(result, Queue.COMMANDS, kind))
    return result


def payouts(metrics: Metrics, kind: str, result: Result) -> Result:
    count(metrics, ended(result, Queue.PAYOUTS, kind))
    return result


# -- payments


def test_a_creation_is_counted_with_its_amount(pool: Pool, metrics: Metrics):
    result = creation(pool, 1)
    events(metrics, result)
    assert shown(metrics, catalogue.CREATED) == {("work_completed", "back_office", "USD"): 1}
    assert shown(metrics, catalogue.CREATED_AMOUNT) == {("USD",): 15_000}
    assert shown(metrics, catalogue.TRANSITIONS) == {(NONE, "pending_approval", "system"): 1}
    assert shown(metrics, catalogue.APPROVAL_DURATION) == {}


def test_a_repeated_message_creates_nothing(pool: Pool, metrics: Metrics):
    events(metrics, creation(pool, 1))
    again = creation(pool, 1)
    assert again.outcome is Outcome.DUPLICATE
    events(metrics, again)
    assert shown(metrics, catalogue.CREATED) == {("work_completed", "back_office", "USD"): 1}
    assert shown(metrics, catalogue.PROCESSED) == {
        ("payments-events", "WorkCompleted", "applied"): 1,
        ("payments-events", "WorkCompleted", "duplicate"): 1,
    }


@pytest.mark.parametrize(
    ("kind", "more", "status", "decision"),
    [
        ("ApprovePayment", {}, "approved", "approved"),
        ("RejectPayment", {"reason": "never happened"}, "cancelled", "rejected"),
        ("CancelPayment", {"reason": "twice"}, "cancelled", "cancelled"),
    ],
)
def test_a_decision_is_counted_with_the_time_that_it_took(
    pool: Pool, metrics: Metrics, kind: str, more: dict, status: str, decision: str
):
    payment_id = id_of(creation(pool, 1))
    forge(pool, "UPDATE payments SET created_at = created_at - interval '2 hours'")
    result = commands(metrics, kind, told(pool, kind, 1, payment_id, **more))
    assert result.outcome is Outcome.APPLIED
    assert shown(metrics, catalogue.TRANSITIONS) == {("pending_approval", status, "user"): 1}
    assert shown(metrics, catalogue.APPROVAL_DURATION) == {("back_office", decision): 1}
    took_s = metrics.value(catalogue.APPROVAL_DURATION, "back_office", decision, sample="_sum")
    assert took_s == pytest.approx(7_200, abs=60)
    assert shown(metrics, catalogue.DECISIONS) == {(kind, "accepted", NONE): 1}


def test_one_of_two_approvals_decides_nothing_yet(pool: Pool, metrics: Metrics):
    once(pool, m.parsed(m.command("SetApprovalPolicy", 9, actor=m.admin(), companyId=str(m.COMPANY), tiers=TIERS)))
    payment_id = id_of(creation(pool, 1, lineItems=DEAR))
    first = told(pool, "ApprovePayment", 1, payment_id, amountCents=30_000)
    commands(metrics, "ApprovePayment", first)
    assert (first.outcome, shown(metrics, catalogue.TRANSITIONS)) == (Outcome.APPLIED, {})
    assert shown(metrics, catalogue.APPROVAL_DURATION) == {}
    other = m.dispatcher(id=str(SECOND))
    commands(metrics, "ApprovePayment", told(pool, "ApprovePayment", 2, payment_id, amountCents=30_000, actor=other))
    assert shown(metrics, catalogue.TRANSITIONS) == {("pending_approval", "approved", "user"): 1}
    assert shown(metrics, catalogue.APPROVAL_DURATION) == {("back_office", "approved"): 1}
    assert shown(metrics, catalogue.DECISIONS) == {("ApprovePayment", "accepted", NONE): 2}


def test_a_driver_who_pays_is_created_and_approved_by_one_message(pool: Pool, metrics: Metrics):
    events(metrics, creation(pool, 1, payerType="driver_ic", driverId=str(m.DRIVER)))
    assert shown(metrics, catalogue.CREATED) == {("work_completed", "driver_ic", "USD"): 1}
    assert shown(metrics, catalogue.TRANSITIONS) == {
        (NONE, "pending_approval", "system"): 1,
        ("pending_approval", "approved", "system"): 1,
    }
    assert shown(metrics, catalogue.APPROVAL_DURATION) == {("driver_ic", "approved"): 1}


def test_what_was_approved_and_is_called_off_was_decided_before(pool: Pool, metrics: Metrics):
    payment_id = id_of(creation(pool, 1))
    told(pool, "ApprovePayment", 1, payment_id)
    commands(metrics, "CancelPayment", told(pool, "CancelPayment", 2, payment_id, reason="twice"))
    assert shown(metrics, catalogue.TRANSITIONS) == {("approved", "cancelled", "user"): 1}
    assert shown(metrics, catalogue.APPROVAL_DURATION) == {}


@pytest.mark.parametrize(
    ("answer", "status"), [(Accepted("tr_1"), "completed"), (Declined("account_closed", "closed"), "failed")]
)
def test_a_payout_is_counted_by_its_end(pool: Pool, metrics: Metrics, answer: Any, status: str):
    payment_id = id_of(creation(pool, 1))
    told(pool, "ApprovePayment", 1, payment_id)
    payouts(metrics, "ProcessPayment", ordered(pool, "ProcessPayment", payment_id))
    payouts(metrics, "ExecutePayout", ordered(pool, "ExecutePayout", payment_id, answer))
    assert shown(metrics, catalogue.TRANSITIONS) == {
        ("approved", "processing", "system"): 1,
        ("processing", status, "system"): 1,
    }
    assert shown(metrics, catalogue.DECISIONS) == {}, "nobody commands on this queue"


# -- decisions


def test_a_denied_a_stale_and_a_refused_command_are_told_apart(pool: Pool, metrics: Metrics):
    payment_id = id_of(creation(pool, 1))
    nobodys = m.dispatcher(companyId=str(m.OTHER_COMPANY))
    denied = told(pool, "ApprovePayment", 1, payment_id, actor=nobodys)
    assert (denied.outcome, denied.code) == (Outcome.REFUSED, Refusal.WRONG_COMPANY)
    refused = told(pool, "ApprovePayment", 2, payment_id, amountCents=1)
    assert (refused.outcome, refused.code) == (Outcome.REFUSED, Refusal.AMOUNT_MISMATCH)
    aged = m.parsed(m.command("ApprovePayment", 3, paymentId=str(payment_id)))
    stale = once(pool, aged, rules=replace(RULES, command_age=timedelta(minutes=15)))
    assert (stale.outcome, stale.code) == (Outcome.REFUSED, Refusal.STALE)
    for result in (denied, refused, stale):
        commands(metrics, "ApprovePayment", result)
    assert shown(metrics, catalogue.DECISIONS) == {
        ("ApprovePayment", "denied", "wrong_company"): 1,
        ("ApprovePayment", "refused", "amount_mismatch"): 1,
        ("ApprovePayment", "stale", "stale"): 1,
    }
    assert shown(metrics, catalogue.TRANSITIONS) == {}


def test_a_membership_is_a_command_that_was_taken_and_no_payment(pool: Pool, metrics: Metrics):
    change = {"sub": str(m.DISPATCHER), "role": PersonRole.DISPATCHER, "companyId": str(m.COMPANY), "enabled": True}
    result = once(pool, m.parsed(m.command("MembershipChanged", 1, actor=m.admin(), **change)))
    assert result.outcome is Outcome.APPLIED, result
    commands(metrics, "MembershipChanged", result)
    assert shown(metrics, catalogue.DECISIONS) == {("MembershipChanged", "accepted", NONE): 1}
    assert shown(metrics, catalogue.TRANSITIONS) == {}


# -- why it comes again


@pytest.mark.parametrize(
    ("outcome", "reason", "why"),
    [
        (Outcome.RETRY, counting.NOT_YET, "not_yet"),
        (Outcome.RETRY, counting.KEYS_AWAY, "keys_away"),
        (Outcome.RETRY, counting.PROVIDER_BUSY, "provider_busy"),
        (Outcome.RETRY, counting.PROVIDER_AWAY, "dependency_away"),
        (Outcome.RETRY, counting.DATABASE_AWAY, "dependency_away"),
        (Outcome.RETRY, "transient_timeout", "transient"),
        (Outcome.RETRY, None, "transient"),
        (Outcome.FAULT, "KeyError", "fault"),
    ],
)
def test_what_comes_again_is_counted_by_why(metrics: Metrics, outcome: Outcome, reason: str | None, why: str):
    count(metrics, ended(None, Queue.PAYOUTS, "ExecutePayout", outcome=outcome, reason=reason))
    assert shown(metrics, catalogue.RETRIES) == {("payments-payouts", "ExecutePayout", why): 1}


def test_what_has_ended_does_not_come_again(metrics: Metrics):
    for outcome in set(Outcome) - {Outcome.RETRY, Outcome.FAULT}:
        count(metrics, ended(None, Queue.PAYOUTS, "ExecutePayout", outcome=outcome, reason=None))
    assert shown(metrics, catalogue.RETRIES) == {}


def test_the_times_of_a_message_are_measured_with_its_trace(metrics: Metrics):
    times = {"wait_s": 2.0, "critical_s": 2.5, "handling_s": 0.5, "receive_count": 3, "trace_id": "0af7"}
    count(metrics, ended(Result(Outcome.APPLIED), Queue.EVENTS, "WorkCompleted", **times))
    labels = ("payments-events", "WorkCompleted", "applied")
    measured = [
        metrics.value(metric, *labels, sample="_sum")
        for metric in (catalogue.WAIT, catalogue.CRITICAL_TIME, catalogue.PROCESSING)
    ]
    assert measured == [2.0, 2.5, 0.5]
    assert metrics.value(catalogue.RECEIVE_COUNT, "payments-events", sample="_sum") == 3


# -- every end that there could be

CODES: list[Refusal | None] = [None, *Refusal]
_UNREAD = (Outcome.INVALID, Outcome.RETRY, Outcome.FAULT)


def result_of(outcome: Outcome, code: Refusal | None) -> Result | None:
    return None if outcome in _UNREAD else Result(outcome, code if outcome is Outcome.REFUSED else None)


@pytest.mark.parametrize("kind", DELIVERIES)
def test_every_end_of_every_kind_on_its_queues_has_its_series(metrics: Metrics, kind: str):
    ends = list(product({queue for queue, _ in DELIVERIES[kind]}, Outcome, CODES))
    for queue, outcome, code in ends:
        count(metrics, ended(result_of(outcome, code), queue, kind, outcome=outcome, reason=code))
    assert sum(shown(metrics, catalogue.PROCESSED).values()) == len(ends)
    assert {labels[1] for labels in shown(metrics, catalogue.PROCESSED)} == {kind}


@pytest.mark.parametrize("queue", Queue)
def test_a_kind_on_a_queue_that_is_not_its_own_counts_as_none(metrics: Metrics, queue: Queue):
    strangers = [kind for kind, places in DELIVERIES.items() if queue not in {place for place, _ in places}]
    strangers += [NO_KIND, "Unheard", ""]
    for kind, outcome in product(strangers, _UNREAD):
        count(metrics, ended(None, queue, kind, outcome=outcome, reason="wrong_queue"))
    assert shown(metrics, catalogue.PROCESSED) == {
        (queue, NO_KIND, str(outcome)): len(strangers) for outcome in _UNREAD
    }
    assert shown(metrics, catalogue.DECISIONS) == {}


def test_every_refusal_of_a_command_is_a_decision(metrics: Metrics):
    wanted = {}
    for code in Refusal:
        commands(metrics, "HoldPayment", Result(Outcome.REFUSED, code))
        decision = "stale" if code is Refusal.STALE else "denied" if code in DENIALS else "refused"
        wanted["HoldPayment", decision, str(code)] = 1
    assert shown(metrics, catalogue.DECISIONS) == wanted


def test_no_label_of_what_was_counted_is_an_id(pool: Pool, metrics: Metrics):
    payment_id = id_of(events(metrics, creation(pool, 1)))
    commands(metrics, "ApprovePayment", told(pool, "ApprovePayment", 1, payment_id))
    labels = {
        label
        for metric in CATALOGUE
        if Role.WORKER in metric.roles
        for series in every_series(metrics, metric)
        for label in series
    }
    assert "WorkCompleted" in labels
    assert not {str(each) for each in (payment_id, m.VENDOR, m.COMPANY, m.DISPATCHER, m.INCIDENT)} & labels
