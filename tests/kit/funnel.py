"""The funnel in tests: process a message, or process it twice and demand that the second pass changes nothing."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.ids import as_uuid
from contracts.inbound import Parsed
from contracts.outcome import Outcome
from contracts.provider import Answer, Told, TransferSeen
from handlers.apply import Result
from handlers.decision import Rules
from handlers.process import process
from store.db import Pool, reading
from tests.kit.proofs import SENDERS, enrol, proof_of

#: Of messages that were sent at a fixed time, whenever the tests run.
RULES = Rules(provider="sandbox", command_age=timedelta(days=36_500), senders=SENDERS)
TABLES = (
    "payments",
    "payment_line_items",
    "payment_audit_log",
    "payment_audit_notes",
    "payment_approvals",
    "payout_attempts",
    "approval_policies",
    "memberships",
    "payout_reversals",
    "vendor_accounts",
    "access_audit",
    "message_inbox",
    "outbox",
    "message_failures",
)


def fresh(parsed: Parsed) -> Parsed:
    """The same message, first sent just now by the clock that the database has."""
    return dataclasses.replace(parsed, cause=dataclasses.replace(parsed.cause, sent_at=datetime.now(UTC)))


def once(pool: Pool, parsed: Parsed, said: Answer | Told | None = None, rules: Rules = RULES) -> Result:
    """Process a message, the word of its actor, who is a member as it says; the provider has said this."""
    enrol(pool, parsed.message)
    return _processed(pool, parsed, said, rules)


def _processed(pool: Pool, parsed: Parsed, said: Answer | Told | None, rules: Rules) -> Result:
    told = said if isinstance(said, Told) else Told(said)
    return process(pool, about(parsed, told), rules, proof_of(parsed), told)


def about(parsed: Parsed, told: Told) -> Parsed:
    """The message with the payment that its object at the provider belongs to, as a worker finds it out."""
    found = as_uuid(told.seen.transfer_group) if isinstance(told.seen, TransferSeen) else None
    return dataclasses.replace(parsed, cause=dataclasses.replace(parsed.cause, about=found))


def twice(pool: Pool, parsed: Parsed, said: Answer | Told | None = None, rules: Rules = RULES) -> Result:
    """Process a message twice; the second pass must be a duplicate that leaves every row as it is."""
    first = once(pool, parsed, said, rules)
    before = snapshot(pool)
    second = _processed(pool, parsed, said, rules)
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
