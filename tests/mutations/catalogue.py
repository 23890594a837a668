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
                "        if len(requests) == 1:\n",
                "        early = {row.outbox_id: 'early' for _, chunk in requests for row in chunk}\n"
                "        outbox.mark_published(self._pool, early)\n"
                "        if len(requests) == 1:\n",
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
            Edit("workers/payouts.py", "answer = self.provider.look_up(order)", "answer: Any = NotFound()"),
        ),
        ("tests/workers/test_payouts.py", "tests/workers/hazards/test_consume.py"),
    ),
    Mutation(
        "submit-without-a-look-up",
        "a payout that the provider has, but whose key it has forgotten, is paid a second time",
        (Edit("workers/payouts.py", "answer = self.provider.look_up(order)", "answer: Any = NotFound()"),),
        ("tests/workers/test_payouts.py", "tests/workers/hazards/test_payouts_once.py"),
    ),
    Mutation(
        "submit-after-the-keys-window",
        "a provider that has forgotten the key pays a second time",
        (
            Edit(
                "workers/payouts.py",
                "if found.at >= found.attempt.submit_before:",
                "if found.at >= found.attempt.submit_before + self.grace * 1000:",
            ),
        ),
        ("tests/workers/test_payouts.py",),
    ),
    Mutation(
        "give-up-before-the-grace-is-over",
        "a submission that was under way is paid beside the next attempt",
        (
            Edit(
                "workers/payouts.py",
                "if found.at >= found.attempt.submit_before + self.grace:",
                "if found.at >= found.attempt.submit_before:",
            ),
        ),
        ("tests/workers/test_payouts.py",),
    ),
    Mutation(
        "submit-after-a-freeze",
        "a process that slept submits what others have given up meanwhile",
        (Edit("workers/payouts.py", "found.read_at.age_s > SUBMIT_WITHIN_S", "found.read_at.age_s < 0"),),
        ("tests/workers/test_payouts.py",),
    ),
    Mutation(
        "receive-payouts-while-the-provider-is-away",
        "an outage of the provider uses up the receives of every payout",
        (
            Edit(
                "workers/broker.py",
                "payout_gate if payout_gate and queue is Queue.PAYOUTS else everywhere",
                "everywhere",
            ),
        ),
        ("tests/workers/hazards/test_provider_outage.py",),
    ),
    Mutation(
        "post-what-is-due-with-every-sweep",
        "each relay posts each order again every half minute",
        (
            Edit(
                "store/sweep.py",
                "DO UPDATE SET posted_at = excluded.posted_at\n    WHERE",
                "DO UPDATE SET posted_at = excluded.posted_at\n    WHERE true OR",
            ),
            Edit(
                "store/sweep.py",
                "NOT EXISTS (\n    SELECT FROM swept",
                "NOT EXISTS (\n    SELECT FROM swept JOIN payments ON false",
            ),
        ),
        ("tests/store/test_sweep.py",),
    ),
    Mutation(
        "pay-before-the-cool-down-has-ended",
        "whoever takes over a vendor's account is paid at once",
        (
            Edit(
                "store/sweep.py",
                "payment.hold_until, account.held_until) AS due_at",
                "payment.hold_until) AS due_at",
            ),
        ),
        ("tests/store/test_sweep.py",),
    ),
    Mutation(
        "count-no-refusals",
        "a payment that was refused once is a duplicate for ever, and never paid",
        (
            Edit(
                "store/vendor_accounts.py",
                "SELECT count(*) FROM message_inbox",
                "SELECT 0 * count(*) FROM message_inbox",
            ),
        ),
        ("tests/store/test_sweep.py",),
    ),
    Mutation(
        "believe-any-settlement",
        "a payout of somebody else's account counts as ours",
        (Edit("workers/payouts.py", "if self.provider.account(destination) == account", "if destination"),),
        ("tests/workers/test_payouts.py",),
    ),
    Mutation(
        "log-a-producers-id-as-it-came",
        "whatever a producer calls a message stands in the log, somebody's name too",
        (Edit("workers/consume.py", "as_id(end.cause.message_key)", "end.cause.message_key"),),
        ("tests/workers/test_canary.py",),
    ),
    Mutation(
        "log-the-text-of-a-fault",
        "an exception quotes the message that it failed over, in the log and to every operator",
        (
            Edit(
                "workers/consume.py",
                'self._log.error("fault", error=type(error).__name__,',
                'self._log.error("fault", error=str(error),',
            ),
        ),
        ("tests/workers/test_canary.py",),
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
