"""Approval policies: by amount, how many persons must approve, in which roles, and whether another one releases."""

from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from uuid import UUID

from contracts.ids import as_uuid
from contracts.inbound import PolicyTier, SetApprovalPolicy
from contracts.money import Money, currency_code, minor_units
from contracts.payment import Payment, Role
from contracts.refusals import Refusal
from contracts.values import dataclass

#: Who may ever approve.
APPROVERS = (Role.DISPATCHER, Role.ADMIN)
APPROVERS_MAX = 5
TIERS_MAX = 50


@dataclass(frozen=True, slots=True)
class Tier:
    """What it takes to approve payments up to an amount, inclusive; `up_to_cents` is None where there is no limit."""

    currency: str
    up_to_cents: int | None
    approvers: int
    roles: tuple[Role, ...]

    def covers(self, money: Money) -> bool:
        """Whether the amount is in this tier's currency and not above it."""
        return money.currency == self.currency and (self.up_to_cents is None or money.amount_cents <= self.up_to_cents)

    @property
    def strictness(self) -> tuple[int, int]:
        """More approvers are stricter; with as many, fewer roles are."""
        return (self.approvers, -len(self.roles))


@dataclass(frozen=True, slots=True)
class Terms:
    """What one payment's approval takes; frozen on the payment when it is created.

    Attributes:
        policy_version: the version of the company's policy that they come from; None where it had none.
        approvers: how many persons must approve.
        roles: in which roles.
        separate_releaser: whether somebody who has not approved must release it.
    """

    policy_version: int | None = None
    approvers: int = 1
    roles: tuple[Role, ...] = APPROVERS
    separate_releaser: bool = False

    def __str__(self) -> str:
        """Return the terms in words, such as "2 x admin, then a releaser"."""
        releaser = ", then a releaser" if self.separate_releaser else ""
        return f"{self.approvers} x {' or '.join(self.roles)}{releaser}"


#: Without a policy one dispatcher or admin suffices.
DEFAULT_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of a company's policy; it never changes."""

    company_id: UUID
    version: int
    tiers: tuple[Tier, ...]
    separate_releaser: bool
    created_by: UUID
    created_at: datetime
    as_of: datetime

    def terms(self, money: Money) -> Terms:
        """Return what a payment of this amount takes: its currency's lowest tier that covers it, else the strictest."""
        tier = next((tier for tier in self.tiers if tier.covers(money)), None)
        return self.terms_of(tier or max(self.tiers, key=lambda one: one.strictness))

    def terms_of(self, tier: Tier) -> Terms:
        """Return what a payment takes that falls into this tier."""
        return Terms(self.version, tier.approvers, tier.roles, self.separate_releaser)


def terms_of(payment: Payment) -> Terms:
    """Return what a payment takes, as it was frozen on it."""
    return Terms(payment.policy_version, payment.required_approvals, payment.approver_roles, payment.separate_releaser)


def terms_for(policy: Policy | None, money: Money) -> Terms:
    """Return what a payment takes under its company's newest policy, if it has one."""
    return policy.terms(money) if policy else DEFAULT_TERMS


@dataclass(frozen=True, slots=True)
class BadPolicy:
    """A policy that does not add up: why, and the wire field to blame."""

    code: Refusal
    field: str


class _BadTier(Exception):
    def __init__(self, code: Refusal, field: str) -> None:
        super().__init__(field)
        self.flaw = BadPolicy(code, field)


def asked_tiers(message: SetApprovalPolicy) -> tuple[Tier, ...] | BadPolicy:
    """Return the tiers that a command asks for, by currency and rising amounts, or what is wrong with them."""
    if not 0 < len(message.tiers) <= TIERS_MAX:
        return BadPolicy(Refusal.INVALID_FIELD, "tiers")
    try:
        tiers = tuple(_tier(number, tier) for number, tier in enumerate(message.tiers))
    except _BadTier as bad:
        return bad.flaw
    for currency in dict.fromkeys(tier.currency for tier in tiers):
        if not _rises([tier.up_to_cents for tier in tiers if tier.currency == currency]):
            return BadPolicy(Refusal.INVALID_FIELD, "tiers.upToCents")
    return tiers


def asked_company(message: SetApprovalPolicy) -> UUID | BadPolicy:
    """Return the company that a command is about."""
    return as_uuid(message.company_id) or BadPolicy(Refusal.NON_UUID_ID, "companyId")


def _tier(number: int, tier: PolicyTier) -> Tier:
    where = f"tiers.{number}"
    currency = currency_code(tier.currency)
    if isinstance(currency, Refusal):
        raise _BadTier(currency, f"{where}.currency")
    if not 1 <= tier.approvers <= APPROVERS_MAX:
        raise _BadTier(Refusal.INVALID_FIELD, f"{where}.approvers")
    return Tier(currency, _limit(where, tier), tier.approvers, _roles(where, tier.roles))


def _limit(where: str, tier: PolicyTier) -> int | None:
    if tier.up_to_cents is None:
        return None
    limit = minor_units(tier.up_to_cents)
    if isinstance(limit, Refusal):
        raise _BadTier(limit, f"{where}.upToCents")
    return limit


def _roles(where: str, words: Iterable[str]) -> tuple[Role, ...]:
    asked = set(words)
    if not asked or not asked <= set(APPROVERS):
        raise _BadTier(Refusal.INVALID_FIELD, f"{where}.roles")
    return tuple(role for role in APPROVERS if role in asked)


def _rises(limits: list[int | None]) -> bool:
    """Whether each limit is above the one before, and only the last one is none."""
    *bounded, last = limits
    if last is not None or None in bounded:
        return False
    return all(low < high for low, high in pairwise(bounded) if low is not None and high is not None)
