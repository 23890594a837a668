"""The auditor finds nothing in a sound world, and in a broken one just what was broken; its code is its own."""

import ast
import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from contracts.envelope import Arrival, Malformed, Queue
from contracts.inbound import parse
from contracts.outcome import Outcome
from handlers.decision import Rules
from handlers.process import process
from store import db, failures
from store.db import Pool, PoolOptions
from store.failures import Failure
from store.outbox import DueRow
from store.sweep import Patience
from tests.kit import books, bus
from tests.kit.books import Event, Transfer
from tests.kit.databases import Copies
from tests.kit.messages import SOURCES
from tests.kit.proofs import SENDERS, enrol, proof_of
from tests.storm import auditor, auditor_model, manifest, poison, traffic
from tests.storm.auditor import audit
from tests.storm.manifest import Manifest
from tests.storm.traffic import Traffic
from workers.local import postgres
from workers.local.sandbox import EVENT_SOURCE
from workers.metrics import Metrics
from workers.payouts import Asker, ProviderBusy
from workers.providers import SANDBOX_KEY
from workers.relay import Sent
from workers.sandbox.books import AccountState, PayoutStatus
from workers.sandbox.events import Delivery, Disorder, Entry
from workers.sandbox.plan import Fault, Plan
from workers.sandbox.server import Sandbox
from workers.stripe_provider import StripeProvider
from workers.sweep import Sweeper, SweepOptions

#: The world that all share takes its time: every payout is asked over HTTP.
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

MESSAGES = 900
QUEUES = {"events": Queue.EVENTS, "commands": Queue.COMMANDS, "payouts": Queue.PAYOUTS}
#: An attempt whose key is poisoned at the provider is given up after a second.
RULES = Rules(
    not_yet_for=timedelta(0), check_after=(timedelta(0),), submit_window=timedelta(seconds=1), senders=SENDERS
)


@dataclass
class World:
    """A database after some traffic, and what was said outside; a test may break either."""

    url: str
    manifest: Manifest
    published: list[dict[str, Any]]
    approvals: list[dict[str, Any]]
    dead_letters: list[dict[str, Any]]
    left: dict[str, int]
    transfers: list[Transfer]
    events: list[Event]

    def findings(self) -> list[auditor.Finding]:
        """What the auditor finds."""
        return list(audit(self.url, self.manifest, self, not_yet=RULES.not_yet_for)[1])  # type: ignore[arg-type]

    def execute(self, statement: Any, *values: Any) -> None:
        """Do what no process of ours can: no trigger and no key stands in the way."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            done = connection.execute(statement, values)
            assert done.rowcount, "nothing was broken"

    def one(self, query: Any, *values: Any) -> Any:
        """The first column of the first row."""
        with psycopg.connect(self.url) as connection:
            found = connection.execute(query, values).fetchone()
        assert found, query
        return found[0]

    def event(self, kind: str) -> dict[str, Any]:
        """The first published event of a kind."""
        return next(entry for entry in self.published if entry["detail_type"] == kind)


#: What the provider of this world does wrong: every way in which an attempt can become unknown, or come to nothing.
RATES = {
    Fault.RATE_LIMITED: 0.03,
    Fault.IN_USE: 0.03,
    Fault.LOST_BEFORE: 0.03,
    Fault.LOST_AFTER: 0.06,
    Fault.GARBLED: 0.03,
    Fault.ERROR_BEFORE: 0.04,
    Fault.ERROR_AFTER: 0.06,
    Fault.INSUFFICIENT: 0.1,
}
DISORDER = Disorder(seed=5, repeated=0.1, held_back=0.2, shuffled=5)
#: After how many messages the sweep goes round, and the provider tells its events.
ROUND = 40


class Service:
    """The funnel without queues: takes bodies, and hands on what its outbox holds until there is nothing more."""

    def __init__(self, pool: Pool, bank: Sandbox) -> None:
        self._pool = pool
        provider = StripeProvider(name="sandbox", key=lambda: SANDBOX_KEY, api_base=bank.url)
        self._asker = Asker(pool, provider, grace=timedelta(0))
        patience = Patience(timedelta(hours=1), timedelta(hours=1), (timedelta(0),), unregistered=True)
        self._sweeper = Sweeper(pool, self._swept, SweepOptions(patience), Metrics(), threading.Event())
        self._delivery = Delivery(bank.books, self._publish, source=EVENT_SOURCE, disorder=DISORDER)
        self._bank = bank
        self._todo: deque[tuple[str, str]] = deque()
        self._later: list[tuple[str, str]] = []
        self._taken = 0
        self._sent = 0
        self.published: list[dict[str, Any]] = []
        self.approvals: list[dict[str, Any]] = []
        self.dead_letters: list[dict[str, Any]] = []

    def take(self, queue: str, body: str) -> None:
        """Handle a message and all that follows from it."""
        self._taken += 1
        self._todo.append((queue, body))
        if self._taken % ROUND == 0:
            self._go_round()
        self._work_off()

    def finish(self) -> None:
        """Go on until every payout is over and every event of the provider is heard."""
        deadline = time.monotonic() + 60
        while self._later or self._bank.books.undelivered() or self._processing():
            assert time.monotonic() < deadline, "a payout sticks"
            self._go_round()
            self._work_off()

    def _go_round(self) -> None:
        self._todo.extend(self._later)
        self._later.clear()
        self._sweeper.run_once()
        self._delivery.run_once()

    def _processing(self) -> int:
        with self._pool.connection() as connection:
            found = connection.execute("SELECT count(*) AS n FROM payments WHERE status = 'processing'").fetchone()
        return int(found["n"]) if found else 0

    def _swept(self, rows: Sequence[DueRow]) -> Sent:
        self._todo.extend(("payouts", json.dumps(row.payload)) for row in rows)
        return Sent({row.outbox_id: "sent" for row in rows}, [], [])

    def _publish(self, entries: Sequence[Entry]) -> Collection[int]:
        for entry in entries:
            head = {"id": str(uuid.uuid4()), "detail_type": entry["DetailType"], "source": entry["Source"]}
            self._todo.append(("events", bus.delivered({**head, "detail": json.loads(entry["Detail"])})))
        return ()

    def _work_off(self) -> None:
        while self._todo:
            self._handle(*self._todo.popleft())
            self._hand_on()

    def _handle(self, queue: str, body: str) -> None:
        arrival = Arrival(QUEUES[queue], str(uuid.uuid4()), datetime.now(UTC))
        try:
            parsed = parse(body, arrival, sources=SOURCES, provider_sources=frozenset({EVENT_SOURCE}))
            enrol(self._pool, parsed.message)
            parsed, told = self._asker.ask(parsed)
            process(self._pool, parsed, RULES, proof_of(parsed), told)
        except Malformed as flaw:
            self._dead_letter(queue, body, arrival, flaw)
        except ProviderBusy:
            self._later.append((queue, body))

    def _dead_letter(self, queue: str, body: str, arrival: Arrival, flaw: Malformed) -> None:
        failures.record(
            self._pool,
            Failure(
                queue=QUEUES[queue],
                sqs_message_id=arrival.sqs_message_id,
                kind=flaw.kind,
                message_key=f"sqs:{arrival.sqs_message_id}",
                outcome=Outcome.INVALID,
                reason=flaw.flaw,
                detail=flaw.detail,
                body_bytes=len(body),
                body_digest=sha256(body.encode()).digest(),
                sender=arrival.sender,
                first_sent_at=arrival.sent_at,
            ),
        )
        known = {"message_id": arrival.sqs_message_id, "attributes": {"Reason": flaw.flaw.value}, "receive_count": 1}
        self.dead_letters.append({"queue": queue, "body": body, **known})

    def _hand_on(self) -> None:
        with self._pool.connection() as connection:
            sent = connection.execute(_SEND, [self._sent]).fetchall()
        for row in sent:
            self._sent = max(self._sent, row["outbox_id"])
            if row["destination"] == "bus":
                self.published.append({"detail_type": row["detail_type"], "detail": row["payload"]})
            elif row["destination"] == "approvals":
                self.approvals.append({"body": json.dumps(row["payload"])})
            else:
                self._todo.append(("payouts", json.dumps(row["payload"])))


_SEND = """
UPDATE outbox SET published_at = now(), bus_event_id = 'sent' WHERE outbox_id > %s
RETURNING outbox_id, destination, detail_type, payload
"""


@pytest.fixture(scope="module")
def sound(copies: Copies) -> Iterator[World]:
    """A world in which everything was handled once; nobody changes it."""
    with copies.one() as url:
        sent = Traffic(5)
        with (
            db.open_pool(url, PoolOptions(size_min=1, size_max=2)) as pool,
            Sandbox(plan=Plan(5, RATES)) as bank,
        ):
            for account in sent.closed_accounts:
                bank.books.set_account(account, AccountState.CLOSED)
            service = Service(pool, bank)
            for outgoing in islice(sent, MESSAGES):
                service.take(outgoing.queue, outgoing.body)
                if service.published[-1:] and len(service.published) % 7 == 0:
                    service.published.append(deepcopy(service.published[-1]))  # a relay may say it twice
            service.finish()
            bank.plan.set()
            accounts = _go_on(bank)
            service.finish()
            told = (books.transfers(bank.url), books.events(bank.url, *accounts))
        outside = (service.published, service.approvals, service.dead_letters)
        yield World(url, sent.manifest, *outside, {"events": 0, "commands": 0, "payouts": 0}, *told)


def _go_on(bank: Sandbox) -> list[str]:
    """Let some money come back, and some go on to the vendors' banks; return their accounts."""
    moved = books.transfers(bank.url)
    for number, transfer in enumerate(moved[:6]):
        books.reverse(bank.url, transfer.id, transfer.amount // (1 + number % 2))
    accounts = list(dict.fromkeys(transfer.destination for transfer in moved[10:14]))
    for number, account in enumerate(accounts):
        for payout in bank.books.settle(account):
            bank.books.finish_payout(payout["id"], PayoutStatus.PAID if number % 2 else PayoutStatus.FAILED)
    return accounts


@pytest.fixture(scope="module")
def worlds(server: postgres.Server, sound: World) -> Iterator[Copies]:
    with Copies(server, urlsplit(sound.url).path.lstrip("/")) as found:
        yield found


@pytest.fixture
def world(worlds: Copies, sound: World) -> Iterator[World]:
    """A copy of the sound world, to be broken."""
    with worlds.one() as url:
        outside = (sound.manifest, sound.published, sound.approvals, sound.dead_letters, sound.left)
        yield World(url, *deepcopy((*outside, sound.transfers, sound.events)))


# -- the auditor itself


@pytest.mark.parametrize(
    "module", [auditor, auditor_model, books, manifest, traffic, poison], ids=lambda module: module.__name__
)
def test_it_shares_no_code_with_the_product(module):
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not {name for name in imported if name.split(".")[0] in {"contracts", "store", "handlers", "workers"}}
    ours = {"tests.kit.books", "tests.storm.auditor_model", "tests.storm.manifest", "tests.storm.poison"}
    assert {name for name in imported if name.split(".")[0] == "tests"} <= ours


def test_it_finds_nothing_in_a_sound_world_and_has_looked_at_everything(sound):
    figures, found = audit(sound.url, sound.manifest, sound, not_yet=RULES.not_yet_for)
    assert not found
    for ended in ("completed", "cancelled", "failed", "approved", "pending_approval"):
        assert figures[f"payments {ended}"] > 0, figures
    assert figures["transfers"] == figures["payments completed"]
    assert figures["provider's events"] > figures["transfers"]
    assert figures["further attempts"] > 5
    assert figures["reversed payments"] > 1
    assert figures["settled payments"] > 1
    for code in ("already_decided", "amount_mismatch", "payload_conflict", "not_found"):
        assert figures[f"refused {code}"] > 0, figures
    assert figures["ignored"] > 0
    assert figures["events published again"] > 0
    assert figures["dead letters"] == len(sound.manifest.poisons) > 5


# -- what breaks it: each leads to the finding of its name

#: Of work that was reported once: what was cancelled and reported again has another payment.
COMPLETED = """
SELECT payment_id FROM payments AS one WHERE status = 'completed' AND source = 'work_completed' AND NOT EXISTS (
    SELECT FROM payments AS other WHERE other.incident_id = one.incident_id AND other.payment_id <> one.payment_id
) ORDER BY 1 LIMIT 1
"""


def _drop_payment(world: World) -> None:
    payment = world.one(COMPLETED)
    world.execute("DELETE FROM payments WHERE payment_id = %s", payment)


def _double_payment(world: World) -> None:
    """Let a second payment be for the work of the first, as if no index had been there."""
    made = "FROM payments WHERE source = 'work_completed' AND status = 'completed' ORDER BY payment_id"
    with psycopg.connect(world.url, autocommit=True) as connection:
        connection.execute("DROP INDEX ux_payments_live_work")
    world.execute(
        f"UPDATE payments SET (incident_id, vendor_id) = (SELECT incident_id, vendor_id {made} LIMIT 1)"
        f" WHERE payment_id = (SELECT payment_id {made} DESC LIMIT 1)"
    )


def _update(table: str, change: str, where: str) -> Callable[[World], object]:
    def do(world: World) -> None:
        world.execute(f"UPDATE {table} SET {change} WHERE ctid = (SELECT ctid FROM {table} WHERE {where} LIMIT 1)")

    return do


def _delete(table: str, where: str) -> Callable[[World], object]:
    def do(world: World) -> None:
        world.execute(f"DELETE FROM {table} WHERE ctid = (SELECT ctid FROM {table} WHERE {where} LIMIT 1)")

    return do


def _unpublish(kind: str) -> Callable[[World], object]:
    def do(world: World) -> None:
        identity = world.event(kind)["detail"]["eventId"]
        world.published = [entry for entry in world.published if entry["detail"]["eventId"] != identity]

    return do


def _publish(kind: str, **changes: Any) -> Callable[[World], object]:
    def do(world: World) -> None:
        entry = deepcopy(world.event(kind))
        entry["detail"].update(changes)
        world.published.append(entry)

    return do


def _rewrite(kind: str, **changes: Any) -> Callable[[World], object]:
    def do(world: World) -> None:
        identity = world.event(kind)["detail"]["eventId"]
        for entry in world.published:
            if entry["detail"]["eventId"] == identity:
                entry["detail"].update(changes)

    return do


def _moved_otherwise(**changes: Any) -> Callable[[World], object]:
    """Let the provider have moved something else than it was ordered to."""

    def do(world: World) -> None:
        world.transfers[0] = replace(world.transfers[0], **changes)

    return do


def _moved_too(**changes: Any) -> Callable[[World], object]:
    """Let the provider have moved something more."""
    return lambda world: world.transfers.append(replace(world.transfers[0], id="tr_more", **changes))


def _paid_although(status: str) -> Callable[[World], object]:
    """Let the provider have paid a payment that says otherwise."""

    def do(world: World) -> None:
        payment = world.one("SELECT payment_id FROM payments WHERE status = %s LIMIT 1", status)
        world.transfers.append(replace(world.transfers[0], id="tr_more", group=str(payment)))

    return do


def _of_a_closed_account(world: World) -> None:
    """Let a payment be completed although its vendor's account was closed."""
    vendor = world.one("SELECT vendor_id FROM payments WHERE status = 'failed' LIMIT 1")
    world.execute(
        "UPDATE payments SET vendor_id = %s WHERE payment_id ="
        " (SELECT payment_id FROM payments WHERE status = 'completed' LIMIT 1)",
        vendor,
    )


#: An attempt that came to nothing, upon which another one followed.
TRIED_AGAIN = "EXISTS (SELECT FROM payout_attempts AS next WHERE next.payment_id = payout_attempts.payment_id AND\
 next.attempt_no > payout_attempts.attempt_no)"


def _sound_message_dead(world: World) -> None:
    world.dead_letters.append({**world.dead_letters[0], "body": "a body that was sound"})


def _reasonless(world: World) -> None:
    world.dead_letters[0]["attributes"] = {}


def _early_not_found(world: World) -> None:
    """Let the one who was refused have waited for nothing, in the auditor's eyes: sent after the answer."""
    key = world.one("SELECT message_key FROM message_inbox WHERE outcome_code = 'not_found' LIMIT 1")
    told = next(entry["detail"] for entry in world.published if entry["detail"].get("commandId") == key)
    told["timestamp"] = "2020-01-01T00:00:00Z"


#: What is broken, and the rules that must speak; any further finding must be of `ALSO`.
BREACHES: dict[str, tuple[Callable[[World], object], str]] = {
    "a payment is missing": (_drop_payment, "missing payment"),
    "a history has no payment": (_drop_payment, "history"),
    "a message has two effects": (
        _update(
            "payment_audit_log",
            "message_key = (SELECT message_key FROM payment_audit_log WHERE action = 'approved'"
            " ORDER BY log_id DESC LIMIT 1)",
            "action = 'approved' ORDER BY log_id",
        ),
        "effect twice",
    ),
    "a work item has two payments": (_double_payment, "paid twice"),
    "an amount is wrong": (
        _update("payments", "amount_cents = amount_cents + 1", "status = 'completed'"),
        "payment of nothing",
    ),
    "a line is wrong": (_update("payment_line_items", "quantity = quantity + 1", "line_no = 1"), "lines"),
    "a line is missing": (_delete("payment_line_items", "line_no = 2"), "lines"),
    "a vendor is wrong": (
        _update("payments", "vendor_id = gen_random_uuid()", "status = 'completed'"),
        "payment of nothing",
    ),
    "a status is skipped": (
        _update("payment_audit_log", "new_status = 'completed'", "action = 'approved'"),
        "illegal history",
    ),
    "an audit row is missing": (_delete("payment_audit_log", "action = 'processing_started'"), "version"),
    "a history is cut": (_delete("payment_audit_log", "action = 'payout_succeeded'"), "version"),
    "a hash is wrong": (_update("payment_audit_log", "entry_hash = sha256('x')", "action = 'approved'"), "chain"),
    "a row was rewritten": (_update("payment_audit_log", "data = '{}'", "action = 'created'"), "chain"),
    "a time was rewritten": (
        _update("payment_audit_log", "\"timestamp\" = now() - interval '1 year'", "seq = 2"),
        "time",
    ),
    "a note was rewritten": (_update("payment_audit_notes", "note = 'other'", "true"), "chain"),
    "a status is not its history's": (_update("payments", "status = 'processing'", "status = 'approved'"), "version"),
    "a stranger made the payment": (
        _update("payments", "created_by = gen_random_uuid()", "source = 'work_completed'"),
        "actor",
    ),
    "an approval has no message": (
        _delete("message_inbox", "consumer = 'ApprovePayment' AND outcome = 'applied'"),
        "no cause",
    ),
    "a message is lost": (
        _delete("message_inbox", "consumer = 'ApprovePayment' AND outcome = 'refused'"),
        "lost message",
    ),
    "what is nobody's word is not on record": (
        _update(
            "message_inbox",
            "message_key = 'turned-away:' || message_key",
            "consumer = 'WorkCompleted' AND outcome = 'refused'",
        ),
        "turned away",
    ),
    "an own order is lost": (_delete("message_inbox", "consumer = 'ExecutePayout'"), "lost message"),
    "a refusal is an effect": (
        _update(
            "message_inbox",
            "outcome = 'applied', outcome_code = NULL",
            "outcome = 'refused' AND consumer = 'ApprovePayment'",
        ),
        "no effect",
    ),
    "a refusal has another code": (
        _update("message_inbox", "outcome_code = 'stale'", "outcome_code = 'amount_mismatch'"),
        "wrong end",
    ),
    "sound work is refused": (
        _update(
            "message_inbox",
            "outcome = 'refused', outcome_code = 'missing_pricing'",
            "outcome = 'applied' AND consumer = 'WorkCompleted'",
        ),
        "wrong end",
    ),
    "a message is nobody's": (
        _update("message_inbox", "message_key = 'nobody'", "outcome = 'ignored'"),
        "message of nobody",
    ),
    "not_found came early": (_early_not_found, "wrong end"),
    "an event is missing": (_unpublish("PaymentApproved"), "missing event"),
    "the last event is missing": (_unpublish("PaymentCompleted"), "missing event"),
    "a refusal is not announced": (_unpublish("PaymentCommandRejected"), "missing event"),
    "a conflict is not announced": (_unpublish("PaymentConflictDetected"), "conflict"),
    "an event has two ids": (_publish("PaymentCompleted", eventId=str(uuid.uuid4())), "one id"),
    "an id has two contents": (_publish("PaymentApproved", amountCents=1), "one id"),
    "an event tells another amount": (_rewrite("PaymentCreated", amountCents=1), "event content"),
    "an event is of no version": (
        _publish("PaymentCreated", eventId=str(uuid.uuid4()), paymentVersion=99),
        "event of nothing",
    ),
    "a refusal never happened": (
        _publish("PaymentCommandRejected", eventId=str(uuid.uuid4()), causationId="x"),
        "event of nothing",
    ),
    "the money moved twice": (_moved_too(), "transfers"),
    "the money never moved": (lambda world: world.transfers.pop(), "transfers"),
    "too much moved": (_moved_otherwise(amount=1), "transfers"),
    "it moved in another currency": (_moved_otherwise(currency="CHF"), "transfers"),
    "another was paid": (_moved_otherwise(destination="acct_other"), "transfers"),
    "it moved under nobody's key": (_moved_otherwise(key="random"), "transfers"),
    "it is another transfer than is recorded": (_moved_otherwise(id="tr_other"), "transfers"),
    "a failed payment was paid": (_paid_although("failed"), "transfers"),
    "a cancelled payment was paid": (_paid_although("cancelled"), "transfers"),
    "a closed account was paid": (_of_a_closed_account, "transfers"),
    "money moved for nothing": (_moved_too(group=str(uuid.uuid4())), "money of nothing"),
    "money came back unseen": (_moved_otherwise(reversed=1), "reversals"),
    "a reversal is not itemised": (_delete("payout_reversals", "true"), "reversals"),
    "more came back than did": (
        _update("payments", "amount_reversed_cents = amount_reversed_cents + 1", "status = 'completed'"),
        "reversals",
    ),
    "a payout never ends": (
        _update("payments", "status = 'processing', completed_at = NULL", "status = 'completed'"),
        "unfinished",
    ),
    "an attempt is missing": (_delete("payout_attempts", TRIED_AGAIN), "attempts"),
    "a declined attempt was followed by another": (
        _update("payout_attempts", "failure_code = 'account_closed'", TRIED_AGAIN),
        "attempts",
    ),
    "a payment failed for want of funds": (
        _update("payout_attempts", "failure_code = 'balance_insufficient'", "failure_code = 'account_invalid'"),
        "attempts",
    ),
    "an event of the provider is lost": (_delete("message_inbox", "consumer = 'ProviderEvent'"), "lost message"),
    "an event is not the provider's": (lambda world: world.events.pop(), "message of nobody"),
    "an event of the provider is refused": (
        _update(
            "message_inbox",
            "outcome = 'refused', outcome_code = 'not_found'",
            "consumer = 'ProviderEvent' AND outcome = 'ignored'",
        ),
        "wrong end",
    ),
    "an event of the provider has no effect": (
        _update("message_inbox", "outcome = 'applied'", "consumer = 'ProviderEvent' AND outcome = 'ignored'"),
        "no effect",
    ),
    "the sweep orders what is not due": (
        _update("message_inbox", "message_key = gen_random_uuid()::text", "consumer = 'ReconcileAttempt'"),
        "message of nobody",
    ),
    "an attempt stays unknown": (
        _update("payout_attempts", "state = 'unknown', resolved_at = NULL", "state = 'succeeded'"),
        "attempts",
    ),
    "an attempt has a random key": (_update("payout_attempts", "idempotency_key = 'random'", "true"), "attempts"),
    "a row was not sent": (_update("outbox", "published_at = NULL", "true"), "unsent"),
    "a row was given up": (_update("outbox", "failed_at = now(), published_at = NULL", "true"), "unsent"),
    "nobody was asked": (lambda world: world.approvals.pop(), "approval request"),
    "somebody was asked for another amount": (
        lambda world: world.approvals.append(
            {"body": json.dumps({**json.loads(world.approvals[0]["body"]), "amountCents": 1})}
        ),
        "approval request",
    ),
    "a poison is lost": (lambda world: world.dead_letters.pop(0), "lost message"),
    "a dead letter has no reason": (_reasonless, "lost message"),
    "a reason is not recorded": (_delete("message_failures", "true"), "no reason"),
    "a sound message is dead": (_sound_message_dead, "dead letter"),
    "a message is left": (lambda world: world.left.update(events=1), "message left"),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_it_finds_what_is_broken(breach, world):
    do, rule = BREACHES[breach]
    do(world)
    assert rule in {found for found, _, _ in world.findings()}


def test_every_rule_has_a_breach():
    tree = ast.parse(Path(auditor.__file__).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    positions = {"_demand": 1, "_found": 0}
    named = [
        node.args[positions[node.func.attr]]
        for node in calls
        if isinstance(node.func, ast.Attribute) and node.func.attr in positions
    ]
    rules = {name.value for name in named if isinstance(name, ast.Constant)}
    assert len(rules) > 20
    assert rules - {rule for _, rule in BREACHES.values()} == set()
