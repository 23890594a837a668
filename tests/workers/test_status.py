"""The read-only endpoint over real HTTP: the specified shapes, plain errors, and nothing that writes."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from store import db, migrate
from store.db import Pool, PoolOptions
from tests.kit import messages as m
from tests.kit.funnel import once
from workers import status
from workers.health import DatabaseReadiness, NotReadyError, Server, application
from workers.telemetry import Metrics

PATHS = ("/health", "/ready", "/metrics", "/payments/pending", f"/payments/{m.INCIDENT}")


@pytest.fixture
def port(pool: Pool) -> Iterator[int]:
    app = application(Metrics().registry, dict, DatabaseReadiness(pool), status.routes(pool))
    with served(app) as found:
        yield found


class served:  # noqa: N801 - reads as a verb
    """A server for the length of a block."""

    def __init__(self, app: Any) -> None:
        self._server = Server(app, "127.0.0.1", 0)

    def __enter__(self) -> int:
        return int(self._server.start().rpartition(":")[2])

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        assert not self._server.alive()


def ask(port: int, path: str, method: str = "GET") -> tuple[int, http.client.HTTPMessage, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    is_json = "json" in answer.headers["content-type"]
    return answer.status, answer.headers, json.loads(text) if is_json and text else text


def test_a_payment_is_shown_with_its_lines_in_the_specified_shape(port: int, pool: Pool):
    payment_id = once(pool, m.parsed(m.work())).payment_id
    code, _, shown = ask(port, f"/payments/{payment_id}")
    assert code == 200
    assert set(shown) == {"payment", "lineItems"}
    payment = shown["payment"]
    assert payment["paymentId"] == str(payment_id)
    assert (payment["status"], payment["amountCents"], payment["currency"]) == ("pending_approval", 15000, "USD")
    assert (payment["incidentId"], payment["vendorId"]) == (str(m.INCIDENT), str(m.VENDOR))
    assert payment["createdAt"].endswith("Z")
    assert not {"requestFingerprint", "auditHead", "sourceKey"} & set(payment)
    assert [line["totalCents"] for line in shown["lineItems"]] == [12000, 3000]
    assert set(shown["lineItems"][0]) >= {"lineItemId", "description", "quantity", "unitPriceCents", "totalCents"}


def test_pending_payments_come_oldest_first_in_pages(port: int, pool: Pool):
    for number in range(3):
        once(pool, m.parsed(m.work(incidentId=f"1111111{number}-1111-4111-8111-111111111111", eventId=str(number))))
    _, _, everything = ask(port, "/payments/pending")
    assert everything["pagination"] == {"limit": 50, "offset": 0, "count": 3}
    incidents = [payment["incidentId"] for payment in everything["payments"]]
    assert incidents == sorted(incidents)
    _, _, page = ask(port, "/payments/pending?limit=1&offset=1")
    assert page["pagination"] == {"limit": 1, "offset": 1, "count": 1}
    assert page["payments"] == everything["payments"][1:2]


def test_a_decided_payment_is_not_pending(port: int, pool: Pool):
    payment_id = once(pool, m.parsed(m.work())).payment_id
    once(pool, m.parsed(m.command("ApprovePayment", paymentId=str(payment_id))))
    assert ask(port, "/payments/pending")[2]["payments"] == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/payments/{m.INCIDENT}", 404),
        ("/payments/42", 400),
        ("/payments/%00", 400),
        ("/nothing", 404),
        ("/payments/pending?limit=0", 400),
        ("/payments/pending?limit=201", 400),
        ("/payments/pending?limit=-1", 400),
        ("/payments/pending?limit=ten", 400),
        ("/payments/pending?limit=%D9%A1", 400),
        ("/payments/pending?offset=99999999999999999999", 400),
    ],
)
def test_an_error_is_problem_json(port: int, path: str, code: int):
    found, headers, body = ask(port, path)
    assert found == code
    assert headers["content-type"] == "application/problem+json"
    assert (body["status"], body["type"]) == (code, "about:blank")
    assert body["title"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_written(port: int, path: str, method: str):
    code, headers, _ = ask(port, path, method)
    assert code == 405
    assert "GET" in headers["allow"]


def test_health_is_about_this_process_alone(pool: Pool):
    nowhere = db.open_pool("host=127.0.0.1 port=1 dbname=nowhere", PoolOptions(size_min=0, wait_s=0.1))
    with nowhere, served(application(Metrics().registry, dict, DatabaseReadiness(nowhere))) as port:
        assert ask(port, "/health")[0] == 200
        code, _, body = ask(port, "/ready")
    assert (code, body) == (503, {"status": "unavailable", "reason": "database_connection"})


def test_a_broken_process_is_not_healthy(pool: Pool):
    def broken() -> dict:
        raise NotReadyError("dead threads: poller-payments-events")

    with served(application(Metrics().registry, broken, DatabaseReadiness(pool))) as port:
        code, _, body = ask(port, "/health")
    assert (code, body["reason"]) == (503, "dead threads: poller-payments-events")


def test_a_schema_that_is_behind_is_not_ready(pool: Pool, monkeypatch):
    monkeypatch.setattr("store.migrate.head", lambda: "9999")
    with pytest.raises(NotReadyError, match="payments migrate"):
        DatabaseReadiness(pool)()


def test_readiness_asks_the_database_only_now_and_then(pool: Pool, monkeypatch):
    pings: list[Pool] = []
    ready = DatabaseReadiness(pool)
    monkeypatch.setattr("store.db.ping", pings.append)
    for _ in range(10):
        assert ready()["schema"] == migrate.head()
    assert len(pings) == 1


def test_metrics_are_open_metrics(port: int):
    code, headers, text = ask(port, "/metrics")
    assert code == 200
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    applied = (
        'payments_messages_processed_total{message_type="WorkCompleted",outcome="applied",queue="payments-events"}'
    )
    assert f"{applied} 0.0" in text, "a counter exists before its first event"


def test_a_taken_port_is_told(pool: Pool):
    app = application(Metrics().registry, dict, DatabaseReadiness(pool))
    with served(app) as port, pytest.raises(NotReadyError, match=f"127.0.0.1:{port}: Address already in use"):
        Server(app, "127.0.0.1", port).start()
