"""Every message that the service takes, as it stands on the wire, and how a body becomes one of them.

Wire names are camelCase, Python names snake_case; unknown extra fields are ignored. A model holds what the
schema says (names and JSON types); what a value must obey beyond that is a business rule, its breach refused.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
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
    Field,
    SecretStr,
    Strict,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from contracts.canonical import digest
from contracts.envelope import (
    DELIVERIES,
    KEY_CHARS_MAX,
    VERSION_PATTERN,
    Arrival,
    Envelope,
    Flaw,
    Malformed,
    Queue,
    open_envelope,
)
from contracts.payment import ActorType, Role
from contracts.traces import TraceContext, handling
from contracts.values import dataclass

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


# What is published is what producers may rely on. The code takes a few spellings more of a time and of a UUID
# (ISO 8601 without seconds, a UUID in braces); tests/contracts/test_schema_and_code.py has the whole list.
WireNumber = Annotated[StrictInt | Annotated[Decimal, Strict()], WithJsonSchema({"type": "number"})]
WireAmount = Annotated[
    WireNumber,
    WithJsonSchema(
        {
            "type": "number",
            "description": (
                "A whole number of minor units (cents for USD). 350 and 350.0 are the same; 350.5 is refused with the "
                "code non_integer_minor_units, an amount below zero with negative_amount."
            ),
        }
    ),
]
WireTime = Annotated[
    AwareDatetime,
    BeforeValidator(_iso_8601),
    AfterValidator(_in_utc),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "pattern": (
                r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$"
            ),
            "description": "An RFC 3339 time with its zone. A second has at most microseconds; the rest is cut.",
        }
    ),
]
WireUuid = Annotated[
    UUID,
    BeforeValidator(_text_only),
    WithJsonSchema(
        {
            "type": "string",
            "format": "uuid",
            "pattern": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
        }
    ),
]
WireKey = Annotated[StrictStr, StringConstraints(min_length=1, max_length=KEY_CHARS_MAX)]
WireVersion = Annotated[
    StrictStr,  # looked at before the model is chosen: contracts.envelope
    WithJsonSchema({"type": "string", "pattern": VERSION_PATTERN, "examples": ["1.0"]}),
]
WireCount = Annotated[
    StrictInt,
    WithJsonSchema({"type": "integer", "description": "Written without a fraction: 3, never 3.0."}),
]


class _Wire(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


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
    """What was done, 1 to 255 characters."""
    quantity: WireNumber = 1
    """How many, a whole number above zero."""
    unit_price_cents: WireAmount | None = None
    """The price of one, in minor units. It or `unitPrice` is needed; where both are there, they must be equal."""
    unit_price: WireAmount | None = None
    """Another name of `unitPriceCents`, in minor units as well."""


class WorkCharge(_Wire):
    """An extra charge of the `pricing` shape."""

    description: StrictStr
    """What the charge is for, 1 to 255 characters."""
    amount: WireAmount
    """The charge, a whole number of minor units (cents for USD); 350.0 is 350, 350.5 is refused."""


class WorkPricing(_Wire):
    """The `pricing` shape: base price, mileage, extras, all in minor units."""

    base_price: WireAmount | None = None
    """The price of the service, in minor units; without it the other charges of this shape count for nothing."""
    mileage_charge: WireAmount | None = None
    """The charge for the way, in minor units; 0 is kept as a line."""
    additional_charges: tuple[WorkCharge, ...] = ()
    """What was charged beyond that."""


class WorkDetails(_Wire):
    """The nested shape of the circumstances; notes are personal data."""

    service_type: StrictStr | None = None
    """What kind of service it was; it names the line of a base price."""
    duration: WireNumber | None = None
    """How long the work took, in the producer's unit."""
    notes: StrictStr | None = None
    """Free text about the work. Personal data: kept apart, erasable, never logged."""
    photos: tuple[StrictStr, ...] | None = None
    """Addresses of photos; only their number is kept."""


class WorkCompleted(InboundMessage):
    """A vendor has finished a roadside job. All producers' shapes are taken.

    The price is one of `lineItems` and `pricing`; where both are there, they must come to the same sum. A job
    without a price is refused with the code missing_pricing, never taken as free.
    """

    event_id: WireKey | None = None
    """The event's id, the same over every re-publication. Without it the envelope's id is taken."""
    timestamp: WireTime | None = None
    """When the event was published."""
    version: WireVersion | None = None
    """The version of this contract that the producer wrote to."""
    correlation_id: WireKey | None = None
    """What ties a whole conversation together; it is repeated in every event that follows."""
    incident_id: StrictStr
    """The incident, a UUID; anything else is refused with the code non_uuid_id."""
    vendor_id: StrictStr
    """The vendor who did the work and is to be paid, a UUID."""
    driver_id: StrictStr | None = None
    """The driver, a UUID."""
    company_id: StrictStr | None = None
    """The company, a UUID, whose dispatchers may approve; without it only admins may."""
    completed_at: WireTime
    """When the work was finished; more than five minutes ahead is refused with the code completed_in_future."""
    payer_type: StrictStr | None = None
    """Who pays: `back_office`, which is also meant where it is absent, or `driver_ic`."""
    payer_id: StrictStr | None = None
    """Who pays, a UUID; by default the driver where `payerType` is `driver_ic`."""
    currency: StrictStr | None = None
    """ISO 4217, in either case; USD where it is absent."""
    work_details: WorkDetails | None = None
    """The circumstances of the work; what it says goes before the flat fields of the same meaning."""
    service_type: StrictStr | None = None
    """What kind of service it was, as a flat field."""
    duration: WireNumber | None = None
    """How long the work took, in the producer's unit, as a flat field."""
    notes: StrictStr | None = None
    """Free text about the work, as a flat field. Personal data: kept apart, erasable, never logged."""
    media_urls: tuple[StrictStr, ...] | None = None
    """Addresses of photos, as a flat field; only their number is kept."""
    line_items: tuple[WorkLine, ...] | None = None
    """The itemised price, at most 100 lines."""
    pricing: WorkPricing | None = None
    """The price by its parts."""
    total_cents: WireAmount | None = None
    """The sum in minor units; where it is there, it must be that of the price."""
    amount_cents: WireAmount | None = None
    """Another name of `totalCents`, in minor units as well."""

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
    """Who a command says it is from. Only the id counts, and only where the actor's token proves it."""

    id: WireUuid
    """The person or service that acts: the `sub` of the actor's token."""
    type: ActorType
    """What kind of actor it is; it decides nothing."""
    role: Role | None = None
    """In which role a person acts; it decides nothing."""
    company_id: WireUuid | None = None
    """The company that a dispatcher acts for; it decides nothing."""


def _name_the_kind(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Say in a command's schema what choosing the model by its `type` makes true: the value is one and fixed."""
    schema["properties"]["type"]["const"] = model.__name__


class Command(InboundMessage):
    """What every command carries beside its own fields."""

    model_config = ConfigDict(json_schema_extra=_name_the_kind)

    type: StrictStr
    """The kind of the command."""
    command_id: WireUuid
    """The command's id, new for every command and the same over every re-sending."""
    schema_version: WireVersion | None = None
    """The version of this contract that the sender wrote to."""
    issued_at: WireTime | None = None
    """When the command was given."""
    actor: WireActor
    """Who gives the command: the person whose token it carries. What they may do is no word of the command's."""
    actor_token: Annotated[SecretStr | None, Field(repr=False)] = None
    """The actor's Amazon Cognito access token. It proves the actor, and is neither stored nor logged."""
    correlation_id: WireKey | None = None
    """What ties a whole conversation together; it is repeated in every event that follows."""

    not_business = frozenset({"schema_version", "issued_at", "actor_token", "correlation_id"})

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
    """What is paid for, 1 to 255 characters."""
    quantity: WireNumber = 1
    """How many, a whole number above zero."""
    unit_price_cents: WireAmount
    """The price of one, a whole number of minor units (cents for USD); 350.0 is 350, 350.5 is refused."""


class CreatePayment(Command):
    """Create a payment by hand: the specified POST body as a command."""

    incident_id: StrictStr
    """The incident, a UUID; anything else is refused with the code non_uuid_id."""
    vendor_id: StrictStr
    """The vendor who is to be paid, a UUID."""
    driver_id: StrictStr | None = None
    """The driver, a UUID."""
    company_id: StrictStr | None = None
    """The company, a UUID, whose dispatchers may approve; without it only admins may."""
    payer_type: StrictStr
    """Who pays: `back_office` or `driver_ic`."""
    payer_id: StrictStr | None = None
    """Who pays, a UUID."""
    amount_cents: WireAmount
    """The sum, a whole number of minor units (cents for USD); it must be that of the lines."""
    currency: StrictStr | None = None
    """ISO 4217, in either case; USD where it is absent."""
    line_items: tuple[CreateLine, ...]
    """What is paid for, 1 to 100 lines; none at all is refused with the code missing_pricing."""
    metadata: dict[str, Any] | None = None
    """Texts and numbers about the circumstances: `serviceType`, `duration`, `workCompletedAt`, `photoCount`,
    `reference`; `traceparent` and `tracestate` say how it travelled; any other name is refused with the code
    invalid_field."""


class PaymentCommand(Command):
    """A command about an existing payment.

    `amountCents`, `currency` and `expectedVersion` are what the sender saw; each is compared with the locked
    row whenever it is there.
    """

    payment_id: StrictStr
    """The payment, a UUID; anything else is refused with the code invalid_field."""
    amount_cents: WireAmount | None = None
    """The amount that the sender saw, in minor units; another one is refused with the code amount_mismatch."""
    currency: StrictStr | None = None
    """The currency that the sender saw, ISO 4217; another one is refused with the code amount_mismatch."""
    expected_version: WireCount | None = None
    """The payment's version that the sender saw; another one is refused with the code version_conflict."""


class ApprovePayment(PaymentCommand):
    """A dispatcher or admin approves a payment."""

    approved_by: WireUuid | None = None
    """Who approves; where it is there, it must be the actor."""
    notes: StrictStr | None = None
    """Free text for the audit log. Personal data: kept apart, erasable, never logged."""
    review_notes: StrictStr | None = None
    """More free text for the audit log."""

    not_business = Command.not_business | {"notes", "review_notes"}


class RejectPayment(PaymentCommand):
    """A dispatcher or admin turns a payment down; it is cancelled with the reason."""

    reason_code: StrictStr | None = None
    """Why, for machines, 1 to 64 characters."""
    reason: StrictStr
    """Why, for people, 1 to 2,000 characters; repeated in the event PaymentCancelled."""

    not_business = Command.not_business | {"reason"}


class CancelPayment(PaymentCommand):
    """A dispatcher or admin calls off a payment that is not yet being paid out."""

    reason_code: StrictStr | None = None
    """Why, for machines, 1 to 64 characters."""
    reason: StrictStr
    """Why, for people, 1 to 2,000 characters; repeated in the event PaymentCancelled."""

    not_business = Command.not_business | {"reason"}


class HoldPayment(PaymentCommand):
    """A dispatcher or admin stops a payment for a while: it is neither approved nor paid out until it is released."""

    reason_code: StrictStr | None = None
    """Why, for machines, 1 to 64 characters."""
    reason: StrictStr
    """Why, for people, 1 to 2,000 characters. Kept apart, erasable, never logged."""
    until: WireTime | None = None
    """When the hold ends by itself; without it somebody has to release it."""

    not_business = Command.not_business | {"reason"}


class ReleaseHold(PaymentCommand):
    """A dispatcher or admin lets a held payment go on; where it was approved, it is paid out."""

    reason_code: StrictStr | None = None
    """Why, for machines, 1 to 64 characters."""
    reason: StrictStr
    """Why, for people, 1 to 2,000 characters. Kept apart, erasable, never logged."""

    not_business = Command.not_business | {"reason"}


class PolicyTier(_Wire):
    """What it takes to approve payments up to an amount, in one currency."""

    up_to_cents: WireAmount | None = None
    """The highest amount of this tier, in minor units; without it there is no limit. The last tier of a currency has
    none."""
    currency: StrictStr
    """ISO 4217, in either case."""
    approvers: WireCount
    """How many persons must approve, 1 to 5."""
    roles: tuple[StrictStr, ...] = ("dispatcher", "admin")
    """Who of them may: `dispatcher`, `admin` or both."""


class SetApprovalPolicy(Command):
    """An admin says what it takes to approve a company's payments: a new version, for payments created from then on."""

    company_id: StrictStr
    """The company, a UUID."""
    tiers: tuple[PolicyTier, ...]
    """The tiers, 1 to 50; in each currency by rising amounts, the last without a limit. A payment in a currency that
    has no tier takes the strictest tier of all."""
    separate_releaser: StrictBool = False
    """Whether somebody who has not approved it must release each payment, by ProcessPayment."""
    expected_version: WireCount | None = None
    """The version that the sender saw, 0 where there was none; another one is refused (version_conflict)."""


class MembershipChanged(Command):
    """Says what a person may do: which role, for which company or vendor, or that they may do nothing any more."""

    sub: StrictStr
    """The person, as their tokens name them (`sub`), a UUID."""
    role: StrictStr
    """`dispatcher`, `admin` or `vendor`."""
    company_id: StrictStr | None = None
    """The company, a UUID; a dispatcher needs one."""
    vendor_id: StrictStr | None = None
    """The vendor, a UUID; a vendor needs one. Nobody approves payments to the vendor that they act for."""
    enabled: StrictBool
    """False takes every right away."""


class VendorAccountChanged(Command):
    """Says where a vendor is paid: which account with the payment provider, and whether payouts to it are possible.

    Another account than before holds the vendor's payouts for a cool-down.
    """

    vendor_id: StrictStr
    """The vendor, a UUID."""
    stripe_account_id: StrictStr
    """The vendor's connected account, `acct_` and up to 250 letters and digits."""
    payouts_enabled: StrictBool
    """Whether the provider pays to it. False stops the vendor's payouts until it is true."""
    requirements: tuple[StrictStr, ...] = ()
    """What the provider still asks the vendor for, by the provider's names; at most 50. Names only, never values."""


class ProcessPayment(PaymentCommand):
    """Pay an approved payment out; posted by the service itself after the last approval."""

    vendor_stripe_account_id: StrictStr | None = None
    """The vendor's account that the sender saw; where it is there and is not the registered one, the payment is refused
    with the code vendor_not_payable."""


class ExecutePayout(Command):
    """The service's own order to put one payout attempt to the provider."""

    attempt_id: WireUuid
    """The payout attempt."""
    check: WireCount = 0
    """Which look at the attempt this is, counted from 0."""


class ReconcileAttempt(Command):
    """The service's own order to look one payout attempt up at the provider, and to record what is there."""

    attempt_id: WireUuid
    """The payout attempt."""
    check: WireCount = 0
    """Which look at the attempt this is."""
    payout_id: WireKey | None = None
    """The provider's settlement to the vendor's bank that the attempt's money is part of, where the look is for it."""


class ProviderObject(_Wire):
    """What a provider's event is about. It is read again at the provider: what the event says of it is a hint."""

    id: WireKey
    """The provider's id of it."""
    object: StrictStr
    """What kind of thing it is, such as `transfer` or `payout`."""


class ProviderEventData(_Wire):
    """The part of a provider's event that names its object."""

    object: ProviderObject
    """What the event is about."""


class ProviderEvent(InboundMessage):
    """Something happened at the payment provider: an event of Stripe, by way of an EventBridge event destination.

    Its `detail-type` is the provider's own, such as `transfer.reversed`; what makes it this kind is its source.
    """

    id: WireKey
    """The event's id, `evt_…`, the same over every delivery."""
    type: StrictStr
    """What happened, such as `transfer.created` or `payout.failed`; other kinds of events are ignored."""
    livemode: StrictBool
    """Whether it is about real money; an event of the other mode is refused."""
    account: WireKey | None = None
    """The connected account that it happened to; absent for the platform's own."""
    data: ProviderEventData
    """What it is about."""

    @property
    def own_key(self) -> str | None:
        """The event's id."""
        return self.id


#: Every kind by its name on the wire.
KINDS: Mapping[str, type[InboundMessage]] = {
    "WorkCompleted": WorkCompleted,
    "CreatePayment": CreatePayment,
    "ApprovePayment": ApprovePayment,
    "RejectPayment": RejectPayment,
    "CancelPayment": CancelPayment,
    "HoldPayment": HoldPayment,
    "ReleaseHold": ReleaseHold,
    "SetApprovalPolicy": SetApprovalPolicy,
    "MembershipChanged": MembershipChanged,
    "ProcessPayment": ProcessPayment,
    "VendorAccountChanged": VendorAccountChanged,
    "ExecutePayout": ExecutePayout,
    "ReconcileAttempt": ReconcileAttempt,
    "ProviderEvent": ProviderEvent,
}


#: What the inbox keys of the service's own orders begin with where a person may send the same kind, by another queue:
#: anybody can derive them, so they are kept apart from what people choose.
OWN_KEY = "own:"
_BY_BOTH = frozenset(kind for kind, places in DELIVERIES.items() if len(places) > 1)


def own_inbox_key(kind: str, message_key: str) -> str:
    """Return under which key the inbox knows an order of the service itself."""
    return f"{OWN_KEY}{message_key}" if kind in _BY_BOTH else message_key


def _inbox_key(kind: str, message_key: str, queue: Queue) -> str:
    return own_inbox_key(kind, message_key) if queue is Queue.PAYOUTS else message_key


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
        turned_away_as: the inbox key of a message that must not use up the key that it names: it proves nothing, so
            that the key is the rightful sender's, or what it is about is not all here yet.
        about: the payment that a provider's event turned out to be about, once its object was read at the provider.
        caller: the trace context that it was sent in, where it came with one.
        trace: the one that it is handled in, and that what follows from it is sent in.
    """

    kind: str
    message_key: str
    fingerprint: bytes
    correlation_id: str | None
    queue: Queue
    sent_at: datetime
    turned_away_as: str | None = None
    about: UUID | None = None
    caller: TraceContext | None = None
    trace: TraceContext | None = None

    @property
    def inbox_key(self) -> str:
        """Under which key the inbox knows the message."""
        if self.turned_away_as is not None:
            return self.turned_away_as
        return _inbox_key(self.kind, self.message_key, self.queue)

    @property
    def correlation(self) -> str:
        """What everything that follows from this message is tied together by."""
        return self.correlation_id or self.message_key


@dataclass(frozen=True, slots=True)
class Parsed:
    """A well-formed message and where it came from."""

    message: InboundMessage
    cause: Cause

    @property
    def token(self) -> str | None:
        """The actor's token, where the message carries one."""
        if not isinstance(self.message, Command) or self.message.actor_token is None:
            return None
        return self.message.actor_token.get_secret_value()

    def stripped(self) -> "Parsed":
        """Return the same message without its token, which nobody needs once it is judged."""
        if not isinstance(self.message, Command):
            return self
        return replace(self, message=self.message.model_copy(update={"actor_token": None}))


def parse(
    body: str, arrival: Arrival, *, sources: frozenset[str], provider_sources: frozenset[str] = frozenset()
) -> Parsed:
    """Return the message of a body.

    Args:
        body: the message body as SQS delivered it.
        arrival: what the queue says about it.
        sources: the EventBridge sources whose events are believed.
        provider_sources: the EventBridge sources of the payment provider's events.

    Raises:
        Malformed: the body can never be a message of ours.
    """
    envelope = open_envelope(body, arrival.queue, sources=sources, provider_sources=provider_sources)
    try:
        message = KINDS[envelope.kind].model_validate(envelope.payload)
    except ValidationError as error:
        raise Malformed(Flaw.SCHEMA, _where(error), kind=envelope.kind) from None
    return Parsed(message, _cause(message, envelope, arrival))


def _cause(message: InboundMessage, envelope: Envelope, arrival: Arrival) -> Cause:
    """Return what a message is the cause of; of its trace its own word goes before the queue's."""
    kind, key = envelope.kind, _message_key(message, envelope)
    caller, trace_id = (envelope.trace, envelope.trace.trace_id) if envelope.trace else arrival.trace()
    return Cause(
        kind=kind,
        message_key=key,
        fingerprint=message.fingerprint(),
        correlation_id=message.correlation,
        queue=arrival.queue,
        sent_at=arrival.sent_at,
        caller=caller,
        trace=handling(trace_id, caller, kind, _inbox_key(kind, key, arrival.queue)),
    )


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
