"""What is published: every message by its name, its direction and where it travels, with its JSON Schema."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from contracts.envelope import DELIVERIES, MAJOR_VERSION, PROVIDER_EVENT, Form, Queue
from contracts.inbound import KINDS
from contracts.outbound import OUTBOUND, Destination, EventMessage, OutboundMessage

#: The bus that the platform's services share, by the name that it has unless it is deployed under another.
EVENT_BUS = "roadcall-events"
#: Where people's requests for approval go; this service does not read it.
APPROVAL_QUEUE = "payment-approvals"
#: Where an outbox row goes, by its destination.
ADDRESSES: Mapping[Destination, str] = {
    Destination.BUS: EVENT_BUS,
    Destination.APPROVALS: APPROVAL_QUEUE,
    Destination.PAYOUTS: Queue.PAYOUTS,
}


class Direction(StrEnum):
    """Who writes a message: others to this service, or this service to others."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Place(NamedTuple):
    """A queue or bus, and how a message looks there.

    `form` is one of `contracts.envelope.Form`, or `object`: a JSON object that does not name its kind, since the
    queue carries no other.
    """

    address: str
    form: str


@dataclass(frozen=True, slots=True)
class Publication:
    """One message in one direction.

    Attributes:
        name: the name of its model, which no other publication has.
        kind: its name on the wire: an event's `detail-type`, a command's `type`; None where it says none, or where its
            source makes it what it is.
        direction: who writes it.
        model: what its schema is made from.
        places: where it travels.
        major: the major version of its schema.
    """

    name: str
    kind: str | None
    direction: Direction
    model: type[BaseModel]
    places: tuple[Place, ...]
    major: str = MAJOR_VERSION

    @property
    def path(self) -> str:
        """Where its schema lies below `contracts/schemas/`."""
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()
        return f"{self.direction}/{snake}.v{self.major}.json"

    @property
    def schema_id(self) -> str:
        """The schema's `$id`, a name and no address: it stays the same wherever the file lies."""
        return f"urn:roadcall:payments:{self.direction}:{self.name}:v{self.major}"

    @property
    def mode(self) -> JsonSchemaMode:
        """What pydantic calls the direction: what it takes, or what it writes."""
        return "validation" if self.direction is Direction.INBOUND else "serialization"


class SchemaGenerator(GenerateJsonSchema):
    """Pydantic's generator without what tells nobody anything: a title per field, a default that means absent."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        """Return False: `Incidentid` tells a reader nothing that `incidentId` does not."""
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return a field's schema, with its default only where a reader of a message has to put it in."""
        if self.mode == "serialization" or schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def schema(publication: Publication) -> dict[str, Any]:
    """Return a message's JSON Schema (draft 2020-12): complete in itself, unknown extra fields left open.

    For an event it is the schema of its `detail`; the envelope around it stands in the AsyncAPI document.
    """
    found = publication.model.model_json_schema(mode=publication.mode, schema_generator=SchemaGenerator)
    first = ("title", "description", "type", "properties", "required")
    return {
        "$schema": SchemaGenerator.schema_dialect,
        "$id": publication.schema_id,
        **{key: found[key] for key in first},
        **{key: value for key, value in found.items() if key not in first},
    }


def _taken(kind: str) -> Publication:
    places = sorted(Place(queue, form) for queue, form in DELIVERIES[kind])
    said = None if kind == PROVIDER_EVENT else kind
    return Publication(kind, said, Direction.INBOUND, KINDS[kind], tuple(places))


def _sent(model: type[OutboundMessage]) -> Publication:
    if issubclass(model, EventMessage):
        kind, form = model.__name__, str(Form.EVENT_BRIDGE)
    elif (named := model.model_fields.get("type")) is not None:
        kind, form = named.default, str(Form.COMMAND)
    else:
        kind, form = None, "object"
    place = Place(ADDRESSES[model.destination], form)
    return Publication(model.__name__, kind, Direction.OUTBOUND, model, (place,))


#: Everything that is published, inbound first, by its name.
CATALOGUE: Mapping[str, Publication] = {found.name: found for found in (*map(_taken, KINDS), *map(_sent, OUTBOUND))}
