"""The outcome table: every row that Stripe can answer with, what the attempt is told, and that money moves once.

The real SDK talks over HTTP to the sandbox provider, whose books say whether money moved; what the sandbox never says
is read from a script.
"""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import UUID

import pytest
import structlog

from contracts.money import Money
from contracts.provider import (
    Accepted,
    Answer,
    Declined,
    NotFound,
    PayoutOrder,
    PayoutSeen,
    ProviderAwayError,
    Reversal,
    Settlement,
    TryLater,
    Unfunded,
    Unknown,
)
from tests.kit.stripe_script import ACCOUNT, Reply, error, listed, scripted, transfer
from workers import clock
from workers.sandbox.api import Answer as Said
from workers.sandbox.api import Request
from workers.sandbox.books import AccountState, PayoutStatus
from workers.sandbox.plan import Fault, Outage
from workers.sandbox.server import Sandbox
from workers.stripe_provider import StripeProvider, Timeouts

PAYMENT = UUID("0d5f6c1e-2f0f-4f6a-8a49-2f8d5b1f7a01")
GROUP = str(PAYMENT)
ORDER = PayoutOrder(PAYMENT, 1, f"pay-{PAYMENT}-1", Money(15_000, "USD"), ACCOUNT)
SECRET = "sk_test_51VerySecret"  # noqa: S105 - opens nothing
#: How long the sandbox is silent where it times out; the client waits for less.
SILENT_S = 0.6
HASTY = Timeouts(connect_s=0.1, look_up_s=0.35, submit_s=0.35, probe_s=0.3)
PATIENT = Timeouts()
DAY_S = 24 * 3_600


class Watched(Sandbox):
    """The sandbox provider, with everything that it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Request] = []

    def answer(self, request: Request) -> Said:
        self.asked.append(request)
        return super().answer(request)

    @property
    def submitted(self) -> list[Request]:
        return [request for request in self.asked if request.method == "POST"]

    def moved(self) -> list[str]:
        """The ids of the transfers that were made: whether money moved, by the books."""
        return [row["id"] for row in self.books.transfers()]

    def truth(self) -> Accepted:
        """What everybody has to come to: the one transfer that there is."""
        (transfer_id,) = self.moved()
        return Accepted(transfer_id)

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self.plan.set(timeout_s=SILENT_S)
        self.switches.outage = Outage.OFF
        self.switches.unauthorized = False
        self.books.set_balance("usd", None)


@pytest.fixture
def sandbox() -> Iterator[Watched]:
    with Watched() as found:
        found.heal()
        yield found
    found.books.close()


@pytest.fixture
def provider(sandbox: Watched) -> StripeProvider:
    return connected(sandbox.url)


@pytest.fixture
def hasty(sandbox: Watched) -> StripeProvider:
    """One that gives up before the sandbox breaks its silence."""
    return connected(sandbox.url, HASTY)


def connected(url: str, timeouts: Timeouts = PATIENT, platform: str | None = None) -> StripeProvider:
    return StripeProvider(name="sandbox", key=lambda: SECRET, api_base=url, timeouts=timeouts, platform=platform)


def paid(provider: StripeProvider, order: PayoutOrder) -> str:
    """Look up, then submit under the same key, until the provider says that it has paid; as the worker does."""
    for _ in range(20):
        found = provider.look_up(order)
        answer = provider.submit(order) if isinstance(found, NotFound) else found
        if isinstance(answer, Accepted):
            return answer.provider_object_id
        assert isinstance(answer, TryLater | Unknown), answer
        clock.sleep(0.05)
    raise AssertionError("it never came to an end")


Arrange = Callable[[Watched], None]


def strike(fault: Fault) -> Arrange:
    return lambda sandbox: sandbox.plan.force(fault)


def account(state: AccountState) -> Arrange:
    return lambda sandbox: sandbox.books.set_account(ACCOUNT, state)


def nothing(_sandbox: Watched) -> None:
    pass


def lock_out(sandbox: Watched) -> None:
    sandbox.switches.unauthorized = True


def outage(how: Outage) -> Arrange:
    def arrange(sandbox: Watched) -> None:
        sandbox.switches.outage = how

    return arrange


#: Rows after which the same key still pays: what is wrong, the answer, how many transfers there are at once.
SAME_KEY = {
    "2xx: executed": (nothing, Accepted, 1),
    "APIConnectionError (reset): unknown, not executed": (strike(Fault.LOST_BEFORE), Unknown("connection"), 0),
    "APIConnectionError (reset): unknown, executed": (strike(Fault.LOST_AFTER), Unknown("connection"), 1),
    "APIConnectionError (outage, reset): unknown": (outage(Outage.RESET), Unknown("connection"), 0),
    "APIConnectionError (cut off): unknown, executed": (strike(Fault.CUT_OFF), Unknown("unreadable"), 1),
    "APIError 5xx (500): unknown, executed": (strike(Fault.ERROR_AFTER), Unknown("server_error"), 1),
    "APIError 5xx (503): unknown, nothing stored": (strike(Fault.UNAVAILABLE), Unknown("server_error"), 0),
    "APIError 5xx (outage, 503): unknown": (outage(Outage.UNAVAILABLE), Unknown("server_error"), 0),
    "RateLimitError 429: not executed": (strike(Fault.RATE_LIMITED), TryLater("rate_limited"), 0),
    "RateLimitError lock_timeout: not executed": (strike(Fault.LOCK_TIMEOUT), TryLater("lock_timeout"), 0),
    "409 idempotency_key_in_use: another call is running": (strike(Fault.IN_USE), TryLater("key_in_use"), 0),
    "401: not executed, our configuration": (lock_out, TryLater("credentials", away=True), 0),
}


@pytest.mark.parametrize(("arrange", "expected", "moved"), SAME_KEY.values(), ids=SAME_KEY.keys())
def test_one_transfer_comes_of_it(
    sandbox: Watched, provider: StripeProvider, arrange: Arrange, expected: Answer | type[Answer], moved: int
):
    arrange(sandbox)
    answer = provider.submit(ORDER)
    assert isinstance(answer, expected) if isinstance(expected, type) else answer == expected
    assert len(sandbox.submitted) == 1
    assert sandbox.submitted[0].headers["idempotency-key"] == ORDER.idempotency_key
    assert len(sandbox.moved()) == moved
    sandbox.heal()
    assert [paid(provider, ORDER)] == sandbox.moved()
    assert {request.headers["idempotency-key"] for request in sandbox.submitted} == {ORDER.idempotency_key}


TIMED_OUT = {
    "APIConnectionError (timeout): unknown, executed": (Fault.TIMEOUT, 1),
    "APIConnectionError (timeout): unknown, executed later": (Fault.LATE, 0),
}


@pytest.mark.parametrize(("fault", "moved"), TIMED_OUT.values(), ids=TIMED_OUT.keys())
def test_one_transfer_comes_of_silence(
    sandbox: Watched, provider: StripeProvider, hasty: StripeProvider, fault: Fault, moved: int
):
    sandbox.plan.force(fault)
    assert hasty.submit(ORDER) == Unknown("timeout")
    assert len(sandbox.submitted) == 1
    assert len(sandbox.moved()) == moved
    assert [paid(provider, ORDER)] == sandbox.moved()


def test_a_garbled_answer_proves_nothing_and_one_transfer_comes_of_it(sandbox: Watched, provider: StripeProvider):
    """APIError 5xx (a proxy's page), or 2xx that is no JSON: unknown, executed."""
    reasons = set()
    for number in range(8):
        order = replace(ORDER, payment_id=UUID(int=number), idempotency_key=f"k-{number}")
        sandbox.plan.force(Fault.GARBLED)
        answer = provider.submit(order)
        assert isinstance(answer, Unknown)
        assert not answer.stopped
        reasons.add(answer.reason)
        assert paid(provider, order) == sandbox.moved()[-1]
        assert len(sandbox.moved()) == number + 1
    assert reasons == {"server_error", "unreadable"}


def test_apierror_500_replayed_under_its_key_for_ever_while_the_look_up_finds_the_truth(
    sandbox: Watched, provider: StripeProvider
):
    sandbox.plan.force(Fault.ERROR_AFTER)
    for _ in range(4):
        assert provider.submit(ORDER) == Unknown("server_error")
    assert provider.look_up(ORDER) == sandbox.truth()


def test_apierror_500_not_executed_poisons_its_key_until_the_window_is_closed(
    sandbox: Watched, provider: StripeProvider
):
    sandbox.plan.force(Fault.ERROR_BEFORE)
    for _ in range(4):
        assert provider.submit(ORDER) == Unknown("server_error")
        assert provider.look_up(ORDER) == NotFound()
    assert sandbox.moved() == []
    sandbox.books.advance(DAY_S + 1)
    second = replace(ORDER, attempt_no=2, idempotency_key=f"pay-{PAYMENT}-2")
    assert [paid(provider, second)] == sandbox.moved()


def test_idempotency_error_400_we_changed_the_request(sandbox: Watched, provider: StripeProvider):
    provider.submit(ORDER)
    changed = replace(ORDER, money=Money(20_000, "USD"))
    assert provider.submit(changed) == Unknown("idempotency_mismatch", stopped=True)
    assert len(sandbox.moved()) == 1
    assert provider.look_up(changed) == Unknown("contradiction", stopped=True)
    assert provider.look_up(ORDER) == sandbox.truth()


def test_invalid_request_balance_insufficient_not_executed_key_poisoned(sandbox: Watched, provider: StripeProvider):
    sandbox.books.set_balance("usd", 100)
    assert provider.submit(ORDER) == Unfunded("balance_insufficient")
    sandbox.books.set_balance("usd", 1_000_000)
    assert provider.submit(ORDER) == Unfunded("balance_insufficient")  # there is money now, and it does not help
    assert sandbox.moved() == []
    second = replace(ORDER, attempt_no=2, idempotency_key=f"pay-{PAYMENT}-2")
    assert [paid(provider, second)] == sandbox.moved()


REFUSED = {
    "InvalidRequestError account closed": (account(AccountState.CLOSED), ORDER, "account_invalid"),
    "InvalidRequestError account disabled": (account(AccountState.DISABLED), ORDER, "transfers_not_allowed"),
    "InvalidRequestError account missing": (nothing, replace(ORDER, destination="elsewhere"), "resource_missing"),
    "InvalidRequestError capability": (
        account(AccountState.NO_CAPABILITY),
        ORDER,
        "insufficient_capabilities_for_transfer",
    ),
    "InvalidRequestError amount": (nothing, replace(ORDER, money=Money(100_000_000, "USD")), "amount_too_large"),
}


@pytest.mark.parametrize(("arrange", "order", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_a_definite_refusal_moves_nothing(
    sandbox: Watched, provider: StripeProvider, arrange: Arrange, order: PayoutOrder, code: str
):
    arrange(sandbox)
    if order.destination == "elsewhere":
        sandbox.books.set_account("elsewhere", AccountState.MISSING)
    for _ in range(2):  # the second time from its memory
        answer = provider.submit(order)
        assert isinstance(answer, Declined)
        assert answer.failure_code == code
        assert len(answer.reason) < 100
        assert order.destination not in answer.reason
    assert provider.look_up(order) == NotFound()
    assert sandbox.moved() == []


#: A refusal that may be about how we ask: `failed` is final, so a person looks first.
REFUSED_ODDLY = Unknown("refused", stopped=True)
#: Rows that the sandbox never says: the reply, and the answer to a submission.
SCRIPTED = {
    "CardError 402: decline code": (
        error(402, "card_error", "card_declined", decline_code="insufficient_funds"),
        Declined("insufficient_funds", "The provider refused the transfer; its code says why."),
    ),
    "CardError 402: code alone": (
        error(402, "card_error", "expired_card"),
        Declined("expired_card", "The provider refused the transfer; its code says why."),
    ),
    "CardError 402: no code": (error(402, "card_error"), REFUSED_ODDLY),
    "card_error with another status": (error(400, "card_error", "card_declined"), REFUSED_ODDLY),
    "402 that is no card's, and new": (error(402, code="pay_your_bill"), REFUSED_ODDLY),
    "402 that is no card's": (error(402, code="balance_insufficient"), Unfunded("balance_insufficient")),
    "403": (error(403), TryLater("credentials", away=True)),
    "401 expired": (error(401, code="api_key_expired"), TryLater("credentials", away=True)),
    "InvalidRequestError currency, without a code": (
        error(400, param="currency"),
        REFUSED_ODDLY,
    ),
    "InvalidRequestError, a parameter that they do not know": (error(400, code="parameter_unknown"), REFUSED_ODDLY),
    "InvalidRequestError, a parameter that they want": (error(400, code="parameter_missing"), REFUSED_ODDLY),
    "InvalidRequestError, a right that we lack": (error(400, code="more_permissions_required"), REFUSED_ODDLY),
    "InvalidRequestError, a code that is new": (error(400, code="brand_new"), REFUSED_ODDLY),
    "404 with a code that is new": (error(404, code="brand_new"), REFUSED_ODDLY),
    "404 of the vendor's account": (
        error(404, code="resource_missing"),
        Declined("resource_missing", "The provider does not know the vendor's account."),
    ),
    "InvalidRequestError about our platform": (
        error(400, code="platform_account_required"),
        TryLater("configuration", away=True),
    ),
    "404 of the address itself": (error(404), TryLater("configuration", away=True)),
    "400 rate_limit, as it once was": (error(400, code="rate_limit"), TryLater("rate_limited")),
    "400 lock_timeout": (error(400, code="lock_timeout"), TryLater("lock_timeout")),
    "400 idempotency_key_in_use": (
        error(400, "idempotency_error", "idempotency_key_in_use"),
        TryLater("key_in_use"),
    ),
    "409 of another kind": (error(409), Unknown("unexpected")),
    "409 idempotency_error": (error(409, "idempotency_error"), Unknown("idempotency_mismatch", stopped=True)),
    "400 api_error": (error(400, "api_error"), Unknown("unexpected")),
    "400 without a type": (Reply(400, {"error": {}}), Unknown("unexpected")),
    "400 whose error is a text": (Reply(400, {"error": "bad"}), Unknown("unexpected")),
    "400 whose error is null": (Reply(400, {"error": None}), Unknown("unexpected")),
    "424 dependency": (error(424), Unknown("unexpected")),
    "429 of a proxy": (Reply(429, b"slow down"), TryLater("rate_limited")),
    "403 of a proxy": (Reply(403, b"<html>"), Unknown("unreadable")),
    "404 of a proxy": (Reply(404, b"<html>"), Unknown("unreadable")),
    "500 with a code that refuses": (
        error(500, "invalid_request_error", "balance_insufficient"),
        Unknown("server_error"),
    ),
    "500 lock_timeout": (error(500, "api_error", "lock_timeout"), Unknown("server_error")),
    "504 of a proxy": (Reply(504, b""), Unknown("server_error")),
    "200 HTML": (Reply(200, b"<html>"), Unknown("unreadable")),
    "200 empty": (Reply(200, b""), Unknown("unreadable")),
    "200 not UTF-8": (Reply(200, b"\xff\xfe"), Unknown("unreadable")),
    "200 wrongly compressed": (Reply(200, b"{}", {"Content-Encoding": "gzip"}), Unknown("unreadable")),
    "200 cut off": (Reply(200, transfer(), cut=True), Unknown("unreadable")),
    "302 elsewhere": (Reply(302, b"", {"Location": "http://127.0.0.1:1/v1/transfers"}), Unknown("connection")),
    "307 elsewhere": (Reply(307, b"", {"Location": "http://127.0.0.1:1/v1/transfers"}), Unknown("connection")),
}


@pytest.mark.parametrize(("reply", "expected"), SCRIPTED.values(), ids=SCRIPTED.keys())
def test_what_else_stripe_may_say(reply: Reply, expected: Answer):
    with scripted() as stripe:
        stripe.says(reply)
        assert connected(stripe.url).submit(ORDER) == expected
        assert len(stripe.requests) == 1


@pytest.mark.parametrize("name", [name for name, (_, expected) in SCRIPTED.items() if expected == REFUSED_ODDLY])
def test_a_refusal_that_may_be_about_us_is_an_error_of_ours(name: str):
    reply, _ = SCRIPTED[name]
    with scripted() as stripe, structlog.testing.capture_logs() as logs:
        stripe.says(reply)
        connected(stripe.url).submit(ORDER)
    said = (reply.status, reply.body["error"].get("code"))
    assert [(line["log_level"], line["status"], line["code"]) for line in logs] == [("error", *said)]


def test_once_we_ask_rightly_what_was_refused_is_paid_under_the_same_key():
    with scripted() as stripe:
        stripe.says(
            error(400, code="parameter_unknown"), Reply(200, listed()), Reply(200, transfer(transfer_group=GROUP))
        )
        provider = connected(stripe.url)
        assert provider.submit(ORDER) == REFUSED_ODDLY
        assert provider.look_up(ORDER) == NotFound()
        assert provider.submit(ORDER) == Accepted("tr_1")
    keys = {request.headers["idempotency-key"] for request in stripe.requests if request.method == "POST"}
    assert keys == {ORDER.idempotency_key}


#: What a read comes to: a read moves nothing, so that it can always be tried again.
READS = {
    "reset": (Reply(reset=True), TryLater("connection", away=True)),
    "500": (error(500, "api_error"), TryLater("server_error", away=True)),
    "503": (error(503, "api_error"), TryLater("server_error", away=True)),
    "429": (error(429), TryLater("rate_limited")),
    "401": (error(401), TryLater("credentials", away=True)),
    "403": (error(403), TryLater("credentials", away=True)),
    "HTML": (Reply(200, b"<html>"), TryLater("unreadable", away=True)),
    "one odd object": (Reply(200, listed({"id": "tr_1"})), TryLater("unreadable")),
    "an odd list": (Reply(200, {"object": "list", "data": None}), TryLater("unreadable")),
    "409": (error(409), TryLater("unexpected")),
    "400": (error(400, code="parameter_unknown"), TryLater("refused")),
    "400 of the account": (error(400, code="account_invalid"), TryLater("refused")),
}


@pytest.mark.parametrize(("reply", "expected"), READS.values(), ids=READS.keys())
def test_what_a_look_up_may_come_to(reply: Reply, expected: TryLater):
    with scripted() as stripe:
        stripe.says(reply)
        assert connected(stripe.url).look_up(ORDER) == expected
        assert len(stripe.requests) == 1


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_api_connection_error_refused_nothing_was_sent():
    provider = connected(f"http://127.0.0.1:{closed_port()}")
    assert provider.submit(ORDER) == TryLater("unreachable", away=True)
    assert provider.look_up(ORDER) == TryLater("unreachable", away=True)
    with pytest.raises(ProviderAwayError, match="unreachable"):
        provider.probe()


def test_api_connection_error_no_such_host_nothing_was_sent():
    assert connected("http://no-such-host.invalid").submit(ORDER) == TryLater("unreachable", away=True)


def test_api_connection_error_connect_timeout_nothing_was_sent():
    """A listener whose queue is full takes no connection, so that the client gives up before it could say anything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        clock.sleep(0.05)
        answer = connected(f"http://127.0.0.1:{address[1]}", HASTY).submit(ORDER)
        for filler in fillers:
            filler.close()
    assert answer == TryLater("unreachable", away=True)


def test_a_proxy_that_is_away_is_no_proof_that_nothing_was_sent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert connected("http://stripe.invalid").submit(ORDER) == Unknown("connection")


def test_a_pruned_key_pays_twice_unless_the_look_up_comes_first(sandbox: Watched, provider: StripeProvider):
    """The trap: after a day the provider has forgotten the key, and takes the same request for another one."""
    first = paid(provider, ORDER)
    sandbox.books.advance(DAY_S + 1)
    assert paid(provider, ORDER) == first
    assert sandbox.moved() == [first]
    provider.submit(ORDER)  # what the worker never does
    assert len(sandbox.moved()) == 2
    with structlog.testing.capture_logs() as logs:
        assert provider.look_up(ORDER) == Accepted(first)
    assert [line["log_level"] for line in logs] == ["error"]


def test_what_an_earlier_attempt_paid_to_the_vendor_s_old_account_is_found(sandbox: Watched, provider: StripeProvider):
    sandbox.plan.force(Fault.LOST_AFTER)
    assert provider.submit(ORDER) == Unknown("connection")
    second = replace(ORDER, attempt_no=2, idempotency_key=f"pay-{PAYMENT}-2", destination="acct_new")
    assert provider.look_up(second) == sandbox.truth()
    assert provider.look_up(replace(ORDER, destination="acct_new")) == Unknown("contradiction", stopped=True)


#: Everything that the provider can be asked.
CALLS: dict[str, Callable[[StripeProvider], object]] = {
    "look_up": lambda provider: provider.look_up(ORDER),
    "submit": lambda provider: provider.submit(ORDER),
    "read_transfer": lambda provider: provider.read_transfer("tr_none"),
    "read_payout": lambda provider: provider.read_payout("po_none", ACCOUNT),
    "transfers": lambda provider: list(provider.transfers(clock.now().replace(year=2020))),
    "probe": StripeProvider.probe,
}


@pytest.mark.parametrize("call", CALLS)
def test_a_key_of_another_platform_reads_and_pays_nothing(sandbox: Watched, call: str):
    provider = connected(sandbox.url, platform="acct_ours")
    assert came_to(provider, call) == TryLater("credentials", away=True)
    assert {request.path for request in sandbox.asked} == {"/v1/account"}


@pytest.mark.parametrize("call", CALLS)
def test_a_key_of_our_platform_is_asked_about_once(sandbox: Watched, call: str):
    provider = connected(sandbox.url, platform=sandbox.books.platform)
    for _ in range(2):
        assert came_to(provider, call) != TryLater("credentials", away=True)
    assert [request.path for request in sandbox.asked].count("/v1/account") == 1
    assert sandbox.asked[0].path == "/v1/account"


def came_to(provider: StripeProvider, call: str) -> object:
    """What a call comes to; that the provider is away, as the reads say it."""
    try:
        return CALLS[call](provider)
    except ProviderAwayError as away:
        return TryLater(str(away), away=True)


def test_two_workers_at_once_move_money_once(sandbox: Watched, provider: StripeProvider):
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(provider.submit(ORDER))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sandbox.moved()) == 1
    accepted = {answer for answer in answers if isinstance(answer, Accepted)}
    assert accepted == {sandbox.truth()}
    assert {answer for answer in answers if not isinstance(answer, Accepted)} <= {TryLater("key_in_use")}


@pytest.mark.parametrize("seed", range(3))
def test_under_any_weather_every_payment_is_paid_once(sandbox: Watched, hasty: StripeProvider, seed: int):
    faults = [fault for fault in Fault if fault not in {Fault.ERROR_BEFORE, Fault.INSUFFICIENT}]
    slow = {Fault.TIMEOUT: 0.01, Fault.LATE: 0.01}
    sandbox.plan.set(seed, {fault: slow.get(fault, 0.05) for fault in faults}, (0.0, 0.01), SILENT_S)
    orders = [replace(ORDER, payment_id=UUID(int=n), idempotency_key=f"pay-{n}") for n in range(15)]
    ids = [paid(hasty, order) for order in orders]
    assert sorted(ids) == sorted(sandbox.moved())


def test_what_came_back_and_what_was_paid_out_is_read(sandbox: Watched, provider: StripeProvider):
    transfer_id = paid(provider, ORDER)
    (payout,) = sandbox.books.settle(ACCOUNT)
    sandbox.books.finish_payout(payout["id"], PayoutStatus.PAID)
    assert provider.read_payout(payout["id"], ACCOUNT) == PayoutSeen(
        payout["id"], ACCOUNT, Settlement.PAID, None, (transfer_id,), livemode=False
    )
    sandbox.books.finish_payout(payout["id"], PayoutStatus.FAILED, "account_closed")
    failed = provider.read_payout(payout["id"], ACCOUNT)
    assert isinstance(failed, PayoutSeen)
    assert (failed.settlement, failed.failure_code) == (Settlement.FAILED, "account_closed")
    (seen,) = provider.transfers(clock.now().replace(year=2020))
    assert seen == provider.read_transfer(transfer_id)
    assert (seen.transfer_group, seen.idempotency_key, seen.money) == (str(PAYMENT), ORDER.idempotency_key, ORDER.money)
    assert provider.read_transfer("tr_none") == NotFound()
    assert provider.read_payout("po_none", ACCOUNT) == NotFound()
    provider.probe()


def test_the_logs_of_a_bad_day_hold_neither_key_nor_body(
    sandbox: Watched, hasty: StripeProvider, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logs:
        for number, fault in enumerate(fault for fault in Fault if fault is not Fault.SLOW):
            sandbox.plan.force(fault)
            hasty.submit(replace(ORDER, payment_id=UUID(int=number), idempotency_key=f"secret-key-{number}"))
        lock_out(sandbox)
        hasty.look_up(ORDER)
    captured = capfd.readouterr()
    told = f"{logs}{caplog.text}{captured.out}{captured.err}"
    assert len(logs) > 8
    for secret in (SECRET, "secret-key-", ACCOUNT, "15000", "An unknown error", "Bad Gateway", "Invalid API Key"):
        assert secret not in told


def test_what_came_back_is_part_of_the_look_up(sandbox: Watched, provider: StripeProvider):
    transfer_id = paid(provider, ORDER)
    backs = [_reverse(sandbox, transfer_id, 10) for _ in range(12)]  # two more than a transfer carries
    found = provider.look_up(ORDER)
    assert isinstance(found, Accepted)
    assert found.provider_object_id == transfer_id
    assert set(found.reversals) == {Reversal(back, 10) for back in backs}


def _reverse(sandbox: Watched, transfer_id: str, amount: int) -> str:
    request = Request(
        "POST",
        f"/v1/transfers/{transfer_id}/reversals",
        headers={"authorization": f"Bearer {SECRET}"},
        body=f"amount={amount}",
    )
    body = sandbox.answer(request).body.decode()
    return body.split('"id":"', 1)[1].split('"', 1)[0]
