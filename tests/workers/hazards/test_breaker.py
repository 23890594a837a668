"""The circuit breaker: an outage costs a message no more than the receives that begin and end it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Self

import psycopg
import pytest
from dramatiq.middleware import CurrentMessage
from dramatiq.worker import Worker
from psycopg import sql

from contracts.envelope import Queue
from handlers.decision import Rules
from store import db, probe
from store.db import Pool, PoolOptions
from tests.kit import messages as m
from tests.kit.funnel import rows
from tests.kit.proofs import SENDERS, TRUST
from tests.kit.providers import nobody
from tests.kit.sqs import URL, MemorySqs, until
from workers.breaker import Breaker, State
from workers.broker import BrokerOptions, SqsBroker
from workers.consume import MessageHandler, Needs
from workers.counting import DATABASE_AWAY
from workers.delivery import Delivery, Settlement, inbound_queue
from workers.health import NotReadyError
from workers.local import postgres
from workers.metrics import Metrics
from workers.roles.worker import declare_actors, worker_readiness

EVENTS = str(Queue.EVENTS)


class Patient:
    """A dependency that answers or does not, and counts how often it was asked."""

    def __init__(self, *, well: bool = True) -> None:
        self.well = well
        self.asked = 0
        self.hold: threading.Event | None = None

    def __call__(self) -> None:
        self.asked += 1
        if self.hold:
            self.hold.wait(10)
        if not self.well:
            raise ConnectionError


@contextmanager
def breaking(patient: Patient, metrics: Metrics | None = None) -> Iterator[Breaker]:
    breaker = Breaker("database", patient, metrics or Metrics(), every_s=0.02)
    breaker.start()
    try:
        yield breaker
    finally:
        breaker.stop(5)
        assert not breaker.thread.is_alive()


def test_nothing_begins_before_the_dependency_has_answered_once():
    patient = Patient(well=False)
    with breaking(patient) as breaker:
        until(lambda: breaker.state is State.AWAY)
        assert not breaker.is_open
        patient.well = True
        until(lambda: breaker.is_open)


def test_one_failure_asks_at_once_and_an_answer_is_enough_to_go_on():
    patient = Patient()
    with breaking(patient) as breaker:
        until(lambda: breaker.is_open)
        patient.hold = threading.Event()
        gone: list[int] = []
        breaker.went_away = lambda: gone.append(1)
        breaker.trouble()
        assert breaker.state is State.SUSPECT
        assert not breaker.is_open
        threading.Timer(0.05, patient.hold.set).start()
        assert breaker.is_there(), "the verdict is waited for"
        assert gone == []


def test_an_outage_is_told_once_and_asked_about_until_it_is_over():
    patient, metrics = Patient(), Metrics()
    with breaking(patient, metrics) as breaker:
        until(lambda: breaker.is_open)
        gone: list[int] = []
        breaker.went_away = lambda: gone.append(1)
        patient.well = False
        breaker.trouble()
        assert not breaker.is_there()
        breaker.trouble()
        until(lambda: patient.asked > 5)
        assert gone == [1]
        assert opened(metrics) == 1
        patient.well = True
        until(lambda: breaker.is_open)
        assert opened(metrics) == 0


def opened(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("payments_breaker_open", {"dependency": "database"})


def test_whoever_waits_for_the_gate_goes_on_when_the_process_stops():
    stop = threading.Event()
    with breaking(Patient(well=False)) as breaker:
        threading.Timer(0.05, stop.set).start()
        assert not breaker.wait_open(stop)


def test_a_gate_that_closes_again_while_it_is_passed_ends_nobody():
    stop = threading.Event()
    with breaking(Patient()) as breaker:
        until(lambda: breaker.is_open)
        done = threading.Event()

        def trip() -> None:
            while not done.is_set():
                breaker.trouble()

        tripper = threading.Thread(target=trip)
        tripper.start()
        for _ in range(20_000):
            assert breaker.wait_open(stop), "only a stop ends a poller"
        done.set()
        tripper.join()


def test_whoever_comes_back_is_told_before_work_begins():
    patient = Patient()
    with breaking(patient) as breaker:
        until(lambda: breaker.is_open)
        seen: list[State] = []
        breaker.came_back = lambda: seen.append(breaker.state)
        patient.well = False
        breaker.trouble()
        until(lambda: breaker.state is State.AWAY)
        patient.well = True
        until(lambda: breaker.is_open)
    assert seen == [State.AWAY]


def test_a_failure_to_hand_back_does_not_end_the_breaker():
    patient = Patient()
    with breaking(patient) as breaker:
        until(lambda: breaker.is_open)
        breaker.went_away = lambda: (_ for _ in ()).throw(RuntimeError("unheard of"))
        patient.well = False
        breaker.trouble()
        until(lambda: breaker.state is State.AWAY)
        patient.well = True
        until(lambda: breaker.is_open)


def test_readiness_says_that_the_database_is_away_and_why_nothing_is_received():
    with breaking(Patient(well=False)) as breaker:
        until(lambda: breaker.state is State.AWAY)
        with pytest.raises(NotReadyError, match="database_away"):
            worker_readiness(breaker, dict)()


class Working:
    """A worker on a model of SQS, with a breaker around a dependency that a test can take away."""

    def __init__(self, sqs: MemorySqs, patient: Patient, handle: Any) -> None:
        self.metrics = Metrics()
        self.breaker = Breaker("database", patient, self.metrics, every_s=0.02)
        queues = [inbound_queue(sqs, queue, URL + queue) for queue in Queue]  # type: ignore[arg-type]
        options = BrokerOptions(room=20, poll_wait_s=0, visibility_s=30, renew_every_s=15, outage_s=(40, 50))
        self.broker = SqsBroker(sqs, queues, options, self.metrics, self.breaker)  # type: ignore[arg-type]
        self.breaker.went_away = self.broker.release_waiting
        declare_actors(self.broker, lambda: handle(self))
        self.worker = Worker(self.broker, worker_threads=4, worker_timeout=50)

    def __enter__(self) -> Self:
        self.breaker.start()
        self.worker.start()
        self.broker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stop(timeout=5_000)
        assert self.broker.shut_down(5)
        self.breaker.stop(5)


def test_z13_an_outage_stops_receiving_and_hands_back_what_is_held_for_later():
    sqs, patient = MemorySqs(), Patient()
    for number in range(60):
        sqs.put(EVENTS, str(number))
    begun = threading.Semaphore(0)

    def handle(working: Working) -> None:
        delivery: Any = CurrentMessage.get_current_message()
        if delivery.begun_at is None:
            return  # handed back while it waited
        begun.release()
        patient.well = False
        working.breaker.trouble()
        away = not working.breaker.is_there()
        delivery.settle_as(Settlement.RETRY, "transient_connection", delay_s=45 if away else None)

    with Working(sqs, patient, handle) as working:
        assert begun.acquire(timeout=5)
        until(lambda: working.broker.held == 0)
        received = sum(stored.receive_count for stored in sqs.held(EVENTS))
        until(lambda: patient.asked > 10)
        assert sum(stored.receive_count for stored in sqs.held(EVENTS)) == received <= 30
        assert max(stored.receive_count for stored in sqs.held(EVENTS)) == 1
        hidden = [seconds for seconds in sqs.visible_in(EVENTS) if seconds > 0]
        assert len(hidden) == received
        assert min(hidden) > 35, "30 to 60 s in production: not before the outage may be over"


@pytest.fixture
def crowd(database_url: str) -> Iterator[Pool]:
    with db.open_pool(database_url, PoolOptions(size_min=2, size_max=6, wait_s=2)) as pool:
        pool.wait(10)
        yield pool


def test_z13_an_outage_of_the_real_database_costs_each_message_at_most_two_receives(
    server: postgres.Server, database_url: str, crowd: Pool
):
    sqs, metrics = MemorySqs(), Metrics()
    breaker = Breaker("database", lambda: probe.ask(database_url, 2), metrics, every_s=0.05)
    breaker.came_back = lambda: probe.refresh(crowd)
    queues = [inbound_queue(sqs, queue, URL + queue) for queue in Queue]  # type: ignore[arg-type]
    options = BrokerOptions(
        room=20, poll_wait_s=0, visibility_s=30, renew_every_s=15, outage_s=(0.5, 1), backoff_s=(1,)
    )
    broker = SqsBroker(sqs, queues, options, metrics, breaker)  # type: ignore[arg-type]
    breaker.went_away = broker.release_waiting
    rules = Rules(provider="none", senders=SENDERS)
    needs = Needs(database=breaker, outage_s=options.outage_s)
    handler = MessageHandler(crowd, nobody(crowd), rules, TRUST, metrics, needs=needs)
    declare_actors(broker, handler)
    worker = Worker(broker, worker_threads=4, worker_timeout=50)
    counts = ReceiveCounts(sqs)
    breaker.start()
    worker.start()
    broker.start()
    for number in range(150):
        incident = f"11111111-1111-4111-8111-{number:012d}"
        sqs.put(EVENTS, m.body(m.work(incidentId=incident, eventId=f"event-{number}")))
    until(lambda: len(sqs.held(EVENTS)) < 140, within_s=20)
    with database_away(server, database_url):
        until(lambda: breaker.state is State.AWAY, within_s=20)
        until(lambda: broker.held == 0, within_s=20)
        asked = len(sqs.named("receive_message"))
        threading.Event().wait(1.5)  # longer than any message is hidden: a worker that polled would receive them again
        assert len(sqs.named("receive_message")) == asked
    until(lambda: not sqs.held(EVENTS), within_s=30)
    worker.stop(timeout=5_000)
    assert broker.shut_down(5)
    breaker.stop(5)
    assert len(rows(crowd, "SELECT 1 FROM payments")) == 150
    assert max(counts.highest.values()) <= 3, "its own receive and two more"


class ReceiveCounts:
    """Keeps the highest receive count of every message, also after it was deleted."""

    def __init__(self, sqs: MemorySqs) -> None:
        self.highest: dict[str, int] = {}
        real = sqs.receive_message

        def receive(**arguments: Any) -> dict[str, Any]:
            answer = real(**arguments)
            for message in answer.get("Messages", []):
                self.highest[message["MessageId"]] = int(message["Attributes"]["ApproximateReceiveCount"])
            return answer

        sqs.receive_message = receive  # type: ignore[method-assign]


@contextmanager
def database_away(server: postgres.Server, database_url: str) -> Iterator[None]:
    """Let nobody into one database, and end who is in."""
    name = sql.Identifier(database_url.rsplit("/", 1)[-1].partition("?")[0])
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false").format(name))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name.as_string().strip('"'),)
        )
        try:
            yield
        finally:
            connection.execute(sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true").format(name))


def test_a_message_is_not_even_tried_while_the_database_is_away(crowd: Pool):
    source = inbound_queue(MemorySqs(), Queue.EVENTS, URL + EVENTS)  # type: ignore[arg-type]
    sent_ms = str(int(datetime.now(UTC).timestamp() * 1000))
    raw: Any = {
        "MessageId": "sqs-1",
        "ReceiptHandle": "receipt",
        "Body": m.body(m.work()),
        "Attributes": {"SentTimestamp": sent_ms, "ApproximateReceiveCount": "9"},
    }
    with breaking(Patient(well=False)) as breaker:
        until(lambda: breaker.state is State.AWAY)
        rules = Rules(provider="none", senders=SENDERS)
        needs = Needs(database=breaker, outage_s=(40, 50))
        handler = MessageHandler(crowd, nobody(crowd), rules, TRUST, Metrics(), needs=needs)
        delivery = Delivery(source, raw)
        handler.handle(delivery)
    assert (delivery.settlement, delivery.reason) == (Settlement.RETRY, DATABASE_AWAY)
    assert delivery.delay_s is not None
    assert 40 <= delivery.delay_s <= 50
    assert rows(crowd, "SELECT 1 FROM message_inbox") == []
    assert rows(crowd, "SELECT 1 FROM message_failures") == [], "no last receive is recorded that was not one"
