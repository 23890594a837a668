"""Who acts: from what came with a message to an actor, or to the reason why it is nobody's word.

Whose word it is stands first, what they may do comes from our own membership table, read under the payment's lock. A
token's groups only ever narrow that; what the message says about its sender counts for nothing.
"""

from dataclasses import replace
from datetime import datetime

from contracts import authority, ids
from contracts.authority import Persona
from contracts.envelope import Queue
from contracts.inbound import Cause, Command, InboundMessage, MembershipChanged, VendorAccountChanged
from contracts.payment import Actor, ActorType, Membership, Role
from contracts.proof import Person, Proof
from contracts.refusals import Refusal
from handlers.decision import NOBODY, Rules, Senders
from handlers.steps import Flaw
from store.failures import Past

_SERVICE = Actor(ids.SYSTEM_PAYOUTS, ActorType.SYSTEM)
_DIRECTORY = Actor(ids.SYSTEM_DIRECTORY, ActorType.SYSTEM)
_ACCOUNTS = Actor(ids.SYSTEM_ACCOUNTS, ActorType.SYSTEM)
_INTAKE = Actor(ids.SYSTEM_INTAKE, ActorType.SYSTEM)


#: The commands that a configured IAM role may give without a person, and who acts then.
WITHOUT_PERSON = {MembershipChanged.__name__: _DIRECTORY, VendorAccountChanged.__name__: _ACCOUNTS}


def _configured(kind: str, senders: Senders) -> frozenset[str]:
    """Return the IAM roles that may give commands of this kind without a person."""
    return {MembershipChanged.__name__: senders.memberships, VendorAccountChanged.__name__: senders.accounts}.get(
        kind, frozenset()
    )


def barred(message: InboundMessage, cause: Cause, proof: Proof, rules: Rules) -> Flaw | None:
    """Return why a message proves nothing, as far as that can be told before anything is read; None where it may go on.

    An operator's message may go on: whether it is one that failed here before is read with the rest.
    """
    if proof.sender not in rules.senders.operators:
        return _sender_flaw(message, cause, proof, rules)
    if cause.queue is Queue.COMMANDS and proof.who is not None:
        return _token_flaw(message, proof)
    refused = authority.refusal(cause.kind, Persona.OPERATOR)
    return Flaw(refused, "actorToken") if refused is Refusal.UNAUTHENTICATED else None


def unreplayed(message: InboundMessage, cause: Cause, proof: Proof, rules: Rules, past: Past) -> Flaw | None:
    """Return why an operator may not put a message back; None where they may, or where it is no operator's.

    It must be on record that they do, and it must have come before from somebody whose it may be: an operator says
    that it shall be tried again, and not whose word it is.
    """
    if proof.sender not in rules.senders.operators:
        return None
    first = [replace(proof, sender=sender) for sender in past.senders or {None}]
    if past.replayed and any(_sender_flaw(message, cause, sent, rules) is None for sent in first):
        return None
    return Flaw(Refusal.FORBIDDEN_SENDER)


def _sender_flaw(message: InboundMessage, cause: Cause, proof: Proof, rules: Rules) -> Flaw | None:
    if cause.queue is Queue.EVENTS:  # its policy lets nobody but our rule in; EventBridge sends under an id of its own
        return _service_flaw(cause)
    if cause.queue is Queue.PAYOUTS:
        return _service_flaw(cause) if proof.sender in rules.senders.payouts else Flaw(Refusal.FORBIDDEN_SENDER)
    if proof.who is None:
        return _without_token(cause, proof, rules)
    if flaw := _token_flaw(message, proof):
        return flaw
    return None if proof.sender in rules.senders.commands else Flaw(Refusal.FORBIDDEN_SENDER)


def _service_flaw(cause: Cause) -> Flaw | None:
    refused = authority.refusal(cause.kind, Persona.SERVICE)
    return Flaw(refused) if refused else None


def _without_token(cause: Cause, proof: Proof, rules: Rules) -> Flaw | None:
    """Only the role that is configured for a kind may do without a person, and only to tell of that.

    A release by the service is accepted too, but on its own queue: here it would be a release by nobody.
    """
    who = Persona.SERVICE if proof.sender in _configured(cause.kind, rules.senders) else Persona.ANONYMOUS
    refused = authority.refusal(cause.kind, who)
    return Flaw(refused, "actorToken") if refused else None


def _token_flaw(message: InboundMessage, proof: Proof) -> Flaw | None:
    if not isinstance(proof.who, Person):
        return Flaw(Refusal.UNAUTHENTICATED, "actorToken")
    if not isinstance(message, Command) or message.actor.id != proof.who.subject:
        return Flaw(Refusal.UNAUTHENTICATED, "actor.id")
    return None


def acting(
    cause: Cause, proof: Proof, rules: Rules, *, member: Membership | None, past: Past, now: datetime
) -> Actor | Flaw:
    """Return who acts, or why nobody does, once everything is read.

    Args:
        cause: the message's identity.
        proof: what came with it, which `barred` and `unreplayed` let pass.
        rules: the settings.
        member: the membership of the person who is proven.
        past: what is known of this very body from before.
        now: the transaction's time.
    """
    if cause.queue is not Queue.COMMANDS or not isinstance(proof.who, Person):
        without = WITHOUT_PERSON.get(cause.kind, NOBODY)
        return {Queue.EVENTS: _INTAKE, Queue.PAYOUTS: _SERVICE, Queue.COMMANDS: without}[cause.queue]
    sent_at = min(cause.sent_at, past.first_sent_at or cause.sent_at)
    if not _holds_at(sent_at, proof.who, rules):
        return Flaw(Refusal.UNAUTHENTICATED, "actorToken")
    actor = as_actor(proof.who, member)
    if actor.role is None:
        return Flaw(Refusal.FORBIDDEN_ROLE)
    return Flaw(Refusal.STALE) if now - sent_at > rules.command_age else actor


def _holds_at(sent_at: datetime, person: Person, rules: Rules) -> bool:
    """Whether the token was good when the command was sent, give or take what clocks differ: queues may delay."""
    return person.issued_at - rules.token_skew <= sent_at <= person.expires_at + rules.token_skew


def as_actor(person: Person, member: Membership | None) -> Actor:
    """Return the person in the role of their membership, or in none where they are out of it."""
    if member is None or not member.enabled or member.role not in person.groups:
        return Actor(person.subject, ActorType.USER)
    kind = ActorType.ADMIN if member.role is Role.ADMIN else ActorType.USER
    return Actor(person.subject, kind, member.role, member.company_id, member.vendor_id)
