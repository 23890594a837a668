"""`payments show`: one payment with its lines and everything that ever happened to it, refusals with their reasons."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from contracts.canonical import utc_microseconds
from contracts.ids import as_uuid
from contracts.money import Money
from contracts.refusals import MESSAGES
from contracts.views import LineItemShown, PaymentDecided
from store import reads
from store.reads import NoteView, PaymentView, TimelineEntry
from workers import settings
from workers.connections import opened_pool
from workers.people_cli import PaymentId
from workers.plain import cell

show_app = typer.Typer()
_talk = Console(stderr=True, highlight=False)
_out = Console(highlight=False)


@show_app.command()
def show(payment_id: PaymentId, *, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print a payment with its lines and its timeline.

    What persons wrote is shown where the database user may read it (table payment_audit_notes).
    """
    wanted = as_uuid(payment_id)
    if wanted is None:
        raise typer.BadParameter("not a UUID", param_hint="PAYMENT_ID")
    with opened_pool(settings.load(), "show", size_max=1) as pool:
        found = reads.payment(pool, wanted)
        timeline = reads.timeline(pool, wanted) if found else []
        notes = reads.notes(pool, wanted) if found else None
    if found is None:
        _talk.print(f"There is no payment {wanted}.")
        raise typer.Exit(1)
    view = detail_json(found, timeline, notes)
    if json:
        _out.print_json(data=view, ensure_ascii=True)
    else:
        _print(view)


def detail_json(
    view: PaymentView, timeline: Sequence[TimelineEntry], notes: Sequence[NoteView] | None = None
) -> dict[str, Any]:
    """Return a payment with its lines and its timeline, as it is printed.

    `notes` are what persons wrote to its changes; without them nothing is said of that.
    """
    entries = [{name: _json(getattr(entry, name)) for name in entry.__dataclass_fields__} for entry in timeline]
    written = {note.seq: note.text for note in notes or ()}
    for entry in entries:
        if entry["what"] == "change" and entry["version"] in written:
            entry["note"] = written[entry["version"]]
    return {
        "payment": PaymentDecided.of(view.payment).wire(),
        "lineItems": [LineItemShown.model_validate(line).wire() for line in view.lines],
        "timeline": entries,
    }


def _json(value: Any) -> Any:
    match value:
        case UUID():
            return str(value)
        case datetime():
            return utc_microseconds(value)
        case _:
            return value


def _print(view: Mapping[str, Any]) -> None:
    payment = Table(title=f"Payment {view['payment']['paymentId']}", show_header=False, title_justify="left")
    payment.add_row("amount", str(Money(view["payment"]["amountCents"], view["payment"]["currency"])))
    for name, value in view["payment"].items():
        if value not in (None, {}) and name != "paymentId":
            payment.add_row(name, cell(", ".join(value) if isinstance(value, list) else value))
    _out.print(payment)
    lines = Table("line", "description", "quantity", "unit price", "total", title="Line items", title_justify="left")
    for line in view["lineItems"]:
        names = ("lineNo", "description", "quantity", "unitPriceCents", "totalCents")
        lines.add_row(*(cell(line[name]) for name in names))
    _out.print(lines)
    timeline = Table(title="Timeline", title_justify="left", box=None, show_header=False, pad_edge=False)
    timeline.add_column(no_wrap=True)
    timeline.add_column(no_wrap=True)
    timeline.add_column(overflow="fold")
    for entry in view["timeline"]:
        version = f"v{entry['version']}" if entry["version"] else ""
        timeline.add_row(f"{entry['at'][:10]} {entry['at'][11:19]}Z", version, cell(_in_words(entry)))
    _out.print(timeline)


def _in_words(entry: Mapping[str, Any]) -> str:
    data, name, who = entry["data"], entry["name"], entry["who"]
    match entry["what"]:
        case "change":
            # How they proved to be who they are is for who asks for JSON.
            more = ", ".join(f"{key} {value}" for key, value in data.items() if key != "proof")
            return f"{name} by {who}: {entry['status']}{f' ({more})' if more else ''}{_noted(entry)}"
        case "refusal":
            stands = f" It was {entry['status']}." if entry["status"] else ""
            # What was told is pruned in time, and of nobody's word nothing is kept but the code.
            text = data["message"] or MESSAGES.get(data["code"], "")
            return f"{name} {who} refused, {data['code']}: {text}{stands}"
        case _:
            sent, trace = data["publishedAt"], f", trace {data['traceId']}" if data["traceId"] else ""
            return f"{name} to {who}, {f'sent {sent[:19]}Z' if sent else 'not sent yet'}{trace}"


def _noted(entry: Mapping[str, Any]) -> str:
    if "note" not in entry:
        return ""
    return " (its note is erased)" if entry["note"] is None else f' "{entry["note"]}"'
