"""WorkCompleted: a vendor has finished a job; create its payment, once."""

from datetime import datetime

from contracts import ids
from contracts.inbound import WorkCompleted
from contracts.payment import Source
from contracts.refusals import Refusal
from contracts.requests import Rejected, from_work
from handlers.creation import created
from handlers.decision import Decision, Facts
from handlers.steps import met_again, refuse_work


def source_key(message: WorkCompleted, fingerprint: bytes) -> str:
    """Return the business key of this work: incident, vendor, and the event's id or, lacking it, its content."""
    return ids.work_source_key(message.incident_id, message.vendor_id, message.event_id or fingerprint.hex())


def decide(facts: Facts, message: WorkCompleted, now: datetime) -> Decision:
    """Create the payment unless the work has one, or refuse what cannot be paid as it was reported."""
    request = from_work(message, allow_legacy_ids=facts.rules.allow_legacy_ids)
    if isinstance(request, Rejected):
        return refuse_work(facts, message, now, request.code, request.field)
    if message.completed_at > now + facts.rules.clock_skew:
        return refuse_work(facts, message, now, Refusal.COMPLETED_IN_FUTURE, "completedAt")
    if (known := met_again(facts, now)) is not None:
        return known
    key = source_key(message, facts.cause.fingerprint)
    return created(request, facts, now, source=Source.WORK_COMPLETED, source_key=key)
