"""The schema's history: from nothing to head, once, whoever runs it."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from store import db, migrate, reads
from store.db import Pool, PoolOptions
from tests.kit.funnel import rows
from tests.store.migrating import migrate_at_once
from workers.local import postgres

SPECIFIED = {
    "payments": {
        "payment_id",
        "incident_id",
        "vendor_id",
        "payer_type",
        "amount_cents",
        "status",
        "fraud_score",
        "approved_by",
        "approved_at",
        "created_at",
        "updated_at",
    },
    "payment_line_items": {"line_item_id", "payment_id", "description", "quantity", "unit_price_cents", "total_cents"},
    "payment_audit_log": {"log_id", "payment_id", "action", "actor_id", "previous_status", "new_status", "timestamp"},
}


@pytest.fixture
def empty(server: postgres.Server) -> str:
    name = f"empty_{uuid4().hex}"
    migrate.ensure_database(server.url("postgres"), name)
    migrate.ensure_database(server.url("postgres"), name)  # again: it is there
    return server.url(name)


def test_the_tests_run_on_the_postgres_that_was_named(pool: Pool):
    named = os.environ.get("PAYMENTS_POSTGRES_BIN")
    program = (Path(named) if named else postgres.wheel_binaries()) / "postgres"
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    [found] = rows(pool, "SELECT split_part(current_setting('server_version'), ' ', 1) AS version")
    assert told.split()[2] == found["version"]


def test_an_empty_database_comes_to_head_and_stays_there(empty: str):
    assert migrate.current(empty) is None
    assert migrate.upgrade(empty) == (None, migrate.head())
    assert migrate.upgrade(empty) == (migrate.head(), migrate.head())
    assert migrate.current(empty) == migrate.head()


def test_several_who_migrate_at_once_all_succeed_and_one_does_the_work(empty: str):
    head = migrate.head()
    assert sorted(migrate_at_once([empty] * 3), key=str) == sorted([(None, head), (head, head), (head, head)], key=str)


def test_threads_that_migrate_different_databases_do_not_mix_them_up(server: postgres.Server):
    urls = [server.url(f"thread_{uuid4().hex}") for _ in range(4)]
    for url in urls:
        migrate.ensure_database(server.url("postgres"), url.rpartition("/")[2].partition("?")[0])
    with ThreadPoolExecutor(len(urls)) as threads:
        assert list(threads.map(migrate.upgrade, urls)) == [(None, migrate.head())] * len(urls)
    assert [migrate.current(url) for url in urls] == [migrate.head()] * len(urls)


def test_a_database_that_was_never_migrated_is_told_from_one_that_was(empty: str, pool: Pool):
    with db.open_pool(empty, PoolOptions(size_min=1)) as bare:
        assert reads.revision(bare) is None
    assert reads.revision(pool) == migrate.head()


@pytest.mark.parametrize("table", SPECIFIED)
def test_the_specified_tables_have_their_specified_columns(pool: Pool, table: str):
    found = rows(pool, "SELECT column_name FROM information_schema.columns WHERE table_name = %s", table)
    assert {row["column_name"] for row in found} >= SPECIFIED[table]


def test_the_specified_indexes_have_their_specified_names(pool: Pool):
    found = {row["indexname"] for row in rows(pool, "SELECT indexname FROM pg_indexes WHERE tablename = 'payments'")}
    assert found >= {"idx_payments_status", "idx_payments_incident", "idx_payments_vendor", "idx_payments_fraud_status"}


def test_money_is_bigint_and_times_have_a_zone(pool: Pool):
    columns = rows(
        pool,
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'",
    )
    cents = {row["data_type"] for row in columns if row["column_name"].endswith("_cents")}
    assert cents == {"bigint"}
    assert not [row for row in columns if row["data_type"] == "timestamp without time zone"]
