"""A heart beats for its process, says what troubles it, and stops for nothing but its stop."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

import pytest
import structlog

from store import db, fleet
from store.db import Pool, PoolOptions
from store.roles import GroupRole
from tests.kit.members import member
from tests.kit.sqs import until
from workers.catalogue import Role
from workers.health import NotReadyError
from workers.heartbeat import Heart, Identity

HOUR = timedelta(hours=1)
#: Longer than a busy machine takes for anything here.
wait = partial(until, within_s=20)
#: The group role whose member runs each role of the fleet.
MEMBERS = {
    Role.WORKER: GroupRole.WORKER,
    Role.RELAY: GroupRole.RELAY,
    Role.STATUS: GroupRole.READER,
    Role.MONITOR: GroupRole.MONITOR,
}


def raising(error: Exception) -> Callable[[], None]:
    def check() -> None:
        raise error

    return check


@pytest.fixture
def logs() -> Iterator[list]:
    with structlog.testing.capture_logs() as found:
        yield found


def heard(pool: Pool) -> list[tuple[str, str, str | None]]:
    return [(found.role, found.version, found.trouble) for found in fleet.processes(pool, HOUR)]


@pytest.mark.parametrize("role", Role)
def test_each_role_may_say_that_it_is_there(pool: Pool, database_url: str, role: Role):
    with member(database_url, MEMBERS[role]) as own:
        Heart(own, Identity(role, "1.2.3"), 5).beat()
    assert heard(pool) == [(role, "1.2.3", None)]


def test_a_process_is_one_however_often_it_beats_and_another_after_a_restart(pool: Pool):
    heart = Heart(pool, Identity(Role.WORKER, "1"), 5)
    for _ in range(3):
        heart.beat()
    assert len(heard(pool)) == 1
    Heart(pool, Identity(Role.WORKER, "1"), 5).beat()
    assert len(heard(pool)) == 2


def test_the_first_trouble_is_told_and_taken_back(pool: Pool):
    heart = Heart(pool, Identity(Role.WORKER, "1"), 5)
    heart.checks = (dict, raising(NotReadyError("dead threads: poller")), raising(NotReadyError("second")))
    heart.beat()
    assert heard(pool) == [("worker", "1", "dead threads: poller")]
    heart.checks = (dict,)
    heart.beat()
    assert heard(pool) == [("worker", "1", None)]


def test_it_beats_again_and_again_until_it_is_stopped(pool: Pool):
    turns: list[int] = []
    heart = Heart(pool, Identity(Role.RELAY, "1"), 0.01)
    heart.checks = (lambda: turns.append(1),)
    heart.start()
    wait(lambda: len(turns) >= 3)
    assert heard(pool) == [("relay", "1", None)]
    heart.stop()
    assert not heart.thread.is_alive()
    assert heard(pool) == [], "who ends in good order is not missed"


def test_a_process_that_ends_in_trouble_is_missed(pool: Pool):
    heart = Heart(pool, Identity(Role.RELAY, "1"), 3_600)
    heart.start()
    wait(lambda: heard(pool))
    heart.stop(well=False)
    assert heard(pool) == [("relay", "1", None)]


def test_a_stop_does_not_wait_for_the_next_beat(pool: Pool):
    heart = Heart(pool, Identity(Role.RELAY, "1"), 3_600)
    heart.start()
    wait(lambda: heard(pool))
    heart.stop()
    assert not heart.thread.is_alive()


def test_a_heart_that_never_beat_can_be_stopped(pool: Pool):
    Heart(pool, Identity(Role.RELAY, "1"), 1).stop()
    assert heard(pool) == []


def test_a_database_that_is_away_hears_nothing_and_harms_nobody(pool: Pool, database_url: str, logs: list):
    where = ["host=127.0.0.1 port=1 dbname=nowhere"]
    with db.open_pool(lambda: where[0], PoolOptions(size_min=0, wait_s=0.05)) as own:
        heart = Heart(own, Identity(Role.WORKER, "1"), 0.01)
        heart.start()
        wait(lambda: len(logs) >= 2)
        assert heard(pool) == []
        where[0] = database_url
        wait(lambda: heard(pool), every_s=0.05)
        heart.stop()
    assert {(log["event"], log["log_level"]) for log in logs} == {("heartbeat not taken", "debug")}


def test_a_check_with_a_bug_does_not_stop_the_heart(pool: Pool, logs: list):
    heart = Heart(pool, Identity(Role.WORKER, "1"), 0.01)
    heart.checks = (raising(KeyError("payment 7")),)
    heart.start()
    wait(lambda: len(logs) >= 2)
    assert heart.thread.is_alive()
    heart.checks = ()
    wait(lambda: heard(pool))
    heart.stop()
    assert {tuple(sorted(log.items())) for log in logs} == {
        (("error", "KeyError"), ("event", "heartbeat failed"), ("log_level", "warning"))
    }
