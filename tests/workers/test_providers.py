"""A worker has its provider or does not start; the sandbox's books are made by the migration, never by a worker."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from store import db, migrate, sandbox
from store.db import Pool, PoolOptions
from workers import main, settings
from workers.health import NotReadyError
from workers.local import postgres
from workers.providers import SandboxProvider, make_provider
from workers.settings import Settings, SettingsError


@pytest.fixture
def empty_url(server: postgres.Server) -> Iterator[str]:
    name = f"provider_{uuid4().hex}"
    migrate.ensure_database(server.url("postgres"), name)
    yield server.url(name)
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def opened(url: str) -> Pool:
    return db.open_pool(url, PoolOptions(size_min=1, wait_s=5))


def with_provider(url: str, provider: str | None) -> Settings:
    return settings.load({"PAYMENTS_DATABASE_URL": url, **({"PAYMENTS_PROVIDER": provider} if provider else {})})


def test_the_provider_is_never_guessed(pool: Pool):
    with pytest.raises(SettingsError, match="PAYMENTS_PROVIDER"):
        make_provider(settings.load({}), pool)


def test_without_its_books_the_sandbox_says_what_to_run(empty_url: str):
    assert main.run_migrate(with_provider(empty_url, None)) == (None, migrate.head())
    with opened(empty_url) as pool, pytest.raises(NotReadyError, match="run `payments migrate` with PAYMENTS_PROVIDER"):
        make_provider(with_provider(empty_url, "sandbox"), pool)


def test_a_migration_makes_the_books_where_the_sandbox_is_the_provider(empty_url: str):
    assert main.run_migrate(with_provider(empty_url, "sandbox")) == (None, migrate.head())
    with opened(empty_url) as pool:
        assert isinstance(make_provider(with_provider(empty_url, "sandbox"), pool), SandboxProvider)


def test_a_database_that_was_migrated_before_the_sandbox_was_on_gets_its_books_by_the_next_run(empty_url: str):
    main.run_migrate(with_provider(empty_url, None))
    assert main.run_migrate(with_provider(empty_url, "sandbox")) == (migrate.head(), migrate.head())
    with opened(empty_url) as pool:
        assert sandbox.usable(pool)


def test_a_worker_that_starts_while_the_database_is_away_believes_in_its_books():
    with db.open_pool("host=127.0.0.1 port=1 dbname=nowhere", PoolOptions(size_min=0, wait_s=0.1)) as nowhere:
        assert isinstance(make_provider(with_provider("x", "sandbox"), nowhere), SandboxProvider)
