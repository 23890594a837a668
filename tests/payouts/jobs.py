"""The payments of a run: created and approved by the funnel itself, each order in the outbox, nothing paid yet."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from contracts import ids
from contracts.outcome import Outcome
from contracts.payment import Role
from handlers.decision import Rules
from handlers.process import process
from store.db import Pool
from tests.kit import messages as m
from tests.kit.proofs import SENDERS, member, proof_of

#: Currencies with the step of their amounts at the provider: with decimals, without, with three, and the odd ones.
CURRENCIES = (("USD", 1), ("USD", 1), ("EUR", 1), ("CAD", 1), ("JPY", 1), ("KWD", 10), ("ISK", 1), ("HUF", 100))
AMOUNT_MIN, AMOUNT_MAX = 20_000, 900_000
VENDORS = 200
#: Vendors whose account the provider has closed: their payments fail, and no money moves.
CLOSED = 4
_RULES = Rules(provider="stripe", unregistered_accounts=False, senders=SENDERS)


@dataclass
class Jobs:
    """What was asked for: `good` and `bad` are amounts by payment, with their currency and the account."""

    seed: int
    good: dict[UUID, tuple[int, str, str]] = field(default_factory=dict)
    bad: set[UUID] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.vendors = [ids.derive("payouts", self.seed, "vendor", number) for number in range(VENDORS + CLOSED)]

    @property
    def closed(self) -> list[str]:
        """The accounts that the provider has closed."""
        return [account_of(vendor) for vendor in self.vendors[VENDORS:]]

    def register(self, pool: Pool) -> None:
        """Make an admin a member and name every vendor's account, by command."""
        member(pool, m.ADMIN, Role.ADMIN)
        member(pool, m.DISPATCHER, Role.DISPATCHER, company=m.COMPANY)
        for number, vendor in enumerate(self.vendors):
            fields = {"vendorId": str(vendor), "stripeAccountId": account_of(vendor), "payoutsEnabled": True}
            _done(pool, m.command("VendorAccountChanged", number, actor=m.admin(), **fields))

    def create(self, pool: Pool, count: int, bad: int) -> None:
        """Create and approve payments, some of them to vendors whose account is closed."""
        chance = random.Random(f"{self.seed} jobs")  # noqa: S311 - amounts of a test
        wanted = [(number, chance.randrange(1 << 30), number >= count) for number in range(count + bad)]
        with ThreadPoolExecutor(4) as threads:
            for payment_id, money, account, closed in threads.map(lambda job: self._create(pool, *job), wanted):
                if closed:
                    self.bad.add(payment_id)
                else:
                    self.good[payment_id] = (*money, account)

    def _create(self, pool: Pool, number: int, luck: int, closed: bool) -> tuple[UUID, tuple[int, str], str, bool]:  # noqa: FBT001 - a row of a table
        chance = random.Random(luck)  # noqa: S311 - the same
        vendor = chance.choice(self.vendors[VENDORS:] if closed else self.vendors[:VENDORS])
        currency, unit = chance.choice(CURRENCIES)
        amount = chance.randrange(AMOUNT_MIN, AMOUNT_MAX) // unit * unit
        work = m.work(
            eventId=f"job-{self.seed}-{number}",
            incidentId=str(ids.derive("payouts", self.seed, "incident", number)),
            vendorId=str(vendor),
            currency=currency,
            lineItems=[{"description": "Work", "quantity": 1, "unitPriceCents": amount}],
        )
        payment_id = _done(pool, work)
        seen = {"paymentId": str(payment_id), "amountCents": amount, "currency": currency}
        _done(pool, m.command("ApprovePayment", 1_000_000 + number, **seen))
        assert payment_id
        return payment_id, (amount, currency), account_of(vendor), closed


def account_of(vendor: UUID) -> str:
    """The connected account of a vendor."""
    return f"acct_{vendor.hex[:16]}"


def _done(pool: Pool, message: dict[str, Any]) -> UUID | None:
    parsed = m.parsed(message, sent_at=datetime.now(UTC))
    result = process(pool, parsed, _RULES, proof_of(parsed))
    assert result.outcome is Outcome.APPLIED, (result, message)
    return result.payment_id


def sums(amounts: Sequence[tuple[int, str]]) -> dict[str, int]:
    """Totals by currency, in minor units."""
    found: dict[str, int] = {}
    for amount, currency in amounts:
        found[currency] = found.get(currency, 0) + amount
    return dict(sorted(found.items()))
