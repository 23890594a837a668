"""Every fault: what the SDK makes of it, whether money moved, and what the same key answers afterwards."""

import threading
from dataclasses import dataclass

import pytest
import stripe

from tests.workers.sandbox.paying import until
from workers.sandbox.plan import POST_ONLY, Fault, Outage, Plan, Strike


@dataclass(frozen=True)
class Seen:
    """What a fault looks like from outside."""

    error: type[stripe.StripeError] | None
    status: int | None
    moved: bool
    again: type[stripe.StripeError] | None = None
    code: str | None = None


FAULTS = {
    Fault.RATE_LIMITED: Seen(stripe.RateLimitError, 429, moved=False, code="rate_limit"),
    Fault.LOCK_TIMEOUT: Seen(stripe.RateLimitError, 429, moved=False, code="lock_timeout"),
    Fault.IN_USE: Seen(stripe.APIError, 409, moved=False, code="idempotency_key_in_use"),
    Fault.UNAVAILABLE: Seen(stripe.APIError, 503, moved=False),
    Fault.LOST_BEFORE: Seen(stripe.APIConnectionError, None, moved=False),
    Fault.LOST_AFTER: Seen(stripe.APIConnectionError, None, moved=True),
    Fault.CUT_OFF: Seen(stripe.APIConnectionError, None, moved=True),
    Fault.GARBLED: Seen(stripe.APIError, None, moved=True),
    Fault.SLOW: Seen(None, None, moved=True),
    Fault.TIMEOUT: Seen(stripe.APIConnectionError, None, moved=True),
    Fault.LATE: Seen(stripe.APIConnectionError, None, moved=False),
    Fault.ERROR_BEFORE: Seen(stripe.APIError, 500, moved=False, again=stripe.APIError),
    Fault.ERROR_AFTER: Seen(stripe.APIError, 500, moved=True, again=stripe.APIError),
    Fault.INSUFFICIENT: Seen(
        stripe.InvalidRequestError, 400, moved=False, again=stripe.InvalidRequestError, code="balance_insufficient"
    ),
}
#: What lasts longer than the client waits has a test of its own.
AT_ONCE = [fault for fault in Fault if fault not in {Fault.TIMEOUT, Fault.LATE}]


def test_every_fault_is_described():
    assert set(FAULTS) == set(Fault)


@pytest.mark.parametrize("fault", AT_ONCE)
def test_what_a_fault_does(client, pay, sandbox, fault):
    seen = FAULTS[fault]
    sandbox.plan.set(slow_s=(0.0, 0.01))
    sandbox.plan.force(fault)
    if seen.error is None:
        assert pay("k").id
    else:
        with pytest.raises(seen.error) as caught:
            pay("k")
        assert type(caught.value) is seen.error
        assert seen.status in {None, caught.value.http_status}
        assert seen.code in {None, caught.value.error.code if caught.value.error else None}
    assert len(client.v1.transfers.list({"transfer_group": "pay-1"}).data) == seen.moved
    assert sandbox.plan.counts == {fault: 1}
    if seen.again:
        with pytest.raises(seen.again):
            pay("k")
    else:
        assert pay("k").id
    assert len(sandbox.books.transfers()) == (seen.moved or not seen.again)


@pytest.mark.parametrize("fault", [Fault.TIMEOUT, Fault.LATE])
def test_an_answer_that_nobody_waits_for(sandbox, connect, client, pay, fault):
    done = threading.Event()
    sandbox._api._pause = lambda _seconds: not done.wait(10)
    sandbox.plan.force(fault)
    with pytest.raises(stripe.APIConnectionError):
        connect(sandbox.url, timeout_s=0.1).v1.transfers.create(
            {"amount": 500, "currency": "usd", "destination": "acct_vendor", "transfer_group": "pay-1"},
            {"idempotency_key": "k"},
        )
    until(lambda: sandbox.plan.counts)
    assert len(client.v1.transfers.list({"transfer_group": "pay-1"}).data) == FAULTS[fault].moved
    done.set()
    until(lambda: not sandbox._api._in_flight)
    assert pay("k").id
    assert len(sandbox.books.transfers()) == 1


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in POST_ONLY | {Fault.SLOW, Fault.TIMEOUT}])
def test_reading_goes_wrong_too(client, sandbox, fault):
    sandbox.plan.force(fault, method="GET")
    with pytest.raises(stripe.StripeError):
        client.v1.transfers.list()
    assert client.v1.transfers.list().data == []


def test_reading_has_no_faults_of_writing(client, sandbox):
    sandbox.plan.set(rates={Fault.ERROR_AFTER: 0.5, Fault.INSUFFICIENT: 0.5})
    assert client.v1.transfers.list().data == []
    assert sandbox.plan.counts == {}


def test_an_invalid_request_is_invalid_whatever_the_plan_says(pay, sandbox):
    sandbox.plan.force(Fault.ERROR_BEFORE)
    with pytest.raises(stripe.InvalidRequestError):
        pay("k", amount=0)
    assert sandbox.plan.counts == {}


def test_both_kinds_of_garbage_occur(client, sandbox):
    sandbox.plan.force(Fault.GARBLED, times=12, method="GET")
    statuses = set()
    for _ in range(12):
        with pytest.raises(stripe.APIError) as caught:
            client.v1.balance.retrieve()
        statuses.add(caught.value.http_status)
    assert statuses == {200, 502}


def test_a_stored_500_tells_the_sdk_not_to_repeat_it(sandbox, connect):
    sandbox.plan.force(Fault.ERROR_BEFORE)
    with pytest.raises(stripe.APIError) as caught:
        connect(sandbox.url, retries=2).v1.transfers.create(
            {"amount": 1, "currency": "usd", "destination": "acct_1"}, {"idempotency_key": "k"}
        )
    assert caught.value.headers is not None
    assert caught.value.headers["Stripe-Should-Retry"] == "false"


def draws(plan: Plan, count: int = 300) -> list[Strike]:
    return [plan.draw("POST" if number % 3 else "GET") for number in range(count)]


def test_the_same_seed_gives_the_same_faults():
    rates = {Fault.SLOW: 0.1, Fault.LOST_AFTER: 0.2, Fault.ERROR_AFTER: 0.1}
    turned = dict(reversed(rates.items()))
    assert draws(Plan(7, rates)) == draws(Plan(7, turned))
    assert draws(Plan(7, rates)) != draws(Plan(8, rates))
    assert {strike.fault for strike in draws(Plan(7, rates))} == {None, *rates}


def test_what_is_forced_does_not_change_what_comes_later():
    forced, plain = Plan(7, {Fault.SLOW: 0.5}), Plan(7, {Fault.SLOW: 0.5})
    forced.force(Fault.IN_USE)
    assert forced.draw("POST").fault is Fault.IN_USE
    plain.draw("POST")
    assert draws(forced) == draws(plain)


def test_a_plan_is_faithful_to_its_rates():
    struck = [strike.fault for strike in draws(Plan(1, {Fault.SLOW: 0.3}), 3_000)]
    assert 800 < struck.count(Fault.SLOW) < 1_000


@pytest.mark.parametrize("rates", [{Fault.SLOW: 0.6, Fault.CUT_OFF: 0.6}, {Fault.SLOW: -0.1}, {"fire": 0.1}])
def test_a_plan_that_cannot_be_is_refused(rates):
    with pytest.raises(ValueError, match=r"shares|not a valid"):
        Plan(0, rates)


def test_a_client_that_repeats_itself_pays_once_for_all_that(sandbox, connect):
    """The whole plan at once, and somebody who does what is right: the same key until there is an answer."""
    rates = dict.fromkeys((fault for fault in Fault if FAULTS[fault].again is None), 0.06)
    sandbox.plan.set(3, rates, (0.0, 0.002), 0.0)
    client = connect(sandbox.url)
    for number in range(40):
        while True:
            try:
                client.v1.transfers.create(
                    {"amount": 1, "currency": "usd", "destination": "acct_1"}, {"idempotency_key": f"k{number}"}
                )
                break
            except stripe.StripeError:
                continue
    assert len(sandbox.books.transfers()) == 40
    assert sum(sandbox.plan.counts.values()) > 20


def test_an_outage_resets_every_connection_until_it_is_over(client, pay, sandbox):
    pay("k")
    sandbox.switches.outage = Outage.RESET
    for call in (lambda: pay("k"), client.v1.balance.retrieve):
        with pytest.raises(stripe.APIConnectionError):
            call()
    sandbox.switches.outage = Outage.UNAVAILABLE
    with pytest.raises(stripe.APIError) as caught:
        client.v1.balance.retrieve()
    assert caught.value.http_status == 503
    sandbox.switches.outage = Outage.OFF
    assert pay("k").id


def test_a_key_that_is_not_accepted(client, pay, sandbox, connect):
    sandbox.switches.unauthorized = True
    with pytest.raises(stripe.AuthenticationError):
        pay()
    sandbox.switches.unauthorized = False
    assert pay().id
    with pytest.raises(stripe.AuthenticationError):
        connect(sandbox.url, key="sk_live_1").v1.balance.retrieve()
