"""ReconcileAttempt: record what the provider has of one attempt; it was looked up before the transaction.

An open attempt is settled by it as by ExecutePayout: what is found is success, what is not found is submitted again
while its key holds, and after that was never executed. Of a closed one it records what has become of the money.
"""

from datetime import datetime

from contracts.inbound import ReconcileAttempt
from handlers.decision import Decision, Facts
from handlers.payouts import answered, no_attempt


def decide(facts: Facts, _message: ReconcileAttempt, now: datetime) -> Decision:
    """Settle an open attempt, or record reversals and settlement of one that has succeeded."""
    if facts.payment is None or facts.attempt is None:
        return no_attempt(facts, now)
    return answered(facts, now, facts.payment, facts.attempt)
