"""Transfers and reversals through the SDK: what is made, found, listed and refused."""

from typing import Any

import pytest
import stripe

from workers.sandbox.books import AccountState, Books
from workers.sandbox.server import Sandbox


def test_a_transfer_is_made_and_found_again(client, pay, sandbox):
    made = pay("k1", currency="USD", metadata={"paymentId": "p", "attemptNo": "1"}, description="tow")
    assert made.id.startswith("tr_")
    assert (made.amount, made.currency, made.destination) == (500, "usd", "acct_vendor")
    assert (made.amount_reversed, made.reversed, made.livemode, made.source_type) == (0, False, False, "card")
    assert made.metadata["paymentId"] == "p"
    assert made.destination_payment.startswith("py_")
    assert made.reversals.data == []
    assert client.v1.transfers.retrieve(made.id) == made
    assert sandbox.books.transfers()[0]["id"] == made.id


def test_it_is_looked_up_by_its_group(client, pay):
    wanted = pay(transfer_group="mine")
    pay(transfer_group="other")
    assert [found.id for found in client.v1.transfers.list({"transfer_group": "mine"}).data] == [wanted.id]
    assert client.v1.transfers.list({"transfer_group": "nobody's"}).data == []


def test_the_newest_comes_first_and_pages_meet(client, pay):
    made = [pay().id for _ in range(7)]
    first = client.v1.transfers.list({"limit": 3})
    assert first.has_more
    assert [one.id for one in first.data] == made[:3:-1]
    second = client.v1.transfers.list({"limit": 3, "starting_after": first.data[-1].id})
    assert [one.id for one in second.data] == made[3:0:-1]
    back = client.v1.transfers.list({"limit": 2, "ending_before": second.data[-1].id})
    assert [one.id for one in back.data] == [made[3], made[2]]
    assert [one.id for one in first.auto_paging_iter()] == made[::-1]


def test_a_filtered_list_pages_too(client, pay):
    made = [pay(destination=f"acct_{number % 2}").id for number in range(6)]
    page = client.v1.transfers.list({"destination": "acct_0", "limit": 1})
    assert [one.id for one in page.auto_paging_iter()] == made[4::-2]


def test_a_list_has_limits_in_time(client, pay, sandbox):
    old = pay()
    sandbox.books.advance(3_600)
    new = pay()
    assert [one.id for one in client.v1.transfers.list({"created": {"gt": old.created}}).data] == [new.id]
    assert [one.id for one in client.v1.transfers.list({"created": {"lt": new.created}}).data] == [old.id]
    between = {"gte": old.created, "lte": old.created}
    assert [one.id for one in client.v1.transfers.list({"created": between}).data] == [old.id]


def test_what_does_not_exist_is_not_found(client):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.transfers.retrieve("tr_none")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError, match="No such transfer"):
        client.v1.transfers.list({"starting_after": "tr_none"})
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL"):
        client.v1.customers.list()


INVALID: dict[str, tuple[dict[str, Any], str | None]] = {
    "no amount": ({"amount": None}, "parameter_missing"),
    "no currency": ({"currency": None}, "parameter_missing"),
    "no destination": ({"destination": None}, "parameter_missing"),
    "nothing": ({"amount": 0}, "parameter_invalid_integer"),
    "less than nothing": ({"amount": -1}, "parameter_invalid_integer"),
    "no whole number": ({"amount": "1.5"}, "parameter_invalid_integer"),
    "too much": ({"amount": 100_000_000}, "amount_too_large"),
    "no currency of theirs": ({"currency": "kpw"}, None),
    "no account": ({"destination": "vendor"}, "resource_missing"),
    "a third decimal": ({"amount": 1_005, "currency": "kwd"}, None),
    "decimals that are none": ({"amount": 150, "currency": "isk"}, None),
    "an unknown parameter": ({"speed": "high"}, "parameter_unknown"),
    "much metadata": ({"metadata": {"note": "x" * 501}}, None),
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_request_is_refused_and_its_key_stays_free(client, pay, name):
    changed, code = INVALID[name]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        pay("key", **changed)
    assert (caught.value.http_status, caught.value.code) == (400, code)
    assert client.v1.transfers.list().data == []
    assert pay("key").id


@pytest.mark.parametrize(("amount", "currency"), [(1_010, "kwd"), (500, "ugx"), (7, "jpy"), (99_999_999, "eur")])
def test_special_currencies_are_paid(pay, amount, currency):
    assert pay(amount=amount, currency=currency).amount == amount


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (AccountState.CLOSED, "account_invalid"),
        (AccountState.NO_CAPABILITY, "insufficient_capabilities_for_transfer"),
        (AccountState.DISABLED, "transfers_not_allowed"),
        (AccountState.MISSING, "resource_missing"),
    ],
)
def test_an_account_that_cannot_be_paid_is_not(pay, sandbox, state, code):
    sandbox.books.set_account("acct_vendor", state)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        pay()
    assert caught.value.code == code
    sandbox.books.set_account("acct_vendor", AccountState.OK)
    assert pay().id


def test_an_account_says_how_it_is(client, sandbox):
    assert client.v1.accounts.retrieve("acct_vendor").capabilities.transfers == "active"
    sandbox.books.set_account("acct_vendor", AccountState.NO_CAPABILITY)
    assert client.v1.accounts.retrieve("acct_vendor").capabilities.transfers == "inactive"
    sandbox.books.set_account("acct_vendor", AccountState.CLOSED)
    with pytest.raises(stripe.PermissionError):
        client.v1.accounts.retrieve("acct_vendor")


def test_the_platform_says_who_it_is(client, connect):
    found = client.v1.accounts.retrieve_current()
    assert (found.id, found.object) == ("acct_sandbox_platform", "account")
    with Sandbox(Books(platform="acct_mine")) as other:
        assert connect(other.url).v1.accounts.retrieve_current().id == "acct_mine"


def test_on_behalf_of_an_account_it_is_that_one(client, sandbox):
    assert client.v1.accounts.retrieve_current(options={"stripe_account": "acct_vendor"}).id == "acct_vendor"
    sandbox.books.set_account("acct_vendor", AccountState.CLOSED)
    with pytest.raises(stripe.PermissionError):
        client.v1.accounts.retrieve_current(options={"stripe_account": "acct_vendor"})


def test_the_balance_is_spent_and_then_there_is_none(client, pay, sandbox):
    sandbox.books.set_balance("usd", 700)
    pay()
    assert client.v1.balance.retrieve().available[0].amount == 200
    with pytest.raises(stripe.InvalidRequestError) as caught:
        pay()
    assert caught.value.code == "balance_insufficient"
    sandbox.books.set_balance("usd", None)
    assert pay().id


def test_a_transfer_comes_back_in_parts(client, pay):
    made = pay()
    first = client.v1.transfers.reversals.create(made.id, {"amount": 200})
    assert (first.object, first.amount, first.transfer) == ("transfer_reversal", 200, made.id)
    found = client.v1.transfers.retrieve(made.id)
    assert (found.amount_reversed, found.reversed, found.reversals.total_count) == (200, False, 1)
    with pytest.raises(stripe.InvalidRequestError, match="greater than the unreversed amount"):
        client.v1.transfers.reversals.create(made.id, {"amount": 301})
    rest = client.v1.transfers.reversals.create(made.id)
    found = client.v1.transfers.retrieve(made.id)
    assert (rest.amount, found.amount_reversed, found.reversed) == (300, 500, True)
    assert [one.id for one in found.reversals.data] == [rest.id, first.id]
    assert [one.id for one in client.v1.transfers.reversals.list(made.id).data] == [rest.id, first.id]
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.transfers.reversals.create(made.id)


def test_a_reversal_gives_the_money_back(client, pay, sandbox):
    sandbox.books.set_balance("usd", 500)
    client.v1.transfers.reversals.create(pay().id)
    assert client.v1.balance.retrieve().available[0].amount == 500


def test_what_was_just_made_is_shown_whole(pay):
    made = pay(expand=["destination_payment", "balance_transaction", "destination"])
    assert made.destination_payment.source_transfer == made.id
    assert made.balance_transaction.amount == -500
    assert made.destination.id == "acct_vendor"


def test_what_cannot_be_shown_whole_is_refused(client, pay):
    pay()
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        client.v1.transfers.list({"expand": ["data.nothing"]})
