"""The nouns: what the store returns, what decisions read, and what they want written."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from contracts.lifecycle import Status
from contracts.money import Money
from contracts.values import dataclass


class PayerType(StrEnum):
    """Who pays: the company's back office, or the driver (an independent contractor)."""

    BACK_OFFICE = "back_office"
    DRIVER_IC = "driver_ic"


class Source(StrEnum):
    """What brought a payment into being."""

    WORK_COMPLETED = "work_completed"
    COMMAND = "command"


class ActorType(StrEnum):
    """The kinds of actor that the audit log knows."""

    USER = "user"
    ADMIN = "admin"
    SYSTEM = "system"


class Role(StrEnum):
    """The roles of the back office; a vendor acts through neither."""

    DISPATCHER = "dispatcher"
    ADMIN = "admin"
    VENDOR = "vendor"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who caused a change: a person with a role, a company or a vendor, or the service itself."""

    id: UUID
    type: ActorType
    role: Role | None = None
    company_id: UUID | None = None
    vendor_id: UUID | None = None

    def gains_from(self, payment: "Payment") -> bool:
        """Whether this is the vendor that the payment is for, or somebody who acts for that vendor."""
        return payment.vendor_id in (self.id, self.vendor_id)


@dataclass(frozen=True, slots=True)
class Membership:
    """What a person may do, by our own word: one role, with the company or vendor that it is for.

    Attributes:
        subject: who it is, the `sub` of their tokens.
        as_of: when it was said, by the queue's clock; what was said earlier and arrives later counts for nothing.
    """

    subject: UUID
    role: Role
    company_id: UUID | None
    vendor_id: UUID | None
    enabled: bool
    as_of: datetime


@dataclass(frozen=True, slots=True)
class VendorAccount:
    """Where a vendor is paid, by our own word.

    Attributes:
        vendor_id: the vendor.
        account_id: the vendor's account with the provider.
        payouts_enabled: whether the provider pays to it.
        requirements: what the provider still asks the vendor for, by the provider's names.
        as_of: when it was said, by the queue's clock; what was said earlier and arrives later counts for nothing.
        held_until: the end of the cool-down after another account was named; None where none was.
    """

    vendor_id: UUID
    account_id: str
    payouts_enabled: bool
    requirements: tuple[str, ...]
    as_of: datetime
    held_until: datetime | None = None

    def payable(self, now: datetime) -> bool:
        """Whether the vendor may be paid there now."""
        return self.payouts_enabled and (self.held_until is None or self.held_until <= now)


@dataclass(frozen=True, slots=True)
class Waiting:
    """An approved payment that waits to be paid out.

    `refusals` counts how often its payout was refused at this version.
    """

    payment_id: UUID
    version: int
    refusals: int


@dataclass(frozen=True, slots=True)
class Approval:
    """One recorded approval; `level` counts the approvals of a payment from 1."""

    approver_id: UUID
    level: int
    at: datetime


@dataclass(frozen=True, slots=True)
class LineItem:
    """One itemised charge; `unit_price_cents` is in minor units of the payment's currency."""

    line_no: int
    description: str
    quantity: int
    unit_price_cents: int

    @property
    def total_cents(self) -> int:
        """Quantity times unit price, in minor units."""
        return self.quantity * self.unit_price_cents


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """What a producer asks to be paid, whatever shape it used, checked and in our terms."""

    incident_id: UUID
    vendor_id: UUID
    company_id: UUID | None
    driver_id: UUID | None
    payer_type: PayerType
    payer_id: UUID | None
    money: Money
    lines: tuple[LineItem, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """One row of `payments`, as it is or as it shall be."""

    payment_id: UUID
    incident_id: UUID
    vendor_id: UUID
    company_id: UUID | None
    driver_id: UUID | None
    payer_type: PayerType
    payer_id: UUID | None
    amount_cents: int
    currency: str
    status: Status
    source: Source
    source_key: str
    request_fingerprint: bytes
    created_by: UUID
    created_at: datetime
    updated_at: datetime
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fraud_status: str = "not_scored"
    on_hold: bool = False
    hold_until: datetime | None = None
    policy_version: int | None = None
    required_approvals: int = 1
    approver_roles: tuple[Role, ...] = (Role.DISPATCHER, Role.ADMIN)
    separate_releaser: bool = False
    approved_by: UUID | None = None
    approved_at: datetime | None = None
    processed_at: datetime | None = None
    completed_at: datetime | None = None
    failure_code: str | None = None
    failed_reason: str | None = None
    cancel_kind: str | None = None
    amount_reversed_cents: int = 0
    settlement_status: str = "none"
    version: int = 1
    audit_head: bytes | None = None

    @property
    def money(self) -> Money:
        """Amount and currency together."""
        return Money(self.amount_cents, self.currency)

    def held(self, now: datetime) -> bool:
        """Whether a hold stands in the way; one with an end ends by itself."""
        return self.on_hold and (self.hold_until is None or now < self.hold_until)

    @property
    def fraud_blocks(self) -> bool:
        """Whether a fraud review must clear the payment first."""
        return self.fraud_status in FRAUD_BLOCKS


#: The fraud statuses that stand in the way of approval and payout until a review clears the payment.
FRAUD_BLOCKS = frozenset({"flagged", "confirmed"})


class AttemptState(StrEnum):
    """What is known of one payout attempt; `unknown` is an answer, not an error."""

    READY = "ready"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def open(self) -> bool:
        """Whether the provider may still be asked about, or given, this attempt."""
        return self in (AttemptState.READY, AttemptState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One row of `payout_attempts`: one try to move the money, under one provider key."""

    attempt_id: UUID
    payment_id: UUID
    attempt_no: int
    provider: str
    idempotency_key: str
    request_fingerprint: bytes
    amount_cents: int
    currency: str
    state: AttemptState
    created_at: datetime
    submit_before: datetime
    destination: str | None = None
    failure_code: str | None = None
    provider_object_id: str | None = None
    checks: int = 0
    next_check_at: datetime | None = None
    resolved_at: datetime | None = None
