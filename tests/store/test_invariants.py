"""The invariants: what the service itself brings about breaks none, and each breach is counted as what it is."""

from collections.abc import Callable, Iterator
from typing import LiteralString

import pytest

from store import invariants
from store.db import Pool, StoreFault, Transient
from store.invariants import QUERIES, Invariant
from tests.kit.forgery import forge
from tests.kit.funnel import rows
from tests.kit.lives import Lives, created

COMPLETED: LiteralString = "WHERE payment_id = (SELECT payment_id FROM payments WHERE status = 'completed')"
FAILED: LiteralString = "WHERE payment_id = (SELECT payment_id FROM payments WHERE status = 'failed')"
UNKNOWN: LiteralString = "WHERE payment_id = (SELECT payment_id FROM payments WHERE status = 'processing')"
REJECTED: LiteralString = "WHERE payment_id = (SELECT payment_id FROM payments WHERE status = 'cancelled')"
#: A second attempt of a payment like its first, as if its key and the provider's object were others.
ANOTHER_ATTEMPT: LiteralString = """
INSERT INTO payout_attempts (attempt_id, payment_id, attempt_no, provider, operation, idempotency_key,
    request_fingerprint, amount_cents, currency, state, provider_object_id, submit_before, resolved_at)
SELECT gen_random_uuid(), payment_id, 2, provider, operation, 'another', request_fingerprint, amount_cents, currency,
    state, 'tr_another', submit_before, resolved_at FROM payout_attempts
"""
#: For each invariant, ways to break it: what is done with constraints off, and how many rows break it then.
BREACHES: dict[str, tuple[Invariant, int, tuple[LiteralString, ...]]] = {
    "a line costs more": (
        Invariant.LINES_SUM_TO_AMOUNT,
        1,
        ("UPDATE payment_line_items SET unit_price_cents = unit_price_cents + 1 " + COMPLETED + " AND line_no = 1",),
    ),
    "a payment has no lines": (Invariant.LINES_SUM_TO_AMOUNT, 1, ("DELETE FROM payment_line_items " + REJECTED,)),
    "nobody approved what was paid": (Invariant.APPROVED_BY_ENOUGH, 1, ("DELETE FROM payment_approvals " + COMPLETED,)),
    "nobody approved what failed": (Invariant.APPROVED_BY_ENOUGH, 1, ("DELETE FROM payment_approvals " + FAILED,)),
    "one of two approvals is missing": (
        Invariant.APPROVED_BY_ENOUGH,
        1,
        (
            (
                "DELETE FROM payment_approvals WHERE level = 2 AND payment_id IN"
                " (SELECT payment_id FROM payments WHERE status = 'approved')"
            ),
        ),
    ),
    "a driver's authorisation is given to somebody else's money": (
        Invariant.APPROVED_BY_ENOUGH,
        1,
        (
            "ALTER TABLE payments DROP CONSTRAINT payments_check1",
            "UPDATE payments SET payer_type = 'back_office' WHERE payer_type = 'driver_ic'",
        ),
    ),
    "work is paid twice": (
        Invariant.ONE_LIVE_PAYMENT_PER_WORK,
        1,
        (
            "DROP INDEX ux_payments_live_work",
            (
                "UPDATE payments SET incident_id = (SELECT incident_id FROM payments WHERE status = 'completed')"
                " WHERE status = 'failed'"
            ),
        ),
    ),
    "two attempts of a payment succeeded": (
        Invariant.ONE_SUCCESS_PER_PAYMENT,
        1,
        ("DROP INDEX ux_attempt_success", ANOTHER_ATTEMPT + COMPLETED),
    ),
    "a payment is completed and no attempt succeeded": (
        Invariant.COMPLETED_HAS_SUCCESS,
        1,
        ("UPDATE payout_attempts SET state = 'failed', failure_code = 'x' " + COMPLETED,),
    ),
    "a payment is completed and has no attempt": (
        Invariant.COMPLETED_HAS_SUCCESS,
        1,
        ("DELETE FROM payout_attempts " + COMPLETED,),
    ),
    "an attempt succeeded and its payment is not completed": (
        Invariant.COMPLETED_HAS_SUCCESS,
        1,
        (
            "UPDATE payout_attempts SET state = 'succeeded', provider_object_id = 'tr_x', resolved_at = now() "
            + UNKNOWN,
        ),
    ),
    "an attempt pays a cent more": (
        Invariant.ATTEMPT_PAYS_THE_AMOUNT,
        1,
        ("UPDATE payout_attempts SET amount_cents = amount_cents + 1 " + FAILED,),
    ),
    "attempts pay another currency": (
        Invariant.ATTEMPT_PAYS_THE_AMOUNT,
        3,
        ("UPDATE payout_attempts SET currency = 'CAD'",),
    ),
    "a reversal is lost": (Invariant.REVERSED_WITHIN_AMOUNT, 1, ("DELETE FROM payout_reversals",)),
    "a reversal is not on its payment": (
        Invariant.REVERSED_WITHIN_AMOUNT,
        1,
        ("UPDATE payments SET amount_reversed_cents = 0 WHERE status = 'completed'",),
    ),
    "more came back than was paid": (
        Invariant.REVERSED_WITHIN_AMOUNT,
        1,
        (
            "ALTER TABLE payments DROP CONSTRAINT payments_check",
            "UPDATE payout_reversals SET amount_cents = 15001",
            "UPDATE payments SET amount_reversed_cents = 15001 WHERE status = 'completed'",
        ),
    ),
    "a status changed and the audit log does not say so": (
        Invariant.STATUS_IS_EXPLAINED,
        1,
        ("UPDATE payments SET status = 'pending_approval', cancel_kind = NULL WHERE status = 'cancelled'",),
    ),
    "the newest audit row is lost": (
        Invariant.STATUS_IS_EXPLAINED,
        1,
        ("DELETE FROM payment_audit_log " + COMPLETED + " AND new_status = 'completed'",),
    ),
    "a payment's head is another's": (
        Invariant.STATUS_IS_EXPLAINED,
        1,
        ("UPDATE payments SET audit_head = sha256('x') WHERE status = 'failed'",),
    ),
}


def broken(pool: Pool) -> dict[Invariant, int]:
    found = invariants.check(pool).broken
    assert list(found) == list(Invariant), "each is there, also where nothing breaks it"
    return {invariant: count for invariant, count in found.items() if count}


def test_every_invariant_has_its_query_and_is_broken_below():
    assert set(QUERIES) == set(Invariant) == {invariant for invariant, _, _ in BREACHES.values()}


def test_what_the_service_brings_about_breaks_nothing(monitor: Pool, world: Lives):
    statuses = {row["status"] for row in rows(monitor, "SELECT status FROM payments")}
    assert statuses == {"pending_approval", "approved", "processing", "completed", "failed", "cancelled"}
    found = invariants.check(monitor)
    assert set(found.broken.values()) == {0}
    [row] = rows(monitor, "SELECT clock_timestamp() - %s AS age", found.at)
    assert 0 <= row["age"].total_seconds() < 30


def test_an_empty_database_breaks_nothing(monitor: Pool):
    assert broken(monitor) == {}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_counted_as_what_it_is_and_nothing_else(monitor: Pool, pool: Pool, world: Lives, name: str):
    invariant, count, statements = BREACHES[name]
    forge(pool, *statements)
    assert broken(monitor) == {invariant: count}


def test_an_attempt_that_pays_for_nothing_is_a_breach(monitor: Pool, pool: Pool, world: Lives):
    forge(pool, "DELETE FROM payments WHERE status = 'completed'")
    assert broken(monitor) == {Invariant.COMPLETED_HAS_SUCCESS: 1}


def test_the_rights_of_the_monitor_are_no_more_than_to_look(monitor: Pool, world: Lives):
    [row] = rows(monitor, "SELECT rolsuper OR rolbypassrls AS beyond FROM pg_roles WHERE rolname = current_user")
    assert row["beyond"] is False
    assert rows(monitor, "SELECT count(*) AS seen FROM payments") == [{"seen": 8}], "row-level security lets it look"
    with pytest.raises(StoreFault, match="42501"):
        rows(monitor, "DELETE FROM payments")


class Interrupted(dict[Invariant, LiteralString]):
    """The queries, with something that happens after the first one."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__(QUERIES)
        self._meanwhile = meanwhile

    def items(self) -> Iterator[tuple[Invariant, LiteralString]]:  # type: ignore[override]
        first, *others = super().items()
        yield first
        self._meanwhile()
        yield from others


def test_all_queries_see_one_moment(monitor: Pool, pool: Pool, world: Lives, monkeypatch):
    def meanwhile() -> None:
        created(pool, 99)
        forge(pool, "UPDATE payments SET audit_head = sha256('x')")

    monkeypatch.setattr(invariants, "QUERIES", Interrupted(meanwhile))
    assert broken(monitor) == {}, "what happens meanwhile is not there yet"
    monkeypatch.undo()
    assert broken(monitor) == {Invariant.STATUS_IS_EXPLAINED: 9}


def test_a_check_writes_nothing_and_gives_the_connection_back(monitor: Pool, monkeypatch):
    monkeypatch.setattr(invariants, "QUERIES", {Invariant.LINES_SUM_TO_AMOUNT: "DELETE FROM heartbeats RETURNING 1"})
    with pytest.raises(Transient, match="25006"):
        invariants.check(monitor)
    monkeypatch.undo()
    assert broken(monitor) == {}
