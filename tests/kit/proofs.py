"""Proofs in tests: a message's word is its actor's, and the actor is a member as the message says.

What a decision does with an actor is tested with these. Whether a token proves anybody is tested with real tokens, in
tests/workers/test_tokens.py, tests/forged and tests/journey.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from contracts import ids
from contracts.envelope import Queue
from contracts.inbound import Command, InboundMessage, Parsed
from contracts.payment import Actor, ActorType, Role
from contracts.proof import Person, Proof, ProofFlaw, Unproven
from handlers.decision import Senders
from store import db
from store.db import Pool
from tests.kit.messages import PROVIDER_SOURCES, SOURCES
from workers.consume import Trust

SENDER = "AIDATESTTESTTESTTEST1"
#: Whom the model of SQS names as every sender, too.
SENDERS = Senders(*[frozenset({SENDER, "AIDAMODEL"})] * 4)
_SYSTEM = {
    Queue.EVENTS: Actor(ids.SYSTEM_INTAKE, ActorType.SYSTEM),
    Queue.PAYOUTS: Actor(ids.SYSTEM_PAYOUTS, ActorType.SYSTEM),
}
_ENROL = """
INSERT INTO memberships (sub, role, company_id, vendor_id, enabled, as_of, changed_at, message_key)
VALUES (%(sub)s, %(role)s, %(company)s, %(vendor)s, %(enabled)s, '2000-01-01Z', now(), 'test')
ON CONFLICT (sub) DO UPDATE SET
    role = excluded.role, company_id = excluded.company_id, vendor_id = excluded.vendor_id, enabled = excluded.enabled
"""


def actor_of(parsed: Parsed, vendor: UUID | None = None) -> Actor:
    """Who acts where the actor of a message is what its token and the memberships say."""
    message = parsed.message
    if parsed.cause.queue is not Queue.COMMANDS or not isinstance(message, Command):
        return _SYSTEM[parsed.cause.queue]
    said = message.actor
    kind = ActorType.ADMIN if said.role is Role.ADMIN else ActorType.USER
    return Actor(said.id, kind, said.role, said.company_id, vendor)


def person(subject: UUID, role: Role | None, sent_at: datetime) -> Person:
    """A person whose token was good when the message was sent."""
    groups = frozenset({role} if role else ())
    return Person(subject, groups, sent_at, sent_at + timedelta(minutes=15), "client", "jti-1", "kid-1")


def proof_of(parsed: Parsed) -> Proof:
    """The proof that goes with a message whose actor is who it says."""
    message, cause = parsed.message, parsed.cause
    who = None
    if cause.queue is Queue.COMMANDS and isinstance(message, Command) and message.actor.type is not ActorType.SYSTEM:
        who = person(message.actor.id, message.actor.role, cause.sent_at)
    digest = sha256(f"{cause.kind} {cause.message_key}".encode() + cause.fingerprint).digest()
    return Proof(f"sqs-{cause.message_key}", digest, SENDER, who)


def enrol(pool: Pool, message: InboundMessage) -> None:
    """Make the actor of a command a member, as the command says."""
    if isinstance(message, Command) and message.actor.role:
        member(pool, message.actor.id, message.actor.role, company=message.actor.company_id)


def member(
    pool: Pool,
    subject: UUID,
    role: Role,
    *,
    company: UUID | None = None,
    vendor: UUID | None = None,
    enabled: bool = True,
) -> None:
    """Make somebody a member; who has no company or vendor of their own is given one that nobody else has."""
    other = ids.derive("nobody's", subject)
    values = {
        "sub": subject,
        "role": role,
        "company": company or (other if role is Role.DISPATCHER else None),
        "vendor": vendor or (other if role is Role.VENDOR else None),
        "enabled": enabled,
    }
    with db.transaction(pool) as tx:
        tx.send(_ENROL, values)


class PlainVerifier:
    """Believes a token that says in plain JSON whose it is: a stand-in behind the proof port."""

    def verify(self, token: str) -> Person | Unproven:
        try:
            said = json.loads(token)
        except ValueError:
            return Unproven(ProofFlaw.MALFORMED)
        now, hour = datetime.now(UTC), timedelta(hours=1)
        found = person(UUID(said["sub"]), Role(said["role"]) if said["role"] else None, now)
        return replace(found, issued_at=now - hour, expires_at=now + hour)


TRUST = Trust(SOURCES, PlainVerifier(), PROVIDER_SOURCES)


def signed(body: dict[str, Any]) -> dict[str, Any]:
    """A command with the plain token of its actor."""
    actor = body.get("actor", {})
    if actor.get("type") == "system":
        return body
    return {**body, "actorToken": json.dumps({"sub": actor["id"], "role": actor.get("role")})}
