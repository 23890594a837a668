"""The read-only endpoint over real HTTP: the specified shapes, plain errors, and nothing that writes."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.payment import Role
from contracts.proof import KeysAwayError
from contracts.published import openapi
from store import db, migrate
from store.db import Pool, PoolOptions
from tests.kit import messages as m
from tests.kit.databases import Copies
from tests.kit.forgery import forge
from tests.kit.funnel import once, rows
from tests.kit.proofs import PlainVerifier, member
from tests.kit.readers import bearer, reading_pool
from workers import status
from workers.allowance import PER_MINUTE
from workers.health import DatabaseReadiness, NotReadyError, Server, application
from workers.metrics import Metrics

PATHS = ("/health", "/ready", "/metrics", "/payments/pending", f"/payments/{m.INCIDENT}")


#: Those who ask, by their role; each is a member.
ADMIN, DISPATCHER, STRANGER, VENDOR, NOBODY = m.ADMIN, m.DISPATCHER, uuid4(), uuid4(), uuid4()
PEOPLE: dict[UUID, dict[str, Any]] = {
    ADMIN: {"role": Role.ADMIN},
    DISPATCHER: {"role": Role.DISPATCHER, "company": m.COMPANY},
    STRANGER: {"role": Role.DISPATCHER, "company": m.OTHER_COMPANY},
    VENDOR: {"role": Role.VENDOR, "vendor": m.VENDOR},
}
SKEW = timedelta(seconds=60)


@contextmanager
def endpoint(pool: Pool, database_url: str) -> Iterator[int]:
    """The endpoint over a database, with people in it who may ask; yields its port."""
    for subject, membership in PEOPLE.items():
        member(pool, subject, **membership)
    with reading_pool(database_url) as reader:
        app = application(
            Metrics().registry, dict, DatabaseReadiness(reader), status.routes(reader, PlainVerifier(), SKEW)
        )
        with served(app) as found:
            yield found


@pytest.fixture
def port(pool: Pool, database_url: str) -> Iterator[int]:
    with endpoint(pool, database_url) as found:
        yield found


@pytest.fixture(scope="module")
def still(copies: Copies) -> Iterator[tuple[int, UUID]]:
    """The port of an endpoint that shows one payment, and that payment: for tests that only ask."""
    with copies.one() as url, db.open_pool(url, PoolOptions(size_min=1)) as pool:
        payment_id = once(pool, m.parsed(m.work())).payment_id
        assert payment_id
        with endpoint(pool, url) as found:
            yield found, payment_id


@pytest.fixture(scope="module")
def still_port(still: tuple[int, UUID]) -> int:
    return still[0]


def accesses(pool: Pool) -> list[dict[str, Any]]:
    return rows(
        pool, "SELECT operation, decision, code, actor_id, object_id, proof FROM access_audit ORDER BY access_id"
    )


class served:  # noqa: N801 - reads as a verb
    """A server for the length of a block."""

    def __init__(self, app: Any) -> None:
        self._server = Server(app, "127.0.0.1", 0)

    def __enter__(self) -> int:
        return int(self._server.start().rpartition(":")[2])

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        assert not self._server.alive()


def ask(
    port: int, path: str, method: str = "GET", *, who: UUID | None = ADMIN, header: str | None = None
) -> tuple[int, http.client.HTTPMessage, Any]:
    role = PEOPLE[who]["role"] if who in PEOPLE else Role.ADMIN
    header = header or (bearer(who, role) if who else None)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, headers={"Authorization": header} if header else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    is_json = "json" in answer.headers["content-type"]
    return answer.status, answer.headers, json.loads(text) if is_json and text else text


def test_a_payment_is_shown_with_its_lines_in_the_specified_shape(port: int, pool: Pool):
    payment_id = once(pool, m.parsed(m.work())).payment_id
    code, _, shown = ask(port, f"/payments/{payment_id}")
    assert code == 200
    assert set(shown) == {"payment", "lineItems", "approvals"}
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
    assert everything["pagination"] == {"limit": 50, "offset": 0, "count": 3, "nextCursor": None}
    incidents = [payment["incidentId"] for payment in everything["payments"]]
    assert incidents == sorted(incidents)
    _, _, page = ask(port, "/payments/pending?limit=1&offset=1")
    cursor = page["pagination"].pop("nextCursor")
    assert page["pagination"] == {"limit": 1, "offset": 1, "count": 1}
    assert page["payments"] == everything["payments"][1:2]
    _, _, rest = ask(port, f"/payments/pending?limit=1&cursor={cursor}")
    assert rest["payments"] == everything["payments"][2:]
    assert rest["pagination"]["nextCursor"] is None


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
        ("/payments/pending/", 404),
        ("/payments/pending?limit=0", 400),
        ("/payments/pending?limit=201", 400),
        ("/payments/pending?limit=-1", 400),
        ("/payments/pending?limit=ten", 400),
        ("/payments/pending?limit=%D9%A1", 400),
        ("/payments/pending?offset=99999999999999999999", 400),
        ("/payments/pending?limit=1&limit=2", 400),
        ("/payments/pending?cursor=", 400),
        ("/payments/pending?cursor=bm90aGluZw", 400),
        ("/payments/pending?cursor=%D9%A1", 400),
        ("/payments/42/audit", 400),
    ],
)
def test_an_error_is_problem_json(still_port: int, path: str, code: int):
    found, headers, body = ask(still_port, path)
    assert found == code
    assert headers["content-type"] == "application/problem+json"
    assert (body["status"], body["type"]) == (code, "about:blank")
    assert body["title"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_written(still_port: int, path: str, method: str):
    code, headers, _ = ask(still_port, path, method)
    assert code == 405
    assert "GET" in headers["allow"]


# -- who may read what


SEEN = [
    ("/payments/{id}", {ADMIN: 200, DISPATCHER: 200, STRANGER: 404, VENDOR: 200, NOBODY: 403, None: 401}),
    ("/payments/{id}/audit", {ADMIN: 200, DISPATCHER: 200, STRANGER: 404, VENDOR: 403, NOBODY: 403, None: 401}),
    ("/payments/pending", {ADMIN: 200, DISPATCHER: 200, STRANGER: 200, VENDOR: 403, NOBODY: 403, None: 401}),
    ("/payments/flagged", {ADMIN: 200, DISPATCHER: 200, STRANGER: 200, VENDOR: 403, NOBODY: 403, None: 401}),
]


@pytest.mark.parametrize(
    ("path", "who", "code"), [(path, who, code) for path, all_ in SEEN for who, code in all_.items()]
)
def test_who_may_read_what(still: tuple[int, UUID], path: str, who: UUID | None, code: int):
    port, payment_id = still
    found, headers, body = ask(port, path.format(id=payment_id), who=who)
    assert found == code
    assert headers["cache-control"] == "no-store"
    if code != 200:
        assert headers["content-type"] == "application/problem+json"
        assert str(payment_id) not in json.dumps(body)
    assert ("www-authenticate" in headers) is (code == 401)


def test_a_list_holds_what_is_ones_own(port: int, pool: Pool):
    own = once(pool, m.parsed(m.work())).payment_id
    nobodys = m.work(incidentId="11111112-1111-4111-8111-111111111111", eventId="2", companyId=...)
    once(pool, m.parsed(nobodys))
    found = {who: ask(port, "/payments/pending", who=who)[2]["payments"] for who in (ADMIN, DISPATCHER, STRANGER)}
    assert len(found[ADMIN]) == 2
    assert [payment["paymentId"] for payment in found[DISPATCHER]] == [str(own)]
    assert found[STRANGER] == []


def test_a_foreign_payment_and_a_missing_one_are_told_alike_and_recorded_alike(port: int, pool: Pool):
    payment_id = once(pool, m.parsed(m.work())).payment_id
    foreign = ask(port, f"/payments/{payment_id}", who=STRANGER)
    missing = ask(port, f"/payments/{m.DRIVER}", who=STRANGER)
    assert (foreign[0], foreign[2]) == (missing[0], missing[2]) == (404, foreign[2])
    assert sorted(foreign[1].keys()) == sorted(missing[1].keys())
    about = [(row["code"], row["actor_id"], row["object_id"]) for row in accesses(pool)]
    assert about == [("not_found", STRANGER, payment_id), ("not_found", STRANGER, m.DRIVER)]


def test_a_vendor_sees_its_payment_and_neither_who_decides_nor_what_is_suspected(port: int, pool: Pool):
    payment_id = once(pool, m.parsed(m.work())).payment_id
    once(pool, m.parsed(m.command("ApprovePayment", paymentId=str(payment_id))))
    shown = ask(port, f"/payments/{payment_id}", who=VENDOR)[2]
    assert set(shown) == {"payment", "lineItems"}
    hidden = {"fraudStatus", "approvedBy", "createdBy", "onHold", "holdUntil", "policyVersion", "requiredApprovals"}
    assert not hidden & set(shown["payment"])
    assert str(m.DISPATCHER) not in json.dumps(shown)
    office = ask(port, f"/payments/{payment_id}", who=DISPATCHER)[2]
    assert hidden <= set(office["payment"])
    assert [one["approverId"] for one in office["approvals"]] == [str(m.DISPATCHER)]


def test_a_history_is_shown_and_whoever_read_it_is_on_record(port: int, pool: Pool):
    payment_id = once(pool, m.parsed(m.work())).payment_id
    shown = ask(port, f"/payments/{payment_id}/audit", who=DISPATCHER)[2]
    assert [(entry["seq"], entry["action"], entry["newStatus"]) for entry in shown["entries"]] == [
        (1, "created", "pending_approval")
    ]
    assert len(shown["entries"][0]["entryHash"]) == 64
    [row] = accesses(pool)
    assert (row["operation"], row["decision"]) == ("GET /payments/{id}/audit", "allowed")
    assert (row["actor_id"], row["object_id"]) == (DISPATCHER, payment_id)
    assert set(row["proof"]) == {"clientId", "jti", "kid", "iat", "exp"}


def test_flagged_payments_are_listed(port: int, pool: Pool):
    once(pool, m.parsed(m.work()))
    assert ask(port, "/payments/flagged")[2]["payments"] == []
    forge(pool, "UPDATE payments SET fraud_status = 'flagged'")
    assert len(ask(port, "/payments/flagged", who=DISPATCHER)[2]["payments"]) == 1


@pytest.mark.parametrize("header", ["Basic dTpw", "Bearer", "Bearer ", "token", "Bearer not-json"])
def test_what_is_no_token_is_no_sign_in(still_port: int, header: str):
    code, headers, _ = ask(still_port, "/payments/pending", header=header)
    refused = 'Bearer error="invalid_token"' if header == "Bearer not-json" else "Bearer"
    assert (code, headers["www-authenticate"]) == (401, refused)


def test_two_tokens_are_none(still_port: int):
    connection = http.client.HTTPConnection("127.0.0.1", still_port, timeout=5)
    connection.putrequest("GET", "/payments/pending")
    for who in (ADMIN, DISPATCHER):
        connection.putheader("Authorization", bearer(who, PEOPLE[who]["role"]))
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_a_token_in_the_address_is_not_looked_at(still_port: int):
    assert ask(still_port, "/payments/pending?access_token=x", who=None)[0] == 401


def test_who_comes_without_a_token_fills_no_table(port: int, pool: Pool):
    ask(port, "/payments/pending", who=None)
    assert accesses(pool) == []
    ask(port, "/payments/pending", header="Bearer not-json")
    assert [(row["code"], row["actor_id"]) for row in accesses(pool)] == [("unauthenticated", None)]


def test_what_proves_nobody_fills_the_record_only_so_fast(port: int, pool: Pool):
    for _ in range(PER_MINUTE + 20):
        assert ask(port, "/payments/pending", header="Bearer not-json")[0] == 401
    assert len(accesses(pool)) == PER_MINUTE
    assert ask(port, "/payments/pending", who=NOBODY)[0] == 403
    assert len(accesses(pool)) == PER_MINUTE + 1, "who is known is recorded whatever else came in"


class Expired(PlainVerifier):
    """Believes tokens that are over."""

    def verify(self, token: str) -> Any:
        found: Any = super().verify(token)
        return replace(found, expires_at=found.issued_at + timedelta(seconds=1))


class Away(PlainVerifier):
    """Has no keys."""

    def verify(self, token: str) -> Any:  # noqa: ARG002 - whatever it is
        raise KeysAwayError


@pytest.mark.parametrize(("verifier", "code"), [(Expired(), 401), (Away(), 503)])
def test_a_token_is_judged_now_and_only_with_keys(pool: Pool, verifier: PlainVerifier, code: int):
    app = application(Metrics().registry, dict, dict, status.routes(pool, verifier, SKEW))
    with served(app) as port:
        assert ask(port, "/payments/pending")[0] == code


def test_a_denial_that_cannot_be_recorded_is_no_answer_either(port: int, pool: Pool):
    forge(pool, "REVOKE INSERT ON access_audit FROM payments_reader")
    forge(pool, "REVOKE INSERT (operation) ON access_audit FROM payments_reader")
    assert ask(port, "/payments/pending", who=VENDOR)[0] == 500


def test_head_is_a_get_without_its_body(still_port: int):
    code, _, body = ask(still_port, "/payments/pending", "HEAD")
    assert (code, body) == (200, "")


def test_the_document_of_the_reads_is_served(still_port: int):
    code, _, document = ask(still_port, "/openapi.json", who=None)
    assert (code, document) == (200, openapi.document())


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
    monkeypatch.setattr("store.revisions.head", lambda: "9999")
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
