"""Duplicates: whatever comes twice, under whatever id and however a commit ended, has its effect once."""

import socket
import threading
from contextlib import suppress
from typing import Any, LiteralString

import pytest

from contracts.outcome import Outcome
from contracts.refusals import Refusal
from store import db
from store.db import Pool, PoolOptions, Transient
from tests.kit import messages as m
from tests.kit.brokers import EVENTS, AtWork, backlog, running
from tests.kit.funnel import once, rows
from tests.kit.sqs import until
from tests.kit.wire import CLIENT, Wire
from workers import connections
from workers.delivery import Delivery, Settlement
from workers.local import postgres
from workers.settings import Settings


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


def test_d3_nothing_is_renewed_once_it_was_settled():
    sqs = backlog(2)
    slow = AtWork()
    with running(sqs, slow, visibility_s=1, renew_every_s=0.1, settle_age_s=0.5) as found:
        until(lambda: sqs.named("change_message_visibility_batch"), what="a renewal, as long as it is handled")
        slow.release()
        until(lambda: found.broker.held == 0)
        renewed = len(sqs.named("change_message_visibility_batch"))
        until(lambda: not sqs.held(EVENTS), what="the delete, which waits for others longer than a renewal is due")
        assert len(sqs.named("change_message_visibility_batch")) <= renewed + 1, "but for one that was under way"


def test_d3_two_deliveries_of_one_message_have_leases_of_their_own():
    sqs = backlog(1)
    first_ends, second_ends, begun = threading.Event(), threading.Event(), threading.Semaphore(0)
    deliveries: list[Delivery] = []

    def handle(delivery: Delivery) -> None:
        deliveries.append(delivery)
        begun.release()
        (first_ends if len(deliveries) == 1 else second_ends).wait(10)
        delivery.settle_as(Settlement.DELETE)

    def renewals(delivery: Delivery) -> int:
        entries = sqs.entries("change_message_visibility_batch")
        return sum(entry["ReceiptHandle"] == delivery.receipt_handle for entry in entries)

    with running(sqs, handle, visibility_s=2, renew_every_s=0.1) as found:
        assert begun.acquire(timeout=5)
        sqs.held(EVENTS)[0].visible_at = 0  # as a standard queue may: it comes a second time while its lease stands
        assert begun.acquire(timeout=5)
        until(lambda: found.lost() == 1, what="the first delivery's lease to be noticed as lost")
        first_ends.set()
        until(lambda: found.broker.held == 1)
        kept = renewals(deliveries[1])
        until(lambda: renewals(deliveries[1]) > kept + 2, what="renewals of the second delivery")
        assert not deliveries[1].lease_lost
        assert len(sqs.held(EVENTS)) == 1, "the first delivery may not delete what the second one has"
        second_ends.set()
        until(lambda: not sqs.held(EVENTS))


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
    result = once(pool, m.parsed(other))
    assert (result.outcome, result.code) == (Outcome.REFUSED, Refusal.PAYLOAD_CONFLICT)
    once(pool, m.parsed(other))
    assert rows(pool, "SELECT * FROM payments") == before
    assert rows(pool, "SELECT outcome FROM message_inbox") == [{"outcome": "applied"}]
    [event] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'PaymentConflictDetected'")
    assert event["payload"]["code"] == "payload_conflict"


def test_d11_a_renewal_that_times_out_leaves_time_for_another_one(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    config: Any = connections.settling_client(1).meta.config
    found = Settings()
    longest_s = config.retries["total_max_attempts"] * (config.connect_timeout + config.read_timeout)
    left_s = found.visibility_s - 1.5 * found.lease_renew_s  # of a lease that the last round found young enough
    assert longest_s < left_s


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
