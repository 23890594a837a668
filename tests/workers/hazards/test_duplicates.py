"""Duplicates: whatever comes twice, under whatever id and however a commit ended, has its effect once."""

import socket
from contextlib import suppress
from typing import LiteralString

import pytest

from contracts.outcome import Outcome
from store import db
from store.db import Pool, PoolOptions, Transient
from tests.kit import messages as m
from tests.kit.funnel import once, rows
from tests.kit.sqs import until
from tests.kit.wire import CLIENT, Wire
from workers.local import postgres


class CutAtCommit(Wire):
    """A wire that breaks once the server has a COMMIT, before its answer is back."""

    armed = cut = False

    def passes(self, who: str, data: bytes) -> bool:
        if who == CLIENT and self.armed and b"COMMIT\0" in data:
            self.cut = True
        if who == CLIENT or not self.cut:
            return True
        for each in self._sockets[1:]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        return False


def broken(pool: Pool, statement: LiteralString) -> None:
    """Change the schema as nobody would in service."""
    with pool.connection() as connection:
        connection.execute(statement)


def test_d5_a_republished_event_has_a_new_envelope_and_the_same_key(pool: Pool):
    first = m.parsed(m.envelope(m.work(), id="one"))
    again = m.parsed(m.envelope(m.work(), id="two"))
    assert first.cause == again.cause
    assert [once(pool, first).outcome, once(pool, again).outcome] == [Outcome.APPLIED, Outcome.DUPLICATE]


def test_d6_without_its_inbox_nothing_of_a_message_happens(pool: Pool):
    broken(pool, "ALTER TABLE message_inbox RENAME TO elsewhere")
    with pytest.raises(db.StoreFault):
        once(pool, m.parsed(m.work()))
    assert rows(pool, "SELECT 1 FROM payments UNION ALL SELECT 1 FROM outbox") == []


def test_d7_the_same_key_with_other_content_changes_nothing_and_is_announced(pool: Pool):
    once(pool, m.parsed(m.work()))
    before = rows(pool, "SELECT * FROM payments")
    other = m.work(lineItems=[{"description": "Towing", "quantity": 1, "unitPriceCents": 1}])
    assert once(pool, m.parsed(other)).outcome is Outcome.REFUSED
    assert rows(pool, "SELECT * FROM payments") == before
    [event] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'PaymentConflictDetected'")
    assert event["payload"]["code"] == "payload_conflict"


def test_d12_a_commit_whose_answer_never_came_is_settled_by_the_inbox(server: postgres.Server, database_url: str):
    message = m.parsed(m.work())
    with CutAtCommit(server.port).before(database_url) as (wire, through):
        unlucky = db.open_pool(through, PoolOptions(size_min=1, size_max=1, statement_s=2, wait_s=2))
        try:
            unlucky.wait(5)
            wire.armed = True
            with pytest.raises(Transient):
                once(unlucky, message)
        finally:
            unlucky.close(0)
    assert wire.cut, "no COMMIT was ever sent"
    with db.open_pool(database_url, PoolOptions(size_min=1, size_max=1)) as lucky:
        until(lambda: rows(lucky, "SELECT 1 FROM payments"), what="the commit that nobody was told of")
        assert once(lucky, message).outcome is Outcome.DUPLICATE
        counts = "SELECT (SELECT count(*) FROM payments) AS payments, (SELECT count(*) FROM outbox) AS outbox"
        assert rows(lucky, counts) == [{"payments": 1, "outbox": 2}]
