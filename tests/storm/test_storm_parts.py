"""Every fault of the storm's proxies really happens to who speaks through them, and is counted then."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.kit import books, bus, fauxqs
from tests.kit.sqs import until
from tests.storm import aws_proxy as proxied
from tests.storm import schedule
from tests.storm.bank import KINDS, Bank, Carrier
from tests.storm.driver import Storm
from tests.storm.fleet import SIZES, Fleet
from tests.storm.report import FINDINGS_MAX, Report
from tests.storm.servers import AwsWeather, PgWeather, aws_proxy, pg_proxy
from workers.local import aws
from workers.local.sandbox import EVENT_SOURCE
from workers.sandbox.plan import Fault

pytestmark = [pytest.mark.long, pytest.mark.stack]

ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=2.5)


@dataclass
class Cloud:
    """SQS and the bus behind the proxy."""

    weather: AwsWeather
    sqs: Any
    events: Any
    url: str
    record: Path

    def send(self, *bodies: str) -> Any:
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
        return self.sqs.send_message_batch(QueueUrl=self.url, Entries=entries)

    def receive(self) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
        return answer.get("Messages", [])

    def receive_later(self, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        def all_there() -> bool:
            found.extend(self.receive())
            return len(found) >= count

        until(all_there, within_s=30, what=f"{count} messages", every_s=0.1)
        return found

    def delete(self, messages: list[dict[str, Any]]) -> Any:
        entries = [{"Id": str(n), "ReceiptHandle": found["ReceiptHandle"]} for n, found in enumerate(messages)]
        return self.sqs.delete_message_batch(QueueUrl=self.url, Entries=entries)

    def put(self, count: int = 1) -> Any:
        entry = {"EventBusName": "b", "Source": "s", "DetailType": "PaymentCreated", "Detail": '{"a": 1}'}
        return self.events.put_events(Entries=[entry] * count)

    def taken(self) -> int:
        return len(list(bus.recorded(self.record)))

    def left(self) -> int:
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        found = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(map(int, found.values()))


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    home = tmp_path_factory.mktemp("cloud")
    with ExitStack() as stack:
        direct = stack.enter_context(fauxqs.serving(home / "fauxqs.log"))
        queues = fauxqs.create_queues(aws.session(direct).client("sqs"))
        weather = stack.enter_context(aws_proxy(direct, home / "bus.jsonl", home / "proxy.log", seed=1))
        session = aws.session(weather.endpoint_url)
        sqs: Any = session.client("sqs", config=ONCE)
        yield Cloud(weather, sqs, session.client("events", config=ONCE), queues["approvals"], home / "bus.jsonl")


@pytest.fixture
def cloud(sky: Cloud) -> Iterator[Cloud]:
    sky.sqs.purge_queue(QueueUrl=sky.url)
    yield sky
    sky.weather.calm()


def test_without_a_fault_everything_passes(cloud):
    before = cloud.weather.told()
    assert len(cloud.send("a", "b")["Successful"]) == 2
    found = cloud.receive()
    assert [message["Body"] for message in found] == ["a", "b"]
    assert len(cloud.delete(found)["Successful"]) == 2
    assert cloud.left() == 0
    assert "EventId" in cloud.put()["Entries"][0]
    after = cloud.weather.told()
    assert after["faults"] == before["faults"]
    assert after["deliveries"] == before["deliveries"] + 2


@pytest.mark.parametrize("side", ["sqs", "bus"])
@pytest.mark.parametrize(
    ("kind", "code"),
    [("throttled", "ThrottlingException"), ("error 500", "InternalFailure"), ("error 503", "ServiceUnavailable")],
)
def test_an_error_reaches_the_client_and_nothing_the_server(cloud, side, kind, code):
    taken = cloud.taken()
    with cloud.weather.only(f"{side}: {kind}"), pytest.raises(ClientError, match=code):
        cloud.put() if side == "bus" else cloud.send("a")
    assert (cloud.taken(), cloud.left()) == (taken, 0)


@pytest.mark.parametrize("side", ["sqs", "bus"])
@pytest.mark.parametrize(
    ("kind", "done"), [("reset before", 0), ("reset after success", 1), ("silent after success", 1)]
)
def test_a_broken_connection_leaves_the_client_in_doubt(cloud, side, kind, done):
    taken = cloud.taken()
    with cloud.weather.only(f"{side}: {kind}"), pytest.raises(BotoCoreError):
        cloud.put() if side == "bus" else cloud.send("a")
    assert (cloud.taken() - taken if side == "bus" else cloud.left()) == done


@pytest.mark.parametrize("side", ["sqs", "bus"])
def test_some_entries_of_a_batch_fail_and_are_not_done(cloud, side):
    taken = cloud.taken()
    with cloud.weather.only(f"{side}: entries failed"):
        told = cloud.put(10) if side == "bus" else cloud.send(*"abcdefghij")
    if side == "bus":
        failed = [entry for entry in told["Entries"] if "ErrorCode" in entry]
        assert told["FailedEntryCount"] == len(failed) >= 1
        assert cloud.taken() - taken == 10 - len(failed)
    else:
        assert len(told["Failed"]) >= 1
        assert cloud.left() == 10 - len(told["Failed"]) == len(told.get("Successful", []))


@pytest.mark.parametrize("side", ["sqs", "bus"])
def test_a_slow_answer_is_an_answer(cloud, side):
    began = time.monotonic()
    with cloud.weather.only(f"{side}: slow"):
        cloud.put() if side == "bus" else cloud.send("a")
    assert time.monotonic() - began >= proxied.SLOW_S[0]


@pytest.mark.parametrize("side", ["sqs", "bus"])
def test_a_stall_holds_every_request_and_counts_once(cloud, side):
    before, began = cloud.weather.faults(), time.monotonic()
    cloud.weather.stall(side, 0.5)
    for _ in range(2):
        cloud.put() if side == "bus" else cloud.send("a")
    assert time.monotonic() - began >= 0.4
    assert cloud.weather.faults() - before == {f"{side}: stalled": 1}


def test_a_delete_that_is_lost_was_confirmed(cloud):
    cloud.send("a")
    found = cloud.receive()
    with cloud.weather.only("sqs: lost delete"):
        assert len(cloud.delete(found)["Successful"]) == 1
    assert cloud.left() == 1


def test_a_delete_that_is_late_is_done_in_the_end(cloud):
    cloud.send("a")
    found = cloud.receive()
    cloud.weather.tell(late_delete_s=[1, 1])
    with cloud.weather.only("sqs: late delete"):
        assert len(cloud.delete(found)["Successful"]) == 1
        assert cloud.left() == 1
    until(lambda: cloud.left() == 0, within_s=60, what="the delete", every_s=0.2)


def test_a_body_is_sent_again_as_another_message(cloud):
    cloud.send("a")
    with cloud.weather.only("sqs: sent again"):
        first = cloud.receive()
    second = cloud.receive()
    assert [message["Body"] for message in first + second] == ["a", "a"]
    assert first[0]["MessageId"] != second[0]["MessageId"]


def test_a_delivery_is_made_twice_and_the_first_delete_ends_both(cloud):
    cloud.send("a")
    with cloud.weather.only("sqs: delivered twice"):
        first = cloud.receive()
        second = cloud.receive_later(1)
    assert first[0]["MessageId"] == second[0]["MessageId"]
    assert first[0]["ReceiptHandle"] != second[0]["ReceiptHandle"]
    cloud.delete(second)
    assert cloud.left() == 0


def test_messages_are_held_back_and_come_after_later_ones(cloud):
    cloud.send(*"abcdefghij")
    with cloud.weather.only("sqs: held back"):
        first = cloud.receive()
        assert 1 <= len(first) < 10
        late = cloud.receive_later(10 - len(first))
    assert sorted(message["Body"] for message in first + late) == list("abcdefghij")


def test_messages_of_a_batch_are_shuffled(cloud):
    cloud.send(*"abcdefghij")
    with cloud.weather.only("sqs: shuffled"):
        order = [message["Body"] for message in cloud.receive()]
    assert sorted(order) == list("abcdefghij") != order


def test_every_kind_has_a_test_here():
    tested = Path(__file__).read_text()
    kinds = {kind.removeprefix("sqs: ").removeprefix("bus: ") for kind in proxied.FAULTS}
    assert [kind for kind in kinds if kind not in tested] == []


@pytest.fixture
def line(server, database_url, tmp_path) -> Iterator[tuple[PgWeather, str]]:
    with pg_proxy(server.port, tmp_path / "proxy.log", seed=1) as weather:
        yield weather, database_url.replace(f":{server.port}/", f":{weather.port}/")


def test_a_delay_lengthens_every_trip_and_ends(line):
    weather, url = line
    with psycopg.connect(url, autocommit=True) as connection:
        weather.tell(delay_s=0.2)
        began = time.monotonic()
        connection.execute("SELECT 1")
        assert time.monotonic() - began >= 0.4, "there and back"
        weather.tell(delay_s=0.0)
        assert connection.execute("SELECT 2").fetchone() == (2,)
    assert weather.faults() == {"postgres: delayed": 1}


def test_a_stall_holds_everything_and_loses_nothing(line):
    weather, url = line
    with psycopg.connect(url, autocommit=True) as connection:
        weather.tell(stall_s=0.5)
        began = time.monotonic()
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert time.monotonic() - began >= 0.4
    assert weather.faults() == {"postgres: stalled": 1}


def test_no_weather_changes_the_order_of_what_passes(line):
    weather, url = line
    with psycopg.connect(url, autocommit=True) as connection:
        for spell in ({"delay_s": 0.01}, {"stall_s": 0.2}, {"delay_s": 0.0}, {"delay_s": 0.002}) * 3:
            with connection.pipeline():
                first = [connection.execute("SELECT %s::int", [number]) for number in range(50)]
                weather.tell(**spell)
                later = [connection.execute("SELECT %s::int", [number]) for number in range(50, 200)]
                found = [cursor.fetchone() for cursor in first + later]
            assert found == [(number,) for number in range(200)]
        assert weather.told()["connections"] == 1


def test_a_cut_breaks_every_connection_and_lets_new_ones_in(line):
    weather, url = line
    with psycopg.connect(url) as connection:
        weather.tell(cut_share=1.0)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert weather.faults() == {"postgres: cut": 1}


def test_a_cut_at_commit_leaves_the_transaction_done_and_the_client_in_doubt(line):
    weather, url = line
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE told (number int)")
        connection.commit()
        weather.tell(cut_at_commit=1)
        connection.execute("INSERT INTO told VALUES (1)")
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT number FROM told").fetchall() == [(1,)]
    assert weather.faults() == {"postgres: cut at commit": 1}


def test_the_seed_alone_decides_what_strikes_when():
    first, again, other = (schedule.planned(seed, 600) for seed in (1, 1, 2))
    assert first == again != other
    assert {strike.kind for strike in first} == set(schedule.STRIKES)
    assert all(before.at_s < after.at_s for before, after in pairwise(first))


def test_every_kind_of_fault_has_its_rates():
    assert set(schedule.BASE) == set(schedule.GUST) == set(proxied.FAULTS)
    assert set(schedule.PROVIDER_BASE) == set(schedule.PROVIDER_GUST) == set(KINDS) == set(Fault)


def test_every_strike_can_be_done():
    for kind in schedule.STRIKES:
        verb, _, whom = kind.partition(" ")
        done = hasattr(Fleet, verb) if whom in SIZES else hasattr(Storm, f"_{kind.replace(' ', '_')}")
        assert done, kind


def test_every_fault_of_the_provider_is_told_it_and_counted_over_its_lives(tmp_path):
    with ExitStack() as stack:
        endpoint_url = stack.enter_context(bus.serving(tmp_path / "bus.jsonl", tmp_path / "bus.log"))
        bank = Bank(stack, tmp_path, endpoint_url, seed=1)
        bank.close_accounts(["acct_closed"])
        bank.trouble({"unavailable": 1.0})
        assert transferred(bank, "one") == 503
        bank.crash(0.0)
        assert transferred(bank, "one") == 503, "a plan outlives the process"
        bank.outage("503")
        bank.calm()
        assert transferred(bank, "one") == 200
        assert transferred(bank, "two", destination="acct_closed") == 400, "so do the books"
        assert bank.faults() == {"provider: unavailable": 2, "provider: kill -9": 1, "provider: away (503)": 1}
        assert [(made.group, made.amount, made.currency) for made in books.transfers(bank.url)] == [("one", 100, "USD")]


def transferred(bank: Bank, group: str, destination: str = "acct_1") -> int:
    order = {"amount": "100", "currency": "usd", "destination": destination, "transfer_group": group}
    headers = {"Authorization": f"Bearer {books.KEY}"}
    return httpx.post(f"{bank.url}/v1/transfers", data=order, headers=headers, trust_env=False).status_code


def test_what_the_provider_tells_the_bus_is_carried_to_the_events_queue(cloud: Cloud, tmp_path):
    record = tmp_path / "record.jsonl"
    carrier = Carrier(record, cloud.sqs, cloud.url)
    told = {"id": "1", "source": EVENT_SOURCE, "detail_type": "transfer.created", "detail": {"id": "evt_1"}}
    record.write_text("".join(f"{json.dumps(line)}\n" for line in (told, {**told, "source": "roadcall.payment"}, told)))
    assert not carrier.idle()
    carrier.start()
    found = [json.loads(message["Body"]) for message in cloud.receive_later(2)]
    until(carrier.idle)
    carrier.stopping.set()
    carrier.join()
    assert [(body["source"], body["detail"]) for body in found] == [(EVENT_SOURCE, {"id": "evt_1"})] * 2
    assert (carrier.carried, carrier.trouble) == (2, None)


def test_a_report_tells_everything_and_its_verdict(tmp_path):
    report = Report(7, SIZES, sent={"work": 3}, own=2, faults={"sqs: slow": 4}, effects={"payments": 3})
    report.seconds["storm"] = 1.0
    for told in ("seed 7", "VISIBILITY_S=8", "5 (5 a second)", "sqs: slow 4", "payments 3", "verdict: sound"):
        assert told in report.text()
    report.findings = [("lost", "payment 1", "is not there")] * 60
    assert report.text().count("lost: payment 1: is not there") == FINDINGS_MAX
    assert "verdict: VIOLATED, 60 findings" in report.text()
    report.keep(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["messages"] == 5
