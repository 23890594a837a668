"""The only reading of the wall clock: intervals, leases, metrics. Business time is the database's."""

import random
import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the wall clock's time, aware, in UTC."""
    return datetime.now(UTC)


def nanoseconds() -> int:
    """Return the wall clock's time in nanoseconds since the epoch, for spans."""
    return time.time_ns()


def monotonic() -> float:
    """Return seconds of a clock that never goes back, for intervals."""
    return time.monotonic()


def from_milliseconds(text: str) -> datetime:
    """Return the time that SQS writes as milliseconds since the epoch (`SentTimestamp`)."""
    return datetime.fromtimestamp(int(text) / 1000, UTC)


def jittered(seconds: float, share: float) -> float:
    """Return a duration made longer or shorter by up to a share of it, so that processes do not march in step."""
    return seconds * random.uniform(1 - share, 1 + share)  # noqa: S311 - spreads load, guards nothing


def early(seconds: float, share: float) -> float:
    """Return a duration made shorter by up to a share of it: what must not be late is rather done too soon."""
    return seconds * random.uniform(1 - share, 1)  # noqa: S311 - spreads load, guards nothing


def between(low: float, high: float) -> float:
    """Return a duration somewhere between two."""
    return random.uniform(low, high)  # noqa: S311 - spreads load, guards nothing


def sleep(seconds: float) -> None:
    """Do nothing for a while; what can be waited for is waited for instead."""
    time.sleep(seconds)
