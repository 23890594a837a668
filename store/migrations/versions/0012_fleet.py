"""What the fleet says of itself: heartbeats, the monitor's snapshots, audit verifications, and traces in the outbox."""

from store.migrations import run_sql

revision = "0012"
down_revision: str | None = "0011"


def upgrade() -> None:
    """Run the SQL file beside this revision; there is no way back but forward."""
    run_sql(__file__)
