"""Hypothesis strategies for whole bodies: valid ones by the models' own schemas, nearly valid ones, hostile ones.

A new kind is fuzzed without being listed: its schema says what it looks like.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from contracts.envelope import BODY_BYTES_MAX, DELIVERIES, DEPTH_MAX, PROVIDER_EVENT, Form, Queue
from contracts.inbound import KINDS
from tests.kit.messages import PROVIDER_SOURCE, SOURCES

#: Where a body goes, and the body.
Sent = tuple[Queue, str]

#: A few ids for all: messages shall meet each other's payments.
IDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(6)]
#: Text without what JSON parsers of ours refuse: lone surrogates and NUL.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
AMOUNTS = st.integers(0, 50_000) | st.sampled_from([99_999_999_999, 10**11, 350.0])
_FORMATS: Mapping[str, SearchStrategy[Any]] = {
    "uuid": st.sampled_from(IDS),
    "date-time": st.sampled_from(["2026-03-01T12:00:00Z", "2026-03-01T12:00:00.123456+02:00", "2019-12-31T23:59:59Z"]),
}
#: What a field of a name is worth filling with, so that more than a refusal comes of it.
_NAMES: Mapping[str, SearchStrategy[Any]] = {
    "currency": st.sampled_from(["USD", "eur", "JPY", "XXX"]),
    "payerType": st.sampled_from(["back_office", "driver_ic"]),
    "description": st.sampled_from(["Towing", " Tire ", "Löschen ✓", "x" * 255]),
    "quantity": st.integers(1, 5),
    "reason": st.sampled_from(["Not wanted.", " "]),
    "type": st.sampled_from(["transfer.created", "transfer.reversed", "payout.paid", "payout.failed", "charge.failed"]),
    "object": st.sampled_from(["transfer", "payout", "charge"]),
    "stripeAccountId": st.sampled_from(["acct_1", "acct_2", "ba_1", ""]),
    "metadata": st.just({"reference": "R-1", "photoCount": 2}),
    **dict.fromkeys(("incidentId", "vendorId", "companyId", "driverId", "payerId", "paymentId"), st.sampled_from(IDS)),
}
#: Values of every JSON type, at and beyond their edges.
JUNK: SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, -1, 1.5, 10**39, 1e300, "", " ", "0", "\u0660", "9" * 300, [], {}, [None], {"": 0}, "\x01"]
)


def messages(kind: str) -> SearchStrategy[dict[str, Any]]:
    """Messages of a kind that its model takes; an event without its envelope."""
    schema = KINDS[kind].model_json_schema(by_alias=True)
    return _of(schema, schema.get("$defs", {}))


def _of(schema: Mapping[str, Any], defs: Mapping[str, Any], name: str = "") -> SearchStrategy[Any]:
    """Return values that a schema allows, as far as our schemas go."""
    if "$ref" in schema:
        return _of(defs[schema["$ref"].rsplit("/", 1)[-1]], defs, name)
    if "anyOf" in schema:
        return st.one_of(*(_of(option, defs, name) for option in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    if schema.get("type") == "object" and "properties" in schema:
        return _object(schema, defs)
    return st.none() if schema.get("type") == "null" else _NAMES[name] if name in _NAMES else _plain(schema, defs)


def _object(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> SearchStrategy[dict[str, Any]]:
    fields = {name: _of(inner, defs, name) for name, inner in schema["properties"].items()}
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: fields[name] for name in fields if name in required},
        optional={name: fields[name] for name in fields if name not in required},
    )


def _text(schema: Mapping[str, Any]) -> SearchStrategy[Any]:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    if "pattern" in schema:
        return st.from_regex(schema["pattern"].replace("$", r"\Z"))
    return st.sampled_from(IDS) if "minLength" in schema else TEXT


def _plain(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> SearchStrategy[Any]:
    match schema.get("type"):
        case "string":
            return _text(schema)
        case "number" | "integer" as kind:
            return AMOUNTS if kind == "number" else st.integers(0, 9)
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(_of(schema["items"], defs), max_size=3)
        case "object":
            return st.just({})
        case _:
            raise AssertionError(f"no strategy for {schema}")


@cache
def documents(kind: str) -> SearchStrategy[tuple[Queue, dict[str, Any]]]:
    """Whole documents of a kind, each with a queue that it may come from."""
    places = sorted(DELIVERIES[kind])

    def placed(place: tuple[Queue, Form], message: dict[str, Any], source: str) -> tuple[Queue, dict[str, Any]]:
        queue, form = place
        if form is Form.COMMAND:
            return queue, {**message, "type": kind}
        if kind == PROVIDER_EVENT:
            return queue, {"id": "e-1", "detail-type": message["type"], "source": PROVIDER_SOURCE, "detail": message}
        return queue, {"id": "e-1", "detail-type": kind, "source": source, "detail": message}

    return st.builds(placed, st.sampled_from(places), messages(kind), st.sampled_from(sorted(SOURCES)))


def valid(kind: str | None = None) -> SearchStrategy[Sent]:
    """Bodies that parse."""
    chosen = documents(kind) if kind else st.sampled_from(sorted(KINDS)).flatmap(documents)
    return chosen.map(lambda sent: (sent[0], json.dumps(sent[1])))


@st.composite
def nearly_valid(draw: Callable[[SearchStrategy[Any]], Any]) -> Sent:
    """Bodies that would parse, but for one place in them."""
    queue, document = draw(st.sampled_from(sorted(KINDS)).flatmap(documents))
    places = [place for place in _places(document) if place]
    path = draw(st.sampled_from(places))
    holder = document
    for step in path[:-1]:
        holder = holder[step]
    match draw(st.sampled_from(["remove", "junk", "rename", "add", "wrong queue"])):
        case "remove":
            del holder[path[-1]]
        case "junk":
            holder[path[-1]] = draw(JUNK)
        case "rename" if isinstance(holder, dict):
            holder[str(path[-1]).upper()] = holder.pop(path[-1])
        case "add" if isinstance(holder, dict):
            holder[draw(TEXT)] = draw(JUNK)
        case _:
            queue = draw(st.sampled_from(list(Queue)))
    return queue, json.dumps(document)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to everything in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, below in inner for place in _places(below, (*path, key)))]


@st.composite
def hostile(draw: Callable[[SearchStrategy[Any]], Any]) -> Sent:
    """Bodies of somebody who means harm, or of a broken producer."""
    queue, body = draw(valid())
    cut = draw(st.integers(0, len(body)))
    bodies = [
        lambda: draw(st.text(max_size=60)),
        lambda: body[:cut],
        lambda: body[:cut] + draw(st.text(min_size=1, max_size=4)) + body[cut:],
        lambda: body[:cut] + body[draw(st.integers(0, len(body))) :],
        lambda: '{"a":' * draw(st.integers(DEPTH_MAX - 2, DEPTH_MAX + 2)) + "1" + "}" * DEPTH_MAX,
        lambda: "[" * draw(st.sampled_from([100, 100_000])),
        lambda: body[:-1] + ',"type":"ApprovePayment","type":1}',
        lambda: body[:-1] + ',"x":' + draw(st.sampled_from(["NaN", "-Infinity", "1e999999999", "9" * 41, "01"])) + "}",
        lambda: body[:-1] + r',"x":"\ud800"}',
        lambda: body[:-1] + r',"x\u0000":1}',
        lambda: body[:-1] + f',"x":"{"x" * BODY_BYTES_MAX}"}}',
        lambda: json.dumps(body),
        lambda: json.dumps({"detail-type": "WorkCompleted", "source": "roadcall.incident", "detail": body}),
        lambda: json.dumps({"detail-type": "WorkCompleted", "source": PROVIDER_SOURCE, "detail": {"id": body}}),
        lambda: "\ufeff" + body,
    ]
    return queue, draw(st.sampled_from(bodies))()


def anything() -> SearchStrategy[Sent]:
    """Bodies of all sorts."""
    return st.one_of(valid(), nearly_valid(), hostile())
