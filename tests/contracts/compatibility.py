"""Which changes of a schema break somebody, each named in words.

Two JSON Schemas are compared as sets of messages. Inbound, everything that was taken must still be taken; outbound,
everything that is sent must still be what was promised. Beside that, a field that goes away is a breach in both
directions: as unknown fields are ignored, what a producer still sends in it would silently count for nothing.

What the checker cannot judge it calls a breach, so that a person looks.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contracts.published.catalogue import Direction

Schema = Mapping[str, Any]

#: What says nothing about which messages are valid. `format` is none of these: receivers parse by it.
ANNOTATIONS = frozenset({"title", "description", "examples", "deprecated", "$comment", "$schema", "$id", "$defs"})
#: Words whose value is a bound, and whether a larger one leaves fewer messages.
BOUNDS = {
    "minLength": True,
    "minimum": True,
    "exclusiveMinimum": True,
    "minItems": True,
    "minProperties": True,
    "maxLength": False,
    "maximum": False,
    "exclusiveMaximum": False,
    "maxItems": False,
    "maxProperties": False,
}
#: Words that cannot be compared by size: there or not, the same or another.
FIXED = ("pattern", "format", "multipleOf", "uniqueItems")
#: Words that are compared in a way of their own.
OWN_WAY = ("type", "const", "enum", "anyOf", "$ref", "default", "properties", "required", "items")
JUDGED = frozenset({*OWN_WAY, "additionalProperties", *BOUNDS, *FIXED})

_JSON_TYPES: Mapping[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def breaches(old: Schema, new: Schema, direction: Direction) -> list[str]:
    """Return what the change from `old` to `new` breaks, each with the field that it is about; empty if nothing.

    Args:
        old: the schema that others were told, complete in itself.
        new: the schema that they are told now.
        direction: who writes the messages.
    """
    return sorted(set(_Comparison(old, new, direction).compare(old, new, "")))


def without_annotations(schema: Any, *, names: bool = False) -> Any:
    """Return a schema without its words for people; `names` says that its keys are fields, not keywords."""
    match schema:
        case dict():
            return {
                key: without_annotations(value, names=not names and key in ("properties", "$defs"))
                for key, value in sorted(schema.items())
                if names or key in ("$defs", "$id") or not _annotation(key)
            }
        case list():
            return [without_annotations(value) for value in schema]
        case _:
            return schema


class _Comparison:
    """One comparison: both schemas, in which references are looked up, and how a breach is worded."""

    def __init__(self, old: Schema, new: Schema, direction: Direction) -> None:
        self._old = old
        self._new = new
        self._inbound = direction is Direction.INBOUND

    def compare(self, old: Schema, new: Schema, where: str) -> Iterator[str]:
        """Yield the breaches at one place and below it."""
        if self._inbound and old.get("default") != new.get("default"):
            before, after = (json.dumps(schema.get("default")) for schema in (old, new))
            yield _say(where, f"means {after} where it is absent, no longer {before}")
        before_alternatives, after_alternatives = alternatives(old, self._old), alternatives(new, self._new)
        narrow, wide = self._turned(before_alternatives, after_alternatives)
        for alternative in narrow:
            yield from self._fits(alternative, wide, where)

    def _turned(self, old: Any, new: Any) -> tuple[Any, Any]:
        """Return the two as (what must lie within, what it must lie within), or those back as (old, new)."""
        return (old, new) if self._inbound else (new, old)

    def _fits(self, alternative: Schema, allowed: Sequence[Schema], where: str) -> Iterator[str]:
        """Yield why an alternative is outside of every one that is allowed, by the one that it misses least."""
        partners = [other for other in allowed if _type_fits(alternative, other)]
        if partners:
            yield from min((list(self._inside(alternative, other, where)) for other in partners), key=len)
            return
        given, rest = _type(alternative), " or ".join(map(_type, allowed)) or "nothing"
        yield _say(where, f"no longer takes {given}, only {rest}" if self._inbound else f"may be {given}, was {rest}")

    def _inside(self, narrow: Schema, wide: Schema, where: str) -> Iterator[str]:
        found = [*self._values(narrow, wide), *self._limits(narrow, wide), *_unjudged(narrow, wide)]
        yield from (_say(where, text) for text in found)
        old, new = self._turned(narrow, wide)
        yield from self._fields(old, new, where)
        for word, place in (("items", f"{where}[]"), ("additionalProperties", _below(where, "*"))):
            if word in old or word in new:
                yield from self.compare(_as_schema(old, word), _as_schema(new, word), place)

    def _values(self, narrow: Schema, wide: Schema) -> Iterator[str]:
        given, allowed = narrow.get("enum"), wide.get("enum")
        if allowed is None:
            return
        if given is None:
            yield f"takes only {_listed(allowed)}" if self._inbound else f"may be other than {_listed(allowed)}"
        elif lost := [value for value in given if value not in allowed]:
            yield f"no longer takes {_listed(lost)}" if self._inbound else f"may be {_listed(lost)}"

    def _limits(self, narrow: Schema, wide: Schema) -> Iterator[str]:
        for word, rising in BOUNDS.items():
            given, allowed = narrow.get(word), wide.get(word)
            if allowed is not None and (given is None or (given < allowed if rising else given > allowed)):
                yield self._changed(word, given, allowed)
        for word in FIXED:
            if word in wide and narrow.get(word) != wide[word]:
                yield self._changed(word, narrow.get(word), wide[word])

    def _changed(self, word: str, given: Any, allowed: Any) -> str:
        old, new = self._turned(given, allowed)
        if old is None:
            return f"{word} {new} is new"
        return f"{word} {old} has gone" if new is None else f"{word} has changed from {old} to {new}"

    def _fields(self, old: Schema, new: Schema, where: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in before.keys() - after.keys():
            yield _say(_below(where, name), f"was removed{_renamed(before[name], before, after)}")
        for name in before.keys() & after.keys():
            yield from self.compare(before[name], after[name], _below(where, name))
        must_before, must_after = set(old.get("required", ())), set(new.get("required", ()))
        if self._inbound:
            yield from (_say(_below(where, name), "is now required") for name in must_after - must_before)
        else:
            lost = (must_before - must_after) & after.keys()
            yield from (_say(_below(where, name), "is no longer always there") for name in lost)


def alternatives(schema: Schema, root: Schema) -> list[Schema]:
    """Return the schemas of one type each of which a message must meet one: references followed, unions taken apart.

    Raises:
        ValueError: a union and what stands beside it limit the same thing.
    """
    schema = _followed(schema, root)
    if "anyOf" in schema:
        return [flat for branch in schema["anyOf"] for flat in alternatives(_beside(schema, branch, root), root)]
    kinds = schema.get("type")
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None and not isinstance(kinds, str):
        return [{**schema, "type": kind, "enum": found} for kind, found in _by_type(values).items()]
    if values is not None:
        return [{**schema, "enum": values}]
    return [{**schema, "type": kind} for kind in kinds] if isinstance(kinds, list) else [schema]


def _beside(schema: Schema, branch: Schema, root: Schema) -> Schema:
    """Return one branch of a union together with what stands beside the union."""
    branch = _followed(branch, root)
    rest = {word: value for word, value in _judged(schema).items() if word != "anyOf"}
    if twice := [word for word in rest if word in branch and branch[word] != rest[word]]:
        raise ValueError(f"cannot compare {', '.join(twice)} beside anyOf")
    return {**branch, **rest}


def _followed(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        found: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        schema = {**found, **{word: value for word, value in schema.items() if word != "$ref"}}
    return schema


def _by_type(values: Sequence[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for value in values:
        found.setdefault(_JSON_TYPES.get(type(value), "null"), []).append(value)
    return found


def _annotation(word: str) -> bool:
    return word in ANNOTATIONS or word.startswith("x-")


def _judged(schema: Schema) -> dict[str, Any]:
    """Return what of a schema limits its messages."""
    return {word: value for word, value in schema.items() if not _annotation(word) and word != "default"}


def _unjudged(narrow: Schema, wide: Schema) -> Iterator[str]:
    words = {word for word in (*narrow, *wide) if not _annotation(word)} - JUDGED
    for word in sorted(words):
        if narrow.get(word) != wide.get(word):
            yield f"{word} has changed, which this checker cannot judge"


def _as_schema(schema: Schema, word: str) -> Schema:
    """Return the schema under a keyword where true or its absence allows everything, and false nothing."""
    found: Any = schema.get(word, True)
    return {"enum": []} if found is False else {} if found is True else found


def _type(schema: Schema) -> str:
    return schema.get("type", "anything")


def _type_fits(narrow: Schema, wide: Schema) -> bool:
    given, allowed = _type(narrow), _type(wide)
    return allowed in ("anything", given) or (given, allowed) == ("integer", "number")


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(json.dumps(value) for value in values) or "nothing"


def _say(where: str, what: str) -> str:
    return f"{where or 'the message'}: {what}"


def _below(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _renamed(gone: Schema, before: Schema, after: Schema) -> str:
    """Return a hint at the one new field that looks the same."""
    alike = [name for name in after.keys() - before.keys() if _judged(after[name]) == _judged(gone)]
    return f" (renamed to {alike[0]}?)" if len(alike) == 1 else ""
