"""What the fleet says of itself: what the monitor writes down at each look, and what the status page shows.

Counts and ages only; no id, no name, no amount: whoever sees the page needs no sign-in.
"""

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True)


class Depth(_Said):
    """How many messages a queue holds, approximately, as Amazon SQS says."""

    visible: int
    in_flight: int
    delayed: int
    looked_at: datetime | None = None
    """When the queue was asked, by the monitor's clock."""


class Waiting(_Said):
    """How many of something wait, and the age of the oldest in seconds; 0 where none does."""

    count: int
    oldest_age_s: float


class Snapshot(_Said):
    """One look of the monitor. What it could not find out is absent, never zero.

    Attributes:
        queues: by queue, then by `main` and `dlq`.
        pending: payments that wait for approval, by payer type.
        outbox: rows that are due and not yet sent.
        outbox_rejected: rows that nobody will ever take.
        unknown_payouts: payout attempts of unknown outcome, by provider.
        payouts_waiting: payments that are to be paid out and are not, by why.
        payments: how many payments there are, by status.
        failures: failed payments by failure code.
        counted_at: when payments and failures were counted, which is done less often.
        message_failures: messages that failed within the last day, by outcome and reason.
        broken_chains: payments whose audit chain is broken, by the last verification.
        verified_at: when all audit chains were last verified.
        violations: rows that break an invariant, by invariant.
        checked_at: when the invariants were last checked.
        waiting_at: when what waits was last looked at with success, by what was looked for; by the monitor's clock.
    """

    queues: Mapping[str, Mapping[str, Depth]] = {}
    pending: Mapping[str, Waiting] | None = None
    outbox: Waiting | None = None
    outbox_rejected: int | None = None
    unknown_payouts: Mapping[str, Waiting] | None = None
    payouts_waiting: Mapping[str, Waiting] | None = None
    payments: Mapping[str, int] | None = None
    failures: Mapping[str, int] | None = None
    counted_at: datetime | None = None
    message_failures: Mapping[str, Mapping[str, int]] | None = None
    broken_chains: int | None = None
    verified_at: datetime | None = None
    violations: Mapping[str, int] | None = None
    checked_at: datetime | None = None
    waiting_at: Mapping[str, datetime] = {}
