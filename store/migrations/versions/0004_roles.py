"""Database roles with least grants."""

from store.migrations import run_sql

revision = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    """Run the SQL file beside this revision; there is no way back but forward."""
    run_sql(__file__)
