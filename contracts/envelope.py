"""From the bytes of a queue to a kind, a key and a payload: what is not parseable stops here.

Two bodies are accepted: an EventBridge envelope, whose `detail-type` names the kind, and a bare command in
JSON, whose `type` names it. Each kind is taken from its own queue only, in its own form only.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, NoReturn

from contracts.traces import TraceContext, in_payload, on_arrival, without_trace
from contracts.values import dataclass

#: The largest body that is parsed, in bytes. Amazon SQS carries up to 1 MiB; ours are a few KiB.
BODY_BYTES_MAX = 262_144
#: The deepest nesting that is parsed; our deepest message has five levels.
DEPTH_MAX = 20
#: The longest number literal that is parsed: far above any amount, far below what would cost time.
NUMBER_CHARS_MAX = 40
#: The longest message key: a UUID has 36 characters, an `evt_…` id fewer than 100.
KEY_CHARS_MAX = 200

#: The one major version of every message so far.
MAJOR_VERSION = "1"
#: The versions of that major, in the regular expressions that JSON Schema and Python share.
VERSION_PATTERN = rf"^{MAJOR_VERSION}(\.[0-9]{{1,4}}){{0,2}}$"
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){0,2}")
#: What a body has to contain before its texts need a look: in JSON only an escape can write NUL or a surrogate.
_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


class Queue(StrEnum):
    """The inbound queues, by the part they play; their URLs are settings."""

    EVENTS = "payments-events"
    COMMANDS = "payments-commands"
    PAYOUTS = "payments-payouts"


class Form(StrEnum):
    """The two shapes of an inbound body."""

    EVENT_BRIDGE = "event_bridge"
    COMMAND = "command"


#: Which kind on which queue in which form; a kind anywhere else is malformed.
DELIVERIES: Mapping[str, frozenset[tuple[Queue, Form]]] = {
    "WorkCompleted": frozenset({(Queue.EVENTS, Form.EVENT_BRIDGE)}),
    "CreatePayment": frozenset({(Queue.COMMANDS, Form.COMMAND)}),
    "ApprovePayment": frozenset({(Queue.COMMANDS, Form.COMMAND)}),
    "RejectPayment": frozenset({(Queue.COMMANDS, Form.COMMAND)}),
    "CancelPayment": frozenset({(Queue.COMMANDS, Form.COMMAND)}),
    "HoldPayment": frozenset({(Queue.COMMANDS, Form.COMMAND)}),
    "ReleaseHold": frozenset({(Queue.COMMANDS, Form.COMMAND)}),
    "SetApprovalPolicy": frozenset({(Queue.COMMANDS, Form.COMMAND)}),
    "MembershipChanged": frozenset({(Queue.COMMANDS, Form.COMMAND)}),
    # By a releaser on the command queue; by the service itself, after the last approval, on its own.
    "ProcessPayment": frozenset({(Queue.COMMANDS, Form.COMMAND), (Queue.PAYOUTS, Form.COMMAND)}),
    "VendorAccountChanged": frozenset({(Queue.COMMANDS, Form.COMMAND)}),
    "ExecutePayout": frozenset({(Queue.PAYOUTS, Form.COMMAND)}),
    "ReconcileAttempt": frozenset({(Queue.PAYOUTS, Form.COMMAND)}),
    "ProviderEvent": frozenset({(Queue.EVENTS, Form.EVENT_BRIDGE)}),
}
#: What every event of the payment provider is to us, whatever it calls it: its own type stands in the event.
PROVIDER_EVENT = "ProviderEvent"


class Flaw(StrEnum):
    """Why a body cannot be a message of ours, whoever reads it and however often."""

    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    DUPLICATE_KEY = "duplicate_key"
    TOO_DEEP = "too_deep"
    NUL_CHARACTER = "nul_character"
    LONE_SURROGATE = "lone_surrogate"
    BAD_NUMBER = "bad_number"
    MISSING_KIND = "missing_kind"
    UNKNOWN_KIND = "unknown_kind"
    WRONG_QUEUE = "wrong_queue"
    UNKNOWN_SOURCE = "unknown_source"
    UNKNOWN_VERSION = "unknown_version"
    BAD_KEY = "bad_key"
    SCHEMA = "schema"


class Malformed(Exception):
    """The body can never be handled by this release; it is dead-lettered at once with its reason.

    Attributes:
        flaw: the reason, from a closed set.
        detail: where it lies, in our own words; never a value from the body.
        kind: the kind, where it could be read and is known.
    """

    def __init__(self, flaw: Flaw, detail: str = "", *, kind: str | None = None) -> None:
        super().__init__(f"{flaw}: {detail}" if detail else str(flaw))
        self.flaw = flaw
        self.detail = detail
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the queue itself says about a delivery.

    `sent_at` is the time of the first sending (`SentTimestamp`); a retry, being the same message, keeps it. `sender` is
    the unique id of the IAM role or user that sent it (`SenderId`): Amazon SQS sets it, a sender cannot. `traceparent`
    and `trace_header` are the message attribute and `AWSTraceHeader`, as they came.
    """

    queue: Queue
    sqs_message_id: str
    sent_at: datetime
    receive_count: int = 1
    sender: str | None = None
    traceparent: str | None = None
    trace_header: str | None = None

    def trace(self) -> tuple[TraceContext | None, str]:
        """Return the context that it was sent in, if the queue says any, and the id of its trace in any case."""
        return on_arrival(self.sqs_message_id, self.traceparent, self.trace_header)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A body that names a kind we know, on the right queue, in the right form, of a version we know.

    `trace` is the context that it carries itself; its payload says nothing of that where it would count as business.
    """

    kind: str
    form: Form
    payload: Mapping[str, Any]
    envelope_id: str | None
    source: str | None
    trace: TraceContext | None = None


def open_envelope(
    body: str, queue: Queue, *, sources: frozenset[str], provider_sources: frozenset[str] = frozenset()
) -> Envelope:
    """Return the envelope of a body.

    Args:
        body: the message body as SQS delivered it.
        queue: the queue that it came from.
        sources: the EventBridge sources whose events are believed.
        provider_sources: the EventBridge sources of the payment provider's events; a source is one or the other.

    Raises:
        Malformed: not parseable, or a kind, version, source or queue that is not ours.
    """
    document = parse_object(body)
    envelope = _event_bridge(document) if "detail-type" in document else _command(document)
    if envelope.form is Form.EVENT_BRIDGE and envelope.source in provider_sources:
        envelope = replace(envelope, kind=PROVIDER_EVENT)
    places = DELIVERIES.get(envelope.kind)
    if places is None:
        raise Malformed(Flaw.UNKNOWN_KIND)
    if (queue, envelope.form) not in places:
        raise Malformed(Flaw.WRONG_QUEUE, f"{envelope.form} on {queue}", kind=envelope.kind)
    believed = provider_sources if envelope.kind == PROVIDER_EVENT else sources
    if envelope.form is Form.EVENT_BRIDGE and envelope.source not in believed:
        raise Malformed(Flaw.UNKNOWN_SOURCE, kind=envelope.kind)
    if envelope.kind != PROVIDER_EVENT:  # the provider's versions are its own
        _check_version(envelope)
    return replace(envelope, payload=without_trace(envelope.payload), trace=in_payload(envelope.payload))


def parse_object(body: str) -> dict[str, Any]:
    """Return a JSON object, strictly: no duplicate keys, no NUL, no lone surrogates, bounded size and depth.

    Numbers with a fraction or an exponent become exact decimals, since a float would round money.

    Raises:
        Malformed: the body is not such an object.
    """
    try:
        size = len(body.encode())
    except UnicodeEncodeError:
        raise Malformed(Flaw.LONE_SURROGATE) from None
    if size > BODY_BYTES_MAX:
        raise Malformed(Flaw.TOO_LARGE, f"over {BODY_BYTES_MAX} bytes")
    try:
        document = json.loads(
            body,
            object_pairs_hook=_object,
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=_constant,
        )
    except RecursionError:
        raise Malformed(Flaw.TOO_DEEP) from None
    except ValueError:
        raise Malformed(Flaw.NOT_JSON) from None
    if not isinstance(document, dict):
        raise Malformed(Flaw.NOT_AN_OBJECT)
    if _SUSPECT.search(body) or body.count("{") + body.count("[") >= DEPTH_MAX:
        _check_content(document)
    return document


def _event_bridge(document: Mapping[str, Any]) -> Envelope:
    kind, detail = document["detail-type"], document.get("detail")
    if not isinstance(kind, str):
        raise Malformed(Flaw.MISSING_KIND)
    if not isinstance(detail, dict):
        raise Malformed(Flaw.SCHEMA, "detail is not an object")
    envelope_id, source = document.get("id"), document.get("source")
    return Envelope(
        kind=kind,
        form=Form.EVENT_BRIDGE,
        payload=detail,
        envelope_id=envelope_id if isinstance(envelope_id, str) else None,
        source=source if isinstance(source, str) else None,
    )


def _command(document: Mapping[str, Any]) -> Envelope:
    kind = document.get("type")
    if not isinstance(kind, str):
        raise Malformed(Flaw.MISSING_KIND)
    return Envelope(kind=kind, form=Form.COMMAND, payload=document, envelope_id=None, source=None)


def _check_version(envelope: Envelope) -> None:
    field = "version" if envelope.form is Form.EVENT_BRIDGE else "schemaVersion"
    version = envelope.payload.get(field)
    if version is None:
        return
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise Malformed(Flaw.UNKNOWN_VERSION, f"{field} is not like '1.0'", kind=envelope.kind)
    if version.split(".")[0] != MAJOR_VERSION:
        raise Malformed(Flaw.UNKNOWN_VERSION, f"major {field} is not {MAJOR_VERSION}", kind=envelope.kind)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise Malformed(Flaw.DUPLICATE_KEY)
    return document


def _decimal(literal: str) -> Decimal:
    if len(literal) > NUMBER_CHARS_MAX:
        raise Malformed(Flaw.BAD_NUMBER, "number literal too long")
    try:
        return Decimal(literal)
    except InvalidOperation:
        raise Malformed(Flaw.BAD_NUMBER, "exponent too large") from None


def _integer(literal: str) -> int:
    if len(literal) > NUMBER_CHARS_MAX:
        raise Malformed(Flaw.BAD_NUMBER, "number literal too long")
    return int(literal)


def _constant(_literal: str) -> NoReturn:
    raise Malformed(Flaw.NOT_JSON, "NaN and Infinity are not JSON")


def _check_content(document: dict[str, Any]) -> None:
    """Walk the document without recursion: depth, NUL characters, lone surrogates, in keys and values."""
    todo: list[tuple[Any, int]] = [(document, 1)]
    while todo:
        value, depth = todo.pop()
        if depth > DEPTH_MAX:
            raise Malformed(Flaw.TOO_DEEP, f"over {DEPTH_MAX} levels")
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, dict):
            todo += ((inner, depth + 1) for pair in value.items() for inner in pair)
        elif isinstance(value, list):
            todo += ((inner, depth + 1) for inner in value)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise Malformed(Flaw.NUL_CHARACTER)  # Postgres text cannot hold it
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Malformed(Flaw.LONE_SURROGATE)
