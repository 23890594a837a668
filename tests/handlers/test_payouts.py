"""Payouts through the funnel: every look does its work, no order of news matters, and money never doubles."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import permutations
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts import ids
from contracts.envelope import Queue
from contracts.inbound import Parsed
from contracts.outcome import Outcome
from contracts.provider import Accepted, NotExecuted, NotFound, Reversal, Settlement, Told, Unfunded, Unknown
from contracts.refusals import Refusal
from handlers.decision import NotYet, Rules
from store.db import Pool
from tests.handlers.decisions import ground as g
from tests.handlers.road import approve, create, events, ordered_by_the_sweep, pay, posted, reconcile, start, started
from tests.kit import messages as m
from tests.kit.funnel import fresh, once, rows, twice
from tests.kit.proofs import SENDERS

ACCOUNT = ids.provider_account(str(m.VENDOR))
REGISTERED_ONLY = Rules(
    provider="stripe", unregistered_accounts=False, command_age=timedelta(days=36_500), senders=SENDERS
)


def attempts(pool: Pool) -> list[tuple[int, str, str | None]]:
    found = rows(pool, "SELECT attempt_no, state, failure_code FROM payout_attempts ORDER BY attempt_no")
    return [(row["attempt_no"], row["state"], row["failure_code"]) for row in found]


def account(**fields: Any) -> Parsed:
    said = {"vendorId": str(m.VENDOR), "stripeAccountId": "acct_1", "payoutsEnabled": True, "actor": m.admin()}
    return fresh(m.parsed(m.command("VendorAccountChanged", **{"commandId": str(uuid4()), **said, **fields})))


# -- looks


def test_every_look_at_an_attempt_does_its_work_however_many_came_before(pool: Pool):
    payment_id = started(pool)
    for check in range(1, 5):
        assert twice(pool, reconcile(payment_id, check), Unknown("timeout")).outcome is Outcome.APPLIED
        [attempt] = rows(pool, "SELECT state, checks FROM payout_attempts")
        assert attempt == {"state": "unknown", "checks": check + 1}
    assert twice(pool, reconcile(payment_id, 5), Accepted("tr_1")).status == "completed"
    assert twice(pool, reconcile(payment_id, 6), Accepted("tr_1")).outcome is Outcome.IGNORED
    back = twice(pool, reconcile(payment_id, 7), Accepted("tr_1", g.back(1)))
    assert (back.outcome, back.version) == (Outcome.APPLIED, 9)
    assert [version for _, version in events(pool)] == list(range(1, 10))


def test_a_look_under_a_number_that_was_used_is_a_duplicate_whatever_is_there_by_now(pool: Pool):
    payment_id = started(pool)
    assert once(pool, reconcile(payment_id, 1), Unknown("timeout")).outcome is Outcome.APPLIED
    assert once(pool, reconcile(payment_id, 1), Accepted("tr_1")).outcome is Outcome.DUPLICATE
    assert once(pool, reconcile(payment_id, 2), Accepted("tr_1")).status == "completed"


def test_what_is_found_with_money_back_and_settled_is_three_versions_of_one_transaction(pool: Pool):
    payment_id = started(pool)
    told = Told(Accepted("tr_1", g.back(4000, 1000)), g.payout())
    assert twice(pool, reconcile(payment_id, 1), told).version == 6
    assert [kind for kind, _ in events(pool)][3:] == ["PaymentCompleted", "PaymentReversed", "VendorPayoutPaid"]
    [payment] = rows(pool, "SELECT status, amount_reversed_cents, settlement_status FROM payments")
    assert payment == {"status": "completed", "amount_reversed_cents": 5000, "settlement_status": "paid"}
    found = rows(pool, "SELECT reversal_id, amount_cents FROM payout_reversals ORDER BY reversal_id")
    assert [(row["reversal_id"], row["amount_cents"]) for row in found] == [("trr_1", 4000), ("trr_2", 1000)]


# -- the next attempt


@pytest.mark.parametrize("nothing", [Unfunded("balance_insufficient"), NotExecuted()])
def test_after_an_attempt_that_came_to_nothing_the_next_one_pays(pool: Pool, nothing: Unfunded | NotExecuted):
    payment_id = started(pool)
    code = nothing.failure_code if isinstance(nothing, Unfunded) else "not_executed"
    assert pay(pool, nothing).status == "processing"
    assert attempts(pool) == [(1, "failed", code)]
    assert twice(pool, ordered_by_the_sweep(pool, payment_id)).status == "processing"
    assert attempts(pool) == [(1, "failed", code), (2, "ready", None)]
    assert pay(pool, Accepted("tr_2")).status == "completed"
    assert attempts(pool) == [(1, "failed", code), (2, "succeeded", None)]
    keys = {row["key"] for row in rows(pool, "SELECT idempotency_key AS key FROM payout_attempts")}
    assert keys == {f"pay-{payment_id}-1", f"pay-{payment_id}-2"}


def test_while_an_attempt_is_open_no_order_opens_another(pool: Pool):
    payment_id = started(pool)
    refused = twice(pool, ordered_by_the_sweep(pool, payment_id))
    assert (refused.outcome, refused.code) == (Outcome.REFUSED, Refusal.ILLEGAL_TRANSITION)
    once(pool, reconcile(payment_id, 1), Unknown("timeout"))
    assert once(pool, ordered_by_the_sweep(pool, payment_id)).code is Refusal.ILLEGAL_TRANSITION
    assert len(attempts(pool)) == 1


def test_a_success_of_the_attempt_that_was_given_up_is_the_next_ones(pool: Pool):
    payment_id = started(pool)
    pay(pool, NotExecuted())
    late = once(pool, reconcile(payment_id, 1), Accepted("tr_1"))
    assert (late.outcome, late.status) == (Outcome.IGNORED, "processing")
    once(pool, ordered_by_the_sweep(pool, payment_id))
    transfer = g.transfer(transfer_group=str(payment_id), idempotency_key=ids.provider_key(payment_id, 1))
    assert twice(pool, m.parsed(m.provider_event()), Told(seen=transfer)).status == "completed"
    assert [(number, state) for number, state, _ in attempts(pool)] == [(1, "failed"), (2, "succeeded")]


# -- vendors' accounts


def refused_for_want_of_an_account(pool: Pool) -> UUID:
    payment_id = create(pool)
    approve(pool, payment_id)
    result = start(pool, payment_id, REGISTERED_ONLY)
    assert (result.outcome, result.code) == (Outcome.REFUSED, Refusal.VENDOR_NOT_PAYABLE)
    return payment_id


def test_the_first_registration_pays_what_has_waited_for_it(pool: Pool):
    payment_id = refused_for_want_of_an_account(pool)
    assert twice(pool, account(), rules=REGISTERED_ONLY).outcome is Outcome.APPLIED
    order = posted(pool, "ProcessPayment")
    assert order["commandId"] == str(ids.process_payment_key(payment_id, 2, refusals=1))
    assert start(pool, payment_id, REGISTERED_ONLY).status == "processing"
    [attempt] = rows(pool, "SELECT provider, destination FROM payout_attempts")
    assert attempt == {"provider": "stripe", "destination": "acct_1"}
    [access] = rows(pool, "SELECT operation, decision, object_id FROM access_audit")
    assert access == {"operation": "VendorAccountChanged", "decision": "allowed", "object_id": m.VENDOR}


def test_each_refusal_of_the_order_makes_the_next_one_another(pool: Pool):
    payment_id = refused_for_want_of_an_account(pool)
    for refusals in (1, 2):
        again = ordered_by_the_sweep(pool, payment_id, refusals)
        assert twice(pool, again, rules=REGISTERED_ONLY).code is Refusal.VENDOR_NOT_PAYABLE
    once(pool, account(), rules=REGISTERED_ONLY)
    assert posted(pool, "ProcessPayment")["commandId"] == str(ids.process_payment_key(payment_id, 2, refusals=3))
    assert start(pool, payment_id, REGISTERED_ONLY).status == "processing"


def test_another_account_stops_the_vendors_payouts_until_its_cool_down_is_over(pool: Pool):
    once(pool, account(), rules=REGISTERED_ONLY)
    stolen = account(stripeAccountId="acct_2")
    assert twice(pool, stolen, rules=REGISTERED_ONLY).outcome is Outcome.APPLIED
    payment_id = refused_for_want_of_an_account(pool)
    for said in ({}, {"payoutsEnabled": False}, {"stripeAccountId": "acct_2"}):
        once(pool, account(**said), rules=REGISTERED_ONLY)
        assert rows(pool, "SELECT 1 FROM vendor_accounts WHERE held_until > now() + interval '23 hours'")
        refused = rows(pool, "SELECT 1 FROM message_inbox WHERE (consumer, outcome) = ('ProcessPayment', 'refused')")
        again = ordered_by_the_sweep(pool, payment_id, refusals=len(refused))
        assert once(pool, again, rules=REGISTERED_ONLY).code is Refusal.VENDOR_NOT_PAYABLE
    assert rows(pool, "SELECT 1 FROM payout_attempts") == []
    assert len(rows(pool, "SELECT 1 FROM outbox WHERE detail_type = 'ProcessPayment'")) == 1, "the approval's own"


def test_without_a_cool_down_another_account_is_paid_at_once(pool: Pool):
    at_once = Rules(provider="stripe", unregistered_accounts=False, account_cool_down=timedelta(0), senders=SENDERS)
    once(pool, account(payoutsEnabled=False), rules=at_once)
    payment_id = refused_for_want_of_an_account(pool)
    assert once(pool, account(stripeAccountId="acct_2"), rules=at_once).outcome is Outcome.APPLIED
    assert start(pool, payment_id, REGISTERED_ONLY).status == "processing"


def test_an_earlier_word_that_arrives_later_leaves_the_account_as_it_is(pool: Pool):
    earlier, later = account(stripeAccountId="acct_old"), account()
    once(pool, later)
    assert twice(pool, earlier).outcome is Outcome.IGNORED
    [row] = rows(pool, "SELECT account_id, held_until FROM vendor_accounts")
    assert row == {"account_id": "acct_1", "held_until": None}


def test_only_what_the_service_may_pay_by_itself_is_ordered(pool: Pool):
    payment_id = refused_for_want_of_an_account(pool)
    hold = m.command("HoldPayment", commandId=str(uuid4()), paymentId=str(payment_id), reason="wait")
    once(pool, m.parsed(hold))
    create(pool, incidentId=str(m.DRIVER), eventId=str(uuid4()))  # waits for its approval
    once(pool, account(), rules=REGISTERED_ONLY)
    assert len(rows(pool, "SELECT 1 FROM outbox WHERE detail_type = 'ProcessPayment'")) == 1


# -- the provider's events


def heard(pool: Pool, event: str, told: Told, kind: str = "transfer.created", **fields: Any) -> Any:
    return twice(pool, fresh(m.parsed(m.provider_event(kind, id=event, **fields))), told)


def test_an_event_is_known_by_its_id_and_another_one_about_the_same_is_another(pool: Pool):
    payment_id = started(pool)
    told = Told(seen=g.transfer(transfer_group=str(payment_id), idempotency_key=ids.provider_key(payment_id, 1)))
    assert heard(pool, "evt_1", told).status == "completed"
    assert heard(pool, "evt_2", told).outcome is Outcome.IGNORED
    [row] = rows(pool, "SELECT payment_id FROM message_inbox WHERE message_key = 'evt_2'")
    assert row["payment_id"] == payment_id


def test_an_event_that_has_overtaken_its_payment_waits(pool: Pool):
    told = Told(seen=g.transfer(transfer_group=str(uuid4())))
    with pytest.raises(NotYet):
        once(pool, fresh(m.parsed(m.provider_event())), told)
    assert rows(pool, "SELECT 1 FROM message_inbox") == []
    result = twice(pool, m.parsed(m.provider_event()), told)  # first sent long ago
    assert (result.outcome, result.code) == (Outcome.REFUSED, Refusal.NOT_FOUND)


@pytest.mark.parametrize("told", [Told(seen=NotFound(), livemode=True), Told(livemode=True)])
def test_an_event_of_test_money_moves_nothing_where_money_is_real(pool: Pool, told: Told):
    started(pool)
    assert heard(pool, "evt_1", told).code is Refusal.INVALID_FIELD
    assert attempts(pool) == [(1, "ready", None)]


def test_a_settlement_orders_looks_that_record_it_and_a_repetition_orders_none(pool: Pool):
    payment_id = started(pool)
    pay(pool, Accepted("tr_1"))
    event = {"kind": "payout.paid", "about": "po_1", "account": ACCOUNT}
    told = Told(seen=g.payout(), attempts=(ids.attempt_id(payment_id, 1),))
    assert heard(pool, "evt_1", told, **event).outcome is Outcome.APPLIED
    order = m.parsed(posted(pool, "ReconcileAttempt"), queue=Queue.PAYOUTS)
    assert twice(pool, order, Told(Accepted("tr_1"), g.payout())).outcome is Outcome.APPLIED
    [payment] = rows(pool, "SELECT status, settlement_status, version FROM payments")
    assert payment == {"status": "completed", "settlement_status": "paid", "version": 5}


# -- in any order


@dataclass(frozen=True, slots=True)
class Hint:
    """One event of the provider's, and how its object stood when it was read."""

    kind: str
    back: tuple[int, ...] = ()
    settlement: Settlement | None = None


HINTS = [
    Hint("transfer.created"),
    Hint("transfer.reversed", (4000,)),
    Hint("transfer.reversed", (4000, 11000)),
    Hint("payout.paid", settlement=Settlement.PAID),
    Hint("payout.failed", settlement=Settlement.FAILED),
]


def deliver(pool: Pool, payment_id: UUID, hint: Hint) -> None:
    """Process one event, and what the service orders from itself because of it, as a worker does.

    Raises:
        NotYet: it has overtaken what it is about.
    """
    kind = hint.kind
    transfer_id = f"tr_{payment_id.hex}"
    answer = Accepted(transfer_id, _back(payment_id, hint.back))
    event = f"evt_{payment_id.hex}_{kind}_{len(hint.back)}"
    if hint.settlement is None:
        seen = g.transfer(
            provider_object_id=transfer_id,
            transfer_group=str(payment_id),
            idempotency_key=ids.provider_key(payment_id, 1),
            reversals=answer.reversals,
        )
        once(pool, fresh(m.parsed(m.provider_event(kind, transfer_id, id=event))), Told(seen=seen))
        return
    payout = g.payout(hint.settlement, transfer_ids=(transfer_id,))
    found = rows(pool, "SELECT attempt_id FROM payout_attempts WHERE provider_object_id = %s", transfer_id)
    told = Told(seen=payout, attempts=tuple(row["attempt_id"] for row in found), missing=1 - len(found))
    once(pool, fresh(m.parsed(m.provider_event(kind, "po_1", id=event, account=ACCOUNT))), told)
    order = m.parsed(posted(pool, "ReconcileAttempt"), queue=Queue.PAYOUTS)
    once(pool, order, Told(answer, payout))


def _back(payment_id: UUID, parts: tuple[int, ...]) -> Any:
    return tuple(Reversal(f"trr_{number}_{payment_id.hex}", cents) for number, cents in enumerate(parts))


def in_this_order(pool: Pool, payment_id: UUID, hints: tuple[Hint, ...]) -> Iterator[Hint]:
    """Deliver until nothing waits any more; yield what had to come again."""
    waiting = list(hints)
    while waiting:
        left = []
        for hint in waiting:
            try:
                deliver(pool, payment_id, hint)
            except NotYet:
                left.append(hint)
        assert len(left) < len(waiting), "everything waits for ever"
        yield from left
        waiting = left


def test_in_whatever_order_the_providers_events_come_the_payment_ends_the_same(pool: Pool):
    again = 0
    for number, hints in enumerate(permutations(HINTS)):
        payment_id = started(pool, once, incidentId=str(UUID(int=number)), eventId=f"work-{number}")
        again += len(list(in_this_order(pool, payment_id, hints)))
    ends = rows(
        pool,
        "SELECT status, amount_reversed_cents, settlement_status, state, failure_code, count(*) AS times,"
        " sum((SELECT sum(amount_cents) FROM payout_reversals WHERE payment_id = payment.payment_id)) AS cents"
        " FROM (SELECT payment_id, status, amount_reversed_cents, settlement_status FROM payments) AS payment"
        " JOIN payout_attempts USING (payment_id) GROUP BY 1, 2, 3, 4, 5",
    )
    assert ends == [
        {
            "status": "completed",
            "amount_reversed_cents": 15000,
            "settlement_status": "failed",
            "state": "succeeded",
            "failure_code": None,
            "times": 120,
            "cents": 120 * 15000,
        }
    ]
    assert again > 0, "some have overtaken what they are about"
    assert rows(pool, "SELECT 1 FROM message_failures") == []
    told = "SELECT aggregate_id, aggregate_seq FROM outbox WHERE destination = 'bus'"
    assert rows(pool, f"{told} GROUP BY 1, 2 HAVING count(*) > 1") == []
