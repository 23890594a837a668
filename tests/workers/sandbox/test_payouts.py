"""Payouts of connected accounts: from a settlement back to the transfers that it pays out."""

from typing import Any

import pytest
import stripe

from workers.sandbox.books import PayoutStatus

ON_BEHALF = {"stripe_account": "acct_vendor"}


def paid_out(client: Any, payout: str, options: Any = None) -> set[str]:
    """The transfers that a payout pays out, as a reader of the API finds them."""
    params = {"payout": payout, "type": "payment", "expand": ["data.source"], "limit": 1}
    entries = client.v1.balance_transactions.list(params, options or ON_BEHALF)
    return {entry.source.source_transfer for entry in entries.auto_paging_iter()}


def test_a_payout_leads_back_to_its_transfers(client, pay, sandbox):
    made = {pay().id for _ in range(3)}
    pay(destination="acct_other")
    (payout,) = sandbox.books.settle("acct_vendor")
    found = client.v1.payouts.retrieve(payout["id"], {}, ON_BEHALF)
    assert (found.amount, found.currency, found.status, found.livemode) == (1_500, "usd", "in_transit", False)
    assert paid_out(client, payout["id"]) == made
    assert [one.id for one in client.v1.payouts.list({}, ON_BEHALF).data] == [payout["id"]]


def test_a_payout_is_seen_by_its_account_alone(client, pay, sandbox):
    pay()
    (payout,) = sandbox.books.settle("acct_vendor")
    for options in ({}, {"stripe_account": "acct_other"}):
        with pytest.raises(stripe.InvalidRequestError, match="No such payout"):
            client.v1.payouts.retrieve(payout["id"], {}, options)
    assert paid_out(client, payout["id"], {"stripe_account": "acct_other"}) == set()


def test_what_is_paid_out_is_not_paid_out_again(client, pay, sandbox):
    pay()
    sandbox.books.settle("acct_vendor")
    with pytest.raises(Exception, match="insufficient available funds"):
        sandbox.books.settle("acct_vendor")
    later = pay()
    (payout,) = sandbox.books.settle("acct_vendor")
    assert paid_out(client, payout["id"]) == {later.id}


def test_every_currency_has_its_own(pay, sandbox):
    pay()
    pay(currency="eur", amount=7)
    settled = {payout["currency"]: payout["amount"] for payout in sandbox.books.settle("acct_vendor")}
    assert settled == {"usd": 500, "eur": 7}


def test_what_came_back_is_not_paid_out(client, pay, sandbox):
    client.v1.transfers.reversals.create(pay().id, {"amount": 200})
    (payout,) = sandbox.books.settle("acct_vendor")
    assert payout["amount"] == 300


def test_a_payout_that_had_arrived_can_fail(client, pay, sandbox):
    made = pay()
    (payout,) = sandbox.books.settle("acct_vendor")
    sandbox.books.finish_payout(payout["id"], PayoutStatus.PAID)
    assert client.v1.payouts.retrieve(payout["id"], {}, ON_BEHALF).status == "paid"
    sandbox.books.finish_payout(payout["id"], PayoutStatus.FAILED, "account_closed")
    found = client.v1.payouts.retrieve(payout["id"], {}, ON_BEHALF)
    assert (found.status, found.failure_code) == ("failed", "account_closed")
    assert found.failure_message == "The bank account has been closed."
    assert paid_out(client, payout["id"]) == {made.id}
    (again,) = sandbox.books.settle("acct_vendor")
    assert paid_out(client, again["id"]) == {made.id}


def test_a_payout_does_not_rise_again(pay, sandbox):
    pay()
    (payout,) = sandbox.books.settle("acct_vendor")
    sandbox.books.finish_payout(payout["id"], PayoutStatus.FAILED)
    with pytest.raises(Exception, match="cannot become paid"):
        sandbox.books.finish_payout(payout["id"], PayoutStatus.PAID)


def test_events_tell_of_it_in_the_account_s_name(client, pay, sandbox):
    made = pay("k")
    (payout,) = sandbox.books.settle("acct_vendor")
    sandbox.books.finish_payout(payout["id"], PayoutStatus.PAID)
    sandbox.books.finish_payout(payout["id"], PayoutStatus.FAILED)
    kinds = [event.type for event in client.v1.events.list({}, ON_BEHALF).data]
    assert kinds == ["payout.failed", "payout.paid", "payout.created"]
    (created,) = client.v1.events.list({"type": "transfer.created"}).data
    assert created.request.idempotency_key == "k"
    assert created.data.object["id"] == made.id
    assert not hasattr(created, "account")
    (failed,) = client.v1.events.list({"type": "payout.failed"}, ON_BEHALF).data
    assert client.v1.events.retrieve(failed.id, {}, ON_BEHALF).account == "acct_vendor"
    assert failed.data.object["status"] == "failed"
    with pytest.raises(stripe.InvalidRequestError, match="No such event"):
        client.v1.events.retrieve(failed.id)
