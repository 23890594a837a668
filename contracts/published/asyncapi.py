"""The AsyncAPI 3.0 document: who sends what where, and what a sender or receiver can rely on."""

from collections.abc import Iterable
from inspect import cleandoc
from typing import Any

from pydantic.json_schema import models_json_schema

from contracts.envelope import BODY_BYTES_MAX, KEY_CHARS_MAX, MAJOR_VERSION, Form, Queue
from contracts.published.catalogue import (
    APPROVAL_QUEUE,
    CATALOGUE,
    EVENT_BUS,
    Direction,
    Publication,
    SchemaGenerator,
)
from contracts.refusals import MESSAGES, Refusal

#: The EventBridge sources of finished work that are believed unless the service is set up otherwise.
WORK_SOURCES = ("roadcall.incident", "roadcall.incident-service", "incident-svc")
#: The source of this service's own events unless it is set up otherwise.
EVENT_SOURCE = "roadcall.payment"
#: What the source of the payment provider's events looks like; which one is believed is set up.
PROVIDER_SOURCE = "aws.partner/stripe.com/ed_61QyRz8Hk3Lm0A4bC5dE6f7g"
#: How often SQS delivers a message before it gives it up to the dead-letter queue.
RECEIVES_MAX = 10

_JSON = "application/json"
_PROVIDERS_OWN = {
    "type": "string",
    "description": "The provider's own name of what happened; it is the event's `type`.",
    "examples": ["transfer.created", "payout.paid"],
}
_DESCRIPTION = f"""\
Roadcall Payments pays roadside vendors once, with approval. It takes events and commands from Amazon SQS, and
announces every change of a payment on Amazon EventBridge.

**Delivery.** Every message may arrive more than once and in any order, in both directions.

**Inbound identity.** A message is known by its kind and its key: `eventId`, or lacking it the id of the EventBridge
envelope; `commandId` for a command; the event's own `id` for an event of the payment provider. The same key with the
same content has no second effect. The same key with other content is refused with the code payload_conflict.

**Outbound identity.** `eventId` stays the same over every re-publication of an event: keep it to know a repetition.

**Order.** `paymentVersion` counts the changes of one payment from 1 without a gap, and each of them is announced by one
event: take a payment's events in that order; a missing number is an event that is still on its way. Events without a
`paymentVersion` (refusals, conflicts) leave the payment as it is.

**Amounts** are whole numbers of minor units (cents for USD) with an ISO 4217 currency.

**Versions.** Fields may be added within major version {MAJOR_VERSION}: ignore what you do not know, as this service
does. A body of another major version is not taken.

**Traces.** The trace context (W3C) that a message is sent in is taken from the message itself (`metadata.traceparent`,
or `traceparent` beside it), or else from its SQS message attribute `traceparent`, or else from `AWSTraceHeader`. What
is not well-formed is ignored; `tracestate` is not carried on. It is no part of the content: the same message in another
trace is a repetition. What this service sends carries the `traceparent` of what it comes of.

**Refusals.** A message that can be read but breaks a rule of the business is answered by an event,
`WorkCompletedRejected`, `PaymentCommandRejected` or `PaymentConflictDetected`, with a code of `x-refusals`; when
several apply, the first in that order is reported. It is not tried again: correct it and send it under a new id.

**Malformed messages** (not JSON, duplicate keys, over {BODY_BYTES_MAX:,} bytes, against its schema, of an unknown kind,
on the wrong queue) are not answered: they go to the dead-letter queue at once, with a reason.
"""


def document() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of everything that is published, as a JSON object."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:roadcall:payments",
        "info": {
            "title": "Roadcall Payments",
            "version": f"{MAJOR_VERSION}.0",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _JSON,
        "servers": _servers(),
        "channels": {_channel_id(address): _channel(address) for address in _CHANNELS},
        "operations": _operations(),
        "components": {
            "messages": {publication.name: _message(publication) for publication in CATALOGUE.values()},
            "schemas": _schemas(),
        },
        "x-deliveries": _deliveries(),
        "x-refusals": [{"code": code, "meaning": MESSAGES[code]} for code in Refusal],
    }


def _servers() -> dict[str, Any]:
    region = {"region": {"description": "The AWS region that the service is deployed in."}}
    return {
        "sqs": {
            "host": "sqs.{region}.amazonaws.com",
            "protocol": "sqs",
            "description": "Amazon SQS, standard queues, over TLS only.",
            "variables": region,
        },
        "eventbridge": {
            "host": "events.{region}.amazonaws.com",
            "protocol": "eventbridge",
            "description": "Amazon EventBridge, the bus that the platform's services share.",
            "variables": region,
        },
    }


#: What each queue and the bus is for, and who may write to it.
_CHANNELS = {
    Queue.EVENTS: (
        "Finished work, and the payment provider's events. Only the EventBridge rules payments-work-completed and "
        "payments-provider-events write here: a producer puts its event on the shared bus, from one of the sources in "
        "x-eventbridge; the provider's come from its own event source, by which they are known."
    ),
    Queue.COMMANDS: "Commands of people and services. Only named roles may write here.",
    Queue.PAYOUTS: "Orders of the service to itself. Nobody else may write here.",
    APPROVAL_QUEUE: (
        "Requests to look at a payment, one for each that waits for approval. The service does not read them: the "
        "answer is ApprovePayment or RejectPayment on payments-commands."
    ),
    EVENT_BUS: (
        "The shared bus, roadcall-events unless it is deployed under another name. Subscribe by a rule of your own on "
        "source and detail-type."
    ),
}


def _channel_id(address: str) -> str:
    """Return an address as the name of its channel: `payments-events` is `paymentsEvents`."""
    head, *tail = address.split("-")
    return head + "".join(part.capitalize() for part in tail)


def _channel(address: str) -> dict[str, Any]:
    on_bus = address == EVENT_BUS
    channel: dict[str, Any] = {
        "address": address,
        "description": _CHANNELS[address],
        "servers": [{"$ref": f"#/servers/{'eventbridge' if on_bus else 'sqs'}"}],
        "messages": {found.name: {"$ref": f"#/components/messages/{found.name}"} for found in _travelling(address)},
    }
    if not on_bus:
        channel["bindings"] = {"sqs": _queue_binding(address)}
    if address == Queue.EVENTS:
        channel["x-eventbridge"] = {
            "bus": EVENT_BUS,
            "source": list(WORK_SOURCES),
            "detail-type": [found.kind for found in _travelling(address) if found.kind],
        }
    return channel


def _queue_binding(queue: str) -> dict[str, Any]:
    binding: dict[str, Any] = {"queue": {"name": queue, "fifoQueue": False}, "bindingVersion": "0.2.0"}
    if queue in set(Queue):  # the readers of any other give up on their own terms
        dead_letters = f"{queue}-dlq"
        redrive = {"deadLetterQueue": {"name": dead_letters}, "maxReceiveCount": RECEIVES_MAX}
        binding["queue"]["redrivePolicy"] = redrive
        binding["deadLetterQueue"] = {"name": dead_letters, "fifoQueue": False}
    return binding


def _operations() -> dict[str, Any]:
    found = {
        "receiveEvents": _operation(
            Queue.EVENTS, Direction.INBOUND, "Take finished work, and the payment provider's events."
        ),
        "receiveCommands": _operation(Queue.COMMANDS, Direction.INBOUND, "Take commands."),
        "receivePayouts": _operation(Queue.PAYOUTS, Direction.INBOUND, "Take the service's own orders."),
        "sendEvents": _operation(EVENT_BUS, Direction.OUTBOUND, "Announce what happened to a payment or a message."),
        "sendApprovalRequests": _operation(APPROVAL_QUEUE, Direction.OUTBOUND, "Ask for approval of a payment."),
        "sendPayouts": _operation(Queue.PAYOUTS, Direction.OUTBOUND, "Order the steps of a payout."),
    }
    found["sendEvents"]["x-eventbridge"] = {
        "source": EVENT_SOURCE,
        "detail-type": [publication.kind for publication in _travelling(EVENT_BUS)],
        "resources": ["payment/{paymentId}", "incident/{incidentId}", "vendor/{vendorId}"],
    }
    return found


def _operation(address: str, direction: Direction, summary: str) -> dict[str, Any]:
    channel = f"#/channels/{_channel_id(address)}"
    mine = [found.name for found in _travelling(address) if found.direction is direction]
    return {
        "action": "receive" if direction is Direction.INBOUND else "send",
        "channel": {"$ref": channel},
        "summary": summary,
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in mine],
    }


def _travelling(address: str) -> Iterable[Publication]:
    return [found for found in CATALOGUE.values() if address in {place.address for place in found.places}]


def _message(publication: Publication) -> dict[str, Any]:
    # cleaned: from Python 3.13 on the compiler takes a docstring's indentation away, before that it does not
    summary, _, more = cleandoc(publication.model.__doc__ or "").partition("\n")
    enveloped = Form.EVENT_BRIDGE in {place.form for place in publication.places}
    payload = _envelope(publication) if enveloped else _reference(publication)
    message = {
        "name": publication.kind or publication.name,
        "title": publication.name,
        "summary": summary,
        "description": more.strip(),
        "contentType": _JSON,
        "correlationId": {"location": f"$message.payload#{'/detail' if enveloped else ''}/correlationId"},
        "payload": payload,
        "x-schema-id": publication.schema_id,
    }
    unsaid = {"description"} if not more.strip() else set()
    if "correlation_id" not in publication.model.model_fields:
        unsaid |= {"correlationId"}
    return {name: value for name, value in message.items() if name not in unsaid}


def _reference(publication: Publication) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{publication.name}"}


def _envelope(publication: Publication) -> dict[str, Any]:
    """Return the schema of an EventBridge event around a detail."""
    inbound = publication.direction is Direction.INBOUND
    sources = (EVENT_SOURCE,) if not inbound else WORK_SOURCES if publication.kind else (PROVIDER_SOURCE,)
    envelope: dict[str, Any] = {
        "type": "object",
        "required": ["detail-type", "source", "detail"],
        "properties": {
            "version": {"type": "string", "description": "The version of EventBridge's own envelope."},
            "id": {"type": "string", "description": "EventBridge's id of this publication; another one is another."},
            "detail-type": {"type": "string", "const": publication.kind} if publication.kind else _PROVIDERS_OWN,
            "source": {
                "type": "string",
                "description": "One of the sources that the service believes." if inbound else "This service.",
                "examples": list(sources),
            },
            "account": {"type": "string"},
            "time": {"type": "string", "format": "date-time", "description": "When the event was put on the bus."},
            "region": {"type": "string"},
            "resources": {"type": "array", "items": {"type": "string"}},
            "detail": _reference(publication),
        },
    }
    if inbound and publication.kind:
        envelope["anyOf"] = _keys()
    return envelope


def _keys() -> list[dict[str, Any]]:
    """Return what makes an inbound event's key: its own id, or else the envelope's."""
    own = {"required": ["eventId"], "properties": {"eventId": {"type": "string"}}}
    outer = {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX}
    return [
        {"title": "known by its eventId", "properties": {"detail": own}},
        {"title": "known by its envelope", "required": ["id"], "properties": {"id": outer}},
    ]


def _schemas() -> dict[str, Any]:
    """Return every model's schema once, under the name by which the messages refer to it."""
    _, found = models_json_schema(
        [(publication.model, publication.mode) for publication in CATALOGUE.values()],
        ref_template="#/components/schemas/{model}",
        schema_generator=SchemaGenerator,
    )
    return {name: schema for name, schema in sorted(found["$defs"].items()) if name != Refusal.__name__}


def _deliveries() -> dict[str, Any]:
    """Return which message travels where in which form; an inbound kind that comes by another way is malformed."""
    return {
        found.name: {"direction": found.direction, "places": [place._asdict() for place in found.places]}
        for found in CATALOGUE.values()
    }
