"""`payments accounts`: where vendors are paid."""

from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from contracts import ids
from store import vendor_accounts
from workers import acting, sending, settings
from workers.connections import opened_pool
from workers.sending import Sender

accounts_app = typer.Typer(help="Where vendors are paid: list their accounts, or name one.", no_args_is_help=True)
_talk = Console(stderr=True, highlight=False)
_out = Console(highlight=False)


@accounts_app.command("list")
def list_accounts(*, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List every vendor's account, and why one is not paid."""
    with opened_pool(settings.load(), "accounts", size_max=1) as pool:
        found = vendor_accounts.everybody(pool)
    rows = [
        {
            "vendorId": str(one.vendor_id),
            "stripeAccountId": one.account_id,
            "payoutsEnabled": one.payouts_enabled,
            "heldUntil": one.held_until.isoformat() if one.held_until else None,
            "requirements": list(one.requirements),
        }
        for one in found
    ]
    if json:
        _out.print_json(data=rows)
        return
    table = Table("vendor", "account", "paid", box=None, pad_edge=False)
    for one in found:
        held = f"not before {one.held_until.isoformat(timespec='seconds')}" if one.held_until else "yes"
        table.add_row(str(one.vendor_id), one.account_id, held if one.payouts_enabled else "no: payouts are disabled")
    _out.print(table)


@accounts_app.command("set")
def set_account(
    vendor: Annotated[UUID, typer.Argument(help="The vendor.")],
    account: Annotated[str, typer.Argument(help="The vendor's connected account, acct_….")],
    *,
    enabled: Annotated[
        bool, typer.Option("--enable/--disable", help="Whether the provider pays to it; disabled stops the payouts.")
    ] = True,
    requirement: Annotated[
        list[str] | None, typer.Option(help="What the provider still asks for, by its name; repeatable.")
    ] = None,
    within_s: Annotated[float, typer.Option("--within-s", min=1, help="How long to wait, in seconds.")] = 30,
) -> None:
    """Say where a vendor is paid from now on; another account than before is paid after a cool-down only.

    As an admin with PAYMENTS_ACTOR_TOKEN; without a token as the IAM role that is configured for it
    (PAYMENTS_ACCOUNT_SENDERS).
    """
    found = settings.load()
    with_token = found.actor_token is not None or found.actor_token_file is not None
    sender = acting.person(found) if with_token else Sender(ids.SYSTEM_ACCOUNTS)
    fields = {
        "vendorId": str(vendor),
        "stripeAccountId": account,
        "payoutsEnabled": enabled,
        "requirements": requirement or [],
    }
    message = sending.command("VendorAccountChanged", sender, fields)
    with opened_pool(found, "accounts", size_max=1) as pool:
        acting.send(found, message)
        acting.tell(message, acting.wait(pool, message, within_s=within_s), within_s=within_s)
