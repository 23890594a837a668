"""What the fleet says of itself, each role with its own rights: heartbeats and the monitor's snapshots."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from contracts.fleet import Depth, Snapshot, Waiting
from store import db, fleet
from store.db import Pool, PoolOptions, StoreFault
from store.roles import GroupRole
from tests.kit.databases import Copies
from tests.kit.forgery import forge
from tests.kit.funnel import rows
from tests.kit.members import member

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
#: What the members of each group role run.
RUNS = {
    GroupRole.WORKER: "worker",
    GroupRole.RELAY: "relay",
    GroupRole.READER: "status",
    GroupRole.MONITOR: "monitor",
}
ONE, TWO = UUID(int=1), UUID(int=2)


@pytest.fixture(scope="module")
def url(copies: Copies) -> Iterator[str]:
    """A database that these tests share; each finds it empty."""
    with copies.one() as found:
        yield found


@pytest.fixture(scope="module")
def shared(url: str) -> Iterator[Pool]:
    with db.open_pool(url, PoolOptions(size_min=1, wait_s=5)) as found:
        yield found


@pytest.fixture
def pool(shared: Pool) -> Pool:
    """An open pool on it, as a superuser."""
    forge(shared, "DELETE FROM heartbeats", "DELETE FROM fleet_snapshots")
    return shared


@pytest.fixture(scope="module")
def everybody(url: str) -> Iterator[dict[GroupRole, Pool]]:
    with ExitStack() as stack:
        yield {role: stack.enter_context(member(url, role, size_max=1)) for role in RUNS}


@pytest.fixture
def members(pool: Pool, everybody: dict[GroupRole, Pool]) -> dict[GroupRole, Pool]:
    """A pool with the rights of each group role."""
    return everybody


@pytest.fixture
def monitor(members: dict[GroupRole, Pool]) -> Pool:
    return members[GroupRole.MONITOR]


def heard(pool: Pool, within: timedelta = HOUR) -> list[tuple[str, str, str | None]]:
    return [(found.role, found.version, found.trouble) for found in fleet.processes(pool, within)]


# -- heartbeats


def test_each_role_speaks_of_itself_and_monitor_and_page_hear_of_all(members: dict[GroupRole, Pool]):
    for role, pool in members.items():
        fleet.beat(pool, uuid4(), RUNS[role], "1.2.3", None)
    everybody = [(name, "1.2.3", None) for name in sorted(RUNS.values())]
    assert heard(members[GroupRole.MONITOR]) == heard(members[GroupRole.READER]) == everybody
    for role in (GroupRole.WORKER, GroupRole.RELAY):
        assert heard(members[role]) == [(RUNS[role], "1.2.3", None)]


@pytest.mark.parametrize("role", RUNS)
def test_no_role_speaks_for_another(members: dict[GroupRole, Pool], role: GroupRole):
    for other in set(RUNS) - {role}:
        with pytest.raises(StoreFault, match="42501"):
            fleet.beat(members[role], uuid4(), RUNS[other], "1", None)
        theirs = uuid4()
        fleet.beat(members[other], theirs, RUNS[other], "1", None)
        with pytest.raises(StoreFault, match="42501"):
            fleet.beat(members[role], theirs, RUNS[role], "1", "not mine")
    assert {trouble for _, _, trouble in heard(members[GroupRole.MONITOR])} == {None}


def test_a_process_that_beats_again_is_still_one(monitor: Pool):
    fleet.beat(monitor, ONE, "monitor", "1.0", None)
    [first] = fleet.processes(monitor, HOUR)
    fleet.beat(monitor, ONE, "monitor", "1.0", "dead threads: queue-watch")
    [second] = fleet.processes(monitor, HOUR)
    assert second.trouble == "dead threads: queue-watch"
    assert second.age_s > first.age_s, "it has run since its first beat"
    assert second.silent_s < second.age_s
    fleet.beat(monitor, ONE, "monitor", "1.0", None)
    assert heard(monitor) == [("monitor", "1.0", None)]


def test_words_that_are_too_long_are_cut(monitor: Pool):
    fleet.beat(monitor, ONE, "monitor", "v" * 100, "t" * 300)
    assert heard(monitor) == [("monitor", "v" * 64, "t" * 200)]


def test_silent_processes_are_not_shown_and_long_silent_ones_forgotten(monitor: Pool, pool: Pool):
    fleet.beat(monitor, ONE, "monitor", "1", None)
    fleet.beat(monitor, TWO, "monitor", "2", None)
    forge(pool, "UPDATE heartbeats SET beaten_at = now() - interval '10 minutes' WHERE version = '1'")
    assert heard(monitor, 9 * MINUTE) == [("monitor", "2", None)]
    assert len(heard(monitor, 11 * MINUTE)) == 2
    assert fleet.forget(monitor, 11 * MINUTE) == 0
    assert fleet.forget(monitor, 9 * MINUTE) == 1
    assert heard(monitor) == [("monitor", "2", None)]


@pytest.mark.parametrize("role", set(RUNS) - {GroupRole.MONITOR})
def test_only_the_monitor_forgets(members: dict[GroupRole, Pool], role: GroupRole):
    with pytest.raises(StoreFault, match="42501"):
        fleet.forget(members[role], HOUR)


# -- snapshots

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FULL = Snapshot(
    queues={"payments-events": {"main": Depth(visible=1, in_flight=2, delayed=3, looked_at=NOON)}},
    pending={"back_office": Waiting(count=4, oldest_age_s=5.5)},
    outbox=Waiting(count=0, oldest_age_s=0),
    outbox_rejected=0,
    payouts_waiting={"stopped": Waiting(count=1, oldest_age_s=60)},
    waiting_at={"outbox": NOON},
    unknown_payouts={"sandbox": Waiting(count=0, oldest_age_s=0)},
    payments={"completed": 7},
    failures={"account_closed": 1},
    counted_at=NOON,
    message_failures={"invalid": {"not_json": 2}},
    broken_chains=0,
    verified_at=NOON,
    violations={},
    checked_at=NOON,
)


def test_a_snapshot_comes_back_as_it_was(members: dict[GroupRole, Pool]):
    assert not [name for name, value in FULL if value is None], "every field is tried"
    fleet.keep(members[GroupRole.MONITOR], FULL)
    [taken] = fleet.snapshots(members[GroupRole.READER], HOUR, 10)
    assert taken.snapshot == FULL
    assert 0 <= taken.age_s < 30


def test_what_was_not_found_out_stays_unknown(monitor: Pool):
    fleet.keep(monitor, Snapshot(outbox=Waiting(count=1, oldest_age_s=2)))
    [row] = rows(monitor, "SELECT facts FROM fleet_snapshots")
    assert row["facts"] == {"queues": {}, "waiting_at": {}, "outbox": {"count": 1, "oldest_age_s": 2.0}}
    [taken] = fleet.snapshots(monitor, HOUR, 10)
    assert (taken.snapshot.pending, taken.snapshot.broken_chains) == (None, None)


@pytest.mark.parametrize("role", [GroupRole.WORKER, GroupRole.RELAY, GroupRole.READER])
def test_only_the_monitor_keeps_snapshots(members: dict[GroupRole, Pool], role: GroupRole):
    with pytest.raises(StoreFault, match="42501"):
        fleet.keep(members[role], FULL)


def test_what_another_release_wrote_and_cannot_be_read_is_skipped_and_counted(monitor: Pool, pool: Pool):
    fleet.keep(monitor, FULL)
    skipped: list[int] = []
    assert [taken.snapshot for taken in fleet.snapshots(monitor, HOUR, 10, skipped.append)] == [FULL]
    assert skipped == []
    forge(
        pool,
        """INSERT INTO fleet_snapshots (facts) VALUES ('{"queues": 1}'), ('{"outbox": {"count": "many"}}')""",
    )
    assert [taken.snapshot for taken in fleet.snapshots(monitor, HOUR, 10, skipped.append)] == [FULL]
    assert skipped == [2]


@pytest.fixture
def hundred(pool: Pool) -> None:
    """A hundred snapshots, one a minute; each says how many minutes old it is."""
    forge(
        pool,
        """
        INSERT INTO fleet_snapshots (taken_at, facts)
        SELECT now() - n * interval '1 minute',
            jsonb_build_object('queues', '{}'::jsonb, 'broken_chains', n) FROM generate_series(1, 100) AS n
        """,
    )


@pytest.mark.usefixtures("hundred")
def test_where_there_are_many_they_are_evenly_spread_over_the_whole_time(monitor: Pool):
    for limit in (1, 2, 3, 7, 33, 50, 51, 60, 99, 100, 1000):
        check_spread(monitor, limit)


def check_spread(monitor: Pool, limit: int) -> None:
    found = [taken.snapshot.broken_chains or 0 for taken in fleet.snapshots(monitor, 3 * HOUR, limit)]
    assert found[0] == 1, "the newest is always there"
    assert limit / 2 <= len(found) <= limit or len(found) == 100
    steps = {later - earlier for earlier, later in itertools.pairwise(found)}
    assert len(steps) <= 1, "evenly"
    if limit > 1:
        assert found[-1] > 100 - next(iter(steps)), "as far back as there are any"


@pytest.mark.usefixtures("hundred")
def test_only_those_of_the_time_that_was_asked_for_are_shown(monitor: Pool):
    found = [taken.snapshot.broken_chains for taken in fleet.snapshots(monitor, timedelta(minutes=5.5), 10)]
    assert found == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("hundred")
def test_old_ones_are_pruned(monitor: Pool):
    assert fleet.prune(monitor, timedelta(minutes=40.5)) == 60
    assert len(fleet.snapshots(monitor, 3 * HOUR, 1000)) == 40
    assert fleet.prune(monitor, timedelta(minutes=40.5)) == 0
