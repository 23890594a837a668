"""Memberships, and who was let in or turned away."""

from store.migrations import run_sql

revision = "0008"
down_revision: str | None = "0007"


def upgrade() -> None:
    """Run the SQL file beside this revision; there is no way back but forward."""
    run_sql(__file__)
