"""Payout providers for tests that pay nobody."""

from contracts.provider import Answer, LookUp, PayoutOrder


class NoProvider:
    """A provider that must not be asked."""

    name = "none"

    def look_up(self, order: PayoutOrder) -> LookUp:
        raise AssertionError(order)

    def submit(self, order: PayoutOrder) -> Answer:
        raise AssertionError(order)
