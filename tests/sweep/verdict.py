"""Whether all is as it must be once the work is done, whoever was killed when."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString

from contracts.chain import verify
from store import chains, db
from store.db import PoolOptions
from tests.sweep import scenario
from tests.sweep.ground import Place

#: How everything stands in the end, whoever was killed when: a question to the database and its answer.
STANDING: Mapping[str, tuple[LiteralString, Sequence[tuple[Any, ...]]]] = {
    "payments by status, with their versions": (
        "SELECT status, version, count(*) FROM payments GROUP BY 1, 2 ORDER BY 1",
        [("cancelled", 2, 2), ("completed", 4, 2), ("pending_approval", 1, 1)],
    ),
    "messages by kind and outcome": (
        "SELECT consumer, outcome, outcome_code, count(*) FROM message_inbox GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        [
            ("ApprovePayment", "applied", None, 2),
            ("ApprovePayment", "refused", "amount_mismatch", 1),
            ("CancelPayment", "applied", None, 1),
            ("CreatePayment", "applied", None, 1),
            ("ExecutePayout", "applied", None, 2),
            ("ProcessPayment", "applied", None, 2),
            ("RejectPayment", "applied", None, 1),
            ("WorkCompleted", "applied", None, 4),
            ("WorkCompleted", "ignored", None, 1),
            ("WorkCompleted", "refused", "unsupported_currency", 1),
        ],
    ),
    "lines per payment": (
        "SELECT count(*), sum(total_cents) FROM payment_line_items GROUP BY payment_id ORDER BY 1",
        [(1, 15_000), (2, 15_000), (2, 15_000), (2, 15_000), (2, 15_000)],
    ),
    "attempts and transfers": (
        """
        SELECT attempt_no, state, made.amount_cents
        FROM payout_attempts FULL JOIN sandbox.transfers AS made USING (idempotency_key)
        """,
        [(1, "succeeded", 15_000)] * 2,
    ),
    "notes": ("SELECT note FROM payment_audit_notes ", [(note,) for note in scenario.NOTES]),
    "failures": ("SELECT queue, outcome, reason FROM message_failures", [("payments-commands", "invalid", "not_json")]),
    "outbox by destination": (
        "SELECT destination, count(*) AS rows, count(published_at) AS sent FROM outbox GROUP BY 1",
        [("approvals", 5, 5), ("bus", 15, 15), ("payouts", 4, 4)],
    ),
}


def findings(here: Place) -> list[str]:
    """Return what is not as it must be, each in words."""
    return [*_standing(here), *_chains(here), *_said(here)]


def _standing(here: Place) -> Iterator[str]:
    for what, (query, expected) in STANDING.items():
        found = [tuple(row.values()) for row in here.query(query)]
        if sorted(found, key=str) != sorted(expected, key=str):
            yield f"{what}:\n  {found}\ninstead of\n  {list(expected)}"


def _chains(here: Place) -> Iterator[str]:
    with db.open_pool(here.database_url, PoolOptions(size_min=1, size_max=1)) as pool, chains.snapshot(pool) as found:
        for chain in found:
            if breach := verify(chain):
                yield f"a broken chain: {breach}"


def _said(here: Place) -> Iterator[str]:
    """Compare what was written to the outbox with what has arrived: each thing at least once, under one id."""
    written = {row["id"] for row in here.query("SELECT event_id::text AS id FROM outbox WHERE destination = 'bus'")}
    taken = {entry["detail"]["eventId"] for entry in here.published()}
    if written != taken:
        yield f"written, but never announced: {written - taken}; announced, but not written: {taken - written}"
    payments = {str(row["payment_id"]) for row in here.query("SELECT payment_id FROM payments")}
    asked = {request["paymentId"] for request in here.approvals()}
    if asked != payments:
        yield f"approval was asked for of {asked}, and the payments are {payments}"
    reasons = {letter["MessageAttributes"]["Reason"]["StringValue"] for letter in here.taken_from("commands_dlq")}
    if reasons != {"not_json"}:
        yield f"dead letters because of {reasons}"
