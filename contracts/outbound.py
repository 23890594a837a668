"""Every fact that the service announces: events on the bus, requests for approval, orders to itself.

An event is built from the payment as it stands after the change, in the same transaction. Its `eventId` stays
the same over every re-publication, and `paymentVersion` orders the events of one payment without a gap.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, TypedDict
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from contracts import ids
from contracts.inbound import Cause
from contracts.lifecycle import Status
from contracts.payment import ActorType, PayerType, Payment
from contracts.refusals import MESSAGES, Refusal


class Destination(StrEnum):
    """Where an outbox row goes; bus name and queue URLs are settings."""

    BUS = "bus"
    APPROVALS = "approvals"
    PAYOUTS = "payouts"


class OutboundMessage(BaseModel):
    """Anything that leaves by the outbox."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    destination: ClassVar[Destination] = Destination.BUS

    @property
    def kind(self) -> str:
        """The name on the wire: an event's detail-type, a command's type."""
        return type(self).__name__

    @property
    def identity(self) -> UUID:
        """The id under which a receiver knows a repetition."""
        raise NotImplementedError

    def wire(self) -> dict[str, Any]:
        """Return the JSON object that is sent."""
        return self.model_dump(mode="json", by_alias=True)


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
    timestamp: datetime
    version: str = "1.0"
    correlation_id: str
    causation_id: str

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
    incident_id: UUID
    vendor_id: UUID
    driver_id: UUID | None
    company_id: UUID | None
    amount_cents: int
    currency: str
    payer_type: PayerType
    status: Status
    payment_version: int

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
    fraud_status: str
    fraud_score: float | None = None
    line_item_count: int
    required_approvals: int = 1


class Approval(BaseModel):
    """One recorded approval."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    approver_id: UUID
    level: int
    at: datetime


class PaymentApproved(PaymentEvent):
    """The last approval is in."""

    approved_by: UUID | None
    approved_at: datetime
    approvals: tuple[Approval, ...]
    policy_version: int | None = None


class PaymentProcessing(PaymentEvent):
    """A payout attempt is under way; `payoutState` says whether its outcome is known to be unknown."""

    processed_at: datetime
    attempt_no: int
    provider: str
    payout_state: str


class PaymentCompleted(PaymentEvent):
    """The provider has accepted the movement."""

    completed_at: datetime
    stripe_payment_intent_id: str | None = None
    stripe_transfer_id: str | None = None
    provider: str
    provider_object_id: str
    attempt_no: int


class PaymentFailed(PaymentEvent):
    """The provider definitely refused; nothing was paid."""

    reason: str
    failed_at: datetime
    failed_reason: str
    failure_code: str
    retryable: bool
    retry_attempts: int
    attempt_no: int


class PaymentCancelled(PaymentEvent):
    """The payment was rejected or called off before it was paid."""

    cancelled_by: UUID
    cancelled_at: datetime
    cancel_kind: str
    reason_code: str
    reason: str


class WorkCompletedRejected(EventMessage):
    """Finished work that cannot be paid as it was reported; ids are the producer's own words."""

    incident_id: str
    vendor_id: str
    code: Refusal
    message: str
    field: str | None


class PaymentConflictDetected(EventMessage):
    """A known message key or work item came with other content; nothing was changed."""

    payment_id: UUID | None
    message_key: str
    message_kind: str
    code: Refusal
    message: str


class PaymentCommandRejected(EventMessage):
    """A command was turned down, and why."""

    command_id: str
    command: str
    payment_id: UUID | None
    code: Refusal
    message: str
    field: str | None
    current_status: Status | None
    current_version: int | None


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
        incident_id=incident_id[:64],
        vendor_id=vendor_id[:64],
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
    return _traced(ids.notice_id(cause.message_key, cause.fingerprint, event.__name__), cause, now)


class ApprovalRequest(OutboundMessage):
    """Asks the back office to look at a payment; sent once per payment, to the approval queue."""

    destination = Destination.APPROVALS

    payment_id: UUID
    incident_id: UUID
    vendor_id: UUID
    amount_cents: int
    currency: str
    created_at: datetime
    priority: str = "normal"
    reason: str = "standard_approval"

    @property
    def identity(self) -> UUID:
        """One request per payment."""
        return ids.derive("approval-request", self.payment_id)


class _OrderActor(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: UUID = ids.SYSTEM_PAYOUTS
    type: ActorType = ActorType.SYSTEM


class OwnOrder(OutboundMessage):
    """A command that the service posts to its own queue."""

    destination = Destination.PAYOUTS

    type: str
    command_id: UUID
    schema_version: str = "1.0"
    actor: _OrderActor = _OrderActor()
    correlation_id: str

    @property
    def kind(self) -> str:
        """The command's type."""
        return self.type

    @property
    def identity(self) -> UUID:
        """The command's id."""
        return self.command_id


class ProcessPaymentOrder(OwnOrder):
    """Pay this payment out."""

    type: str = "ProcessPayment"
    payment_id: UUID


class ExecutePayoutOrder(OwnOrder):
    """Put this attempt to the provider."""

    type: str = "ExecutePayout"
    attempt_id: UUID
    check: int


#: Every event on the bus, for schemas, samples and subscriptions.
EVENTS: tuple[type[EventMessage], ...] = (
    PaymentCreated,
    PaymentApproved,
    PaymentProcessing,
    PaymentCompleted,
    PaymentFailed,
    PaymentCancelled,
    WorkCompletedRejected,
    PaymentConflictDetected,
    PaymentCommandRejected,
)
