"""The only reading of the wall clock: intervals, leases, metrics. Business time is the database's."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the wall clock's time, aware, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds of a clock that never goes back, for intervals."""
    return time.monotonic()


def from_milliseconds(text: str) -> datetime:
    """Return the time that SQS writes as milliseconds since the epoch (`SentTimestamp`)."""
    return datetime.fromtimestamp(int(text) / 1000, UTC)
