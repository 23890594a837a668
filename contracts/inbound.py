"""Every message that the service takes, as it stands on the wire, and how a body becomes one of them.

Wire names are camelCase, Python names snake_case; unknown extra fields are ignored. A model holds what the
schema says (names and JSON types); what a value must obey beyond that is a business rule, its breach refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Strict,
    StrictInt,
    StrictStr,
    StringConstraints,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from contracts.canonical import digest
from contracts.envelope import KEY_CHARS_MAX, Arrival, Envelope, Flaw, Malformed, Queue, open_envelope
from contracts.payment import Actor, ActorType, Role

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _text_only(value: object) -> object:
    """Refuse whatever is not a text, so that nothing is read into another type's value."""
    if not isinstance(value, str):
        raise ValueError("not a string")  # noqa: TRY004 - pydantic turns a ValueError into its own error
    return value


def _iso_8601(value: object) -> object:
    """Refuse whatever is not written as a date: pydantic would read "1700000000" as a time too."""
    if not isinstance(value, str) or not _DATE.match(value):
        raise ValueError("not an ISO 8601 time")
    return value


def _in_utc(value: datetime) -> datetime:
    """Refuse a time at the edge of the calendar that has no counterpart in UTC."""
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise ValueError("not a time in UTC") from None
    return value


WireAmount = StrictInt | Annotated[Decimal, Strict()]
WireTime = Annotated[AwareDatetime, BeforeValidator(_iso_8601), AfterValidator(_in_utc)]
WireUuid = Annotated[UUID, BeforeValidator(_text_only)]
WireKey = Annotated[StrictStr, StringConstraints(min_length=1, max_length=KEY_CHARS_MAX)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class InboundMessage(_Wire):
    """What every inbound message has: a kind, and business fields that make its fingerprint."""

    #: Fields that say how a message travelled, not what it means; they stay out of the fingerprint.
    #: Free text about people stays out too: an unsalted digest of it could not be erased.
    not_business: ClassVar[frozenset[str]] = frozenset()

    @property
    def own_key(self) -> str | None:
        """The producer's own id for this message, where it gives one."""
        return None

    @property
    def correlation(self) -> str | None:
        """The producer's correlation id, where it gives one."""
        return None

    def fingerprint(self) -> bytes:
        """Return the SHA-256 (32 bytes) of the business fields in canonical JSON."""
        return digest(self.model_dump(by_alias=True, exclude=set(self.not_business), exclude_none=True))


class WorkLine(_Wire):
    """A priced line as the vendor's client sends it; either name of the unit price is taken."""

    description: StrictStr
    quantity: WireAmount = 1
    unit_price_cents: WireAmount | None = None
    unit_price: WireAmount | None = None


class WorkCharge(_Wire):
    """An extra charge of the `pricing` shape."""

    description: StrictStr
    amount: WireAmount


class WorkPricing(_Wire):
    """The `pricing` shape: base price, mileage, extras, all in minor units."""

    base_price: WireAmount | None = None
    mileage_charge: WireAmount | None = None
    additional_charges: tuple[WorkCharge, ...] = ()


class WorkDetails(_Wire):
    """The nested shape of the circumstances; notes are personal data."""

    service_type: StrictStr | None = None
    duration: WireAmount | None = None
    notes: StrictStr | None = None
    photos: tuple[StrictStr, ...] | None = None


class WorkCompleted(InboundMessage):
    """A vendor has finished a roadside job. All producers' shapes are taken."""

    event_id: WireKey | None = None
    timestamp: WireTime | None = None
    version: StrictStr | None = None
    correlation_id: WireKey | None = None
    incident_id: StrictStr
    vendor_id: StrictStr
    driver_id: StrictStr | None = None
    company_id: StrictStr | None = None
    completed_at: WireTime
    payer_type: StrictStr | None = None
    payer_id: StrictStr | None = None
    currency: StrictStr | None = None
    work_details: WorkDetails | None = None
    service_type: StrictStr | None = None
    duration: WireAmount | None = None
    notes: StrictStr | None = None
    media_urls: tuple[StrictStr, ...] | None = None
    line_items: tuple[WorkLine, ...] | None = None
    pricing: WorkPricing | None = None
    total_cents: WireAmount | None = None
    amount_cents: WireAmount | None = None

    not_business = frozenset(
        {
            "event_id",
            "timestamp",
            "version",
            "correlation_id",
            "completed_at",
            "work_details",
            "service_type",
            "duration",
            "notes",
            "media_urls",
        }
    )

    @property
    def own_key(self) -> str | None:
        """The event's id."""
        return self.event_id

    @property
    def correlation(self) -> str | None:
        """The producer's correlation id."""
        return self.correlation_id


class WireActor(_Wire):
    """Who a command says it is from."""

    id: WireUuid
    type: ActorType
    role: Role | None = None
    company_id: WireUuid | None = None

    def actor(self) -> Actor:
        """Return the actor in our terms; an actor of type `admin` that names no role is an admin."""
        role = self.role or (Role.ADMIN if self.type is ActorType.ADMIN else None)
        return Actor(self.id, self.type, role, self.company_id)


class Command(InboundMessage):
    """What every command carries beside its own fields."""

    type: StrictStr
    command_id: WireUuid
    schema_version: StrictStr | None = None
    issued_at: WireTime | None = None
    actor: WireActor
    correlation_id: WireKey | None = None

    not_business = frozenset({"schema_version", "issued_at", "correlation_id"})

    @property
    def own_key(self) -> str | None:
        """The command's id."""
        return str(self.command_id)

    @property
    def correlation(self) -> str | None:
        """The sender's correlation id."""
        return self.correlation_id


class CreateLine(_Wire):
    """A line of the specified POST body."""

    description: StrictStr
    quantity: WireAmount = 1
    unit_price_cents: WireAmount


class CreatePayment(Command):
    """Create a payment by hand: the specified POST body as a command."""

    incident_id: StrictStr
    vendor_id: StrictStr
    driver_id: StrictStr | None = None
    company_id: StrictStr | None = None
    payer_type: StrictStr
    payer_id: StrictStr | None = None
    amount_cents: WireAmount
    currency: StrictStr | None = None
    line_items: tuple[CreateLine, ...]
    metadata: dict[str, Any] | None = None


class PaymentCommand(Command):
    """A command about an existing payment.

    `amountCents`, `currency` and `expectedVersion` are what the sender saw; each is compared with the locked
    row whenever it is there.
    """

    payment_id: StrictStr
    amount_cents: WireAmount | None = None
    currency: StrictStr | None = None
    expected_version: StrictInt | None = None


class ApprovePayment(PaymentCommand):
    """A dispatcher or admin approves a payment."""

    approved_by: WireUuid | None = None
    notes: StrictStr | None = None
    review_notes: StrictStr | None = None

    not_business = Command.not_business | {"notes", "review_notes"}


class RejectPayment(PaymentCommand):
    """A dispatcher or admin turns a payment down; it is cancelled with the reason."""

    reason_code: StrictStr | None = None
    reason: StrictStr

    not_business = Command.not_business | {"reason"}


class CancelPayment(PaymentCommand):
    """A dispatcher or admin calls off a payment that is not yet being paid out."""

    reason_code: StrictStr | None = None
    reason: StrictStr

    not_business = Command.not_business | {"reason"}


class ProcessPayment(PaymentCommand):
    """Pay an approved payment out; posted by the service itself after the last approval."""


class ExecutePayout(Command):
    """The service's own order to put one payout attempt to the provider."""

    attempt_id: WireUuid
    check: StrictInt = 0


#: Every kind by its name on the wire.
KINDS: Mapping[str, type[InboundMessage]] = {
    "WorkCompleted": WorkCompleted,
    "CreatePayment": CreatePayment,
    "ApprovePayment": ApprovePayment,
    "RejectPayment": RejectPayment,
    "CancelPayment": CancelPayment,
    "ProcessPayment": ProcessPayment,
    "ExecutePayout": ExecutePayout,
}


@dataclass(frozen=True, slots=True)
class Cause:
    """What a change can be traced back to.

    Attributes:
        kind: the message's kind.
        message_key: its identity, the second half of the inbox key (kind, message key).
        fingerprint: SHA-256 of its business fields; the same key with another one is a conflict.
        correlation_id: what ties a whole conversation together, or None where the producer named nothing.
        queue: where it came from.
        sent_at: when it was first sent, by the queue's clock.
    """

    kind: str
    message_key: str
    fingerprint: bytes
    correlation_id: str | None
    queue: Queue
    sent_at: datetime

    @property
    def correlation(self) -> str:
        """What everything that follows from this message is tied together by."""
        return self.correlation_id or self.message_key


@dataclass(frozen=True, slots=True)
class Parsed:
    """A well-formed message and where it came from."""

    message: InboundMessage
    cause: Cause


def parse(body: str, arrival: Arrival, *, sources: frozenset[str]) -> Parsed:
    """Return the message of a body.

    Args:
        body: the message body as SQS delivered it.
        arrival: what the queue says about it.
        sources: the EventBridge sources whose events are believed.

    Raises:
        Malformed: the body can never be a message of ours.
    """
    envelope = open_envelope(body, arrival.queue, sources=sources)
    try:
        message = KINDS[envelope.kind].model_validate(envelope.payload)
    except ValidationError as error:
        raise Malformed(Flaw.SCHEMA, _where(error), kind=envelope.kind) from None
    cause = Cause(
        kind=envelope.kind,
        message_key=_message_key(message, envelope),
        fingerprint=message.fingerprint(),
        correlation_id=message.correlation,
        queue=arrival.queue,
        sent_at=arrival.sent_at,
    )
    return Parsed(message, cause)


def _message_key(message: InboundMessage, envelope: Envelope) -> str:
    if message.own_key is not None:
        return message.own_key
    if envelope.envelope_id is None or not 0 < len(envelope.envelope_id) <= KEY_CHARS_MAX:
        raise Malformed(Flaw.BAD_KEY, "neither eventId nor envelope id", kind=envelope.kind)
    return f"eb:{envelope.envelope_id}"


def _where(error: ValidationError) -> str:
    """Say which fields are wrong and how, without a word of what they hold."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, flaw['loc']))}: {flaw['type']}" for flaw in found[:10])
