"""Idempotency keys: the first answer is the only one, for a day; and what that does to those who forget it."""

import threading

import pytest
import stripe

from tests.workers.sandbox.paying import paid, until
from workers.sandbox.plan import Fault


def test_a_key_moves_money_once(pay, sandbox):
    first, again = pay("k"), pay("k")
    assert first.id == again.id
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert first.last_response.headers["Request-Id"].startswith("req_")
    assert len(sandbox.books.transfers()) == 1


def test_without_a_key_the_sdk_invents_one_for_every_call(pay, sandbox):
    assert pay().id != pay().id
    assert len(sandbox.books.transfers()) == 2


def test_a_key_stands_for_one_request(client, pay, sandbox):
    made = pay("k")
    with pytest.raises(stripe.IdempotencyError, match="same parameters") as caught:
        pay("k", amount=501)
    assert caught.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        client.v1.transfers.reversals.create(made.id, {}, {"idempotency_key": "k"})
    assert len(sandbox.books.transfers()) == 1


def test_a_key_that_found_no_money_is_poisoned(pay, sandbox):
    sandbox.books.set_balance("usd", 0)
    for funds in (0, 1_000):
        sandbox.books.set_balance("usd", funds)
        with pytest.raises(stripe.InvalidRequestError) as caught:
            pay("k")
        assert caught.value.code == "balance_insufficient"
    assert caught.value.headers is not None
    assert caught.value.headers["Idempotent-Replayed"] == "true"
    assert pay("k2").id


def test_a_key_is_forgotten_after_a_day_and_then_pays_twice(pay, sandbox):
    first = pay("k")
    sandbox.books.advance(24 * 3_600 - 60)
    assert pay("k").id == first.id
    sandbox.books.advance(60)
    assert pay("k").id != first.id
    assert len(sandbox.books.transfers()) == 2


def test_keys_are_pruned_by_hand_too(pay, sandbox):
    pay("k")
    assert sandbox.books.prune() == 0
    sandbox.books.advance(24 * 3_600)
    assert sandbox.books.prune() == 1


@pytest.mark.parametrize("fault", [Fault.SLOW, Fault.TIMEOUT, Fault.LATE])
def test_a_key_in_use_is_refused_and_not_remembered(pay, sandbox, connect, fault):
    done = threading.Event()
    sandbox._api._pause = lambda _seconds: not done.wait(10)
    sandbox.plan.force(fault)
    other = connect(sandbox.url)
    first: list[str] = []
    thread = threading.Thread(target=lambda: first.append(paid(other, "k").id))
    thread.start()
    until(lambda: sandbox.plan.counts)
    with pytest.raises(stripe.APIError) as caught:
        pay("k")
    assert caught.value.http_status == 409
    assert caught.value.error is not None
    assert caught.value.error.code == "idempotency_key_in_use"
    done.set()
    thread.join()
    assert pay("k").id == first[0]


def test_a_key_raced_by_many_moves_money_once(sandbox, connect):
    ids, refused = [], []

    def race() -> None:
        try:
            ids.append(paid(connect(sandbox.url), "k").id)
        except stripe.APIError as error:
            refused.append(error.http_status)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 1
    assert set(refused) <= {409}
    assert len(sandbox.books.transfers()) == 1


def test_a_reversal_has_a_key_too(client, pay):
    made = pay()
    back = [client.v1.transfers.reversals.create(made.id, {"amount": 1}, {"idempotency_key": "r"}) for _ in range(2)]
    assert back[0].id == back[1].id
    assert client.v1.transfers.retrieve(made.id).amount_reversed == 1
