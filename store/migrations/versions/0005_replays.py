"""Replays of failed messages, audited."""

from store.migrations import run_sql

revision = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    """Run the SQL file beside this revision; there is no way back but forward."""
    run_sql(__file__)
