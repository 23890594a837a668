"""The audit chain: how a link is hashed, and what must hold from a payment's first link to its last.

Writing and verifying use the one formula below. It must never change: a change is a new `hash_version` beside it.
What a chain cannot show is a history that was rewritten as a whole, payment row included, by whoever may write
everything; copies kept elsewhere (`payments audit export`) show that.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, ConfigDict
from pydantic.alias_generators import to_camel

from contracts import ids
from contracts.canonical import digest
from contracts.lifecycle import INITIAL, Event, Status, Verdict, next_status
from contracts.values import dataclass

#: How a link is hashed; stored with it, so that a later formula can tell old rows from new.
HASH_VERSION = 1

#: How the classes below are written as JSON: names in camel case, bytes in hexadecimal, nothing guessed or ignored.
WIRE = ConfigDict(alias_generator=to_camel, ser_json_bytes="hex", val_json_bytes="hex", strict=True, extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a link says, as plain values: a row that was tampered with may hold anything.

    Attributes:
        seq: the payment's version that this link led to, from 1.
        data: the facts beside it, as JSON.
        note_digest: SHA-256 of the note's salt and text, or None where there was no note.
        prev_hash: the hash of the link before, None for the first.
        at: when it happened; None for a time that no calendar has.
    """

    __pydantic_config__: ClassVar[ConfigDict] = WIRE
    seq: int
    action: str
    actor_id: UUID
    actor_type: str
    previous_status: str | None
    new_status: str | None
    message_key: str
    data: Any
    note_digest: bytes | None
    prev_hash: bytes | None
    at: AwareDatetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNote:
    """The note beside a link, known by the digest of its salt and text alone; None: both are erased."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE
    digest: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(Content):
    """A link as it is stored; its id and hash should follow from the rest."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE
    log_id: UUID
    hash_version: int
    entry_hash: bytes
    note: StoredNote | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the payment's own row says: the money, which never changes, and where the payment stands."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE
    amount_cents: int
    currency: str
    status: str
    version: int
    audit_head: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A payment's row, None where there is none, and its links in the order of their seq."""

    __pydantic_config__: ClassVar[ConfigDict] = WIRE
    payment_id: UUID
    payment: Standing | None
    links: Sequence[Link]


class Flaw(StrEnum):
    """What can be wrong with a chain."""

    NO_PAYMENT = "no_payment"
    NO_LINKS = "no_links"
    MISSING = "missing"
    EXTRA = "extra"
    HASH_VERSION = "hash_version"
    LOG_ID = "log_id"
    PREV_HASH = "prev_hash"
    CONTENT = "content"
    PREVIOUS_STATUS = "previous_status"
    ILLEGAL_MOVE = "illegal_move"
    NOTE_CHANGED = "note_changed"
    NOTE_LOST = "note_lost"
    NOTE_ADDED = "note_added"
    HEAD = "head"
    STATUS = "status"


_WORDS: Mapping[Flaw, str] = MappingProxyType(
    {
        Flaw.NO_PAYMENT: "the link is there, its payment is not",
        Flaw.NO_LINKS: "the payment has no links at all",
        Flaw.MISSING: "the link is missing",
        Flaw.EXTRA: "the link should not be there: it is out of order, or beyond the payment's version",
        Flaw.HASH_VERSION: f"the link's hash version is not {HASH_VERSION}, the only one that this release knows",
        Flaw.LOG_ID: "the link's id is not the one that its payment and seq give",
        Flaw.PREV_HASH: "the link does not follow the one before: its prev_hash is not that one's hash",
        Flaw.CONTENT: "the link, or the payment's amount or currency, is not what was written: the hash does not fit",
        Flaw.PREVIOUS_STATUS: "the link does not begin in the status in which the one before ended",
        Flaw.ILLEGAL_MOVE: "the link is a move that the lifecycle forbids",
        Flaw.NOTE_CHANGED: "the link's note is not the one that was written: its digest does not fit",
        Flaw.NOTE_LOST: "the link's note is gone, and not by an erasure, which would have left its mark",
        Flaw.NOTE_ADDED: "the link has a note that it was written without",
        Flaw.HEAD: "the payment's audit_head is not the hash of its newest link",
        Flaw.STATUS: "the payment's status is not the one in which its newest link ended",
    }
)


@dataclass(frozen=True, slots=True)
class Breach:
    """The first broken link of a payment; `seq` is where it is, or should be."""

    payment_id: UUID
    seq: int
    flaw: Flaw

    @property
    def what(self) -> str:
        """What is wrong, in words."""
        return _WORDS[self.flaw]


def entry_hash(payment_id: UUID, amount_cents: int, currency: str, content: Content) -> bytes:
    """Return the hash of a link by version 1: SHA-256 over all it says, the money, and the hash of the link before.

    Args:
        payment_id: whose link it is.
        amount_cents: the payment's amount, in minor units of its currency.
        currency: ISO 4217.
        content: what the link says.

    Raises:
        TypeError: `content.data` holds what has no canonical form, such as a float; nothing like it is ever written.
        ValueError: it holds text that is no Unicode.
    """
    return digest(
        {
            "hash_version": 1,
            "payment_id": payment_id,
            "seq": content.seq,
            "action": content.action,
            "actor_id": content.actor_id,
            "actor_type": content.actor_type,
            "previous_status": content.previous_status,
            "new_status": content.new_status,
            "amount_cents": amount_cents,
            "currency": currency,
            "message_key": content.message_key,
            "data": digest(content.data).hex(),
            "note_digest": _hex(content.note_digest),
            "timestamp": content.at,
            "prev_hash": _hex(content.prev_hash),
        }
    )


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def verify(chain: Chain) -> Breach | None:
    """Return the first thing that is wrong with a payment's history, or None where nothing is."""
    payment_id, payment = chain.payment_id, chain.payment
    if payment is None:
        return Breach(payment_id, chain.links[0].seq if chain.links else 1, Flaw.NO_PAYMENT)
    if not chain.links:
        return Breach(payment_id, 1, Flaw.NO_LINKS)
    before: Link | None = None
    for seq, link in enumerate(chain.links, start=1):
        if link.seq != seq:
            return Breach(payment_id, min(seq, link.seq), Flaw.MISSING if link.seq > seq else Flaw.EXTRA)
        flaw = _identity_flaw(payment_id, payment, link, before) or _move_flaw(link, before) or _note_flaw(link)
        if flaw:
            return Breach(payment_id, seq, flaw)
        before = link
    return _end_breach(payment_id, payment, chain.links[-1])


def _identity_flaw(payment_id: UUID, payment: Standing, link: Link, before: Link | None) -> Flaw | None:
    if link.hash_version != HASH_VERSION:
        return Flaw.HASH_VERSION
    if link.log_id != ids.audit_id(payment_id, link.seq):
        return Flaw.LOG_ID
    if link.prev_hash != (before.entry_hash if before else None):
        return Flaw.PREV_HASH
    return None if _fits(payment_id, payment, link) else Flaw.CONTENT


def _fits(payment_id: UUID, payment: Standing, link: Link) -> bool:
    try:
        return entry_hash(payment_id, payment.amount_cents, payment.currency, link) == link.entry_hash
    except (TypeError, ValueError, OverflowError, RecursionError):  # what cannot be hashed was never written
        return False


def _move_flaw(link: Link, before: Link | None) -> Flaw | None:
    if before is None:
        begins = (None, Event.CREATED, INITIAL)
        return None if (link.previous_status, link.action, link.new_status) == begins else Flaw.ILLEGAL_MOVE
    if link.previous_status != before.new_status:
        return Flaw.PREVIOUS_STATUS
    return None if _is_legal(link) else Flaw.ILLEGAL_MOVE


def _is_legal(link: Link) -> bool:
    try:
        verdict = next_status(Status(link.previous_status or ""), Event(link.action))
    except ValueError:  # a word that the lifecycle does not know
        return False
    if verdict is Verdict.RECORD:
        return link.new_status == link.previous_status
    return isinstance(verdict, Status) and link.new_status == verdict


def _note_flaw(link: Link) -> Flaw | None:
    if link.note is None:
        return None if link.note_digest is None else Flaw.NOTE_LOST
    if link.note_digest is None:
        return Flaw.NOTE_ADDED
    erased = link.note.digest is None
    return None if erased or link.note.digest == link.note_digest else Flaw.NOTE_CHANGED


def _end_breach(payment_id: UUID, payment: Standing, newest: Link) -> Breach | None:
    """Compare the payment's row with its newest link, which a cut-off tail would have left behind."""
    if newest.seq < payment.version:
        return Breach(payment_id, newest.seq + 1, Flaw.MISSING)
    if newest.seq > payment.version:
        return Breach(payment_id, payment.version + 1, Flaw.EXTRA)
    if payment.audit_head != newest.entry_hash:
        return Breach(payment_id, newest.seq, Flaw.HEAD)
    if payment.status != newest.new_status:
        return Breach(payment_id, newest.seq, Flaw.STATUS)
    return None
