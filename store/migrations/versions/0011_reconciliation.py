"""Payouts that are looked after: next attempts, vendors' accounts, reversals, settlements, the sweep."""

from store.migrations import run_sql

revision = "0011"
down_revision: str | None = "0010"


def upgrade() -> None:
    """Run the SQL file beside this revision; there is no way back but forward."""
    run_sql(__file__)
