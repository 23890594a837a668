"""ExecutePayout: record what the provider said about one attempt; the asking was done before the transaction."""

from datetime import datetime

from contracts.inbound import ExecutePayout
from handlers.decision import Decision, Facts
from handlers.payouts import answered, no_attempt


def decide(facts: Facts, _message: ExecutePayout, now: datetime) -> Decision:
    """Complete or fail the payment on a definite answer; otherwise record that nobody knows, and look again."""
    if facts.payment is None or facts.attempt is None:
        return no_attempt(facts, now)
    return answered(facts, now, facts.payment, facts.attempt)
