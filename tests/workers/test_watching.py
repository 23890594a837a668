"""What is counted of the database, its credentials, the signing keys and HTTP: for real troubles of a real server."""

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from joserfc.jwk import RSAKey
from prometheus_client.openmetrics.exposition import generate_latest
from psycopg import sql
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from store import db
from store.db import Pool, PoolOptions, Transient
from tests.kit import messages as m
from tests.kit.databases import Copies
from tests.kit.funnel import once, rows
from tests.kit.proofs import PlainVerifier
from tests.kit.shown import shown
from tests.kit.sqs import unreachable, until
from workers import catalogue, status
from workers.catalogue import OTHER, Role
from workers.credentials import RotatingCredentials
from workers.health import application
from workers.jwks import FetchError, KeySet
from workers.local import postgres
from workers.metrics import Metrics
from workers.watching import DatabaseWatcher, key_counter, request_counter, watch_credentials, watch_pool

KIND = "ApprovePayment"
PAYMENT = "0b0f6d5e-7d0c-5ce5-9d0c-1f6f6e1a7a11"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Role.RELAY)


def opened(metrics: Metrics, url: str, role: Role = Role.RELAY, **options: Any) -> Pool:
    found = PoolOptions(**{"size_min": 0, "size_max": 1, "wait_s": 0.3, **options})
    return db.open_pool(url, found, watcher=DatabaseWatcher(metrics, role))


@pytest.fixture(scope="module")
def url(copies: Copies) -> Iterator[str]:
    """A database that these tests share: most of them leave nothing in it."""
    with copies.one() as found:
        yield found


@pytest.fixture(scope="module")
def pool(url: str) -> Iterator[Pool]:
    """An open pool on it that nobody watches."""
    with db.open_pool(url, PoolOptions(size_min=1, wait_s=5)) as found:
        yield found


@pytest.fixture
def watched(metrics: Metrics, url: str) -> Iterator[Pool]:
    with opened(metrics, url, wait_s=5) as found:
        yield found


def errors(metrics: Metrics) -> dict[str, float]:
    """The kinds of trouble with connections that were counted."""
    return {kind: count for (kind,), count in shown(metrics, catalogue.CONNECTION_ERRORS).items()}


def retries(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return shown(metrics, catalogue.DB_RETRIES)


def ends(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """How many transactions were measured, by operation and result."""
    return shown(metrics, catalogue.TRANSACTION)


# -- connections


def test_a_wrong_password_is_auth(metrics: Metrics, server: postgres.Server):
    wrong = server.url("postgres").replace(server.password, "wrong")
    with opened(metrics, wrong) as pool, pytest.raises(Transient):
        db.ping(pool)
    found = errors(metrics)
    assert found.pop("auth") >= 1
    assert found == {"timeout": 1}, "who asked the pool waited in vain"


def test_a_closed_port_is_connect(metrics: Metrics):
    with opened(metrics, "host=127.0.0.1 port=1 dbname=nowhere") as pool, pytest.raises(Transient):
        db.ping(pool)
    found = errors(metrics)
    assert found.pop("connect") >= 1
    assert found == {"timeout": 1}


def test_a_server_that_takes_no_more_connections_is_connect(metrics: Metrics, database_url: str):
    name = sql.Identifier(urlsplit(database_url).path.removeprefix("/"))
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 0").format(name))
        owner.execute("CREATE ROLE crowded LOGIN PASSWORD 'x'")
        url = database_url.replace(urlsplit(database_url).netloc.partition("@")[0], "crowded:x")
        with opened(metrics, url) as pool, pytest.raises(Transient):
            db.ping(pool)
        owner.execute("DROP ROLE crowded")
    found = errors(metrics)
    assert found.pop("connect") >= 1
    assert found == {"timeout": 1}


def test_a_connection_that_is_cut_is_lost(metrics: Metrics, watched: Pool, pool: Pool):
    def cut() -> None:
        with db.transaction(watched, KIND) as tx:
            pid = tx.ask("SELECT pg_backend_pid() AS pid", {}).value()[0]["pid"]
            rows(pool, "SELECT pg_terminate_backend(%s, 5000)", pid)
            tx.ask("SELECT 1", {}).value()

    with pytest.raises(Transient):
        cut()
    assert errors(metrics) == {"lost": 1}
    assert ends(metrics) == {(KIND, "rollback"): 1}
    [(operation, sqlstate)] = retries(metrics)
    assert (operation, sqlstate in {"57", "none"}) == (KIND, True)


def test_a_writer_that_has_become_a_reader_is_readonly(metrics: Metrics, database_url: str):
    name = sql.Identifier(urlsplit(database_url).path.removeprefix("/"))
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))

    def write(watched: Pool) -> None:
        with db.transaction(watched, KIND) as tx:
            tx.send("CREATE TABLE never (id int)", {})

    with opened(metrics, database_url, wait_s=5) as reader, pytest.raises(Transient):
        write(reader)
    assert errors(metrics) == {"readonly": 1}
    assert retries(metrics) == {(KIND, "25"): 1}


def test_a_reader_where_a_writer_is_asked_for_is_readonly(metrics: Metrics, database_url: str):
    name = sql.Identifier(urlsplit(database_url).path.removeprefix("/"))
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
    with opened(metrics, f"{database_url}&target_session_attrs=read-write") as pool, pytest.raises(Transient):
        db.ping(pool)
    found = errors(metrics)
    assert found.pop("readonly") >= 1
    assert found == {"timeout": 1}


def test_a_pool_that_has_none_in_time_is_timeout(metrics: Metrics, url: str):
    with opened(metrics, url, wait_s=0.1) as pool:
        pool.check()
        with db.reading(pool), pytest.raises(Transient):
            db.ping(pool)
    assert errors(metrics) == {"timeout": 1}


def raising(pool: Pool, code: str, operation: str = KIND) -> None:
    with pytest.raises(Transient, match=code), db.transaction(pool, operation) as tx:
        tx.send(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$", {})


def test_a_disk_that_is_full_is_no_trouble_of_the_connection(metrics: Metrics, watched: Pool):
    raising(watched, "53100")
    assert errors(metrics) == {}
    assert retries(metrics) == {(KIND, "53"): 1}


# -- transactions


def test_transactions_are_measured_by_operation_and_result(metrics: Metrics, watched: Pool):
    with db.transaction(watched, KIND) as tx:
        tx.ask("SELECT pg_sleep(0.05)", {}).value()
    with db.transaction(watched, KIND) as tx:
        tx.abandon()
    with db.transaction(watched) as tx:
        tx.send("SELECT 1", {})
    with db.transaction(watched, PAYMENT) as tx:  # as if somebody took it for an operation
        tx.send("SELECT 1", {})
    assert ends(metrics) == {(KIND, "commit"): 1, (KIND, "rollback"): 1, (OTHER, "commit"): 2}
    assert 0.05 <= (metrics.value(catalogue.TRANSACTION, KIND, "commit", sample="_sum") or 0) < 5
    assert retries(metrics) == {}


def test_an_error_of_our_own_is_a_rollback_and_nothing_to_try_again(metrics: Metrics, watched: Pool):
    with pytest.raises(ZeroDivisionError), db.transaction(watched, KIND):
        raise ZeroDivisionError
    assert ends(metrics) == {(KIND, "rollback"): 1}
    assert (retries(metrics), errors(metrics)) == ({}, {})


def test_a_serialization_failure_is_counted_by_its_class(metrics: Metrics, watched: Pool, pool: Pool):
    with pool.connection() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS counter AS SELECT 1 AS value")

    def overtaken() -> None:
        with db.transaction(watched, KIND) as tx:
            tx.send("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", {})
            tx.ask("SELECT value FROM counter", {}).value()
            with pool.connection() as faster:
                faster.execute("UPDATE counter SET value = value + 1")
            tx.send("UPDATE counter SET value = value + 1", {})

    with pytest.raises(Transient, match="40001"):
        overtaken()
    assert retries(metrics) == {(KIND, "40"): 1}
    assert ends(metrics) == {(KIND, "rollback"): 1}
    assert errors(metrics) == {}


def test_a_lock_that_takes_too_long_is_counted_by_its_class(metrics: Metrics, url: str, pool: Pool):
    with opened(metrics, url, wait_s=5, lock_s=0.05) as impatient, db.transaction(pool) as holder:
        holder.send("LOCK TABLE payments IN ACCESS EXCLUSIVE MODE", {})
        holder.ask("SELECT 1 AS held", {}).value()
        with pytest.raises(Transient, match="55P03"), db.transaction(impatient, KIND) as tx:
            tx.send("LOCK TABLE payments IN ACCESS SHARE MODE", {})
    assert retries(metrics) == {(KIND, "55"): 1}
    assert errors(metrics) == {}


def test_each_class_of_sqlstate_is_in_the_catalogue(metrics: Metrics, watched: Pool):
    codes = ("08006", "28P01", "40P01", "53300", "57P01", "57014")
    for code in codes:
        raising(watched, code)
    assert retries(metrics) == {(KIND, "08"): 1, (KIND, "28"): 1, (KIND, "40"): 1, (KIND, "53"): 1, (KIND, "57"): 2}


def test_a_lost_race_is_counted_as_what_it_is(metrics: Metrics, watched: Pool):
    told = "RAISE EXCEPTION 'x' USING ERRCODE = '23505', CONSTRAINT = 'payments_pkey'"
    with pytest.raises(Transient, match="23505"), db.transaction(watched, KIND) as tx:
        tx.send(f"DO $$ BEGIN {told}; END $$", {})
    assert retries(metrics) == {(KIND, "23"): 1}


def test_a_plain_read_that_fails_for_now_has_no_operation(metrics: Metrics, watched: Pool):
    with pytest.raises(Transient):
        rows(watched, "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$")
    assert retries(metrics) == {(OTHER, "40"): 1}
    assert ends(metrics) == {}


def test_the_funnel_names_its_transactions_by_the_kind_of_message(metrics: Metrics, watched: Pool):
    once(watched, m.parsed(m.work()))
    assert ends(metrics)[("WorkCompleted", "commit")] == 1


@pytest.mark.parametrize("role", [Role.MONITOR, Role.STATUS])
def test_roles_without_such_metrics_count_their_connections_alone(url: str, role: Role):
    metrics = Metrics(role)
    with opened(metrics, url, role, wait_s=5) as pool:
        with db.transaction(pool) as tx:
            tx.send("SELECT 1", {})
        raising(pool, "57P01", "other")
    assert errors(metrics) == {"lost": 1}


# -- the pool


def scraped(metrics: Metrics) -> dict[str, float]:
    generate_latest(metrics.registry)  # type: ignore[no-untyped-call]
    names = ("size", "available", "waiting", "requests_total", "wait_seconds_total")
    return {name: metrics._parents[f"payments_db_pool_{name}"]._value.get() for name in names}


def test_the_figures_of_the_pool_are_those_of_the_scrape(metrics: Metrics, url: str):
    with opened(metrics, url, size_min=2, size_max=2, wait_s=5) as pool:
        pool.wait(5)
        watch_pool(metrics, pool)
        before = scraped(metrics)
        assert (before["size"], before["available"], before["waiting"]) == (2, 2, 0)
        with db.reading(pool), db.reading(pool):
            waits = threading.Thread(target=db.ping, args=[pool])
            waits.start()
            until(lambda: pool.get_stats().get("requests_waiting"))
            busy = scraped(metrics)
        waits.join()
        after = scraped(metrics)
    assert (busy["size"], busy["available"], busy["waiting"]) == (2, 0, 1)
    assert (after["available"], after["waiting"]) == (2, 0)
    assert after["requests_total"] - before["requests_total"] == 3
    assert 0 < after["wait_seconds_total"] - before["wait_seconds_total"] < 5


class Slow(int):
    """A number that takes its time to be reckoned with."""

    def __sub__(self, other: float) -> float:  # type: ignore[override]
        threading.Event().wait(0.01)
        return int(self) - other


def test_scrapes_at_once_count_the_growth_once(metrics: Metrics):
    class Stats:
        def get_stats(self) -> dict[str, int]:
            return {"requests_num": Slow(100)}

    watch_pool(metrics, Stats())  # type: ignore[arg-type]
    threads = [threading.Thread(target=scraped, args=[metrics]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics._parents["payments_db_pool_requests_total"]._value.get() == 100


# -- credentials and keys


class Secrets:
    """Secrets Manager, which can be taken away."""

    is_away = False

    def get_secret_value(self, **_: Any) -> dict[str, Any]:
        if self.is_away:
            raise unreachable()
        return {"SecretString": '{"username": "me", "password": "pass"}'}


@pytest.fixture
def at(monkeypatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr("workers.clock.monotonic", lambda: now[0])
    return now


def age(metrics: Metrics) -> float | None:
    return metrics.value(catalogue.CREDENTIALS_AGE)


def refreshes(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return shown(metrics, catalogue.CREDENTIALS_REFRESH)


def test_fetches_of_credentials_are_counted_by_why_and_their_age_is_shown(metrics: Metrics, at: list[float]):
    secrets = Secrets()
    source = RotatingCredentials(secrets, "arn", {}, 3_600)  # type: ignore[arg-type]
    watch_credentials(metrics, source)
    assert age(metrics) is None, "there are none yet"
    source()
    assert refreshes(metrics) == {("ttl", "ok"): 1}
    assert age(metrics) == 0
    at[0] += 600
    source()
    assert (age(metrics), refreshes(metrics)) == (600, {("ttl", "ok"): 1})
    source.login_refused()
    assert age(metrics) == 600, "they are what is in use until there are others"
    source()
    assert (age(metrics), refreshes(metrics)) == (0, {("ttl", "ok"): 1, ("auth_failure", "ok"): 1})
    at[0] += 3_601
    source()
    assert (age(metrics), refreshes(metrics)) == (0, {("ttl", "ok"): 2, ("auth_failure", "ok"): 1})


def test_credentials_that_cannot_be_fetched_grow_old_in_sight(metrics: Metrics, at: list[float]):
    secrets = Secrets()
    source = RotatingCredentials(secrets, "arn", {}, 3_600)  # type: ignore[arg-type]
    watch_credentials(metrics, source)
    source()
    secrets.is_away = True
    at[0] += 100
    source.login_refused()
    source()
    source()
    assert refreshes(metrics) == {("ttl", "ok"): 1, ("auth_failure", "failed"): 2}, "the reason stays until it is met"
    assert age(metrics) == 100
    secrets.is_away = False
    source()
    assert refreshes(metrics)[("auth_failure", "ok")] == 1


def test_the_first_fetch_that_fails_is_counted_too(metrics: Metrics):
    secrets = Secrets()
    secrets.is_away = True
    source = RotatingCredentials(secrets, "arn", {}, 3_600)  # type: ignore[arg-type]
    watch_credentials(metrics, source)
    with pytest.raises(ConnectionError):
        source()
    assert (refreshes(metrics), age(metrics)) == ({("ttl", "failed"): 1}, None)


def test_an_address_that_holds_its_own_login_has_no_age(metrics: Metrics, url: str):
    watch_credentials(metrics, url)
    assert (age(metrics), refreshes(metrics)) == (None, {})


def test_fetches_of_the_signing_keys_are_counted():
    metrics = Metrics(Role.STATUS)
    key = {**RSAKey.generate_key(2048).as_dict(private=False), "kid": "known", "use": "sig", "alg": "RS256"}
    answers: list[bytes | None] = [json.dumps({"keys": [key]}).encode(), b"no JSON", None]

    def source() -> bytes:
        answer = answers.pop(0)
        if answer is None:
            raise FetchError("away")
        return answer

    keys = KeySet(source, ttl_s=0, cooldown_s=0, fetched=key_counter(metrics))
    while answers:
        assert keys.key("known") is not None, "what is there serves on"
    assert shown(metrics, catalogue.JWKS_REFRESH) == {("ok",): 1, ("failed",): 2}


# -- HTTP


def answers(status: int) -> Any:
    return lambda _request: PlainTextResponse("x", status)


def breaks(_request: Any) -> Any:
    raise RuntimeError("payment 7")


@pytest.fixture
def app(metrics: Metrics) -> Starlette:
    more = [
        Route("/payments/pending", answers(200), methods=["GET"]),
        Route("/payments/{payment_id}", answers(401), methods=["GET"]),
        Route("/payments/{payment_id}/audit", breaks, methods=["GET"]),
        Route("/unlisted/{payment_id}", answers(418), methods=["GET"]),
    ]
    return application(metrics.registry, dict, dict, more, request_counter(metrics))


async def asked(app: Starlette, method: str, path: str) -> int:
    way = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=way, base_url="http://status") as client:
        return (await client.request(method, path)).status_code


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/health", ("/health", "GET", "200")),
        ("HEAD", "/health", ("/health", "HEAD", "200")),
        ("POST", "/health", ("/health", "other", "405")),
        ("BREW", "/health", ("/health", "other", "405")),
        ("GET", "/metrics", ("/metrics", "GET", "200")),
        ("GET", "/payments/pending", ("/payments/pending", "GET", "200")),
        ("GET", f"/payments/{PAYMENT}", ("/payments/{payment_id}", "GET", "401")),
        ("GET", f"/payments/{PAYMENT}?token={PAYMENT}", ("/payments/{payment_id}", "GET", "401")),
        ("DELETE", f"/payments/{PAYMENT}", ("/payments/{payment_id}", "other", "405")),
        ("GET", f"/payments/{PAYMENT}/audit", ("/payments/{payment_id}/audit", "GET", "500")),
        ("GET", f"/elsewhere/{PAYMENT}", ("none", "GET", "404")),
        ("GET", f"/payments/{PAYMENT}/", ("none", "GET", "404")),
        ("GET", f"/unlisted/{PAYMENT}", ("none", "GET", "other")),
    ],
)
def test_a_request_is_counted_by_the_template_of_its_route(metrics, app, method: str, path: str, labels: tuple):
    assert str(asyncio.run(asked(app, method, path))) == (labels[2] if labels[2] != "other" else "418")
    assert shown(metrics, catalogue.HTTP_REQUESTS) == {labels: 1}
    text = generate_latest(metrics.registry).decode()  # type: ignore[no-untyped-call]
    assert PAYMENT not in text
    assert shown(metrics, catalogue.HTTP_DURATION) == {labels[:2]: 1}


def test_every_route_of_the_application_is_in_the_catalogue(pool: Pool):
    app = application(Metrics().registry, dict, dict, status.routes(pool, PlainVerifier(), timedelta(0)))
    assert {route.path for route in app.routes if isinstance(route, Route)} <= set(catalogue.ROUTES)


def test_who_observes_is_told_the_template_and_never_the_path():
    told: list[tuple[str, str, int]] = []

    def observed(route: str, method: str, status: int, seconds: float) -> None:
        assert 0 <= seconds < 5
        told.append((route, method, status))

    more = [Route("/unlisted/{payment_id}", breaks, methods=["GET"])]
    app = application(Metrics().registry, dict, dict, more, observed)
    for method, path in (("GET", f"/unlisted/{PAYMENT}"), ("PUT", f"/unlisted/{PAYMENT}"), ("GET", f"/{PAYMENT}")):
        asyncio.run(asked(app, method, path))
    assert told == [
        ("/unlisted/{payment_id}", "GET", 500),
        ("/unlisted/{payment_id}", "PUT", 405),
        ("none", "GET", 404),
    ]
