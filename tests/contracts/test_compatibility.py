"""Nothing published breaks those who rely on the last release, and the checker that says so is shown to bite."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, StrictInt, StrictStr, create_model

from contracts.inbound import ApprovePayment, WireAmount
from contracts.outbound import PaymentApproved
from contracts.published.catalogue import CATALOGUE, Direction, Publication, SchemaGenerator, schema
from tests.contracts import golden, release_baseline
from tests.contracts.compatibility import alternatives, breaches, without_annotations

IN, OUT = Direction.INBOUND, Direction.OUTBOUND
BASE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "type": {"const": "Ship", "type": "string"},
        "key": {"type": "string", "minLength": 1, "maxLength": 20},
        "id": {"type": "string", "format": "uuid", "pattern": "^[a-f-]+$"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "colour": {"enum": ["red", "green"], "type": "string"},
        "amount": {"type": "number"},
        "count": {"type": "integer", "minimum": 1, "default": 1},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}, "maxItems": 3},
        "more": {"type": "object"},
    },
    "required": ["type", "key", "lines"],
    "$defs": {
        "Line": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "size": {"type": "integer"}},
            "required": ["text"],
        }
    },
}
MESSAGE: dict[str, Any] = {"type": "Ship", "key": "k", "lines": [{"text": "t"}]}

Change = Callable[[dict[str, Any], dict[str, Any], list[str]], object]


@dataclass(frozen=True)
class Row:
    """A change of BASE, the breach that it is, and the part of a message that proves it.

    With the witness put into MESSAGE, what was right before is wrong now (inbound), or what is right now was wrong
    before (outbound). Only a removed field has none: what is sent in it is ignored, silently.
    """

    name: str
    direction: Direction
    change: Change
    breach: str | None
    witness: dict[str, Any] | None = None


def change(name: str, **words: Any) -> Change:
    """A change of one field; `...` takes a word away."""

    def apply(found: dict[str, Any], fields: dict[str, Any], _required: list[str]) -> None:
        kept = {word: value for word, value in {**fields[name], **words}.items() if value is not ...}
        found["properties"][name] = kept

    return apply


def replaced(name: str, field: dict[str, Any]) -> Change:
    return lambda _found, fields, _required: fields.update({name: field})


def demanded(name: str, field: dict[str, Any]) -> Change:
    """A new field that is required at once."""

    def apply(_found: dict[str, Any], fields: dict[str, Any], required: list[str]) -> None:
        fields[name] = field
        required.append(name)

    return apply


ROWS = [
    # -- inbound: everything that was taken is still taken
    Row("nothing", IN, lambda *_: None, None),
    Row("words for people", IN, change("key", description="The key.", examples=["k"], title="Key"), None),
    Row("a new optional field", IN, replaced("extra", {"type": "string"}), None),
    Row("a longer text", IN, change("key", maxLength=200), None),
    Row("no longest text", IN, change("key", maxLength=...), None),
    Row("no pattern", IN, change("id", pattern=...), None),
    Row("another colour", IN, change("colour", enum=["red", "green", "blue"]), None),
    Row("a number where integers were", IN, change("count", type="number"), None),
    Row("null as well", IN, replaced("amount", {"anyOf": [{"type": "number"}, {"type": "null"}]}), None),
    Row("a union written as a list of types", IN, replaced("note", {"type": ["null", "string"]}), None),
    Row("less is required", IN, lambda _f, _p, required: required.remove("key"), None),
    Row("more lines", IN, change("lines", maxItems=4), None),
    Row(
        "a new required field",
        IN,
        demanded("extra", {"type": "string"}),
        "extra: is now required",
        {},
    ),
    Row(
        "an optional field is required",
        IN,
        lambda _f, _p, required: required.append("note"),
        "note: is now required",
        {},
    ),
    Row("a removed optional field", IN, lambda _f, fields, _r: fields.pop("note"), "note: was removed"),
    Row(
        "a renamed field",
        IN,
        lambda _f, fields, _r: fields.update(remark=fields.pop("note")),
        "note: was removed (renamed to remark?)",
    ),
    Row(
        "a lost alternative",
        IN,
        replaced("note", {"type": "string"}),
        "note: no longer takes null, only string",
        {"note": None},
    ),
    Row("another type", IN, change("key", type="integer"), "key: no longer takes string, only integer", {}),
    Row(
        "a narrower number",
        IN,
        change("amount", type="integer"),
        "amount: no longer takes number, only integer",
        {"amount": 1.5},
    ),
    Row("a lost value", IN, change("colour", enum=["red"]), 'colour: no longer takes "green"', {"colour": "green"}),
    Row("a limit to values", IN, change("key", enum=["a"]), 'key: takes only "a"', {}),
    Row("another constant", IN, change("type", const="Send"), 'type: no longer takes "Ship"', {}),
    Row(
        "a shorter text", IN, change("key", maxLength=10), "key: maxLength has changed from 20 to 10", {"key": "k" * 15}
    ),
    Row("a longer shortest text", IN, change("key", minLength=2), "key: minLength has changed from 1 to 2", {}),
    Row("a first bound", IN, change("amount", minimum=0), "amount: minimum 0 is new", {"amount": -1}),
    Row("a pattern", IN, change("key", pattern="^[A-Z]+$"), "key: pattern ^[A-Z]+$ is new", {}),
    Row(
        "another pattern",
        IN,
        change("id", pattern="^[A-F]+$"),
        "id: pattern has changed from ^[a-f-]+$ to ^[A-F]+$",
        {"id": "a-f"},
    ),
    Row(
        "fewer lines",
        IN,
        change("lines", maxItems=2),
        "lines: maxItems has changed from 3 to 2",
        {"lines": [{"text": "t"}] * 3},
    ),
    Row(
        "a required field in a part",
        IN,
        lambda found, _p, _r: found["$defs"]["Line"]["required"].append("size"),
        "lines[].size: is now required",
        {},
    ),
    Row(
        "no unknown fields",
        IN,
        lambda found, _p, _r: found.update(additionalProperties=False),
        "*: no longer takes anything, only nothing",
        {"extra": 1},
    ),
    Row(
        "unknown fields of one type",
        IN,
        change("more", additionalProperties={"type": "string"}),
        "more.*: no longer takes anything, only string",
        {"more": {"a": 1}},
    ),
    Row("another default", IN, change("count", default=2), "count: means 2 where it is absent, no longer 1"),
    Row(
        "a word that is not known",
        IN,
        lambda found, _p, _r: found.update({"not": {"required": ["note"]}}),
        "the message: not has changed, which this checker cannot judge",
        {"note": "n"},
    ),
    # -- outbound: everything that is sent is what was promised
    Row("nothing", OUT, lambda *_: None, None),
    Row("a new field", OUT, replaced("extra", {"type": "string"}), None),
    Row("more is always there", OUT, lambda _f, _p, required: required.append("note"), None),
    Row("never null", OUT, replaced("note", {"type": "string"}), None),
    Row("a value less", OUT, change("colour", enum=["red"]), None),
    Row("a shorter text", OUT, change("key", maxLength=10), None),
    Row("integers where numbers were", OUT, change("amount", type="integer"), None),
    Row("a format", OUT, change("key", format="uuid"), None),
    Row("a removed field", OUT, lambda _f, fields, _r: fields.pop("amount"), "amount: was removed"),
    Row(
        "a renamed field",
        OUT,
        lambda _f, fields, _r: fields.update(sum=fields.pop("amount")),
        "amount: was removed (renamed to sum?)",
    ),
    Row(
        "a field that is not always there",
        OUT,
        lambda _f, _p, required: required.remove("key"),
        "key: is no longer always there",
        {"key": ...},
    ),
    Row("a wider number", OUT, change("count", type="number"), "count: may be number, was integer", {"count": 1.5}),
    Row(
        "null as well",
        OUT,
        replaced("amount", {"anyOf": [{"type": "number"}, {"type": "null"}]}),
        "amount: may be null, was number",
        {"amount": None},
    ),
    Row("anything", OUT, replaced("amount", {}), "amount: may be anything, was number", {"amount": "much"}),
    Row(
        "another value",
        OUT,
        change("colour", enum=["red", "green", "blue"]),
        'colour: may be "blue"',
        {"colour": "blue"},
    ),
    Row(
        "no list of values",
        OUT,
        change("colour", enum=...),
        'colour: may be other than "red", "green"',
        {"colour": "x"},
    ),
    Row("another constant", OUT, change("type", const="Send"), 'type: may be "Send"', {"type": "Send"}),
    Row("no format", OUT, change("id", format=...), "id: format uuid has gone"),
    Row("another format", OUT, change("id", format="uri"), "id: format has changed from uuid to uri"),
    Row("no pattern", OUT, change("id", pattern=...), "id: pattern ^[a-f-]+$ has gone", {"id": "X"}),
    Row(
        "a longer text", OUT, change("key", maxLength=30), "key: maxLength has changed from 20 to 30", {"key": "k" * 25}
    ),
    Row("no lower bound", OUT, change("count", minimum=...), "count: minimum 1 has gone", {"count": 0}),
    Row(
        "a field in a part that is not always there",
        OUT,
        lambda found, _p, _r: found["$defs"]["Line"]["required"].clear(),
        "lines[].text: is no longer always there",
        {"lines": [{}]},
    ),
]


def changed(row: Row) -> dict[str, Any]:
    found = copy.deepcopy(BASE)
    row.change(found, found["properties"], found["required"])
    return found


def by_name(row: Row) -> str:
    return f"{row.direction} {row.name}"


@pytest.mark.parametrize("row", ROWS, ids=by_name)
def test_a_change_is_compatible_or_has_its_breach_named(row: Row):
    assert breaches(BASE, changed(row), row.direction) == ([row.breach] if row.breach else [])


@pytest.mark.parametrize("row", [row for row in ROWS if row.witness is not None], ids=by_name)
def test_a_breach_is_proved_by_a_message_that_only_one_side_takes(row: Row):
    message = {name: value for name, value in {**MESSAGE, **(row.witness or {})}.items() if value is not ...}
    old, new = Draft202012Validator(BASE), Draft202012Validator(changed(row))
    sender, reader = (old, new) if row.direction is IN else (new, old)
    assert sender.is_valid(message)
    assert not reader.is_valid(message)


@pytest.mark.parametrize("row", [row for row in ROWS if row.breach is None and row.direction is IN], ids=by_name)
def test_a_compatible_change_still_takes_what_was_taken(row: Row):
    whole = {"id": "a-f", "note": None, "colour": "green", "amount": 1.5, "count": 1, "more": {"a": 1}}
    for message in (MESSAGE, MESSAGE | whole):
        assert Draft202012Validator(BASE).is_valid(message)
        assert Draft202012Validator(changed(row)).is_valid(message)


def test_several_breaches_are_all_named():
    worse = copy.deepcopy(BASE)
    worse["required"].append("note")
    worse["properties"]["key"]["maxLength"] = 5
    worse["properties"]["note"] = {"type": "string"}
    assert breaches(BASE, worse, IN) == [
        "key: maxLength has changed from 20 to 5",
        "note: is now required",
        "note: no longer takes null, only string",
    ]


def test_the_nearest_of_several_alternatives_is_what_a_breach_is_told_by():
    def pay(*branches: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object", "properties": {"pay": {"anyOf": list(branches)}}}

    card = {"type": "object", "properties": {"by": {"const": "card"}, "no": {"type": "string"}}, "required": ["by"]}
    cash = {"type": "object", "properties": {"by": {"const": "cash"}}, "required": ["by"]}
    strict = {**card, "required": ["by", "no"]}
    assert breaches(pay(card, cash), pay(cash, card), IN) == []
    assert breaches(pay(card, cash), pay(strict, cash), IN) == ["pay.no: is now required"]
    assert breaches(pay(card), pay(card, cash), OUT) == ['pay.by: may be "cash"', "pay.no: was removed"]


def test_values_without_a_type_are_told_apart_by_theirs():
    found = alternatives({"enum": ["a", None, 1]}, {})
    assert [(kind["type"], kind["enum"]) for kind in found] == [("string", ["a"]), ("null", [None]), ("integer", [1])]


def test_a_union_with_a_contradiction_beside_it_is_not_judged():
    with pytest.raises(ValueError, match="cannot compare type beside anyOf"):
        alternatives({"type": "string", "anyOf": [{"type": "integer"}]}, {})


# -- real models


def made(model: type[BaseModel], direction: Direction) -> dict[str, Any]:
    mode: Literal["validation", "serialization"] = "validation" if direction is IN else "serialization"
    return model.model_json_schema(mode=mode, schema_generator=SchemaGenerator)


def test_a_command_that_wants_one_field_more_is_a_breach():
    stricter = create_model("ApprovePayment", __base__=ApprovePayment, review_code=(StrictStr, ...))
    assert breaches(made(ApprovePayment, IN), made(stricter, IN), IN) == ["reviewCode: is now required"]


def test_a_command_that_may_carry_one_field_more_is_none():
    richer = create_model("ApprovePayment", __base__=ApprovePayment, review_code=(StrictStr | None, None))
    assert breaches(made(ApprovePayment, IN), made(richer, IN), IN) == []


def test_an_amount_that_must_be_written_without_a_fraction_is_a_breach():
    before = create_model("Charge", amount=(WireAmount, ...))
    after = create_model("Charge", amount=(StrictInt, ...))
    assert breaches(made(before, IN), made(after, IN), IN) == ["amount: no longer takes number, only integer"]
    assert breaches(made(after, IN), made(before, IN), IN) == []


def test_a_key_that_may_be_shorter_only_is_a_breach():
    before = create_model("Keyed", key=(Annotated[str, Field(max_length=200)], ...))
    after = create_model("Keyed", key=(Annotated[str, Field(max_length=100)], ...))
    assert breaches(made(before, IN), made(after, IN), IN) == ["key: maxLength has changed from 200 to 100"]


def test_an_event_whose_field_may_be_null_is_a_breach_and_one_with_a_field_more_is_none():
    looser = create_model("PaymentApproved", __base__=PaymentApproved, approved_at=(str | None, None))
    richer = create_model("PaymentApproved", __base__=PaymentApproved, approved_from=(str, "desk"))
    old = made(PaymentApproved, OUT)
    assert breaches(old, made(looser, OUT), OUT) == [
        "approvedAt: format date-time has gone",
        "approvedAt: may be null, was string",
    ]
    assert breaches(old, made(richer, OUT), OUT) == []


def test_a_code_more_is_no_breach_of_an_event_since_its_list_is_open():
    old = schema(CATALOGUE["PaymentCommandRejected"])
    new = copy.deepcopy(old)
    new["properties"]["code"]["x-extensible-enum"].append("too_late")
    assert breaches(old, new, OUT) == []


def test_a_status_more_is_a_breach_of_every_event_that_says_one():
    old = schema(CATALOGUE["PaymentCreated"])
    new = copy.deepcopy(old)
    new["$defs"]["Status"]["enum"].append("settled")
    assert breaches(old, new, OUT) == ['status: may be "settled"']


PUBLICATIONS = list(CATALOGUE.values())


@pytest.mark.parametrize("publication", PUBLICATIONS, ids=lambda found: f"{found.direction}-{found.name}")
def test_a_schema_is_compatible_with_itself_with_and_without_its_words_for_people(publication: Publication):
    found = schema(publication)
    bare = without_annotations(found)
    assert breaches(found, found, publication.direction) == []
    assert breaches(found, bare, publication.direction) == breaches(bare, found, publication.direction) == []
    assert "description" not in json.dumps({**bare, "properties": 0, "$defs": 0})


@pytest.mark.parametrize("publication", PUBLICATIONS, ids=lambda found: f"{found.direction}-{found.name}")
def test_to_take_any_published_field_away_is_a_breach(publication: Publication):
    old = schema(publication)
    for name in old["properties"]:
        new = copy.deepcopy(old)
        del new["properties"][name]
        new["required"] = [other for other in new["required"] if other != name]
        assert breaches(old, new, publication.direction) == [f"{name}: was removed"]


def test_fields_that_are_called_like_words_for_people_are_kept():
    bare = without_annotations(schema(CATALOGUE["WorkCompleted"]))
    assert set(bare["$defs"]["WorkLine"]["properties"]) == {"description", "quantity", "unitPriceCents", "unitPrice"}
    assert bare["$defs"]["WorkLine"]["properties"]["description"] == {"type": "string"}


# -- the baseline


def test_what_is_published_breaks_nothing_of_the_last_release():
    found = release_baseline.broken(release_baseline.released(), release_baseline.current())
    assert not found, "\n".join([*found, "take the change back, or raise the message's major version"])


def test_the_baseline_holds_messages():
    assert {"WorkCompleted", "PaymentCompleted"} <= release_baseline.released().keys()


@pytest.fixture
def baseline(tmp_path, monkeypatch) -> dict[str, Any]:
    """A baseline of one's own, as the models are today."""
    monkeypatch.setattr(golden, "RELEASED", tmp_path / "released.json")
    assert release_baseline.main([]) == 0
    return json.loads((tmp_path / "released.json").read_text())


def put(baseline: dict[str, Any]) -> str:
    golden.RELEASED.write_text(json.dumps(baseline))
    return golden.RELEASED.read_text()


def test_the_first_baseline_is_written_and_another_of_the_same_changes_nothing(baseline, capsys):
    first = golden.RELEASED.read_text()
    assert release_baseline.main([]) == 0
    assert golden.RELEASED.read_text() == first
    assert f"{len(CATALOGUE)} messages written, 0 of them new." in capsys.readouterr().out
    assert set(baseline) == set(CATALOGUE)


@pytest.mark.parametrize(
    ("change", "breach"),
    [
        (
            lambda found: found["ApprovePayment"]["schema"]["properties"].update(fax={"type": "string"}),
            "ApprovePayment: fax: was removed",
        ),
        (
            lambda found: found["PaymentCreated"]["schema"]["properties"]["version"].update(const="1.0"),
            'PaymentCreated: version: may be other than "1.0"',
        ),
        (lambda found: found.update(FaxPayment=found["ApprovePayment"]), "FaxPayment: the message is gone"),
        (
            lambda found: found["PaymentCreated"].update(direction="inbound"),
            "PaymentCreated: the message is gone",
        ),
        (
            lambda found: found["ApprovePayment"]["places"].append({"address": "payments-payouts", "form": "command"}),
            "ApprovePayment: is no longer taken from payments-payouts as command",
        ),
        (
            lambda found: found["PaymentCreated"]["places"].append({"address": "payment-approvals", "form": "object"}),
            "PaymentCreated: is no longer sent to payment-approvals as object",
        ),
        (
            lambda found: found["PaymentCreated"].update(major="2"),
            "PaymentCreated: major version 2 has gone back to 1",
        ),
    ],
)
def test_a_baseline_is_not_overwritten_by_what_breaks_it(baseline, capsys, change, breach: str):
    change(baseline)
    before = put(baseline)
    assert release_baseline.main([]) == 1
    told = capsys.readouterr().err
    assert breach in told.splitlines()
    assert "Nothing was written" in told
    assert golden.RELEASED.read_text() == before


def test_a_major_version_that_has_moved_may_break_what_was_before_it(baseline):
    baseline["ApprovePayment"]["schema"]["properties"]["fax"] = {"type": "string"}
    baseline["ApprovePayment"]["major"] = "0"
    put(baseline)
    assert release_baseline.main([]) == 0
    assert "fax" not in golden.RELEASED.read_text()


def test_a_message_that_is_new_is_added_to_the_baseline(baseline, capsys):
    del baseline["ApprovePayment"]
    put(baseline)
    assert release_baseline.main([]) == 0
    assert f"{len(CATALOGUE)} messages written, 1 of them new." in capsys.readouterr().out
    assert "ApprovePayment" in release_baseline.released()


def test_wrong_usage_of_the_command_is_told_as_such():
    with pytest.raises(SystemExit) as ended:
        release_baseline.main(["--force"])
    assert ended.value.code == 2
