"""Holds: who is paid lifts none, and no approval does; and who had sent what failed."""

from store.migrations import run_sql

revision = "0010"
down_revision: str | None = "0009"


def upgrade() -> None:
    """Run the SQL file beside this revision; there is no way back but forward."""
    run_sql(__file__)
