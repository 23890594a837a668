"""Triggers: the database refuses what the code forbids."""

from store.migrations import run_sql

revision = "0006"
down_revision: str | None = "0005"


def upgrade() -> None:
    """Run the SQL file beside this revision; there is no way back but forward."""
    run_sql(__file__)
