"""MembershipChanged: what a person may do from now on, told by an admin or by the one role configured for it."""

from datetime import datetime
from uuid import UUID

from contracts.ids import as_uuid
from contracts.inbound import MembershipChanged
from contracts.payment import Membership, Role
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Enact, Facts
from handlers.steps import Flaw, denial, refuse_command

_ROLES = {str(role): role for role in Role}


def decide(facts: Facts, message: MembershipChanged, now: datetime) -> Decision:
    """Write the membership; an earlier word that arrives after a later one counts for nothing."""
    membership = _asked(facts, message)
    if isinstance(membership, Flaw):
        return refuse_command(facts, message, now, *membership)
    if denied := denial(facts, company_id=membership.company_id, vendor_id=membership.vendor_id):
        return refuse_command(facts, message, now, denied)
    if facts.member and membership.as_of < facts.member.as_of:
        return Absorb(None)
    data = {
        "role": membership.role,
        "companyId": _text(membership.company_id),
        "vendorId": _text(membership.vendor_id),
        "enabled": membership.enabled,
    }
    return Enact(membership, membership.subject, facts.actor, data, replaces=facts.member is not None)


def _asked(facts: Facts, message: MembershipChanged) -> Membership | Flaw:
    subject, role = as_uuid(message.sub), _ROLES.get(message.role)
    if subject is None:
        return Flaw(Refusal.NON_UUID_ID, "sub")
    if role is None:
        return Flaw(Refusal.INVALID_FIELD, "role")
    company_id, vendor_id = as_uuid(message.company_id), as_uuid(message.vendor_id)
    if company_id is None and (message.company_id is not None or role is Role.DISPATCHER):
        return Flaw(Refusal.INVALID_FIELD if message.company_id is None else Refusal.NON_UUID_ID, "companyId")
    if vendor_id is None and (message.vendor_id is not None or role is Role.VENDOR):
        return Flaw(Refusal.INVALID_FIELD if message.vendor_id is None else Refusal.NON_UUID_ID, "vendorId")
    return Membership(subject, role, company_id, vendor_id, message.enabled, facts.sent_at)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
