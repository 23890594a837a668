"""The life of a payment: THE state machine. What is absent from these tables is refused.

The database refuses the same moves a second time; the grid of all of them stands in
`tests/contracts/lifecycle.golden.txt`, the chart in ARCHITECTURE.md.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from contracts.refusals import Refusal


class Status(StrEnum):
    """Where a payment stands. Partial approval, hold, review and settlement are columns, never statuses."""

    PENDING_APPROVAL = "pending_approval"
    APPROVED = "approved"
    PROCESSING = "processing"
    COMPLETED = "completed"  # the provider accepted the movement; bank settlement comes later
    FAILED = "failed"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What can happen to a payment; also the action in the audit log."""

    CREATED = "created"
    APPROVAL_RECORDED = "approval_recorded"
    APPROVED = "approved"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    HELD = "held"
    HOLD_RELEASED = "hold_released"
    PROCESSING_STARTED = "processing_started"
    PAYOUT_SUCCEEDED = "payout_succeeded"
    PAYOUT_FAILED = "payout_failed"
    PAYOUT_UNKNOWN = "payout_unknown"
    ATTEMPT_FAILED = "attempt_failed"  # and the payment goes on: the next attempt may succeed
    ATTEMPT_OPENED = "attempt_opened"
    REVERSED = "reversed"
    SETTLEMENT_CHANGED = "settlement_changed"
    RETRIED = "retried"


INITIAL = Status.PENDING_APPROVAL
TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})

#: Every change of status.
MOVES: Mapping[tuple[Status, Event], Status] = MappingProxyType(
    {
        (Status.PENDING_APPROVAL, Event.APPROVED): Status.APPROVED,
        (Status.PENDING_APPROVAL, Event.REJECTED): Status.CANCELLED,
        (Status.PENDING_APPROVAL, Event.CANCELLED): Status.CANCELLED,
        (Status.APPROVED, Event.CANCELLED): Status.CANCELLED,
        (Status.APPROVED, Event.PROCESSING_STARTED): Status.PROCESSING,
        (Status.PROCESSING, Event.PAYOUT_SUCCEEDED): Status.COMPLETED,
        (Status.PROCESSING, Event.PAYOUT_FAILED): Status.FAILED,
        (Status.FAILED, Event.RETRIED): Status.PROCESSING,  # only by RetryPayment, off by default
    }
)

#: What changes the payment's row, and so its version, but keeps its status.
RECORDS = frozenset(
    {
        (Status.PENDING_APPROVAL, Event.APPROVAL_RECORDED),
        (Status.PENDING_APPROVAL, Event.HELD),
        (Status.PENDING_APPROVAL, Event.HOLD_RELEASED),
        (Status.APPROVED, Event.HELD),
        (Status.APPROVED, Event.HOLD_RELEASED),
        (Status.PROCESSING, Event.PAYOUT_UNKNOWN),
        (Status.PROCESSING, Event.ATTEMPT_FAILED),
        (Status.PROCESSING, Event.ATTEMPT_OPENED),
        (Status.COMPLETED, Event.REVERSED),
        (Status.COMPLETED, Event.SETTLEMENT_CHANGED),
    }
)

#: Late or repeated facts that are already true and change nothing.
ABSORBED = frozenset(
    {
        (Status.COMPLETED, Event.PAYOUT_SUCCEEDED),
        (Status.COMPLETED, Event.PAYOUT_UNKNOWN),
        (Status.FAILED, Event.PAYOUT_FAILED),
        (Status.FAILED, Event.PAYOUT_UNKNOWN),
    }
)


class Verdict(StrEnum):
    """What the tables say about an event that does not change the status."""

    RECORD = "record"
    ABSORB = "absorb"


def next_status(status: Status, event: Event) -> Status | Verdict | Refusal:
    """Return the status that `event` leads to, what else the tables allow, or ILLEGAL_TRANSITION."""
    if (moved := MOVES.get((status, event))) is not None:
        return moved
    if (status, event) in RECORDS:
        return Verdict.RECORD
    return Verdict.ABSORB if (status, event) in ABSORBED else Refusal.ILLEGAL_TRANSITION


def grid() -> str:
    """Return the whole Status x Event table as text, refusals included, one line per pair."""
    lines = [f"{'status':<17} {'event':<19} verdict"]
    for status in Status:
        for event in Event:
            verdict = next_status(status, event)
            arrow = f"-> {verdict}" if isinstance(verdict, Status) else "." if isinstance(verdict, Refusal) else verdict
            lines.append(f"{status:<17} {event:<19} {arrow}")
    return "\n".join(lines) + "\n"


def chart() -> str:
    """Return the state chart as a mermaid diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {INITIAL}: {Event.CREATED}"]
    lines += [f"    {status} --> {to}: {event}" for (status, event), to in MOVES.items()]
    lines += [f"    {status} --> {status}: {event}" for status, event in sorted(RECORDS)]
    lines += [f"    {status} --> [*]" for status in Status if status in TERMINAL]
    return "\n".join(lines) + "\n"
