"""Inbox, outbox and message failures."""

from store.migrations import run_sql

revision = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Run the SQL file beside this revision; there is no way back but forward."""
    run_sql(__file__)
