"""What is published is what the models say, complete, valid by its own rules, and true of what is deployed."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cfnlint.decode import decode  # type: ignore[import-untyped]
from jsonschema import Draft7Validator, Draft202012Validator

from contracts.envelope import DELIVERIES, VERSION_PATTERN, Queue
from contracts.inbound import KINDS
from contracts.outbound import (
    EVENTS,
    OUTBOUND,
    ApprovalRequest,
    ExecutePayoutOrder,
    ProcessPaymentOrder,
    ReconcileAttemptOrder,
)
from contracts.published import asyncapi, files
from contracts.published.catalogue import CATALOGUE, EVENT_BUS, Direction, Publication, schema
from contracts.refusals import MESSAGES, Refusal
from contracts.traces import TRACEPARENT
from tests.contracts import golden
from tests.contracts.regenerate import write_schemas
from workers.local.template import TEMPLATE_PATH
from workers.settings import Settings

WRITE = "run `python -m tests.contracts.regenerate`, read the diff, and commit it"
TEXTS = files.texts()
COMMITTED = golden.published()
PUBLICATIONS = list(CATALOGUE.values())
DOCUMENT = json.loads(TEXTS[files.ASYNCAPI])
OFFICIAL = Draft7Validator(json.loads((golden.HERE / "vendored" / "asyncapi-3.0.0.json").read_text(encoding="utf-8")))


#: What the service orders from itself.
ORDERS = (ProcessPaymentOrder, ExecutePayoutOrder, ReconcileAttemptOrder)


def by_name(publication: Publication) -> str:
    return f"{publication.direction}-{publication.name}"


def template() -> dict[str, Any]:
    found, _ = decode(str(TEMPLATE_PATH))
    return found


def fields(found: dict[str, Any], where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a schema and of its parts, by its name from the top."""
    for name, field in found.get("properties", {}).items():
        yield f"{where}{name}", field
    for part, definition in found.get("$defs", {}).items():
        yield from fields(definition, f"{part}.")


def references(found: Any) -> Iterator[str]:
    match found:
        case {"$ref": str(target)}:
            yield target
        case dict():
            for inner in found.values():
                yield from references(inner)
        case list():
            for inner in found:
                yield from references(inner)


def resolved(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    if isinstance(found, dict) and set(found) == {"$ref"}:
        return resolved(document, found["$ref"])
    return found


@pytest.mark.parametrize("name", TEXTS)
def test_a_published_file_is_what_the_models_say_today(name: str):
    assert name in COMMITTED, f"contracts/schemas/{name} is missing: {WRITE}"
    assert COMMITTED[name] == TEXTS[name], f"contracts/schemas/{name} is out of date: {WRITE}"


def test_no_published_file_is_left_over():
    stray = sorted(COMMITTED.keys() - TEXTS.keys())
    assert not stray, f"contracts/schemas/ has {stray}, which no message has: {WRITE}"


def test_writing_the_schemas_writes_all_of_them_drops_what_is_gone_and_leaves_the_baseline(tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "SCHEMAS", tmp_path)
    monkeypatch.setattr(golden, "RELEASED", tmp_path / "released.json")
    (tmp_path / "released.json").write_text("baseline")
    (tmp_path / "inbound").mkdir()
    (tmp_path / "inbound" / "gone.v1.json").write_text("{}")
    write_schemas()
    assert golden.published() == TEXTS
    assert (tmp_path / "released.json").read_text() == "baseline"


def test_every_kind_and_every_outbound_message_is_published_and_nothing_else():
    names = {
        direction: {found.name for found in PUBLICATIONS if found.direction is direction} for direction in Direction
    }
    assert names[Direction.INBOUND] == set(KINDS)
    assert names[Direction.OUTBOUND] == {model.__name__ for model in OUTBOUND}
    assert set(OUTBOUND) == {*EVENTS, ApprovalRequest, *ORDERS}


@pytest.mark.parametrize("publication", PUBLICATIONS, ids=by_name)
def test_a_schema_is_a_schema_of_draft_2020_12_with_a_name_of_its_own(publication: Publication):
    found = schema(publication)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["$id"] == f"urn:roadcall:payments:{publication.direction}:{publication.name}:v1"
    assert found["title"] == publication.name
    assert found["description"]


def test_no_two_schemas_have_the_same_id_or_path():
    assert len({found.schema_id for found in PUBLICATIONS}) == len(PUBLICATIONS)
    assert len({found.path for found in PUBLICATIONS}) == len(PUBLICATIONS)


@pytest.mark.parametrize("publication", PUBLICATIONS, ids=by_name)
def test_every_field_is_explained(publication: Publication):
    mute = [name for name, field in fields(schema(publication)) if not field.get("description")]
    assert not mute, f"{mute}: write a docstring below the field, it is what its readers are told"


@pytest.mark.parametrize("publication", PUBLICATIONS, ids=by_name)
def test_unknown_extra_fields_are_left_open_everywhere(publication: Publication):
    assert '"additionalProperties": false' not in TEXTS[publication.path]


@pytest.mark.parametrize("publication", PUBLICATIONS, ids=by_name)
def test_wire_names_are_camel_case(publication: Publication):
    assert [name for name, _ in fields(schema(publication)) if "_" in name] == []


@pytest.mark.parametrize("model", OUTBOUND)
def test_everything_that_is_written_is_promised(model: type):
    found = schema(CATALOGUE[model.__name__])
    open_ones = {TRACEPARENT}  # what waits in the outbox while a release is rolled out may be without
    assert found["required"] == [name for name in found["properties"] if name not in open_ones]


@pytest.mark.parametrize("publication", PUBLICATIONS, ids=by_name)
def test_no_amount_is_published_as_a_text(publication: Publication):
    money = [field for name, field in fields(schema(publication)) if name.endswith(("Cents", "Price", "amount"))]
    assert [field for field in money if '"string"' in json.dumps(field)] == []


def test_a_command_names_its_kind_as_a_constant():
    commands = [found for found in PUBLICATIONS if "command" in {place.form for place in found.places}]
    constants = {found.name: schema(found)["properties"]["type"].get("const") for found in commands}
    assert constants == {found.name: found.kind for found in commands}
    orders = {order.__name__ for order in ORDERS}
    assert constants.keys() == KINDS.keys() - {"WorkCompleted", "ProviderEvent"} | orders


def test_versions_are_those_of_the_envelope():
    found = schema(CATALOGUE["WorkCompleted"])["properties"]["version"]
    assert found["anyOf"][0]["pattern"] == VERSION_PATTERN


# -- the AsyncAPI document


def test_the_document_is_valid_by_the_official_schema_of_asyncapi_3():
    assert [f"{error.json_path}: {error.message[:200]}" for error in OFFICIAL.iter_errors(DOCUMENT)] == []


def broken(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document = json.loads(TEXTS[files.ASYNCAPI])
    change(document)
    return document


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(asyncapi="2.6.0"),
        lambda document: document["info"].pop("title"),
        lambda document: document["operations"]["sendEvents"].update(action="publish"),
        lambda document: document["channels"]["paymentsEvents"]["bindings"]["sqs"]["queue"].pop("fifoQueue"),
        lambda document: document["channels"]["paymentsEvents"]["messages"].update(other=1),
        lambda document: document["components"]["messages"]["WorkCompleted"].update(kind="event"),
        lambda document: document["components"]["messages"]["WorkCompleted"]["payload"].update(type="objekt"),
    ],
)
def test_the_official_schema_refuses_a_broken_document(change: Callable[[dict[str, Any]], object]):
    assert not OFFICIAL.is_valid(broken(change))


def test_every_reference_in_the_document_leads_to_something_in_it():
    targets = set(references(DOCUMENT))
    assert len(targets) > 50
    for target in targets:
        assert resolved(DOCUMENT, target), target


def test_every_part_of_the_document_is_used():
    used = set(references(DOCUMENT))
    parts = {f"#/components/{kind}/{name}" for kind, found in DOCUMENT["components"].items() for name in found}
    parts |= {f"#/servers/{name}" for name in DOCUMENT["servers"]}
    parts |= {
        f"#/channels/{channel}/messages/{name}"
        for channel, found in DOCUMENT["channels"].items()
        for name in found["messages"]
    }
    assert parts - used == set()


def messages_of(operation: dict[str, Any]) -> set[str]:
    return {reference["$ref"].rpartition("/")[2] for reference in operation["messages"]}


def test_each_kind_is_received_from_the_queues_that_it_is_taken_from_and_from_no_other():
    found = {
        (name, resolved(DOCUMENT, operation["channel"]["$ref"])["address"])
        for operation in DOCUMENT["operations"].values()
        if operation["action"] == "receive"
        for name in messages_of(operation)
    }
    assert found == {(kind, queue) for kind, places in DELIVERIES.items() for queue, _ in places}


def test_each_outbound_message_is_sent_to_its_destination():
    found = {
        resolved(DOCUMENT, operation["channel"]["$ref"])["address"]: messages_of(operation)
        for operation in DOCUMENT["operations"].values()
        if operation["action"] == "send"
    }
    assert found == {
        EVENT_BUS: {event.__name__ for event in EVENTS},
        "payment-approvals": {"ApprovalRequest"},
        Queue.PAYOUTS: {order.__name__ for order in ORDERS},
    }


def test_the_document_says_where_each_message_travels_in_which_form():
    found = DOCUMENT["x-deliveries"]
    assert set(found) == set(CATALOGUE)
    for kind, places in DELIVERIES.items():
        expected = {(str(queue), str(form)) for queue, form in places}
        assert {(place["address"], place["form"]) for place in found[kind]["places"]} == expected
    assert found["PaymentCreated"]["places"] == [{"address": EVENT_BUS, "form": "event_bridge"}]
    assert found["ApprovalRequest"]["places"] == [{"address": "payment-approvals", "form": "object"}]


def test_the_document_tells_every_refusal_in_order_of_precedence():
    assert [entry["code"] for entry in DOCUMENT["x-refusals"]] == list(Refusal)
    assert {entry["code"]: entry["meaning"] for entry in DOCUMENT["x-refusals"]} == MESSAGES


def test_the_document_tells_what_a_reader_can_rely_on():
    text = DOCUMENT["info"]["description"]
    for word in ("eventId", "paymentVersion", "without a gap", "re-publication", "ignore what you do not know"):
        assert word in text


def test_an_event_says_how_it_looks_on_the_bus():
    payload = DOCUMENT["components"]["messages"]["PaymentApproved"]["payload"]
    assert payload["required"] == ["detail-type", "source", "detail"]
    assert payload["properties"]["detail-type"]["const"] == "PaymentApproved"
    assert payload["properties"]["detail"] == {"$ref": "#/components/schemas/PaymentApproved"}


def test_an_event_of_the_providers_bears_whatever_name_the_provider_gives_it():
    assert CATALOGUE["ProviderEvent"].kind is None
    payload = DOCUMENT["components"]["messages"]["ProviderEvent"]["payload"]
    assert payload["required"] == ["detail-type", "source", "detail"]
    assert {word for word in ("const", "enum", "pattern") if word in payload["properties"]["detail-type"]} == set()
    assert payload["properties"]["source"]["examples"] == [asyncapi.PROVIDER_SOURCE]
    assert DOCUMENT["channels"]["paymentsEvents"]["x-eventbridge"]["detail-type"] == ["WorkCompleted"]


# -- what is deployed


def test_the_sources_are_those_of_the_settings_and_of_the_template():
    rule = template()["Resources"]["WorkCompletedRule"]["Properties"]
    assert Settings.model_fields["work_sources"].default == asyncapi.WORK_SOURCES
    assert Settings.model_fields["event_source"].default == asyncapi.EVENT_SOURCE
    assert tuple(rule["EventPattern"]["source"]) == asyncapi.WORK_SOURCES
    assert rule["EventPattern"]["detail-type"] == DOCUMENT["channels"]["paymentsEvents"]["x-eventbridge"]["detail-type"]
    providers = template()["Resources"]["ProviderEventsRule"]["Properties"]
    for name in (rule["Name"], providers["Name"]):
        assert name in DOCUMENT["channels"]["paymentsEvents"]["description"]


def test_the_bus_is_that_of_the_template():
    assert template()["Parameters"]["EventBusName"]["Default"] == EVENT_BUS


def test_the_queues_their_dead_letter_queues_and_their_patience_are_those_of_the_template():
    bindings = [channel["bindings"]["sqs"] for channel in DOCUMENT["channels"].values() if "bindings" in channel]
    published = {
        binding["queue"]["name"]: binding["queue"].get("redrivePolicy", {}).get("maxReceiveCount")
        for binding in bindings
    }
    published |= {binding["deadLetterQueue"]["name"]: None for binding in bindings if "deadLetterQueue" in binding}
    deployed = {
        queue["Properties"]["QueueName"]: queue["Properties"].get("RedrivePolicy", {}).get("maxReceiveCount")
        for queue in template()["Resources"].values()
        if queue["Type"] == "AWS::SQS::Queue"
    }
    assert published == deployed
