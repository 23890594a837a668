r"""Statements that were really sent, as a script for pgbench that sends them again and again.

Two messages are captured. What is the same in both stays as it is. Ids that differ get another tail in each
transaction: the last twelve digits of such a UUID become the number `:tail`, which no other transaction has. All else
that differs (times, hashes) stays as it was in the first: it need not be unique.

Parameters become expressions in the text of a statement, cast to the types that the server itself infers for them.
pgbench takes whatever follows a colon for a variable, within literals too, so literals hold `\x3a` instead.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: A number of twelve digits for each transaction of each client, valid as the end of a UUID.
_HEAD = ("\\set n :n + 1", "\\set tail 100000000000 + :client_id * 1000000000 + :n")
#: With its hyphens as in JSON, or without as psycopg sends it; a part of a longer hash is none.
_UUID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}(?![0-9a-f])")
_TAIL = 12
_PARAMETER = re.compile(r"\$(\d+)")


@dataclass(frozen=True, slots=True)
class Sent:
    """A statement as it was sent.

    Attributes:
        flight: the packet that it travelled in, counted from 0.
        text: with `$1` and so on.
        parameters: as text; None is null.
    """

    flight: int
    text: str
    parameters: tuple[str | None, ...]


class TranslationError(Exception):
    """Two messages did not send the same statements: there is nothing that one script could repeat."""


def script(first: Sequence[Sent], second: Sequence[Sent], types: Sequence[Sequence[str]]) -> str:
    """Return the script of one transaction.

    Args:
        first: what one message sent.
        second: what another one did.
        types: for each statement, the types of its parameters.

    Raises:
        TranslationError: they differ in more than values.
    """
    if [(one.flight, one.text) for one in first] != [(one.flight, one.text) for one in second]:
        raise TranslationError("two messages sent different statements")
    lines = [*_HEAD]
    flight = -1
    for one, other, kinds in zip(first, second, types, strict=True):
        if one.flight != flight:
            lines += ["\\endpipeline"] * (flight >= 0) + ["\\startpipeline"]
            flight = one.flight
        lines.append(f"{_filled(one, other, kinds).strip()};")
    return "\n".join([*lines, "\\endpipeline", ""])


def _filled(one: Sent, other: Sent, types: Sequence[str]) -> str:
    values = [
        f"CAST({varied(mine, theirs)} AS {kind})"
        for mine, theirs, kind in zip(one.parameters, other.parameters, types, strict=True)
    ]
    return _PARAMETER.sub(lambda found: values[int(found[1]) - 1], one.text)


def varied(one: str | None, other: str | None) -> str:
    """Return the expression for a parameter that was `one` in the first message and `other` in the second."""
    if one is None:
        return "NULL"
    parts = list(_parts(one, _differing(one, other or "")))
    return " || :tail || ".join(literal(part) for part in parts)


def _differing(one: str, other: str) -> list[int]:
    """Return where the ids end that are other ones in the other message."""
    mine, theirs = list(_UUID.finditer(one)), _UUID.findall(other)
    if len(mine) != len(theirs):
        raise TranslationError(f"another number of ids: {len(mine)} and {len(theirs)}")
    return [found.end() for found, its in zip(mine, theirs, strict=True) if found[0] != its]


def _parts(text: str, ends: Iterable[int]) -> Iterable[str]:
    """Yield what stands between the tails that are replaced."""
    start = 0
    for end in ends:
        yield text[start : end - _TAIL]
        start = end
    yield text[start:]


def literal(text: str) -> str:
    """Return a text as SQL that pgbench leaves as it is."""
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace(":", "\\x3a").replace("\n", "\\n")
    return f"E'{escaped}'"
