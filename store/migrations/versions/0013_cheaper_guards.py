"""The same guards at a third of their price: what they check is compiled once for a session, not by every statement."""

from store.migrations import run_sql

revision = "0013"
down_revision: str | None = "0012"


def upgrade() -> None:
    """Run the SQL file beside this revision; there is no way back but forward."""
    run_sql(__file__)
