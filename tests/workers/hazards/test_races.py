"""Several workers at once on the same thing: one effect, and nobody ends in a fault."""

import threading
from collections.abc import Callable, Sequence

import pytest

from contracts.inbound import Parsed
from contracts.outcome import Outcome
from contracts.refusals import Refusal
from handlers.apply import Result
from store import db
from store.db import Pool, PoolOptions, Transient
from tests.kit import messages as m
from tests.kit.funnel import once, rows

ROUNDS = 5


@pytest.fixture
def crowd(database_url: str):
    """A pool with a connection for each of eight threads."""
    with db.open_pool(database_url, PoolOptions(size_min=8, size_max=10)) as pool:
        pool.wait(10)
        yield pool


def at_once(pool: Pool, messages: Sequence[Parsed]) -> list[Result | Transient]:
    """Process all messages at the same moment; return how each ended."""
    start = threading.Barrier(len(messages))
    ends: list[Result | Transient] = []

    def run(message: Parsed) -> None:
        start.wait()
        try:
            ends.append(once(pool, message))
        except Transient as trouble:
            ends.append(trouble)

    threads = [threading.Thread(target=run, args=(message,)) for message in messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == len(messages), "a thread ended in a fault"
    return ends


def outcomes(ends: Sequence[Result | Transient]) -> list[Outcome]:
    return [end.outcome for end in ends if isinstance(end, Result)]


def incident(number: int) -> str:
    return f"1111111{number}-1111-4111-8111-111111111111"


@pytest.mark.parametrize("number", range(ROUNDS))
def test_d10_the_same_message_eight_times_at_once_is_applied_once(crowd: Pool, number: int):
    ends = at_once(crowd, [m.parsed(m.work(incidentId=incident(number)))] * 8)
    assert outcomes(ends).count(Outcome.APPLIED) == 1
    assert set(outcomes(ends)) <= {Outcome.APPLIED, Outcome.DUPLICATE}
    assert len(rows(crowd, "SELECT 1 FROM payments")) == 1
    assert len(rows(crowd, "SELECT 1 FROM payment_audit_log")) == 1


@pytest.mark.parametrize("number", range(ROUNDS))
def test_d10_eight_events_for_one_job_at_once_make_one_payment(crowd: Pool, number: int):
    events = [m.parsed(m.work(incidentId=incident(number), eventId=f"event-{each}")) for each in range(8)]
    ends = at_once(crowd, events)
    assert outcomes(ends).count(Outcome.APPLIED) == 1
    assert set(outcomes(ends)) <= {Outcome.APPLIED, Outcome.IGNORED}
    assert len(rows(crowd, "SELECT 1 FROM payments")) == 1
    again = [once(crowd, event).outcome for event in events]
    assert Outcome.APPLIED not in again, "the losers meet the winner when they come back"
    assert len(rows(crowd, "SELECT 1 FROM message_inbox")) == 8


def decide(pool: Pool, number: int, make: Callable[[str, int], list[Parsed]]) -> list[Result | Transient]:
    created = once(pool, m.parsed(m.work(incidentId=incident(number))))
    return at_once(pool, make(str(created.payment_id), number))


@pytest.mark.parametrize("number", range(ROUNDS))
def test_approve_reject_and_cancel_at_once_leave_one_legal_history(crowd: Pool, number: int):
    def commands(payment_id: str, base: int) -> list[Parsed]:
        kinds = ["ApprovePayment", "RejectPayment", "CancelPayment"] * 2
        return [
            m.parsed(m.command(kind, number=base * 100 + index, paymentId=payment_id, reason="race"))
            for index, kind in enumerate(kinds)
        ]

    ends = decide(crowd, number, commands)
    applied = outcomes(ends).count(Outcome.APPLIED)
    [payment] = rows(crowd, "SELECT status, version FROM payments")
    assert payment["version"] == 1 + applied
    log = rows(crowd, "SELECT seq, previous_status, new_status FROM payment_audit_log ORDER BY seq")
    assert [row["seq"] for row in log] == list(range(1, 2 + applied))
    assert [row["previous_status"] for row in log[1:]] == [row["new_status"] for row in log[:-1]]
    refused = {end.code for end in ends if isinstance(end, Result) and end.outcome is Outcome.REFUSED}
    assert refused <= {Refusal.ILLEGAL_TRANSITION, Refusal.ALREADY_DECIDED}
    versions = rows(crowd, "SELECT DISTINCT aggregate_seq AS seq FROM outbox WHERE aggregate_seq > 0 ORDER BY 1")
    assert [row["seq"] for row in versions] == list(range(1, 2 + applied)), "announced without a gap"
