"""Payout providers for tests that pay nobody."""

from collections.abc import Iterator
from datetime import datetime

from contracts import ids
from contracts.provider import (
    Answer,
    LookUp,
    NotFound,
    PayoutOrder,
    PayoutSeen,
    ProviderAwayError,
    TransferSeen,
    TryLater,
)
from store.db import Pool
from workers.payouts import Asker


class FakeProvider:
    """The whole port, for fakes that answer a part of it: whatever is not overridden must not be asked."""

    name = "fake"
    livemode = False

    def account(self, destination: str) -> str:
        return ids.provider_account(destination)

    def look_up(self, order: PayoutOrder) -> LookUp:
        raise AssertionError(order)

    def submit(self, order: PayoutOrder) -> Answer:
        raise AssertionError(order)

    def read_transfer(self, transfer_id: str) -> TransferSeen | NotFound | TryLater:
        raise AssertionError(transfer_id)

    def read_payout(self, payout_id: str, account: str) -> PayoutSeen | NotFound | TryLater:
        raise AssertionError(payout_id, account)

    def transfers(self, since: datetime) -> Iterator[TransferSeen]:
        raise AssertionError(since)

    def probe(self) -> None:
        """It is there."""


class NoProvider(FakeProvider):
    """A provider that must not be asked."""

    name = "none"


class AwayProvider(FakeProvider):
    """A provider that takes nothing while it is away, and answers as it was told to otherwise.

    Attributes:
        away: whether it is.
        probes: how often it was asked whether it is there.
        calls: how many requests it saw while it was away, probes left out.
    """

    name = "sandbox"

    def __init__(self, answer: Answer, reason: str = "connection") -> None:
        self.away = False
        self.probes = 0
        self.calls = 0
        self._answer = answer
        self._reason = reason

    def look_up(self, order: PayoutOrder) -> LookUp:  # noqa: ARG002 - the port's argument
        if self.away:
            self.calls += 1
            return TryLater(self._reason, away=True)
        return NotFound()

    def submit(self, order: PayoutOrder) -> Answer:  # noqa: ARG002 - the port's argument
        if self.away:
            self.calls += 1
            return TryLater(self._reason, away=True)
        return self._answer

    def read_transfer(self, transfer_id: str) -> TransferSeen | NotFound | TryLater:  # noqa: ARG002 - the port's argument
        if self.away:
            self.calls += 1
            return TryLater(self._reason, away=True)
        return NotFound()

    def probe(self) -> None:
        self.probes += 1
        if self.away:
            raise ProviderAwayError(self._reason)


def nobody(pool: Pool) -> Asker:
    """An asker whose provider must not be asked."""
    return Asker(pool, NoProvider())
