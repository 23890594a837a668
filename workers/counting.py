"""What is counted of a message once it has ended: how, how long it took, and what it did to its payment."""

from contracts.envelope import Queue
from contracts.lifecycle import Event, Status
from contracts.outcome import Outcome
from contracts.refusals import DENIALS, Refusal
from contracts.values import dataclass
from handlers.apply import Result, Step
from workers import catalogue
from workers.catalogue import NO_KIND, NONE
from workers.metrics import Metrics

#: Why a message waits that has overtaken its payment.
NOT_YET = "not_yet"
#: Why a message waits whose token cannot be judged: the signing keys cannot be had.
KEYS_AWAY = "keys_away"
#: Why a message waits that the provider did not take.
PROVIDER_BUSY = "provider_busy"
#: Why a message is not even tried: the database, or the provider, has failed others and does not answer.
DATABASE_AWAY = "database_away"
PROVIDER_AWAY = "provider_away"

_PLACES = frozenset(catalogue.PLACES)
_ENDS = frozenset(catalogue.ENDS)
#: The words of the metric for why a message comes again.
_REASONS = {
    NOT_YET: "not_yet",
    KEYS_AWAY: "keys_away",
    PROVIDER_BUSY: "provider_busy",
    DATABASE_AWAY: "dependency_away",
    PROVIDER_AWAY: "dependency_away",
}
#: The events that decide about a payment that waits for approval, by the words of the metric.
_DECISIONS = {Event.APPROVED: "approved", Event.REJECTED: "rejected", Event.CANCELLED: "cancelled"}
#: A command that came to one of these was taken.
_ACCEPTED = frozenset({Outcome.APPLIED, Outcome.IGNORED})


@dataclass(frozen=True, slots=True)
class Ended:
    """A message that has been handled; times in seconds.

    Attributes:
        queue: where it came from.
        kind: its kind, as far as it could be read.
        outcome: how it ended.
        reason: why, as a code.
        result: what the funnel made of it, where it came so far.
        receive_count: how many times it had been received.
        wait_s: from its first sending to the beginning of its handling.
        critical_s: from its first sending to the end of its handling.
        handling_s: the time in the handler.
        trace_id: its trace, where it has one.
    """

    queue: Queue
    kind: str
    outcome: Outcome
    reason: str | None
    result: Result | None
    receive_count: int
    wait_s: float
    critical_s: float
    handling_s: float
    trace_id: str | None = None


def count(metrics: Metrics, ended: Ended) -> None:
    """Count a message, and what it did to its payment."""
    # A kind on a queue that is not its own is as good as none: labels are a closed set.
    kind = ended.kind if (ended.queue, ended.kind, ended.outcome) in _ENDS else NO_KIND
    labels = (ended.queue, kind, ended.outcome)
    metrics.inc(catalogue.PROCESSED, *labels)
    metrics.observe(catalogue.WAIT, ended.wait_s, *labels)
    metrics.observe(catalogue.CRITICAL_TIME, ended.critical_s, *labels)
    metrics.observe(catalogue.PROCESSING, ended.handling_s, *labels, trace_id=ended.trace_id)
    metrics.observe(catalogue.RECEIVE_COUNT, ended.receive_count, ended.queue)
    if ended.outcome in {Outcome.RETRY, Outcome.FAULT}:
        metrics.inc(catalogue.RETRIES, ended.queue, kind, _why(ended))
    _count_decision(metrics, ended)
    for step in ended.result.steps if ended.result else ():
        _count_step(metrics, step)


def _why(ended: Ended) -> str:
    return "fault" if ended.outcome is Outcome.FAULT else _REASONS.get(ended.reason or "", "transient")


def _count_decision(metrics: Metrics, ended: Ended) -> None:
    if ended.queue is not Queue.COMMANDS or (ended.queue, ended.kind) not in _PLACES:
        return
    if ended.outcome in _ACCEPTED:
        metrics.inc(catalogue.DECISIONS, ended.kind, "accepted", NONE)
    elif ended.outcome is Outcome.REFUSED and ended.result and ended.result.code:
        metrics.inc(catalogue.DECISIONS, ended.kind, _decision(ended.result.code), ended.result.code)


def _decision(code: Refusal) -> str:
    if code is Refusal.STALE:
        return "stale"
    return "denied" if code in DENIALS else "refused"


def _count_step(metrics: Metrics, step: Step) -> None:
    before, after = step.before, step.after
    if before is None:
        metrics.inc(catalogue.TRANSITIONS, NONE, after.status, step.actor)
        metrics.inc(catalogue.CREATED, after.source, after.payer_type, after.currency)
        metrics.inc(catalogue.CREATED_AMOUNT, after.currency, by=after.amount_cents)
        return
    if before.status is not after.status:
        metrics.inc(catalogue.TRANSITIONS, before.status, after.status, step.actor)
    if before.status is Status.PENDING_APPROVAL and step.event in _DECISIONS:
        waited_s = (after.updated_at - after.created_at).total_seconds()
        metrics.observe(catalogue.APPROVAL_DURATION, waited_s, after.payer_type, _DECISIONS[step.event])
