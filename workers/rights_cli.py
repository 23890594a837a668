"""Who may do what, at the command line: members, and what it takes to approve a company's payments."""

from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from contracts import ids
from contracts.inbound import SetApprovalPolicy
from contracts.money import Money
from contracts.payment import Membership, Role
from contracts.policy import APPROVERS, APPROVERS_MAX, TIERS_MAX, BadPolicy, Policy, asked_tiers, terms_of
from contracts.refusals import MESSAGES, Refusal
from store import desk, memberships, policies
from store.desk import Waiting
from workers import acting, clock, sending, settings
from workers.acting import ActingError
from workers.connections import opened_pool
from workers.sending import Sender

members_app = typer.Typer(help="Who may do what: list members, or change one.", no_args_is_help=True)
policy_app = typer.Typer(help="What it takes to approve a company's payments.", no_args_is_help=True)
_talk = Console(stderr=True, highlight=False)
_out = Console(highlight=False)

#: How many waiting payments a dry run looks at.
DRY_RUN_MAX = 1_000
_TIER_PARTS = 4
#: What a policy's field must be, where all that the service says is that it breaks its rule.
_RULES = {
    "upToCents": "within a currency each limit is above the one before, and only the last tier has none.",
    "roles": f"name {' or '.join(APPROVERS)}, or both.",
    "approvers": f"1 to {APPROVERS_MAX}.",
    "tiers": f"1 to {TIERS_MAX} tiers.",
}

Company = Annotated[UUID, typer.Option("--company", help="The company.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
WithinS = Annotated[float, typer.Option("--within-s", min=1, help="How long to wait, in seconds.")]


@members_app.command("list")
def list_members(*, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List everybody who is or was a member."""
    with opened_pool(settings.load(), "members", size_max=1) as pool:
        found = memberships.everybody(pool)
    rows = [
        {
            "sub": str(one.subject),
            "role": str(one.role),
            "companyId": str(one.company_id) if one.company_id else None,
            "vendorId": str(one.vendor_id) if one.vendor_id else None,
            "enabled": one.enabled,
        }
        for one in found
    ]
    if json:
        _out.print_json(data=rows)
        return
    table = Table("sub", "may act as", box=None, pad_edge=False)  # no id is cut on a terminal of 80 columns
    for row in rows:
        role = row["role"] if row["enabled"] else f"nobody ({row['role']}, disabled)"
        company = f" of company\n{row['companyId']}" if row["companyId"] else ""
        vendor = f"\nfor vendor\n{row['vendorId']}" if row["vendorId"] else ""
        table.add_row(str(row["sub"]), f"{role}{company}{vendor}")
    for column in table.columns:
        column.no_wrap = True
    _out.print(table)


@members_app.command("set")
def set_member(
    sub: Annotated[UUID, typer.Argument(help="The person, as their tokens name them.")],
    *,
    role: Annotated[Role, typer.Option(help="What they may do.")],
    company: Annotated[UUID | None, typer.Option(help="For which company; a dispatcher needs one.")] = None,
    vendor: Annotated[UUID | None, typer.Option(help="For which vendor; a vendor needs one.")] = None,
    enabled: Annotated[bool, typer.Option("--enable/--disable", help="Disabled, they may do nothing.")] = True,
    within_s: WithinS = 30,
) -> None:
    """Say what a person may do from now on.

    As an admin with PAYMENTS_ACTOR_TOKEN; without a token as the IAM role that is configured for it
    (PAYMENTS_MEMBERSHIP_SENDERS), which is also how the first admin is made.
    """
    found = settings.load()
    with_token = found.actor_token is not None or found.actor_token_file is not None
    sender = acting.person(found) if with_token else Sender(ids.SYSTEM_DIRECTORY)
    fields = {
        "sub": str(sub),
        "role": role,
        "companyId": str(company) if company else None,
        "vendorId": str(vendor) if vendor else None,
        "enabled": enabled,
    }
    message = sending.command("MembershipChanged", sender, fields)
    with opened_pool(found, "members", size_max=1) as pool:
        acting.send(found, message)
        acting.tell(message, acting.wait(pool, message, within_s=within_s), within_s=within_s)


@policy_app.command("show")
def show_policy(company: Company) -> None:
    """Print every version of a company's policy, the newest last."""
    with opened_pool(settings.load(), "policy", size_max=1) as pool:
        found = policies.versions(pool, company)
    if not found:
        _talk.print("No policy: one dispatcher of the company, or an admin, approves each payment.")
    for policy in found:
        _out.print(_policy_table(policy), soft_wrap=True)


@policy_app.command("set")
def set_policy(
    company: Company,
    *,
    tier: Annotated[
        list[str],
        typer.Option(
            help="CURRENCY:UP_TO_CENTS:APPROVERS:ROLES, such as USD:50000:1:dispatcher,admin; UP_TO_CENTS is empty"
            " for no limit, ROLES for both. Repeat it by rising amounts; the last of a currency has no limit."
        ),
    ],
    separate_releaser: Annotated[
        bool, typer.Option("--separate-releaser", help="Somebody who has not approved it must release each payment.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show how what waits would be treated.")] = False,
    yes: Yes = False,
    within_s: WithinS = 30,
) -> None:
    """Set a company's policy, as an admin; payments that are there keep theirs, and new ones keep this one."""
    found = settings.load()
    fields: dict[str, Any] = {
        "companyId": str(company),
        "tiers": [_tier(text) for text in tier],
        "separateReleaser": separate_releaser,
    }
    with opened_pool(found, "policy", size_max=1) as pool:
        known = policies.versions(pool, company)
        fields["expectedVersion"] = known[-1].version if known else 0
        policy = _drafted(fields)
        warnings = _short_of_people(policy, memberships.everybody(pool))
        if dry_run:
            waiting = desk.waiting(pool, company_id=company, limit=DRY_RUN_MAX + 1)
            _out.print(_treated(policy, waiting[:DRY_RUN_MAX], more=len(waiting) > DRY_RUN_MAX))
            _warn(warnings)
            _talk.print("Nothing was sent: payments that wait keep the policy that they were created under.")
            return
        _warn(warnings)
        sender = acting.person(found)
        if not yes:
            typer.confirm(f"Set version {policy.version} of the policy of {company}?", abort=True, err=True)
        message = sending.command("SetApprovalPolicy", sender, fields)
        acting.send(found, message)
        acting.tell(message, acting.wait(pool, message, within_s=within_s), within_s=within_s)


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        _talk.print(warning, style="yellow", markup=False, soft_wrap=True)


def _short_of_people(policy: Policy, members: list[Membership]) -> list[str]:
    """Return which tiers nobody could meet with the members that there are: their payments would wait for ever."""
    able = [one for one in members if one.enabled and (one.role is Role.ADMIN or one.company_id == policy.company_id)]
    found = []
    for tier in policy.tiers:
        approvers = sum(one.role in tier.roles for one in able)
        people = sum(one.role in APPROVERS for one in able)
        if approvers < tier.approvers or people < tier.approvers + policy.separate_releaser:
            limit = "any amount" if tier.up_to_cents is None else f"up to {Money(tier.up_to_cents, tier.currency)}"
            found.append(
                f"Too few people: {tier.currency}, {limit} takes {policy.terms_of(tier)}, and {approvers} of"
                f" {people} enabled members could approve."
            )
    return found


def _tier(text: str) -> dict[str, Any]:
    parts = text.split(":")
    try:
        currency, up_to, approvers, names = [*parts, ""][:_TIER_PARTS] if len(parts) < _TIER_PARTS else parts
        tier: dict[str, Any] = {"currency": currency, "approvers": int(approvers)}
        if up_to:
            tier["upToCents"] = int(up_to)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not like USD:50000:1:dispatcher,admin", param_hint="--tier") from None
    return {**tier, "roles": names.split(",")} if names else tier


def _drafted(fields: dict[str, Any]) -> Policy:
    """Return the policy as it would be, checked by the very rules of the service."""
    message = SetApprovalPolicy.model_validate(sending.command("SetApprovalPolicy", Sender(ids.NAMESPACE), fields))
    tiers = asked_tiers(message)
    if isinstance(tiers, BadPolicy):
        raise ActingError(_what_is_wrong(tiers))
    now = clock.now()
    return Policy(
        UUID(fields["companyId"]),
        fields["expectedVersion"] + 1,
        tiers,
        fields["separateReleaser"],
        created_by=ids.NAMESPACE,
        created_at=now,
        as_of=now,
    )


def _what_is_wrong(bad: BadPolicy) -> str:
    """Return what is wrong with a policy: by its field, where the code alone would not tell."""
    rule = _RULES.get(bad.field.rpartition(".")[2]) if bad.code is Refusal.INVALID_FIELD else None
    return f"{bad.code} (field {bad.field}): {rule or MESSAGES[bad.code]}"


def _treated(policy: Policy, waiting: list[Waiting], *, more: bool) -> Table:
    """Return what each waiting payment takes, and what one like it would take under the new policy."""
    table = Table("payment", "amount", "takes now", f"under version {policy.version}", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for one in waiting:
        payment = one.payment
        given = f" ({one.given} given)" if one.given else ""
        now, then = f"{terms_of(payment)}{given}", str(policy.terms(payment.money))
        table.add_row(str(payment.payment_id), str(payment.money), now, then)
    table.title = f"Payments that wait: {len(waiting)}{', and more that are not shown' if more else ''}"
    table.title_justify = "left"
    return table


def _policy_table(policy: Policy) -> Table:
    table = Table("up to", "approvals", "by", title_justify="left")
    table.title = f"Version {policy.version}, {policy.created_at:%Y-%m-%d %H:%M}Z, by {policy.created_by}"
    for tier in policy.tiers:
        none = tier.up_to_cents is None
        limit = f"any amount in {tier.currency}" if none else str(Money(tier.up_to_cents or 0, tier.currency))
        table.add_row(limit, str(tier.approvers), " or ".join(tier.roles))
    if policy.separate_releaser:
        table.caption = "Somebody who has not approved it releases each payment."
    return table
