"""The inbox: one effect per kind and key, whoever comes first, and nothing left by what rolls back."""

import threading

import pytest

from contracts.outcome import COMMITTED, Outcome
from store import db, inbox
from store.db import Pool, PoolOptions, StoreFault, Transient, TransientReason
from store.inbox import Claim, Known, New
from tests.kit import messages as m
from tests.kit.funnel import rows
from tests.kit.sqs import until

SAID, OTHER = bytes(32), bytes([1] * 32)
KIND = "WorkCompleted"


def claim(pool: Pool, key: str, said: bytes = SAID, kind: str = KIND) -> Claim:
    with db.transaction(pool) as tx:
        return inbox.claim(tx, kind, key, said, m.INCIDENT).value()


def stored(pool: Pool) -> list[dict]:
    return rows(
        pool, "SELECT consumer, message_key, outcome, outcome_code, payment_id FROM message_inbox ORDER BY 1, 2"
    )


def test_a_key_is_new_once_and_known_from_then_on(pool: Pool):
    assert claim(pool, "a") == New()
    assert claim(pool, "a") == Known(same=True)
    assert claim(pool, "a", OTHER) == Known(same=False)
    assert claim(pool, "b") == New()
    assert [row["message_key"] for row in stored(pool)] == ["a", "b"]


def test_the_same_key_of_another_kind_is_another_message(pool: Pool):
    assert claim(pool, "a") == New()
    assert claim(pool, "a", OTHER, kind="ApprovePayment") == New()


def test_a_claim_that_rolls_back_leaves_the_key_to_the_next_delivery(pool: Pool):
    with db.transaction(pool) as tx:
        assert inbox.claim(tx, KIND, "a", SAID, None).value() == New()
        tx.abandon()
    assert stored(pool) == []
    assert claim(pool, "a") == New()


@pytest.mark.parametrize("commits", [True, False])
def test_a_second_delivery_waits_for_what_becomes_of_the_first(pool: Pool, *, commits: bool):
    found: list[Claim] = []
    second = threading.Thread(target=lambda: found.append(claim(pool, "a")))
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with db.transaction(pool) as tx:
        inbox.claim(tx, KIND, "a", SAID, None).value()
        second.start()
        until(lambda: rows(pool, waiting), what="the second delivery to wait")
        assert found == []
        if not commits:
            tx.abandon()
    second.join(5)
    assert found == [Known(same=True) if commits else New()]


def test_a_second_delivery_does_not_wait_for_ever(pool: Pool, database_url: str):
    with db.open_pool(database_url, PoolOptions(size_min=1, lock_s=0.1)) as hurried, db.transaction(pool) as tx:
        inbox.claim(tx, KIND, "a", SAID, None).value()
        with pytest.raises(Transient) as caught:
            claim(hurried, "a")
    assert (caught.value.reason, caught.value.sqlstate) == (TransientReason.TIMEOUT, "55P03")


def test_a_claim_stands_as_applied_until_it_is_settled(pool: Pool):
    claim(pool, "a")
    assert stored(pool) == [
        {
            "consumer": KIND,
            "message_key": "a",
            "outcome": "applied",
            "outcome_code": None,
            "payment_id": m.INCIDENT,
        }
    ]
    with db.transaction(pool) as tx:
        inbox.settle(tx, KIND, "a", Outcome.REFUSED, "missing_pricing", None)
    [row] = stored(pool)
    assert (row["outcome"], row["outcome_code"], row["payment_id"]) == ("refused", "missing_pricing", None)


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - COMMITTED))
def test_what_leaves_no_effect_leaves_no_row(pool: Pool, outcome: Outcome):
    def settle() -> None:
        with db.transaction(pool) as tx:
            inbox.claim(tx, KIND, "a", SAID, None)
            inbox.settle(tx, KIND, "a", outcome, None, None)

    with pytest.raises(ValueError, match=f"{outcome} leaves no inbox row"):
        settle()
    assert stored(pool) == []


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - COMMITTED))
def test_the_table_knows_the_words_of_a_committed_message_only(pool: Pool, outcome: Outcome):
    claim(pool, "a")
    with pytest.raises(StoreFault, match="CheckViolation"), db.transaction(pool) as tx:
        tx.send("UPDATE message_inbox SET outcome = %(outcome)s", {"outcome": outcome})
