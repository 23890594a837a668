"""SetApprovalPolicy: an admin says what it takes to approve a company's payments from now on."""

from datetime import datetime

from contracts.inbound import SetApprovalPolicy
from contracts.policy import BadPolicy, Policy, asked_company, asked_tiers
from contracts.refusals import Refusal
from handlers.decision import Decision, Enact, Facts
from handlers.steps import denial, refuse_command


def decide(facts: Facts, message: SetApprovalPolicy, now: datetime) -> Decision:
    """Write the next version of the policy; payments that are there keep the one that they were created under."""
    company_id, tiers = asked_company(message), asked_tiers(message)
    if isinstance(company_id, BadPolicy):
        return refuse_command(facts, message, now, company_id.code, company_id.field)
    if isinstance(tiers, BadPolicy):
        return refuse_command(facts, message, now, tiers.code, tiers.field)
    if denied := denial(facts, company_id=company_id):
        return refuse_command(facts, message, now, denied)
    current = facts.policy.version if facts.policy else 0
    if message.expected_version not in (None, current):
        return refuse_command(facts, message, now, Refusal.VERSION_CONFLICT, "expectedVersion")
    if facts.policy and facts.sent_at < facts.policy.as_of:  # overtaken by a later one
        return refuse_command(facts, message, now, Refusal.VERSION_CONFLICT)
    policy = Policy(
        company_id, current + 1, tiers, message.separate_releaser, facts.actor.id, created_at=now, as_of=facts.sent_at
    )
    data = {"version": policy.version, "separateReleaser": policy.separate_releaser, "tiers": len(tiers)}
    return Enact(policy, company_id, facts.actor, data)
