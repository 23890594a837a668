"""Payments, line items, audit log and audit notes."""

from store.migrations import run_sql

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Run the SQL file beside this revision; there is no way back but forward."""
    run_sql(__file__)
