"""Messages with proofs of every kind, and what is on record of them: for the tests of whose word a message is."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from contracts import ids
from contracts.envelope import Queue
from contracts.inbound import Parsed
from contracts.outcome import Outcome
from contracts.proof import Person, Proof
from handlers.apply import Result
from handlers.decision import Rules, Senders
from handlers.process import process
from store import db, failures
from store.db import Pool
from store.failures import Failure
from tests.kit import messages as m
from tests.kit.funnel import fresh, rows

APP, DIRECTORY, REGISTRAR = "AROAAPP", "AROADIRECTORY", "AROAREGISTRAR"
SERVICE, OPERATOR = "AROASERVICE", "AROAOPERATOR"
SENDERS = Senders(
    commands=frozenset({APP}),
    memberships=frozenset({DIRECTORY}),
    accounts=frozenset({REGISTRAR}),
    payouts=frozenset({SERVICE}),
    operators=frozenset({OPERATOR}),
)
RULES = Rules(senders=SENDERS)
TOKEN = {"clientId": "client", "jti": "jti-1", "kid": "kid-1"}
DIGEST = b"d" * 32


def person(
    at: datetime, subject: UUID = m.DISPATCHER, groups: tuple[str, ...] = ("dispatcher",), **times: Any
) -> Person:
    usual: dict[str, Any] = {"issued_at": at - timedelta(minutes=1), "expires_at": at + timedelta(minutes=14)}
    return Person(
        subject, frozenset(groups), **{**usual, **times}, client_id="client", proof_id="jti-1", key_id="kid-1"
    )


def approval(payment_id: UUID, **fields: Any) -> Parsed:
    return fresh(
        m.parsed(m.command("ApprovePayment", **{"commandId": str(uuid4()), "paymentId": str(payment_id), **fields}))
    )


def judged(pool: Pool, parsed: Parsed, who: Any = ..., sender: str | None = APP, digest: bytes = bytes(32)) -> Result:
    """Process a message that came with this proof; by default a good one of DISPATCHER's."""
    found = person(parsed.cause.sent_at) if who is ... else who
    return process(pool, parsed, RULES, Proof(f"sqs-{uuid4()}", digest, sender, found))


def accesses(pool: Pool) -> list[dict[str, Any]]:
    return rows(pool, "SELECT * FROM access_audit ORDER BY access_id")


def failed_before(pool: Pool, queue: Queue, sent_at: datetime, digest: bytes, sender: str | None = APP) -> UUID:
    return failures.record(
        pool,
        Failure(
            queue=queue,
            sqs_message_id=f"sqs-{uuid4()}",
            kind="ApprovePayment",
            message_key="key",
            outcome=Outcome.FAULT,
            reason="test",
            detail="",
            body_bytes=1,
            body_digest=digest,
            sender=sender,
            first_sent_at=sent_at,
        ),
    )


def replayed(pool: Pool, failure_id: UUID) -> None:
    with db.transaction(pool) as tx:
        tx.send(
            "INSERT INTO failure_replays (replay_id, failure_id, actor_id, reason)"
            " VALUES (%(id)s, %(of)s, %(id)s, 'test')",
            {"id": uuid4(), "of": failure_id},
        )


def order(pool: Pool) -> Parsed:
    [row] = rows(pool, "SELECT payload FROM outbox WHERE detail_type = 'ProcessPayment'")
    return fresh(m.parsed(row["payload"], queue=Queue.PAYOUTS))


def told(sub: UUID, **fields: Any) -> Parsed:
    body = {"actor": {"id": str(ids.SYSTEM_DIRECTORY), "type": "system"}, "sub": str(sub), "enabled": True, **fields}
    return fresh(m.parsed(m.command("MembershipChanged", **{"commandId": str(uuid4()), **body})))
