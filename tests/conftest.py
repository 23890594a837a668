"""The fixtures that every room's tests share: a real Postgres, a migrated database of one's own, an open pool.

PAYMENTS_POSTGRES_BIN names the `bin` directory of another Postgres to run them on, as `make test-postgres-15` does.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from store import db, migrate
from store.db import Pool, PoolOptions
from tests.kit.databases import Copies
from workers.local import postgres

TEMPLATE = "payments_template"

# A shell that exports its width would fix that of every console that is made when a module is imported.
os.environ.pop("COLUMNS", None)


@pytest.fixture(autouse=True, scope="session")
def loggers_are_bound_anew() -> Iterator[None]:
    """A role keeps its loggers as they are first used; in a test they would write past every later test's capture."""
    configure = structlog.configure

    def configured(**given: Any) -> None:
        configure(**given | {"cache_logger_on_first_use": False})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", configured)
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Server]:
    """A Postgres of the test run's own, with a migrated template database in it."""
    with _serving(tmp_path_factory.mktemp("postgres")) as found:
        migrate.ensure_database(found.url("postgres"), TEMPLATE)
        migrate.upgrade(found.url(TEMPLATE))
        yield found


@pytest.fixture
def bare_server(tmp_path: Path) -> Iterator[postgres.Server]:
    """A Postgres of this test's own, which has never seen a role or a database of ours."""
    with _serving(tmp_path) as found:
        yield found


@contextmanager
def _serving(folder: Path) -> Iterator[postgres.Server]:
    named = os.environ.get("PAYMENTS_POSTGRES_BIN")
    binaries = Path(named) if named else None
    with ExitStack() as stack:
        yield postgres.serve(
            stack, folder / "home", folder / "log", say=lambda _line: None, binaries=binaries, fsync=False
        )


@pytest.fixture(scope="session")
def copies(server: postgres.Server) -> Iterator[Copies]:
    """Copies of the template: migrated and empty."""
    with Copies(server, TEMPLATE) as found:
        yield found


@pytest.fixture
def database_url(copies: Copies) -> Iterator[str]:
    """A database of this test's own: migrated and empty."""
    with copies.one() as url:
        yield url


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    """An open pool on this test's database."""
    opened = db.open_pool(database_url, PoolOptions(size_min=1, wait_s=5))
    opened.wait(5)
    yield opened
    opened.close()
