"""Approval policies, approvals and holds."""

from store.migrations import run_sql

revision = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    """Run the SQL file beside this revision; there is no way back but forward."""
    run_sql(__file__)
