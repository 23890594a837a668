"""Brings a database to this release's schema: Alembic revisions, forward only, one process at a time."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from psycopg import errors, sql
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from store.db import StoreFault, Transient, translated
from store.revisions import head

__all__ = ["MigrationDenied", "current", "ensure_database", "head", "upgrade"]

#: Two processes that migrate at once would trip over each other; the second waits for this advisory lock.
MIGRATION_LOCK = 7_246_001
#: A migration that cannot get its lock gives way to the traffic and is run again by its operator.
LOCK_TIMEOUT = "3s"

#: Alembic keeps what it works on in a module: two databases at once in one process would be mixed up.
_one_at_a_time = threading.Lock()


class MigrationDenied(StoreFault):
    """The user that migrates lacks a right; the text says which ones it needs."""

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(error)
        needed = (
            "whoever migrates must own the database, and must be a member of payments_owner or, where the payments_*"
            " roles are not there yet, have CREATEROLE"
        )
        self.args = (f"{self.args[0]}: {needed}",)


def current(conninfo: str) -> str | None:
    """Return the database's revision, or None for a database that was never migrated.

    Raises:
        psycopg.OperationalError: the database cannot be reached.
    """
    with _connection(conninfo) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(conninfo: str) -> tuple[str | None, str]:
    """Run every revision that is missing; return the revision before and after.

    Raises:
        Transient: the database cannot be reached, or a lock could not be had in time.
        MigrationDenied: the user may not run one of them.
        StoreFault: a statement of a revision was refused for another reason.
    """
    try:
        with psycopg.connect(conninfo, autocommit=True) as guard:
            guard.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
            before = current(conninfo)
            _run_missing(conninfo)
    except psycopg.Error as error:
        raise _told(error) from None
    except DBAPIError as error:
        raise _told(error.orig) if isinstance(error.orig, psycopg.Error) else error from None
    return before, head()


def _told(error: psycopg.Error) -> Transient | StoreFault:
    return MigrationDenied(error) if isinstance(error, errors.InsufficientPrivilege) else translated(error)


def ensure_database(server_conninfo: str, name: str) -> None:
    """Create the database `name` on a server unless it is there.

    Raises:
        psycopg.Error: the server cannot be reached, or the role may not create databases.
    """
    with psycopg.connect(server_conninfo, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        if found is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _run_missing(conninfo: str) -> None:
    with _one_at_a_time, _connection(conninfo) as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


@contextmanager
def _connection(conninfo: str) -> Generator[Connection]:
    connect: Callable[[], Any] = lambda: psycopg.connect(conninfo, options=f"-c lock_timeout={LOCK_TIMEOUT}")  # noqa: E731
    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    with engine.connect() as connection:
        yield connection
