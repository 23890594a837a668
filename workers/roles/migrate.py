"""Brings the database to this release's schema."""

from workers.connections import database_conninfo
from workers.settings import Settings


def run_migrate(settings: Settings) -> tuple[str | None, str]:
    """Bring the database to this release's schema; return the revision before and after."""
    from store import migrate  # noqa: PLC0415 - Alembic and SQLAlchemy: a third of the start of every command that does without

    return migrate.upgrade(database_conninfo(settings))
