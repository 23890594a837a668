"""The one writer: turns a Decision into rows. Outbox and audit cannot be forgotten, since nobody else has them."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from contracts import ids
from contracts.ids import as_uuid
from contracts.inbound import Cause
from contracts.lifecycle import Status
from contracts.outbound import EventMessage, PaymentCommandRejected, WorkCompletedRejected
from contracts.outcome import Outcome
from contracts.payment import Payment
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Move, Post, Record, Refuse
from store import attempts, audit, inbox, outbox, payments
from store.db import Tx
from store.outbox import NewRow


@dataclass(frozen=True, slots=True)
class Result:
    """How a message ended and where its payment stands now."""

    outcome: Outcome
    code: Refusal | None = None
    payment_id: UUID | None = None
    status: Status | None = None
    version: int | None = None
    published: int = 0


def apply(tx: Tx, decision: Decision, cause: Cause, now: datetime, *, subject: UUID | None, claimed: bool) -> Result:
    """Write a decision.

    Args:
        tx: the message's transaction.
        decision: what was decided.
        cause: the message's identity.
        now: the transaction's time.
        subject: the payment that the inbox claim already names.
        claimed: whether the inbox row is this message's; a conflicting one leaves the first one's as it was.
    """
    match decision:
        case Move() | Record():
            result = _write(tx, decision, cause, now)
        case Refuse():
            outbox.append(tx, [_notice_row(decision.event, decision.payment, now)], now)
            result = _result(Outcome.REFUSED, decision.payment, code=decision.code, published=1)
        case Absorb():
            result = _result(Outcome.IGNORED, decision.payment)
    if claimed and (result.outcome is not Outcome.APPLIED or result.payment_id != subject):
        payment_id = result.payment_id or subject
        inbox.settle(tx, cause.kind, cause.message_key, result.outcome, result.code, payment_id)
    return result


def _write(tx: Tx, change: Move | Record, cause: Cause, now: datetime) -> Result:
    link = audit.entry(
        change.before,
        change.after,
        action=change.event,
        actor=change.actor,
        message_key=cause.message_key,
        at=now,
        data=change.data,
        note=change.note,
    )
    after = replace(change.after, audit_head=link.entry_hash)
    if change.before is None:
        payments.insert(tx, after, change.lines)
    else:
        payments.change(tx, change.before, after)
    if change.opens:
        attempts.insert(tx, change.opens)
    if change.settles:
        attempts.change(tx, change.settles)
    audit.append(tx, link)
    outbox.append(tx, [_change_row(post, after, now) for post in change.posts], now)
    return _result(Outcome.APPLIED, after, published=len(change.posts))


def _result(outcome: Outcome, payment: Payment | None, *, code: Refusal | None = None, published: int = 0) -> Result:
    if payment is None:
        return Result(outcome, code, published=published)
    return Result(outcome, code, payment.payment_id, payment.status, payment.version, published)


def _change_row(post: Post, after: Payment, now: datetime) -> NewRow:
    return NewRow(
        event_id=post.message.identity,
        aggregate_id=after.payment_id,
        aggregate_seq=after.version,
        destination=post.message.destination,
        detail_type=post.message.kind,
        payload=post.message.wire(),
        available_at=post.not_before or now,
    )


def _notice_row(event: EventMessage, payment: Payment | None, now: datetime) -> NewRow:
    return NewRow(
        event_id=event.identity,
        aggregate_id=payment.payment_id if payment else _aggregate(event),
        aggregate_seq=0,
        destination=event.destination,
        detail_type=event.kind,
        payload=event.wire(),
        available_at=now,
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
