"""A word planted in a thousand messages is nowhere to be found but where it belongs: in rows, events and queues.

It stands in names, notes, descriptions, metadata, tokens, keys and bodies that are none; some messages meet a bug, some
a database that quotes it, some a provider that says it. An id that a producer gives is repeated in events by contract,
and in `message_failures.message_key`, but not in logs.
"""

import http.client
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, Self

import pytest
from dramatiq.worker import Worker

from contracts.envelope import Queue
from contracts.inbound import Parsed
from contracts.outcome import Outcome
from contracts.payment import Role
from contracts.proof import Person, Unproven
from handlers.decision import Rules
from store import db
from store.db import Pool, PoolOptions, StoreFault
from tests.kit import messages as m
from tests.kit.funnel import rows
from tests.kit.logs import configured
from tests.kit.proofs import SENDERS, TRUST, PlainVerifier, member
from tests.kit.readers import reading_pool
from tests.kit.sqs import URL, MemorySqs, until
from tests.workers.canary import (
    CANARY,
    PLANTED,
    Sideways,
    TalkativeProvider,
    Troubled,
    Watched,
    command,
    leaks,
    malformed,
    work,
)
from workers import status
from workers.broker import BrokerOptions, SqsBroker
from workers.delivery import Delivery, inbound_queue
from workers.health import DatabaseReadiness, Server, application
from workers.logs import logger
from workers.metrics import Metrics
from workers.payouts import Asker
from workers.roles.worker import declare_actors
from workers.tracing import Tracing

MESSAGES = 1_000
WORKS = 250
#: Nothing comes back within the test: each message is handled once.
OPTIONS = BrokerOptions(
    room=40, poll_wait_s=0, visibility_s=300, renew_every_s=100, backoff_s=(600,), backoff_jitter=0, outage_s=(600, 600)
)
FAILURES = "SELECT queue, kind, outcome, reason, detail, sender FROM message_failures"
RULES = Rules(provider="sandbox", senders=SENDERS, unregistered_accounts=True)


class Post:
    """Posts planted messages through the broker to the real handler, some hundreds at a time."""

    def __init__(self, pool: Pool, handler_class: type[Watched] = Watched) -> None:
        self.pool, self.sqs, self.metrics, self.sideways = pool, MemorySqs(), Metrics(), Sideways()
        queues = [inbound_queue(self.sqs, queue, URL + queue) for queue in Queue]  # type: ignore[arg-type]
        self._broker = SqsBroker(self.sqs, queues, OPTIONS, self.metrics)  # type: ignore[arg-type]
        asker = Asker(pool, TalkativeProvider())
        traced = Tracing(self.sideways.provider(), parent=True)
        handler = handler_class(pool, asker, RULES, TRUST, self.metrics, tracing=traced)
        handler.sideways = self.sideways
        declare_actors(self._broker, handler)
        self._worker = Worker(self._broker, worker_threads=4, worker_timeout=20)
        self._posted = 0

    def __enter__(self) -> Self:
        self._worker.start()
        self._broker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.stop(timeout=5_000)
        assert self._broker.shut_down(5)

    def put(self, *messages: tuple[Queue, str]) -> None:
        """Post messages, with the canary in their attributes, and wait until all of them are handled."""
        attribute = {"DataType": "String", "StringValue": CANARY}
        for queue, body in messages:
            self.sqs.put(queue, body, {"traceparent": attribute, "Name": attribute})
        self._posted += len(messages)
        until(lambda: len(self.sideways.outcomes) >= self._posted, within_s=60, what="the end of every message")

    def orders(self, kind: str, most: int) -> list[tuple[Queue, str]]:
        """The service's own orders of a kind, as its outbox holds them, with what somebody has added on their way."""
        found = rows(
            self.pool, "SELECT payload FROM outbox WHERE detail_type = %s ORDER BY outbox_id LIMIT %s", kind, most
        )
        return [(Queue.PAYOUTS, json.dumps({**row["payload"], "name": CANARY})) for row in found]

    def said(self, capfd: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
        """Everything that was said sideways."""
        told = capfd.readouterr()
        failures = rows(self.pool, FAILURES)
        return self.sideways.texts(output=told.out + told.err, registry=self.metrics.registry, failures=failures)


@pytest.fixture
def crowd(database_url: str) -> Iterator[Pool]:
    with db.open_pool(database_url, PoolOptions(size_min=4, size_max=8)) as pool:
        pool.wait(10)
        yield pool


@contextmanager
def loud() -> Iterator[None]:
    """Every logger says what it can; but the driver, whose own words are known to quote (workers/logs.py)."""
    with configured("DEBUG"):
        for name in ("dramatiq", "urllib3", "uvicorn", "opentelemetry"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        yield


def test_a_word_planted_in_a_thousand_messages_is_said_nowhere(
    crowd: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("workers.consume.process", Troubled())
    member(crowd, m.DISPATCHER, Role.DISPATCHER, company=m.COMPANY)
    with loud(), Post(crowd) as post:
        _post_all(post)
        statuses = _ask_over_http(database_url, post.metrics)
    said = post.said(capfd)
    assert leaks(said) == []
    _shows_what_was_handled(post, said)
    assert statuses == [401, 401, 401, 404, 500]


def _post_all(post: Post) -> None:
    """A thousand messages of every sort and every end."""
    events = [(Queue.EVENTS, m.body(work(number))) for number in range(WORKS)]
    post.put(*events)
    post.put(*events[:40])
    post.put(*((Queue.EVENTS, m.body(work(number, eventId=f"again {CANARY} {number}"))) for number in range(40)))
    dearer = {"lineItems": [{"description": CANARY, "quantity": 1, "unitPriceCents": 1}]}
    post.put(*((Queue.EVENTS, m.body(work(number, **dearer))) for number in range(40)))
    post.put(*((Queue.EVENTS, m.body(work(number, **flaw))) for number, flaw in _refused()))
    post.put(*malformed() * 6)
    payments = [row["payment_id"] for row in rows(post.pool, "SELECT payment_id FROM payments ORDER BY 1")]
    assert len(payments) == WORKS
    post.put(*((Queue.COMMANDS, command("ApprovePayment", n, payments[n])) for n in range(100)))
    post.put(*((Queue.COMMANDS, command("ApprovePayment", n, payments[n], actorToken=CANARY)) for n in range(200, 240)))
    post.put(*((Queue.COMMANDS, command("ApprovePayment", n, m.INCIDENT)) for n in range(300, 340)))
    rejects = {"reason": CANARY, "reasonCode": CANARY}
    post.put(*((Queue.COMMANDS, command("RejectPayment", n, payments[n], **rejects)) for n in range(140, 200)))
    post.put(*post.orders("ProcessPayment", 100))
    post.put(*post.orders("ExecutePayout", 100))
    left = MESSAGES - len(post.sideways.outcomes)
    assert left >= 0
    post.put(*((Queue.EVENTS, m.body(work(number))) for number in range(WORKS, WORKS + left)))


def _refused() -> list[tuple[int, dict[str, Any]]]:
    flaws: list[dict[str, Any]] = [
        {"incidentId": CANARY},
        {"vendorId": CANARY},
        {"currency": CANARY},
        {"payerType": CANARY},
        {"lineItems": ...},
    ]
    return [(1_000 + number, {**flaws[number % len(flaws)], "eventId": f"{CANARY}{number}"}) for number in range(40)]


class BrokenVerifier(PlainVerifier):
    """Judges a token; one that says `bug` is too much for it."""

    def verify(self, token: str) -> Person | Unproven:
        if "bug" in token:
            raise RuntimeError(token)
        return super().verify(token)


def _ask_over_http(database_url: str, metrics: Metrics) -> list[int]:
    """Ask the status endpoint with the canary in tokens, paths and queries; return how it answered."""
    asked = [
        ("/payments/pending", f"Bearer {CANARY}"),
        (f"/payments/pending?company={CANARY}", f"Bearer {CANARY}.{CANARY}.{CANARY}"),
        (f"/payments/{CANARY}", f"Basic {CANARY}"),
        (f"/{CANARY}", f"Bearer {CANARY}"),
        ("/payments/pending", f"Bearer bug {CANARY}"),
    ]
    with ExitStack() as stack:
        reader = stack.enter_context(reading_pool(database_url))
        routes = status.routes(reader, BrokenVerifier(), timedelta(seconds=60))
        server = Server(application(metrics.registry, dict, DatabaseReadiness(reader), routes), "127.0.0.1", 0)
        port = int(server.start().rpartition(":")[2])
        stack.callback(server.stop)
        return [_status(port, path, header) for path, header in asked]


def _status(port: int, path: str, header: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers={"Authorization": header})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def _shows_what_was_handled(post: Post, said: dict[str, list[str]]) -> None:
    """The silence means something: everything was handled, in every way, and there was much to be said."""
    outcomes = Counter(outcome for found in post.sideways.outcomes.values() for outcome in found)
    assert sum(outcomes.values()) == MESSAGES
    assert outcomes.keys() == set(Outcome), outcomes
    lines = [json.loads(line) for line in said["output"]]
    assert len([line for line in lines if line["event"] == "message"]) == MESSAGES
    assert all({"trace_id", "span_id", "message_id"} <= line.keys() for line in lines if line["event"] == "message")
    assert not [line for line in lines if "dropped_keys" in line], "our own code logs what is on the list"
    assert len(post.sideways.exporter.get_finished_spans()) == MESSAGES
    classes = {type(error).__name__ for error in post.sideways.errors}
    assert classes >= {
        "Malformed",
        "StoreFault",
        "Transient",
        "RuntimeError",
        "KeyError",
        "JSONDecodeError",
        "ProviderBusy",
        "NotYet",
    }
    refused = [error for error in post.sideways.errors if isinstance(error, StoreFault)]
    assert any(CANARY in str(error.__context__) for error in refused), "the database has quoted it, to us alone"
    assert CANARY in json.dumps(rows(post.pool, "SELECT payload FROM outbox"), default=str), "events repeat ids"


# -- it would be found


class Leaky(Watched):
    """A handler that tells of a message what it should keep to itself."""

    tell: Callable[[Delivery], None]

    def _read(self, delivery: Delivery) -> Parsed | Exception:
        type(self).tell(delivery)
        return super()._read(delivery)


def _log_the_body(delivery: Delivery) -> None:
    logger("test").warning(f"could not read {delivery.body}")


def _log_a_library_s_words(delivery: Delivery) -> None:
    logging.getLogger("some.library").debug("sent %s", delivery.body)


def _print_the_body(delivery: Delivery) -> None:
    print(delivery.body)  # noqa: T201 - the leak


@pytest.mark.parametrize("tell", [_log_the_body, _log_a_library_s_words, _print_the_body])
def test_what_is_written_would_be_found(crowd: Pool, capfd: pytest.CaptureFixture[str], tell: Callable[..., None]):
    leaky = type("Leaky", (Leaky,), {"tell": staticmethod(tell)})
    with loud(), Post(crowd, leaky) as post:
        post.put((Queue.EVENTS, m.body(work(1))))
    assert {found.partition(":")[0] for found in leaks(post.said(capfd))} == {"output"}


def test_what_a_span_says_would_be_found(crowd: Pool, monkeypatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr("workers.tracing.as_id", lambda text: text)
    with loud(), Post(crowd) as post:
        post.put((Queue.EVENTS, m.body(work(1))))
    assert {found.partition(":")[0] for found in leaks(post.said(capfd))} == {"spans"}


def test_what_an_exception_of_ours_or_a_failure_says_would_be_found(
    crowd: Pool, monkeypatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("contracts.inbound._where", lambda error: str(error.errors()))
    with loud(), Post(crowd) as post:
        post.put((Queue.EVENTS, m.body(work(1, completedAt=CANARY))))
    assert {found.partition(":")[0] for found in leaks(post.said(capfd))} == {"exceptions", "failures"}


def test_what_a_metric_says_would_be_found(crowd: Pool, capfd: pytest.CaptureFixture[str]):
    with loud(), Post(crowd) as post:
        post.put((Queue.EVENTS, m.body(work(1))))
    said = post.said(capfd)
    assert leaks(said) == []
    assert leaks({**said, "metrics": [*said["metrics"], f'x_total{{name="{CANARY}"}} 1']}) != []


@pytest.mark.parametrize("key", ["notes", "body", "detail"])
def test_a_key_that_is_on_no_list_leaks_nothing_but_its_name(capfd: pytest.CaptureFixture[str], key: str):
    with loud():
        logger("test").warning("trouble", **{key: dict(PLANTED)})
    told = capfd.readouterr()
    assert leaks({"output": [told.out + told.err]}) == []
