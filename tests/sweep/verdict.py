"""Whether all is as it must be once the work is done, whoever was killed when."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, LiteralString

from contracts.chain import verify
from store import chains, db
from store.db import PoolOptions
from tests.kit import books
from tests.storm.auditor import audit
from tests.storm.driver import INBOUND
from tests.storm.evidence import SOURCE, Gathered
from tests.sweep import scenario
from tests.sweep.bank import BACK_CENTS, LOST, SHORT
from tests.sweep.ground import PROFILE, Place

#: How everything stands in the end, whoever was killed when: a question to the database and its answer.
STANDING: Mapping[str, tuple[LiteralString, Sequence[tuple[Any, ...]]]] = {
    "payments by status": (
        "SELECT status, count(*) FROM payments GROUP BY 1 ORDER BY 1",
        [("cancelled", 2), ("completed", 4), ("pending_approval", 1)],
    ),
    # The provider's answer and its event tell the same, and so does each further look: any of them may be the first.
    # What the sweep orders once more, while the first order is under way, is refused; the auditor judges that.
    "messages by kind and outcome": (
        """
        SELECT consumer, CASE WHEN consumer NOT IN ('ExecutePayout', 'ProviderEvent') THEN outcome END,
            outcome_code, count(*)
        FROM message_inbox
        WHERE consumer <> 'ReconcileAttempt' AND (consumer, outcome) <> ('ProcessPayment', 'refused') GROUP BY 1, 2, 3
        """,
        [
            ("ApprovePayment", "applied", None, 4),
            ("ApprovePayment", "refused", "amount_mismatch", 1),
            ("ApprovePayment", "refused", "wrong_company", 1),
            ("CancelPayment", "applied", None, 1),
            ("CreatePayment", "applied", None, 1),
            ("ExecutePayout", None, None, 5),
            ("MembershipChanged", "applied", None, 2),
            ("ProcessPayment", "applied", None, 5),
            ("ProviderEvent", None, None, 7),
            ("RejectPayment", "applied", None, 1),
            ("SetApprovalPolicy", "applied", None, 1),
            ("VendorAccountChanged", "applied", None, 2),
            ("WorkCompleted", "applied", None, 6),
            ("WorkCompleted", "ignored", None, 1),
            ("WorkCompleted", "refused", "unsupported_currency", 1),
        ],
    ),
    "lines per payment": (
        "SELECT count(*), sum(total_cents) FROM payment_line_items GROUP BY payment_id ORDER BY 1",
        [(1, 15_000), *[(2, 15_000)] * 6],
    ),
    "attempts": (
        "SELECT currency, attempt_no, state, failure_code FROM payout_attempts",
        [
            *[("USD", 1, "succeeded", None)] * 2,
            (SHORT, 1, "failed", "balance_insufficient"),
            (SHORT, 2, "succeeded", None),
            (LOST, 1, "succeeded", None),
        ],
    ),
    "what became of the money": (
        "SELECT currency, amount_reversed_cents, settlement_status FROM payments WHERE status = 'completed'",
        [*[("USD", 0, "none")] * 2, (SHORT, BACK_CENTS, "none"), (LOST, 0, "paid")],
    ),
    "reversals": ("SELECT amount_cents FROM payout_reversals", [(BACK_CENTS,)]),
    "accounts": (
        "SELECT account_id, held_until IS NULL FROM vendor_accounts",
        [("acct_new", True), ("acct_other", False)],
    ),
    "approvals": ("SELECT level, role FROM payment_approvals", [(1, "dispatcher")] * 4),
    "policies": ("SELECT version, separate_releaser FROM approval_policies", [(1, False)]),
    "access on record": (
        "SELECT operation, decision, code FROM access_audit",
        [
            ("ApprovePayment", "denied", "wrong_company"),
            ("MembershipChanged", "allowed", None),
            ("MembershipChanged", "allowed", None),
            ("SetApprovalPolicy", "allowed", None),
            *[("VendorAccountChanged", "allowed", None)] * 2,
        ],
    ),
    "notes": ("SELECT note FROM payment_audit_notes ", [(note,) for note in scenario.NOTES]),
    "failures": ("SELECT queue, outcome, reason FROM message_failures", [("payments-commands", "invalid", "not_json")]),
    "outbox": ("SELECT count(*) FROM outbox WHERE published_at IS NULL", [(0,)]),
    # An order to pay for each approval, one to execute for each attempt, one to look for each event of the settlement.
    "looks that were asked for": ("SELECT posted_at IS NULL FROM reconcile_requests", [(False,)]),
    "orders to ourselves": (
        "SELECT destination, detail_type, count(*) FROM outbox WHERE destination <> 'bus' GROUP BY 1, 2",
        [
            ("approvals", "ApprovalRequest", 7),
            ("payouts", "ProcessPayment", 4),
            ("payouts", "ExecutePayout", 5),
            ("payouts", "ReconcileAttempt", 2),
        ],
    ),
}
#: What the provider has moved: by currency, with what came back.
MOVED = [("USD", 15_000, 0)] * 2 + [(SHORT, 15_000, BACK_CENTS), (LOST, 15_000, 0)]


def findings(here: Place) -> list[str]:
    """Return what is not as it must be, each in words: how everything stands, the chains, and the auditor's rules."""
    return [*_standing(here), *_moved(here), *_chains(here), *_audited(here)]


def _standing(here: Place) -> Iterator[str]:
    for what, (query, expected) in STANDING.items():
        found = [tuple(row.values()) for row in here.query(query)]
        if sorted(found, key=str) != sorted(expected, key=str):
            yield f"{what}:\n  {found}\ninstead of\n  {list(expected)}"


def _moved(here: Place) -> Iterator[str]:
    found = [(made.currency, made.amount, made.reversed) for made in books.transfers(here.bank.url)]
    if sorted(found) != sorted(MOVED):
        yield f"transfers:\n  {found}\ninstead of\n  {MOVED}"


def _chains(here: Place) -> Iterator[str]:
    with db.open_pool(here.database_url, PoolOptions(size_min=1, size_max=1)) as pool, chains.snapshot(pool) as found:
        for chain in found:
            if breach := verify(chain):
                yield f"a broken chain: {breach}"


def _audited(here: Place) -> Iterator[str]:
    """Let the storm's auditor compare what was sent with what has come of it."""
    evidence = Gathered(
        published=(entry for entry in here.published() if entry["source"] == SOURCE),
        approvals=[{"body": message["Body"]} for message in here.taken_from("approvals")],
        dead_letters=[letter for name in INBOUND for letter in _letters(here, name)],
        left={},  # `await_drained` has seen to it
        transfers=books.transfers(here.bank.url),
        events=books.events(here.bank.url, scenario.SETTLED_ACCOUNT),
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
