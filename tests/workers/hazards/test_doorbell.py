"""The ringer: many commits, few rings, none of them in a handler's thread."""

import threading
import time

from store.wakeup import Bell, Ear
from workers.doorbell import Ringer, nap

NOWHERE = "host=127.0.0.1 port=1 dbname=nowhere"


class CountingBell(Bell):
    def __init__(self) -> None:
        super().__init__(NOWHERE)
        self.rings = 0
        self.threads: set[str] = set()

    def ring(self) -> bool:
        self.rings += 1
        self.threads.add(threading.current_thread().name)
        return True


def test_r9_a_burst_of_commits_rings_few_times_and_the_last_one_is_never_forgotten():
    bell = CountingBell()
    ringer = Ringer(bell, every_s=0.05)
    ringer.start()
    for _ in range(1000):
        ringer.committed()
    time.sleep(0.2)  # four intervals: as many rings as there may have been at most
    burst = bell.rings
    assert 1 <= burst <= 3
    ringer.committed()
    deadline = time.monotonic() + 5
    while bell.rings == burst and time.monotonic() < deadline:
        time.sleep(0.01)
    assert bell.rings == burst + 1
    assert bell.threads == {"ringer"}
    ringer.stop()
    assert "ringer" not in {thread.name for thread in threading.enumerate()}


def test_a_nap_without_a_database_still_takes_its_time_and_ends_with_the_stop():
    ear, stop = Ear(NOWHERE), threading.Event()
    began = time.monotonic()
    nap(ear, stop, 0.1)
    assert time.monotonic() - began >= 0.1, "a relay that cannot listen must not spin"
    stop.set()
    began = time.monotonic()
    nap(ear, stop, 10)
    assert time.monotonic() - began < 5
