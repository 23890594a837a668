"""The auditor's own idea of a payment: its life, its ids, the hash of its history, and what each command may do to it.

Written from ARCHITECTURE.md and the published contracts, with no code of the product.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from tests.storm.manifest import Command

NAMESPACE = UUID("6f0d9a52-0b8e-5b5e-9d0c-2f1f6f7f3b11")
INTAKE = "00000000-0000-4000-8000-00000000a001"
PAYOUTS = "00000000-0000-4000-8000-00000000a002"

#: Every step of a history: (status before, action) to (status after, the event that tells of it).
STEPS: Mapping[tuple[str | None, str], tuple[str, str]] = {
    (None, "created"): ("pending_approval", "PaymentCreated"),
    ("pending_approval", "approved"): ("approved", "PaymentApproved"),
    ("pending_approval", "rejected"): ("cancelled", "PaymentCancelled"),
    ("pending_approval", "cancelled"): ("cancelled", "PaymentCancelled"),
    ("approved", "cancelled"): ("cancelled", "PaymentCancelled"),
    ("approved", "processing_started"): ("processing", "PaymentProcessing"),
    ("processing", "payout_unknown"): ("processing", "PaymentProcessing"),
    ("processing", "attempt_failed"): ("processing", "PaymentAttemptFailed"),
    ("processing", "attempt_opened"): ("processing", "PaymentProcessing"),
    ("processing", "payout_succeeded"): ("completed", "PaymentCompleted"),
    ("processing", "payout_failed"): ("failed", "PaymentFailed"),
    ("completed", "reversed"): ("completed", "PaymentReversed"),
    ("completed", "settlement_changed"): ("completed", ""),
}
#: Which event tells of a settlement, by how far it has come.
SETTLEMENTS: Mapping[str, str] = {
    "in_transit": "VendorPayoutInTransit",
    "paid": "VendorPayoutPaid",
    "failed": "VendorPayoutFailed",
}
#: What opens a payout attempt, and what leaves one to be looked up again.
OPENINGS = frozenset({"processing_started", "attempt_opened"})
#: Why an attempt may come to nothing while its payment goes on; any other failure is the payment's.
CAME_TO_NOTHING = frozenset({"balance_insufficient", "not_executed"})
#: Which kind of message an action follows from.
CAUSES: Mapping[str, frozenset[str]] = {
    "created": frozenset({"WorkCompleted", "CreatePayment"}),
    "approved": frozenset({"ApprovePayment"}),
    "rejected": frozenset({"RejectPayment"}),
    "cancelled": frozenset({"CancelPayment"}),
    "processing_started": frozenset({"ProcessPayment"}),
    "attempt_opened": frozenset({"ProcessPayment"}),
    "attempt_failed": frozenset({"ExecutePayout", "ReconcileAttempt"}),
    "payout_unknown": frozenset({"ExecutePayout", "ReconcileAttempt"}),
    "payout_succeeded": frozenset({"ExecutePayout", "ReconcileAttempt", "ProviderEvent"}),
    "payout_failed": frozenset({"ExecutePayout", "ReconcileAttempt"}),
    "reversed": frozenset({"ExecutePayout", "ReconcileAttempt", "ProviderEvent"}),
    "settlement_changed": frozenset({"ReconcileAttempt"}),
}
#: What one look at the provider may tell at once: further effects of the same message, each one version on.
FOLLOWS: Mapping[str, frozenset[str]] = {
    "payout_succeeded": frozenset({"reversed", "settlement_changed"}),
    "reversed": frozenset({"settlement_changed"}),
}
APPLIED, IGNORED = "applied", "ignored"


def derived(*parts: object) -> str:
    """Return the id that follows from some parts."""
    return str(uuid5(NAMESPACE, ":".join(map(str, parts))))


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the audit log."""

    seq: int
    action: str
    actor: str
    actor_type: str
    before: str | None
    after: str
    key: str
    data: Any
    note_digest: bytes | None
    prev_hash: bytes | None
    entry_hash: bytes
    at: datetime


@dataclass(frozen=True, slots=True)
class Paid:
    """One payment as the database has it, with its history."""

    id: str
    incident: str
    vendor: str
    company: str | None
    payer_type: str
    amount: int
    currency: str
    status: str
    source: str
    creator: str
    version: int
    head: bytes | None
    reversed: int
    rows: Sequence[Row]

    def status_at(self, version: int) -> str | None:
        """Return the status at a version, None where there was none like it."""
        return self.rows[version - 1].after if 0 < version <= len(self.rows) else None

    def approver_at(self, version: int) -> str | None:
        """Return who had approved it by then."""
        return next((row.actor for row in self.rows[:version] if row.action == "approved"), None)

    def first(self, *actions: str) -> Row | None:
        """Return the first row of some action."""
        return next((row for row in self.rows if row.action in actions), None)

    def between_attempts(self, version: int) -> bool:
        """Whether at a version the last attempt had come to nothing, and the next one was still to be opened."""
        return 0 < version <= len(self.rows) and self.rows[version - 1].action == "attempt_failed"


def told_by(row: Row) -> str:
    """Return the kind of the event that tells of a row."""
    if row.action == "settlement_changed":
        return SETTLEMENTS.get(row.data.get("settlement"), "")
    return STEPS.get((row.before, row.action), ("", ""))[1]


def account_of(vendor: str) -> str:
    """Return the account of a vendor that has registered none."""
    return f"acct_{vendor.replace('-', '')}"


def hash_of(payment: Paid, row: Row) -> bytes:
    """Return the hash that a row must have: SHA-256 over canonical JSON of what it says, the money, the hash before."""
    return _digest(
        {
            "hash_version": 1,
            "payment_id": payment.id,
            "seq": row.seq,
            "action": row.action,
            "actor_id": row.actor,
            "actor_type": row.actor_type,
            "previous_status": row.before,
            "new_status": row.after,
            "amount_cents": payment.amount,
            "currency": payment.currency,
            "message_key": row.key,
            "data": _digest(row.data).hex(),
            "note_digest": row.note_digest.hex() if row.note_digest else None,
            "timestamp": row.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "prev_hash": row.prev_hash.hex() if row.prev_hash else None,
        }
    )


def _digest(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).digest()


def verdict(command: Command, payment: Paid | None, version: int) -> str:
    """Return how a command must end that meets a payment at a version: applied, ignored, or a refusal's code."""
    if command.actor.type == "system":
        return "unauthenticated"
    if _role(command) is None:  # nobody, who is turned away before anything else of the command is looked at
        return "forbidden_role"
    if command.refusal:
        return command.refusal
    if command.amount is None or command.currency is None:
        return "invalid_field"
    if payment is None:
        return "not_found"
    return _denied(command, payment) or _stale(command, payment, version) or _met(command, payment, version)


def _denied(command: Command, payment: Paid) -> str | None:
    role = _role(command)
    if role not in {"dispatcher", "admin"}:
        return "forbidden_role"
    if role == "dispatcher" and (payment.company is None or command.actor.company != payment.company):
        return "wrong_company"
    return None


def _role(command: Command) -> str | None:
    return command.actor.role or ("admin" if command.actor.type == "admin" else None)


def _stale(command: Command, payment: Paid, version: int) -> str | None:
    if (command.amount, command.currency) != (payment.amount, payment.currency):
        return "amount_mismatch"
    return "version_conflict" if command.version not in {None, version} else None


def _met(command: Command, payment: Paid, version: int) -> str:
    status = payment.status_at(version)
    if command.kind == "ProcessPayment":
        own = status == "approved" and command.actor.id == payment.vendor
        return "self_approval" if own else processed(payment, version)
    if command.kind == "ApprovePayment":
        return _approved(command, payment, version, status)
    wanted = {"RejectPayment": {"pending_approval"}, "CancelPayment": {"pending_approval", "approved"}}[command.kind]
    if status in wanted:
        return APPLIED
    return "already_decided" if status == "cancelled" else "illegal_transition"


def _approved(command: Command, payment: Paid, version: int, status: str | None) -> str:
    if status == "pending_approval":
        return "self_approval" if command.actor.id in {payment.creator, payment.vendor} else APPLIED
    if status == "cancelled":
        return "illegal_transition"
    return IGNORED if payment.approver_at(version) == command.actor.id else "already_decided"


def processed(payment: Paid, version: int, *, own: bool = False) -> str:
    """Return how an order to pay out must end that meets a payment at a version; the service's `own` opens the next
    attempt where the last one came to nothing."""
    if payment.status_at(version) != "approved" and not (own and payment.between_attempts(version)):
        return "illegal_transition"
    return "payer_not_chargeable" if payment.payer_type == "driver_ic" else APPLIED
