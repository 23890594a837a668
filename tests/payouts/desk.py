"""A fleet in one thread: takes what the outbox holds for the payouts queue, sweeps, and hears the provider's events."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx

from contracts.envelope import Arrival, Queue
from contracts.inbound import Parsed, parse
from handlers.apply import Result
from handlers.decision import NotYet, Rules
from handlers.process import process
from store.db import Pool
from store.outbox import DueRow
from store.sweep import Patience
from tests.kit import messages as m
from tests.kit.funnel import rows
from tests.kit.proofs import SENDERS, enrol, proof_of
from workers.metrics import Metrics
from workers.payouts import Asker, ProviderBusy
from workers.relay import Sent
from workers.sandbox.server import Sandbox
from workers.stripe_provider import StripeProvider, Timeouts
from workers.sweep import Sweeper, SweepOptions

PROVIDER_SOURCE = "aws.partner/stripe.com/ed_test"
#: Nothing waits for its next look: a run of a test is a moment.
_NOW = timedelta(0)
_ROUNDS = 50


@dataclass
class Desk:
    """Handles messages one after the other, as workers do, against a real database and a real provider over HTTP."""

    pool: Pool
    sandbox: Sandbox
    rules: Rules = field(default_factory=lambda: Rules(provider="sandbox", check_after=(_NOW,), senders=SENDERS))

    def __post_init__(self) -> None:
        timeouts = Timeouts(look_up_s=0.5, submit_s=0.5)
        provider = StripeProvider(
            name="sandbox", key=lambda: "sk_test_desk", api_base=self.sandbox.url, timeouts=timeouts
        )
        self.provider = provider
        self.asker = Asker(self.pool, provider, grace=timedelta(hours=1))
        patience = Patience(again_after=_NOW, stuck_after=_NOW, pauses=(_NOW,), unregistered=True)
        self._sweeper = Sweeper(self.pool, self._sent, SweepOptions(patience), Metrics(), threading.Event())
        self._swept: list[dict[str, Any]] = []

    def take(self, message: dict[str, Any], queue: Queue | None = None) -> Result | None:
        """Handle one message; None where it would come again."""
        parsed = m.parsed(message, queue=queue, sent_at=datetime.now(UTC))
        enrol(self.pool, parsed.message)
        return self.handle(parsed)

    def handle(self, parsed: Parsed) -> Result | None:
        """Handle a parsed message; None where it would come again."""
        try:
            parsed, told = self.asker.ask(parsed)
            return process(self.pool, parsed, self.rules, proof_of(parsed), told)
        except (NotYet, ProviderBusy):
            return None

    def finish(self, number: int, vendor: UUID = m.VENDOR) -> UUID:
        """Announce a finished job; return the payment."""
        incident = UUID(int=number + 1)
        work = m.work(eventId=f"job-{number}", incidentId=str(incident), vendorId=str(vendor))
        result = self.take(work)
        assert result
        assert result.payment_id
        return result.payment_id

    def approve(self, payment_id: UUID, number: int) -> None:
        """Approve a payment, under a command number of one's own."""
        self.take(m.command("ApprovePayment", number, paymentId=str(payment_id)))

    def pay(self) -> None:
        """Handle what the outbox holds for the payouts queue, and what that leads to, until there is nothing more."""
        for _ in range(_ROUNDS):
            if not self.pay_once():
                return
        raise AssertionError("the payouts queue does not become empty")

    def pay_once(self) -> int:
        """Handle what the outbox holds for the payouts queue now; what the provider is too busy for stays there."""
        posted = rows(
            self.pool,
            "SELECT outbox_id, payload FROM outbox WHERE destination = 'payouts' AND published_at IS NULL"
            " ORDER BY outbox_id",
        )
        for row in posted:
            if self.take(row["payload"], Queue.PAYOUTS) is not None:
                self._mark(row["outbox_id"])
        return len(posted)

    def sweep(self) -> int:
        """Let the sweep order what is due, and handle it; return how many orders there were."""
        self._sweeper.run_once()
        orders, self._swept = self._swept, []
        for order in orders:
            self.take(order, Queue.PAYOUTS)
        self.pay()
        return len(orders)

    def settle(self) -> None:
        """Sweep until nothing is due any more."""
        for _ in range(_ROUNDS):
            if not self.sweep():
                return
        raise AssertionError("the sweep finds ever more")

    def hear(self, events: Sequence[dict[str, Any]]) -> list[Result | None]:
        """Handle events of the provider as EventBridge brings them."""
        heard = [self.handle(self._parsed(event)) for event in events]
        self.pay()
        return heard

    def events(self) -> list[dict[str, Any]]:
        """Every event that the provider has told of, the oldest first."""
        found: list[dict[str, Any]] = []
        while True:
            after = {"starting_after": found[-1]["id"]} if found else {}
            page = self.ask("GET", "events", limit="100", **after)
            found += page["data"]
            if not page["has_more"]:
                return found[::-1]

    def ask(self, method: str, path: str, **fields: str) -> Any:
        """Speak the provider's own protocol."""
        sent: Any = {"data" if method == "POST" else "params": fields}
        headers = {"Authorization": "Bearer sk_test_desk"}
        answer = httpx.request(method, f"{self.sandbox.url}/v1/{path}", headers=headers, **sent)
        answer.raise_for_status()
        return answer.json()

    def _parsed(self, event: dict[str, Any]) -> Parsed:
        envelope = m.envelope(event, source=PROVIDER_SOURCE, **{"detail-type": event["type"]})
        arrival = Arrival(Queue.EVENTS, f"sqs-{event['id']}", datetime.now(UTC))
        return parse(json.dumps(envelope), arrival, sources=m.SOURCES, provider_sources=frozenset({PROVIDER_SOURCE}))

    def _sent(self, orders: Sequence[DueRow]) -> Sent:
        self._swept += [dict(order.payload) for order in orders]
        return Sent({order.outbox_id: "sent" for order in orders}, (), ())

    def _mark(self, outbox_id: int) -> None:
        rows(
            self.pool,
            "UPDATE outbox SET published_at = now() WHERE outbox_id = %s RETURNING outbox_id",
            outbox_id,
        )
