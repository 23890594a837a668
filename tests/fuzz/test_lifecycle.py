"""The lifecycle as a machine: messages in any order, twice or contradicting, against a reference model at every step.

The model is the storm auditor's, written from the documents: what it expects of a message must be what the funnel and
a real Postgres make of it.
"""

import dataclasses
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from contracts.envelope import Queue
from contracts.money import Money
from contracts.outcome import Outcome
from contracts.provider import (
    Accepted,
    Answer,
    Declined,
    NotExecuted,
    Reversal,
    Told,
    TransferSeen,
    Unfunded,
    Unknown,
)
from handlers.apply import Result
from store.db import Pool
from tests.kit import messages as m
from tests.kit.funnel import RULES as BASE_RULES
from tests.kit.funnel import once, rows
from tests.storm.auditor_model import (
    APPLIED,
    IGNORED,
    INTAKE,
    OPENINGS,
    PAYOUTS,
    STEPS,
    Paid,
    Row,
    account_of,
    derived,
    processed,
    verdict,
)
from tests.storm.manifest import Command, Line, Order, Person

#: `make fuzz MINUTES=` looks deeper.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))
RULES = dataclasses.replace(BASE_RULES, not_yet_for=timedelta(0), check_after=(timedelta(0),))
COMPANY, OTHER = str(m.COMPANY), str(m.OTHER_COMPANY)
VENDOR = str(m.VENDOR)
PEOPLE = [
    Person(str(m.DISPATCHER), "user", "dispatcher", COMPANY),
    Person(str(uuid4()), "user", "dispatcher", COMPANY),
    Person(str(m.ADMIN), "admin", "admin"),
    Person(str(uuid4()), "user", "dispatcher", OTHER),
    Person(str(uuid4()), "user", "vendor", COMPANY),
    Person(VENDOR, "admin", "admin"),
]
ACTIONS = {"ApprovePayment": "approved", "RejectPayment": "rejected", "CancelPayment": "cancelled"}
ANSWERS: dict[str, Answer] = {
    "payout_succeeded": Accepted("tr_1"),
    "payout_failed": Declined("closed", "The account is closed."),
    "payout_unknown": Unknown("lost"),
}
#: What ends an attempt and lets its payment go on.
NOTHING: list[Answer] = [Unfunded("balance_insufficient"), NotExecuted()]
SERVICE = {"id": PAYOUTS, "type": "system"}


class Book:
    """What there must be: payments with their histories, and what each key has said."""

    def __init__(self) -> None:
        self.payments: dict[str, Paid] = {}
        self.said: dict[tuple[str, str], Any] = {}
        self.orders: dict[str, Order] = {}

    def live(self, work: tuple[str, str]) -> Paid | None:
        """The payment that stands for some work."""
        found = [paid for paid in self.payments.values() if (paid.incident, paid.vendor) == work]
        return next((paid for paid in found if paid.status != "cancelled"), None)

    def create(self, order: Order) -> None:
        """Write a payment down."""
        first = self._row(1, None, "created", "pending_approval", "")
        paid = Paid(
            id=derived(order.source),
            incident=order.incident,
            vendor=order.vendor,
            company=order.company,
            payer_type=order.payer_type,
            amount=order.amount,
            currency=order.currency,
            status="pending_approval",
            source=order.source,
            creator="system",
            version=1,
            head=None,
            reversed=0,
            rows=[first],
        )
        self.payments[paid.id], self.orders[paid.id] = paid, order
        if order.payer_type == "driver_ic":
            self.move(paid.id, "approved", INTAKE)

    def move(self, payment_id: str, action: str, actor: str = "") -> None:
        """Write a step down."""
        paid = self.payments[payment_id]
        after = STEPS[paid.status, action][0]
        step = self._row(paid.version + 1, paid.status, action, after, actor)
        changed = dataclasses.replace(paid, status=after, version=paid.version + 1, rows=[*paid.rows, step])
        self.payments[payment_id] = changed

    def back(self, payment_id: str, cents: int) -> None:
        """Write down how much came back in all."""
        self.payments[payment_id] = dataclasses.replace(self.payments[payment_id], reversed=cents)

    def attempt(self, payment_id: str) -> int:
        """How many attempts a payment has had: the number of its newest."""
        return len([row for row in self.payments[payment_id].rows if row.action in OPENINGS])

    @staticmethod
    def _row(seq: int, before: str | None, action: str, after: str, actor: str) -> Row:
        return Row(seq, action, actor, "", before, after, "", {}, None, None, b"", datetime.now(UTC))


class Lifecycle(RuleBasedStateMachine):
    """Each rule sends one message, and says before what must come of it."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self.book = Book()
        self.incidents = [str(uuid4()) for _ in range(2)]
        self.sent: list[tuple[Queue, dict[str, Any]]] = []
        self.since = rows(pool, "SELECT coalesce(max(outbox_id), 0) AS id FROM outbox")[0]["id"]

    # -- messages

    @initialize()
    def begin(self) -> None:
        """Something is there to be decided."""
        for number in (0, 1):
            self.finish(number, 350, 0, ic=False)

    @rule(number=st.integers(0, 1), cents=st.sampled_from([350, 350, 900]), key=st.integers(0, 2), ic=st.booleans())
    def finish(self, number: int, cents: int, key: int, *, ic: bool) -> None:
        """Report work: new, again, under another key, or contradicting."""
        incident, payer_type = self.incidents[number], "driver_ic" if ic else "back_office"
        order = Order(
            kind="WorkCompleted",
            key=derived("test", incident, key),
            incident=incident,
            vendor=VENDOR,
            company=COMPANY,
            payer_type=payer_type,
            currency="USD",
            lines=(Line("Towing", 1, cents),),
            source=f"work:{incident}:{VENDOR}:{derived('test', incident, key)}",
        )
        lines = [{"description": "Towing", "quantity": 1, "unitPriceCents": cents}]
        work = m.work(eventId=order.key, incidentId=incident, payerType=payer_type, lineItems=lines)
        self._expect(Queue.EVENTS, work, *self._of_work(order))

    @precondition(lambda self: self.book.payments)
    @rule(
        kind=st.sampled_from([*ACTIONS, "ProcessPayment"]),
        pick=st.integers(0, 5),
        person=st.integers(0, len(PEOPLE) - 1),
        off=st.sampled_from([0, 0, 0, 1]),
        version=st.sampled_from([None, None, 1, 2]),
    )
    def anyhow(self, kind: str, pick: int, person: int, off: int, version: int | None) -> None:
        """Give a command about some payment, by whomever and with whatever in view."""
        self._command(kind, pick, PEOPLE[person], off, version)

    @precondition(lambda self: self.book.payments)
    @rule(kind=st.sampled_from([*ACTIONS, *["ApprovePayment"] * 3, "ProcessPayment"]), pick=st.integers(0, 5))
    def rightly(self, kind: str, pick: int) -> None:
        """Give a command as somebody who may, with the right amount in view."""
        self._command(kind, pick, PEOPLE[0], 0, None)

    @precondition(lambda self: self._waiting())
    @rule(pick=st.integers(0, 5))
    def approve(self, pick: int) -> None:
        """Approve one that waits."""
        waiting = self._waiting()
        order = sorted(self.book.payments.values(), key=lambda paid: paid.rows[0].at)
        self._command("ApprovePayment", order.index(waiting[pick % len(waiting)]), PEOPLE[1], 0, None)

    def _waiting(self) -> list[Paid]:
        return [paid for paid in self.book.payments.values() if paid.status == "pending_approval"]

    def _command(self, kind: str, pick: int, actor: Person, off: int, version: int | None) -> None:
        known = sorted(self.book.payments.values(), key=lambda paid: paid.rows[0].at)
        paid = known[pick % len(known)]
        given = Command(kind, str(uuid4()), paid.id, actor, 0.0, paid.amount + off, paid.currency, version)
        who = {"id": actor.id, "type": actor.type, "role": actor.role, "companyId": actor.company}
        body = m.command(
            kind,
            commandId=given.key,
            actor={name: value for name, value in who.items() if value},
            paymentId=paid.id,
            amountCents=given.amount,
            currency=given.currency,
            expectedVersion=version if version is not None else ...,
            reason="Not wanted." if kind in {"RejectPayment", "CancelPayment"} else ...,
        )
        end = verdict(given, paid, paid.version)
        if end == APPLIED:
            self.book.move(paid.id, ACTIONS.get(kind, "processing_started"), actor.id)
        self._expect(Queue.COMMANDS, body, *_outcome(end))

    @precondition(lambda self: self.sent)
    @rule(pick=st.integers(0, 50))
    def again(self, pick: int) -> None:
        """Deliver once more what had its end."""
        queue, body = self.sent[pick % len(self.sent)]
        first = dict(self.book.said)
        self._expect(queue, body, Outcome.DUPLICATE, None, keep=False)
        assert self.book.said == first

    @precondition(lambda self: self._own())
    @rule(pick=st.integers(0, 5), answer=st.sampled_from(sorted(ANSWERS)))
    def own(self, pick: int, answer: str) -> None:
        """Deliver one of the service's own orders, in any order."""
        orders = self._own()
        body = orders[pick % len(orders)]
        if body["type"] == "ProcessPayment":
            paid = self.book.payments[body["paymentId"]]
            self._pay(paid, body)
        else:
            [(paid, number)] = [
                (paid, number)
                for paid in self.book.payments.values()
                for number in range(1, self.book.attempt(paid.id) + 1)
                if derived("attempt", paid.id, number) == body["attemptId"]
            ]
            self._looked(paid, number, body, answer)

    def _pay(self, paid: Paid, body: dict[str, Any]) -> None:
        opened = "attempt_opened" if paid.status == "processing" else "processing_started"
        end = processed(paid, paid.version, own=True)
        if end == APPLIED:
            self.book.move(paid.id, opened)
        self._expect(Queue.PAYOUTS, body, *_outcome(end))

    def _looked(self, paid: Paid, number: int, body: dict[str, Any], answer: str) -> None:
        """Deliver an order about an attempt, and what the provider says: of the newest one, whatever it says."""
        open_still = paid.status == "processing" and not paid.between_attempts(paid.version)
        if open_still and number == self.book.attempt(paid.id):
            self.book.move(paid.id, answer)
            said = {"payout_succeeded": Accepted(_transfer(paid)), "attempt_failed": NOTHING[paid.version % 2]}
            self._expect(Queue.PAYOUTS, body, Outcome.APPLIED, None, said={**ANSWERS, **said}[answer])
        else:
            self._expect(Queue.PAYOUTS, body, Outcome.IGNORED, None)

    @precondition(lambda self: self._paying("processing", "completed", "failed"))
    @rule(pick=st.integers(0, 5), answer=st.sampled_from([*sorted(ANSWERS), "attempt_failed"]), newest=st.booleans())
    def look(self, pick: int, answer: str, *, newest: bool) -> None:
        """Look an attempt up as the sweep does, whatever has become of it."""
        paying = self._paying("processing", "completed", "failed")
        paid = paying[pick % len(paying)]
        number = self.book.attempt(paid.id) if newest else 1
        attempt_id = derived("attempt", paid.id, number)
        fields: dict[str, Any] = {"attemptId": attempt_id, "actor": SERVICE, "check": len(self.sent)}
        self._looked(paid, number, m.command("ReconcileAttempt", commandId=str(uuid4()), **fields), answer)

    @precondition(lambda self: self._paying("approved", "processing"))
    @rule(pick=st.integers(0, 5))
    def sweep(self, pick: int) -> None:
        """Order a payment to be paid, as the sweep does: it opens the next attempt where the last came to nothing."""
        paying = self._paying("approved", "processing")
        paid = paying[pick % len(paying)]
        own: dict[str, Any] = {"actor": SERVICE, "amountCents": ..., "currency": ...}
        self._pay(paid, m.command("ProcessPayment", commandId=str(uuid4()), paymentId=paid.id, **own))

    @precondition(lambda self: self._paying("processing", "completed"))
    @rule(pick=st.integers(0, 5), back=st.sampled_from([0, 0, 100, 350]))
    def hear(self, pick: int, back: int) -> None:
        """Hear of a payment's money from the provider: that it moved, and how much of it came back."""
        paying = self._paying("processing", "completed")
        paid = paying[pick % len(paying)]
        known = paid.status == "completed"
        if paid.between_attempts(paid.version):
            actions: list[str] = []
        else:
            more = back > paid.reversed
            actions = [*([] if known else ["payout_succeeded"]), *(["reversed"] if more else [])]
        for action in actions:
            self.book.move(paid.id, action)
            if action == "reversed":
                self.book.back(paid.id, back)
        event = m.provider_event(about=_transfer(paid), id=f"evt_{uuid4()}")
        outcome = Outcome.APPLIED if actions else Outcome.IGNORED
        self._expect(Queue.EVENTS, event, outcome, None, said=Told(seen=_seen(paid, back)), keep=False)

    def _paying(self, *statuses: str) -> list[Paid]:
        return [paid for paid in self.book.payments.values() if paid.status in statuses]

    # -- what must come of them

    def _of_work(self, order: Order) -> tuple[Outcome, str | None]:
        content = (order.payer_type, order.lines)
        known = self.book.said.setdefault((order.kind, order.key), content)
        if (order.kind, order.key) in self._handled:
            return (Outcome.DUPLICATE, None) if known == content else (Outcome.REFUSED, "payload_conflict")
        met = self.book.live(order.work)
        if met is None:
            self.book.create(order)
            return Outcome.APPLIED, None
        made = self.book.orders[met.id]
        same = (made.payer_type, made.lines) == content
        return (Outcome.IGNORED, None) if same else (Outcome.REFUSED, "payload_conflict")

    @property
    def _handled(self) -> set[tuple[str, str]]:
        return {("WorkCompleted", body["eventId"]) for queue, body in self.sent if queue is Queue.EVENTS}

    def _own(self) -> Sequence[dict[str, Any]]:
        """What the outbox holds for ourselves and has not been delivered yet."""
        query = "SELECT payload FROM outbox WHERE destination = 'payouts' AND outbox_id > %s ORDER BY outbox_id"
        done = {body["commandId"] for queue, body in self.sent if queue is Queue.PAYOUTS}
        return [row["payload"] for row in rows(self.pool, query, self.since) if row["payload"]["commandId"] not in done]

    def _expect(
        self,
        queue: Queue,
        body: dict[str, Any],
        outcome: Outcome,
        code: str | None,
        *,
        said: Answer | Told | None = None,
        keep: bool = True,
    ) -> None:
        """Handle a message; its end, and where every payment stands, must be what the model says."""
        result: Result = once(self.pool, m.parsed(body, queue=queue), said, RULES)
        assert (result.outcome, result.code) == (outcome, code)
        if keep and not (outcome is Outcome.DUPLICATE or (queue is Queue.EVENTS and self._knows(body))):
            self.sent.append((queue, body))
        stand = rows(
            self.pool,
            "SELECT payment_id::text AS id, status, version, amount_reversed_cents FROM payments"
            " WHERE payment_id::text = ANY(%s)",
            list(self.book.payments),
        )
        assert {row["id"]: (row["status"], row["version"], row["amount_reversed_cents"]) for row in stand} == {
            paid.id: (paid.status, paid.version, paid.reversed) for paid in self.book.payments.values()
        }
        self._money_never_doubles()

    def _money_never_doubles(self) -> None:
        """At most one success and one open attempt for a payment, and no movement under two of them."""
        query = """
            SELECT payment_id FROM payout_attempts WHERE payment_id::text = ANY(%s) GROUP BY payment_id
            HAVING count(*) FILTER (WHERE state = 'succeeded') > 1
                OR count(*) FILTER (WHERE state IN ('ready', 'unknown')) > 1
                OR count(DISTINCT idempotency_key) < count(*)
        """
        assert rows(self.pool, query, list(self.book.payments)) == []

    def _knows(self, body: dict[str, Any]) -> bool:
        return ("WorkCompleted", body["eventId"]) in self._handled

    def teardown(self) -> None:
        """Every version was announced once, by the event that belongs to its step."""
        query = """
            SELECT aggregate_seq AS seq, detail_type AS kind FROM outbox
            WHERE aggregate_id = %s::uuid AND destination = 'bus' AND aggregate_seq > 0 ORDER BY aggregate_seq
        """
        for paid in self.book.payments.values():
            told = [(row["seq"], row["kind"]) for row in rows(self.pool, query, paid.id)]
            assert told == [(row.seq, STEPS[row.before, row.action][1]) for row in paid.rows]


def _transfer(paid: Paid) -> str:
    return f"tr_{paid.id}"


def _seen(paid: Paid, back: int) -> TransferSeen:
    """The movement of a payment as the provider has it; what came back, came back in one piece or two."""
    parts = {0: [], 100: [100]}.get(back, [100, back - 100])
    return TransferSeen(
        provider_object_id=_transfer(paid),
        transfer_group=paid.id,
        idempotency_key=f"pay-{paid.id}-1",
        money=Money(paid.amount, paid.currency),
        destination=account_of(paid.vendor),
        reversals=tuple(Reversal(f"trr_{number}_{paid.id}", cents) for number, cents in enumerate(parts)),
        created_at=m.NOW,
        livemode=False,
    )


def _outcome(end: str) -> tuple[Outcome, str | None]:
    if end in {APPLIED, IGNORED}:
        return Outcome(end), None
    return Outcome.REFUSED, end


def test_the_funnel_does_what_the_model_says(pool: Pool):
    run_state_machine_as_test(
        lambda: Lifecycle(pool),  # type: ignore[arg-type]  # it is called, and nothing else
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        ),
    )
