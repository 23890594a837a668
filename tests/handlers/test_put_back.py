"""What failed and is put back: as old as at its first sending, as good as its first sender, and only on record."""

import dataclasses
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from contracts.envelope import Queue
from contracts.outcome import Outcome
from contracts.refusals import Refusal
from store.db import Pool
from tests.handlers.proving import (
    APP,
    DIGEST,
    DIRECTORY,
    OPERATOR,
    SERVICE,
    accesses,
    approval,
    failed_before,
    judged,
    order,
    person,
    replayed,
    told,
)
from tests.kit import messages as m
from tests.kit.funnel import fresh, rows


def test_what_was_put_back_is_as_old_as_at_its_first_sending(pool: Pool, payment: UUID):
    failed_before(pool, Queue.COMMANDS, datetime.now(UTC) - timedelta(hours=25), DIGEST)
    parsed = approval(payment)
    old = person(parsed.cause.sent_at - timedelta(hours=25))
    assert judged(pool, parsed, old, digest=DIGEST).code is Refusal.STALE
    assert judged(pool, approval(payment), old, digest=b"e" * 32).code is Refusal.UNAUTHENTICATED, "another body"


def test_what_was_put_back_in_time_is_judged_at_its_first_sending(pool: Pool, payment: UUID):
    sent_at = datetime.now(UTC) - timedelta(hours=5)
    failed_before(pool, Queue.COMMANDS, sent_at, DIGEST)
    assert judged(pool, approval(payment), person(sent_at), digest=DIGEST).outcome is Outcome.APPLIED


def test_an_operator_puts_back_what_failed_here_on_record_and_nothing_else(pool: Pool, payment: UUID):
    assert judged(pool, approval(payment), sender=OPERATOR, digest=DIGEST).code is Refusal.FORBIDDEN_SENDER
    failure_id = failed_before(pool, Queue.COMMANDS, datetime.now(UTC), DIGEST)
    assert judged(pool, approval(payment), sender=OPERATOR, digest=DIGEST).code is Refusal.FORBIDDEN_SENDER
    replayed(pool, failure_id)
    assert judged(pool, approval(payment), sender=OPERATOR, digest=DIGEST).outcome is Outcome.APPLIED


def test_an_operator_puts_back_an_order_of_the_service(pool: Pool, payment: UUID):
    judged(pool, approval(payment))
    replayed(pool, failed_before(pool, Queue.PAYOUTS, datetime.now(UTC), DIGEST, SERVICE))
    assert judged(pool, order(pool), None, OPERATOR, DIGEST).status == "processing"


def test_an_operator_brings_no_finished_work_of_their_own(pool: Pool):
    work = fresh(m.parsed(m.work(payerType="driver_ic", driverId=str(m.DRIVER))))
    assert judged(pool, work, None, OPERATOR, DIGEST).code is Refusal.FORBIDDEN_SENDER
    assert rows(pool, "SELECT 1 FROM payments") == []
    assert [access["code"] for access in accesses(pool)] == ["forbidden_sender"]
    [told] = rows(pool, "SELECT detail_type, payload FROM outbox")
    assert (told["detail_type"], told["payload"]["code"]) == ("WorkCompletedRejected", "forbidden_sender")
    replayed(pool, failed_before(pool, Queue.EVENTS, datetime.now(UTC), DIGEST, None))
    assert judged(pool, work, None, OPERATOR, DIGEST).outcome is Outcome.APPLIED


LAUNDERED = [
    ("an approval by another sender", Queue.COMMANDS, "AROASOMEBODY"),
    ("an approval by the directory", Queue.COMMANDS, DIRECTORY),
    ("an approval of which nobody knows", Queue.COMMANDS, None),
    ("an order by an application", Queue.PAYOUTS, APP),
    ("an order of which nobody knows", Queue.PAYOUTS, None),
]


@pytest.mark.parametrize(("name", "queue", "sender"), LAUNDERED, ids=[row[0] for row in LAUNDERED])
def test_what_an_operator_puts_back_is_as_good_as_who_had_sent_it(
    pool: Pool, payment: UUID, name: str, queue: Queue, sender: str | None
):
    if queue is Queue.PAYOUTS:
        judged(pool, approval(payment))
    parsed, who = (order(pool), None) if queue is Queue.PAYOUTS else (approval(payment), ...)
    replayed(pool, failed_before(pool, queue, datetime.now(UTC), DIGEST, sender))
    assert judged(pool, parsed, who, OPERATOR, DIGEST).code is Refusal.FORBIDDEN_SENDER
    replayed(pool, failed_before(pool, queue, datetime.now(UTC), DIGEST, SERVICE if queue is Queue.PAYOUTS else APP))
    assert judged(pool, parsed, who, OPERATOR, DIGEST).outcome is Outcome.APPLIED, "the same from who may send it"


def test_a_word_of_the_directory_that_failed_is_put_back_as_what_it_was(pool: Pool):
    subject = uuid4()
    word = told(subject, role="admin", enabled=False)
    assert judged(pool, word, None, OPERATOR, DIGEST).code is Refusal.FORBIDDEN_SENDER
    replayed(pool, failed_before(pool, Queue.COMMANDS, datetime.now(UTC), DIGEST, DIRECTORY))
    assert judged(pool, word, None, OPERATOR, DIGEST).outcome is Outcome.APPLIED
    assert rows(pool, "SELECT enabled FROM memberships WHERE sub = %s", subject) == [{"enabled": False}]


def test_an_old_word_of_the_directory_that_comes_again_counts_for_nothing(pool: Pool):
    subject, days = uuid4(), timedelta(days=1)
    first = told(subject, role="admin")
    failed_before(pool, Queue.COMMANDS, datetime.now(UTC) - 2 * days, DIGEST, DIRECTORY)
    dismissal = told(subject, role="admin", enabled=False)
    earlier = dataclasses.replace(dismissal.cause, sent_at=datetime.now(UTC) - days)
    assert judged(pool, dataclasses.replace(dismissal, cause=earlier), None, DIRECTORY).outcome is Outcome.APPLIED
    assert judged(pool, first, None, DIRECTORY, DIGEST).outcome is Outcome.IGNORED, "however late its sending looks"
    assert rows(pool, "SELECT enabled FROM memberships WHERE sub = %s", subject) == [{"enabled": False}]
