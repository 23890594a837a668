"""The world of the matrix: a person per persona, with a real token, and what each of their tries ends with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx

from contracts import ids
from contracts.authority import Persona
from contracts.envelope import Arrival, Malformed, Queue
from contracts.inbound import Parsed
from contracts.money import Money
from contracts.outcome import Outcome
from contracts.payment import Role
from contracts.proof import Proof
from contracts.provider import Accepted, Told, TransferSeen
from handlers.apply import Result
from handlers.decision import Rules, Senders
from handlers.process import process
from store.db import Pool
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import about, rows
from tests.kit.proofs import member
from workers import page, status
from workers.health import Server, application
from workers.local.pools import LocalPool
from workers.metrics import Metrics
from workers.tokens import TokenVerifier

APP, DIRECTORY, REGISTRAR = "AROAAPP", "AROADIRECTORY", "AROAREGISTRAR"
SERVICE, OPERATOR = "AROASERVICE", "AROAOPERATOR"
RULES = Rules(
    senders=Senders(
        commands=frozenset({APP}),
        memberships=frozenset({DIRECTORY}),
        accounts=frozenset({REGISTRAR}),
        payouts=frozenset({SERVICE}),
        operators=frozenset({OPERATOR}),
    )
)
PEOPLE: dict[Persona, tuple[UUID, dict[str, Any]]] = {
    Persona.VENDOR_OWN: (uuid4(), {"role": Role.VENDOR, "vendor": m.VENDOR}),
    Persona.VENDOR_OTHER: (uuid4(), {"role": Role.VENDOR, "vendor": m.DRIVER}),
    Persona.DISPATCHER_OWN: (uuid4(), {"role": Role.DISPATCHER, "company": m.COMPANY}),
    Persona.DISPATCHER_OTHER: (uuid4(), {"role": Role.DISPATCHER, "company": m.OTHER_COMPANY}),
    Persona.ADMIN: (uuid4(), {"role": Role.ADMIN}),
    Persona.NOBODY: (uuid4(), {"role": Role.ADMIN, "enabled": False}),
}
SKEW = timedelta(seconds=60)
#: Another admin, who prepares what a command is about.
HELPER = uuid4()
#: The kinds that come from the service itself, on a queue of its own, and from nobody else anywhere.
_OWN = {
    "WorkCompleted": Queue.EVENTS,
    "ProviderEvent": Queue.EVENTS,
    "ExecutePayout": Queue.PAYOUTS,
    "ReconcileAttempt": Queue.PAYOUTS,
}
#: Those of them that are about a payout attempt which is open.
_OF_ATTEMPTS = frozenset({"ExecutePayout", "ReconcileAttempt", "ProviderEvent"})
#: Who tells of something without a person.
_TELLERS = {"MembershipChanged": DIRECTORY, "VendorAccountChanged": REGISTRAR}


@dataclass
class World:
    """A database with the people in it; `last` is the payment that was made last."""

    pool: Pool
    tokens: LocalPool
    verifier: TokenVerifier
    numbers: Any
    last: UUID = m.INCIDENT

    @classmethod
    def made(cls, pool: Pool, tokens: LocalPool, verifier: TokenVerifier) -> "World":
        """Make everybody a member."""
        for subject, membership in (*PEOPLE.values(), (HELPER, {"role": Role.ADMIN})):
            member(pool, subject, **membership)
        return cls(pool, tokens, verifier, count(1))

    # -- commands

    def tried(self, kind: str, who: Persona) -> str:
        """What a persona's command of a kind ends with: accepted, a code, or invalid."""
        own = kind in _OWN
        service = who in {Persona.SERVICE, Persona.OPERATOR}
        queue = Queue.COMMANDS
        if kind == "ProcessPayment" and service:
            queue = Queue.PAYOUTS
        elif own and service:
            queue = _OWN[kind]
        body = self._body(kind, who)
        try:
            parsed = self._parsed(body, queue)
        except Malformed:
            return "invalid"
        told = self._told(kind)
        result = process(self.pool, about(parsed, told), RULES, self._proof(kind, who), told)
        return "accepted" if result.outcome is Outcome.APPLIED else str(result.code or result.outcome)

    def _told(self, kind: str) -> Told:
        """What the provider says of the attempt that the last body was made for."""
        if kind == "ProviderEvent":
            seen = TransferSeen(
                provider_object_id=f"tr_{uuid4()}",
                transfer_group=str(self.last),
                idempotency_key=ids.provider_key(self.last, 1),
                money=Money(15_000, "USD"),
                destination=ids.provider_account(str(m.VENDOR)),
                reversals=(),
                created_at=datetime.now(UTC),
                livemode=False,
            )
            return Told(seen=seen)
        return Told(Accepted(f"tr_{uuid4()}") if kind in _OF_ATTEMPTS else None)

    def _proof(self, kind: str, who: Persona) -> Proof:
        sender = {
            Persona.OPERATOR: OPERATOR,
            Persona.SERVICE: _TELLERS.get(kind, SERVICE),
        }.get(who, APP)
        found = self.verifier.verify(self.token(who)) if who in PEOPLE else None
        return Proof(str(uuid4()), uuid4().bytes, sender, found)

    def token(self, who: Persona) -> str:
        """A persona's access token."""
        subject, membership = PEOPLE[who]
        return self.tokens.mint(subject, [membership["role"]], datetime.now(UTC))

    def _body(self, kind: str, who: Persona) -> dict[str, Any]:
        subject = PEOPLE[who][0] if who in PEOPLE else ids.SYSTEM_DIRECTORY
        command = {"commandId": str(uuid4()), "actor": {"id": str(subject), "type": "user"}}
        make: dict[str, Callable[[], dict[str, Any]]] = {
            "WorkCompleted": self._work,
            "CreatePayment": self._creation,
            "SetApprovalPolicy": lambda: {"companyId": str(m.COMPANY), "tiers": [{"currency": "EUR", "approvers": 1}]},
            "MembershipChanged": lambda: {"sub": str(uuid4()), "role": "admin", "enabled": True},
            "VendorAccountChanged": self._account,
            "ProviderEvent": lambda: m.provider_event()["detail"] | {"type": "ProviderEvent"},
            **dict.fromkeys(("ExecutePayout", "ReconcileAttempt"), self._order),
        }
        if kind == "ProviderEvent" and who in {Persona.SERVICE, Persona.OPERATOR}:
            self.payment(kind)
            return m.provider_event(id=f"evt_{next(self.numbers)}")
        if kind == "WorkCompleted" and who in {Persona.SERVICE, Persona.OPERATOR}:
            return m.envelope(self._work())
        fields = make[kind]() if kind in make else {"paymentId": str(self.payment(kind)), "reason": "Why not."}
        return m.command(kind, **{**command, **fields})

    def _work(self) -> dict[str, Any]:
        number = next(self.numbers)
        incident = f"11111111-1111-4111-8111-{number:012d}"
        return m.work(incidentId=incident, eventId=f"event-{number}", completedAt=datetime.now(UTC).isoformat())

    def _order(self) -> dict[str, Any]:
        return {"attemptId": str(ids.attempt_id(self.payment("ExecutePayout"), 1))}

    @staticmethod
    def _account() -> dict[str, Any]:
        return {"vendorId": str(uuid4()), "stripeAccountId": "acct_1", "payoutsEnabled": True}

    def _creation(self) -> dict[str, Any]:
        lines = [{"description": "Tow", "quantity": 1, "unitPriceCents": 15_000}]
        parties = {"incidentId": str(uuid4()), "vendorId": str(m.VENDOR), "companyId": str(m.COMPANY)}
        return {**parties, "payerType": "back_office", "amountCents": 15_000, "lineItems": lines}

    def payment(self, kind: str | None = None) -> UUID:
        """A payment of COMPANY for VENDOR, as a command of a kind needs it."""
        made = self._as(Queue.EVENTS, m.envelope(self._work()), Proof(str(uuid4()), uuid4().bytes))
        assert made.payment_id
        self.last = made.payment_id
        before = {"ReleaseHold": "HoldPayment", **dict.fromkeys(("ProcessPayment", *_OF_ATTEMPTS), "ApprovePayment")}
        if kind in before:
            self._helped(before[kind], made.payment_id)
        if kind in _OF_ATTEMPTS:
            order: dict[str, Any] = {"actor": {"id": str(HELPER), "type": "system"}, "commandId": str(uuid4())}
            body = m.command("ProcessPayment", paymentId=str(made.payment_id), **order)
            self._as(Queue.PAYOUTS, body, Proof(str(uuid4()), uuid4().bytes, SERVICE))
        return made.payment_id

    def _helped(self, kind: str, payment_id: UUID) -> None:
        actor: dict[str, Any] = {"commandId": str(uuid4()), "actor": {"id": str(HELPER), "type": "admin"}}
        body = m.command(kind, paymentId=str(payment_id), reason="Why not.", **actor)
        token = self.tokens.mint(HELPER, ["admin"], datetime.now(UTC))
        proof = Proof(str(uuid4()), uuid4().bytes, APP, self.verifier.verify(token))
        assert self._as(Queue.COMMANDS, body, proof).outcome is Outcome.APPLIED

    def _as(self, queue: Queue, body: dict[str, Any], proof: Proof) -> Result:
        return process(self.pool, self._parsed(body, queue), RULES, proof)

    @staticmethod
    def _parsed(body: dict[str, Any], queue: Queue) -> Parsed:
        return m.read(m.body(body), Arrival(queue, "sqs-1", datetime.now(UTC)))

    # -- reads

    def read(self, url: str, read: str, who: Persona, payment_id: UUID) -> str:
        """What a persona's read is answered with; of a list also whether it holds the payment."""
        headers = {"Authorization": f"Bearer {self.token(who)}"} if who in PEOPLE else {}
        path = read.removeprefix("GET ").replace("{id}", str(payment_id))
        params = {"limit": 200} if path.endswith(("pending", "flagged")) else None
        answer = httpx.get(f"{url}{path}", headers=headers, params=params)
        held = str(payment_id) in answer.text
        lacks = answer.status_code == 200 and path.startswith("/payments") and not held
        return f"{answer.status_code}{' without it' if lacks else ''}"

    def flagged(self) -> UUID:
        """A payment that is in both lists, approved once of two times."""
        payment_id = self.payment()
        forge(self.pool, "UPDATE payments SET required_approvals = 2")
        self._helped("ApprovePayment", payment_id)
        forge(self.pool, "UPDATE payments SET fraud_status = 'flagged'")
        assert rows(self.pool, "SELECT 1 FROM payment_approvals WHERE payment_id = %s", payment_id)
        return payment_id


@contextmanager
def serving(reader: Pool, world: World) -> Iterator[str]:
    """The real read endpoint on a database pool."""
    routes = [*status.routes(reader, world.verifier, SKEW), *page.routes(reader)]
    server = Server(application(Metrics().registry, dict, dict, routes), "127.0.0.1", 0)
    try:
        yield server.start()
    finally:
        server.stop()
