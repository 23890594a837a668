"""The fixtures that every room's tests share: a real Postgres, a migrated database of one's own, an open pool."""

from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from store import db, migrate
from store.db import Pool, PoolOptions
from workers.local import postgres

TEMPLATE = "payments_template"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Server]:
    """A Postgres of the test run's own, with a migrated template database in it."""
    folder = tmp_path_factory.mktemp("postgres")
    with ExitStack() as stack:
        found = postgres.serve(stack, folder / "home", folder / "log", say=lambda _line: None, fsync=False)
        migrate.ensure_database(found.url("postgres"), TEMPLATE)
        migrate.upgrade(found.url(TEMPLATE))
        yield found


@pytest.fixture
def database_url(server: postgres.Server) -> Iterator[str]:
    """A database of this test's own, cloned from the template: migrated and empty."""
    name = f"test_{uuid4().hex}"
    database, template = sql.Identifier(name), sql.Identifier(TEMPLATE)
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(database, template))
        yield server.url(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    """An open pool on this test's database."""
    opened = db.open_pool(database_url, PoolOptions(size_min=1, wait_s=5))
    opened.wait(5)
    yield opened
    opened.close()
