"""The provider goes away: the payouts queue stops, all else goes on, and nothing ends among the dead letters."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, Self

import pytest
from dramatiq.worker import Worker

from contracts.envelope import Queue
from contracts.outcome import Outcome
from contracts.provider import Accepted, Answer, LookUp, PayoutOrder, ProviderAwayError, TryLater, Unknown
from handlers.decision import Rules
from store import db
from store.db import Pool, PoolOptions
from tests.kit import messages as m
from tests.kit.brokers import AtWork, running
from tests.kit.funnel import once, rows
from tests.kit.proofs import SENDER, SENDERS, TRUST
from tests.kit.providers import AwayProvider, FakeProvider
from tests.kit.sqs import URL, MemorySqs, until
from workers.breaker import BothThere, Breaker, State
from workers.broker import BrokerOptions, SqsBroker
from workers.consume import EVENT_PATIENCE_MAX_S, MessageHandler, Needs
from workers.counting import PROVIDER_AWAY, PROVIDER_BUSY
from workers.delivery import Delivery, InboundQueue, Settlement, inbound_queue
from workers.metrics import Metrics
from workers.payouts import Asker
from workers.roles.worker import PROVIDER_TRIES, declare_actors
from workers.sandbox.plan import Fault, Outage
from workers.sandbox.server import Sandbox
from workers.stripe_provider import StripeProvider, Timeouts

PAYOUTS, EVENTS = str(Queue.PAYOUTS), str(Queue.EVENTS)
RULES = Rules(provider="sandbox", senders=SENDERS)


# -- the breaker and the gate


class Answering:
    """A probe that fails so many times in a row, then answers."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.asked = 0

    def __call__(self) -> None:
        self.asked += 1
        if self.failures:
            self.failures -= 1
            raise ProviderAwayError("connection")


@pytest.fixture
def started() -> Iterator[Callable[..., Breaker]]:
    """Starts breakers, which are stopped at the end."""
    with ExitStack() as stack:

        def start(name: str, probe: Callable[[], object], **options: Any) -> Breaker:
            breaker = Breaker(name, probe, Metrics(), **({"every_s": 0.02} | options))
            breaker.start()
            stack.callback(breaker.stop, 5)
            return breaker

        yield start


def test_fewer_failed_probes_than_are_tried_are_no_outage(started):
    assert PROVIDER_TRIES == 3
    probe = Answering()
    breaker = started("provider", probe, tries=PROVIDER_TRIES)
    until(lambda: breaker.is_open)
    gone: list[int] = []
    breaker.went_away = lambda: gone.append(1)
    probe.failures, probe.asked = 2, 0
    breaker.trouble()
    assert breaker.is_there()
    assert (probe.asked, gone) == (3, [])
    probe.failures = 3
    breaker.trouble()
    until(lambda: gone == [1])
    until(lambda: breaker.is_open)


def test_the_gate_of_payouts_is_open_while_both_are_there(started):
    first, second = Answering(), Answering()
    database, provider = started("database", first), started("provider", second)
    both = BothThere(database, provider)
    until(lambda: both.is_open)
    for probe, breaker in ((first, database), (second, provider)):
        probe.failures = 1_000_000
        breaker.trouble()
        assert not both.is_there()
        assert not both.is_open
        stop = threading.Event()
        threading.Timer(0.05, stop.set).start()
        assert not both.wait_open(stop), "the process stops"
        probe.failures = 0
        assert both.wait_open(threading.Event())
        until(lambda: both.is_open)


def test_what_waits_for_the_provider_is_handed_back_and_nothing_else():
    sqs, slow = MemorySqs(), AtWork()
    for number in range(12):
        sqs.put(PAYOUTS, f"payout {number}")
        sqs.put(EVENTS, f"event {number}")
    with running(sqs, slow, outage_s=(40, 50)) as found:
        slow.await_begun()
        until(lambda: found.broker.held >= 20)
        held = [each.source.queue for each in found.broker.holding.deliveries()]
        found.broker.release_waiting(Queue.PAYOUTS)
        until(lambda: len([each for each in found.broker.holding.deliveries() if each.source.queue == PAYOUTS]) <= 4)
        left = [each.source.queue for each in found.broker.holding.deliveries()]
        assert left.count(Queue.EVENTS) == held.count(Queue.EVENTS)
        until(lambda: len([seconds for seconds in sqs.visible_in(PAYOUTS) if seconds > 35]) >= 6)
        slow.release()
        until(lambda: not sqs.held(EVENTS))


# -- one message at a time


@pytest.fixture
def orders(pool: Pool) -> list[str]:
    """The bodies of orders to pay out approved payments."""
    return [order_of(pool, number) for number in range(2)]


def order_of(pool: Pool, number: int) -> str:
    incident_id = f"11111111-1111-4111-8111-{number:012d}"
    created = once(pool, m.parsed(m.work(incidentId=incident_id, eventId=f"event-{number}")))
    once(pool, m.parsed(m.command("ApprovePayment", number, paymentId=str(created.payment_id))))
    posted = "SELECT payload FROM outbox WHERE detail_type = %s ORDER BY outbox_id DESC LIMIT 1"
    [process] = rows(pool, posted, "ProcessPayment")
    assert once(pool, m.parsed(process["payload"], queue=Queue.PAYOUTS)).status == "processing"
    [execute] = rows(pool, posted, "ExecutePayout")
    return m.body(execute["payload"])


def deliver(body: str, queue: Queue, receives: int = 1) -> Delivery:
    raw: Any = {
        "MessageId": "sqs-1",
        "ReceiptHandle": "receipt",
        "Body": body,
        "Attributes": {
            "SentTimestamp": str(int(datetime.now(UTC).timestamp() * 1000)),
            "ApproximateReceiveCount": str(receives),
            "SenderId": SENDER,
        },
    }
    return Delivery(InboundQueue(queue, "url", "dlq"), raw)


def handler(pool: Pool, provider: FakeProvider, breaker: Any = None) -> MessageHandler:
    needs = Needs(provider=breaker)
    return MessageHandler(pool, Asker(pool, provider), RULES, TRUST, Metrics(), needs=needs)


def test_a_payout_is_not_even_tried_while_the_provider_is_away(pool: Pool, orders: list[str], started):
    provider = AwayProvider(Accepted("tr_1"))
    provider.away = True
    breaker = started("provider", provider.probe)
    until(lambda: breaker.state is State.AWAY)
    delivery = deliver(orders[0], Queue.PAYOUTS, receives=9)
    handler(pool, provider, breaker).handle(delivery)
    assert (delivery.settlement, delivery.reason, provider.calls) == (Settlement.RETRY, PROVIDER_AWAY, 0)
    assert delivery.delay_s is not None
    assert 30 <= delivery.delay_s <= 60
    assert rows(pool, "SELECT 1 FROM message_failures") == [], "no last receive is recorded that was not one"
    work = deliver(m.body(m.work(incidentId=str(m.EVENT), eventId="goes on")), Queue.EVENTS)
    assert handler(pool, provider, breaker).handle(work) is Outcome.APPLIED


def test_one_broken_request_of_a_provider_that_answers_is_an_ordinary_retry(pool: Pool, orders: list[str], started):
    class Hiccup(AwayProvider):
        def probe(self) -> None:
            """It is there."""

    provider = Hiccup(Accepted("tr_1"))
    breaker = started("provider", provider.probe)
    until(lambda: breaker.is_open)
    provider.away = True
    for body, queue in ((orders[0], Queue.PAYOUTS), (m.body(m.provider_event()), Queue.EVENTS)):
        delivery = deliver(body, queue)
        assert handler(pool, provider, breaker).handle(delivery) is Outcome.RETRY
        assert (delivery.reason, delivery.delay_s) == (PROVIDER_AWAY, None), "the usual back-off"
        assert breaker.is_there()


def test_a_provider_that_is_only_busy_is_no_outage_and_the_fifth_receive_leaves_it_to_the_sweep(
    pool: Pool, orders: list[str]
):
    class Recorded:
        troubles = 0

        def trouble(self) -> None:
            self.troubles += 1

        def is_there(self) -> bool:
            return True

    class Busy(FakeProvider):
        name = "sandbox"

        def look_up(self, order: PayoutOrder) -> LookUp:  # noqa: ARG002 - the port's argument
            return TryLater("rate_limited")

    breaker = Recorded()
    fourth, fifth = deliver(orders[0], Queue.PAYOUTS, 4), deliver(orders[0], Queue.PAYOUTS, 5)
    assert handler(pool, Busy(), breaker).handle(fourth) is Outcome.RETRY
    assert fourth.reason == PROVIDER_BUSY
    assert handler(pool, Busy(), breaker).handle(fifth) is Outcome.APPLIED
    assert breaker.troubles == 0
    states = {row["state"] for row in rows(pool, "SELECT state FROM payout_attempts")}
    assert states == {"unknown", "ready"}


@pytest.mark.parametrize(
    ("answer", "troubles"), [(Unknown("timeout"), 1), (Unknown("server_error"), 1), (Accepted("tr_1"), 0)]
)
def test_an_outcome_that_was_left_open_makes_the_provider_suspect(
    pool: Pool, orders: list[str], answer: Answer, troubles: int
):
    told: list[int] = []

    class Suspect:
        def trouble(self) -> None:
            told.append(1)

        def is_there(self) -> bool:
            return True

    assert handler(pool, AwayProvider(answer), Suspect()).handle(deliver(orders[0], Queue.PAYOUTS)) is Outcome.APPLIED
    assert len(told) == troubles


def test_an_event_waits_long_for_a_provider_that_is_away_instead_of_using_up_its_receives(pool: Pool, started):
    provider = AwayProvider(Accepted("tr_1"))
    provider.away = True
    breaker = started("provider", provider.probe)
    until(lambda: breaker.state is State.AWAY)
    waits: list[float] = []
    for receives in range(1, 10):
        delivery = deliver(m.body(m.provider_event()), Queue.EVENTS, receives)
        assert handler(pool, provider, breaker).handle(delivery) is Outcome.RETRY
        assert delivery.reason == PROVIDER_AWAY
        assert delivery.delay_s is not None
        waits.append(delivery.delay_s)
    assert 12 * 60 <= waits[0] <= 18 * 60
    assert all(wait <= EVENT_PATIENCE_MAX_S * 1.2 for wait in waits)
    assert sum(waits) > 24 * 3600, "a day at least before its queue's redrive policy takes it"


# -- an outage, at work


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as found:
        yield found


@pytest.fixture
def crowd(database_url: str) -> Iterator[Pool]:
    with db.open_pool(database_url, PoolOptions(size_min=2, size_max=8, wait_s=2)) as pool:
        pool.wait(10)
        yield pool


class Paying:
    """A worker on a model of SQS, as `run_worker` puts it together, before the sandbox.

    What takes half a minute in production takes a tenth of a second here.
    """

    def __init__(self, pool: Pool, sqs: MemorySqs, sandbox: Sandbox) -> None:
        metrics = Metrics()
        quick = Timeouts(connect_s=0.5, look_up_s=1, submit_s=1, probe_s=0.5)
        provider = StripeProvider(name="sandbox", key=lambda: "sk_test_1", api_base=sandbox.url, timeouts=quick)
        self.database = Breaker("database", lambda: None, metrics, every_s=0.02)
        self.provider = Breaker("provider", provider.probe, metrics, every_s=0.05, tries=PROVIDER_TRIES)
        queues = [inbound_queue(sqs, queue, URL + queue) for queue in Queue]  # type: ignore[arg-type]
        options = BrokerOptions(
            room=20, poll_wait_s=0, visibility_s=30, renew_every_s=15, outage_s=(0.1, 0.2), backoff_s=(0.1,)
        )
        both = BothThere(self.database, self.provider)
        self.broker = SqsBroker(sqs, queues, options, metrics, self.database, both)  # type: ignore[arg-type]
        self.provider.went_away = lambda: self.broker.release_waiting(Queue.PAYOUTS)
        needs = Needs(self.database, self.provider, options.outage_s)
        asker = Asker(pool, provider)
        declare_actors(self.broker, MessageHandler(pool, asker, RULES, TRUST, metrics, needs=needs))
        self.worker = Worker(self.broker, worker_threads=4, worker_timeout=50)

    def __enter__(self) -> Self:
        self.database.start()
        self.provider.start()
        self.worker.start()
        self.broker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stop(timeout=5_000)
        assert self.broker.shut_down(5)
        self.database.stop(5)
        self.provider.stop(5)


class Receives:
    """Keeps how often each message was received at most, and how often a queue was asked."""

    def __init__(self, sqs: MemorySqs) -> None:
        self.highest: dict[str, int] = {}
        self._sqs = sqs
        real = sqs.receive_message

        def receive(**arguments: Any) -> dict[str, Any]:
            answer = real(**arguments)
            for message in answer.get("Messages", []):
                self.highest[message["MessageId"]] = int(message["Attributes"]["ApproximateReceiveCount"])
            return answer

        sqs.receive_message = receive  # type: ignore[method-assign]

    def asked(self, queue: str) -> int:
        return len([each for each in self._sqs.named("receive_message") if each["QueueUrl"] == URL + queue])


def refuse_connections(sandbox: Sandbox) -> None:
    sandbox.stop()


def refuse_credentials(sandbox: Sandbox) -> None:
    sandbox.switches.unauthorized = True


def answer_with_errors(sandbox: Sandbox) -> None:
    sandbox.switches.outage = Outage.UNAVAILABLE


def be_there(sandbox: Sandbox) -> None:
    sandbox.switches.unauthorized, sandbox.switches.outage = False, Outage.OFF
    if sandbox._server is None:
        sandbox.start()


@pytest.mark.parametrize("outage", [refuse_connections, refuse_credentials, answer_with_errors])
def test_z13_an_outage_of_the_provider_costs_a_payout_two_receives_and_stops_nothing_else(
    crowd: Pool, sandbox: Sandbox, outage: Callable[[Sandbox], None]
):
    sqs = MemorySqs()
    bodies, receives = [order_of(crowd, number) for number in range(24)], Receives(sqs)
    with Paying(crowd, sqs, sandbox) as paying:
        until(lambda: paying.provider.is_open)
        for body in bodies[:4]:
            sqs.put(PAYOUTS, body)
        until(lambda: len(sandbox.books.transfers()) == 4, within_s=20)
        outage(sandbox)
        for body in bodies[4:]:
            sqs.put(PAYOUTS, body)
        until(lambda: paying.provider.state is State.AWAY, within_s=20)
        until(lambda: not [each for each in paying.broker.holding.deliveries() if each.source.queue == PAYOUTS])
        threading.Event().wait(0.3)  # a request that was under way
        asked = receives.asked(PAYOUTS)
        for number in range(100, 110):
            incident_id = f"11111111-1111-4111-8111-{number:012d}"
            sqs.put(EVENTS, m.body(m.work(incidentId=incident_id, eventId=f"event-{number}")))
        until(lambda: not sqs.held(EVENTS), within_s=20, what="the events, which need no provider")
        threading.Event().wait(3)  # as if ten minutes: twenty times as long as a message is hidden
        assert receives.asked(PAYOUTS) == asked, "nothing is received that cannot be paid"
        assert len(sandbox.books.transfers()) == 4
        be_there(sandbox)
        until(lambda: not sqs.held(PAYOUTS), within_s=30, what="the payouts, once the provider is back")
    assert max(receives.highest.values()) <= 3, "its own receive and two more"
    assert sqs.held(f"{PAYOUTS}-dlq") == []
    assert rows(crowd, "SELECT 1 FROM message_failures") == []
    states = rows(crowd, "SELECT state, count(*) AS many FROM payout_attempts GROUP BY state")
    known = {row["state"]: row["many"] for row in states}
    in_flight = known.get("unknown", 0)  # whose answer was on its way when the provider went
    assert known["succeeded"] + in_flight == len(bodies)
    assert in_flight <= 4
    assert known["succeeded"] <= len(sandbox.books.transfers()) <= len(bodies)


def test_a_worker_that_starts_during_an_outage_receives_no_payouts(crowd: Pool, sandbox: Sandbox):
    sqs = MemorySqs()
    sqs.put(PAYOUTS, order_of(crowd, 1))
    sqs.put(EVENTS, m.body(m.work(incidentId=str(m.EVENT), eventId="another")))
    sandbox.stop()
    with Paying(crowd, sqs, sandbox) as paying:
        until(lambda: not sqs.held(EVENTS), within_s=20)
        until(lambda: paying.provider.state is State.AWAY)
        [waiting] = sqs.held(PAYOUTS)
        assert waiting.receive_count == 0
        sandbox.start()
        until(lambda: not sqs.held(PAYOUTS), within_s=20)
    assert len(sandbox.books.transfers()) == 1


def test_one_lost_answer_stops_no_payout(crowd: Pool, sandbox: Sandbox):
    """A lost answer makes the provider suspect; the next probe says that it is there."""
    sqs = MemorySqs()
    with Paying(crowd, sqs, sandbox) as paying:
        until(lambda: paying.provider.is_open)
        gone: list[int] = []
        paying.provider.went_away = lambda: gone.append(1)
        sandbox.plan.force(Fault.LOST_AFTER)
        for number in range(3):
            sqs.put(PAYOUTS, order_of(crowd, number))
        until(lambda: not sqs.held(PAYOUTS), within_s=20)
    assert gone == []
    assert len(sandbox.books.transfers()) == 3
    states = sorted(row["state"] for row in rows(crowd, "SELECT state FROM payout_attempts"))
    assert states == ["succeeded", "succeeded", "unknown"], "the sweep looks the third one up"
