"""Before a message's transaction: what is asked of the provider, in which order, and when nothing is submitted."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from contracts.envelope import Queue
from contracts.inbound import Parsed
from contracts.money import Money
from contracts.outcome import Outcome
from contracts.provider import (
    Accepted,
    Answer,
    Declined,
    LookUp,
    NotExecuted,
    NotFound,
    PayoutOrder,
    PayoutSeen,
    Settlement,
    Told,
    TransferSeen,
    TryLater,
    Unfunded,
    Unknown,
)
from store import attempts, db
from store.db import Pool, PoolOptions, Transient
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import once, rows
from tests.kit.providers import FakeProvider
from workers import clock, payouts
from workers.payouts import (
    ACCOUNT_CHANGED,
    OTHER_PROVIDER,
    OVERTAKEN,
    STALE,
    SUBMIT_WITHIN_S,
    WINDOW_CLOSED,
    Asker,
    ProviderBusy,
)
from workers.sandbox.books import Books
from workers.sandbox.plan import Fault, Plan
from workers.sandbox.server import Sandbox
from workers.stripe_provider import StripeProvider

GRACE = timedelta(hours=1)


class Asked(FakeProvider):
    """A provider that answers as it was told to, and keeps the orders it saw."""

    name = "sandbox"

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


class Reading(FakeProvider):
    """A provider whose objects can be read, and who keeps what was read."""

    name = "sandbox"

    def __init__(
        self, transfer: TransferSeen | NotFound | TryLater | None = None, payout: PayoutSeen | TryLater | None = None
    ) -> None:
        self._transfer, self._payout = transfer, payout
        self.read: list[tuple[str, ...]] = []

    def look_up(self, order: PayoutOrder) -> LookUp:
        self.read.append(("look_up", order.idempotency_key))
        return Accepted("tr_1")

    def read_transfer(self, transfer_id: str) -> TransferSeen | NotFound | TryLater:
        self.read.append(("transfer", transfer_id))
        assert self._transfer
        return self._transfer

    def read_payout(self, payout_id: str, account: str) -> PayoutSeen | NotFound | TryLater:
        self.read.append(("payout", payout_id, account))
        assert self._payout
        return self._payout


@pytest.fixture
def order(pool: Pool) -> Parsed:
    """The order to pay out an approved payment of 150.00 USD."""
    payment_id = once(pool, m.parsed(m.work())).payment_id
    once(pool, m.parsed(m.command("ApprovePayment", paymentId=str(payment_id))))
    [process] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'ProcessPayment'")
    once(pool, m.parsed(process["payload"], queue=Queue.PAYOUTS))
    [execute] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'ExecutePayout'")
    return m.parsed(execute["payload"])


def look(pool: Pool, number: int = 1, **fields: Any) -> Parsed:
    """The sweep's order to look the one attempt up."""
    [attempt] = rows(pool, "SELECT attempt_id FROM payout_attempts")
    body = m.command("ReconcileAttempt", number, attemptId=str(attempt["attempt_id"]), check=number, **fields)
    return m.parsed(body, queue=Queue.PAYOUTS)


def event(kind: str, object_id: str, **fields: Any) -> Parsed:
    """An event of the provider, by way of the bus."""
    return m.parsed(m.provider_event(kind, object_id, **fields))


def ask(pool: Pool, provider: FakeProvider, parsed: Parsed, *, last_try: bool = False) -> Told:
    return Asker(pool, provider, GRACE).ask(parsed, last_try=last_try)[1]


def told(answer: Any) -> Told:
    return Told(answer, livemode=False)


@pytest.mark.parametrize(
    "answer", [Accepted("tr_1"), Declined("account_closed", "closed"), Unfunded("balance"), Unknown("timeout")]
)
def test_what_is_not_known_yet_is_submitted_and_its_answer_handed_on(pool: Pool, order: Parsed, answer: Answer):
    provider = Asked(NotFound(), answer)
    assert ask(pool, provider, order) == told(answer)
    [submitted] = provider.submitted
    [attempt] = rows(pool, "SELECT * FROM payout_attempts")
    assert submitted.idempotency_key == attempt["idempotency_key"]
    assert (submitted.payment_id, submitted.attempt_no) == (attempt["payment_id"], 1)
    assert (submitted.money.amount_cents, submitted.money.currency) == (15000, "USD")
    assert submitted.transfer_group == str(attempt["payment_id"])
    [payment] = rows(pool, "SELECT vendor_id FROM payments")
    assert submitted.destination == attempt["destination"] == str(payment["vendor_id"])


def test_the_sweeps_order_submits_an_open_attempt_too_after_a_look(pool: Pool, order: Parsed):
    provider = Asked(NotFound(), Accepted("tr_1"))
    assert ask(pool, provider, look(pool)) == told(Accepted("tr_1"))
    assert len(provider.submitted) == 1


@pytest.mark.parametrize("found", [Accepted("tr_before"), Unknown("contradiction", stopped=True)])
def test_without_a_clear_no_from_the_look_up_nothing_is_submitted(pool: Pool, order: Parsed, found: LookUp):
    provider = Asked(found)
    assert ask(pool, provider, order) == told(found)
    assert provider.submitted == []


@pytest.mark.parametrize("away", [False, True])
def test_a_provider_that_takes_nothing_makes_the_message_wait(pool: Pool, order: Parsed, *, away: bool):
    for provider in (Asked(TryLater("429", away=away)), Asked(NotFound(), TryLater("429", away=away))):
        with pytest.raises(ProviderBusy) as busy:
            ask(pool, provider, order)
        assert busy.value.away is away


def test_on_the_last_try_it_is_left_to_the_sweep(pool: Pool, order: Parsed):
    for message in (order, look(pool)):
        assert ask(pool, Asked(TryLater("429")), message, last_try=True) == told(Unknown("429"))
    away = Asked(NotFound(), TryLater("connection", away=True))
    assert ask(pool, away, order, last_try=True) == told(Unknown("connection"))


def test_past_the_window_of_its_key_nothing_is_submitted(pool: Pool, order: Parsed):
    forge(pool, "UPDATE payout_attempts SET submit_before = clock_timestamp()")
    provider = Asked(NotFound())
    assert ask(pool, provider, order) == told(Unknown(WINDOW_CLOSED))
    assert len(provider.looked_up) == 1


def test_what_is_not_found_after_the_grace_was_never_executed(pool: Pool, order: Parsed):
    forge(pool, "UPDATE payout_attempts SET submit_before = clock_timestamp() - interval '59 minutes'")
    assert ask(pool, Asked(NotFound()), order) == told(Unknown(WINDOW_CLOSED))
    forge(pool, "UPDATE payout_attempts SET submit_before = clock_timestamp() - interval '61 minutes'")
    assert ask(pool, Asked(NotFound()), order) == told(NotExecuted())
    assert ask(pool, Asked(Accepted("tr_late")), order) == told(Accepted("tr_late"))


def test_the_window_is_measured_by_the_clock_of_the_database(pool: Pool, order: Parsed, monkeypatch):
    monkeypatch.setattr("workers.clock.now", lambda: datetime.max.replace(tzinfo=m.NOW.tzinfo))
    provider = Asked(NotFound(), Accepted("tr_1"))
    assert ask(pool, provider, order) == told(Accepted("tr_1"))


def test_a_process_that_was_frozen_during_its_look_reads_the_attempt_anew(pool: Pool, order: Parsed, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])

    class Frozen(Asked):
        def look_up(self, order: PayoutOrder) -> LookUp:
            now[0] += SUBMIT_WITHIN_S + 1
            return super().look_up(order)

    frozen = Frozen(NotFound(), Accepted("tr_1"))
    assert ask(pool, frozen, order) == told(Accepted("tr_1")), "read anew after the look"


@pytest.mark.parametrize("name", ["monotonic", "now"])
def test_a_process_that_was_frozen_after_its_last_reading_submits_nothing(
    pool: Pool, order: Parsed, monkeypatch, name: str
):
    """By either clock: one stands still while the machine sleeps, the other may be set back."""
    real_find, real, late = attempts.find, getattr(clock, name), [0.0]
    added = (lambda: real() + late[0]) if name == "monotonic" else (lambda: real() + timedelta(seconds=late[0]))
    monkeypatch.setattr(clock, name, added)

    def slow(*arguments: Any) -> Any:
        found = real_find(*arguments)
        late[0] += SUBMIT_WITHIN_S + 1
        return found

    monkeypatch.setattr(attempts, "find", slow)
    provider = Asked(NotFound())
    with pytest.raises(ProviderBusy, match=STALE):
        ask(pool, provider, order)
    assert len(provider.looked_up) == 1


def test_what_others_have_settled_during_the_look_is_not_submitted(pool: Pool, order: Parsed):
    class Overtaken(Asked):
        def look_up(self, order: PayoutOrder) -> LookUp:
            forge(
                pool,
                "UPDATE payout_attempts SET state = 'failed', failure_code = 'x', resolved_at = now(),"
                " next_check_at = NULL",
            )
            return super().look_up(order)

    with pytest.raises(ProviderBusy, match=OVERTAKEN):
        ask(pool, Overtaken(NotFound()), order)


def test_what_should_go_to_another_account_by_now_is_looked_up_and_not_submitted(pool: Pool, order: Parsed):
    asked = {"vendorId": str(m.VENDOR), "stripeAccountId": "acct_1", "payoutsEnabled": True}
    assert once(pool, m.parsed(m.command("VendorAccountChanged", 9, actor=m.admin(), **asked))).code is None
    assert ask(pool, Asked(NotFound()), order) == told(Unknown(ACCOUNT_CHANGED))
    assert ask(pool, Asked(Accepted("tr_before")), order) == told(Accepted("tr_before"))


def test_an_attempt_of_another_provider_is_left_alone(pool: Pool, order: Parsed):
    forge(pool, "UPDATE payout_attempts SET provider = 'stripe'")
    for message in (order, look(pool)):
        provider = Asked(NotFound())
        assert ask(pool, provider, message) == told(Unknown(OTHER_PROVIDER))
        assert provider.looked_up == []


@pytest.mark.parametrize("answer", [Accepted("tr_1"), Declined("account_closed", "closed")])
def test_an_order_to_pay_what_is_settled_asks_nobody(pool: Pool, order: Parsed, answer: Answer):
    assert once(pool, order, answer).outcome is Outcome.APPLIED
    provider = Asked(NotFound())
    assert ask(pool, provider, order) == told(None)
    assert provider.looked_up == []


@pytest.mark.parametrize(
    ("answer", "found", "expected"),
    [
        (Accepted("tr_1"), Accepted("tr_1"), Accepted("tr_1")),
        (Accepted("tr_1"), NotFound(), None),
        (Declined("closed", "closed"), NotFound(), None),
        (Unfunded("balance"), Accepted("tr_after_all"), Accepted("tr_after_all")),
    ],
)
def test_a_closed_attempt_is_looked_up_and_never_submitted(
    pool: Pool, order: Parsed, answer: Answer, found: LookUp, expected: Answer | None
):
    assert once(pool, order, answer).outcome is Outcome.APPLIED
    provider = Asked(found)
    assert ask(pool, provider, look(pool)) == told(expected)
    assert (len(provider.looked_up), provider.submitted) == (1, [])


def test_a_closed_attempt_of_another_provider_is_not_looked_up(pool: Pool, order: Parsed):
    once(pool, order, Accepted("tr_1"))
    forge(pool, "UPDATE payout_attempts SET provider = 'stripe'")
    provider = Asked(Accepted("tr_1"))
    assert ask(pool, provider, look(pool)) == told(None)
    assert provider.looked_up == []


def test_about_an_attempt_that_is_not_there_nobody_is_asked(pool: Pool):
    provider = Asked(NotFound())
    for kind in ("ExecutePayout", "ReconcileAttempt"):
        body = m.command(kind, attemptId=str(m.INCIDENT), check=0)
        assert ask(pool, provider, m.parsed(body, queue=Queue.PAYOUTS)) == Told(spares_key=True), "it may yet be"
    assert provider.looked_up == []


def test_about_a_message_that_needs_nothing_nobody_is_asked(pool: Pool):
    parsed = m.parsed(m.work())
    assert not payouts.asks(parsed.message)
    assert Asker(pool, Asked(NotFound())).ask(parsed) == (parsed, Told())


def test_no_transaction_is_open_while_the_provider_is_asked(pool: Pool, order: Parsed):
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

    assert ask(pool, Watching(Accepted("tr_1")), order) == told(Accepted("tr_1"))


def test_without_the_database_the_provider_is_not_asked(order: Parsed):
    provider = Asked(NotFound())
    nowhere = db.open_pool("host=127.0.0.1 port=1 dbname=nowhere", PoolOptions(size_min=0, wait_s=0.1))
    with nowhere, pytest.raises(Transient):
        ask(nowhere, provider, order)
    assert provider.looked_up == []


@pytest.mark.parametrize(
    ("answer", "hints"),
    [
        (Unknown("connection"), True),
        (Unknown("unreachable"), True),
        (Unknown("credentials"), True),
        (Unknown("timeout"), True),
        (Unknown("server_error"), True),
        (Unknown(WINDOW_CLOSED), False),
        (Unknown(OVERTAKEN), False),
        (Accepted("tr_1"), False),
        (None, False),
    ],
)
def test_an_outcome_that_the_network_left_open_lets_one_doubt_the_provider(answer: Answer | None, *, hints: bool):
    assert payouts.hints_at_outage(told(answer)) is hints


# -- events


def seen(payment_id: str, **changed: Any) -> TransferSeen:
    fields: dict[str, Any] = {
        "provider_object_id": "tr_1",
        "transfer_group": payment_id,
        "idempotency_key": None,
        "money": Money(15000, "USD"),
        "destination": "acct_1",
        "reversals": (),
        "created_at": m.NOW,
        "livemode": False,
    }
    return TransferSeen(**(fields | changed))


def test_an_event_about_a_transfer_is_read_again_and_says_which_payment_it_is_about(pool: Pool):
    provider = Reading(transfer=seen(str(m.INCIDENT)))
    parsed, found = Asker(pool, provider).ask(event("transfer.reversed", "tr_1"))
    assert parsed.cause.about == m.INCIDENT
    assert (found.seen, found.answer) == (seen(str(m.INCIDENT)), None)
    assert provider.read == [("transfer", "tr_1")]


@pytest.mark.parametrize("group", [None, "invoice-7"])
def test_a_transfer_that_is_none_of_ours_is_about_nothing(pool: Pool, group: str | None):
    parsed, found = Asker(pool, Reading(transfer=seen("x", transfer_group=group))).ask(
        event("transfer.created", "tr_1")
    )
    assert parsed.cause.about is None
    assert isinstance(found.seen, TransferSeen)


def test_a_transfer_that_cannot_be_read_is_told(pool: Pool):
    assert ask(pool, Reading(transfer=NotFound()), event("transfer.created", "tr_1")).seen == NotFound()
    with pytest.raises(ProviderBusy) as busy:
        ask(pool, Reading(transfer=TryLater("connection", away=True)), event("transfer.created", "tr_1"))
    assert busy.value.away


def test_an_event_of_the_other_world_reads_nothing(pool: Pool):
    provider = Reading()
    assert ask(pool, provider, event("transfer.created", "tr_1", livemode=True)) == Told(livemode=False)
    assert ask(pool, provider, event("payout.paid", "po_1", livemode=True, account="acct_1")) == Told(livemode=False)
    assert provider.read == []


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("balance.available", {}),
        ("payout.paid", {}),  # of the platform's own account
        ("transfer.created", {"data": {"object": {"id": "x", "object": "charge"}}}),
        ("payout.paid", {"account": "acct_1", "data": {"object": {"id": "x", "object": "bank_account"}}}),
    ],
)
def test_an_event_that_we_have_no_use_for_reads_nothing(pool: Pool, kind: str, fields: dict[str, Any]):
    provider = Reading()
    assert ask(pool, provider, event(kind, "x", **fields)) == Told(livemode=False)
    assert provider.read == []


def payout(*transfers: str) -> PayoutSeen:
    return PayoutSeen("po_1", "acct_1", Settlement.PAID, None, transfers, livemode=False)


def test_a_settlement_counts_for_the_attempts_whose_account_it_paid_and_for_no_other(pool: Pool, order: Parsed):
    once(pool, order, Accepted("tr_1"))
    forge(pool, "UPDATE payout_attempts SET destination = 'acct_1'")
    [attempt] = rows(pool, "SELECT attempt_id FROM payout_attempts")
    paid = event("payout.paid", "po_1", account="acct_1")
    provider = Reading(payout=payout("tr_1", "tr_of_somebody_else"))
    found = ask(pool, provider, paid)
    assert (found.seen, found.attempts) == (payout("tr_1", "tr_of_somebody_else"), (attempt["attempt_id"],))
    assert (found.missing, found.spares_key) == (1, True), "one of them may yet become an attempt of ours"
    assert provider.read == [("payout", "po_1", "acct_1")]
    for elsewhere in ("acct_2", str(m.VENDOR)):
        forge(pool, f"UPDATE payout_attempts SET destination = '{elsewhere}'")
        assert ask(pool, Reading(payout=payout("tr_1")), paid).attempts == ()
    forge(pool, "UPDATE payout_attempts SET destination = 'acct_1', provider = 'stripe'")
    assert ask(pool, Reading(payout=payout("tr_1")), paid).attempts == (), "of another provider"
    assert ask(pool, Reading(payout=payout()), paid).attempts == ()


def test_a_look_for_a_settlement_reads_it_at_the_account_that_was_paid(pool: Pool, order: Parsed):
    once(pool, order, Accepted("tr_1"))
    provider = Reading(payout=payout("tr_1"))
    found = ask(pool, provider, look(pool, payoutId="po_1"))
    assert (found.answer, found.seen) == (Accepted("tr_1"), payout("tr_1"))
    assert provider.read[1:] == [("payout", "po_1", f"acct_{m.VENDOR.hex}")]


# -- the sandbox, over HTTP


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Books(), Plan()) as running:
        yield running


def connected(sandbox: Sandbox) -> StripeProvider:
    return StripeProvider(name="sandbox", key=lambda: "sk_test_sandbox", api_base=sandbox.url)


def test_the_sandbox_pays_once_and_finds_what_it_paid(pool: Pool, order: Parsed, sandbox: Sandbox):
    asker = Asker(pool, connected(sandbox))
    first = asker.ask(order)[1].answer
    assert isinstance(first, Accepted)
    assert [asker.ask(message)[1].answer for message in (order, look(pool))] == [first, first]
    [transfer] = sandbox.books.transfers()
    [payment] = rows(pool, "SELECT payment_id FROM payments")
    assert (transfer["amount"], transfer["currency"], transfer["destination"], transfer["transfer_group"]) == (
        15000,
        "usd",
        f"acct_{m.VENDOR.hex}",
        str(payment["payment_id"]),
    )


def test_the_same_key_moves_money_once_whatever_the_look_up_says(pool: Pool, order: Parsed, sandbox: Sandbox):
    """After a lost answer a second submission under the same key is the same transfer."""
    provider = connected(sandbox)
    sandbox.plan.force(Fault.LOST_AFTER)
    assert isinstance(Asker(pool, provider).ask(order)[1].answer, Unknown)
    [attempt] = rows(pool, "SELECT * FROM payout_attempts")
    money, key = Money(attempt["amount_cents"], attempt["currency"]), attempt["idempotency_key"]
    made = provider.submit(PayoutOrder(attempt["payment_id"], 1, key, money, attempt["destination"]))
    assert isinstance(made, Accepted)
    assert [transfer["id"] for transfer in sandbox.books.transfers()] == [made.provider_object_id]
    assert Asker(pool, provider).ask(look(pool))[1].answer == made


def test_a_sandbox_that_is_away_never_pretends_that_it_knows(pool: Pool, order: Parsed, sandbox: Sandbox):
    provider = connected(sandbox)
    sandbox.stop()
    with pytest.raises(ProviderBusy) as busy:
        Asker(pool, provider).ask(order)
    assert busy.value.away
    assert isinstance(Asker(pool, provider).ask(order, last_try=True)[1].answer, Unknown)
    sandbox.start()
    assert isinstance(Asker(pool, provider).ask(order)[1].answer, Accepted)
    assert len(sandbox.books.transfers()) == 1
