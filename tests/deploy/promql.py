"""Reads PromQL as far as names go: which series, labels and label values an expression speaks of."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

TOKEN = re.compile(
    r"""
    (?P<space>\s+|\#[^\n]*)
  | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
  | (?P<range>\[[^\]]*\])
  | (?P<number>(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)(?:ms|[smhdwy])?(?:\d+(?:ms|[smhdwy]))*)
  | (?P<name>[A-Za-z_:][A-Za-z0-9_:]*)
  | (?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^(){},=<>@])
    """,
    re.VERBOSE,
)
GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
WORDS = GROUPING | frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})
MATCHERS = frozenset({"=", "!=", "=~", "!~"})


class NotUnderstoodError(Exception):
    """The text is no PromQL that this reads; the text says where."""


@dataclass(frozen=True)
class Matcher:
    label: str
    sign: str
    value: str


@dataclass
class Selector:
    """A series that is asked for."""

    name: str
    matchers: list[Matcher] = field(default_factory=list)


@dataclass
class Expression:
    """What an expression names: series with their matchers, and the labels that it groups or joins by."""

    selectors: list[Selector] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)


def tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise NotUnderstoodError(f"{text[at : at + 20]!r} in {text!r}")
        if found.lastgroup != "space":
            yield found.lastgroup, found.group()
        at = found.end()


def read(text: str) -> Expression:
    """Return what an expression names.

    Raises:
        NotUnderstoodError: it is none that this reads.
    """
    found, left = Expression(), list(tokens(text))
    while left:
        kind, word = left.pop(0)
        if kind != "name":
            if word == "{":
                raise NotUnderstoodError(f"a selector without a name in {text!r}")
            continue
        following = left[0][1] if left else ""
        if word.lower() in GROUPING:
            if following == "(":
                found.labels |= {name for kind, name in _enclosed(left, ")") if kind == "name"}
        elif word.lower() not in WORDS and following != "(" and not _aggregates(left):
            found.selectors.append(Selector(word, _matchers(left) if following == "{" else []))
    return found


def _aggregates(left: list[tuple[str, str]]) -> bool:
    """Whether what comes next makes the word before it an aggregation: `sum by (…) (…)`."""
    return bool(left) and left[0][1] in {"by", "without"}


def _enclosed(left: list[tuple[str, str]], end: str) -> list[tuple[str, str]]:
    left.pop(0)
    inside = []
    while left and left[0][1] != end:
        inside.append(left.pop(0))
    if not left:
        raise NotUnderstoodError(f"no {end}")
    left.pop(0)
    return inside


def _matchers(left: list[tuple[str, str]]) -> list[Matcher]:
    inside = [one for one in _enclosed(left, "}") if one[1] != ","]
    if len(inside) % 3:
        raise NotUnderstoodError(f"matchers: {inside}")
    found = []
    for number in range(0, len(inside), 3):
        (_, label), (_, sign), (kind, value) = inside[number : number + 3]
        if sign not in MATCHERS or kind != "text":
            raise NotUnderstoodError(f"a matcher: {label}{sign}{value}")
        found.append(Matcher(label, sign, value[1:-1].encode().decode("unicode_escape")))
    return found
