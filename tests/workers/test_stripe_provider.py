"""Stripe behind the port: what is asked of it word for word, what is believed of it, and what nobody ever reads."""

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import structlog

from contracts.money import Money
from contracts.provider import (
    Accepted,
    Declined,
    NotFound,
    PayoutOrder,
    PayoutSeen,
    ProviderAwayError,
    Reversal,
    Settlement,
    TransferSeen,
    TryLater,
    Unknown,
)
from tests.kit.stripe_script import ACCOUNT, PLATFORM, Reply, Script, error, listed, platform, scripted, transfer
from workers import clock, settings
from workers.providers import make_provider
from workers.stripe_provider import StripeProvider, Timeouts

PAYMENT = UUID("5b7b2b8e-7f8c-4f0e-9d6f-0a4d1c1c7e11")
GROUP = str(PAYMENT)
KEY = "sk_test_51Secret"
ORDER = PayoutOrder(PAYMENT, 2, f"pay-{PAYMENT}-2", Money(15_000, "USD"), ACCOUNT)
QUICK = Timeouts(connect_s=0.2, look_up_s=0.5, submit_s=0.5, probe_s=0.5)
SINCE = datetime(2026, 9, 1, tzinfo=UTC)


@pytest.fixture
def stripe() -> Iterator[Script]:
    with scripted() as script:
        yield script


@pytest.fixture
def provider(stripe: Script) -> StripeProvider:
    return connected(stripe)


def connected(stripe: Script, **changes: Any) -> StripeProvider:
    wanted = {"name": "stripe", "key": lambda: KEY, "api_base": stripe.url, **changes}
    return StripeProvider(**wanted)


def ordered(**changes: Any) -> dict[str, Any]:
    return transfer(transfer_group=GROUP, **changes)


# -- what is asked


def test_a_submission_is_one_request_with_everything_in_it(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, ordered()))
    assert provider.submit(ORDER) == Accepted("tr_1")
    (request,) = stripe.requests
    assert (request.method, request.path) == ("POST", "/v1/transfers")
    assert request.form == {
        "amount": "15000",
        "currency": "usd",
        "destination": ACCOUNT,
        "transfer_group": GROUP,
        "metadata[paymentId]": GROUP,
        "metadata[attemptNo]": "2",
        "metadata[idempotencyKey]": ORDER.idempotency_key,
    }
    assert request.headers["idempotency-key"] == ORDER.idempotency_key
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert "x-stripe-client-telemetry" not in request.headers


def test_every_submission_carries_its_own_key_again(stripe: Script, provider: StripeProvider):
    stripe.says(error(500, "api_error"))
    for _ in range(3):
        provider.submit(ORDER)
    assert [request.headers["idempotency-key"] for request in stripe.requests] == [ORDER.idempotency_key] * 3


def test_no_telemetry_follows_a_call(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, ordered(), {"Request-Id": "req_1"}))
    provider.submit(ORDER)
    provider.submit(ORDER)
    assert not any("x-stripe-client-telemetry" in request.headers for request in stripe.requests)


@pytest.mark.parametrize(
    ("money", "amount"),
    [(Money(500, "JPY"), 500), (Money(5, "ISK"), 500), (Money(500, "MGA"), 5), (Money(5_120, "KWD"), 5_120)],
    ids=str,
)
def test_amounts_go_as_stripe_writes_them(stripe: Script, provider: StripeProvider, money: Money, amount: int):
    stripe.says(Reply(200, ordered(amount=amount, currency=money.currency.lower())))
    order = PayoutOrder(PAYMENT, 1, "k", money, ACCOUNT)
    assert provider.submit(order) == Accepted("tr_1")
    assert stripe.requests[0].form["amount"] == str(amount)


@pytest.mark.parametrize(
    ("money", "code"), [(Money(5_124, "KWD"), "invalid_field"), (Money(1_000, "IQD"), "unsupported_currency")], ids=str
)
def test_an_amount_that_stripe_cannot_take_is_never_sent(
    stripe: Script, provider: StripeProvider, money: Money, code: str
):
    answer = provider.submit(PayoutOrder(PAYMENT, 1, "k", money, ACCOUNT))
    assert isinstance(answer, Declined)
    assert answer.failure_code == code
    assert stripe.requests == []


def test_a_vendor_without_an_account_is_paid_on_one_named_after_it(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, ordered(destination=f"acct_{PAYMENT.hex}")))
    assert provider.account(str(PAYMENT)) == f"acct_{PAYMENT.hex}"
    assert provider.account(ACCOUNT) == ACCOUNT
    order = PayoutOrder(PAYMENT, 1, "k", Money(15_000, "USD"), str(PAYMENT))
    assert provider.submit(order) == Accepted("tr_1")


def test_a_look_up_asks_for_the_transfer_group(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, listed()))
    assert provider.look_up(ORDER) == NotFound()
    (request,) = stripe.requests
    assert (request.method, request.path) == ("GET", "/v1/transfers")
    assert request.query == {"transfer_group": GROUP, "limit": "100"}


# -- what is believed

CONTRADICTIONS = [
    {"amount": 14_999},
    {"currency": "eur"},
    {"destination": "acct_other"},
    {"transfer_group": "another"},
    {"transfer_group": None},
]


@pytest.mark.parametrize("changes", CONTRADICTIONS, ids=str)
def test_a_transfer_that_nobody_ordered_stops_its_attempt(
    stripe: Script, provider: StripeProvider, changes: dict[str, Any]
):
    stripe.says(Reply(200, {**ordered(), **changes}))
    assert provider.submit(ORDER) == Unknown("contradiction", stopped=True)
    stripe.says(Reply(200, listed(ordered(), {**ordered(), **changes})))
    assert provider.look_up(ORDER) == Unknown("contradiction", stopped=True)


def test_an_expanded_destination_is_the_same_account(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, listed(ordered(destination={"id": ACCOUNT, "object": "account"}))))
    assert provider.look_up(ORDER) == Accepted("tr_1")


def by_attempt(key: object, **changes: Any) -> dict[str, Any]:
    return ordered(metadata={"idempotencyKey": key}, **changes)


@pytest.mark.parametrize("destination", [ACCOUNT, "acct_old", {"id": "acct_old", "object": "account"}], ids=str)
@pytest.mark.parametrize("attempt_no", [1, 3, 20])
def test_what_another_attempt_paid_is_the_payment_s_wherever_it_went(
    stripe: Script, provider: StripeProvider, attempt_no: int, destination: object
):
    stripe.says(Reply(200, listed(by_attempt(f"pay-{PAYMENT}-{attempt_no}", destination=destination))))
    assert provider.look_up(ORDER) == Accepted("tr_1")


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        (ORDER.idempotency_key, {}),
        (None, {}),
        (7, {}),
        ("another", {}),
        (f"pay-{PAYMENT}", {}),
        (f"pay-{UUID(int=1)}-1", {}),
        (f"pay-{PAYMENT}-1", {"amount": 14_999}),
        (f"pay-{PAYMENT}-1", {"currency": "eur"}),
        (f"pay-{PAYMENT}-1", {"transfer_group": "another"}),
    ],
    ids=str,
)
def test_what_went_elsewhere_and_no_other_attempt_paid_is_a_contradiction(
    stripe: Script, provider: StripeProvider, key: object, changes: dict[str, Any]
):
    stripe.says(Reply(200, listed({**by_attempt(key, destination="acct_old"), **changes})))
    assert provider.look_up(ORDER) == Unknown("contradiction", stopped=True)


def test_a_submission_that_comes_back_with_another_attempt_s_key_and_account_is_a_contradiction(
    stripe: Script, provider: StripeProvider
):
    stripe.says(Reply(200, by_attempt(f"pay-{PAYMENT}-1", destination="acct_old")))
    assert provider.submit(ORDER) == Unknown("contradiction", stopped=True)


@pytest.mark.parametrize(
    "body",
    [{}, [], "text", None, {"object": "list", "data": []}, {"object": "transfer"}, ordered(amount="15000")],
    ids=repr,
)
def test_a_success_that_is_no_transfer_proves_nothing(stripe: Script, provider: StripeProvider, body: Any):
    stripe.says(Reply(200, body))
    answer = provider.submit(ORDER)
    assert isinstance(answer, Unknown)
    assert not answer.stopped


def test_the_oldest_of_several_counts_and_the_others_are_told(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, listed(*(ordered(id=f"tr_{n}", created=n) for n in (3, 2, 1)))))
    with structlog.testing.capture_logs() as logs:
        assert provider.look_up(ORDER) == Accepted("tr_1")
    assert [(line["log_level"], line["transfer_ids"]) for line in logs] == [("error", ["tr_3", "tr_2", "tr_1"])]


def test_a_look_up_reads_every_page(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, listed(ordered(id="tr_2"), more=True)), Reply(200, listed(ordered(id="tr_1"))))
    assert provider.look_up(ORDER) == Accepted("tr_1")
    assert stripe.requests[1].query["starting_after"] == "tr_2"


def test_a_list_that_does_not_go_on_ends(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, listed(ordered(), more=True)))
    assert provider.look_up(ORDER) == TryLater("unreadable")
    assert len(stripe.requests) == 2


def reversal(name: str, amount: int) -> dict[str, Any]:
    return {"id": name, "object": "transfer_reversal", "amount": amount, "currency": "usd"}


def test_reversals_come_with_the_transfer(stripe: Script, provider: StripeProvider):
    back = listed(reversal("trr_1", 500), reversal("trr_2", 250))
    stripe.says(Reply(200, listed(ordered(reversals=back, amount_reversed=750))))
    assert provider.look_up(ORDER) == Accepted("tr_1", (Reversal("trr_1", 500), Reversal("trr_2", 250)))
    assert len(stripe.requests) == 1


@pytest.mark.parametrize(
    "carried",
    [listed(reversal("trr_1", 500), more=True), listed(reversal("trr_1", 500)), None],
    ids=["more", "few", "no"],
)
def test_reversals_that_are_not_all_there_are_listed(stripe: Script, provider: StripeProvider, carried: Any):
    stripe.says(
        Reply(200, ordered(reversals=carried, amount_reversed=750)),
        Reply(200, listed(reversal("trr_1", 500), more=True)),
        Reply(200, listed(reversal("trr_2", 250))),
    )
    seen = provider.read_transfer("tr_1")
    assert isinstance(seen, TransferSeen)
    assert seen.reversals == (Reversal("trr_1", 500), Reversal("trr_2", 250))
    assert seen.reversed_cents == 750
    assert [request.path for request in stripe.requests[1:]] == ["/v1/transfers/tr_1/reversals"] * 2


# -- reading


def test_a_transfer_is_read_in_our_units(stripe: Script, provider: StripeProvider):
    metadata = {"idempotencyKey": "k"}
    stripe.says(Reply(200, ordered(amount=500, currency="isk", metadata=metadata, created=int(SINCE.timestamp()))))
    assert provider.read_transfer("tr_1") == TransferSeen(
        "tr_1", GROUP, "k", Money(5, "ISK"), ACCOUNT, (), SINCE, livemode=False
    )


def test_what_is_not_there_is_not_found(stripe: Script, provider: StripeProvider):
    stripe.says(error(404, code="resource_missing", param="id"))
    assert provider.read_transfer("tr_1") == NotFound()
    assert provider.read_payout("po_1", ACCOUNT) == NotFound()


def test_an_account_that_left_us_is_not_an_outage(stripe: Script, provider: StripeProvider):
    stripe.says(error(403, code="account_invalid"))
    assert provider.read_payout("po_1", ACCOUNT) == NotFound()


def payout(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "po_1", "object": "payout", "status": status, "failure_code": None, "livemode": False, **more}


def entry(number: int, source: Any) -> dict[str, Any]:
    return {"id": f"txn_{number}", "object": "balance_transaction", "type": "payment", "source": source}


@pytest.mark.parametrize(
    ("status", "settlement", "failure"),
    [
        ("pending", Settlement.IN_TRANSIT, None),
        ("in_transit", Settlement.IN_TRANSIT, None),
        ("paid", Settlement.PAID, None),
        ("failed", Settlement.FAILED, "account_closed"),
        ("canceled", Settlement.FAILED, "canceled"),
    ],
)
def test_a_payout_is_read_with_what_it_pays_out(
    stripe: Script, provider: StripeProvider, status: str, settlement: Settlement, failure: str | None
):
    code = "account_closed" if status == "failed" else None
    stripe.says(
        Reply(200, payout(status, failure_code=code, automatic=True)),
        Reply(200, listed(entry(1, {"id": "py_1", "source_transfer": "tr_1"}), entry(2, "py_2"), more=True)),
        Reply(200, listed(entry(3, {"id": "py_3", "source_transfer": {"id": "tr_3"}}))),
    )
    seen = provider.read_payout("po_1", ACCOUNT)
    assert seen == PayoutSeen("po_1", ACCOUNT, settlement, failure, ("tr_1", "tr_3"), livemode=False)
    assert {request.headers["stripe-account"] for request in stripe.requests} == {ACCOUNT}
    assert stripe.requests[1].query == {"payout": "po_1", "type": "payment", "expand[0]": "data.source", "limit": "100"}


def test_of_a_payout_by_hand_nobody_knows_what_it_pays_out(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, payout("paid", automatic=False)))
    assert provider.read_payout("po_1", ACCOUNT) == PayoutSeen(
        "po_1", ACCOUNT, Settlement.PAID, None, (), livemode=False
    )


def test_a_status_that_is_new_to_us_is_no_settlement(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, payout("floating", automatic=False)))
    assert provider.read_payout("po_1", ACCOUNT) == TryLater("unreadable")


def test_all_transfers_are_read_page_by_page(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, listed(transfer(id="tr_2"), more=True)), Reply(200, listed(transfer(id="tr_1"))))
    seen = provider.transfers(SINCE)
    assert next(seen).provider_object_id == "tr_2"
    assert len(stripe.requests) == 1
    assert [each.provider_object_id for each in seen] == ["tr_1"]
    assert stripe.requests[0].query == {"created[gte]": str(int(SINCE.timestamp())), "limit": "100"}


def test_a_transfer_in_no_currency_of_ours_hides_no_other(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, listed(transfer(id="tr_2", currency="zzz"), transfer(id="tr_1"))))
    assert [each.provider_object_id for each in provider.transfers(SINCE)] == ["tr_1"]


@pytest.mark.parametrize(
    "reply", [Reply(reset=True), error(500, "api_error"), error(429), error(401), Reply(200, b"<p>")]
)
def test_reading_all_transfers_stops_where_stripe_does(stripe: Script, provider: StripeProvider, reply: Reply):
    stripe.says(Reply(200, listed(transfer(), more=True)), reply)
    seen = provider.transfers(SINCE)
    next(seen)
    with pytest.raises(ProviderAwayError):
        next(seen)


# -- the probe


@pytest.mark.parametrize(
    "reply", [Reply(200, {"object": "balance"}), error(429, code="rate_limit")], ids=["200", "429"]
)
def test_an_answer_is_an_answer(stripe: Script, provider: StripeProvider, reply: Reply):
    stripe.says(reply)
    provider.probe()
    assert [request.path for request in stripe.requests] == ["/v1/balance"]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(reset=True), "connection"),
        (error(503, "api_error"), "server_error"),
        (error(401), "credentials"),
        (error(403), "credentials"),
        (error(404), "configuration"),
        (Reply(200, b"<html>"), "unreadable"),
        (Reply(200, {}), "unreadable"),
    ],
)
def test_no_answer_is_told_by_its_code(stripe: Script, provider: StripeProvider, reply: Reply, code: str):
    stripe.says(reply)
    with pytest.raises(ProviderAwayError) as away:
        provider.probe()
    assert str(away.value) == code
    assert away.value.__context__ is None  # nothing of what Stripe said travels with it


# -- time


@pytest.mark.parametrize("call", ["submit", "look_up", "probe", "read_transfer"])
def test_nobody_waits_longer_than_the_timeout(stripe: Script, call: str):
    provider = connected(stripe, timeouts=QUICK)
    stripe.says(Reply(200, ordered(), delay_s=30))
    start = clock.monotonic()
    if call == "submit":
        assert provider.submit(ORDER) == Unknown("timeout")
    elif call == "look_up":
        assert provider.look_up(ORDER) == TryLater("timeout", away=True)
    elif call == "read_transfer":
        assert provider.read_transfer("tr_1") == TryLater("timeout", away=True)
    else:
        with pytest.raises(ProviderAwayError, match="timeout"):
            provider.probe()
    assert clock.monotonic() - start < 5
    assert len(stripe.requests) == 1


def test_the_timeouts_fit_into_the_time_of_a_message():
    times = Timeouts()
    assert sum(times.of(times.look_up_s)) == 10
    assert sum(times.of(times.submit_s)) == 20
    assert sum(times.of(times.probe_s)) == 2


# -- the key


@pytest.mark.parametrize(
    ("key", "live"), [("sk_live_1", True), ("rk_live_1", True), ("sk_test_1", False), ("any", False)]
)
def test_the_key_says_whether_the_money_is_real(key: str, *, live: bool):
    assert StripeProvider(name="stripe", key=lambda: key).livemode is live


def test_a_live_key_goes_over_no_open_line():
    with pytest.raises(ValueError, match="https"):
        StripeProvider(name="stripe", key=lambda: "sk_live_1", api_base="http://127.0.0.1:1")


def test_a_rotated_key_costs_one_refusal(stripe: Script):
    keys = ["sk_test_old", "sk_test_new"]
    provider = connected(stripe, key=lambda: keys.pop(0) if len(keys) > 1 else keys[0])
    stripe.says(error(401), Reply(200, ordered()))
    assert provider.submit(ORDER) == TryLater("credentials", away=True)
    assert provider.submit(ORDER) == Accepted("tr_1")
    assert [request.headers["authorization"] for request in stripe.requests] == [
        "Bearer sk_test_old",
        "Bearer sk_test_new",
    ]


def test_a_wrong_key_is_no_storm(stripe: Script, monkeypatch: pytest.MonkeyPatch):
    fetched: list[float] = []
    now = [1_000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])

    def key() -> str:
        fetched.append(now[0])
        return KEY

    provider = connected(stripe, key=key)
    stripe.says(error(401))
    with structlog.testing.capture_logs() as logs:
        for _ in range(10):
            provider.submit(ORDER)
            now[0] += 4
    assert fetched == [1_000.0, 1_004.0, 1_036.0]
    assert [line["log_level"] for line in logs] == ["error"]


def test_a_key_of_the_other_world_is_not_used(stripe: Script):
    keys = ["sk_test_old", "sk_live_new"]
    provider = connected(stripe, key=lambda: keys.pop(0) if len(keys) > 1 else keys[0])
    stripe.says(error(401))
    for _ in range(3):
        assert provider.submit(ORDER) == TryLater("credentials", away=True)
    assert len(stripe.requests) == 1


def test_a_key_that_cannot_be_fetched_is_a_matter_of_time(stripe: Script):
    def key() -> str:
        if not stripe.requests:
            return KEY
        raise ConnectionError("the secret is sk_test_leaked")

    provider = connected(stripe, key=key)
    stripe.says(error(401))
    with structlog.testing.capture_logs() as logs:
        assert provider.submit(ORDER) == TryLater("credentials", away=True)
        assert provider.look_up(ORDER) == TryLater("credentials", away=True)
    assert "leaked" not in repr(logs)


# -- whose key it is


@pytest.fixture
def ours(stripe: Script) -> StripeProvider:
    return connected(stripe, platform=PLATFORM)


def paths(stripe: Script) -> list[str]:
    return [request.path for request in stripe.requests]


def test_a_key_is_asked_about_once_before_its_first_use(stripe: Script, ours: StripeProvider):
    assert stripe.requests == []
    stripe.says(Reply(200, platform()), Reply(200, ordered()))
    assert ours.submit(ORDER) == Accepted("tr_1")
    assert ours.submit(ORDER) == Accepted("tr_1")
    assert paths(stripe) == ["/v1/account", "/v1/transfers", "/v1/transfers"]
    assert "stripe-account" not in stripe.requests[0].headers


def test_a_new_key_is_asked_about_again(stripe: Script):
    keys = ["sk_test_old", "sk_test_new"]
    provider = connected(stripe, platform=PLATFORM, key=lambda: keys.pop(0) if len(keys) > 1 else keys[0])
    stripe.says(Reply(200, platform()), error(401), Reply(200, platform()), Reply(200, ordered()))
    assert provider.submit(ORDER) == TryLater("credentials", away=True)
    assert provider.submit(ORDER) == Accepted("tr_1")
    assert [(request.path, request.headers["authorization"][-3:]) for request in stripe.requests] == [
        ("/v1/account", "old"),
        ("/v1/transfers", "old"),
        ("/v1/account", "new"),
        ("/v1/transfers", "new"),
    ]


def test_a_key_of_another_platform_is_never_used_and_the_right_one_soon_is(
    stripe: Script, monkeypatch: pytest.MonkeyPatch
):
    now = [1_000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    fetched: list[float] = []

    def key() -> str:
        fetched.append(now[0])
        return KEY

    provider = connected(stripe, platform=PLATFORM, key=key)
    stripe.says(Reply(200, platform(id="acct_other")))
    with structlog.testing.capture_logs() as logs:
        for _ in range(10):
            assert provider.submit(ORDER) == TryLater("credentials", away=True)
            assert provider.look_up(ORDER) == TryLater("credentials", away=True)
            now[0] += 4
    assert set(paths(stripe)) == {"/v1/account"}
    assert fetched == [1_000.0, 1_000.0, 1_032.0]  # not at every call: a wrong key is no storm
    assert [(line["log_level"], line["problem"]) for line in logs] == [("error", "another platform")]
    stripe.says(Reply(200, platform()), Reply(200, ordered()))
    assert provider.submit(ORDER) == Accepted("tr_1")


#: Why the account cannot be read: the reply, the reason, and whether the provider is away.
UNREAD = [
    (Reply(reset=True), "connection", True),
    (error(500, "api_error"), "server_error", True),
    (error(429), "rate_limited", False),
    (error(401), "credentials", True),
    (error(403, code="more_permissions_required"), "credentials", True),
    (error(400, code="account_invalid"), "refused", False),
    (error(404, code="resource_missing"), "refused", False),
    (error(400, code="balance_insufficient"), "balance_insufficient", False),
    (error(400, "idempotency_error"), "idempotency_mismatch", False),
    (Reply(200, b"<html>"), "unreadable", True),
    (Reply(200, {}), "unreadable", True),
    (Reply(200, platform(id=None)), "unreadable", True),
    (Reply(200, ordered()), "unreadable", True),
]


@pytest.mark.parametrize(("reply", "reason", "away"), UNREAD)
def test_while_nobody_can_say_whose_key_it_is_nothing_is_asked(
    stripe: Script, ours: StripeProvider, reply: Reply, reason: str, *, away: bool
):
    later = TryLater(reason, away=away)
    stripe.says(reply)
    assert [ours.look_up(ORDER), ours.submit(ORDER), ours.read_transfer("tr_1")] == [later] * 3
    assert ours.read_payout("po_1", ACCOUNT) == later
    with pytest.raises(ProviderAwayError, match=reason):
        next(ours.transfers(SINCE))
    assert paths(stripe) == ["/v1/account"] * 5
    stripe.says(Reply(200, platform()), Reply(200, ordered()))
    assert ours.submit(ORDER) == Accepted("tr_1")
    assert paths(stripe)[5:] == ["/v1/account", "/v1/transfers"]


def test_a_transfer_is_not_passed_over_because_nobody_can_say_whose_key_it_is(stripe: Script):
    """An odd transfer is none of ours; an odd account says nothing about the transfer."""
    provider = connected(stripe, platform=PLATFORM)
    stripe.says(Reply(200, platform()), Reply(200, listed(transfer(), transfer(id="tr_2"))), error(401))
    seen = provider.transfers(SINCE)
    assert next(seen).provider_object_id == "tr_1"
    assert provider.look_up(ORDER) == TryLater("credentials", away=True)  # the clients are forgotten
    stripe.says(Reply(200, {}))
    with pytest.raises(ProviderAwayError, match="unreadable"):
        next(seen)


def test_whose_key_it_is_is_asked_with_the_short_timeout(stripe: Script):
    provider = connected(stripe, platform=PLATFORM, timeouts=Timeouts(probe_s=1.0))
    stripe.says(Reply(200, platform(), delay_s=30))
    start = clock.monotonic()
    assert provider.submit(ORDER) == TryLater("timeout", away=True)
    assert clock.monotonic() - start < 5
    assert paths(stripe) == ["/v1/account"]


def test_the_settings_say_whose_the_key_must_be(stripe: Script):
    class Secrets:
        def get_secret_value(self, **_which: str) -> dict[str, str]:
            return {"SecretString": KEY}

    wanted = {
        "PROVIDER": "stripe",
        "PROVIDER_URL": stripe.url,
        "STRIPE_SECRET_ARN": "arn",
        "STRIPE_ACCOUNT_ID": PLATFORM,
    }
    secrets: Any = Secrets
    provider = make_provider(settings.load({f"PAYMENTS_{name}": value for name, value in wanted.items()}), secrets)
    stripe.says(Reply(200, platform(id="acct_other")))
    assert provider.submit(ORDER) == TryLater("credentials", away=True)
    assert paths(stripe) == ["/v1/account"]


def test_without_an_account_in_the_settings_nobody_asks_whose_key_it_is(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, ordered()))
    provider.submit(ORDER)
    assert paths(stripe) == ["/v1/transfers"]


# -- what nobody reads


@pytest.mark.parametrize(
    "reply",
    [
        error(400, code="account_invalid"),
        error(400),
        error(402, "card_error", "card_declined", decline_code="do_not_honor"),
        error(401),
        error(500, "api_error"),
        Reply(200, b"<html>Jane Roe of 1 Private Road</html>"),
        Reply(200, b'{"id": "Jane Roe of 1 Private Road"'),
        Reply(400, {"error": "Jane Roe of 1 Private Road"}),
        Reply(400, {"error": {"type": "invalid_request_error", "code": "Jane Roe of 1 Private Road"}}),
        Reply(200, ordered(id="", description="Jane Roe of 1 Private Road")),
    ],
)
def test_neither_key_nor_words_of_stripe_are_told_to_anybody(
    stripe: Script, provider: StripeProvider, caplog: pytest.LogCaptureFixture, capfd: Any, reply: Reply
):
    stripe.says(reply)
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logs:
        answers = [provider.submit(ORDER), provider.look_up(ORDER), provider.read_transfer("tr_1")]
    captured = capfd.readouterr()
    told = repr((answers, logs, caplog.text, captured))
    assert "Jane" not in told
    assert "Private" not in told
    assert KEY not in told


def test_stripe_s_own_log_keeps_quiet(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, ordered()))
    provider.submit(ORDER)
    assert logging.getLogger("stripe").level == logging.WARNING


# -- threads


def test_threads_share_it(stripe: Script, provider: StripeProvider):
    stripe.says(Reply(200, ordered(), delay_s=0.2))
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(provider.submit(ORDER))) for _ in range(12)]
    start = clock.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [Accepted("tr_1")] * 12
    assert clock.monotonic() - start < 2
