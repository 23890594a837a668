"""`payments reconcile`: looks open payout attempts up at the provider now, or compares our books with the provider's.

Standard output carries the result, standard error talk. Exit codes: 0 done and nothing amiss, 1 a break was found, or
database or provider did not answer, 2 wrong usage.
"""

import json
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from contracts.money import Money
from contracts.provider import ProviderAwayError
from store import sweep
from workers import settings
from workers.connections import opened_pool, secrets_client
from workers.providers import make_provider
from workers.reconciling import MEANINGS, Bounds, Break, Report, compare

reconcile_app = typer.Typer()
_talk = Console(stderr=True, highlight=False)
_out = Console(highlight=False)


@reconcile_app.command("reconcile")
def reconcile(
    ids: Annotated[
        list[UUID] | None, typer.Argument(help="Attempts, or payments for their newest; every open attempt if absent.")
    ] = None,
    *,
    report: Annotated[
        bool, typer.Option("--report", help="Change nothing: compare with the provider, name every break and its age.")
    ] = False,
    days: Annotated[int, typer.Option(min=1, max=3_650, help="How far back the report goes.")] = 7,
    patience_s: Annotated[
        float, typer.Option(min=0, help="How long a payout may take before the report calls it a break.")
    ] = 900,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Look payout attempts up at the provider now, and record what is there; the relay's next sweep orders it.

    With --report it compares attempts, the provider's movements and payments. Exit code 1 says that there is a break.
    """
    if report and ids:
        raise typer.BadParameter("a report is about everything: leave the ids out")
    if report:
        _report(days, patience_s, as_json=as_json)
    else:
        _request(ids or [])


def _request(ids: list[UUID]) -> None:
    found = settings.load()
    with opened_pool(found, "cli", size_max=1) as pool:
        attempts = sweep.request(pool, ids)
    if ids and not attempts:
        _talk.print("None of these is a payout attempt, or a payment with one.")
        raise typer.Exit(1)
    for attempt_id in attempts:
        _out.print(attempt_id)
    _talk.print(f"{len(attempts)} to be looked up: the next sweep of a relay orders it.")


def _report(days: int, patience_s: float, *, as_json: bool) -> None:
    found = settings.load()
    bounds = Bounds(
        window=timedelta(days=days),
        patience=timedelta(seconds=patience_s),
        unregistered=found.pays_unregistered,
    )
    provider = make_provider(found, secrets_client)
    try:
        with opened_pool(found, "cli", size_max=1) as pool:
            report = compare(pool, provider, bounds)
    except ProviderAwayError as away:
        _talk.print(f"The provider does not answer: {away}.")
        raise typer.Exit(1) from None
    if as_json:
        _out.print_json(json.dumps(_as_data(report)))
    else:
        _print(report, provider.name)
    raise typer.Exit(1 if report.breaks else 0)


def _print(report: Report, provider: str) -> None:
    table = Table(title=f"Our books and those of {provider}", show_header=False, title_justify="left")
    table.add_row("movements of ours at the provider", str(report.transfers))
    table.add_row("attempts of ours that succeeded", str(report.attempts))
    for currency in sorted(report.provider_cents | report.our_cents):
        there, here = report.provider_cents.get(currency, 0), report.our_cents.get(currency, 0)
        table.add_row(f"moved, {currency}", f"{Money(there, currency)} there, {Money(here, currency)} here")
    table.add_row("still under way", str(report.under_way))
    table.add_row("movements of others, not looked at", str(report.foreign))
    table.add_row("breaks", str(len(report.breaks)))
    _out.print(table)
    if report.breaks:
        _out.print(_listed(report))
        for kind in sorted({found.kind for found in report.breaks}):
            _talk.print(f"{kind}: {MEANINGS[kind]}", soft_wrap=True)


def _listed(report: Report) -> Table:
    table = Table("age", "break", "payment", "attempt", "at the provider")
    for found in sorted(report.breaks, key=lambda one: one.since):
        ids = (found.payment_id, found.attempt_id, found.provider_object_id)
        table.add_row(_age(report.at, found.since), found.kind, *("" if one is None else str(one) for one in ids))
    return table


def _age(at: datetime, since: datetime) -> str:
    seconds = max(0, round((at - since).total_seconds()))
    return str(timedelta(seconds=seconds))


def _as_data(report: Report) -> dict[str, object]:
    return {
        "at": report.at.isoformat(),
        "transfers": report.transfers,
        "attempts": report.attempts,
        "foreign": report.foreign,
        "underWay": report.under_way,
        "providerCents": report.provider_cents,
        "ourCents": report.our_cents,
        "breaks": [_break_data(report, found) for found in report.breaks],
    }


def _break_data(report: Report, found: Break) -> dict[str, object]:
    return {
        "kind": found.kind,
        "ageSeconds": round((report.at - found.since).total_seconds(), 1),
        "paymentId": str(found.payment_id) if found.payment_id else None,
        "attemptId": str(found.attempt_id) if found.attempt_id else None,
        "providerObjectId": found.provider_object_id,
    }
