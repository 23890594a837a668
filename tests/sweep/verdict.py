"""Whether all is as it must be once the work is done, whoever was killed when."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, LiteralString

from contracts.chain import verify
from store import chains, db
from store.db import PoolOptions
from tests.storm.auditor import audit
from tests.storm.driver import INBOUND
from tests.storm.evidence import Gathered
from tests.sweep import scenario
from tests.sweep.ground import PROFILE, Place

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
            ("ApprovePayment", "refused", "wrong_company", 1),
            ("CancelPayment", "applied", None, 1),
            ("CreatePayment", "applied", None, 1),
            ("ExecutePayout", "applied", None, 2),
            ("MembershipChanged", "applied", None, 2),
            ("ProcessPayment", "applied", None, 2),
            ("RejectPayment", "applied", None, 1),
            ("SetApprovalPolicy", "applied", None, 1),
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
    "approvals": ("SELECT level, role FROM payment_approvals", [(1, "dispatcher")] * 2),
    "policies": ("SELECT version, separate_releaser FROM approval_policies", [(1, False)]),
    "access on record": (
        "SELECT operation, decision, code FROM access_audit",
        [
            ("ApprovePayment", "denied", "wrong_company"),
            ("MembershipChanged", "allowed", None),
            ("MembershipChanged", "allowed", None),
            ("SetApprovalPolicy", "allowed", None),
        ],
    ),
    "notes": ("SELECT note FROM payment_audit_notes ", [(note,) for note in scenario.NOTES]),
    "failures": ("SELECT queue, outcome, reason FROM message_failures", [("payments-commands", "invalid", "not_json")]),
    "outbox by destination": (
        "SELECT destination, count(*) AS rows, count(published_at) AS sent FROM outbox GROUP BY 1",
        [("approvals", 5, 5), ("bus", 16, 16), ("payouts", 4, 4)],
    ),
}


def findings(here: Place) -> list[str]:
    """Return what is not as it must be, each in words: how everything stands, the chains, and the auditor's rules."""
    return [*_standing(here), *_chains(here), *_audited(here)]


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


def _audited(here: Place) -> Iterator[str]:
    """Let the storm's auditor compare what was sent with what has come of it."""
    evidence = Gathered(
        published=iter(here.published()),
        approvals=[{"body": message["Body"]} for message in here.taken_from("approvals")],
        dead_letters=[letter for name in INBOUND for letter in _letters(here, name)],
        left={},  # `await_drained` has seen to it
    )
    not_yet = timedelta(seconds=float(PROFILE["PAYMENTS_NOT_YET_S"]))
    for rule, subject, text in audit(here.database_url, scenario.manifest(), evidence, not_yet=not_yet)[1]:
        yield f"{rule}: {subject}: {text}"


def _letters(here: Place, name: str) -> Iterator[dict[str, Any]]:
    for letter in here.taken_from(f"{name}_dlq"):
        yield {
            "queue": name,
            "message_id": letter["MessageId"],
            "body": letter["Body"],
            "attributes": {key: value.get("StringValue") for key, value in letter.get("MessageAttributes", {}).items()},
            "receive_count": int(letter["Attributes"]["ApproximateReceiveCount"]),
        }
