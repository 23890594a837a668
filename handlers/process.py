"""The funnel: one message, one transaction around claim, load, decide and apply. Return = commit, raise = roll back."""

from dataclasses import replace
from datetime import datetime
from typing import Self

from contracts.envelope import Queue
from contracts.ids import as_uuid
from contracts.inbound import Cause, InboundMessage, Parsed, PaymentCommand, WorkCompleted
from contracts.outcome import Outcome
from contracts.payment import Membership
from contracts.proof import Person, Proof, ProofFlaw, Unproven
from contracts.provider import NOT_ASKED, Told
from contracts.refusals import Refusal
from contracts.values import dataclass
from handlers import authority
from handlers.apply import Result, apply
from handlers.decision import Decision, Facts, Rules
from handlers.facts import NONE, Loading
from handlers.routes import ROUTES, Route
from handlers.steps import Flaw, denial, overtaken, refuse_command, refuse_conflict, refuse_work
from store import db, failures, inbox, memberships, moment
from store.db import Pending, Pool, Tx
from store.failures import Past
from store.inbox import Known, New

NO_PAST = Pending(Past)
UNSETTLED = Pending(bool)
#: What becomes of a proof as time goes by: keys are rotated, applications and scopes change. A verdict on the message
#: that was reached before stands.
OUTLIVED = frozenset({ProofFlaw.KEY, ProofFlaw.ISSUER, ProofFlaw.CLIENT, ProofFlaw.SCOPE})


def process(pool: Pool, parsed: Parsed, rules: Rules, proof: Proof, told: Told = NOT_ASKED) -> Result:
    """Give one message its effect, once.

    Two round trips for the common message: claim, lock, load and clock travel in the first, writes and COMMIT
    in the second. The answer of a provider is asked for before, with no transaction open.

    Args:
        pool: the database.
        parsed: the message and its identity.
        rules: the settings that decisions depend on.
        proof: whose word it is, as far as what came with it says.
        told: what the provider said, where the message is one to ask it about.

    Raises:
        NotYet: the payment is not there yet; let the message come again.
        Transient: the database could not do it now; let the message come again.
        StoreFault: the database refused a statement of ours.
    """
    if told.spares_key:
        spared = replace(parsed.cause, turned_away_as=f"spared:{proof.sqs_message_id}")
        parsed = replace(parsed, cause=spared)
    flaw = authority.barred(parsed.message, parsed.cause, proof, rules)
    try:
        return _turned_away(pool, parsed, rules, proof, flaw) if flaw else _handled(pool, parsed, rules, proof, told)
    except _NobodysWord as word:
        return _turned_away(pool, parsed, rules, proof, word.flaw)


class _NobodysWord(Exception):
    """It turns out, once everything is read, that the message is nobody's word: roll back and turn it away."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__()
        self.flaw = flaw


def _handled(pool: Pool, parsed: Parsed, rules: Rules, proof: Proof, told: Told) -> Result:
    message, cause = parsed.message, parsed.cause
    route = ROUTES[type(message)]
    subject = route.subject(message, cause)
    with db.transaction(pool, cause.kind) as tx:
        claim = inbox.claim(tx, cause.kind, cause.inbox_key, cause.fingerprint, subject)
        loading = route.load(tx, message, cause)
        person = _Person.load(tx, cause, proof, rules.senders.operators)
        clock = moment.now(tx)
        claimed = claim.value()  # the first flight ends here
        if claimed == Known(same=True):
            tx.abandon()
            return Result(Outcome.DUPLICATE, payment_id=subject)
        facts, now = _facts(cause, rules, loading, told), clock.value()
        decision = _decide(parsed, facts, person, now, known=isinstance(claimed, Known))
        return apply(tx, decision, cause, now, proof=proof, subject=subject, claimed=isinstance(claimed, New))


@dataclass(frozen=True, slots=True)
class _Person:
    """What is read about who acts; on its way."""

    proof: Proof
    member: Pending[Membership | None]
    past: Pending[Past]

    @classmethod
    def load(cls, tx: Tx, cause: Cause, proof: Proof, operators: frozenset[str]) -> Self:
        """Ask for a person's membership, and whether this very body has been here before."""
        may_be_back = cause.queue is Queue.COMMANDS or proof.sender in operators
        return cls(
            proof,
            memberships.of(tx, proof.who.subject) if isinstance(proof.who, Person) else NONE,
            failures.past(tx, cause.queue, proof.body_digest) if may_be_back else NO_PAST,
        )


def _facts(cause: Cause, rules: Rules, loading: Loading, told: Told) -> Facts:
    return Facts(
        cause,
        rules,
        loading.payment.value(),
        loading.attempt.value(),
        told,
        approvals=loading.approvals.value(),
        policy=loading.policy.value(),
        member=loading.member.value(),
        account=loading.account.value(),
        waiting=loading.waiting.value(),
    )


def _decide(parsed: Parsed, facts: Facts, person: _Person, now: datetime, *, known: bool) -> Decision:
    """Decide on a message, or raise where it turns out to be nobody's; a `known` key came with other content before."""
    message, past, cause, proof = parsed.message, person.past.value(), facts.cause, person.proof
    if flaw := authority.unreplayed(message, cause, proof, facts.rules, past):
        raise _NobodysWord(flaw)
    actor = authority.acting(cause, proof, facts.rules, member=person.member.value(), past=past, now=now)
    if isinstance(actor, Flaw):
        if known or actor.code is not Refusal.STALE:
            raise _NobodysWord(actor)
        return refuse_command(facts, message, now, *actor)  # it is somebody's, who is to look at the payment again
    route, facts = ROUTES[type(message)], replace(facts, actor=actor, first_sent_at=past.first_sent_at)
    if known:
        return _contradicted(message, facts, now)
    if not isinstance(message, PaymentCommand) or as_uuid(message.payment_id):  # an id that is none will never come
        _wait(route, facts, now)
    return route.decide(facts, message, now)


def _contradicted(message: InboundMessage, facts: Facts, now: datetime) -> Decision:
    """Announce that a known key came with other content, unless whoever says so may not say such a thing at all."""
    payment = facts.payment
    if facts.cause.queue is Queue.COMMANDS and (payment or not isinstance(message, PaymentCommand)):
        company_id, vendor_id = (payment.company_id, payment.vendor_id) if payment else (None, None)
        if denied := denial(facts, company_id=company_id, vendor_id=vendor_id):
            raise _NobodysWord(Flaw(denied))
    return refuse_conflict(facts, now)


def _turned_away(pool: Pool, parsed: Parsed, rules: Rules, proof: Proof, flaw: Flaw) -> Result:
    """Refuse a message that proves nothing, with nothing locked for it and without using up the key that it names."""
    message = parsed.message
    cause = replace(parsed.cause, turned_away_as=f"turned-away:{proof.sqs_message_id}")
    subject = ROUTES[type(message)].subject(message, cause)
    with db.transaction(pool, cause.kind) as tx:
        claim = inbox.claim(tx, cause.kind, cause.inbox_key, cause.fingerprint, subject)
        outlived = isinstance(proof.who, Unproven) and proof.who.flaw in OUTLIVED
        settled = inbox.knows(tx, cause.kind, parsed.cause.inbox_key, cause.fingerprint) if outlived else UNSETTLED
        clock = moment.now(tx)
        if isinstance(claim.value(), Known) or settled.value():
            tx.abandon()
            return Result(Outcome.DUPLICATE, payment_id=subject)
        now, facts = clock.value(), Facts(cause, rules)
        if isinstance(message, WorkCompleted):
            refused = refuse_work(facts, message, now, *flaw)
        else:
            refused = refuse_command(facts, message, now, *flaw)
        return apply(tx, refused, cause, now, proof=proof, subject=subject, claimed=True)


def _wait(route: Route, facts: Facts, now: datetime) -> None:
    """Let a message that has overtaken its payment come again, as long as it is young enough."""
    if route.waits and facts.payment is None:
        overtaken(facts, now)
