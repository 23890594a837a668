"""Databases that were filled in bulk hold what the service would have left there, as far as anything asks."""

from store import invariants
from tests.bench import bulk
from tests.kit.funnel import rows

PAYMENTS = 1_000


def test_it_holds_so_many_of_everything(database_url, pool):
    bulk.fill(database_url, PAYMENTS)
    counted = {table: rows(pool, f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in bulk.TABLES}
    assert counted == {
        "payments": 1_000,
        "payment_line_items": 3_000,
        "payment_audit_log": 3_870,
        "payment_approvals": 940,
        "payout_attempts": 940,
        "message_inbox": 1_000,
        "outbox": 1_000,
    }
    statuses = rows(pool, "SELECT status, count(*) AS n FROM payments GROUP BY status")
    assert {row["status"]: row["n"] for row in statuses} == {
        "pending_approval": 10,
        "completed": 930,
        "cancelled": 50,
        "failed": 10,
    }


def test_companies_have_payments_that_wait(database_url, pool):
    bulk.fill(database_url, PAYMENTS * 4)
    waiting = "SELECT company_id, count(*) AS n FROM payments WHERE status = 'pending_approval' GROUP BY company_id"
    found = {row["company_id"]: row["n"] for row in rows(pool, waiting)}
    assert len(found) == 20
    assert found[bulk.company()] == 2


def test_nothing_is_unsent_or_old_enough_to_be_pruned(database_url, pool):
    bulk.fill(database_url, 100)
    assert rows(pool, "SELECT FROM outbox WHERE published_at IS NULL") == []
    assert rows(pool, "SELECT FROM outbox WHERE published_at < now() - interval '26 days'") == []


def test_it_breaks_no_invariant(database_url, pool):
    bulk.fill(database_url, PAYMENTS)
    broken = {name for name, count in invariants.check(pool).broken.items() if count}
    assert broken == set()
