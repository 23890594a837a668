"""`payments audit`: checks the audit chains in the database or in an exported file, and names the first broken link.

Standard output carries the result, standard error the progress. Exit codes: 0 every chain is whole, 1 a chain is
broken or the database did not answer, 2 wrong usage or a file that cannot be read.
"""

import os
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NoReturn
from uuid import UUID

import typer
from rich.console import Console

from contracts import chain_export
from contracts.chain import Breach, Chain, verify
from contracts.chain_export import LINE_BYTES_MAX, UnreadableLineError
from contracts.ids import as_uuid
from store import chains, gauges
from store.db import StoreFault, Transient
from workers import clock, settings
from workers.connections import opened_pool

#: How often a long run says how far it has come.
PROGRESS_EVERY_S = 5.0
#: The file name that means standard input.
STDIN = "-"

audit_app = typer.Typer(help="Check the audit chains, or export them to be kept elsewhere.", no_args_is_help=True)
_talk = Console(stderr=True, highlight=False)
_out = Console(highlight=False)

PaymentOption = Annotated[str | None, typer.Option("--payment", metavar="ID", help="This payment only.")]
FileOption = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="Check this export, without any database; - is standard input."),
]


class UnreadableFileError(Exception):
    """A file cannot be read as an export; the text says where."""


@dataclass(slots=True)
class Tally:
    """What was looked at, and the first thing that was wrong."""

    payments: int = 0
    links: int = 0
    broken: int = 0
    first: Breach | None = None

    def count(self, chain: Chain) -> None:
        """Count a chain as seen."""
        self.payments += chain.payment is not None
        self.links += len(chain.links)

    def check(self, chain: Chain) -> Breach | None:
        """Count a chain and verify it; return the breach that is the first of all."""
        self.count(chain)
        breach = verify(chain)
        self.broken += breach is not None
        if breach is None or self.first:
            return None
        self.first = breach
        return breach

    @property
    def anything(self) -> bool:
        """Whether there was anything to look at."""
        return self.payments + self.links > 0

    @property
    def seen(self) -> str:
        """What was looked at, in words."""
        return f"{_number(self.payments, 'payment')} with {_number(self.links, 'link')}"

    @property
    def verdict(self) -> str:
        """The result, in words."""
        if self.first is None:
            return f"Checked {self.seen}: every chain is whole."
        match self.broken - 1:
            case 0:
                others = "No further payment is"
            case 1:
                others = "One further payment is"
            case more:
                others = f"{more:,} further payments are"
        return f"{others} broken. Checked {self.seen}."

    def as_json(self) -> dict[str, Any]:
        """Return the result for machines."""
        first = self.first and {
            "paymentId": str(self.first.payment_id),
            "seq": self.first.seq,
            "flaw": self.first.flaw,
            "what": self.first.what,
        }
        return {"payments": self.payments, "links": self.links, "brokenPayments": self.broken, "firstBreach": first}


@audit_app.command("verify")
def verify_chains(
    *,
    file: FileOption = None,
    payment: PaymentOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check every link of every payment, in the database or in an exported file.

    The database is read in one snapshot, by a user who is a member of payments_monitor; notes are checked by their
    digests; that all of it was verified is put on record. Exit codes: 0 all whole, 1 a chain is broken, 2 not checked:
    wrong usage, no such payment, an unreadable file or database. A payment that is missing from a file is not noticed.
    """
    tally = Tally()
    with _usage_errors(), _source(file, _payment_id(payment)) as found:
        for chain in _with_progress(found, tally):
            news = tally.check(chain)
            if news and not json:  # at once: a long run may yet be interrupted
                _out.print(f"Payment {news.payment_id}, link {news.seq}: {news.what}.", soft_wrap=True)
    if payment and not tally.anything:
        _not_there(payment, file)
    if file is None and payment is None:
        _keep(tally)
    if json:
        _out.print_json(data=tally.as_json())
    else:
        _out.print(tally.verdict, soft_wrap=True)
    raise typer.Exit(1 if tally.broken else 0)


def _keep(tally: Tally) -> None:
    """Put on record that all of it was verified, where the user may: the monitor's next turn waits for its interval."""
    try:
        with opened_pool(settings.load(), "audit", size_max=1) as pool:
            gauges.keep_verification(pool, payments=tally.payments, links=tally.links, broken=tally.broken)
    except (Transient, StoreFault) as error:
        _talk.print(f"Checked, and not put on record: {error}", markup=False, soft_wrap=True)


@audit_app.command("export")
def export(*, payment: PaymentOption = None) -> None:
    """Print every payment with its audit chain, a line of JSON each, to be checked by `verify --file`.

    The lines hold hashes, amounts, statuses and the ids of those who acted; no notes and nothing else about a person.
    """
    tally = Tally()
    with _usage_errors(), _source(None, _payment_id(payment)) as found:
        for chain in _with_progress(found, tally):
            tally.count(chain)
            sys.stdout.buffer.write(chain_export.to_line(chain))
        sys.stdout.buffer.flush()
    if payment and not tally.anything:
        _not_there(payment)
    _talk.print(f"Exported {tally.seen}.")


def _payment_id(text: str | None) -> UUID | None:
    found = as_uuid(text)
    if text is not None and found is None:
        raise typer.BadParameter("not a UUID", param_hint="--payment")
    return found


@contextmanager
def _usage_errors() -> Generator[None]:
    """Turn what could not be checked into exit code 2, and a reader that has had enough into a quiet end."""
    try:
        yield
    except UnreadableFileError as error:
        _talk.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except (Transient, StoreFault) as error:
        _talk.print(f"Not checked: the database did not answer as it should: {error}", style="red", soft_wrap=True)
        raise typer.Exit(2) from None
    except BrokenPipeError:
        # Python would complain once more when it flushes on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None


@contextmanager
def _source(file: Path | None, payment_id: UUID | None) -> Generator[Iterator[Chain]]:
    """Lend the chains of a file, or of the database that the settings name."""
    if file is not None:
        with _opened(file) as lines:
            yield _parsed(file, lines, payment_id)
        return
    with (
        opened_pool(settings.load(), "audit", size_max=1) as pool,
        chains.snapshot(pool, payment_id) as found,
    ):
        yield found


@contextmanager
def _opened(file: Path) -> Generator[BinaryIO]:
    if str(file) == STDIN:
        yield sys.stdin.buffer
        return
    try:
        opened = file.open("rb")
    except OSError as error:
        raise UnreadableFileError(f"Cannot read {file}: {error.strerror}.") from None
    with opened:
        yield opened


def _parsed(file: Path, lines: BinaryIO, payment_id: UUID | None) -> Iterator[Chain]:
    number = 0
    while line := _read(file, lines):
        number += 1
        try:
            chain = chain_export.from_line(line)
        except UnreadableLineError as error:
            raise UnreadableFileError(
                f"{file}, line {number}: not a line of `payments audit export`: {error}. Nothing after it was checked."
            ) from None
        if payment_id in (None, chain.payment_id):
            yield chain
    if not number:
        raise UnreadableFileError(f"{file} is empty: there is nothing to check.")


def _read(file: Path, lines: BinaryIO) -> bytes:
    try:
        return lines.readline(LINE_BYTES_MAX + 1)
    except OSError as error:
        raise UnreadableFileError(f"Cannot read {file}: {error.strerror}.") from None


def _with_progress(found: Iterable[Chain], tally: Tally) -> Iterator[Chain]:
    said_at = clock.monotonic()
    for chain in found:
        yield chain
        if clock.monotonic() - said_at > PROGRESS_EVERY_S:
            said_at = clock.monotonic()
            _talk.print(f"{tally.seen} so far")


def _not_there(payment: str, file: Path | None = None) -> NoReturn:
    where = f" in {file}" if file else ""
    _talk.print(f"There is no payment {payment}{where}.", markup=False, soft_wrap=True)
    raise typer.Exit(2)


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
