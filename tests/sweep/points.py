"""Where a process is killed: at every step that it takes to the outside, before it, under way, and after it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """Which process is killed."""

    WORKER = "worker"
    RELAY = "relay"


class When(StrEnum):
    """On which side of the step.

    `sent` is the moment between: the request has left, nobody has waited for the answer, the outcome is unknown.
    """

    BEFORE = "before"
    SENT = "sent"
    AFTER = "after"


class Trouble(StrEnum):
    """What must go wrong so that a process takes the step at all."""

    NONE = "none"
    EARLY_COMMANDS = "early commands"  # decisions arrive before the work that they are about
    SLOW_PROVIDER = "slow provider"  # a look-up takes longer than half a lease
    BUS_AWAY = "bus away"  # the first PutEvents reaches nobody
    SWEEP_IN_VAIN = "sweep in vain"  # the first orders of the sweep reach nobody
    BUS_REFUSES = "bus refuses"  # the first entry of the first PutEvents is refused for good
    OLD_ROWS = "old rows"  # inbox and outbox hold rows that have had their use


#: The statements that a process sends, each by a pattern that no other one matches.
STATEMENTS: Mapping[str, str] = {
    "begin": r"BEGIN\b",
    "claim-message": r"INSERT INTO message_inbox\b",
    "find-known": r"SELECT fingerprint = .* FROM message_inbox\b",
    "settle-message": r"UPDATE message_inbox\b",
    "lock-payment": r"SELECT .* FROM payments\b.* FOR UPDATE",
    "find-attempt": r"SELECT attempt_id, .* FROM payout_attempts WHERE attempt_id\b",
    "insert-payment": r"INSERT INTO payments\b",
    "insert-lines": r"INSERT INTO payment_line_items\b",
    "change-payment": r"UPDATE payments\b",
    "open-attempt": r"INSERT INTO payout_attempts\b",
    "change-attempt": r"UPDATE payout_attempts SET state\b",
    "insert-reversals": r"INSERT INTO payout_reversals\b",
    "insert-account": r"INSERT INTO vendor_accounts\b",
    "change-account": r"UPDATE vendor_accounts\b",
    "insert-audit": r"INSERT INTO payment_audit_log\b",
    "insert-note": r"INSERT INTO payment_audit_notes\b",
    "insert-approval": r"INSERT INTO payment_approvals\b",
    "insert-access": r"INSERT INTO access_audit \(at,",
    "insert-membership": r"INSERT INTO memberships\b",
    "change-membership": r"UPDATE memberships\b",
    "insert-policy": r"INSERT INTO approval_policies\b",
    "insert-outbox": r"INSERT INTO outbox\b",
    "commit": r"COMMIT\b",
    "rollback": r"ROLLBACK\b",
    "record-failure": r"INSERT INTO message_failures\b",
    "ring": r"NOTIFY\b",
    "lease-rows": r"WITH due AS .* UPDATE outbox SET available_at\b",
    "mark-published": r"UPDATE outbox SET published_at\b",
    "postpone": r"UPDATE outbox SET available_at\b",
    "mark-failed": r"UPDATE outbox SET failed_at\b",
    "sweep-attempts": r"WITH due AS .* INSERT INTO swept\b",
    "sweep-payments": r"WITH found AS .* INSERT INTO swept\b",
    "put-back": r"DELETE FROM swept WHERE subject_id\b",
    "forget-swept": r"DELETE FROM swept WHERE posted_at\b",
    "mark-requested": r"UPDATE reconcile_requests\b",
    "prune-inbox": r"WITH old AS .* DELETE FROM message_inbox\b",
    "prune-outbox": r"DELETE FROM outbox\b",
}
_STATEMENTS = {name: re.compile(pattern) for name, pattern in STATEMENTS.items()}

#: The requests to AWS; a change of visibility has two steps, by who asks for it.
OPERATIONS: Mapping[str, str] = {
    "receive": "ReceiveMessage",
    "delete": "DeleteMessageBatch",
    "hide": "ChangeMessageVisibilityBatch",
    "renew-leases": "ChangeMessageVisibilityBatch",
    "copy-dead-letter": "SendMessage",
    "post": "SendMessageBatch",
    "put-events": "PutEvents",
}
#: The calls of the provider's port.
CALLS = ("look-up", "submit", "read-transfer", "read-payout")
#: The sweep's claims: a transaction that has claimed anything is about `…-due` from there on.
SWEEPS = frozenset({"sweep-attempts", "sweep-payments"})
#: What a message does to a payment that is told apart: its transaction is about that from there on.
TOLD_APART = frozenset({"attempt_failed", "attempt_opened", "reversed", "settlement_changed"})

#: Between BEGIN and COMMIT of a message: whatever was done there is gone with the process.
_INSIDE = frozenset(
    {
        "claim-message",
        "settle-message",
        "lock-payment",
        "insert-payment",
        "insert-lines",
        "change-payment",
        "open-attempt",
        "change-attempt",
        "insert-reversals",
        "insert-account",
        "change-account",
        "insert-audit",
        "insert-note",
        "insert-approval",
        "insert-access",
        "insert-membership",
        "change-membership",
        "insert-policy",
        "insert-outbox",
    }
)


@dataclass(frozen=True, slots=True)
class Point:
    """One place to be killed at.

    Attributes:
        when: on which side of the step.
        step: a name of STATEMENTS, OPERATIONS or CALLS.
        about: the message kind, the queue or the destination; empty for any. A message that was settled otherwise
            than `applied` has its outcome before its kind.
        role: whose step it is.
        hit: at which time of being there, so that a batch is cut in its middle.
        trouble: what must go wrong first.
    """

    when: When
    step: str
    about: str = ""
    role: Role = Role.WORKER
    hit: int = 1
    trouble: Trouble = field(default=Trouble.NONE, kw_only=True)

    @property
    def name(self) -> str:
        """The name that the test, the log and a person use."""
        about = f"-{self.about}" if self.about else ""
        hit = f"-{self.hit}" if self.hit > 1 else ""
        return f"{self.when}-{self.step}{about}{hit}"

    @property
    def committed(self) -> bool | None:
        """Whether the message at hand must be in the inbox after the kill; None where neither would be wrong."""
        if self.role is Role.WORKER and self.step == "commit" and self.when is not When.SENT:
            return self.when is When.AFTER
        return False if self.step in _INSIDE else None


def statement(query: str) -> str | None:
    """Return the name of the step that a statement is, or None for one that nobody is killed at."""
    text = " ".join(query.split())
    return next((name for name, pattern in _STATEMENTS.items() if pattern.match(text)), None)


_BEFORE, _SENT, _AFTER = When.BEFORE, When.SENT, When.AFTER
_RELAY = Role.RELAY

_RECEIVING = (
    Point(_BEFORE, "receive"),
    *(Point(_AFTER, "receive", queue) for queue in ("events", "commands", "payouts")),
)
_CREATION = (
    Point(_BEFORE, "begin"),
    Point(_BEFORE, "claim-message", "WorkCompleted"),
    Point(_AFTER, "claim-message", "WorkCompleted"),
    Point(_AFTER, "lock-payment", "WorkCompleted"),
    Point(_BEFORE, "insert-payment", "WorkCompleted"),
    Point(_AFTER, "insert-payment", "WorkCompleted"),
    Point(_AFTER, "insert-lines", "WorkCompleted"),
    Point(_AFTER, "insert-audit", "WorkCompleted"),
    Point(_AFTER, "insert-outbox", "WorkCompleted"),
    Point(_BEFORE, "commit", "WorkCompleted"),
    Point(_SENT, "commit", "WorkCompleted"),
    Point(_AFTER, "commit", "WorkCompleted"),
    Point(_AFTER, "commit", "WorkCompleted", hit=3),
    Point(_AFTER, "insert-outbox", "CreatePayment"),
    Point(_AFTER, "commit", "CreatePayment"),
)
_DECISION = (
    Point(_AFTER, "lock-payment", "ApprovePayment"),
    Point(_AFTER, "change-payment", "ApprovePayment"),
    Point(_AFTER, "insert-approval", "ApprovePayment"),
    Point(_AFTER, "insert-audit", "ApprovePayment"),
    Point(_AFTER, "insert-note", "ApprovePayment"),
    Point(_AFTER, "insert-outbox", "ApprovePayment"),
    Point(_BEFORE, "commit", "ApprovePayment"),
    Point(_SENT, "commit", "ApprovePayment"),
    Point(_AFTER, "commit", "ApprovePayment"),
    Point(_AFTER, "insert-outbox", "RejectPayment"),
    Point(_AFTER, "commit", "RejectPayment"),
    Point(_AFTER, "insert-outbox", "CancelPayment"),
    Point(_AFTER, "commit", "CancelPayment"),
)
_RIGHTS = (
    Point(_AFTER, "insert-membership", "MembershipChanged"),
    Point(_AFTER, "change-membership", "MembershipChanged"),
    Point(_AFTER, "commit", "MembershipChanged"),
    Point(_AFTER, "insert-policy", "SetApprovalPolicy"),
    Point(_AFTER, "insert-access", "SetApprovalPolicy"),
    Point(_AFTER, "commit", "SetApprovalPolicy"),
    Point(_AFTER, "insert-access", "ApprovePayment"),
    Point(_AFTER, "insert-account", "VendorAccountChanged"),
    Point(_AFTER, "change-account", "VendorAccountChanged"),
    Point(_BEFORE, "commit", "VendorAccountChanged"),
    Point(_AFTER, "commit", "VendorAccountChanged"),
)
_PAYOUT = (
    Point(_AFTER, "change-payment", "ProcessPayment"),
    Point(_BEFORE, "open-attempt", "ProcessPayment"),
    Point(_AFTER, "open-attempt", "ProcessPayment"),
    Point(_BEFORE, "commit", "ProcessPayment"),
    Point(_AFTER, "commit", "ProcessPayment"),
    Point(_AFTER, "find-attempt"),
    Point(_BEFORE, "look-up"),
    Point(_AFTER, "look-up"),
    Point(_BEFORE, "submit"),
    Point(_AFTER, "submit"),
    Point(_AFTER, "submit", hit=2),
    Point(_AFTER, "change-payment", "ExecutePayout"),
    Point(_AFTER, "change-attempt", "ExecutePayout"),
    Point(_AFTER, "insert-outbox", "ExecutePayout"),
    Point(_BEFORE, "commit", "ExecutePayout"),
    Point(_SENT, "commit", "ExecutePayout"),
    Point(_AFTER, "commit", "ExecutePayout"),
)
_NEXT_ATTEMPT = (
    Point(_AFTER, "insert-audit", "attempt_failed"),
    Point(_BEFORE, "commit", "attempt_failed"),
    Point(_SENT, "commit", "attempt_failed"),
    Point(_AFTER, "commit", "attempt_failed"),
    Point(_AFTER, "insert-outbox", "attempt_opened"),
    Point(_BEFORE, "commit", "attempt_opened"),
    Point(_SENT, "commit", "attempt_opened"),
    Point(_AFTER, "commit", "attempt_opened"),
)
_RECONCILING = (
    Point(_AFTER, "find-attempt", hit=5),
    Point(_AFTER, "change-attempt", "ReconcileAttempt"),
    Point(_BEFORE, "commit", "ReconcileAttempt"),
    Point(_SENT, "commit", "ReconcileAttempt"),
    Point(_AFTER, "commit", "ReconcileAttempt"),
    Point(_BEFORE, "read-transfer"),
    Point(_AFTER, "read-transfer"),
    Point(_AFTER, "read-transfer", hit=4),
    Point(_AFTER, "insert-reversals"),
    Point(_AFTER, "insert-audit", "reversed"),
    Point(_BEFORE, "commit", "reversed"),
    Point(_SENT, "commit", "reversed"),
    Point(_AFTER, "commit", "reversed"),
    Point(_BEFORE, "read-payout"),
    Point(_AFTER, "read-payout"),
    Point(_AFTER, "insert-outbox", "ProviderEvent"),
    Point(_BEFORE, "commit", "ProviderEvent"),
    Point(_SENT, "commit", "ProviderEvent"),
    Point(_AFTER, "commit", "ProviderEvent"),
    Point(_AFTER, "insert-audit", "settlement_changed"),
    Point(_AFTER, "commit", "settlement_changed"),
)
_OTHER_ENDS = (
    Point(_AFTER, "settle-message", "refused-ApprovePayment"),
    Point(_BEFORE, "commit", "refused-ApprovePayment"),
    Point(_AFTER, "commit", "refused-ApprovePayment"),
    Point(_AFTER, "commit", "refused-WorkCompleted"),
    Point(_AFTER, "commit", "ignored-WorkCompleted"),
    Point(_AFTER, "find-known", "WorkCompleted"),
    Point(_BEFORE, "rollback", "WorkCompleted"),
    Point(_AFTER, "rollback", "WorkCompleted"),
    Point(_BEFORE, "record-failure"),
    Point(_AFTER, "record-failure"),
    Point(_BEFORE, "copy-dead-letter"),
    Point(_AFTER, "copy-dead-letter"),
)
_SETTLING = (
    *(Point(when, "delete", queue) for queue in ("events", "commands", "payouts") for when in (_BEFORE, _AFTER)),
    Point(_BEFORE, "hide", "commands", trouble=Trouble.EARLY_COMMANDS),
    Point(_AFTER, "hide", "commands", trouble=Trouble.EARLY_COMMANDS),
    Point(_BEFORE, "renew-leases", "payouts", trouble=Trouble.SLOW_PROVIDER),
    Point(_AFTER, "renew-leases", "payouts", trouble=Trouble.SLOW_PROVIDER),
    Point(_BEFORE, "ring"),
    Point(_AFTER, "ring"),
)
_SENDING = (
    Point(_BEFORE, "lease-rows", "", _RELAY),
    Point(_SENT, "lease-rows", "", _RELAY),
    Point(_AFTER, "lease-rows", "", _RELAY),
    *(
        Point(when, step, about, _RELAY)
        for step, about in (
            ("put-events", ""),
            ("mark-published", "bus"),
            ("post", "approvals"),
            ("mark-published", "approvals"),
            ("post", "payouts"),
            ("mark-published", "payouts"),
        )
        for when in (_BEFORE, _AFTER)
    ),
    Point(_BEFORE, "postpone", "bus", _RELAY, trouble=Trouble.BUS_AWAY),
    Point(_AFTER, "postpone", "bus", _RELAY, trouble=Trouble.BUS_AWAY),
    # Not after it: such a row waits for a person.
    Point(_BEFORE, "mark-failed", "bus", _RELAY, trouble=Trouble.BUS_REFUSES),
)
_SWEEPING = (
    *(
        point
        for step in ("sweep-attempts", "sweep-payments")
        for point in (
            Point(_BEFORE, step, "", _RELAY),
            Point(_BEFORE, "commit", f"{step}-due", _RELAY),
            Point(_SENT, "commit", f"{step}-due", _RELAY),
            Point(_AFTER, "commit", f"{step}-due", _RELAY),
        )
    ),
    Point(_BEFORE, "post", "swept", _RELAY),
    Point(_AFTER, "post", "swept", _RELAY),
    Point(_BEFORE, "post", "swept", _RELAY, hit=2),
    Point(_AFTER, "post", "swept", _RELAY, hit=2),
    Point(_AFTER, "forget-swept", "", _RELAY),
    *(
        Point(when, step, "", _RELAY, trouble=trouble)
        for step, trouble in (("put-back", Trouble.SWEEP_IN_VAIN), ("mark-requested", Trouble.NONE))
        for when in (_BEFORE, _AFTER)
    ),
)
_PRUNING = (
    Point(_AFTER, "prune-inbox", "", _RELAY, trouble=Trouble.OLD_ROWS),
    Point(_BEFORE, "commit", "prune-inbox", _RELAY, trouble=Trouble.OLD_ROWS),
    Point(_AFTER, "commit", "prune-inbox", _RELAY, trouble=Trouble.OLD_ROWS),
    Point(_AFTER, "prune-outbox", "", _RELAY, trouble=Trouble.OLD_ROWS),
    Point(_AFTER, "commit", "prune-outbox", _RELAY, trouble=Trouble.OLD_ROWS),
)
POINTS = (
    *_RECEIVING,
    *_CREATION,
    *_DECISION,
    *_RIGHTS,
    *_PAYOUT,
    *_NEXT_ATTEMPT,
    *_RECONCILING,
    *_OTHER_ENDS,
    *_SETTLING,
    *_SENDING,
    *_SWEEPING,
    *_PRUNING,
)
