"""What the read endpoint answers, and nothing else: a model per answer, and one of a payment per sort of reader.

The OpenAPI document is made from these models, and so is every answer.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from contracts.canonical import utc_microseconds
from contracts.lifecycle import Status
from contracts.payment import Approval, PayerType, Payment, Role, Source

ShownTime = Annotated[
    datetime,
    PlainSerializer(utc_microseconds),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
ShownCurrency = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$"})]
ShownCount = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 1})]
ShownNumber = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0})]


class _Shown(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        from_attributes=True,
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
        extra="ignore",
    )

    def wire(self) -> dict[str, Any]:
        """Return the JSON object that is sent."""
        return self.model_dump(mode="json", by_alias=True)


class PaymentShown(_Shown):
    """A payment as its vendor sees it."""

    payment_id: UUID
    """The payment."""
    incident_id: UUID
    """The incident that is paid for."""
    vendor_id: UUID
    """The vendor who is paid."""
    company_id: UUID | None
    """The company whose dispatchers decide; null where only admins do."""
    driver_id: UUID | None
    """The driver, where the producer named one."""
    payer_type: PayerType
    """Who pays."""
    payer_id: UUID | None
    """Who pays, where the producer named them."""
    amount_cents: ShownCount
    """The amount in minor units of the currency (cents for USD)."""
    currency: ShownCurrency
    """ISO 4217."""
    status: Status
    """Where the payment stands."""
    source: Source
    """What brought it into being."""
    created_at: ShownTime
    """When it was created."""
    updated_at: ShownTime
    """When it changed last."""
    metadata: dict[str, Any]
    """Texts and numbers about the circumstances."""
    approved_at: ShownTime | None
    """When the last approval came."""
    processed_at: ShownTime | None
    """When its payout began."""
    completed_at: ShownTime | None
    """When the provider accepted the payout."""
    failure_code: str | None
    """Why the payout failed, by the provider's code."""
    failed_reason: str | None
    """Why the payout failed, in the provider's words."""
    cancel_kind: str | None
    """`rejected` or `cancelled`, where it was."""
    version: ShownCount
    """Counts the changes of the payment from 1."""

    @classmethod
    def of(cls, payment: Payment) -> Self:
        """Return what this sort of reader sees of a payment."""
        return cls.model_validate(payment)


class PaymentDecided(PaymentShown):
    """A payment as the back office sees it."""

    created_by: UUID
    """Who created it."""
    fraud_status: str
    """What is known of fraud."""
    on_hold: bool
    """Whether it is held."""
    hold_until: ShownTime | None
    """When the hold ends by itself."""
    policy_version: ShownCount | None
    """The version of the company's approval policy that it was created under; null where there was none."""
    required_approvals: ShownCount
    """How many persons must approve."""
    approver_roles: tuple[Role, ...]
    """In which roles."""
    separate_releaser: bool
    """Whether somebody who has not approved must release it."""
    approved_by: UUID | None
    """Who gave the last approval; null where nobody has, or the system did."""


class LineItemShown(_Shown):
    """A line of a payment."""

    line_item_id: UUID
    """The line."""
    line_no: ShownCount
    """Its number, from 1."""
    description: str
    """What is paid for."""
    quantity: ShownCount
    """How many."""
    unit_price_cents: ShownNumber
    """The price of one, in minor units."""
    total_cents: ShownNumber
    """Quantity times unit price, in minor units."""


class ApprovalShown(_Shown):
    """One recorded approval."""

    approver_id: UUID
    """Who approved."""
    level: ShownCount
    """Which of the required approvals it is, from 1."""
    at: ShownTime
    """When."""


class VendorsPayment(_Shown):
    """A payment with its lines, for its vendor."""

    payment: PaymentShown
    """The payment."""
    line_items: tuple[LineItemShown, ...]
    """What is paid for."""


class OfficePayment(_Shown):
    """A payment with its lines and approvals, for the back office."""

    payment: PaymentDecided
    """The payment."""
    line_items: tuple[LineItemShown, ...]
    """What is paid for."""
    approvals: tuple[ApprovalShown, ...]
    """Who has approved it, in order."""


class Pagination(_Shown):
    """Which part of a list an answer is."""

    limit: ShownCount
    """How many at most."""
    offset: ShownNumber
    """After how many."""
    count: ShownNumber
    """How many there are in this answer."""
    next_cursor: str | None
    """What to ask for next as `cursor`; null at the end of the list."""


class PaymentList(_Shown):
    """Payments, the oldest first."""

    payments: tuple[PaymentDecided, ...]
    """The payments."""
    pagination: Pagination
    """Which part of the list this is."""

    @classmethod
    def of(cls, payments: Iterable[Payment], pagination: Pagination) -> Self:
        """Return one page."""
        return cls(payments=tuple(PaymentDecided.of(payment) for payment in payments), pagination=pagination)


class AuditEntry(_Shown):
    """One change of a payment."""

    seq: ShownCount
    """The version that it led to."""
    action: str
    """What happened."""
    actor_id: UUID
    """Who did it."""
    actor_type: str
    """What kind of actor that is."""
    previous_status: str | None
    """Where the payment stood before."""
    new_status: str
    """Where it stood then."""
    message_key: str
    """The message that it follows from."""
    data: Mapping[str, Any]
    """Further facts."""
    entry_hash: Annotated[
        bytes,
        PlainSerializer(bytes.hex),
        WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
    ]
    """The hash of this entry and of all before it."""
    at: ShownTime
    """When."""


class AuditLog(_Shown):
    """A payment's history, in order."""

    payment_id: UUID
    """The payment."""
    entries: tuple[AuditEntry, ...]
    """Every change of it."""


class Problem(_Shown):
    """Why there is no better answer (RFC 9457)."""

    type: str
    """Always `about:blank`: the status says it."""
    title: str
    """The status in words."""
    status: Annotated[int, WithJsonSchema({"type": "integer", "minimum": 400, "maximum": 599})]
    """The status."""
    detail: str = ""
    """What to do about it."""


def approvals_shown(approvals: Iterable[Approval]) -> tuple[ApprovalShown, ...]:
    """Return recorded approvals as they are shown."""
    return tuple(ApprovalShown.model_validate(approval) for approval in approvals)
