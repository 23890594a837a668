"""Row-level security: what the read endpoint may see, decided by the database a second time."""

from store.migrations import run_sql

revision = "0009"
down_revision: str | None = "0008"


def upgrade() -> None:
    """Run the SQL file beside this revision; there is no way back but forward."""
    run_sql(__file__)
