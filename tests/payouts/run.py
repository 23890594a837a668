"""One run: payments are paid by a fleet that is killed throughout, at a provider that fails in every way it can."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from contracts.ids import as_uuid
from contracts.provider_money import our_amount
from tests.drills.ground import PROJECT, Ground, Process, ground, say
from tests.payouts.bank import KEY, Bank
from tests.payouts.jobs import CLOSED, Jobs, sums
from workers import settings
from workers.connections import opened_pool
from workers.local import aws
from workers.sandbox.plan import Fault

#: The processes of the fleet.
FLEET = ("worker", "worker", "worker", "relay", "relay")
#: How often one of them is killed, and how often the provider itself, in seconds.
KILL_EVERY_S = (2.0, 5.0)
BANK_KILL_EVERY_S = 45.0
#: Of how many transfers a part comes back, and how many vendors' banks are paid, at the end.
REVERSALS = 60
SETTLED = 12
#: What differs from the fast profile: a key's window and its grace, timeouts and pauses that a run can wait for.
PROFILE: Mapping[str, str] = {
    "PAYMENTS_PROVIDER": "stripe",
    "PAYMENTS_PROVIDER_LOOK_UP_S": "1",
    "PAYMENTS_PROVIDER_SUBMIT_S": "2",
    "PAYMENTS_SUBMIT_WINDOW_S": "40",
    "PAYMENTS_SUBMIT_GRACE_S": "60",
    "PAYMENTS_CHECK_AFTER_S": "2,4,8",
    "PAYMENTS_SWEEP_EVERY_S": "1",
    "PAYMENTS_SWEEP_AGAIN_S": "20",
    "PAYMENTS_STUCK_AFTER_S": "20",
    "PAYMENTS_VISIBILITY_S": "8",
    "PAYMENTS_LEASE_RENEW_S": "3",
    "PAYMENTS_RELAY_LEASE_S": "8",
    "PAYMENTS_RELAY_BACKOFF_MAX_S": "4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked for."""

    seed: int
    payments: int
    share: float
    home: Path
    patience: timedelta


@dataclass
class Outcome:
    """What came of it; a finding is a promise that was broken."""

    options: Options
    findings: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    figures: dict[str, Any] = field(default_factory=dict)

    def expect(self, holds: bool, text: str) -> None:  # noqa: FBT001 - reads as a sentence
        """Note what does not hold."""
        if not holds:
            self.findings.append(text)


def run(options: Options) -> Outcome:
    """Hold a run; return what came of it."""
    outcome = Outcome(options)
    with _ready(options) as (found, bank, jobs):
        with opened_pool(settings.load(found.running.environment()), "jobs", size_max=6) as pool:
            jobs.register(pool)
            began = time.monotonic()
            with _troubled(found, bank, options, outcome):
                jobs.create(pool, options.payments, bad=max(CLOSED, options.payments // 100))
                say(f"payouts: {len(jobs.good)} good and {len(jobs.bad)} bad payments approved")
                _paid(found, jobs, outcome, "under fire", share=0.98)
            outcome.faults = bank.control("GET", "state")["plan"]["struck"]
            bank.control("PUT", "plan", {"seed": 0, "rates": {}})
            _paid(found, jobs, outcome, "after the fire", share=1.0)
            outcome.figures["seconds"] = round(time.monotonic() - began)
            _money_comes_back(found, bank, outcome)
        _judge(found, bank, jobs, outcome)
    return outcome


@contextmanager
def _ready(options: Options) -> Iterator[tuple[Ground, Bank, Jobs]]:
    """A stack without a fleet, with the provider, its key in Secrets Manager, and its closed accounts."""
    with ground(options.home, **PROFILE) as found:
        bank = Bank(found.running, options.home, options.seed)
        found.stack.callback(bank.stop)
        bank.start()
        secrets: Any = aws.session(found.running.aws_endpoint_url).client("secretsmanager")
        arn = secrets.create_secret(Name=f"stripe-{options.seed}", SecretString=json.dumps({"key": KEY}))["ARN"]
        found.overrides |= {"PAYMENTS_PROVIDER_URL": bank.url, "PAYMENTS_STRIPE_SECRET_ARN": arn}
        jobs = Jobs(options.seed)
        for account in jobs.closed:
            bank.control("PUT", f"accounts/{account}", {"state": "closed"})
        yield found, bank, jobs


@contextmanager
def _troubled(found: Ground, bank: Bank, options: Options, outcome: Outcome) -> Iterator[None]:
    """The fleet at work, each of its processes killed and started again, and a provider that fails."""
    rate = options.share / len(Fault)
    plan = {"seed": options.seed, "rates": {str(fault): rate for fault in Fault}, "slow_s": [0.1, 0.8]}
    bank.control("PUT", "plan", plan)
    fleet = [found.start(role) for role in FLEET]
    over = threading.Event()
    killer = threading.Thread(target=_kill, args=(found, fleet, bank, plan, options.seed, outcome, over), name="killer")
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()


def _kill(
    found: Ground,
    fleet: list[Process],
    bank: Bank,
    plan: dict[str, Any],
    seed: int,
    outcome: Outcome,
    over: threading.Event,
) -> None:
    chance = random.Random(f"{seed} kills")  # noqa: S311 - chooses whom
    bank_at = time.monotonic() + BANK_KILL_EVERY_S
    while not over.wait(chance.uniform(*KILL_EVERY_S)):
        number = chance.randrange(len(FLEET))
        fleet[number].kill()
        fleet[number] = found.start(FLEET[number])
        outcome.kills[FLEET[number]] += 1
        if time.monotonic() > bank_at:
            _restart(bank, plan, chance.randrange(1 << 30), outcome)
            bank_at = time.monotonic() + BANK_KILL_EVERY_S


def _restart(bank: Bank, plan: dict[str, Any], seed: int, outcome: Outcome) -> None:
    """Kill the provider; its books come back with it, its plan has to be set anew and goes on counting."""
    for fault, count in bank.control("GET", "state")["plan"]["struck"].items():
        outcome.figures.setdefault("faults before", Counter())[fault] += count
    bank.kill()
    bank.start()
    bank.control("PUT", "plan", {**plan, "seed": seed})
    outcome.kills["provider"] += 1


_OVER = "SELECT count(*) AS n FROM payments WHERE status IN ('completed', 'failed')"
_OPEN = """
SELECT (SELECT count(*) FROM payout_attempts WHERE state = 'unknown') AS unknown,
       (SELECT count(*) FROM payments WHERE status = 'approved') AS approved,
       (SELECT count(*) FROM payments WHERE status = 'processing') AS processing
"""


def _paid(found: Ground, jobs: Jobs, outcome: Outcome, when: str, *, share: float) -> None:
    """Wait until this share of the payments is over."""
    wanted = (len(jobs.good) + len(jobs.bad)) * share
    deadline = time.monotonic() + outcome.options.patience.total_seconds()
    told = time.monotonic()
    while (over := found.query(_OVER)[0]["n"]) < wanted:
        if time.monotonic() > deadline:
            outcome.findings.append(f"{when}: {over} of {wanted:.0f} payments are over: {found.query(_OPEN)[0]}")
            return
        if time.monotonic() - told > 10:
            told = time.monotonic()
            say(f"payouts: {over} over, {found.query(_OPEN)[0]}, {sum(outcome.kills.values())} kills")
        time.sleep(0.5)


def _money_comes_back(found: Ground, bank: Bank, outcome: Outcome) -> None:
    """Reverse parts of some transfers, pay some vendors' banks and let that fail: events tell of it, in any order."""
    chance = random.Random(f"{outcome.options.seed} back")  # noqa: S311 - chooses which
    transfers = sorted(bank.transfers(), key=lambda transfer: str(transfer["id"]))
    reversed_ = chance.sample(transfers, min(REVERSALS, len(transfers)))
    for transfer in reversed_:
        for _ in range(chance.choice((1, 2))):
            bank.ask("POST", f"transfers/{transfer['id']}/reversals", amount=transfer["amount"] // 400 * 100)
    accounts = sorted({transfer["destination"] for transfer in transfers})[:SETTLED]
    for number, account in enumerate(accounts):
        for payout in bank.control("POST", "payouts", {"account": account})["data"]:
            bank.control("POST", f"payouts/{payout['id']}", {"status": "paid"})
            if number % 2:
                failed = {"status": "failed", "failure_code": "account_closed"}
                bank.control("POST", f"payouts/{payout['id']}", failed)
    wanted = {account: "failed" if number % 2 else "paid" for number, account in enumerate(accounts)}
    _recorded(found, outcome, {transfer["id"] for transfer in reversed_}, wanted)


_REVERSED = """
SELECT provider_object_id AS id, amount_reversed_cents AS cents FROM payments JOIN payout_attempts USING (payment_id)
WHERE state = 'succeeded' AND amount_reversed_cents > 0
"""
_SETTLED = """
SELECT destination, settlement_status AS status, count(*) AS n FROM payments JOIN payout_attempts USING (payment_id)
WHERE state = 'succeeded' AND settlement_status <> 'none' GROUP BY 1, 2
"""


def _recorded(found: Ground, outcome: Outcome, reversed_: set[str], settled: Mapping[str, str]) -> None:
    """Wait until every reversal and settlement is in our books, each vendor's all alike."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        known = {row["id"] for row in found.query(_REVERSED)}
        stands = {(row["destination"], row["status"]) for row in found.query(_SETTLED)}
        if known == reversed_ and stands == set(settled.items()):
            outcome.figures["reversals"] = len(known)
            outcome.figures["vendors settled"] = len(stands)
            return
        time.sleep(0.5)
    outcome.findings.append(f"reversals {len(known)} of {len(reversed_)}, settlements {sorted(stands)}")


# -- the verdict

_PAYMENTS = """
SELECT payment_id, status, amount_cents, currency, provider_object_id, attempts, open FROM payments
LEFT JOIN LATERAL (
    SELECT max(provider_object_id) FILTER (WHERE state = 'succeeded') AS provider_object_id, count(*) AS attempts,
           count(*) FILTER (WHERE state IN ('ready', 'unknown')) AS open
    FROM payout_attempts WHERE payment_id = payments.payment_id
) AS tries ON true
"""


def _judge(found: Ground, bank: Bank, jobs: Jobs, outcome: Outcome) -> None:
    rows = {row["payment_id"]: row for row in found.query(_PAYMENTS)}
    transfers: dict[UUID | None, list[dict[str, Any]]] = {}
    for transfer in bank.transfers():
        transfers.setdefault(as_uuid(transfer["transfer_group"]), []).append(transfer)
    _judge_money(jobs, transfers, outcome)
    _judge_books(jobs, rows, transfers, outcome)
    _judge_rest(found, outcome)
    attempts = Counter(row["attempts"] for row in rows.values())
    outcome.figures["payments by attempts"] = dict(sorted(attempts.items()))


def _judge_money(jobs: Jobs, transfers: Mapping[UUID | None, list[dict[str, Any]]], outcome: Outcome) -> None:
    made = [transfer for found in transfers.values() for transfer in found]
    outcome.figures["transfers"] = len(made)
    outcome.expect(len(made) == len(jobs.good), f"{len(made)} transfers for {len(jobs.good)} payments")
    doubled = [str(payment_id) for payment_id, found in transfers.items() if len(found) > 1]
    outcome.expect(not doubled, f"paid twice: {doubled[:5]}")
    outcome.expect(not set(transfers) - set(jobs.good), "money moved that no good payment asked for")
    moved = []
    for payment_id, (amount, currency, account) in jobs.good.items():
        for transfer in transfers.get(payment_id, []):
            money = our_amount(transfer["amount"], transfer["currency"])
            moved.append((money.amount_cents, money.currency))
            as_asked = (money.amount_cents, money.currency, transfer["destination"]) == (amount, currency, account)
            outcome.expect(as_asked, f"{payment_id}: moved as nobody asked")
    asked = sums([(amount, currency) for amount, currency, _ in jobs.good.values()])
    outcome.figures["asked for"], outcome.figures["moved"] = asked, sums(moved)
    outcome.expect(asked == sums(moved), f"sums differ: {asked} and {sums(moved)}")


def _judge_books(
    jobs: Jobs,
    rows: Mapping[UUID, dict[str, Any]],
    transfers: Mapping[UUID | None, list[dict[str, Any]]],
    outcome: Outcome,
) -> None:
    outcome.expect(set(rows) == set(jobs.good) | jobs.bad, "payments are missing or too many")
    unpaid = [payment_id for payment_id in jobs.good if rows[payment_id]["status"] != "completed"]
    outcome.expect(not unpaid, f"{len(unpaid)} not completed, such as {unpaid[:3]}")
    unfailed = [payment_id for payment_id in jobs.bad if rows[payment_id]["status"] != "failed"]
    outcome.expect(not unfailed, f"{len(unfailed)} of closed accounts not failed, such as {unfailed[:3]}")
    still_open = [payment_id for payment_id, row in rows.items() if row["open"]]
    outcome.expect(not still_open, f"{len(still_open)} attempts are still open")
    for payment_id in jobs.good:
        known = [transfer["id"] for transfer in transfers.get(payment_id, [])]
        outcome.expect(known == [rows[payment_id]["provider_object_id"]], f"{payment_id}: recorded another transfer")
    outcome.figures["statuses"] = dict(Counter(row["status"] for row in rows.values()))


def _judge_rest(found: Ground, outcome: Outcome) -> None:
    letters = {name: found.left_in(name) for name in found.running.queues if name.endswith("_dlq")}
    outcome.figures["dead letters"] = letters
    outcome.expect(not any(letters.values()), f"dead letters: {letters}")
    failures = found.query("SELECT queue, kind, outcome, reason, detail, attempts FROM message_failures")
    faults = [row for row in failures if row["outcome"] != "retry"]
    outcome.expect(not faults, f"faults: {faults[:3]}")
    report = _command(found, "reconcile", "--report", "--json")
    outcome.figures["report"] = json.loads(report.stdout) if report.stdout else report.stderr
    outcome.expect(report.returncode == 0, f"payments reconcile --report: {report.stdout}{report.stderr}"[:2_000])
    audit = _command(found, "audit", "verify")
    outcome.expect(audit.returncode == 0, f"payments audit verify: {audit.stdout}{audit.stderr}"[:500])
    spent = found.query("SELECT consumer, outcome, count(*) AS n FROM message_inbox GROUP BY 1, 2 ORDER BY 1, 2")
    outcome.figures["inbox"] = {f"{row['consumer']} {row['outcome']}": row["n"] for row in spent}
    receives = [count for key, count in found.receives().items() if key.startswith("payments-payouts")]
    outcome.figures["receives of a payout message, most"] = max(receives, default=0)


def _command(found: Ground, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.defpath, **found.running.environment(), **found.overrides}
    return subprocess.run(
        [sys.executable, "-m", "workers.cli", *words],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
