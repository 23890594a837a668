"""The one writer: turns a Decision into rows. Outbox and audit cannot be forgotten, since nobody else has them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from contracts import ids
from contracts.ids import as_uuid
from contracts.inbound import Cause
from contracts.lifecycle import Event, Status
from contracts.outbound import EventMessage, OutboundMessage, OwnOrder, PaymentCommandRejected, WorkCompletedRejected
from contracts.outcome import Outcome
from contracts.payment import ActorType, Membership, Payment, VendorAccount
from contracts.policy import Policy
from contracts.proof import Person, Proof
from contracts.refusals import DENIALS, Refusal
from contracts.values import dataclass
from handlers.decision import Absorb, Decision, Enact, Move, Order, Post, Record, Refuse
from store import access, approvals, attempts, audit, inbox, memberships, outbox, payments, policies, vendor_accounts
from store.access import Access
from store.db import Tx
from store.outbox import NewRow


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a payment that a message has made; before it was created there was none."""

    before: Payment | None
    after: Payment
    event: Event
    actor: ActorType


@dataclass(frozen=True, slots=True)
class Result:
    """How a message ended, where its payment stands now, and by which steps it came there."""

    outcome: Outcome
    code: Refusal | None = None
    payment_id: UUID | None = None
    status: Status | None = None
    version: int | None = None
    published: int = 0
    audit_head: bytes | None = None
    steps: tuple[Step, ...] = ()


def apply(
    tx: Tx, decision: Decision, cause: Cause, now: datetime, *, proof: Proof, subject: UUID | None, claimed: bool
) -> Result:
    """Write a decision.

    Args:
        tx: the message's transaction.
        decision: what was decided.
        cause: the message's identity.
        now: the transaction's time.
        proof: whose word the message is; it is recorded with what is done, denied, or changed of somebody's rights.
        subject: the payment that the inbox claim already names.
        claimed: whether the inbox row is this message's; a conflicting one leaves the first one's as it was.
    """
    match decision:
        case Move() | Record():
            result = _write(tx, decision, cause, proof, now)
        case Enact():
            result = _enact(tx, decision, cause, proof, now)
        case Order():
            result = _order(tx, decision.orders, cause, now)
        case Refuse():
            result = _refuse(tx, decision, cause, proof, now, subject)
        case Absorb():
            result = _result(Outcome.IGNORED, decision.payment)
    if claimed and (result.outcome is not Outcome.APPLIED or result.payment_id != subject):
        payment_id = result.payment_id or subject
        inbox.settle(tx, cause.kind, cause.inbox_key, result.outcome, result.code, payment_id)
    return result


def _refuse(tx: Tx, refusal: Refuse, cause: Cause, proof: Proof, now: datetime, subject: UUID | None) -> Result:
    outbox.append(tx, [_notice_row(refusal.event, refusal.payment, cause, now)], now)
    if refusal.code in DENIALS:
        object_id = refusal.payment.payment_id if refusal.payment else subject
        access.append(tx, _access(cause, proof, object_id=object_id, code=refusal.code), now)
    return _result(Outcome.REFUSED, refusal.payment, code=refusal.code, published=1)


def _enact(tx: Tx, change: Enact, cause: Cause, proof: Proof, now: datetime) -> Result:
    match change.what:
        case Policy() as policy:
            policies.insert(tx, policy, cause.message_key)
        case Membership() as membership:
            memberships.put(tx, membership, now, cause.message_key, replaces=change.replaces)
        case VendorAccount() as account:
            vendor_accounts.put(tx, account, now, cause.message_key, replaces=change.replaces)
    access.append(tx, _access(cause, proof, object_id=change.subject, data=change.data), now)
    return _order(tx, change.orders, cause, now)


def _order(tx: Tx, orders: Sequence[OwnOrder], cause: Cause, now: datetime) -> Result:
    if orders:
        outbox.append(tx, [_order_row(order, cause, now) for order in orders], now)
    return Result(Outcome.APPLIED, published=len(orders))


def _access(
    cause: Cause,
    proof: Proof,
    *,
    object_id: UUID | None,
    code: Refusal | None = None,
    data: Mapping[str, Any] = MappingProxyType({}),
) -> Access:
    return Access(
        operation=cause.kind,
        code=code,
        actor_id=proof.who.subject if isinstance(proof.who, Person) else None,
        sender=proof.sender,
        object_id=object_id,
        message_key=cause.message_key,
        proof=proof.record(),
        data=data,
    )


def _write(tx: Tx, change: Move | Record, cause: Cause, proof: Proof, now: datetime) -> Result:
    result = _write_one(tx, change, cause, proof, now)
    if change.then is None:
        return result
    # The next change chains onto the hash that only the writer knows.
    head = replace(change.then.before or change.after, audit_head=result.audit_head)
    further = _write(tx, replace(change.then, before=head), cause, proof, now)
    return replace(further, published=result.published + further.published, steps=result.steps + further.steps)


def _proven(change: Move | Record, proof: Proof) -> Mapping[str, Any]:
    """Return what is kept in the audit log of how a person has proven to be who they are; nothing where none acts."""
    acts = isinstance(proof.who, Person) and proof.who.subject == change.actor.id
    return {"proof": {**proof.record(), "sender": proof.sender}} if acts else {}


def _write_one(tx: Tx, change: Move | Record, cause: Cause, proof: Proof, now: datetime) -> Result:
    link = audit.entry(
        change.before,
        change.after,
        action=change.event,
        actor=change.actor,
        message_key=cause.message_key,
        at=now,
        data={**change.data, **_proven(change, proof)},
        note=change.note,
    )
    after = change.after
    if change.before is None:
        payments.insert(tx, after, change.lines, link.entry_hash)
    else:
        payments.change(tx, change.before, after, link.entry_hash)
    if change.approval and change.actor.role:
        approvals.insert(tx, after.payment_id, change.approval, change.actor.role, cause.message_key)
    if change.opens:
        attempts.insert(tx, change.opens)
    if change.settles:
        attempts.change(tx, change.settles)
    if change.returned:
        attempts.reverse(tx, change.returned.attempt, change.returned.reversals, now, cause.message_key)
    audit.append(tx, link)
    outbox.append(tx, [_change_row(post, after, cause, now) for post in change.posts], now)
    return Result(
        Outcome.APPLIED,
        payment_id=after.payment_id,
        status=after.status,
        version=after.version,
        published=len(change.posts),
        audit_head=link.entry_hash,
        steps=(Step(change.before, after, change.event, change.actor.type),),
    )


def _result(outcome: Outcome, payment: Payment | None, *, code: Refusal | None = None, published: int = 0) -> Result:
    if payment is None:
        return Result(outcome, code, published=published)
    return Result(outcome, code, payment.payment_id, payment.status, payment.version, published)


def _change_row(post: Post, after: Payment, cause: Cause, now: datetime) -> NewRow:
    return _row(post.message, cause, after.payment_id, post.not_before or now, seq=after.version)


def _order_row(order: OwnOrder, cause: Cause, now: datetime) -> NewRow:
    return _row(order, cause, order.about, now)


def _notice_row(event: EventMessage, payment: Payment | None, cause: Cause, now: datetime) -> NewRow:
    return _row(event, cause, payment.payment_id if payment else _aggregate(event), now)


def _row(message: OutboundMessage, cause: Cause, about: UUID, available_at: datetime, *, seq: int = 0) -> NewRow:
    """Return a message's row. What follows from a message is sent in the trace that it is handled in."""
    return NewRow(
        event_id=message.identity,
        aggregate_id=about,
        aggregate_seq=seq,
        destination=message.destination,
        detail_type=message.kind,
        payload=message.wire(cause.trace),
        available_at=available_at,
        traceparent=cause.trace.traceparent if cause.trace else None,
    )


def _aggregate(event: EventMessage) -> UUID:
    """Return what news without a payment is about: the incident, or else the payment or command it named."""
    match event:
        case WorkCompletedRejected():
            return as_uuid(event.incident_id) or ids.derive("incident", event.incident_id)
        case PaymentCommandRejected():
            return event.payment_id or ids.derive("command", event.command_id)
        case _:
            return event.event_id
