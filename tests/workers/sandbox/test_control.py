"""What is arranged over HTTP, and the server's manners."""

import http.client
import json
import socket
import threading
from typing import Any

import pytest
import stripe

from tests.workers.sandbox.paying import until
from workers.sandbox.plan import Fault
from workers.sandbox.server import Sandbox


@pytest.fixture
def control(sandbox):
    def ask(method, path, body=None, headers=None):
        return asked(sandbox.url, method, f"/_control/{path}", json.dumps(body) if body is not None else None, headers)

    return ask


def asked(url: str, method: str, path: str, body: str | None = None, headers: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_the_state_is_told(control, pay, sandbox):
    pay("k")
    status, state = control("GET", "state")
    assert status == 200
    assert state["counts"]["transfers"] == state["counts"]["keys"] == 1
    assert (state["undelivered"], state["outage"], state["unauthorized"]) == (1, "off", False)
    assert state["plan"]["struck"] == {}
    assert state["clock"]["offset_s"] == 0


def test_a_plan_is_made(control, pay, sandbox):
    plan = {"seed": 4, "rates": {"slow": 0.5}, "slow_s": [0, 0.001], "timeout_s": 1, "next": ["error_before"]}
    _, state = control("PUT", "plan", plan)
    assert (state["plan"]["seed"], state["plan"]["rates"]) == (4, {"slow": 0.5})
    with pytest.raises(stripe.APIError):
        pay("k")
    assert sandbox.plan.counts[Fault.ERROR_BEFORE] == 1


def test_the_switches_are_thrown_while_nobody_else_gets_through(control, pay):
    for path, on, off in (
        ("outage", {"mode": "reset"}, {"mode": "off"}),
        ("outage", {"mode": "503"}, {"mode": "off"}),
        ("unauthorized", {"on": True}, {"on": False}),
    ):
        assert control("PUT", path, on)[0] == 200
        with pytest.raises(stripe.StripeError):
            pay()
        assert control("PUT", path, off)[0] == 200
        assert pay().id


def test_time_money_and_accounts_are_arranged(control, pay, sandbox):
    pay("k")
    assert control("POST", "clock", {"advance_s": 86_400})[1]["clock"]["offset_s"] == 86_400
    assert control("POST", "prune") == (200, {"pruned": 1})
    assert control("PUT", "balance", {"usd": 3})[1]["balance"] == {"usd": 3}
    assert control("PUT", "balance", {"usd": None})[1]["balance"]["usd"] > 10**12
    assert control("PUT", "accounts/acct_1", {"state": "closed"})[1]["payouts_enabled"] is False
    with pytest.raises(stripe.InvalidRequestError):
        pay(destination="acct_1")


def test_payouts_are_arranged(control, pay):
    pay()
    status, settled = control("POST", "payouts", {"account": "acct_vendor"})
    assert (status, settled["data"][0]["status"]) == (200, "in_transit")
    name = settled["data"][0]["id"]
    assert control("POST", f"payouts/{name}", {"status": "paid"})[1]["status"] == "paid"
    failed = control("POST", f"payouts/{name}", {"status": "failed", "failure_code": "no_account"})[1]
    assert (failed["status"], failed["failure_code"]) == ("failed", "no_account")
    assert control("POST", f"payouts/{name}", {"status": "paid"})[0] == 400
    assert control("POST", "payouts", {"account": "acct_nobody"})[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "nothing", None, 404),
        ("POST", "state", None, 404),
        ("PUT", "plan", {"rates": {"fire": 1}}, 400),
        ("PUT", "plan", {"rates": {"slow": 2}}, 400),
        ("PUT", "outage", {}, 400),
        ("PUT", "outage", {"mode": "partly"}, 400),
        ("POST", "clock", {"advance_s": -1}, 400),
        ("PUT", "balance", [1], 400),
        ("PUT", "accounts/acct_1", {"state": "odd"}, 400),
        ("POST", "payouts/po_none", {"status": "paid"}, 404),
    ],
)
def test_what_cannot_be_arranged_is_refused(control, method, path, body, status):
    assert control(method, path, body)[0] == status


def test_no_fault_strikes_the_control(control, sandbox):
    sandbox.plan.set(rates={Fault.LOST_BEFORE: 1.0})
    assert all(control("GET", "state")[0] == 200 for _ in range(3))
    assert asked(sandbox.url, "GET", "/health") == (200, {"status": "ok"})


@pytest.mark.parametrize("header", [None, "Bearer sk_live_1", "Basic !", "Basic c2tfbGl2ZTo=", "Digest x"])
def test_without_a_key_nothing_is_told(sandbox, header):
    status, body = asked(sandbox.url, "GET", "/v1/balance", headers={"Authorization": header} if header else {})
    assert (status, body["error"]["type"]) == (401, "invalid_request_error")


def test_curl_s_user_name_is_a_key(sandbox):
    assert asked(sandbox.url, "GET", "/v1/balance", headers={"Authorization": "Basic c2tfdGVzdF8xOg=="})[0] == 200


def test_one_key_may_be_the_only_one(connect):
    with Sandbox(api_key="sk_test_mine") as running:
        assert connect(running.url, key="sk_test_mine").v1.balance.retrieve().object == "balance"
        with pytest.raises(stripe.AuthenticationError):
            connect(running.url).v1.balance.retrieve()


def test_a_body_without_end_is_refused(sandbox):
    headers = {"Authorization": "Bearer sk_test_1", "Content-Length": "9999999"}
    assert asked(sandbox.url, "POST", "/v1/transfers", "", headers)[0] == 413


def test_garbage_is_not_answered_with_a_traceback(sandbox, capfd):
    host, port = sandbox.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.sendall(b"\x00\x01 nonsense\r\n\r\n")
        raw.recv(100)
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.sendall(b"GET /v1/balance HTTP/1.1\r\nAuth")
    assert asked(sandbox.url, "GET", "/health")[0] == 200
    assert capfd.readouterr().err == ""


def test_stopping_does_not_wait_for_whoever_waits(sandbox, connect, pay):
    sandbox.plan.set(timeout_s=60)
    sandbox.plan.force(Fault.TIMEOUT)
    failed = []

    def wait() -> None:
        try:
            connect(sandbox.url, timeout_s=30).v1.transfers.create(
                {"amount": 1, "currency": "usd", "destination": "acct_1"}
            )
        except stripe.APIConnectionError as error:
            failed.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: sandbox.plan.counts)
    url = sandbox.url
    sandbox.stop()
    thread.join(5)
    assert len(failed) == 1
    assert sandbox.start() == url
    assert len(sandbox.books.transfers()) == 1


def test_it_listens_on_other_loopbacks_too(connect):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with Sandbox(host="::1") as running:
        assert asked(running.url, "GET", "/health")[0] == 200
