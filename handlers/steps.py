"""The steps that decisions share: consult the lifecycle, check a command's actor and what it saw, refuse."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from contracts import authority
from contracts.ids import as_uuid
from contracts.inbound import InboundMessage, PaymentCommand, WorkCompleted
from contracts.lifecycle import Event, Status, Verdict, next_status
from contracts.money import currency_code, minor_units
from contracts.outbound import OutboundMessage, command_rejected, conflict, work_rejected
from contracts.payment import Actor, Payment
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Facts, Move, NotYet, Post, Record, Refuse


class Flaw(NamedTuple):
    """Why a command cannot stand, and the wire field that is to blame."""

    code: Refusal
    field: str | None = None


def advanced(payment: Payment, event: Event, now: datetime, **changes: Any) -> Payment | Verdict | Refusal:
    """Return the payment one version on, in the status that `event` leads to, or why it does not lead there.

    Args:
        payment: the locked payment.
        event: what happens to it.
        now: the transaction's time.
        **changes: further columns that change with it.
    """
    to = next_status(payment.status, event)
    if isinstance(to, Refusal) or to is Verdict.ABSORB:
        return to
    status = to if isinstance(to, Status) else payment.status
    return replace(payment, status=status, version=payment.version + 1, updated_at=now, **changes)


def step(
    before: Payment, after: Payment, event: Event, actor: Actor, posts: Iterable[OutboundMessage | Post], **rest: Any
) -> Move | Record:
    """Return a Move or, where the status stays, a Record.

    Args:
        before: the locked payment.
        after: what `advanced` returned.
        event: what happens.
        actor: who causes it.
        posts: what is announced or ordered with it.
        **rest: the remaining fields of the Move.
    """
    wrapped = tuple(post if isinstance(post, Post) else Post(post) for post in posts)
    kind = Record if before.status is after.status else Move
    return kind(before=before, after=after, event=event, actor=actor, posts=wrapped, **rest)


def refuse_command(
    facts: Facts, message: InboundMessage, now: datetime, code: Refusal, field: str | None = None
) -> Refuse:
    """Turn a command down and tell its sender where the payment stands."""
    payment = facts.payment
    named = as_uuid(message.payment_id) if isinstance(message, PaymentCommand) else None
    event = command_rejected(
        facts.cause,
        now,
        payment_id=payment.payment_id if payment else named,
        payment=payment,
        code=code,
        field=field,
    )
    return Refuse(code, event, payment)


def refuse_work(facts: Facts, message: WorkCompleted, now: datetime, code: Refusal, field: str | None = None) -> Refuse:
    """Turn finished work down and tell its producer which field is to blame."""
    event = work_rejected(
        facts.cause, now, incident_id=message.incident_id, vendor_id=message.vendor_id, code=code, field=field
    )
    return Refuse(code, event)


def refuse_conflict(facts: Facts, now: datetime) -> Refuse:
    """Announce that a known key or work item came with other content; nothing changes."""
    payment_id = facts.payment.payment_id if facts.payment else None
    return Refuse(Refusal.PAYLOAD_CONFLICT, conflict(facts.cause, now, payment_id), facts.payment)


def met_again(facts: Facts, now: datetime) -> Decision | None:
    """Return what becomes of a request whose payment is already there; None when it is new.

    The same content under another key is a repetition, other content a conflict.
    """
    if facts.payment is None:
        return None
    if facts.payment.request_fingerprint == facts.cause.fingerprint:
        return Absorb(facts.payment)
    return refuse_conflict(facts, now)


def overtaken(facts: Facts, now: datetime) -> None:
    """Let a message that has overtaken what it is about come again, as long as it is young enough.

    Raises:
        NotYet: it is.
    """
    left = facts.rules.not_yet_for - (now - facts.cause.sent_at)
    if left > timedelta(0):
        raise NotYet(left)


def certain(payment: Payment, event: Event, now: datetime, **changes: Any) -> Payment:
    """Return what `advanced` returns where the lifecycle cannot but allow it.

    Raises:
        AssertionError: the lifecycle does not allow it: an invariant is broken, the message is a fault.
    """
    after = advanced(payment, event, now, **changes)
    if isinstance(after, Payment):
        return after
    raise AssertionError(f"{event} met a payment in {payment.status}")


def commanded(facts: Facts, message: PaymentCommand, *, approving: bool = False) -> Payment | Flaw:
    """Return the payment that a person's command may act on, or the first flaw in order of precedence.

    Role and company first, then what the sender saw: amount and currency always, the version where the command
    carries it. Who is `approving` also needs a role that the payment's policy asks for.
    """
    if as_uuid(message.payment_id) is None:
        return Flaw(Refusal.INVALID_FIELD, "paymentId")
    if message.amount_cents is None or message.currency is None:
        return Flaw(Refusal.INVALID_FIELD, "amountCents" if message.amount_cents is None else "currency")
    if facts.payment is None:
        return Flaw(Refusal.NOT_FOUND)
    denied = denial(facts, company_id=facts.payment.company_id, vendor_id=facts.payment.vendor_id)
    if approving and facts.actor.role not in facts.payment.approver_roles:
        denied = Refusal.FORBIDDEN_ROLE
    flaw = Flaw(denied) if denied else _stale_view(message, facts.payment)
    return flaw or facts.payment


def denial(facts: Facts, *, company_id: UUID | None = None, vendor_id: UUID | None = None) -> Refusal | None:
    """Return why the matrix denies the actor this kind of command about an object of this company and vendor."""
    who = authority.persona(facts.actor, company_id=company_id, vendor_id=vendor_id)
    return authority.refusal(facts.cause.kind, who)


def _stale_view(message: PaymentCommand, payment: Payment) -> Flaw | None:
    if message.amount_cents is not None and minor_units(message.amount_cents) != payment.amount_cents:
        return Flaw(Refusal.AMOUNT_MISMATCH, "amountCents")
    if message.currency is not None and currency_code(message.currency) != payment.currency:
        return Flaw(Refusal.AMOUNT_MISMATCH, "currency")
    if message.expected_version is not None and message.expected_version != payment.version:
        return Flaw(Refusal.VERSION_CONFLICT, "expectedVersion")
    return None


def role_data(actor: Actor) -> Mapping[str, Any]:
    """Return in which role a person acted, for the audit log."""
    return {"role": actor.role} if actor.role else {}
