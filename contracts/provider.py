"""The payout port: what a payment provider must offer, and the closed set of its answers.

An adapter never raises for what a provider says or fails to say; whatever it cannot prove is `Unknown`.
"""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from contracts.money import Money


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has made the movement and knows it as `provider_object_id`."""

    provider_object_id: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider definitely refused; nothing was moved and nothing will be."""

    failure_code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say whether the money moved; only a later look-up decides."""

    reason: str


@dataclass(frozen=True, slots=True)
class TryLater:
    """The provider did not take the request (busy, unreachable before sending); nothing was moved."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """A look-up's answer: the provider has nothing for this payment."""


Answer = Accepted | Declined | Unknown | TryLater
LookUp = Accepted | NotFound | TryLater


@dataclass(frozen=True, slots=True)
class PayoutOrder:
    """What the provider is asked to move.

    `destination` is the vendor's account with the provider. `transfer_group` is the payment's id: the handle by
    which it is looked up before every submission.
    """

    payment_id: UUID
    attempt_no: int
    idempotency_key: str
    money: Money
    destination: str

    @property
    def transfer_group(self) -> str:
        """The provider-side name that all attempts of one payment share."""
        return str(self.payment_id)


class PayoutProvider(Protocol):
    """A payment provider. Calls may take seconds; the caller holds no transaction open."""

    @property
    def name(self) -> str:
        """The provider's name, as attempts record it."""
        ...

    def look_up(self, order: PayoutOrder) -> LookUp:
        """Return what the provider knows about this payment, by its transfer group."""
        ...

    def submit(self, order: PayoutOrder) -> Answer:
        """Ask for the movement under the order's idempotency key; the same key moves money once."""
        ...
