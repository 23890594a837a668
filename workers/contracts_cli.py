"""`payments contracts`: what others may send and will receive, as lists for people and as files for machines.

Everything is made from the models of this release when it is asked for; no file has to be there.
"""

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from contracts.published import files
from contracts.published.catalogue import CATALOGUE, Publication

contracts_app = typer.Typer()

Kind = Annotated[
    str | None,
    typer.Argument(metavar="KIND", help="Print this message's JSON Schema; its name in any case or as snake_case."),
]
Document = Annotated[bool, typer.Option("--asyncapi", help="Print the AsyncAPI 3.0 document.")]
Out = Annotated[
    Path | None,
    typer.Option(
        file_okay=False, help="Write the schemas and the document below this folder; same names are replaced."
    ),
]

_HEADINGS = ("MESSAGE", "DIRECTION", "VERSION", "FORM", "QUEUE OR BUS")


@contracts_app.command("contracts")
def contracts(kind: Kind = None, *, asyncapi: Document = False, out: Out = None) -> None:
    """List the messages that are taken and sent, or print or write their schemas."""
    if sum((kind is not None, asyncapi, out is not None)) > 1:
        raise typer.BadParameter("choose one of KIND, --asyncapi and --out")
    if out is not None:
        _write(out)
    elif asyncapi:
        sys.stdout.write(files.texts()[files.ASYNCAPI])
    elif kind is not None:
        sys.stdout.write(files.texts()[_found(kind).path])
    else:
        sys.stdout.write(_listing())


def _listing() -> str:
    rows = [_HEADINGS, *(row for publication in CATALOGUE.values() for row in _rows(publication))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def _rows(publication: Publication) -> list[tuple[str, ...]]:
    """Return one line for each queue or bus that a message travels by."""
    about = (publication.name, str(publication.direction), f"v{publication.major}")
    return [(*about, place.form, place.address) for place in publication.places]


def _found(kind: str) -> Publication:
    """Return the message of that name.

    Raises:
        BadParameter: there is none; it says which names are near.
    """
    names = {_plain(name): name for name in CATALOGUE}
    if _plain(kind) in names:
        return CATALOGUE[names[_plain(kind)]]
    near = [names[name] for name in get_close_matches(_plain(kind), names)]
    hint = f"did you mean {' or '.join(near)}?" if near else "`payments contracts` lists all there are."
    raise typer.BadParameter(f"no message is called {kind!r}; {hint}", param_hint="KIND")


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _write(folder: Path) -> None:
    texts = files.texts()
    try:
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        _fail(f"Could not write below {folder}: {error.strerror or type(error).__name__}.")
    typer.echo(f"{len(texts)} files written below {folder}.", err=True)


def _fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(1)
