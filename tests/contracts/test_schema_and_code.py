"""The published schemas and the code agree: what one takes the other takes, what one refuses the other refuses."""

import copy
import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from contracts.envelope import DELIVERIES, Arrival, Flaw, Malformed, Queue, parse_object
from contracts.inbound import KINDS
from contracts.published import asyncapi
from contracts.published.catalogue import CATALOGUE, schema
from tests.contracts import golden, test_parse
from tests.kit import messages as m

VALIDATORS = {name: Draft202012Validator(schema(publication)) for name, publication in CATALOGUE.items()}
DOCUMENT = asyncapi.document()
INBOUND = golden.inbound_samples()
OUTBOUND = {path.name: json.loads(path.read_text()) for path in sorted(golden.OUTBOUND.glob("*.json"))}

#: What stands in the place of a value to see what both sides say of it; `...` takes the field away.
CHANGES: list[Any] = [..., None, True, 0, 7, -1, 1.5, "", "text", "x" * 201, "2.0", "1.9.9", "1.0\n!", [], ["text"], {}]
CHANGES += [[7], [{}], {"a": 1}, "2026-03-01", "2026-03-01T12:00:00", "2026-03-01T13:00:00.123+01:00", str(m.DRIVER)]
CHANGES += ["approvePayment", "admin", "vendor", "back_office"]


def detail_or_command(body: dict[str, Any]) -> dict[str, Any]:
    """What a published schema is about: an event's detail, or the command itself."""
    return body.get("detail", body)


def kind_of(body: dict[str, Any]) -> str:
    return body.get("detail-type") or body["type"]


def complaints(name: str, message: Any) -> list[str]:
    return [f"{error.json_path}: {error.validator}" for error in VALIDATORS[name].iter_errors(message)]


def refused(body: str, queue: Queue) -> Flaw | None:
    """The flaw that the code finds in a body, or None where it takes it."""
    try:
        m.read(body, Arrival(queue, "sqs-1", m.NOW))
    except Malformed as malformed:
        return malformed.flaw
    return None


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every value of a message."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, found in inner:
        yield (*path, key)
        yield from paths(found, (*path, key))


def replaced(message: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    found: Any = copy.deepcopy(message)
    holder = found
    for step in path[:-1]:
        holder = holder[step]
    if value is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return found


def as_body(sample: dict[str, Any], message: dict[str, Any]) -> str:
    return json.dumps({**sample, "detail": message} if "detail" in sample else message)


# -- samples


@pytest.mark.parametrize("name", INBOUND)
def test_an_inbound_sample_is_right_by_its_published_schema(name: str):
    body = parse_object(INBOUND[name])
    assert complaints(golden.expected_kind(name), detail_or_command(body)) == []


@pytest.mark.parametrize("name", OUTBOUND)
def test_an_outbound_sample_is_right_by_its_published_schema(name: str):
    [model] = [found for found in CATALOGUE if f"{golden.snake(found)}.json" == name]
    assert complaints(model, OUTBOUND[name]) == []


def test_every_published_message_has_a_sample():
    inbound = {golden.expected_kind(name) for name in INBOUND}
    outbound = {name for name in CATALOGUE if f"{golden.snake(name)}.json" in OUTBOUND}
    assert inbound | outbound == set(CATALOGUE)
    assert inbound == set(KINDS)


@pytest.mark.parametrize(
    "name", ["process_payment_order.json", "execute_payout_order.json", "reconcile_attempt_order.json"]
)
def test_an_order_to_ourselves_is_right_by_the_schema_of_what_we_take(name: str):
    assert complaints(OUTBOUND[name]["type"], OUTBOUND[name]) == []


def payload(name: str) -> Draft7Validator:
    """What the AsyncAPI document says of a message on its queue or bus."""
    found = DOCUMENT["components"]["messages"][name]["payload"]
    return Draft7Validator(
        {**found, "components": DOCUMENT["components"]} if "$ref" not in found else {**DOCUMENT, **found}
    )


@pytest.mark.parametrize("name", INBOUND)
def test_an_inbound_sample_is_right_by_the_asyncapi_document(name: str):
    assert list(payload(golden.expected_kind(name)).iter_errors(parse_object(INBOUND[name]))) == []


@pytest.mark.parametrize("name", OUTBOUND)
def test_an_outbound_sample_in_its_envelope_is_right_by_the_asyncapi_document(name: str):
    [model] = [found for found in CATALOGUE if f"{golden.snake(found)}.json" == name]
    sample = OUTBOUND[name]
    if CATALOGUE[model].places[0].form == "event_bridge":
        sample = m.envelope(sample, **{"detail-type": model, "source": "roadcall.payment"})
    assert list(payload(model).iter_errors(sample)) == []


@pytest.mark.parametrize(
    "outer",
    [
        {"detail-type": "WorkStarted"},
        {"detail-type": 7},
        {"detail": "text"},
        {"detail": ...},
        {"source": ...},
        {"source": 7},
        {"detail": m.work(incidentId=7)},
        {"detail": [m.work()]},
        {"detail": m.work(eventId=...), "id": ...},
        {"detail": m.work(eventId=...), "id": ""},
        {"detail": m.work(eventId=None), "id": "x" * 201},
    ],
)
def test_an_envelope_that_the_asyncapi_document_refuses_the_code_refuses_too(outer: dict[str, Any]):
    body = {name: value for name, value in {**m.envelope(m.work()), **outer}.items() if value is not ...}
    assert not payload("WorkCompleted").is_valid(body)
    assert refused(json.dumps(body), Queue.EVENTS) is not None


# -- bodies that the code knows


@pytest.mark.parametrize(("name", "body"), test_parse.TAKEN)
def test_what_is_unusual_but_sound_is_right_by_its_schema(name: str, body: str):
    assert complaints("WorkCompleted", parse_object(body)["detail"]) == [], name


@pytest.mark.parametrize("literal", ["1e400", "1e40", "350.0", "350.5", "-1", "0"])
def test_a_number_that_the_code_takes_is_right_by_its_schema(literal: str):
    body = test_parse.number(literal)
    assert refused(body, Queue.EVENTS) is None
    assert complaints("WorkCompleted", parse_object(body)["detail"]) == []


#: What no schema can say: these two times are well written and yet have no counterpart in UTC.
BEYOND_A_SCHEMA = {"a time after the last one in UTC", "a time before the first one in UTC"}


@pytest.mark.parametrize(
    ("name", "body"), [(name, body) for name, body, _ in [*test_parse.SCHEMA, *test_parse.COMMAND_SCHEMA]]
)
def test_what_the_code_refuses_for_its_schema_the_published_one_refuses(name: str, body: str):
    message = parse_object(body)
    assert bool(complaints(kind_of(message), detail_or_command(message))) is (name not in BEYOND_A_SCHEMA)


#: Python lets `$` match before a line end; the regular expressions of JSON Schema, and so other validators, do not.
BEYOND_PYTHON = {"version with a line end"}
VERSIONS = [row for row in test_parse.NAMING if row.flaw is Flaw.UNKNOWN_VERSION and row.name not in BEYOND_PYTHON]


@pytest.mark.parametrize("row", VERSIONS, ids=lambda row: row.name)
def test_a_version_that_the_code_does_not_know_the_published_schema_refuses(row: test_parse.Row):
    message = parse_object(row.body)
    assert complaints(kind_of(message), detail_or_command(message))


# -- both directions, value by value


@pytest.mark.parametrize("name", INBOUND)
def test_schema_and_code_agree_on_every_change_of_every_value_of_a_sample(name: str):
    sample, queue = json.loads(INBOUND[name]), golden.home(name)
    message, kind = detail_or_command(sample), golden.expected_kind(name)
    tried: dict[bool, int] = {True: 0, False: 0}
    for path in paths(message):
        for value in CHANGES:
            body = as_body(sample, replaced(message, path, value))
            right = not complaints(kind, detail_or_command(parse_object(body)))
            assert right is (refused(body, queue) is None), f"{path}: {value!r}"
            tried[right] += 1
    assert min(tried.values()) > 10


FIELDS = sorted(
    {name for kind in KINDS for name in schema(CATALOGUE[kind])["properties"]}
    | {name for part in schema(CATALOGUE["WorkCompleted"])["$defs"].values() for name in part["properties"]}
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n"), max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.sampled_from(CHANGES[1:]) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=6,
)


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(sorted(KINDS)), st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5))
def test_schema_and_code_agree_on_any_fields_in_any_kind(kind: str, fields: dict[str, Any]):
    if kind == "ProviderEvent":
        message = {**m.provider_event()["detail"], **fields}
        body = json.dumps({**m.provider_event(), "detail": message})
    elif kind == "WorkCompleted":
        message, body = m.work(**fields), json.dumps(m.envelope(m.work(**fields)))
    else:
        message = m.command(kind, **{**test_parse.FIELDS[kind], **fields, "type": kind})
        body = json.dumps(message)
    queue = next(queue for queue, _ in DELIVERIES[kind])
    assert (complaints(kind, parse_object(json.dumps(message))) == []) is (refused(body, queue) is None)


AMOUNTS = st.integers(0, 10**12) | st.decimals(0, 10**6, places=2).map(float)
TIMES = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.isoformat())
LINES = st.fixed_dictionaries(
    {"description": TEXTS}, optional={"quantity": AMOUNTS, "unitPriceCents": AMOUNTS, "unitPrice": AMOUNTS | st.none()}
)
PRICING = st.fixed_dictionaries(
    {},
    optional={
        "basePrice": AMOUNTS | st.none(),
        "mileageCharge": AMOUNTS,
        "additionalCharges": st.lists(st.fixed_dictionaries({"description": TEXTS, "amount": AMOUNTS}), max_size=3),
    },
)
WORK = st.fixed_dictionaries(
    {"incidentId": TEXTS, "vendorId": TEXTS, "completedAt": TIMES},
    optional={
        "eventId": st.text("abc-", min_size=1, max_size=200),
        "timestamp": TIMES | st.none(),
        "version": st.sampled_from(["1", "1.0", "1.2.3", None]),
        "currency": TEXTS | st.none(),
        "payerType": st.sampled_from(["back_office", "driver_ic"]),
        "workDetails": st.fixed_dictionaries({}, optional={"serviceType": TEXTS, "photos": st.lists(TEXTS)}),
        "duration": AMOUNTS,
        "notes": TEXTS,
        "lineItems": st.lists(LINES, max_size=3) | st.none(),
        "pricing": PRICING | st.none(),
        "totalCents": AMOUNTS,
        "later": VALUES,
    },
)


@settings(deadline=None)
@given(WORK)
def test_finished_work_in_any_shape_is_right_by_its_schema_and_taken(work: dict[str, Any]):
    body = json.dumps(m.envelope(work))
    assert refused(body, Queue.EVENTS) is None
    assert complaints("WorkCompleted", parse_object(body)["detail"]) == []


#: All that the code takes and the published schema does not: spellings that nobody is told to use.
LENIENT = [
    ("completedAt", "2026-03-01 12:00:00Z"),
    ("completedAt", "2026-03-01t12:00:00z"),
    ("completedAt", "2026-03-01T12:00Z"),
    ("completedAt", "2026-03-01T12:00:00+0100"),
    ("completedAt", "2026-03-01T12:00:00,5Z"),
    ("completedAt", "2026-03-01T12:00:00.1234567890Z"),
    ("commandId", "{aaaaaaaa-aaaa-4aaa-8aaa-000000000001}"),
    ("commandId", "urn:uuid:aaaaaaaa-aaaa-4aaa-8aaa-000000000001"),
    ("commandId", "aaaaaaaaaaaa4aaa8aaa000000000001"),
]


@pytest.mark.parametrize(("field", "text"), LENIENT)
def test_a_spelling_that_is_taken_without_being_promised(field: str, text: str):
    message = (
        m.work(completedAt=text)
        if field == "completedAt"
        else m.command("ProcessPayment", paymentId="p", commandId=text)
    )
    body, kind = m.body(message), "WorkCompleted" if field == "completedAt" else "ProcessPayment"
    assert refused(body, Queue.EVENTS if kind == "WorkCompleted" else Queue.COMMANDS) is None
    assert complaints(kind, message) == [f"$.{field}: pattern"]
