"""Audit chains as lines of JSON, one per payment, so that they can be kept elsewhere and checked without a database.

A line holds no note and nothing of the payment but its money and where it stands; the only persons in it are the
ids of those who acted.
"""

from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from contracts.chain import WIRE, Chain
from contracts.values import dataclass

#: More than any payment's history has; a file that is something else altogether must not fill the memory.
LINE_BYTES_MAX = 32 * 1024 * 1024
#: How much of what is wrong with a line is told.
_FLAWS_TOLD = 3


class UnreadableLineError(Exception):
    """A line is none of ours; the text says where it is wrong and quotes no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line(Chain):
    """A chain and the form that it is written in."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE
    format: Literal[1]


_LINES = TypeAdapter(_Line)


def to_line(chain: Chain) -> bytes:
    """Return a chain as one line of JSON in UTF-8, with its line feed."""
    line = _Line(payment_id=chain.payment_id, payment=chain.payment, links=chain.links, format=1)
    return _LINES.dump_json(line, by_alias=True) + b"\n"


def from_line(line: bytes) -> Chain:
    """Return the chain that a line holds, whether or not it is whole.

    Raises:
        UnreadableLineError: the line is too long, not JSON, or not of our form.
    """
    if len(line) > LINE_BYTES_MAX:
        raise UnreadableLineError(f"longer than {LINE_BYTES_MAX} bytes")
    if not line.strip():
        raise UnreadableLineError("empty")
    try:
        return _LINES.validate_json(line)
    except ValidationError as error:
        flaws = error.errors(include_url=False, include_context=False, include_input=False)
        told = [_told(".".join(map(str, flaw["loc"])), flaw["msg"]) for flaw in flaws]
        more = f"; and {len(told) - _FLAWS_TOLD} more" if len(told) > _FLAWS_TOLD else ""
        raise UnreadableLineError("; ".join(told[:_FLAWS_TOLD]) + more) from None


def _told(place: str, trouble: str) -> str:
    trouble = trouble.replace(" at line 1 column", " at column")  # of the one line that it was given
    return f"{place}: {trouble}" if place else trouble
