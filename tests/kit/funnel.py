"""The funnel in tests: process a message, or process it twice and demand that the second pass changes nothing."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

from contracts.inbound import Parsed
from contracts.outcome import Outcome
from contracts.provider import Answer
from handlers.apply import Result
from handlers.decision import Rules
from handlers.process import process
from store.db import Pool, reading

RULES = Rules(provider="sandbox")
TABLES = (
    "payments",
    "payment_line_items",
    "payment_audit_log",
    "payment_audit_notes",
    "payout_attempts",
    "message_inbox",
    "outbox",
    "message_failures",
)


def fresh(parsed: Parsed) -> Parsed:
    """The same message, first sent just now by the clock that the database has."""
    return dataclasses.replace(parsed, cause=dataclasses.replace(parsed.cause, sent_at=datetime.now(UTC)))


def once(pool: Pool, parsed: Parsed, answer: Answer | None = None, rules: Rules = RULES) -> Result:
    """Process a message."""
    return process(pool, parsed, rules, answer)


def twice(pool: Pool, parsed: Parsed, answer: Answer | None = None, rules: Rules = RULES) -> Result:
    """Process a message twice; the second pass must be a duplicate that leaves every row as it is."""
    first = process(pool, parsed, rules, answer)
    before = snapshot(pool)
    second = process(pool, parsed, rules, answer)
    assert second.outcome is Outcome.DUPLICATE, second
    assert snapshot(pool) == before
    return first


def snapshot(pool: Pool) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    return {table: rows(pool, f"SELECT * FROM {table} ORDER BY 1") for table in TABLES}


def rows(pool: Pool, query: str, *values: Any) -> list[dict[str, Any]]:
    """The rows of a query."""
    with reading(pool) as connection:
        return list(connection.execute(query, values or None))
