"""CreatePayment: an admin creates a payment by hand."""

from datetime import datetime

from contracts import ids
from contracts.inbound import CreatePayment
from contracts.payment import Source
from contracts.requests import Rejected, from_command
from handlers.creation import created
from handlers.decision import Decision, Facts
from handlers.steps import denial, met_again, refuse_command


def decide(facts: Facts, message: CreatePayment, now: datetime) -> Decision:
    """Create the payment; only admins may, and the lines must add up to the amount."""
    request = from_command(message)
    if isinstance(request, Rejected):
        return refuse_command(facts, message, now, request.code, request.field)
    if denied := denial(facts, company_id=request.company_id, vendor_id=request.vendor_id):
        return refuse_command(facts, message, now, denied)
    if (known := met_again(facts, now)) is not None:
        return known
    key = ids.command_source_key(message.command_id)
    return created(request, facts, now, source=Source.COMMAND, source_key=key)
