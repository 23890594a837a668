"""Every fact that the service announces: events on the bus, requests for approval, orders to itself.

An event is built from the payment as it stands after the change, in the same transaction. Its `eventId` stays
the same over every re-publication, and `paymentVersion` orders the events of one payment without a gap.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypedDict
from uuid import UUID

from pydantic import BaseModel, ConfigDict, WithJsonSchema
from pydantic.alias_generators import to_camel

from contracts import ids
from contracts.envelope import MAJOR_VERSION, VERSION_PATTERN
from contracts.inbound import Cause, own_inbox_key
from contracts.lifecycle import Status
from contracts.payment import ActorType, PayerType, Payment
from contracts.payment import Approval as RecordedApproval
from contracts.refusals import MESSAGES, Refusal
from contracts.traces import TRACEPARENT, TRACEPARENT_PATTERN, TraceContext


class Destination(StrEnum):
    """Where an outbox row goes; bus name and queue URLs are settings."""

    BUS = "bus"
    APPROVALS = "approvals"
    PAYOUTS = "payouts"


#: The longest id of a producer that is repeated in a refusal; what is longer is cut.
REPEATED_ID_CHARS_MAX = 64


def _open_enum(known: Iterable[str]) -> WithJsonSchema:
    """Publish a text whose values may become more within a major version; `x-extensible-enum` lists today's."""
    return WithJsonSchema({"type": "string", "x-extensible-enum": list(known)})


SentVersion = Annotated[str, WithJsonSchema({"type": "string", "pattern": VERSION_PATTERN, "examples": ["1.0"]})]
SentCurrency = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$"})]
SentCount = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 1})]
SentCode = Annotated[Refusal, _open_enum(Refusal)]
FraudStatus = Annotated[
    str, _open_enum(("not_scored", "low_risk", "medium_risk", "high_risk", "flagged", "cleared", "confirmed"))
]
RepeatedId = Annotated[str, WithJsonSchema({"type": "string", "maxLength": REPEATED_ID_CHARS_MAX})]
SentTraceparent = Annotated[str, WithJsonSchema({"type": "string", "pattern": TRACEPARENT_PATTERN})]


class _Sent(BaseModel):
    # Everything is written, `null` included: what a receiver finds once, it finds always.
    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )


def _leave_the_trace_open(schema: dict[str, Any], _model: type[BaseModel]) -> None:
    """Say in a message's schema that its trace may be missing: what waits to be sent may be of an older release."""
    schema["required"].remove(TRACEPARENT)


class OutboundMessage(_Sent):
    """Anything that leaves by the outbox."""

    model_config = ConfigDict(json_schema_extra=_leave_the_trace_open)

    destination: ClassVar[Destination] = Destination.BUS

    traceparent: SentTraceparent | None = None
    """The span that this message comes of, as W3C Trace Context writes it (CloudEvents, distributed tracing extension);
    null or absent where there is none. It says nothing about the business."""

    @property
    def kind(self) -> str:
        """The name on the wire: an event's detail-type, a command's type."""
        return type(self).__name__

    @property
    def identity(self) -> UUID:
        """The id under which a receiver knows a repetition."""
        raise NotImplementedError

    def wire(self, trace: TraceContext | None = None) -> dict[str, Any]:
        """Return the JSON object that is sent, in a trace where one is given."""
        sent = self.model_dump(mode="json", by_alias=True)
        if trace is not None:
            sent[TRACEPARENT] = trace.traceparent
        return sent


class _Traced(TypedDict):
    event_id: UUID
    timestamp: datetime
    correlation_id: str
    causation_id: str


class _About(_Traced):
    payment_id: UUID
    incident_id: UUID
    vendor_id: UUID
    driver_id: UUID | None
    company_id: UUID | None
    amount_cents: int
    currency: str
    payer_type: PayerType
    status: Status
    payment_version: int


class EventMessage(OutboundMessage):
    """What every event carries."""

    event_id: UUID
    """The event's id, the same over every re-publication: keep it to know a repetition."""
    timestamp: datetime
    """When what is announced became true, by the database's clock."""
    version: SentVersion = f"{MAJOR_VERSION}.0"
    """The version of this contract; fields may be added within its major."""
    correlation_id: str
    """What ties a whole conversation together: the producer's, or the key of the message that began it."""
    causation_id: str
    """The key of the message that this event follows from."""

    @property
    def identity(self) -> UUID:
        """The event's id."""
        return self.event_id


def _traced(event_id: UUID, cause: Cause, now: datetime) -> _Traced:
    return _Traced(
        event_id=event_id,
        timestamp=now,
        correlation_id=cause.correlation,
        causation_id=cause.message_key,
    )


class PaymentEvent(EventMessage):
    """A change of a payment."""

    payment_id: UUID
    """The payment."""
    incident_id: UUID
    """The incident that is paid for."""
    vendor_id: UUID
    """The vendor who is paid."""
    driver_id: UUID | None
    """The driver, where the producer named one."""
    company_id: UUID | None
    """The company whose dispatchers may decide; null where only admins may."""
    amount_cents: SentCount
    """The payment's amount, in minor units of its currency (cents for USD)."""
    currency: SentCurrency
    """The payment's currency, ISO 4217."""
    payer_type: PayerType
    """Who pays."""
    status: Status
    """Where the payment stands after the change."""
    payment_version: SentCount
    """Counts the changes of one payment from 1 without a gap: it orders its events, and a missing number is an event
    that is still on its way."""

    @classmethod
    def about(cls, payment: Payment, cause: Cause, now: datetime) -> _About:
        """Return the fields common to all events of a payment, as it stands after the change."""
        return _About(
            **_traced(ids.event_id(payment.payment_id, payment.version, cls.__name__), cause, now),
            payment_id=payment.payment_id,
            incident_id=payment.incident_id,
            vendor_id=payment.vendor_id,
            driver_id=payment.driver_id,
            company_id=payment.company_id,
            amount_cents=payment.amount_cents,
            currency=payment.currency,
            payer_type=payment.payer_type,
            status=payment.status,
            payment_version=payment.version,
        )


class PaymentCreated(PaymentEvent):
    """A payment exists and waits for approval."""

    created_at: datetime
    """When the payment was created."""
    fraud_status: FraudStatus
    """What is known of fraud at that time; more words may follow within this major version."""
    fraud_score: float | None = None
    """How likely a fraud is, from 0 to 1; null before it was scored."""
    line_item_count: SentCount
    """How many lines make up the amount."""
    required_approvals: SentCount = 1
    """How many approvals it takes."""


class Approval(_Sent):
    """One recorded approval."""

    approver_id: UUID
    """Who approved."""
    level: SentCount
    """Which of the required approvals this is, counted from 1."""
    at: datetime
    """When."""


def approvals_sent(recorded: Iterable[RecordedApproval]) -> tuple[Approval, ...]:
    """Return recorded approvals as events carry them."""
    return tuple(Approval(approver_id=one.approver_id, level=one.level, at=one.at) for one in recorded)


class PaymentApprovalRecorded(PaymentEvent):
    """One of several required approvals is in; more are needed."""

    approved_by: UUID
    """Who gave it."""
    approved_at: datetime
    """When."""
    approvals: tuple[Approval, ...]
    """Every approval so far, in order."""
    required_approvals: SentCount
    """How many it takes."""
    policy_version: SentCount | None = None
    """The version of the approval policy that applies; null where there is none."""


class PaymentApproved(PaymentEvent):
    """The last approval is in."""

    approved_by: UUID | None
    """Who gave the last approval; null where the policy approved without a person."""
    approved_at: datetime
    """When."""
    approvals: tuple[Approval, ...]
    """Every approval that counted, in order."""
    policy_version: SentCount | None = None
    """The version of the approval policy that applied; null where there is none."""
    separate_releaser: bool = False
    """Whether somebody who has not approved must release it now; otherwise the service orders its payout itself."""


class PaymentProcessing(PaymentEvent):
    """A payout attempt is under way; `payoutState` says whether its outcome is known to be unknown."""

    processed_at: datetime
    """When the payout was begun."""
    attempt_no: SentCount
    """Which payout attempt of this payment it is, counted from 1."""
    provider: str
    """The payment provider that makes the payout."""
    payout_state: Annotated[str, WithJsonSchema({"type": "string", "enum": ["ready", "unknown"]})]
    """`ready`: the attempt is about to be made; `unknown`: nobody can say yet whether money moved."""


class PaymentCompleted(PaymentEvent):
    """The provider has accepted the movement."""

    completed_at: datetime
    """When the provider's acceptance was recorded."""
    stripe_payment_intent_id: str | None = None
    """Always null for a transfer to a vendor."""
    stripe_transfer_id: str | None = None
    """Stripe's id of the transfer; null with another provider."""
    provider: str
    """The payment provider that made the payout."""
    provider_object_id: str
    """The provider's id of the movement."""
    attempt_no: SentCount
    """Which payout attempt of this payment succeeded, counted from 1."""


class PaymentFailed(PaymentEvent):
    """The provider definitely refused; nothing was paid."""

    reason: str
    """Why, in the provider's words, for people."""
    failed_at: datetime
    """When the refusal was recorded."""
    failed_reason: str
    """The same as `reason`."""
    failure_code: str
    """Why, by the provider's code."""
    retryable: bool
    """Whether the service will try again by itself."""
    retry_attempts: Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0})]
    """How many attempts there were before this one."""
    attempt_no: SentCount
    """Which payout attempt of this payment failed, counted from 1."""


class PaymentAttemptFailed(PaymentEvent):
    """A payout attempt came to nothing and the payment goes on: the next attempt follows by itself.

    Nothing was paid by this attempt. It happens when the service's balance with the provider is too low, or when an
    order is known never to have reached the provider.
    """

    attempt_no: SentCount
    """Which payout attempt of this payment failed, counted from 1."""
    provider: str
    """The payment provider."""
    failure_code: str
    """Why: the provider's code, or `not_executed`."""
    failed_at: datetime
    """When it was recorded."""


class PaymentReversed(PaymentEvent):
    """Money that was paid came back to the service's account with the provider, all of it or a part."""

    amount_reversed_cents: SentCount
    """How much has come back in all, in minor units."""
    fully_reversed: bool
    """Whether that is the whole payment."""
    reversed_at: datetime
    """When it was recorded."""
    provider_object_id: str
    """The provider's id of the movement that was reversed."""


class _VendorPayout(PaymentEvent):
    provider_payout_id: str
    """The provider's id of the settlement to the vendor's bank."""
    settled_at: datetime
    """When it was recorded."""


class VendorPayoutInTransit(_VendorPayout):
    """The provider is sending the money of a completed payment to the vendor's bank."""


class VendorPayoutPaid(_VendorPayout):
    """The money of a completed payment has reached the vendor's bank; it may still fail within some days."""


class VendorPayoutFailed(_VendorPayout):
    """The money of a completed payment did not reach the vendor's bank: it is back in the account with the provider."""

    failure_code: str | None
    """Why, by the provider's code."""


class PaymentCancelled(PaymentEvent):
    """The payment was rejected or called off before it was paid."""

    cancelled_by: UUID
    """Who did it."""
    cancelled_at: datetime
    """When."""
    cancel_kind: Annotated[str, WithJsonSchema({"type": "string", "enum": ["rejected", "cancelled"]})]
    """Whether approval was refused or the payment called off."""
    reason_code: str
    """Why, for machines."""
    reason: str
    """Why, for people."""


class PaymentHeld(PaymentEvent):
    """The payment is stopped for a while: neither approved nor paid out."""

    held_by: UUID
    """Who stopped it."""
    held_at: datetime
    """When."""
    hold_until: datetime | None
    """When the hold ends by itself; null where somebody has to release it."""
    reason_code: str
    """Why, for machines."""


class PaymentReleased(PaymentEvent):
    """A held payment goes on."""

    released_by: UUID
    """Who let it go on."""
    released_at: datetime
    """When."""
    reason_code: str
    """Why, for machines."""


class WorkCompletedRejected(EventMessage):
    """Finished work that cannot be paid as it was reported; ids are the producer's own words."""

    incident_id: RepeatedId
    """The incident in the producer's words, cut to 64 characters."""
    vendor_id: RepeatedId
    """The vendor in the producer's words, cut to 64 characters."""
    code: SentCode
    """Why, for machines; more codes may follow within this major version."""
    message: str
    """Why and what to do about it, for people."""
    field: str | None
    """The wire name of the field that is to blame, where it is one."""


class PaymentConflictDetected(EventMessage):
    """A known message key or work item came with other content; nothing was changed."""

    payment_id: UUID | None
    """The payment that is already there; null where none came of the first message."""
    message_key: str
    """The key of the message that was turned down."""
    message_kind: str
    """Its kind."""
    code: SentCode
    """Always payload_conflict."""
    message: str
    """What happened and what to do about it, for people."""


class PaymentCommandRejected(EventMessage):
    """A command was turned down, and why."""

    command_id: str
    """The id of the command that was turned down."""
    command: str
    """Its kind."""
    payment_id: UUID | None
    """The payment that it names; null where it names none."""
    code: SentCode
    """Why, for machines; more codes may follow within this major version."""
    message: str
    """Why and what to do about it, for people."""
    field: str | None
    """The wire name of the field that is to blame, where it is one."""
    current_status: Status | None
    """Where the payment stands; null where there is none."""
    current_version: SentCount | None
    """The payment's version; null where there is none."""


def conflict(cause: Cause, now: datetime, payment_id: UUID | None) -> PaymentConflictDetected:
    """Return the announcement of a conflict; a repeat of the same conflict has the same id."""
    return PaymentConflictDetected(
        **_notice(PaymentConflictDetected, cause, now),
        payment_id=payment_id,
        message_key=cause.message_key,
        message_kind=cause.kind,
        code=Refusal.PAYLOAD_CONFLICT,
        message=MESSAGES[Refusal.PAYLOAD_CONFLICT],
    )


def work_rejected(
    cause: Cause, now: datetime, *, incident_id: str, vendor_id: str, code: Refusal, field: str | None
) -> WorkCompletedRejected:
    """Return the announcement of a refused WorkCompleted."""
    return WorkCompletedRejected(
        **_notice(WorkCompletedRejected, cause, now),
        incident_id=incident_id[:REPEATED_ID_CHARS_MAX],
        vendor_id=vendor_id[:REPEATED_ID_CHARS_MAX],
        code=code,
        message=MESSAGES[code],
        field=field,
    )


def command_rejected(
    cause: Cause,
    now: datetime,
    *,
    payment_id: UUID | None,
    payment: Payment | None,
    code: Refusal,
    field: str | None,
) -> PaymentCommandRejected:
    """Return the announcement of a refused command, with where its payment stands."""
    return PaymentCommandRejected(
        **_notice(PaymentCommandRejected, cause, now),
        command_id=cause.message_key,
        command=cause.kind,
        payment_id=payment_id,
        code=code,
        message=MESSAGES[code],
        field=field,
        current_status=payment.status if payment else None,
        current_version=payment.version if payment else None,
    )


def _notice(event: type[EventMessage], cause: Cause, now: datetime) -> _Traced:
    return _traced(ids.notice_id(cause.inbox_key, cause.fingerprint, event.__name__), cause, now)


class ApprovalRequest(OutboundMessage):
    """Asks the back office to look at a payment; sent once per payment, to the approval queue."""

    destination = Destination.APPROVALS

    payment_id: UUID
    """The payment that waits; a second request for it is a repetition."""
    incident_id: UUID
    """The incident that is paid for."""
    vendor_id: UUID
    """The vendor who is to be paid."""
    amount_cents: SentCount
    """The payment's amount, in minor units of its currency (cents for USD)."""
    currency: SentCurrency
    """The payment's currency, ISO 4217."""
    created_at: datetime
    """When the payment was created."""
    priority: Annotated[str, WithJsonSchema({"type": "string", "enum": ["normal", "high"]})] = "normal"
    """How soon it should be looked at."""
    reason: Annotated[str, WithJsonSchema({"type": "string", "enum": ["standard_approval", "fraud_flagged"]})] = (
        "standard_approval"
    )
    """Why somebody should look."""

    @property
    def identity(self) -> UUID:
        """One request per payment."""
        return ids.derive("approval-request", self.payment_id)


class OrderActor(_Sent):
    """The service's own payout machinery, as the actor of what it orders."""

    id: UUID = ids.SYSTEM_PAYOUTS
    """Always the same id."""
    type: ActorType = ActorType.SYSTEM
    """What kind of actor it is."""


def _name_the_order(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Say in an order's schema that its `type` is one and fixed, and its trace no need."""
    _leave_the_trace_open(schema, model)
    schema["properties"]["type"]["const"] = model.model_fields["type"].default


class OwnOrder(OutboundMessage):
    """A command that the service posts to its own queue."""

    model_config = ConfigDict(json_schema_extra=_name_the_order)

    destination = Destination.PAYOUTS

    type: str
    """The kind of the command."""
    command_id: UUID
    """The command's id, derived from what it orders: the same order has the same id."""
    schema_version: SentVersion = f"{MAJOR_VERSION}.0"
    """The version of this contract."""
    actor: OrderActor = OrderActor()
    """Who orders."""
    correlation_id: str
    """What ties a whole conversation together."""

    @property
    def kind(self) -> str:
        """The command's type."""
        return self.type

    @property
    def about(self) -> UUID:
        """The payment or the payout attempt that it is about."""
        raise NotImplementedError

    @property
    def inbox_key(self) -> str:
        """Under which key the inbox knows it once it was handled."""
        return own_inbox_key(self.kind, str(self.command_id))

    @property
    def identity(self) -> UUID:
        """The command's id."""
        return self.command_id


class ProcessPaymentOrder(OwnOrder):
    """Pay this payment out."""

    type: str = "ProcessPayment"
    """The kind of the command."""
    payment_id: UUID
    """The payment."""

    @property
    def about(self) -> UUID:
        """The payment."""
        return self.payment_id


class ExecutePayoutOrder(OwnOrder):
    """Put this attempt to the provider."""

    type: str = "ExecutePayout"
    """The kind of the command."""
    attempt_id: UUID
    """The payout attempt."""
    check: Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0})]
    """Which look at the attempt this is, counted from 0."""

    @property
    def about(self) -> UUID:
        """The payout attempt."""
        return self.attempt_id


class ReconcileAttemptOrder(OwnOrder):
    """Look this attempt up at the provider."""

    type: str = "ReconcileAttempt"
    """The kind of the command."""
    attempt_id: UUID
    """The payout attempt."""
    check: Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0})]
    """Which look at the attempt this is."""
    payout_id: str | None = None
    """The provider's settlement that the attempt's money is part of, where the look is for it."""

    @property
    def about(self) -> UUID:
        """The payout attempt."""
        return self.attempt_id


#: Every event on the bus, for schemas, samples and subscriptions.
EVENTS: tuple[type[EventMessage], ...] = (
    PaymentCreated,
    PaymentApprovalRecorded,
    PaymentApproved,
    PaymentProcessing,
    PaymentCompleted,
    PaymentFailed,
    PaymentAttemptFailed,
    PaymentReversed,
    VendorPayoutInTransit,
    VendorPayoutPaid,
    VendorPayoutFailed,
    PaymentCancelled,
    PaymentHeld,
    PaymentReleased,
    WorkCompletedRejected,
    PaymentConflictDetected,
    PaymentCommandRejected,
)

#: Everything that leaves, events first.
OUTBOUND: tuple[type[OutboundMessage], ...] = (
    *EVENTS,
    ApprovalRequest,
    ProcessPaymentOrder,
    ExecutePayoutOrder,
    ReconcileAttemptOrder,
)
