"""What the back office does at the command line: see what waits, look at it, decide, and be told what became of it."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from contracts.ids import as_uuid
from contracts.lifecycle import Event, Status
from contracts.money import Money
from contracts.payment import Payment, Role
from contracts.policy import terms_of
from store import desk, reads
from store.db import Pool
from store.desk import Waiting
from workers import acting, clock, sending, settings
from workers.acting import ActingError
from workers.connections import opened_pool
from workers.local import pools
from workers.local.people import PEOPLE
from workers.local.pools import LocalPool
from workers.plain import cell
from workers.sending import Sender
from workers.settings import LOCAL, Settings

people_app = typer.Typer()
_talk = Console(stderr=True, highlight=False)
_out = Console(highlight=False)

LIMIT_MAX = 1_000
_ID_CHARS = 36
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400

PaymentId = Annotated[str, typer.Argument(help="The payment.")]
Reason = Annotated[str, typer.Option(help="Why, for people.")]
ReasonCode = Annotated[str | None, typer.Option(help="Why, for machines.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for what becomes of it.")]
WithinS = Annotated[float, typer.Option("--within-s", min=1, help="How long to wait, in seconds.")]


@people_app.command()
def approve(
    payment_id: PaymentId,
    *,
    notes: Annotated[str | None, typer.Option(help="A note for the audit log.")] = None,
    yes: Yes = False,
    wait: Wait = True,
    within_s: WithinS = 30,
) -> None:
    """Approve a payment, as whoever PAYMENTS_ACTOR_TOKEN (or PAYMENTS_ACTOR_TOKEN_FILE) says."""
    _decide("ApprovePayment", "Approve", payment_id, {"notes": notes}, yes=yes, within_s=within_s if wait else None)


@people_app.command()
def reject(
    payment_id: PaymentId,
    *,
    reason: Reason,
    reason_code: ReasonCode = None,
    yes: Yes = False,
    wait: Wait = True,
    within_s: WithinS = 30,
) -> None:
    """Turn down a payment that waits for approval."""
    fields = {"reason": reason, "reasonCode": reason_code}
    _decide("RejectPayment", "Reject", payment_id, fields, yes=yes, within_s=within_s if wait else None)


@people_app.command()
def cancel(
    payment_id: PaymentId,
    *,
    reason: Reason,
    reason_code: ReasonCode = None,
    yes: Yes = False,
    wait: Wait = True,
    within_s: WithinS = 30,
) -> None:
    """Call off a payment that is not being paid out yet."""
    fields = {"reason": reason, "reasonCode": reason_code}
    _decide("CancelPayment", "Cancel", payment_id, fields, yes=yes, within_s=within_s if wait else None)


@people_app.command()
def hold(
    payment_id: PaymentId,
    *,
    reason: Reason,
    reason_code: ReasonCode = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S%z"],
            metavar="TIME",
            help="When it ends by itself, with its zone: 2026-12-24T18:00:00+01:00, or with Z for UTC.",
        ),
    ] = None,
    yes: Yes = False,
    wait: Wait = True,
    within_s: WithinS = 30,
) -> None:
    """Stop a payment: it is neither approved nor paid out until the hold is released."""
    fields = {"reason": reason, "reasonCode": reason_code, "until": until.isoformat() if until else None}
    _decide("HoldPayment", "Hold", payment_id, fields, yes=yes, within_s=within_s if wait else None)


@people_app.command("release-hold")
def release_hold(
    payment_id: PaymentId,
    *,
    reason: Reason,
    reason_code: ReasonCode = None,
    yes: Yes = False,
    wait: Wait = True,
    within_s: WithinS = 30,
) -> None:
    """Let a held payment go on; one that is approved is paid out."""
    fields = {"reason": reason, "reasonCode": reason_code}
    _decide("ReleaseHold", "Release", payment_id, fields, yes=yes, within_s=within_s if wait else None)


@people_app.command()
def process(payment_id: PaymentId, *, yes: Yes = False, wait: Wait = True, within_s: WithinS = 30) -> None:
    """Release an approved payment to be paid out, where its policy asks for somebody who has not approved it."""
    _decide("ProcessPayment", "Pay out", payment_id, {}, yes=yes, within_s=within_s if wait else None)


@people_app.command()
def pending(
    *,
    company: Annotated[UUID | None, typer.Option(help="Only payments of this company.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many, the oldest first.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what waits for somebody, the oldest first: for approval, for its releaser, or for the end of its hold.

    Whoever can log in to the database sees every company's.
    """
    with opened_pool(settings.load(), "pending", size_max=1) as pool:
        found = desk.waiting(pool, company_id=company, limit=limit + 1, approved=True)
    shown = found[:limit]
    if json:
        _out.print_json(data=[_waiting_json(one) for one in shown])
    elif shown:
        _out.print(_waiting_table(shown))
    else:
        _talk.print("Nothing waits for anybody.")
    if len(found) > limit:
        _talk.print(f"There are more than these {limit}: see --limit and --company.")


@people_app.command()
def token(
    who: Annotated[str, typer.Argument(help=f"One of {', '.join(PEOPLE)}, or the `sub` of a member.")],
    *,
    group: Annotated[
        list[Role] | None, typer.Option(help="A group that the token names; may be repeated. By default their role.")
    ] = None,
) -> None:
    """Print an access token of the local stack's user pool; anywhere else there is none to be had here."""
    found = settings.load()
    if found.environment != LOCAL or found.token_issuer != pools.ISSUER or found.token_keys_file is None:
        raise ActingError(
            "Tokens are minted for the local stack alone: its issuer is not this environment's. Sign in at your pool"
            " instead, or load the local stack's environment: . .local/data/environment"
        )
    person, subject = PEOPLE.get(who), as_uuid(who)
    if person is not None:
        subject = person.subject
    if subject is None or (person is None and not group):
        raise ActingError(f"Name one of {', '.join(PEOPLE)}, or a member's `sub` with its --group.")
    groups = [str(role) for role in group or ([person.role] if person else [])]
    _out.print(LocalPool(found.token_keys_file).mint(subject, groups, clock.now()), soft_wrap=True)


def _decide(
    kind: str, verb: str, payment_id: str, fields: dict[str, Any], *, yes: bool, within_s: float | None
) -> None:
    """Show what it is about, ask, send what was seen, and tell what became of it."""
    found = settings.load()
    found.require("command_queue_url")
    sender, wanted = acting.person(found), as_uuid(payment_id)
    if wanted is None:
        raise typer.BadParameter("not a UUID", param_hint="PAYMENT_ID")
    with opened_pool(found, "decide", size_max=1) as pool:
        payment = _shown(pool, wanted, sender)
        if not yes:
            typer.confirm(f"{verb} {payment.money}?", abort=True, err=True)
        seen = {"paymentId": str(wanted), "amountCents": payment.amount_cents, "currency": payment.currency}
        _sent(found, pool, sending.command(kind, sender, {**seen, **fields}), within_s)


def _sent(found: Settings, pool: Pool, message: dict[str, Any], within_s: float | None) -> None:
    acting.send(found, message)
    if within_s is None:
        _out.print(message["commandId"])
        return
    _talk.print(f"Sent as command {message['commandId']}.", soft_wrap=True)
    acting.tell(message, acting.wait(pool, message, within_s=within_s), within_s=within_s)


def _shown(pool: Pool, payment_id: UUID, sender: Sender) -> Payment:
    """Print what would be decided about, and by whom."""
    view = reads.payment(pool, payment_id)
    if view is None:
        raise ActingError(f"There is no payment {payment_id}.")
    payment, given = view.payment, desk.approvers(pool, payment_id)
    policy = f" (policy version {payment.policy_version})" if payment.policy_version else ""
    rows = {
        "amount": payment.money,
        "for": ", ".join(line.description for line in view.lines),
        "vendor": payment.vendor_id,
        "company": payment.company_id or "none: only admins decide",
        "created by": payment.created_by,
        "status": f"{payment.status}, version {payment.version}{_held(payment)}",
        "needs": f"{terms_of(payment)}{policy}",
        "approvals": f"{len(given)} of {payment.required_approvals}"
        + (f", by {', '.join(map(str, given))}" if given else ""),
        **_why_held(pool, payment),
        "you are": sender.id,
    }
    table = Table(title=f"Payment {payment_id}", show_header=False, title_justify="left")
    for name, value in rows.items():
        table.add_row(name, cell(value))
    _talk.print(table)
    return payment


def _why_held(pool: Pool, payment: Payment) -> dict[str, str]:
    """Return the reason of a hold, where there is one that this database user may read."""
    if not payment.held(clock.now()):
        return {}
    written = [note.text for note in reads.notes(pool, payment.payment_id) or () if note.action == Event.HELD]
    return {"why held": written[-1]} if written and written[-1] else {}


def _held(payment: Payment) -> str:
    if not payment.held(clock.now()):
        return ""
    return f", on hold until {payment.hold_until:%Y-%m-%d %H:%M}Z" if payment.hold_until else ", on hold"


def _waits_for(one: Waiting) -> str:
    """Return who or what has to come before a payment can go on."""
    payment = one.payment
    if payment.status is Status.PENDING_APPROVAL:
        return f"approval, {one.given} of {payment.required_approvals} given{_held(payment)}"
    if payment.held(clock.now()):
        return f"the end of its hold{_held(payment)}"
    return "its releaser" if payment.separate_releaser else "nobody: its payout is ordered"


def _waiting_json(one: Waiting) -> dict[str, Any]:
    payment = one.payment
    return {
        "paymentId": str(payment.payment_id),
        "amountCents": payment.amount_cents,
        "currency": payment.currency,
        "vendorId": str(payment.vendor_id),
        "companyId": str(payment.company_id) if payment.company_id else None,
        "createdAt": payment.created_at.isoformat(),
        "status": payment.status,
        "approvals": one.given,
        "requiredApprovals": payment.required_approvals,
        "approverRoles": list(payment.approver_roles),
        "separateReleaser": payment.separate_releaser,
        "onHold": payment.held(clock.now()),
    }


def _waiting_table(found: list[Waiting]) -> Table:
    # Ids are there to be copied: none is cut, also on a terminal of 80 columns.
    table = Table(box=None, pad_edge=False)
    table.add_column("payment", no_wrap=True, min_width=_ID_CHARS)
    table.add_column("amount", justify="right")
    table.add_column("waits", justify="right")
    table.add_column("for")
    now = clock.now()
    for one in found:
        payment = one.payment
        table.add_row(
            str(payment.payment_id),
            str(Money(payment.amount_cents, payment.currency)),
            _age((now - payment.created_at).total_seconds()),
            _waits_for(one),
        )
    return table


def _age(seconds: float) -> str:
    """Return how long something waits, in its largest unit."""
    units: tuple[tuple[float, str], ...] = ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min"), (1, "s"))
    size, name = next(((size, name) for size, name in units if seconds >= size), (1, "s"))
    return f"{max(0, int(seconds // size))} {name}"
