"""The independent verdict on a storm: from what was sent and what is there, whether every guarantee has held.

It reads tables, events, dead letters; it shares no code with the product. Each rule has a name, and a test that breaks
it (test_auditor.py).
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, LiteralString, Protocol

import psycopg
from psycopg.rows import namedtuple_row

from tests.kit.books import Event, Transfer
from tests.storm.auditor_model import (
    APPLIED,
    CAME_TO_NOTHING,
    CAUSES,
    FOLLOWS,
    IGNORED,
    INTAKE,
    OPENINGS,
    PAYOUTS,
    STEPS,
    Paid,
    Row,
    account_of,
    derived,
    hash_of,
    processed,
    told_by,
    verdict,
)
from tests.storm.manifest import Command, Manifest, Order, closed

#: Rule, subject, text.
Finding = tuple[str, str, str]
Key = tuple[str, str]

#: How many keys of an order of the sweep may be used up by messages that came to nothing.
USED_UP = 3
#: How long a transaction may take from the reading of the clock to its commit, in the worst weather.
_COMMIT_MAX = timedelta(seconds=15)

_PAYMENTS = """
SELECT payment_id::text AS id, incident_id::text AS incident, vendor_id::text AS vendor, company_id::text AS company,
    payer_type, amount_cents AS amount, currency, status, source_key AS source, created_by::text AS creator, version,
    audit_head AS head, amount_reversed_cents AS reversed
FROM payments ORDER BY payment_id
"""
_ROWS = """
SELECT payment_id::text AS id, seq, action, actor_id::text AS actor, actor_type, previous_status AS before,
    new_status AS after, message_key AS key, data, note_digest, prev_hash, entry_hash, "timestamp" AS at
FROM payment_audit_log ORDER BY payment_id, seq
"""
_LINES = """
SELECT payment_id::text AS id, description, quantity, unit_price_cents AS unit, total_cents AS total
FROM payment_line_items ORDER BY payment_id, line_no
"""
_NOTES = """
SELECT log.payment_id::text AS id, log.seq FROM payment_audit_log AS log
LEFT JOIN payment_audit_note_digests AS note USING (log_id)
WHERE note.digest IS DISTINCT FROM log.note_digest
"""
#: The service's own releases have a key space of their own. What is nobody's word stands under the queue's id for it;
#: which command it was says the record of denials.
_INBOX = """
SELECT consumer, regexp_replace(message_key, '^own:', '') AS key, outcome, outcome_code AS code,
    payment_id::text AS payment
FROM message_inbox
WHERE message_key NOT LIKE 'turned-away:%'
"""
_TURNED_AWAY = """
SELECT denied.operation AS consumer, denied.message_key AS key, denied.code, count(*) AS times
FROM access_audit AS denied
WHERE denied.decision = 'denied' AND NOT EXISTS (
    SELECT FROM message_inbox AS inbox
    WHERE inbox.consumer = denied.operation AND inbox.message_key = denied.message_key AND inbox.outcome = 'refused'
)
GROUP BY 1, 2, 3
"""
_TURNED_AWAY_TIMES = "SELECT count(*) AS n FROM message_inbox WHERE message_key LIKE 'turned-away:%'"
_FAILURES = "SELECT encode(body_digest, 'hex') AS digest, reason FROM message_failures WHERE outcome = 'invalid'"
_UNSENT = "SELECT destination, count(*) AS n FROM outbox WHERE published_at IS NULL OR failed_at IS NOT NULL GROUP BY 1"
_ATTEMPTS = """
SELECT payment_id::text AS id, attempt_id::text AS attempt, attempt_no AS no, state, idempotency_key AS key,
    amount_cents AS amount, currency, provider_object_id AS object, failure_code AS code
FROM payout_attempts ORDER BY payment_id, attempt_no
"""
_REQUESTS = "SELECT request_id AS number, attempt_id::text AS attempt FROM reconcile_requests"
_REVERSALS = """
SELECT payment_id::text AS id, sum(amount_cents)::bigint AS amount FROM payout_reversals GROUP BY 1
"""


class Evidence(Protocol):
    """What the outside world has; see `tests.storm.evidence.Gathered`."""

    transfers: list[Transfer]
    events: list[Event]
    published: Iterator[dict[str, Any]]
    approvals: list[dict[str, Any]]
    dead_letters: list[dict[str, Any]]
    left: dict[str, int]


@dataclass(slots=True)
class Said:
    """What has been announced.

    Attributes:
        changes: by payment and version: the event's kind and id.
        refusals: by the key of the message that was turned down: its event.
        conflicts: by the key of the message that came with other content: the ids of the events.
    """

    changes: dict[tuple[str, int], set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    refusals: dict[str, dict[str, Any]] = field(default_factory=dict)
    conflicts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


class Audit:
    """One audit; `findings` and `figures` are its result."""

    def __init__(self, manifest: Manifest, not_yet: timedelta) -> None:
        self.manifest = manifest
        self.findings: list[Finding] = []
        self.figures: Counter[str] = Counter()
        self._not_yet = not_yet
        self._payments: dict[str, Paid] = {}
        self._inbox: dict[Key, tuple[str, str | None]] = {}
        self._rows: dict[Key, tuple[Paid, Row]] = {}
        self._own: dict[Key, Paid] = {}
        #: What the service may have ordered from itself too: the sweep orders what seems to be left lying.
        self._swept: dict[Key, Paid] = {}
        self._told: dict[Key, Event] = {}
        #: The events about settlements that have made the service order a look at an attempt.
        self._ordered: set[str] = set()
        self._refusals: Counter[str | None] = Counter()
        self._said = Said()
        self._of_work: dict[tuple[str, str], list[Paid]] = defaultdict(list)

    def run(self, connection: psycopg.Connection[Any], evidence: Evidence) -> None:
        """Look at everything."""
        self._load(connection)
        self._histories(connection)
        self._published(evidence.published)
        self._orders(connection)
        attempts = _grouped(_each(connection, _ATTEMPTS))
        self._requested(connection, attempts)
        self._provider_told(evidence.events, attempts)
        self._messages()
        self._payouts(connection, attempts, evidence.transfers)
        self._dead_letters(connection, evidence.dead_letters)
        self._approval_requests(evidence.approvals)
        for name, count in evidence.left.items():
            self._demand(not count, "message left", name, f"{count} messages are still there")
        for row in _each(connection, _UNSENT):
            self._found("unsent", row.destination, f"{row.n} rows of the outbox were not sent")

    # -- what there is

    def _load(self, connection: psycopg.Connection[Any]) -> None:
        histories = _grouped(_each(connection, _ROWS))
        for found in _each(connection, _PAYMENTS):
            rows = [Row(*row[1:]) for row in histories.pop(found.id, ())]
            payment = Paid(**found._asdict(), rows=rows)
            self._payments[payment.id] = payment
            self.figures[f"payments {payment.status}"] += 1
            self.figures["audit rows"] += len(rows)
        for payment_id, rows in histories.items():
            self._found("history", payment_id, f"{len(rows)} audit rows of a payment that is not there")
        for row in _each(connection, _INBOX):
            self._inbox[row.consumer, row.key] = (row.outcome, row.code)
            if (row.consumer, row.outcome) == ("ProcessPayment", "refused"):
                self._refusals[row.payment] += 1
            self.figures[f"{row.outcome} {row.code}" if row.code else row.outcome] += 1
        self._load_turned_away(connection)

    def _load_turned_away(self, connection: psycopg.Connection[Any]) -> None:
        """Take in what was nobody's word: it used up no key, which may be another's before or since."""
        denied = list(_each(connection, _TURNED_AWAY))
        for row in denied:
            self._inbox.setdefault((row.consumer, row.key), ("refused", row.code))
            self.figures[f"turned away {row.code}"] += row.times
        [found] = _each(connection, _TURNED_AWAY_TIMES)
        told = sum(row.times for row in denied)
        self._demand(found.n == told, "turned away", "the inbox", f"{found.n} were, and {told} are on record")

    # -- histories: legal, complete, chained, and each row caused by its message

    def _histories(self, connection: psycopg.Connection[Any]) -> None:
        for payment in self._payments.values():
            self._history(payment)
        for row in _each(connection, _NOTES):
            self._found("chain", row.id, f"the note of version {row.seq} is not the one that was written")

    def _history(self, payment: Paid) -> None:
        status, head, at = None, None, None
        for number, row in enumerate(payment.rows, start=1):
            where = f"{payment.id} version {number}"
            self._demand(row.seq == number, "version", where, f"the audit row is numbered {row.seq}")
            legal = STEPS.get((row.before, row.action), ("", ""))[0]
            self._demand((row.before, row.after) == (status, legal), "illegal history", where, f"{row.action}: {row}")
            chained = row.prev_hash == head and row.entry_hash == hash_of(payment, row)
            self._demand(chained, "chain", where, "the hash does not fit")
            self._demand(at is None or row.at >= at, "time", where, f"{row.at} is before {at}")
            self._cause(payment, row, where)
            status, head, at = row.after, row.entry_hash, row.at
        now = (len(payment.rows), status, head)
        told = (payment.version, payment.status, payment.head)
        self._demand(now == told, "version", payment.id, f"its row says {told[:2]}, its history {now[:2]}")

    def _cause(self, payment: Paid, row: Row, where: str) -> None:
        """See that a message had this effect once, and note which orders the service must have given itself."""
        self._order_own(payment, row)
        if row.action == "approved" and payment.payer_type == "driver_ic":
            right = (row.seq, row.actor, row.key) == (2, INTAKE, payment.rows[0].key)
            self._demand(right, "no cause", where, "a payment that the driver pays is approved as it is created")
            return
        found = [(kind, row.key) for kind in CAUSES.get(row.action, ()) if (kind, row.key) in self._inbox]
        if not found or self._inbox[found[0]][0] != APPLIED:
            self._found("no cause", where, f"{row.action} follows from no message that was applied")
            return
        before = self._rows.get(found[0])
        further = before and before[0] is payment and before[1].seq == row.seq - 1
        follows = further and before and row.action in FOLLOWS.get(before[1].action, ())
        self._demand(not before or follows, "effect twice", where, f"{found[0][0]} {row.key} had one before")
        self._rows[found[0]] = (payment, row)

    def _order_own(self, payment: Paid, row: Row) -> None:
        """Note what the service must have ordered from itself, and what its sweep may have."""
        if row.action == "approved":
            self._own["ProcessPayment", derived("ProcessPayment", payment.id, row.seq, 0)] = payment
        if row.after == "approved" or row.action == "attempt_failed":
            for refusals in range(1 + self._refusals[payment.id] + USED_UP):
                self._swept["ProcessPayment", derived("ProcessPayment", payment.id, row.seq, refusals)] = payment
        past = payment.rows[: row.seq]
        attempt_no = sum(each.action in OPENINGS for each in past)
        attempt = derived("attempt", payment.id, attempt_no)
        if row.action in OPENINGS:
            self._own["ExecutePayout", derived("ExecutePayout", attempt, 0)] = payment
        if row.action in OPENINGS or row.action == "payout_unknown":
            opened = max(each.seq for each in past if each.action in OPENINGS)
            check = row.seq - opened + 1  # nothing but unknown outcomes lies between
            for again in ((), *((f"again {used}",) for used in range(1, 1 + USED_UP))):
                self._swept["ReconcileAttempt", derived("ReconcileAttempt", attempt, check, *again)] = payment

    # -- events: each change announced under one id, and nothing else

    def _published(self, entries: Iterable[Mapping[str, Any]]) -> None:
        contents: dict[str, str] = {}
        for entry in entries:
            detail, kind = entry["detail"], entry["detail_type"]
            identity = detail["eventId"]
            content = hashlib.sha256(json.dumps([kind, detail], sort_keys=True).encode()).hexdigest()
            if known := contents.get(identity):
                self.figures["events published again"] += 1
                self._demand(known == content, "one id", identity, f"{kind} says something else than before")
                continue
            contents[identity] = content
            self.figures["events"] += 1
            self._hear(kind, identity, detail)
        for payment in self._payments.values():
            for row in payment.rows:
                self._announced(payment, row)
        for (payment_id, version), events in self._said.changes.items():
            known_payment = self._payments.get(payment_id)
            there = known_payment and known_payment.status_at(version)
            self._demand(there, "event of nothing", payment_id, f"version {version}: {events}")

    def _hear(self, kind: str, identity: str, detail: Mapping[str, Any]) -> None:
        if "paymentVersion" in detail:
            self._said.changes[detail["paymentId"], detail["paymentVersion"]].add((kind, identity))
            self._told_rightly(kind, detail)
        elif kind == "PaymentConflictDetected":
            self._said.conflicts[detail["messageKey"]].add(identity)
        else:
            key = detail["causationId"]
            # Nobody's word has no key of its own: sent twice by its sender it is refused twice.
            nobodys = detail.get("currentStatus", "") is None and detail["code"] == "forbidden_role"
            self._demand(nobodys or key not in self._said.refusals, "one id", key, f"{kind} with two ids")
            self._said.refusals[key] = dict(detail)

    def _told_rightly(self, kind: str, detail: Mapping[str, Any]) -> None:
        payment = self._payments.get(detail["paymentId"])
        if payment is None or not 0 < detail["paymentVersion"] <= len(payment.rows):
            return  # told as an event of nothing
        row = payment.rows[detail["paymentVersion"] - 1]
        right = (payment.incident, payment.vendor, payment.amount, payment.currency, row.after, row.key)
        names = ("incidentId", "vendorId", "amountCents", "currency", "status", "causationId")
        told = tuple(detail[name] for name in names)
        self._demand(told == right, "event content", f"{payment.id} version {row.seq}", f"{kind} says {told}")

    def _announced(self, payment: Paid, row: Row) -> None:
        kind = told_by(row)
        expected = {(kind, derived("event", payment.id, row.seq, kind))}
        found = self._said.changes.get((payment.id, row.seq), set())
        where = f"{payment.id} version {row.seq}"
        self._demand(found >= expected, "missing event", where, f"{kind} was never published")
        self._demand(found <= expected, "one id", where, f"also published: {found - expected}")

    # -- orders: one payment for one work item, with its amount and lines

    def _orders(self, connection: psycopg.Connection[Any]) -> None:
        lines = _grouped(_each(connection, _LINES))
        for payment in self._payments.values():
            self._asked_for(payment, lines.pop(payment.id, []))
            if payment.source.startswith("work:"):
                self._of_work[payment.incident, payment.vendor].append(payment)
        for work, payments in self._of_work.items():
            self._paid_once(work, payments)
        for (kind, key), orders in self.manifest.orders.items():
            payable = [order for order in orders if not order.refusal]
            if kind == "WorkCompleted" and payable:
                there = bool(self._of_work.get(payable[0].work))
                self._demand(there, "missing payment", payable[0].incident, f"the work of event {key} has none")

    def _asked_for(self, payment: Paid, lines: Sequence[Any]) -> None:
        made = self._rows_key(payment)
        fits = [order for order in self.manifest.orders.get(made, ()) if self._is_for(order, payment)]
        has = [(line.description, line.quantity, line.unit) for line in lines]
        wanted = [[(line.description, line.quantity, line.unit_cents) for line in order.lines] for order in fits]
        self._demand(fits, "payment of nothing", payment.id, f"nobody asked for {payment.amount} {payment.currency}")
        self._demand(not fits or has in wanted, "lines", payment.id, f"has the lines {has}")
        total = sum(line.total for line in lines)
        self._demand(total == payment.amount, "lines", payment.id, f"they sum to {total}, not {payment.amount}")
        if made[0] == "WorkCompleted":
            self._demand(payment.creator == INTAKE, "actor", payment.id, f"created by {payment.creator}")

    def _rows_key(self, payment: Paid) -> Key:
        """Return the message that created a payment."""
        kind = "WorkCompleted" if payment.source.startswith("work:") else "CreatePayment"
        return kind, payment.rows[0].key if payment.rows else ""

    def _is_for(self, order: Order, payment: Paid) -> bool:
        asked = (order.source, *order.work, order.company, order.payer_type, order.amount, order.currency)
        has = (
            payment.source,
            payment.incident,
            payment.vendor,
            payment.company,
            payment.payer_type,
            payment.amount,
            payment.currency,
        )
        creator = order.creator.id if order.creator else INTAKE
        return asked == has and not order.refusal and (creator, derived(order.source)) == (payment.creator, payment.id)

    def _paid_once(self, work: tuple[str, str], payments: list[Paid]) -> None:
        """A further payment of the same work may only follow upon the cancellation of the one before."""
        payments = sorted((payment for payment in payments if payment.rows), key=lambda payment: payment.rows[0].at)
        for before, after in pairwise(payments):
            ended = before.first("rejected", "cancelled")
            in_turn = ended and ended.at <= after.rows[0].at
            self._demand(in_turn, "paid twice", str(work), f"{before.id} was {before.status} when {after.id} was made")

    # -- messages: each ended, once, as it had to

    def _messages(self) -> None:
        for key in self.manifest.sent():
            self._demand(key in self._inbox, "lost message", f"{key[0]} {key[1]}", "is not in the inbox")
        for key in self._own:
            self._demand(key in self._inbox, "lost message", f"{key[0]} {key[1]}", "the service's own is not there")
        for key in self._told:
            self._demand(key in self._inbox, "lost message", f"{key[0]} {key[1]}", "the provider's is not there")
        for key, (outcome, code) in self._inbox.items():
            self._message(key, outcome, code)
        turned_down = {key for (_, key), (outcome, _) in self._inbox.items() if outcome == "refused"}
        for refused in self._said.refusals.keys() - turned_down:
            self._found("event of nothing", refused, "a refusal was announced of what was not refused")
        for denied in self._said.conflicts.keys() - {key for _, key in self.manifest.orders}:
            self._found("event of nothing", denied, "a conflict was announced of a message that nobody sent")

    def _message(self, key: Key, outcome: str, code: str | None) -> None:
        where = f"{key[0]} {key[1]}"
        if key in self.manifest.words:
            self._demand(outcome == APPLIED, "wrong end", where, f"was {outcome} {code}")
            return
        if key in self._told:
            self._provider_heard(key, outcome, where)
        elif outcome == APPLIED:
            self._demand(key in self._rows, "no effect", where, "was applied, and no audit row tells of it")
        if outcome == "refused":
            self._refusal_told(key, code, where)
        if orders := self.manifest.orders.get(key):
            self._order_ended(orders, outcome, code, where)
        elif commands := self.manifest.commands.get(key):
            self._command_ended(commands[0], outcome, code, where)
        elif key in self._own or key in self._swept:
            self._own_ended(key, outcome, code, where)
        elif key not in self._told:
            self._found("message of nobody", where, f"was {outcome}, and nobody sent it")

    def _refusal_told(self, key: Key, code: str | None, where: str) -> None:
        if code == "payload_conflict":
            self._demand(self._said.conflicts.get(key[1]), "missing event", where, "its conflict was never announced")
            return
        told = self._said.refusals.get(key[1], {}).get("code")
        self._demand(told == code, "missing event", where, f"refused with {code}, announced: {told}")

    def _order_ended(self, orders: Sequence[Order], outcome: str, code: str | None, where: str) -> None:
        conflicts = len(self._said.conflicts.get(orders[0].key, ()))
        expected = len(orders) - 1 + (code == "payload_conflict")
        self._demand(conflicts == expected, "conflict", where, f"{conflicts} announced, {expected} expected")
        refusals = {order.refusal for order in orders}
        if refusals != {None}:
            self._demand((outcome, code) == ("refused", *refusals), "wrong end", where, f"was {outcome} {code}")
        elif outcome != APPLIED:
            self._met_again(orders, outcome, code, where)

    def _met_again(self, orders: Sequence[Order], outcome: str, code: str | None, where: str) -> None:
        """Work that made no payment must have met one: of the same content to be ignored, of another to conflict."""
        others = [
            payment
            for payment in self._of_work.get(orders[0].work, ())
            if self._rows_key(payment) != (orders[0].kind, orders[0].key)
        ]
        same = [payment for payment in others if any(self._alike(order, payment) for order in orders)]
        different = [payment for payment in others if not all(self._alike(order, payment) for order in orders)]
        met = {(IGNORED, None): same, ("refused", "payload_conflict"): different}.get((outcome, code))
        self._demand(met, "wrong end", where, f"was {outcome} {code}, and {len(others)} other payments explain it not")

    def _alike(self, order: Order, payment: Paid) -> bool:
        made = self.manifest.orders.get(self._rows_key(payment), ())
        return any(order.lines == other.lines and order.currency == other.currency for other in made)

    def _command_ended(self, command: Command, outcome: str, code: str | None, where: str) -> None:
        payment = self._payments.get(command.payment)
        if outcome == APPLIED:
            if (found := self._rows.get((command.kind, command.key))) is None:
                return  # told as an effect that is not there
            owner, row = found
            right = (
                verdict(command, owner, row.seq - 1) == APPLIED and owner is payment and row.actor == command.actor.id
            )
            self._demand(right, "wrong end", where, f"was applied as version {row.seq}: {command}")
        elif outcome == IGNORED:
            approved = payment and payment.first("approved")
            right = bool(payment and approved) and verdict(command, payment, approved.seq) == IGNORED  # type: ignore[union-attr]
            self._demand(right, "wrong end", where, f"was ignored: {command}")
        else:
            self._command_refused(command, payment, code, where)

    def _command_refused(self, command: Command, payment: Paid | None, code: str | None, where: str) -> None:
        told = self._said.refusals.get(command.key)
        if told is None:
            return  # told as an event that is missing
        met, version = payment if told["currentStatus"] else None, told["currentVersion"] or 0
        if met:
            known = met.status_at(version) == told["currentStatus"]
            self._demand(known, "wrong end", where, f"says that it met version {version} as {told['currentStatus']}")
        right = verdict(command, met, version) == code
        self._demand(right, "wrong end", where, f"was refused with {code} at version {version}: {command}")
        if code == "not_found":
            self._waited(command, payment, datetime.fromisoformat(told["timestamp"]), where)

    def _waited(self, command: Command, payment: Paid | None, at: datetime, where: str) -> None:
        """Who is told that there is no payment must have waited for it, and it must not have been there."""
        long = at.timestamp() - command.sent_at >= self._not_yet.total_seconds()
        self._demand(long, "wrong end", where, "was refused as not_found before its time was over")
        there = payment and payment.rows and payment.rows[0].at < at - _COMMIT_MAX
        self._demand(not there, "wrong end", where, "was refused as not_found, and the payment was there")

    def _requested(self, connection: psycopg.Connection[Any], attempts: Mapping[str, Sequence[Any]]) -> None:
        """Note which looks operators have asked for: each must have been ordered."""
        requests = list(_each(connection, _REQUESTS))
        payments = {attempt.attempt: attempt.id for tried in attempts.values() for attempt in tried} if requests else {}
        for request in requests:
            key = derived("ReconcileAttempt", request.attempt, f"request {request.number}")
            self._own["ReconcileAttempt", key] = self._payments[payments[request.attempt]]

    # -- what the provider has told

    def _provider_told(self, events: Sequence[Event], attempts: Mapping[str, Sequence[Any]]) -> None:
        """Note which events must have arrived, and what an event about a settlement has made the service order."""
        self._told = {("ProviderEvent", told.id): told for told in events}
        self.figures["provider's events"] = len(self._told)
        settling = [told for told in events if told.type.startswith("payout.")]
        for payment in self._payments.values() if settling else ():
            for attempt in attempts.get(payment.id, ()):
                for told in settling:
                    key = ("ReconcileAttempt", derived("ReconcileAttempt", attempt.attempt, told.id))
                    if key in self._inbox:
                        self._swept[key] = payment
                        self._ordered.add(told.id)

    def _provider_heard(self, key: Key, outcome: str, where: str) -> None:
        """Each event is heard: it tells what was not known, or makes the service look; or all of it was known."""
        told = self._told[key]
        if outcome == APPLIED:
            found = self._rows.get(key)
            effect = found[1].actor == PAYOUTS if found else told.id in self._ordered
            self._demand(effect, "no effect", where, "was applied, and nothing follows from it")
        else:
            self._demand(outcome == IGNORED, "wrong end", where, f"an event of the provider was {outcome}")

    def _own_ended(self, key: Key, outcome: str, code: str | None, where: str) -> None:
        payment = self._own.get(key) or self._swept[key]
        if outcome == APPLIED:
            if found := self._rows.get(key):
                right = found[0] is payment and found[1].actor == PAYOUTS
                self._demand(right, "wrong end", where, "was applied to another payment, or as somebody else")
        elif key[0] == "ProcessPayment":
            version = self._said.refusals.get(key[1], {}).get("currentVersion") or 0
            right = outcome == "refused" and processed(payment, version, own=True) == code
            self._demand(right, "wrong end", where, f"was {outcome} {code} at version {version}")
        else:  # what it was about was known already, or the attempt was over
            settled = payment.status in {"completed", "failed"}
            self._demand(outcome == IGNORED and settled, "wrong end", where, f"was {outcome} {code}")

    # -- payouts: one success at the provider for every payment that says so, and none besides

    def _payouts(
        self, connection: psycopg.Connection[Any], attempts: dict[str, list[Any]], moved: Sequence[Transfer]
    ) -> None:
        returned = {row.id: row.amount for row in _each(connection, _REVERSALS)}
        transfers: dict[str, list[Transfer]] = defaultdict(list)
        for transfer in moved:
            transfers[transfer.group].append(transfer)
        self.figures["transfers"] = len(moved)
        for payment in self._payments.values():
            tried, made = attempts.pop(payment.id, []), transfers.pop(payment.id, [])
            self._attempted(payment, tried)
            self._paid_out(payment, tried, made)
            back = (payment.reversed, returned.pop(payment.id, 0))
            right = back == (sum(transfer.reversed for transfer in made),) * 2
            self._demand(right, "reversals", payment.id, f"says {back}, the provider {made}")
            self.figures["reversed payments"] += bool(payment.reversed)
        for payment_id in attempts.keys() | transfers.keys():
            self._found("money of nothing", payment_id, "there is no such payment")

    def _attempted(self, payment: Paid, attempts: Sequence[Any]) -> None:
        """The last attempt ended as its payment did; whatever was tried before it came to nothing."""
        tried = [(attempt.state, attempt.code) for attempt in attempts]
        self._demand(payment.status != "processing", "unfinished", payment.id, f"is not over, with attempts {tried}")
        state = {"completed": "succeeded", "failed": "failed"}.get(payment.status)
        begun = sum(row.action in OPENINGS for row in payment.rows)
        states = [*["failed"] * (begun - 1), state] if begun else []
        right = [attempt.state for attempt in attempts] == states
        self._demand(right, "attempts", payment.id, f"{payment.status} after {begun}, with attempts {tried}")
        nothing = [attempt.code in CAME_TO_NOTHING for attempt in attempts]
        right = all(nothing[:-1]) and not any(nothing[-1:])
        self._demand(right, "attempts", payment.id, f"{payment.status} with attempts {tried}")
        for attempt in attempts:
            ordered = (derived("attempt", payment.id, attempt.no), f"pay-{payment.id}-{attempt.no}")
            right = (attempt.attempt, attempt.key, attempt.amount, attempt.currency) == (
                *ordered,
                payment.amount,
                payment.currency,
            )
            self._demand(right, "attempts", payment.id, f"attempt {attempt.no} orders something else")
        self.figures["further attempts"] += max(0, begun - 1)
        self.figures["settled payments"] += payment.first("settlement_changed") is not None

    def _paid_out(self, payment: Paid, attempts: Sequence[Any], transfers: Sequence[Transfer]) -> None:
        made = 1 if payment.status == "completed" else 0
        self._demand(len(transfers) == made, "transfers", payment.id, f"{payment.status} with {len(transfers)}")
        wrong = payment.status == ("completed" if closed(payment.vendor) else "failed")
        self._demand(not wrong, "transfers", payment.id, f"of vendor {payment.vendor} was {payment.status}")
        known = {attempt.object for attempt in attempts if attempt.state == "succeeded"}
        keys = {attempt.key for attempt in attempts}
        for transfer in transfers:
            paid = (transfer.destination, transfer.amount, transfer.currency)
            right = paid == (account_of(payment.vendor), payment.amount, payment.currency)
            ours = transfer.id in known and transfer.key in keys
            self._demand(right and ours, "transfers", payment.id, f"the provider has moved {transfer}")

    # -- what is no message, and what people are asked

    def _dead_letters(self, connection: psycopg.Connection[Any], letters: Sequence[Mapping[str, Any]]) -> None:
        recorded = {(row.digest, row.reason) for row in _each(connection, _FAILURES)}
        found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for letter in letters:
            found[hashlib.sha256(letter["body"].encode(errors="surrogatepass")).hexdigest()].append(letter)
        self.figures["dead letters"] = len(letters)
        for digest in found.keys() - self.manifest.poisons.keys():
            letter = found[digest][0]
            text = f"{letter['attributes'].get('Reason')}, received {letter['receive_count']} times"
            self._found("dead letter", f"{letter['queue']} {letter['message_id']}", f"a sound message: {text}")
        for digest, poison in self.manifest.poisons.items():
            ends = {(letter["queue"], letter["attributes"].get("Reason")) for letter in found.get(digest, ())}
            right = ends == {(poison.queue, poison.reason)}
            self._demand(right, "lost message", f"poison {digest[:12]}", f"{poison.reason} on {poison.queue}: {ends}")
            kept = (digest, poison.reason) in recorded
            self._demand(kept, "no reason", f"poison {digest[:12]}", f"{poison.reason} is not recorded")

    def _approval_requests(self, requests: Sequence[Mapping[str, Any]]) -> None:
        asked: set[str] = set()
        for request in requests:
            body = json.loads(request["body"])
            payment = self._payments.get(body["paymentId"])
            right = (
                payment
                and payment.payer_type != "driver_ic"
                and (body["amountCents"], body["currency"]) == (payment.amount, payment.currency)
            )
            self._demand(right, "approval request", body["paymentId"], "asks for something else than the payment")
            asked.add(body["paymentId"])
        self.figures["approval requests"] = len(requests)
        waiting = {payment.id for payment in self._payments.values() if payment.payer_type != "driver_ic"}
        for payment_id in waiting - asked:
            self._found("approval request", payment_id, "nobody was ever asked")

    # -- what is wrong

    def _demand(self, right: object, rule: str, subject: str, text: str) -> None:
        if not right:
            self._found(rule, subject, text)

    def _found(self, rule: str, subject: str, text: str) -> None:
        self.findings.append((rule, subject, text))


def audit(
    database_url: str, manifest: Manifest, evidence: Evidence, *, not_yet: timedelta
) -> tuple[Mapping[str, int], Sequence[Finding]]:
    """Return what there is, counted, and everything that is wrong.

    Args:
        database_url: the database, as somebody who may read everything.
        manifest: what was sent.
        evidence: what the outside world has.
        not_yet: how long a command waits for its payment before it is refused.
    """
    made = Audit(manifest, not_yet)
    with psycopg.connect(database_url, row_factory=namedtuple_row) as connection:
        made.run(connection, evidence)
    return made.figures, made.findings


def _each(connection: psycopg.Connection[Any], query: LiteralString) -> Iterator[Any]:
    """Read by and by: a storm leaves hundreds of thousands of rows."""
    with connection.cursor(name="audit") as cursor:
        cursor.itersize = 5_000
        cursor.execute(query)
        yield from cursor


def _grouped(rows: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.id].append(row)
    return dict(found)
