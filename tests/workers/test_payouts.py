"""Before the transaction of an ExecutePayout: what is asked of the provider, in which order, and when nothing is."""

from datetime import datetime

import pytest

from contracts.envelope import Queue
from contracts.inbound import ExecutePayout
from contracts.outcome import Outcome
from contracts.provider import Accepted, Answer, Declined, LookUp, NotFound, PayoutOrder, TryLater, Unknown
from store import db, sandbox
from store.db import Pool, PoolOptions, Transient
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import once, rows
from workers import payouts, settings
from workers.payouts import WINDOW_CLOSED
from workers.providers import SandboxProvider, make_provider
from workers.settings import SettingsError


class Asked:
    """A provider that answers as it was told to, and keeps the orders it saw."""

    name = "asked"

    def __init__(self, found: LookUp, answer: Answer | None = None) -> None:
        self._found, self._answer = found, answer
        self.looked_up: list[PayoutOrder] = []
        self.submitted: list[PayoutOrder] = []

    def look_up(self, order: PayoutOrder) -> LookUp:
        self.looked_up.append(order)
        return self._found

    def submit(self, order: PayoutOrder) -> Answer:
        assert self.looked_up == [order], "looked up first"
        assert self._answer, "nothing should have been submitted"
        self.submitted.append(order)
        return self._answer


@pytest.fixture
def order(pool: Pool) -> ExecutePayout:
    """The order to pay out an approved payment of 150.00 USD."""
    payment_id = once(pool, m.parsed(m.work())).payment_id
    once(pool, m.parsed(m.command("ApprovePayment", paymentId=str(payment_id))))
    [process] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'ProcessPayment'")
    once(pool, m.parsed(process["payload"], queue=Queue.PAYOUTS))
    [execute] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'ExecutePayout'")
    message = m.parsed(execute["payload"]).message
    assert isinstance(message, ExecutePayout)
    return message


@pytest.mark.parametrize(
    "answer", [Accepted("tr_1"), Declined("account_closed", "closed"), Unknown("timeout"), TryLater("429")]
)
def test_what_is_not_known_yet_is_submitted_and_its_answer_handed_on(pool: Pool, order: ExecutePayout, answer: Answer):
    provider = Asked(NotFound(), answer)
    assert payouts.ask(pool, provider, order) == answer
    [submitted] = provider.submitted
    [attempt] = rows(pool, "SELECT * FROM payout_attempts")
    assert submitted.idempotency_key == attempt["idempotency_key"]
    assert (submitted.payment_id, submitted.attempt_no) == (attempt["payment_id"], 1)
    assert (submitted.money.amount_cents, submitted.money.currency) == (15000, "USD")
    assert submitted.transfer_group == str(attempt["payment_id"])
    [payment] = rows(pool, "SELECT vendor_id FROM payments")
    assert submitted.destination == attempt["destination"] == str(payment["vendor_id"])


@pytest.mark.parametrize("found", [Accepted("tr_before"), TryLater("look-up is down")])
def test_without_a_clear_no_from_the_look_up_nothing_is_submitted(pool: Pool, order: ExecutePayout, found: LookUp):
    provider = Asked(found)
    assert payouts.ask(pool, provider, order) == found
    assert provider.submitted == []


def test_past_the_window_of_its_key_nothing_is_submitted(pool: Pool, order: ExecutePayout):
    forge(pool, "UPDATE payout_attempts SET submit_before = clock_timestamp()")
    provider = Asked(NotFound())
    assert payouts.ask(pool, provider, order) == Unknown(WINDOW_CLOSED)
    assert len(provider.looked_up) == 1


def test_past_the_window_what_was_moved_before_is_still_found(pool: Pool, order: ExecutePayout):
    forge(pool, "UPDATE payout_attempts SET submit_before = '2020-01-01'")
    assert payouts.ask(pool, Asked(Accepted("tr_before")), order) == Accepted("tr_before")


def test_the_window_is_measured_by_the_clock_of_the_database(pool: Pool, order: ExecutePayout, monkeypatch):
    monkeypatch.setattr("workers.clock.now", lambda: datetime.max.replace(tzinfo=m.NOW.tzinfo))
    provider = Asked(NotFound(), Accepted("tr_1"))
    assert payouts.ask(pool, provider, order) == Accepted("tr_1")


@pytest.mark.parametrize("answer", [Accepted("tr_1"), Declined("account_closed", "closed")])
def test_about_what_is_settled_nobody_is_asked(pool: Pool, order: ExecutePayout, answer: Answer):
    [posted] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'ExecutePayout'")
    assert once(pool, m.parsed(posted["payload"]), answer).outcome is Outcome.APPLIED
    provider = Asked(NotFound())
    assert payouts.ask(pool, provider, order) is None
    assert provider.looked_up == []


def test_about_an_attempt_that_is_not_there_nobody_is_asked(pool: Pool):
    message = m.parsed(m.command("ExecutePayout", attemptId=str(m.INCIDENT))).message
    assert isinstance(message, ExecutePayout)
    provider = Asked(NotFound())
    assert payouts.ask(pool, provider, message) is None
    assert provider.looked_up == []


def test_no_transaction_is_open_while_the_provider_is_asked(pool: Pool, order: ExecutePayout):
    class Watching(Asked):
        def look_up(self, order: PayoutOrder) -> LookUp:
            found = rows(
                pool,
                """
                SELECT pid FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%%' AND pid <> %s
                """,
                0,
            )
            assert found == []
            return super().look_up(order)

    assert payouts.ask(pool, Watching(Accepted("tr_1")), order) == Accepted("tr_1")


def test_without_the_database_the_provider_is_not_asked(order: ExecutePayout):
    provider = Asked(NotFound())
    nowhere = db.open_pool("host=127.0.0.1 port=1 dbname=nowhere", PoolOptions(size_min=0, wait_s=0.1))
    with nowhere, pytest.raises(Transient):
        payouts.ask(nowhere, provider, order)
    assert provider.looked_up == []


def test_the_sandbox_pays_once_and_finds_what_it_paid(pool: Pool, order: ExecutePayout):
    provider = make_provider(settings.load({"PAYMENTS_PROVIDER": "sandbox"}), pool)
    assert provider.name == "sandbox"
    first = payouts.ask(pool, provider, order)
    assert isinstance(first, Accepted)
    assert payouts.ask(pool, provider, order) == first
    assert len(rows(pool, "SELECT 1 FROM sandbox.transfers")) == 1


def test_a_sandbox_that_cannot_answer_never_pretends_that_it_knows(pool: Pool, monkeypatch):
    provider = SandboxProvider(pool)

    def away(*_: object) -> None:
        raise Transient(db.TransientReason.CONNECTION, None)

    monkeypatch.setattr(sandbox, "find_transfer", away)
    monkeypatch.setattr(sandbox, "make_transfer", away)
    from_nowhere: PayoutOrder = object()  # type: ignore[assignment]
    assert provider.look_up(from_nowhere) == TryLater("connection"), "nothing was sent: it may come again"
    assert provider.submit(from_nowhere) == Unknown("connection"), "it may have been booked"


def test_no_provider_is_ever_guessed(pool: Pool):
    with pytest.raises(SettingsError, match="PAYMENTS_PROVIDER"):
        make_provider(settings.load({}), pool)
