"""The payout port: what a payment provider must offer, and the closed set of its answers.

An adapter never raises for what a provider says or fails to say; whatever it cannot prove is `Unknown`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from contracts.money import Money


@dataclass(frozen=True, slots=True)
class Reversal:
    """Money that came back: the provider's own id of the reversal, and how much of it, in minor units."""

    reversal_id: str
    amount_cents: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider has made the movement and knows it as `provider_object_id`; some of it may have come back since."""

    provider_object_id: str
    reversals: tuple[Reversal, ...] = ()


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider definitely refused; nothing was moved and nothing will be."""

    failure_code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unfunded:
    """There is no money to pay with; nothing was moved.

    The provider gives this answer to this key for good: only an attempt under another key can succeed.
    """

    failure_code: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say whether the money moved; only a later look-up decides.

    `stopped` says that a person must look first: the provider contradicts what we know, or was asked for something
    else under the same key before. Such an attempt is not asked about again by itself.
    """

    reason: str
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class TryLater:
    """The provider did not take the request (busy, unreachable, our credentials refused); nothing was moved by it.

    `away` says that it will not take the next one either, so that nobody need try before a probe has succeeded.
    """

    reason: str
    away: bool = False


@dataclass(frozen=True, slots=True)
class NotFound:
    """The provider has nothing of that name."""


@dataclass(frozen=True, slots=True)
class NotExecuted:
    """Nothing was moved and nothing will be: the provider has nothing, and the time in which it might have is over."""


Answer = Accepted | Declined | Unfunded | Unknown | TryLater | NotExecuted
LookUp = Accepted | NotFound | Unknown | TryLater


class Settlement(StrEnum):
    """How far the money has come to the vendor's bank; a later word in this order outranks an earlier one."""

    NONE = "none"
    IN_TRANSIT = "in_transit"
    PAID = "paid"
    FAILED = "failed"
    REVERSED = "reversed"

    @property
    def rank(self) -> int:
        """Its place in that order."""
        return list(Settlement).index(self)


@dataclass(frozen=True, slots=True)
class TransferSeen:
    """A movement as the provider has it now.

    Attributes:
        provider_object_id: the provider's id of it.
        transfer_group: what its payment is called there, where it says so.
        idempotency_key: the key of the attempt that made it, where its metadata says so.
        money: amount and currency, in our minor units.
        destination: the account that it went to.
        reversals: what came back.
        created_at: when it was made, by the provider's clock.
        livemode: whether it is real money.
    """

    provider_object_id: str
    transfer_group: str | None
    idempotency_key: str | None
    money: Money
    destination: str
    reversals: tuple[Reversal, ...]
    created_at: datetime
    livemode: bool

    @property
    def reversed_cents(self) -> int:
        """How much of it came back, in minor units."""
        return sum(reversal.amount_cents for reversal in self.reversals)


@dataclass(frozen=True, slots=True)
class PayoutSeen:
    """A settlement to a vendor's bank as the provider has it now: one payout pays many movements out.

    Attributes:
        provider_object_id: the provider's id of it.
        account: the vendor's account with the provider.
        settlement: how far it has come.
        failure_code: why it failed, where it did.
        transfer_ids: the movements that it pays out.
        livemode: whether it is real money.
    """

    provider_object_id: str
    account: str
    settlement: Settlement
    failure_code: str | None
    transfer_ids: tuple[str, ...]
    livemode: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What the provider said before a message's transaction, with none open.

    Attributes:
        answer: of a payout attempt.
        seen: the object that the message is about, read again; None where there was nothing to read.
        attempts: the payout attempts whose money a settlement pays out.
        missing: how many movements of a settlement are nobody's attempt, or not yet.
        spares_key: whether what the message is about is not all here, so that it must not use up the key that it comes
            under: the same message may mean something later.
        livemode: whether the provider that was asked moves real money.
    """

    answer: Answer | None = None
    seen: TransferSeen | PayoutSeen | NotFound | None = None
    attempts: tuple[UUID, ...] = ()
    missing: int = 0
    spares_key: bool = False
    livemode: bool = False


#: Nobody was asked.
NOT_ASKED = Told()


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

    @property
    def livemode(self) -> bool:
        """Whether real money moves."""
        ...

    def account(self, destination: str) -> str:
        """Return the provider's name of the account that an attempt's destination stands for."""
        ...

    def look_up(self, order: PayoutOrder) -> LookUp:
        """Return what the provider knows about this payment, by its transfer group."""
        ...

    def submit(self, order: PayoutOrder) -> Answer:
        """Ask for the movement under the order's idempotency key; the same key moves money once."""
        ...

    def read_transfer(self, transfer_id: str) -> TransferSeen | NotFound | TryLater:
        """Return a movement as it is now."""
        ...

    def read_payout(self, payout_id: str, account: str) -> PayoutSeen | NotFound | TryLater:
        """Return a settlement to the bank of a vendor's account as it is now, with the movements that it pays out."""
        ...

    def transfers(self, since: datetime) -> Iterator[TransferSeen]:
        """Return every movement that was made since a time, the newest first, page by page.

        Raises:
            ProviderAwayError: the provider does not answer.
        """
        ...

    def probe(self) -> None:
        """Ask something harmless, with a short timeout.

        Raises:
            ProviderAwayError: it does not answer, or refuses our credentials.
        """
        ...


class ProviderAwayError(Exception):
    """The provider cannot be asked now; the text is a code, never what it said."""
