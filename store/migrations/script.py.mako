"""${message}."""

from store.migrations import run_sql

revision = "${up_revision}"
down_revision: str | None = "${down_revision}"


def upgrade() -> None:
    """Run the SQL file beside this revision; there is no way back but forward."""
    run_sql(__file__)
