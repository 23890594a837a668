"""Events reach the bus: every one, more than once, in any order, whatever the bus does."""

import json
import random
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.workers.sandbox.paying import until
from workers.sandbox.books import Books, Draft
from workers.sandbox.events import BATCH_MAX, BusPublisher, Delivery, Disorder, Entry, PublishError
from workers.sandbox.objects import TransferOrder


@pytest.fixture
def books():
    return busy(Books(), 60)


def busy(books: Books, count: int) -> Books:
    for number in range(count):
        with books.lock:
            draft = Draft()
            books.create_transfer(draft, TransferOrder(number + 1, "usd", "acct_1"))
            books.commit(draft)
    return books


class Bus:
    """Keeps what it takes; refuses now and then."""

    def __init__(self, refusing: float = 0.0) -> None:
        self.taken: list[Entry] = []
        self.sizes: list[int] = []
        self._refusing = refusing
        self._random = random.Random(0)  # noqa: S311 - the same refusals every time

    def __call__(self, entries: Sequence[Entry], /) -> Collection[int]:
        self.sizes.append(len(entries))
        if self._random.random() < self._refusing / 2:
            raise PublishError("away")
        refused = {at for at in range(len(entries)) if self._random.random() < self._refusing}
        self.taken += [entry for at, entry in enumerate(entries) if at not in refused]
        return refused

    @property
    def ids(self) -> list[str]:
        return [json.loads(entry["Detail"])["id"] for entry in self.taken]


def test_every_event_comes_once_and_in_order(books):
    bus, wanted = Bus(), books.undelivered()
    assert Delivery(books, bus, source="acme").drain() == 60
    assert bus.ids == wanted
    assert max(bus.sizes) == BATCH_MAX
    assert (bus.taken[0]["Source"], bus.taken[0]["DetailType"]) == ("acme", "transfer.created")
    assert json.loads(bus.taken[0]["Detail"])["data"]["object"]["amount"] == 1
    assert books.undelivered() == []


def test_disorder_loses_nothing(books):
    bus, wanted = Bus(refusing=0.2), books.undelivered()
    Delivery(books, bus, disorder=Disorder(5, repeated=0.3, held_back=0.3, shuffled=7)).drain()
    counted = Counter(bus.ids)
    assert set(counted) == set(wanted)
    assert sum(count > 1 for count in counted.values()) > 5
    assert list(dict.fromkeys(bus.ids)) != wanted
    assert books.undelivered() == []


def test_disorder_repeats_itself(books):
    wanted = books.undelivered()
    orders = []
    for _ in range(2):
        bus = Bus()
        copy = busy(Books(), 60)
        names = {name: at for at, name in enumerate(copy.undelivered())}
        Delivery(copy, bus, disorder=Disorder(9, 0.2, 0.2, 5)).drain()
        orders.append([names[name] for name in bus.ids])
    assert orders[0] == orders[1]
    assert set(orders[0]) == set(range(len(wanted)))


def test_an_event_is_held_back_for_a_while_only(books):
    bus = Bus()
    delivery = Delivery(books, bus, disorder=Disorder(held_back=1.0))
    assert [delivery.run_once() for _ in range(6)] == [0, 0, 0, 0, 0, 60]


def test_a_bus_that_is_away_is_tried_again(books):
    assert Delivery(books, Bus(refusing=2.0)).drain(3) == 0
    assert len(books.undelivered()) == 60
    assert Delivery(books, Bus()).drain() == 60


def test_the_thread_delivers_what_happens_later():
    books, bus = Books(), Bus()
    delivery = Delivery(books, bus, retry_s=0.01)
    delivery.start()
    busy(books, 3)
    until(lambda: not books.undelivered())
    delivery.stop()
    assert len(bus.taken) == 3


def test_what_is_undelivered_survives_a_restart(opened):
    books = busy(opened(), 5)
    wanted = books.undelivered()
    Delivery(books, lambda entries: range(2, len(entries))).run_once()
    bus = Bus()
    Delivery(opened(), bus).drain()
    assert bus.ids == wanted[2:]


class Client:
    """An EventBridge client that refuses the second entry, or everything."""

    def __init__(self, *, away: bool = False) -> None:
        self.asked: list[Any] = []
        self._away = away

    def put_events(self, *, Entries: list[Any]) -> Any:  # noqa: N803 - boto3's name
        if self._away:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "PutEvents")
        self.asked += Entries
        answers = [{"EventId": str(at)} if at != 1 else {"ErrorCode": "InternalFailure"} for at in range(len(Entries))]
        return {"Entries": answers, "FailedEntryCount": 1}


def test_the_bus_s_answer_is_read_entry_by_entry(books):
    client = Client()
    assert Delivery(books, BusPublisher(client, "main")).run_once() == 54  # type: ignore[arg-type]
    assert {entry["EventBusName"] for entry in client.asked} == {"main"}
    assert len(books.undelivered()) == 6


def test_a_bus_that_refuses_everything_takes_nothing(books):
    assert Delivery(books, BusPublisher(Client(away=True), "main")).run_once() == 0  # type: ignore[arg-type]
