"""Two hundred commands at once on one payment, again and again: one legal history, and every answer the right one.

Eight workers, each with a database connection of its own, are let loose at one moment. What each command must come to
is told by a model of the test's own, from the payment as it was at the version that the answer names.
CONTENTION_SEED=N mixes the same commands again; how they meet is up to the threads. CONTENTION_RUNS=N is how many
payments it takes: ten are each temper in each house once, and `make contention` takes fifty.
"""

import os
import random
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.chain import verify
from contracts.envelope import Queue
from contracts.inbound import Parsed
from contracts.lifecycle import Event, Status, Verdict, next_status
from contracts.outcome import Outcome
from contracts.payment import Role
from handlers.apply import Result
from handlers.process import process
from store import chains, db
from store.db import Pool, PoolOptions, Transient
from tests.contention.model import APPLIED, IGNORED, Command, Person, State, Terms, action_of, verdict
from tests.kit import messages as m
from tests.kit.funnel import RULES, fresh, once, rows
from tests.kit.proofs import member, proof_of

pytestmark = pytest.mark.long

RUNS, COMMANDS, WORKERS, REPEATS = int(os.environ.get("CONTENTION_RUNS", "10")), 200, 8, 10
#: Short, so that a wait for the row's lock is given up now and then, as it would be under a far greater load.
LOCK_S = 0.02
TRIES_MAX = 2_000
AMOUNT = 15_000
#: The kinds by how often each is wanted; `order` is the service's own. Some payments end soon, others live longer.
KINDS = ("ApprovePayment", "HoldPayment", "ReleaseHold", "ProcessPayment", "order", "RejectPayment", "CancelPayment")
TEMPERS = (
    (30, 12, 22, 14, 4, 4, 4),
    (8, 40, 40, 1, 1, 0, 1),
    (30, 25, 30, 2, 0, 1, 0),
    (2, 30, 30, 20, 5, 1, 1),
    (20, 6, 2, 4, 1, 0, 0),  # here holds mostly end by themselves
)
#: About how long a command takes in the rush, so that a hold may end while it lasts.
COMMAND_MS = 2.5
#: Who takes part, how often, and how they stand to the payment.
PEOPLE: Mapping[str, tuple[int, Person]] = {
    "first": (5, Person("dispatcher")),
    "second": (5, Person("dispatcher")),
    "third": (5, Person("dispatcher")),
    "admin": (5, Person("admin")),
    "creator": (2, Person("admin", creator=True)),
    "insider": (2, Person("dispatcher", gains=True)),  # dispatches, and acts for the vendor
    "owner": (1, Person("dispatcher", gains=True)),  # is the vendor
    "outsider": (2, Person("dispatcher", ours=False)),
    "vendor": (1, Person("vendor", gains=True)),
    "suspended": (1, Person(None)),
    "nobody": (1, Person(None)),
    "narrowed": (1, Person(None)),  # an admin whose token names another group
    "service": (0, Person(None, service=True)),
}


@dataclass(frozen=True, slots=True)
class House:
    """A company with its people; its policy says what its payments take."""

    terms: Terms
    company: UUID = field(default_factory=uuid4)
    people: dict[str, UUID] = field(default_factory=lambda: {name: uuid4() for name in PEOPLE})

    @property
    def vendor(self) -> UUID:
        """Whom its payments are for."""
        return self.people["owner"]

    def actor(self, name: str) -> dict[str, Any]:
        """What a person says of themselves; their token names the group of the role that they say."""
        if name == "service":
            return {"id": str(self.people[name]), "type": "system"}
        role = "admin" if name in {"admin", "creator"} else "vendor" if name == "vendor" else "dispatcher"
        return {"id": str(self.people[name]), "type": "user", "role": role}

    def furnish(self, pool: Pool) -> None:
        """Enrol everybody, and set the policy."""
        for name in ("first", "second", "third", "owner"):
            member(pool, self.people[name], Role.DISPATCHER, company=self.company)
        for name in ("admin", "creator", "narrowed"):
            member(pool, self.people[name], Role.ADMIN)
        member(pool, self.people["insider"], Role.DISPATCHER, company=self.company, vendor=self.vendor)
        member(pool, self.people["outsider"], Role.DISPATCHER)
        member(pool, self.people["vendor"], Role.VENDOR, vendor=self.vendor)
        member(pool, self.people["suspended"], Role.DISPATCHER, company=self.company, enabled=False)
        if self.terms.separate_releaser:
            tiers = [{"currency": "USD", "approvers": self.terms.approvers}]
            wanted = {"companyId": str(self.company), "tiers": tiers, "separateReleaser": True}
            self._by_creator(pool, "SetApprovalPolicy", **wanted)

    def payment(self, pool: Pool) -> UUID:
        """A fresh payment of the house."""
        line = {"description": "Tow", "quantity": 1, "unitPriceCents": AMOUNT}
        result = self._by_creator(
            pool,
            "CreatePayment",
            incidentId=str(uuid4()),
            vendorId=str(self.vendor),
            companyId=str(self.company),
            payerType="back_office",
            amountCents=AMOUNT,
            lineItems=[line],
        )
        assert result.payment_id
        return result.payment_id

    def _by_creator(self, pool: Pool, kind: str, **fields: Any) -> Result:
        body = m.command(kind, commandId=str(uuid4()), actor=self.actor("creator"), **fields)
        result = once(pool, fresh(m.parsed(body)), rules=RULES)
        assert result.outcome is Outcome.APPLIED, result
        return result


# ---- what is wanted --------------------------------------------------------------------------------------------------


def wanted(mix: random.Random, temper: Sequence[int], start: datetime) -> Command:
    """A command of somebody, most often a right one."""
    [kind] = mix.choices(KINDS, temper)
    [person] = mix.choices(list(PEOPLE), [share for share, _ in PEOPLE.values()])
    until = mix.choice([None, *[start + timedelta(milliseconds=mix.randrange(10, 120))] * 2])
    return Command(
        key=str(UUID(int=mix.getrandbits(128), version=4)),
        kind="ProcessPayment" if kind == "order" else kind,
        person="service" if kind == "order" else person,
        well_formed=mix.random() > 0.03,
        same_money=mix.random() > 0.07,
        expected_version=mix.choice([None] * 9 + [mix.randrange(1, 12)]),
        until=until if kind == "HoldPayment" else None,
    )


def parsed(mix: random.Random, house: House, payment_id: UUID, command: Command) -> Parsed:
    """The command as the worker hands it on."""
    fields: dict[str, Any] = {"paymentId": str(payment_id), "amountCents": AMOUNT, "currency": "USD"}
    if command.kind not in {"ApprovePayment", "ProcessPayment"}:
        fields["reason"] = "so it is"
    if not command.same_money:
        fields |= mix.choice([{"amountCents": AMOUNT + 1}, {"currency": "EUR"}])
    if not command.well_formed:
        fields |= mix.choice([{"amountCents": ...}, {"currency": ...}])
    if command.until is not None:
        fields["until"] = command.until.isoformat()
    if command.expected_version is not None:
        fields["expectedVersion"] = command.expected_version
    actor = house.actor(command.person)
    body = m.command(command.kind, commandId=command.key, actor=actor, **fields)
    return fresh(m.parsed(body, queue=Queue.PAYOUTS if command.person == "service" else Queue.COMMANDS))


# ---- the rush --------------------------------------------------------------------------------------------------------


@dataclass
class Ends:
    """How the deliveries of one run ended, by command; what did not end is a finding."""

    results: dict[str, list[Result]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    retried: int = 0


def handled(pool: Pool, parsed: Parsed, ends: Ends, lock: threading.Lock) -> None:
    """Process one delivery as a worker would: what is only not possible now comes again."""
    for _ in range(TRIES_MAX):
        try:
            result = process(pool, parsed, RULES, proof_of(parsed))
        except Transient:
            with lock:
                ends.retried += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, a worker would call it a fault
            with lock:
                ends.findings.append(f"{parsed.cause.kind} {parsed.cause.message_key} is a fault: {error!r}")
            return
        else:
            with lock:
                ends.results.setdefault(parsed.cause.message_key, []).append(result)
            return
    with lock:
        ends.findings.append(f"{parsed.cause.message_key} is left over")


def rush(pools: Sequence[Pool], deliveries: Sequence[Parsed]) -> Ends:
    """Let every worker handle its share, all from the same moment on."""
    ends, lock, barrier = Ends(), threading.Lock(), threading.Barrier(len(pools))

    def work(number: int) -> None:
        barrier.wait(30)
        for delivery in deliveries[number :: len(pools)]:
            handled(pools[number], delivery, ends, lock)

    with ThreadPoolExecutor(len(pools)) as threads:
        list(threads.map(work, range(len(pools))))
    return ends


# ---- what came of it -------------------------------------------------------------------------------------------------


def _named(inbox_key: str) -> str:
    """The id that a command named: the service's own, and what is nobody's, have keys apart."""
    return inbox_key.removeprefix("own:").removeprefix("turned-away:sqs-")


class Judge:
    """Looks at one payment after its rush."""

    def __init__(self, pool: Pool, house: House, payment_id: UUID, commands: Sequence[Command]) -> None:
        self._house = house
        self._commands = {command.key: command for command in commands}
        self.findings: list[str] = []
        with chains.snapshot(pool, payment_id) as found:
            [self._chain] = list(found)
        of_payment = "SELECT consumer, message_key, outcome, outcome_code FROM message_inbox WHERE payment_id = %s"
        self._inbox = {_named(row["message_key"]): row for row in rows(pool, of_payment, payment_id)}
        told = "SELECT payload FROM outbox WHERE aggregate_id = %s AND detail_type = 'PaymentCommandRejected'"
        self._told = {row["payload"]["commandId"]: row["payload"] for row in rows(pool, told, payment_id)}
        self._told_times = len(rows(pool, told, payment_id))
        self._states: list[State] = []

    def judge(self, ends: Ends) -> Counter[str]:
        """Write down whatever is wrong; count how the commands ended."""
        self.findings += ends.findings
        self._judge_history()
        counted: Counter[str] = Counter()
        for key, command in self._commands.items():
            found = [result for result in ends.results.get(key, []) if result.outcome is not Outcome.DUPLICATE]
            if len(found) != 1:
                self.findings.append(f"{command} has {len(found)} ends")
                continue
            counted[found[0].code or found[0].outcome] += 1
            self._judge_end(command, found[0])
        self._judge_numbers(counted)
        return counted

    def _judge_history(self) -> None:
        """One legal history: the chain holds, no version is missing, the lifecycle and the model allow every step."""
        assert self._chain.payment
        if breach := verify(self._chain):
            self.findings.append(f"the chain is broken at {breach.seq}: {breach.what}")
        self._states = [State()]
        if [link.seq for link in self._chain.links] != list(range(1, self._chain.payment.version + 1)):
            self.findings.append("the versions have a gap")
        for link in self._chain.links[1:]:
            self._judge_step(link)
        if self._states[-1].status != self._chain.payment.status:
            self.findings.append(f"the payment is {self._chain.payment.status}, its history ends {self._states[-1]}")

    def _judge_step(self, link: Any) -> None:
        before, command = self._states[-1], self._commands[link.message_key]
        allowed = next_status(Status(before.status), Event(link.action))
        stays = allowed is Verdict.RECORD and link.new_status == before.status
        if not (stays or allowed == Status(link.new_status)):
            self.findings.append(f"{link.action} is no step from {before}")
        if link.action != action_of(command, before, self._house.terms):
            self.findings.append(f"{link.action} is not what {command} does to {before}")
        if (right := self._verdict(command, before, link.at)) != APPLIED:
            self.findings.append(f"{command} was applied to {before}, it is {right}")
        self._states.append(before.after(link.action, command))

    def _verdict(self, command: Command, state: State, now: datetime) -> str:
        return verdict(command, PEOPLE[command.person][1], self._house.terms, state, now)

    def _judge_end(self, command: Command, result: Result) -> None:
        row = self._inbox.get(command.key, {})
        if (row.get("consumer"), row.get("outcome")) != (command.kind, result.outcome):
            self.findings.append(f"{command} ended as {result.outcome}, the inbox says {row}")
        if result.outcome is Outcome.REFUSED:
            self._judge_refusal(command, result, row)
        elif result.outcome is Outcome.IGNORED:
            self._judge_absorption(command, result)

    def _judge_refusal(self, command: Command, result: Result, row: Mapping[str, Any]) -> None:
        told = self._told.get(command.key)
        if told is None or not told["code"] == row["outcome_code"] == result.code:
            self.findings.append(f"{command} ended as {result.code}, was told {told}, the inbox says {row}")
            return
        if PEOPLE[command.person][1] == Person(None):  # nobody, who learns nothing of the payment
            if (told["code"], told["currentStatus"]) != ("forbidden_role", None):
                self.findings.append(f"{command} was told {told}, and is nobody's")
            return
        state = self._states[told["currentVersion"] - 1]
        right = self._verdict(command, state, datetime.fromisoformat(told["timestamp"]))
        if told["code"] != right or told["currentStatus"] != state.status:
            self.findings.append(f"{command} met {state} and was told {told['code']}, it is {right}")

    def _judge_absorption(self, command: Command, result: Result) -> None:
        """What is ignored names its version to nobody but the worker's log, and no time: since the version began."""
        assert result.version
        state, since = self._states[result.version - 1], self._chain.links[result.version - 1].at
        assert since
        if (right := self._verdict(command, state, since)) != IGNORED:
            self.findings.append(f"{command} met {state} and was ignored, it is {right}")

    def _judge_numbers(self, counted: Counter[str]) -> None:
        applied, refused = counted[Outcome.APPLIED], len(self._told)
        if applied != len(self._chain.links) - 1:
            self.findings.append(f"{applied} were applied, the history has {len(self._chain.links) - 1} steps")
        if sum(counted.values()) != applied + counted[Outcome.IGNORED] + refused or self._told_times != refused:
            self.findings.append(f"{refused} were told of, {self._told_times} times; {counted}")
        if len(self._inbox) != len(self._commands) + 1:
            self.findings.append(f"the inbox has {len(self._inbox)} rows for {len(self._commands)} commands")


# ---- the test --------------------------------------------------------------------------------------------------------


@contextmanager
def pools_of(database_url: str, number: int) -> Iterator[list[Pool]]:
    """A pool of one connection for each worker."""
    options = PoolOptions(size_min=1, size_max=1, wait_s=5, lock_s=LOCK_S)
    with ExitStack() as stack:
        found = [stack.enter_context(db.open_pool(database_url, options)) for _ in range(number)]
        for one in found:
            one.wait(5)
        yield found


@pytest.fixture
def seed() -> str:
    return os.environ.get("CONTENTION_SEED", str(secrets.randbelow(10**9)))


def test_two_hundred_commands_at_once_leave_one_legal_history_and_every_answer_is_the_right_one(
    pool: Pool, database_url: str, seed: str, capsys: pytest.CaptureFixture[str]
):
    houses = [House(Terms(1, separate_releaser=False)), House(Terms(2, separate_releaser=True))]
    for house in houses:
        house.furnish(pool)
    totals, findings, retried, began = Counter[str](), list[str](), 0, time.monotonic()
    with pools_of(database_url, WORKERS) as pools:
        for number in range(RUNS):
            mix, house = random.Random(f"{seed} {number}"), houses[number % 2]  # noqa: S311 - a mix, no secret
            payment_id, temper = house.payment(pool), TEMPERS[number // 2 % len(TEMPERS)]
            starts = [datetime.now(UTC) + timedelta(milliseconds=COMMAND_MS * place) for place in range(COMMANDS)]
            commands = [wanted(mix, temper, start) for start in starts]
            deliveries = [parsed(mix, house, payment_id, command) for command in commands]
            deliveries += mix.sample(deliveries, REPEATS)
            ends = rush(pools, deliveries)
            judge = Judge(pool, house, payment_id, commands)
            totals += judge.judge(ends)
            retried += ends.retried
            findings += [f"run {number}: {finding}" for finding in judge.findings]
    told = ", ".join(f"{count} {end}" for end, count in totals.most_common())
    with capsys.disabled():
        sys.stdout.write(
            f"\nseed {seed}: {RUNS} payments, {sum(totals.values())} commands in {time.monotonic() - began:.0f} s:"
            f" {told}; {retried} tried again\n"
        )
    assert not findings, "\n".join(findings[:20])
    assert sum(totals.values()) == RUNS * COMMANDS
    assert rows(pool, "SELECT 1 FROM message_failures") == []
