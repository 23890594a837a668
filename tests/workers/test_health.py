"""The endpoints that every role serves: what makes a process unhealthy, and what a fault tells the outside."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from dramatiq.worker import Worker
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Route

from contracts.envelope import Queue
from store import db, migrate
from store.db import Pool, PoolOptions, StoreFault, Transient, TransientReason
from tests.kit.funnel import rows
from tests.kit.proofs import PlainVerifier
from tests.kit.sqs import URL, MemorySqs, until
from workers import catalogue, settings, status
from workers.broker import BrokerOptions, SqsBroker
from workers.delivery import inbound_queue
from workers.health import DatabaseReadiness, NotReadyError, Server, application
from workers.metrics import Metrics
from workers.roles.worker import declare_actors, worker_liveness

CANARY = "canary-8675309"


@contextmanager
def served(app: Starlette, host: str = "127.0.0.1") -> Iterator[int]:
    server = Server(app, host, 0)
    url = server.start()
    try:
        assert server.alive()
        yield int(url.rpartition(":")[2])
    finally:
        server.stop()
    assert not server.alive()
    assert "http" not in {thread.name for thread in threading.enumerate()}


def ask(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.request(method, path)
    answer = connection.getresponse()
    found = answer.status, answer.headers["content-type"] or "", answer.read().decode()
    connection.close()
    return found


def failing(error: Exception) -> Route:
    def answer(_request: Any) -> Any:
        raise error

    return Route("/trouble", answer, methods=["GET"])


def with_trouble(error: Exception) -> Starlette:
    return application(Metrics().registry, dict, dict, [failing(error)])


def test_a_database_that_does_not_answer_is_503_and_not_our_fault():
    with served(with_trouble(Transient(TransientReason.TIMEOUT, "57014"))) as port:
        code, kind, body = ask(port, "/trouble")
    assert (code, kind) == (503, "application/problem+json")
    assert json.loads(body)["title"] == "Service Unavailable"


@pytest.mark.parametrize(
    "error", [RuntimeError(CANARY), StoreFault(psycopg.errors.CheckViolation(CANARY)), ValueError(CANARY)]
)
def test_a_bug_is_500_and_tells_nothing_of_itself(error: Exception):
    with served(with_trouble(error)) as port:
        code, kind, body = ask(port, "/trouble")
    assert (code, kind) == (500, "application/problem+json")
    assert json.loads(body) == {"type": "about:blank", "title": "Internal Server Error", "status": 500}


def test_after_a_bug_the_server_serves_on():
    with served(with_trouble(RuntimeError(CANARY))) as port:
        assert [ask(port, path)[0] for path in ("/trouble", "/health", "/trouble", "/health")] == [500, 200, 500, 200]


def test_metrics_are_read_by_a_parser_of_open_metrics():
    metrics = Metrics()
    metrics.inc(catalogue.PROCESSED, Queue.EVENTS, "WorkCompleted", "applied", by=3)
    with served(application(metrics.registry, dict, dict)) as port:
        _, kind, text = ask(port, "/metrics")
    assert kind.startswith("application/openmetrics-text; version=")
    applied = [
        sample.value
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.name == "payments_messages_processed_total" and sample.labels["outcome"] == "applied"
    ]
    assert sorted(applied)[-2:] == [0, 3]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/payments/pending", "/payments/x"])
def test_only_reading_is_allowed(pool: Pool, path: str, method: str):
    app = application(
        Metrics().registry, dict, DatabaseReadiness(pool), status.routes(pool, PlainVerifier(), timedelta(0))
    )
    with served(app) as port:
        code, kind, _ = ask(port, path, method)
    assert code == 405
    assert kind == "application/problem+json"


def test_the_server_speaks_on_the_other_internet_too():
    with served(application(Metrics().registry, dict, dict), "::1") as port:
        assert ask(port, "/health", host="::1")[0] == 200


class TestReadiness:
    def test_it_says_which_schema_there_is_and_how_many_payouts_are_in_doubt(self, pool: Pool):
        assert DatabaseReadiness(pool)() == {
            "schema": migrate.head(),
            "unknownAttempts": 0,
            "unknownAttemptsOldestAgeSeconds": 0.0,
        }

    @pytest.mark.parametrize(
        "statement", ["DELETE FROM alembic_version", "UPDATE alembic_version SET version_num = '0001'"]
    )
    def test_a_schema_that_is_behind_is_not_ready(self, pool: Pool, statement: str):
        rows(pool, f"{statement} RETURNING 1")
        with pytest.raises(NotReadyError, match="schema_behind"):
            DatabaseReadiness(pool)()

    def test_a_schema_that_is_ahead_is_ready_since_releases_overlap(self, pool: Pool):
        rows(pool, "UPDATE alembic_version SET version_num = '9999' RETURNING 1")
        assert DatabaseReadiness(pool)()["schema"] == "9999"

    def test_a_database_that_breaks_our_statements_is_told_from_one_that_is_away(self, pool: Pool):
        with pool.connection() as connection:
            connection.execute("DROP TABLE payout_attempts CASCADE")
        with pytest.raises(NotReadyError, match="database_fault"):
            DatabaseReadiness(pool)()
        nowhere = db.open_pool("host=127.0.0.1 port=1 dbname=nowhere", PoolOptions(size_min=0, wait_s=0.1))
        with nowhere, pytest.raises(NotReadyError, match="database_connection"):
            DatabaseReadiness(nowhere)()

    def test_what_was_found_is_asked_again_when_its_time_is_over(self, pool: Pool, monkeypatch):
        now = [1000.0]
        monkeypatch.setattr("workers.clock.monotonic", lambda: now[0])
        ready = DatabaseReadiness(pool)
        ready()
        with pool.connection() as connection:
            connection.execute("DELETE FROM alembic_version")
        assert ready()["schema"] == migrate.head(), "believed for a while"
        now[0] += 6
        with pytest.raises(NotReadyError, match="schema_behind"):
            ready()


class HangingSqs(MemorySqs):
    """An SQS whose long polls come back when they are told to, so that a poller can be caught in one."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = threading.Event()

    def receive_message(self, **arguments: Any) -> dict[str, Any]:
        found = super().receive_message(**arguments)
        self.answer.wait(30)
        return found


class TestLiveness:
    @pytest.fixture
    def sqs(self) -> HangingSqs:
        return HangingSqs()

    @pytest.fixture
    def broker(self, sqs: HangingSqs) -> SqsBroker:
        options = BrokerOptions(room=1, poll_wait_s=0, renew_every_s=30)
        queues = [inbound_queue(sqs, queue, URL + queue) for queue in Queue]  # type: ignore[arg-type]
        return SqsBroker(sqs, queues, options, Metrics())  # type: ignore[arg-type]

    @pytest.fixture
    def worker(self, sqs: HangingSqs, broker: SqsBroker) -> Iterator[Worker]:
        """A real worker, started, with every poller inside its long poll."""
        declare_actors(broker, lambda: None)
        found = Worker(broker, worker_threads=2, worker_timeout=50)
        found.start()
        broker.start()
        until(lambda: len(sqs.named("receive_message")) == len(Queue))
        yield found
        sqs.answer.set()
        found.stop(timeout=5_000)
        assert broker.shut_down(5)

    def test_a_worker_whose_threads_live_is_healthy(self, worker: Worker, broker: SqsBroker):
        assert worker_liveness(worker, broker, settings.load({}))() == {"threads": 2, "held": 0}

    def test_a_dead_thread_of_any_kind_is_named(self, worker: Worker, broker: SqsBroker):
        dead: Any = threading.Thread(name="of-no-use")
        with pytest.raises(NotReadyError, match="dead threads: of-no-use"):
            worker_liveness(worker, broker, settings.load({}), [dead])()
        check = worker_liveness(worker, broker, settings.load({}))
        worker.workers.append(dead)
        with pytest.raises(NotReadyError, match="of-no-use"):
            check()
        worker.workers.remove(dead)
        assert check()["threads"] == 2

    def test_a_request_that_hangs_is_stuck_but_only_after_the_longest_call(self, worker: Worker, broker: SqsBroker):
        check = worker_liveness(worker, broker, settings.load({}))
        poller = broker._pollers._pollers[0]
        assert poller.asked_at is not None
        poller.asked_at -= 99
        assert check()["held"] == 0, "a long poll with two retries takes its time"
        poller.asked_at -= 300
        with pytest.raises(NotReadyError, match="stuck: poller-payments-events-0"):
            check()


def test_an_answer_on_a_kept_connection_does_not_wait_for_an_acknowledgement():
    server = Server(application(Metrics().registry, dict, dict), "127.0.0.1", 0)
    server.start()
    try:
        until(lambda: bool(getattr(server._server, "servers", [])))
        [listener] = server._server.servers[0].sockets
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "what is accepted inherits it"
    finally:
        server.stop()
