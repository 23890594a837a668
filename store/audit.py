"""The audit log: one row per version of a payment, chained by hash; free text lies beside the chain, erasable."""

import secrets
from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from contracts import ids
from contracts.chain import HASH_VERSION, Content, entry_hash
from contracts.lifecycle import Event, Status
from contracts.payment import Actor, Payment
from contracts.values import dataclass
from store.db import Tx

SALT_BYTES = 32

_INSERT = """
INSERT INTO payment_audit_log (
    log_id, payment_id, seq, action, actor_id, actor_type, previous_status, new_status, message_key, data,
    note_digest, hash_version, prev_hash, entry_hash, "timestamp"
) VALUES (
    %(log_id)s, %(payment_id)s, %(seq)s, %(action)s, %(actor_id)s, %(actor_type)s, %(previous_status)s,
    %(new_status)s, %(message_key)s, %(data)s, %(note_digest)s, %(hash_version)s, %(prev_hash)s, %(entry_hash)s,
    %(at)s
)
"""
_INSERT_NOTE = "INSERT INTO payment_audit_notes (log_id, salt, note) VALUES (%(log_id)s, %(salt)s, %(note)s)"


@dataclass(frozen=True, slots=True)
class Note:
    """Free text of a person, with the salt that makes its digest worthless once both are erased."""

    text: str
    salt: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of salt and text: all that the chain ever sees of it."""
        return sha256(self.salt + self.text.encode()).digest()


@dataclass(frozen=True, slots=True)
class Entry:
    """One link of a payment's chain, complete but for being written."""

    payment_id: UUID
    seq: int
    action: Event
    actor: Actor
    previous_status: Status | None
    new_status: Status
    amount_cents: int
    currency: str
    message_key: str
    prev_hash: bytes | None
    at: datetime
    data: Mapping[str, Any]
    note: Note | None
    #: SHA-256 over everything this row says and the hash of the row before it.
    entry_hash: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Hash it, once: it is asked for three times."""
        content = Content(
            seq=self.seq,
            action=self.action,
            actor_id=self.actor.id,
            actor_type=self.actor.type,
            previous_status=self.previous_status,
            new_status=self.new_status,
            message_key=self.message_key,
            data=dict(self.data),
            note_digest=self.note.digest if self.note else None,
            prev_hash=self.prev_hash,
            at=self.at,
        )
        hashed = entry_hash(self.payment_id, self.amount_cents, self.currency, content)
        object.__setattr__(self, "entry_hash", hashed)


def salted(text: str | None) -> Note | None:
    """Return free text with a fresh salt, or None for no text."""
    return Note(text, secrets.token_bytes(SALT_BYTES)) if text else None


def entry(
    before: Payment | None,
    after: Payment,
    *,
    action: Event,
    actor: Actor,
    message_key: str,
    at: datetime,
    data: Mapping[str, Any],
    note: str | None,
) -> Entry:
    """Return the link that brings a payment from `before` (None: from nothing) to `after`."""
    return Entry(
        payment_id=after.payment_id,
        seq=after.version,
        action=action,
        actor=actor,
        previous_status=before.status if before else None,
        new_status=after.status,
        amount_cents=after.amount_cents,
        currency=after.currency,
        message_key=message_key,
        prev_hash=before.audit_head if before else None,
        at=at,
        data=data,
        note=salted(note),
    )


def append(tx: Tx, link: Entry) -> None:
    """Write a link, and its note beside it."""
    log_id = ids.audit_id(link.payment_id, link.seq)
    tx.send(
        _INSERT,
        {
            "log_id": log_id,
            "payment_id": link.payment_id,
            "seq": link.seq,
            "action": link.action,
            "actor_id": link.actor.id,
            "actor_type": link.actor.type,
            "previous_status": link.previous_status,
            "new_status": link.new_status,
            "message_key": link.message_key,
            "data": Jsonb(dict(link.data)),
            "note_digest": link.note.digest if link.note else None,
            "hash_version": HASH_VERSION,
            "prev_hash": link.prev_hash,
            "entry_hash": link.entry_hash,
            "at": link.at,
        },
    )
    if link.note:
        tx.send(_INSERT_NOTE, {"log_id": log_id, "salt": link.note.salt, "note": link.note.text})
