"""What a session asks for every message it asks by an index, also where it began on an empty database."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from store import db
from store.db import Pool, PoolOptions
from tests.kit import messages as m
from tests.kit.funnel import once, rows

#: More than the executions after which Postgres settles for one plan of a prepared statement (five).
MESSAGES = 12
_SCANS = """
SELECT relname AS name, seq_scan AS scans FROM pg_stat_user_tables
WHERE relname IN ('payments', 'payment_line_items', 'payment_audit_log', 'message_inbox', 'outbox') AND seq_scan > 0
"""


@pytest.fixture
def session(database_url: str) -> Iterator[Pool]:
    """A pool of one session."""
    with db.open_pool(database_url, PoolOptions(size_min=1, size_max=1)) as found:
        yield found


def scans(session: Pool) -> dict[str, int]:
    """The tables that the session has read whole, and how often."""
    rows(session, "SELECT pg_stat_force_next_flush()")
    return {row["name"]: row["scans"] for row in rows(session, _SCANS)}


def test_work_is_found_and_guarded_without_reading_a_table(session: Pool):
    for _ in range(MESSAGES):
        once(session, m.parsed(m.work(eventId=str(uuid4()), incidentId=str(uuid4()))))
    assert scans(session) == {}
    rows(session, "SELECT count(*) AS n FROM payments")
    assert scans(session) == {"payments": 1}, "and it would have been seen"
