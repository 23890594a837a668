"""The auditor finds nothing in a sound world, and in a broken one just what was broken; its code is its own."""

import ast
import json
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from contracts.envelope import Arrival, Malformed, Queue
from contracts.inbound import ExecutePayout, parse
from contracts.outcome import Outcome
from contracts.provider import Answer, PayoutOrder, Unknown
from handlers.decision import Rules
from store import db, failures
from store.db import Pool, PoolOptions
from store.failures import Failure
from tests.kit.databases import Copies
from tests.kit.funnel import once
from tests.kit.messages import SOURCES
from tests.kit.proofs import SENDERS
from tests.storm import auditor, auditor_model, manifest, poison, traffic
from tests.storm.auditor import audit
from tests.storm.launch import declined
from tests.storm.manifest import Manifest
from tests.storm.traffic import Traffic
from workers import payouts
from workers.local import postgres
from workers.providers import SandboxProvider

MESSAGES = 900
QUEUES = {"events": Queue.EVENTS, "commands": Queue.COMMANDS, "payouts": Queue.PAYOUTS}
RULES = Rules(not_yet_for=timedelta(0), check_after=(timedelta(0),), senders=SENDERS)


@dataclass
class World:
    """A database after some traffic, and what was said outside; a test may break either."""

    url: str
    manifest: Manifest
    published: list[dict[str, Any]]
    approvals: list[dict[str, Any]]
    dead_letters: list[dict[str, Any]]
    left: dict[str, int]

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


class Forgetful(SandboxProvider):
    """Declines as the storm's provider does, and leaves every third answer unknown at first."""

    submissions = 0

    def submit(self, order: PayoutOrder) -> Answer:
        """Move the money, and perhaps not say so."""
        self.submissions += 1
        answer = declined(order) or super().submit(order)
        return Unknown("lost") if self.submissions % 3 == 0 else answer


class Service:
    """The funnel without queues: takes bodies, and hands on what its outbox holds until there is nothing more."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._provider = Forgetful(pool)
        self._todo: deque[tuple[str, str]] = deque()
        self._sent = 0
        self.published: list[dict[str, Any]] = []
        self.approvals: list[dict[str, Any]] = []
        self.dead_letters: list[dict[str, Any]] = []

    def take(self, queue: str, body: str) -> None:
        """Handle a message and all that follows from it."""
        self._todo.append((queue, body))
        while self._todo:
            self._handle(*self._todo.popleft())
            self._hand_on()

    def _handle(self, queue: str, body: str) -> None:
        arrival = Arrival(QUEUES[queue], str(uuid.uuid4()), datetime.now(UTC))
        try:
            parsed = parse(body, arrival, sources=SOURCES)
        except Malformed as flaw:
            self._dead_letter(queue, body, arrival, flaw)
            return
        message = parsed.message
        answer = payouts.ask(self._pool, self._provider, message) if isinstance(message, ExecutePayout) else None
        once(self._pool, parsed, answer, RULES)

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
        with db.open_pool(url, PoolOptions(size_min=1, size_max=2)) as pool:
            service = Service(pool)
            for outgoing in islice(sent, MESSAGES):
                service.take(outgoing.queue, outgoing.body)
                if service.published[-1:] and len(service.published) % 7 == 0:
                    service.published.append(deepcopy(service.published[-1]))  # a relay may say it twice
        outside = (service.published, service.approvals, service.dead_letters)
        yield World(url, sent.manifest, *outside, {"events": 0, "commands": 0, "payouts": 0})


@pytest.fixture(scope="module")
def worlds(server: postgres.Server, sound: World) -> Iterator[Copies]:
    with Copies(server, urlsplit(sound.url).path.lstrip("/")) as found:
        yield found


@pytest.fixture
def world(worlds: Copies, sound: World) -> Iterator[World]:
    """A copy of the sound world, to be broken."""
    with worlds.one() as url:
        copied = (sound.manifest, sound.published, sound.approvals, sound.dead_letters, sound.left)
        yield World(url, *deepcopy(copied))


# -- the auditor itself


@pytest.mark.parametrize(
    "module", [auditor, auditor_model, manifest, traffic, poison], ids=lambda module: module.__name__
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
    ours = {"tests.storm.auditor_model", "tests.storm.manifest", "tests.storm.poison"}
    assert {name for name in imported if name.split(".")[0] == "tests"} <= ours


def test_it_finds_nothing_in_a_sound_world_and_has_looked_at_everything(sound):
    figures, found = audit(sound.url, sound.manifest, sound, not_yet=RULES.not_yet_for)
    assert not found
    for ended in ("completed", "cancelled", "failed", "approved", "pending_approval"):
        assert figures[f"payments {ended}"] > 0, figures
    assert figures["transfers"] == figures["payments completed"]
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


def _second_transfer(world: World) -> None:
    world.execute(
        "INSERT INTO sandbox.transfers SELECT 'tr_second', 'pay-second', transfer_group, destination,"
        " amount_cents, currency, created_at FROM sandbox.transfers LIMIT 1"
    )


def _stray_transfer(world: World) -> None:
    world.execute(
        "INSERT INTO sandbox.transfers SELECT 'tr_stray', 'pay-stray', gen_random_uuid()::text, destination,"
        " amount_cents, currency, created_at FROM sandbox.transfers LIMIT 1"
    )


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
    "the money moved twice": (_second_transfer, "transfers"),
    "the money never moved": (_delete("sandbox.transfers", "true"), "transfers"),
    "too much moved": (_update("sandbox.transfers", "amount_cents = amount_cents + 1", "true"), "transfers"),
    "another was paid": (_update("sandbox.transfers", "destination = 'other'", "true"), "transfers"),
    "money moved for nothing": (_stray_transfer, "money of nothing"),
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
