"""The funnel: one message, one transaction around claim, load, decide and apply. Return = commit, raise = roll back."""

from datetime import datetime, timedelta

from contracts.inbound import Parsed, PaymentCommand
from contracts.outcome import Outcome
from contracts.provider import Answer
from handlers.apply import Result, apply
from handlers.decision import Facts, NotYet, Rules
from handlers.routes import ROUTES, Route
from handlers.steps import refuse_conflict
from store import db, inbox, moment
from store.db import Pool
from store.inbox import Known, New


def process(pool: Pool, parsed: Parsed, rules: Rules, answer: Answer | None = None) -> Result:
    """Give one message its effect, once.

    Two round trips for the common message: claim, lock, load and clock travel in the first, writes and COMMIT
    in the second. The answer of a provider is asked for before, with no transaction open.

    Args:
        pool: the database.
        parsed: the message and its identity.
        rules: the settings that decisions depend on.
        answer: what the provider said, for an order to pay out.

    Raises:
        NotYet: the payment is not there yet; let the message come again.
        Transient: the database could not do it now; let the message come again.
        StoreFault: the database refused a statement of ours.
    """
    message, cause = parsed.message, parsed.cause
    route = ROUTES[type(message)]
    subject = route.subject(message, cause)
    with db.transaction(pool) as tx:
        claim = inbox.claim(tx, cause.kind, cause.message_key, cause.fingerprint, subject)
        loading = route.load(tx, message, cause)
        clock = moment.now(tx)
        claimed = claim.value()  # the first flight ends here
        if claimed == Known(same=True):
            tx.abandon()
            return Result(Outcome.DUPLICATE, payment_id=subject)
        facts = Facts(cause, rules, loading.payment.value(), loading.attempt.value(), answer)
        now = clock.value()
        if isinstance(claimed, Known):
            return apply(tx, refuse_conflict(facts, now), cause, now, subject=subject, claimed=False)
        if subject is not None or not isinstance(message, PaymentCommand):  # an id that is none will never come
            _wait(route, facts, now)
        decision = route.decide(facts, message, now)
        return apply(tx, decision, cause, now, subject=subject, claimed=isinstance(claimed, New))


def _wait(route: Route, facts: Facts, now: datetime) -> None:
    """Let a message that has overtaken its payment come again, as long as it is young enough."""
    left = facts.rules.not_yet_for - (now - facts.cause.sent_at)
    if route.waits and facts.payment is None and left > timedelta(0):
        raise NotYet(left)
