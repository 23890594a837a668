"""Role monitor: what it looks at is shown and kept, what it cannot find out stays as it was, and it goes on."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
import psycopg
import pytest
import structlog
from botocore.stub import ANY, Stubber
from psycopg import sql

from contracts.fleet import Depth, Waiting
from store import fleet, gauges
from store.db import Pool, StoreFault, Transient, TransientReason
from store.roles import GroupRole
from tests.kit.forgery import forge
from tests.kit.funnel import rows
from tests.kit.lives import Lives, created, lived
from tests.kit.members import member
from tests.kit.sqs import URL, MemorySqs, throttled, unreachable, until
from workers import catalogue, monitor
from workers.catalogue import Role
from workers.local import postgres
from workers.metrics import Metrics
from workers.monitor import RETRY_S, Board, Checks, Duty, Intervals, Monitor, QueueLook, TableLook, Watch, WatchedQueue

HOUR = timedelta(hours=1)
#: Longer than a busy machine takes for anything here.
wait = partial(until, within_s=20)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Logs = list[Any]


@pytest.fixture
def logs() -> Iterator[Logs]:
    with structlog.testing.capture_logs() as found:
        yield found


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Role.MONITOR)


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def watching(database_url: str) -> Iterator[Pool]:
    """A pool with the rights of the monitor."""
    with member(database_url, GroupRole.MONITOR, size_max=4, wait_s=1) as found:
        yield found


@pytest.fixture
def world(pool: Pool) -> Lives:
    return lived(pool)


# -- queues

QUEUES = [
    WatchedQueue(queue, kind, URL + queue + ("-dlq" if kind == catalogue.DEAD_LETTERS else ""))
    for queue, kind in catalogue.WATCHED_QUEUES
]
EVENTS, EVENTS_DLQ = ("payments-events", "main"), ("payments-events", "dlq")


@pytest.fixture
def sqs() -> MemorySqs:
    return MemorySqs()


@pytest.fixture
def look(sqs: MemorySqs, metrics: Metrics, board: Board) -> QueueLook:
    return QueueLook(sqs, QUEUES, metrics, board)  # type: ignore[arg-type]


def depth(metrics: Metrics, queue: str, kind: str) -> tuple[float | None, ...]:
    return tuple(metrics.value(catalogue.QUEUE_MESSAGES, queue, kind, state) for state in catalogue.QUEUE_STATES)


def test_every_queue_and_its_dead_letters_are_shown_by_what_their_messages_do(sqs, look, metrics, board):
    for _ in range(4):
        sqs.put("payments-events", "x")
    sqs.receive_message(QueueUrl=URL + "payments-events", MaxNumberOfMessages=1, VisibilityTimeout=60)
    sqs.send_message(QueueUrl=URL + "payments-events", MessageBody="x", DelaySeconds=60)
    sqs.put("payments-events-dlq", "x")
    sqs.put("payment-approvals", "x")
    look.depths()
    assert depth(metrics, *EVENTS) == (3, 1, 1)
    assert depth(metrics, *EVENTS_DLQ) == (1, 0, 0)
    assert depth(metrics, "payment-approvals", "main") == (1, 0, 0)
    assert depth(metrics, "payments-commands", "dlq") == (0, 0, 0)
    found = board.look().queues
    assert {(queue, kind) for queue, kinds in found.items() for kind in kinds} == set(catalogue.WATCHED_QUEUES)
    events = found["payments-events"]["main"]
    assert (events.visible, events.in_flight, events.delayed) == (3, 1, 1)
    assert events.looked_at is not None


@pytest.mark.parametrize("trouble", [unreachable(), throttled("GetQueueAttributes")], ids=["unreachable", "throttled"])
def test_a_queue_that_does_not_answer_keeps_its_figure_whose_time_grows_old(
    sqs, look, metrics, board, logs: Logs, monkeypatch, trouble: Exception
):
    first, others = QUEUES[0], QUEUES[1:]
    monkeypatch.setattr("workers.clock.now", lambda: NOON)
    for each in QUEUES:
        sqs.put(each.name, "x")
    look.depths()
    monkeypatch.setattr("workers.clock.now", lambda: NOON + HOUR)
    for each in QUEUES:
        sqs.put(each.name, "x")
    sqs.faults["get_queue_attributes"].append(trouble)
    look.depths()
    assert depth(metrics, first.queue, first.kind)[0] == 1
    assert metrics.value(catalogue.QUEUE_LAST_SUCCESS, first.queue, first.kind) == NOON.timestamp()
    assert board.look().queues[first.queue][first.kind].visible == 1
    for each in others:
        assert depth(metrics, each.queue, each.kind)[0] == 2
        assert metrics.value(catalogue.QUEUE_LAST_SUCCESS, each.queue, each.kind) == (NOON + HOUR).timestamp()
        assert board.look().queues[each.queue][each.kind].visible == 2
    assert [(log["event"], log["queue"], log["error"]) for log in logs] == [
        ("queue not looked at", first.name, type(trouble).__name__)
    ]


def test_a_queue_that_never_answered_is_absent(sqs, look, metrics, board):
    sqs.faults["get_queue_attributes"].extend([unreachable()] * len(QUEUES))
    look.depths()
    assert depth(metrics, *EVENTS) == (None, None, None)
    assert metrics.value(catalogue.QUEUE_LAST_SUCCESS, *EVENTS) is None
    assert board.look().queues == {}


def told(values: dict[int, list[float]]) -> dict[str, Any]:
    """An answer of CloudWatch, by the numbers of the queues; the newest value comes first."""
    return {
        "MetricDataResults": [
            {"Id": f"q{number}", "Values": found, "Timestamps": [NOON] * len(found), "StatusCode": "Complete"}
            for number, found in values.items()
        ]
    }


@contextmanager
def cloudwatch(*answers: dict[str, Any]) -> Iterator[Any]:
    client = boto3.client("cloudwatch", "us-east-1", aws_access_key_id="none", aws_secret_access_key="none")
    with Stubber(client) as stub:
        for answer in answers:
            asked = {"MetricDataQueries": ANY, "StartTime": ANY, "EndTime": ANY, "ScanBy": "TimestampDescending"}
            stub.add_response("get_metric_data", answer, asked)
        yield client
        stub.assert_no_pending_responses()
    client.close()


def age(metrics: Metrics, number: int) -> float | None:
    return metrics.value(catalogue.QUEUE_AGE, QUEUES[number].queue, QUEUES[number].kind)


def test_the_newest_age_of_cloudwatch_is_shown_until_it_says_nothing_more(look, metrics):
    with cloudwatch(told({0: [90, 30], 1: [7], 2: []}), told({0: [], 1: [9]}), told({0: [5]})) as client:
        look.ages(client)
        assert [age(metrics, number) for number in range(4)] == [90, 7, None, None]
        look.ages(client)
        assert [age(metrics, number) for number in range(2)] == [None, 9]
        look.ages(client)
        assert [age(metrics, number) for number in range(2)] == [5, None]


def test_cloudwatch_is_asked_for_each_queue_by_its_own_name(look, monkeypatch):
    asked: dict[str, Any] = {}

    class Client:
        def get_metric_data(self, **arguments: Any) -> dict[str, Any]:
            asked.update(arguments)
            return {}

    monkeypatch.setattr("workers.clock.now", lambda: NOON)
    look.ages(Client())
    names = [query["MetricStat"]["Metric"]["Dimensions"][0]["Value"] for query in asked["MetricDataQueries"]]
    assert names == [each.name for each in QUEUES]
    assert "payments-events-dlq" in names
    assert {query["Id"] for query in asked["MetricDataQueries"]} == {f"q{number}" for number in range(len(QUEUES))}
    assert asked["EndTime"] - asked["StartTime"] == monitor.CLOUDWATCH_BACK


# -- tables


def test_what_waits_is_shown_and_kept_with_all_that_is_known(watching: Pool, world: Lives, metrics, board):
    board.put(queues={"payments-events": {"main": Depth(visible=1, in_flight=0, delayed=0)}})
    look = TableLook(watching, metrics, board)
    look.waiting()
    assert metrics.value(catalogue.PENDING, "back_office") == 2
    assert metrics.value(catalogue.PENDING_AGE, "back_office") > 0
    assert metrics.value(catalogue.PENDING, "driver_ic") == 0
    assert metrics.value(catalogue.PENDING_AGE, "driver_ic") == 0
    assert [metrics.value(catalogue.UNKNOWN_ATTEMPTS, name) for name in ("sandbox", "stripe")] == [1, 0]
    assert metrics.value(catalogue.UNKNOWN_ATTEMPTS_AGE, "sandbox") > 0
    due = rows(watching, "SELECT count(*) AS due FROM outbox WHERE available_at <= now()")[0]["due"]
    assert metrics.value(catalogue.OUTBOX_PENDING) == due > 0
    [taken] = fleet.snapshots(watching, HOUR, 10)
    kept = taken.snapshot
    assert kept == board.look()
    assert kept.queues["payments-events"]["main"].visible == 1
    assert kept.pending is not None
    assert {name: waiting.count for name, waiting in kept.pending.items()} == {"back_office": 2, "driver_ic": 0}
    assert kept.outbox is not None
    assert kept.outbox.count == due
    assert kept.unknown_payouts is not None
    assert kept.unknown_payouts["stripe"] == Waiting(count=0, oldest_age_s=0)
    assert kept.message_failures == {}
    assert (kept.payments, kept.broken_chains, kept.violations) == (None, None, None), "nobody has looked yet"


def test_the_count_of_all_payments_is_in_the_next_snapshot(watching: Pool, world: Lives, metrics, board):
    look = TableLook(watching, metrics, board)
    look.counts()
    look.waiting()
    [taken] = fleet.snapshots(watching, HOUR, 10)
    assert taken.snapshot.payments == gauges.counts(watching).payments
    assert taken.snapshot.failures == {"account_closed": 1}
    assert taken.snapshot.counted_at is not None


def test_what_is_old_is_deleted_and_counted(watching: Pool, pool: Pool, metrics, board):
    look = TableLook(watching, metrics, board)
    for _ in range(3):
        look.waiting()
    for _ in range(2):
        fleet.beat(watching, uuid4(), "monitor", "1", None)
    look.prune(HOUR)
    assert [metrics.value(catalogue.PRUNED, table) for table in ("fleet_snapshots", "heartbeats")] == [0, 0]
    forge(
        pool,
        "UPDATE fleet_snapshots SET taken_at = taken_at - interval '61 minutes'",
        "UPDATE heartbeats SET beaten_at = beaten_at - interval '61 minutes'",
    )
    look.prune(HOUR)
    assert [metrics.value(catalogue.PRUNED, table) for table in ("fleet_snapshots", "heartbeats")] == [3, 2]


# -- checks


@pytest.fixture
def checks(watching: Pool, metrics: Metrics, board: Board) -> Checks:
    return Checks(watching, metrics, board)


def test_what_breaks_an_invariant_is_shown_logged_and_kept(checks, pool: Pool, world: Lives, metrics, board, logs):
    forge(pool, "DELETE FROM payout_reversals")
    checks.invariants()
    shown = {name: metrics.value(catalogue.VIOLATIONS, name) for (name,) in catalogue.VIOLATIONS.series}
    assert shown == {name: float(name == "reversed_within_amount") for name in shown}
    assert [(log["event"], log["log_level"], log["invariant"], log["count"]) for log in logs] == [
        ("invariant violated", "error", "reversed_within_amount", 1)
    ]
    found = board.look()
    assert found.violations == {"reversed_within_amount": 1}
    assert found.checked_at is not None
    assert metrics.value(catalogue.INVARIANTS_CHECKED) == found.checked_at.timestamp()
    forge(pool, "UPDATE payments SET amount_reversed_cents = 0")
    checks.invariants()
    assert metrics.value(catalogue.VIOLATIONS, "reversed_within_amount") == 0
    assert board.look().violations == {}


def test_a_broken_chain_is_counted_named_in_the_log_and_kept(
    checks, watching: Pool, pool: Pool, world: Lives, metrics, board, logs
):
    checks.chains()
    assert metrics.value(catalogue.BROKEN_LINKS) == 0
    forge(pool, f"UPDATE payment_audit_log SET message_key = 'x' WHERE payment_id = '{world.completed}' AND seq = 2")
    checks.chains()
    assert metrics.value(catalogue.BROKEN_LINKS) == 1
    assert [(log["payment_id"], log["seq"]) for log in logs if log["log_level"] == "error"] == [
        (str(world.completed), 2)
    ]
    last = gauges.last_verification(watching)
    assert last is not None
    links = rows(watching, "SELECT count(*) AS links FROM payment_audit_log")[0]["links"]
    assert (last.payments, last.links, last.broken) == (8, links, 1)
    assert metrics.value(catalogue.CHAIN_VERIFIED) == last.verified_at.timestamp()
    assert (board.look().broken_chains, board.look().verified_at) == (1, last.verified_at)


def test_a_log_of_many_broken_chains_stays_short(checks, pool: Pool, world: Lives, metrics, logs, monkeypatch):
    monkeypatch.setattr(monitor, "NAMED_MAX", 2)
    forge(pool, "UPDATE payment_audit_log SET message_key = 'x' WHERE seq = 1")
    checks.chains()
    assert metrics.value(catalogue.BROKEN_LINKS) == 8
    assert len([log for log in logs if log["log_level"] == "error"]) == 2


def test_links_without_a_payment_are_broken_and_count_as_no_payment(checks, watching, pool: Pool, world: Lives):
    forge(pool, f"DELETE FROM payments WHERE payment_id = '{world.pending}'")
    checks.chains()
    last = gauges.last_verification(watching)
    assert last is not None
    assert (last.payments, last.broken) == (7, 1)


def test_the_last_verification_is_shown_by_a_process_that_did_not_do_it(watching: Pool, metrics, board):
    checks = Checks(watching, metrics, board)
    assert checks.recall() is None
    assert metrics.value(catalogue.BROKEN_LINKS) is None
    at = gauges.keep_verification(watching, payments=9, links=30, broken=2)
    last = checks.recall()
    assert last is not None
    assert last.verified_at == at
    assert metrics.value(catalogue.BROKEN_LINKS) == 2
    assert metrics.value(catalogue.CHAIN_VERIFIED) == at.timestamp()
    assert board.look().broken_chains == 2


def test_the_ends_of_processes_are_counted_once_since_they_cannot_be_asked(watching: Pool, pool: Pool, metrics, board):
    look = TableLook(watching, metrics, board)
    forge(
        pool,
        """
        INSERT INTO heartbeats (instance_id, role, version, beaten_at, stopped_at) VALUES
            (gen_random_uuid(), 'worker', '1', now() - interval '5 minutes', now() - interval '5 minutes')
        """,
    )
    look.ends()
    assert metrics.value(catalogue.SHUTDOWNS, "worker", "clean") == 0, "it ended before anybody looked"
    forge(
        pool,
        """
        INSERT INTO heartbeats (instance_id, role, version, beaten_at, stopped_at) VALUES
            (gen_random_uuid(), 'worker', '1', now(), now()),
            (gen_random_uuid(), 'worker', '1', now() - interval '11 minutes', NULL),
            (gen_random_uuid(), 'relay', '1', now() - interval '9 minutes', NULL)
        """,
    )
    for _ in range(2):
        look.ends()
    counted = {series: metrics.value(catalogue.SHUTDOWNS, *series) for series in catalogue.SHUTDOWNS.series}
    assert {series for series, value in counted.items() if value} == {("worker", "clean"), ("worker", "forced")}
    assert set(counted.values()) == {0, 1}


# -- duties and their times


@pytest.fixture
def at(monkeypatch) -> list[float]:
    """A clock that is set by hand; intervals are exact."""
    now = [1_000.0]
    monkeypatch.setattr("workers.clock.monotonic", lambda: now[0])
    monkeypatch.setattr(monitor, "jittered", lambda seconds, _share: seconds)
    monkeypatch.setattr(monitor, "early", lambda seconds, _share: seconds)
    return now


def done(into: list[str], name: str) -> Callable[[], None]:
    return lambda: into.append(name)


def test_each_duty_is_done_at_its_own_interval(at: list[float]):
    turns: list[str] = []
    watch = Watch("w", [Duty("often", 3, done(turns, "often")), Duty("seldom", 10, done(turns, "seldom"))], stopped())
    assert watch.run_due() == 3
    assert turns == ["often", "seldom"], "at the start everything is due"
    at[0] += 2
    assert watch.run_due() == 1
    assert turns == ["often", "seldom"], "nothing is due yet"
    at[0] += 1
    assert watch.run_due() == 3
    at[0] += 7
    assert watch.run_due() == 3
    assert turns == ["often", "seldom", "often", "often", "seldom"]


def stopped(*, already: bool = False) -> threading.Event:
    stop = threading.Event()
    if already:
        stop.set()
    return stop


@pytest.mark.parametrize(
    ("trouble", "detail"),
    [
        (Transient(TransientReason.CONNECTION, None), "connection"),
        (
            StoreFault(psycopg.errors.CheckViolation("a row's value")),
            "CheckViolation (sqlstate 23514, constraint None)",
        ),
        (KeyError("payment 7"), None),
    ],
    ids=["transient", "fault", "bug"],
)
def test_a_duty_that_fails_does_not_stop_the_others_and_is_tried_again(
    at: list[float], logs: Logs, trouble: Exception, detail: str | None
):
    turns: list[str] = []

    def fails() -> None:
        turns.append("fails")
        raise trouble

    watch = Watch("w", [Duty("daily", 86_400, fails), Duty("other", 86_400, done(turns, "other"))], stopped())
    assert watch.run_due() == RETRY_S
    assert turns == ["fails", "other"]
    [log] = logs
    assert (log["event"], log["duty"], log["error"]) == ("look failed", "daily", type(trouble).__name__)
    assert log["detail"] == detail, "a text of somebody else's may quote what it should not"
    at[0] += RETRY_S
    watch.run_due()
    assert turns == ["fails", "other", "fails"]


def test_a_duty_that_fails_and_is_done_often_keeps_its_interval(at: list[float], logs: Logs):
    def fails() -> None:
        raise unreachable()

    assert Watch("w", [Duty("often", 5, fails)], stopped()).run_due() == 5


def test_a_duty_that_goes_on_failing_is_tried_ever_more_seldom(at: list[float], logs: Logs):
    """What fails by its own timeout holds a snapshot for as long as it tries."""

    def fails() -> None:
        raise unreachable()

    watch = Watch("w", [Duty("hourly", 3_600, fails)], stopped())
    pauses = []
    for _ in range(8):
        pauses.append(watch.run_due())
        at[0] += pauses[-1]
    assert pauses == [RETRY_S, 2 * RETRY_S, 4 * RETRY_S, 8 * RETRY_S, 16 * RETRY_S, 32 * RETRY_S, 3_600, 3_600]


def test_a_duty_that_has_succeeded_is_tried_again_as_soon_as_ever(at: list[float], logs: Logs):
    trouble = [unreachable(), unreachable(), None, unreachable()]

    def fails_at_times() -> None:
        if error := trouble.pop(0):
            raise error

    watch = Watch("w", [Duty("daily", 86_400, fails_at_times)], stopped())
    pauses = []
    for _ in range(4):
        pauses.append(watch.run_due())
        at[0] += pauses[-1]
    assert pauses == [RETRY_S, 2 * RETRY_S, 86_400, RETRY_S]


def test_what_takes_long_rests_for_many_times_as_long(at: list[float]):
    """A count that grows with the table takes at most its share of the time."""

    def takes_long() -> None:
        at[0] += 30

    assert Watch("w", [Duty("counts", 60, takes_long, rest=20)], stopped()).run_due() == 600


def test_a_duty_is_never_later_than_its_interval():
    """Whoever waits for its result knows when it is late: an alert allows little more than the interval."""
    for _ in range(1_000):
        duty = Duty("daily", 86_400, dict)
        begun = time.monotonic()
        duty.ended(begun, well=True)
        assert 0.9 * 86_400 < duty.due_at - begun <= 86_400


def test_nothing_is_begun_after_the_stop(at: list[float]):
    turns: list[str] = []
    stop = stopped()
    watch = Watch("w", [Duty("first", 5, stop.set), Duty("second", 5, done(turns, "second"))], stop)
    watch.run_due()
    assert turns == []


# -- all of it

FAST = Intervals(tables_s=0.03, queues_s=0.03, ages_s=0.03, counts_s=0.03, invariants_s=0.03, chains_s=86_400)


class NoCloudWatch:
    """CloudWatch, which has nothing to say."""

    def get_metric_data(self, **_: Any) -> dict[str, Any]:
        return {}


@contextmanager
def running(pool: Pool, sqs: MemorySqs, metrics: Metrics, intervals: Intervals = FAST) -> Iterator[Monitor]:
    board, stop = Board(), threading.Event()
    queues = QueueLook(sqs, QUEUES, metrics, board)  # type: ignore[arg-type]
    tables, checks = TableLook(pool, metrics, board), Checks(pool, metrics, board)
    found = Monitor(queues, tables, checks, intervals, NoCloudWatch(), stop)  # type: ignore[arg-type]
    found.start()
    try:
        yield found
    finally:
        stop.set()
        found.join()
        assert not [thread.name for thread in found.threads if thread.is_alive()]


def verified(pool: Pool) -> int:
    return int(rows(pool, "SELECT count(*) AS found FROM audit_verifications")[0]["found"])


def test_a_monitor_looks_at_everything_until_it_is_stopped(watching: Pool, pool: Pool, sqs, metrics):
    with running(watching, sqs, metrics) as found:
        assert [thread.name for thread in found.threads] == ["queue-watch", "table-watch", "count-watch", "check-watch"]
        wait(lambda: metrics.value(catalogue.BROKEN_LINKS) == 0 and depth(metrics, *EVENTS)[0] == 0)
        created(pool, 1)
        sqs.put("payments-events", "x")
        wait(lambda: metrics.value(catalogue.PENDING, "back_office") == 1 and depth(metrics, *EVENTS)[0] == 1)
        wait(lambda: any((taken.snapshot.payments or {}) for taken in fleet.snapshots(pool, HOUR, 1)))
        wait(lambda: metrics.value(catalogue.INVARIANTS_CHECKED) is not None)
    assert verified(pool) == 1, "once a day"


@pytest.mark.parametrize(
    ("age", "broken", "runs"),
    [("23 hours", 0, 0), ("25 hours", 0, 1), ("30 minutes", 3, 0), ("2 hours", 3, 1)],
    ids=["lately", "long ago", "broken lately", "broken before: its end shall be seen"],
)
def test_what_was_verified_within_the_interval_is_not_verified_again_after_a_restart(
    watching: Pool, pool: Pool, sqs, metrics, age: str, broken: int, runs: int
):
    forge(
        pool,
        f"""
        INSERT INTO audit_verifications (verified_at, payments, links, broken)
        VALUES (now() - interval '{age}', 1, 1, {broken})
        """,
    )
    with running(watching, sqs, metrics):
        if runs:
            wait(lambda: verified(pool) == 2)
        else:
            assert metrics.value(catalogue.BROKEN_LINKS) == broken, "shown from the start"
            before = metrics.value(catalogue.INVARIANTS_CHECKED)
            wait(lambda: (metrics.value(catalogue.INVARIANTS_CHECKED) or 0) > (before or 0))
    assert verified(pool) == 1 + runs


@contextmanager
def shut(server: postgres.Server, database_url: str) -> Iterator[Callable[[], object]]:
    """Shut a database: its connections are cut, and it takes no others.

    Yields what cuts once more: who was just being let in when it was shut is seen a moment later.
    """
    name = urlsplit(database_url).path.removeprefix("/")
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(server.url("postgres"), autocommit=True) as owner:
        owner.execute(allow.format(sql.Identifier(name), sql.Literal(False)))
        cut = partial(
            owner.execute, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        cut()
        try:
            yield cut
        finally:
            owner.execute(allow.format(sql.Identifier(name), sql.Literal(True)))


def test_a_database_that_is_away_leaves_the_figures_as_they_were_and_is_looked_at_again(
    watching: Pool, pool: Pool, server, database_url: str, sqs, metrics, logs: Logs
):
    created(pool, 1)
    with running(watching, sqs, metrics) as found:
        wait(lambda: metrics.value(catalogue.PENDING, "back_office") == 1)
        with shut(server, database_url) as cut:
            wait(lambda: cut() and _duties(logs) >= {"waiting", "invariants"}, what="both to fail", every_s=0.1)
            assert metrics.value(catalogue.PENDING, "back_office") == 1
            sqs.put("payments-events", "x")
            wait(lambda: depth(metrics, *EVENTS)[0] == 1, what="the queues, which need no database")
            assert all(thread.is_alive() for thread in found.threads)
        wait(lambda: _created(pool, 2), what="the database", every_s=0.1)
        wait(lambda: metrics.value(catalogue.PENDING, "back_office") == 2, what="the tables")


def _duties(logs: Logs) -> set[str]:
    """The duties that have failed."""
    return {log["duty"] for log in list(logs) if "duty" in log}


def _created(pool: Pool, number: int) -> bool:
    try:
        created(pool, number)
    except Transient:
        return False
    return True


def test_a_monitor_that_starts_without_its_database_lives_and_finds_it_later(
    watching: Pool, server, database_url: str, sqs, metrics, logs: Logs
):
    with shut(server, database_url):
        context = running(watching, sqs, metrics)
        found = context.__enter__()
        assert "last verification not known" in {log["event"] for log in logs}
        assert metrics.value(catalogue.PENDING, "back_office") is None
        assert all(thread.is_alive() for thread in found.threads)
    try:
        wait(lambda: metrics.value(catalogue.PENDING, "back_office") == 0)
    finally:
        context.__exit__(None, None, None)
