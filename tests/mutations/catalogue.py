"""The ways to break the code that must not go unnoticed, and the tests that notice them.

Each is one guarantee taken away by a small edit, as a careless change might do it. Where a second guard would hide
the first, both are taken away, and that is said.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement; the old text stands in the file exactly so many times."""

    path: str
    old: str
    new: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Mutation:
    """One guarantee taken away.

    Attributes:
        name: how it is called.
        harm: what would happen in production.
        edits: what is changed.
        proofs: the tests of which at least one must fail.
    """

    name: str
    harm: str
    edits: tuple[Edit, ...]
    proofs: tuple[str, ...]


CATALOGUE = (
    Mutation(
        "remove-the-inbox-claim",
        "a message that comes twice has its effect twice",
        (
            Edit(
                "handlers/process.py",
                "claimed = claim.value()  # the first flight ends here",
                "claim.value()\n        claimed = New()",
            ),
        ),
        ("tests/handlers/test_process.py", "tests/workers/hazards/test_races.py"),
    ),
    Mutation(
        "acknowledge-before-the-commit",
        "a crash, or a database that is away, loses the message",
        (
            Edit(
                "workers/broker.py",
                "            broker.holding.begin(message)\n",
                "            broker.holding.begin(message)\n            broker._settler.delete(message)\n",
            ),
        ),
        ("tests/workers/hazards/test_broker.py",),
    ),
    Mutation(
        "mark-the-outbox-before-sending",
        "an event that the bus does not take is never announced",
        (
            Edit(
                "workers/relay.py",
                "            self._settle(destination, self._senders[Destination(destination)](chunk))\n",
                '            outbox.mark_published(self._pool, {row.outbox_id: "early" for row in chunk})\n'
                "            self._settle(destination, self._senders[Destination(destination)](chunk))\n",
            ),
        ),
        ("tests/workers/hazards/test_relay.py",),
    ),
    Mutation(
        "drop-the-lease-renewal",
        "every slow message is handled by several workers at once",
        (Edit("workers/leases.py", "in sources.items():", "in ():"),),
        ("tests/workers/hazards/test_leases.py",),
    ),
    Mutation(
        "skip-the-row-lock",
        "two decisions about one payment are made on the same state, and one of them ends in a fault",
        (Edit("store/payments.py", "FOR UPDATE\n", "\n", times=2), Edit("store/payments.py", " FOR UPDATE", "")),
        ("tests/workers/hazards/test_races.py",),
    ),
    Mutation(
        "forget-a-failed-entry-of-a-delete",
        "a handled message comes back, and its receives are counted on",
        (Edit("workers/settling.py", "if fate is None:", "if fate is None or not fate.get('SenderFault'):"),),
        ("tests/workers/hazards/test_broker.py",),
    ),
    Mutation(
        "forget-a-failed-entry-of-the-bus",
        "an event that was not taken counts as announced",
        (Edit("workers/relay.py", 'if "EventId" in entry:', "if entry.setdefault('EventId', 'none'):"),),
        ("tests/workers/hazards/test_relay.py",),
    ),
    Mutation(
        "swallow-a-transient-error-as-a-refusal",
        "an outage of the database turns work down that should be paid",
        (
            Edit(
                "workers/consume.py",
                'return _End(Outcome.RETRY, f"transient_{trouble.reason}", cause=cause, kind=kind)',
                'return _End(Outcome.REFUSED, f"transient_{trouble.reason}", cause=cause, kind=kind)',
            ),
        ),
        ("tests/workers/hazards/test_consume.py", "tests/workers/hazards/test_consume_trouble.py"),
    ),
    Mutation(
        "derive-the-provider-key-at-random",
        "a payout that is submitted again is a second payout (the look-up before it would hide that: removed too)",
        (
            Edit(
                "workers/payouts.py",
                "idempotency_key=attempt.idempotency_key,",
                'idempotency_key=__import__("uuid").uuid4().hex,',
            ),
            Edit("workers/payouts.py", "found = provider.look_up(order)", "found: LookUp = NotFound()"),
        ),
        ("tests/workers/test_payouts.py", "tests/workers/hazards/test_consume.py"),
    ),
    Mutation(
        "derive-the-stored-provider-key-at-random",
        "after a restore from a backup the same payout has another key",
        (
            Edit(
                "handlers/decisions/process_payment.py",
                "idempotency_key=ids.provider_key(payment.payment_id, attempt_no),",
                'idempotency_key=__import__("uuid").uuid4().hex,',
            ),
        ),
        ("tests/handlers/decisions", "tests/handlers/test_process.py"),
    ),
)
