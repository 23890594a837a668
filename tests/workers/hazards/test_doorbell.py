"""The ringer: many commits, few rings, none of them in a handler's thread."""

import threading
import time

import psycopg

from store.db import Pool
from store.wakeup import Bell, Ear
from tests.kit import messages as m
from tests.kit.funnel import once
from tests.kit.sqs import until
from workers.doorbell import Ringer, nap

NOWHERE = "host=127.0.0.1 port=1 dbname=nowhere"


class HeldBell(Bell):
    """A bell whose rings take until it is let go."""

    def __init__(self) -> None:
        super().__init__(NOWHERE)
        self.rings = 0
        self.threads: set[str] = set()
        self.let_go = threading.Event()

    def ring(self) -> bool:
        self.rings += 1
        self.threads.add(threading.current_thread().name)
        return self.let_go.wait(10)


def test_r9_a_burst_of_commits_rings_twice_and_the_last_one_is_never_forgotten():
    bell = HeldBell()
    ringer = Ringer(bell, every_s=0.001)
    ringer.start()
    ringer.committed()
    until(lambda: bell.rings == 1)
    for _ in range(1000):
        ringer.committed()  # none of these waits for the ring that is under way
    bell.let_go.set()
    until(lambda: bell.rings == 2, what="the ring for all of them together")
    ringer.committed()
    until(lambda: bell.rings == 3)
    assert bell.threads == {"ringer"}
    ringer.stop()
    assert "ringer" not in {thread.name for thread in threading.enumerate()}


def test_r9_between_two_rings_there_is_an_interval():
    bell = HeldBell()
    bell.let_go.set()
    ringer = Ringer(bell, every_s=3_600)
    ringer.start()
    ringer.committed()
    until(lambda: bell.rings == 1)
    ringer.committed()
    threading.Event().wait(0.1)
    assert bell.rings == 1
    ringer.stop()


def test_r9_no_business_transaction_rings_by_itself(pool: Pool, database_url: str):
    with psycopg.connect(database_url, autocommit=True) as ear:
        ear.execute("LISTEN payments_outbox")
        assert once(pool, m.parsed(m.work())).published
        bell = Bell(database_url)
        assert bell.ring()
        rung_by = bell._connected().info.backend_pid
        first = next(ear.notifies(timeout=30))  # they come in the order of their commits
        assert first.pid == rung_by
        bell.close()


def test_a_nap_without_a_database_still_takes_its_time_and_ends_with_the_stop():
    ear, stop = Ear(NOWHERE), threading.Event()
    began = time.monotonic()
    nap(ear, stop, 0.1)
    assert time.monotonic() - began >= 0.1, "a relay that cannot listen must not spin"
    stop.set()
    began = time.monotonic()
    nap(ear, stop, 10)
    assert time.monotonic() - began < 5
