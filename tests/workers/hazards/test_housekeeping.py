"""The housekeeper: prunes by itself, tells of it, stops at once, outlives an outage, and is missed when it is dead."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, Any, LiteralString

import pytest
import structlog

from store import db, housekeeping
from store.db import Pool, PoolOptions
from tests.kit.forgery import forge
from tests.kit.funnel import rows
from tests.kit.sqs import until
from workers import settings
from workers.health import NotReadyError
from workers.housekeeping import Housekeeper, PruneOptions
from workers.metrics import Metrics
from workers.relay import Relay, RelayOptions
from workers.roles import process
from workers.roles import relay as role
from workers.settings import SettingsError

OPTIONS = PruneOptions(batch=10)
#: 25 old and 5 young rows in the inbox, 12 old and 3 young ones in the outbox.
RECEIVED: LiteralString = """
INSERT INTO message_inbox (consumer, message_key, fingerprint, outcome, received_at)
SELECT 'Test', gen_random_uuid(), sha256('x'), 'applied',
       now() - CASE WHEN n <= 25 THEN interval '121 days' ELSE interval '1 day' END FROM generate_series(1, 30) AS n
"""
PUBLISHED: LiteralString = """
INSERT INTO outbox (event_id, aggregate_id, aggregate_seq, destination, detail_type, payload, published_at)
SELECT gen_random_uuid(), gen_random_uuid(), 0, 'bus', 'Test', '{}',
       now() - CASE WHEN n <= 12 THEN interval '31 days' ELSE interval '1 day' END FROM generate_series(1, 15) AS n
"""


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """The relay's stop event; set at the end, so that no thread stays behind."""
    found = threading.Event()
    yield found
    found.set()


def pruned(metrics: Metrics) -> dict[str, float | None]:
    name = "payments_pruned_rows_total"
    return {table: metrics.registry.get_sample_value(name, {"table": table}) for table in ("message_inbox", "outbox")}


def left(pool: Pool) -> tuple[int, int]:
    [found] = rows(pool, "SELECT (SELECT count(*) FROM message_inbox) AS i, (SELECT count(*) FROM outbox) AS o")
    return found["i"], found["o"]


@contextmanager
def running(keeper: Housekeeper, stop: threading.Event) -> Iterator[Housekeeper]:
    keeper.start()
    try:
        yield keeper
    finally:
        stop.set()
        keeper.join()
    assert not keeper.thread.is_alive()


def test_r8_a_run_prunes_batch_after_batch_counts_and_tells_once(pool: Pool, stop: threading.Event):
    forge(pool, RECEIVED, PUBLISHED)
    metrics = Metrics()
    keeper = Housekeeper(pool, OPTIONS, metrics, stop)
    with structlog.testing.capture_logs() as logs:
        assert keeper.run_once() == {"message_inbox": 25, "outbox": 12}
        assert keeper.run_once() == {"message_inbox": 0, "outbox": 0}
    assert left(pool) == (5, 3)
    assert pruned(metrics) == {"message_inbox": 25, "outbox": 12}
    assert logs == [
        {"event": "pruned", "log_level": "info", "message_inbox": 25, "outbox": 12},
        {"event": "pruned", "log_level": "info", "message_inbox": 0, "outbox": 0},
    ]


def test_r8_no_transaction_deletes_more_than_one_batch(pool: Pool, stop: threading.Event, monkeypatch):
    forge(pool, RECEIVED, PUBLISHED)
    deleted: list[int] = []

    def watched(name: str) -> None:
        real = getattr(housekeeping, name)

        def prune(*arguments: Any) -> int:
            deleted.append(real(*arguments))
            return deleted[-1]

        monkeypatch.setattr(housekeeping, name, prune)

    watched("prune_inbox")
    watched("prune_outbox")
    Housekeeper(pool, OPTIONS, Metrics(), stop).run_once()
    assert deleted == [10, 10, 5, 10, 2]


def test_each_table_has_its_own_retention(pool: Pool, stop: threading.Event):
    forge(pool, RECEIVED, PUBLISHED)
    options = PruneOptions(keep_inbox=timedelta(days=122), keep_outbox=timedelta(hours=1))
    assert Housekeeper(pool, options, Metrics(), stop).run_once() == {"message_inbox": 0, "outbox": 15}


def test_it_begins_at_its_start_and_comes_again(pool: Pool, stop: threading.Event):
    forge(pool, RECEIVED)
    options = PruneOptions(batch=10, every_s=0.05)
    with running(Housekeeper(pool, options, Metrics(), stop), stop):
        until(lambda: left(pool)[0] == 5)
        forge(pool, RECEIVED)
        until(lambda: left(pool)[0] == 10)


def test_a_stop_ends_its_long_pause_at_once(pool: Pool, stop: threading.Event):
    forge(pool, RECEIVED)
    with running(Housekeeper(pool, OPTIONS, Metrics(), stop), stop) as keeper:
        until(lambda: left(pool)[0] == 5)
        began = time.monotonic()
        stop.set()
        keeper.join()
        assert time.monotonic() - began < 2


def test_a_stop_ends_it_between_two_batches(pool: Pool, stop: threading.Event, monkeypatch):
    forge(pool, RECEIVED)
    monkeypatch.setattr("workers.housekeeping.PAUSE_S", 60.0)
    with running(Housekeeper(pool, OPTIONS, Metrics(), stop), stop) as keeper:
        until(lambda: left(pool)[0] == 20, what="the first batch")
        began = time.monotonic()
        stop.set()
        keeper.join()
        assert time.monotonic() - began < 2
    assert left(pool)[0] == 20


def test_a_database_that_is_away_is_told_and_tried_again(database_url: str, pool: Pool, stop: threading.Event):
    forge(pool, RECEIVED, PUBLISHED)
    where = ["host=127.0.0.1 port=1 dbname=nowhere"]
    options = PoolOptions(size_min=0, size_max=1, wait_s=0.2, connect_s=1)
    with db.open_pool(lambda: where[0], options) as shaky, structlog.testing.capture_logs() as logs:
        keeper = Housekeeper(shaky, PruneOptions(every_s=0.05), Metrics(), stop)
        with running(keeper, stop):
            until(lambda: sum(each["event"] == "pruned" for each in list(logs)) >= 2)
            assert keeper.thread.is_alive()
            assert left(pool) == (30, 15)
            where[0] = database_url
            until(lambda: left(pool) == (5, 3), within_s=30)
    told = [each for each in logs if each["event"] == "pruning postponed"]
    assert {each["table"] for each in told} == {"message_inbox", "outbox"}
    assert {(each["log_level"], each["error"]) for each in told} == {("warning", "connection")}


def test_a_table_that_refuses_does_not_keep_the_other_from_being_pruned(pool: Pool, stop: threading.Event):
    forge(pool, RECEIVED, PUBLISHED)
    options = PruneOptions(keep_inbox=timedelta(hours=1))  # younger than the database lets go
    metrics = Metrics()
    with structlog.testing.capture_logs() as logs:
        assert Housekeeper(pool, options, metrics, stop).run_once() == {"message_inbox": 0, "outbox": 12}
    assert pruned(metrics) == {"message_inbox": 0, "outbox": 12}
    [refused] = [each for each in logs if each["log_level"] == "error"]
    assert (refused["event"], refused["table"]) == ("pruning refused", "message_inbox")
    assert "message_inbox_kept" in refused["error"]


# -- as part of the relay


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a relay is run with; its AWS is nowhere, since nothing is due."""
    found = {
        "PAYMENTS_DATABASE_URL": database_url,
        "PAYMENTS_PAYOUT_QUEUE_URL": "http://127.0.0.1:1/payouts",
        "APPROVAL_QUEUE_URL": "http://127.0.0.1:1/approvals",
        "EVENT_BUS_NAME": "bus",
        "PAYMENTS_HEALTH_PORT": "0",
        "PAYMENTS_PRUNE_EVERY_S": "0.1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def test_a_dead_thread_of_the_relay_is_named_by_its_health(pool: Pool):
    relay = Relay(pool, {}, RelayOptions(), Metrics())
    alive, dead = threading.current_thread(), threading.Thread(name="housekeeper")
    assert set(role.relay_liveness(relay, [alive])()) == {"lastTurnAgeSeconds"}
    with pytest.raises(NotReadyError, match="dead threads: housekeeper"):
        role.relay_liveness(relay, [alive, dead])()
    relay.last_turn -= role.RELAY_STUCK_S + 1
    with pytest.raises(NotReadyError, match="relay stuck"):
        role.relay_liveness(relay, [alive])()


@pytest.mark.parametrize("victim", [(Housekeeper, "run_once"), (Relay, "run")], ids=["housekeeper", "relay"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_relay_whose_thread_dies_ends_with_exit_code_1(environment, monkeypatch, victim: tuple[type, str]):
    def die(*_args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(*victim, die)
    monkeypatch.setattr(process, "configure_logging", lambda *_: None)
    monkeypatch.setattr(process, "WATCH_EVERY_S", 0.05)
    before = set(threading.enumerate())
    with structlog.testing.capture_logs() as logs:
        assert role.run_relay(settings.load(environment)) == 1
    assert [each["reason"] for each in logs if each["event"] == "unhealthy"] == [
        f"dead threads: {'housekeeper' if victim[0] is Housekeeper else 'relay'}"
    ]
    until(lambda: not [thread for thread in set(threading.enumerate()) - before if thread.name != "http"])


class Spoken:
    """What a process says on standard error, line by line, as it comes."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lines: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def first(self, event: str) -> dict[str, Any]:
        """Return the first line that tells of an event."""
        until(lambda: any(line["event"] == event for line in self._lines), within_s=30, what=event)
        return next(line for line in self._lines if line["event"] == event)

    def _listen(self) -> None:
        for line in self._stream:
            self._lines.append(json.loads(line))


def ask(url: str, path: str) -> str:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    connection.request("GET", path)
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def test_a_relay_prunes_while_it_runs_and_ends_well_when_it_is_told_to(pool: Pool, environment: dict[str, str]):
    forge(pool, RECEIVED, PUBLISHED)
    command = [sys.executable, "-m", "workers.cli", "relay"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | environment) as process:
        assert process.stderr
        spoken = Spoken(process.stderr)
        try:
            url = spoken.first("relay started")["url"]
            told = spoken.first("pruned")
            assert (told["message_inbox"], told["outbox"]) == (25, 12)
            assert 'payments_pruned_rows_total{table="message_inbox"} 25.0' in ask(url, "/metrics")
            assert json.loads(ask(url, "/health"))["status"] == "ok"
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(20)
        assert spoken.first("relay stopped")["healthy"] is True
    assert code == 0
    assert left(pool) == (5, 3)


# -- its settings


def test_what_is_kept_for_how_long_is_a_setting_with_a_default():
    found = settings.load({})
    assert (found.inbox_retention_days, found.outbox_retention_days) == (120, 30)
    assert (found.prune_every_s, found.prune_batch) == (600, 500)


def test_d8_an_inbox_that_forgets_what_may_still_come_back_is_refused_with_the_reason():
    assert settings.load({"PAYMENTS_INBOX_RETENTION_DAYS": "18"}).inbox_retention_days == 18
    with pytest.raises(SettingsError) as refused:
        settings.load({"PAYMENTS_INBOX_RETENTION_DAYS": "17"})
    told = str(refused.value)
    for word in ("PAYMENTS_INBOX_RETENTION_DAYS", "at least 18 days", "4 days from its queue", "dead-letter queue"):
        assert word in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAYMENTS_OUTBOX_RETENTION_DAYS", "0"),
        ("PAYMENTS_OUTBOX_RETENTION_DAYS", "99999999999"),
        ("PAYMENTS_INBOX_RETENTION_DAYS", "99999999999"),
        ("PAYMENTS_INBOX_RETENTION_DAYS", "120.5"),
        ("PAYMENTS_PRUNE_EVERY_S", "0"),
        ("PAYMENTS_PRUNE_BATCH", "0"),
        ("PAYMENTS_PRUNE_BATCH", "1000000"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_its_name(name: str, value: str):
    with pytest.raises(SettingsError, match=name):
        settings.load({name: value})
