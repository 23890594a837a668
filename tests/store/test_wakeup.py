"""The doorbell against a real Postgres."""

import time

from store.wakeup import Bell, Ear
from tests.kit.funnel import rows

NOWHERE = "host=127.0.0.1 port=1 dbname=nowhere"


def test_a_ring_wakes_a_listener_at_once(database_url):
    bell, ear = Bell(database_url), Ear(database_url)
    assert ear.wait(0.01) is False, "it listens from its first wait on"
    assert bell.ring()
    began = time.monotonic()
    assert ear.wait(10) is True
    assert time.monotonic() - began < 1
    assert ear.wait(0.01) is False, "one ring is heard once"
    bell.close()
    ear.close()


def test_both_come_back_after_their_connection_was_killed(pool, database_url):
    bell, ear = Bell(database_url), Ear(database_url)
    ear.wait(0.01)
    bell.ring()
    assert ear.wait(5) is True
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query IN ('NOTIFY payments_outbox', %s)"
    assert len(rows(pool, others, "LISTEN payments_outbox")) == 2
    assert bell.ring() is False
    assert ear.wait(5) is None
    assert bell.ring() is True
    assert ear.wait(0.01) is False
    assert bell.ring() is True
    assert ear.wait(5) is True
    bell.close()
    ear.close()


def test_without_a_database_nothing_rings_and_nothing_raises():
    bell, ear = Bell(NOWHERE), Ear(NOWHERE)
    assert bell.ring() is False
    assert ear.wait(0.01) is None


def test_the_address_is_asked_for_anew_with_every_connection(database_url):
    asked = []

    def conninfo() -> str:
        asked.append(1)
        return NOWHERE if len(asked) == 1 else database_url

    bell = Bell(conninfo)
    assert [bell.ring(), bell.ring(), bell.ring()] == [False, True, True]
    assert len(asked) == 2
    bell.close()
