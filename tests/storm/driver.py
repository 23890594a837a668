"""Holds one storm: feeds the queues, lets everything strike that is planned, then calms down and waits for the end."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from tests.kit import books
from tests.storm import schedule
from tests.storm.auditor_model import account_of
from tests.storm.bank import Carrier
from tests.storm.fleet import Fleet, Slot
from tests.storm.schedule import Strike
from tests.storm.servers import Ground
from tests.storm.traffic import Outgoing
from workers.local.logins import user

#: How many messages may be outstanding in the queues, and how many rows in the outbox, before the feeder waits.
OUTSTANDING_MAX, UNSENT_MAX = 1_600, 6_000
_LOOK_EVERY_S = 0.2
_COUNT_EVERY_S = 0.5
_TICK_S = 0.05
PROGRESS_EVERY_S = 10.0
#: How long the calm may take until everything is done: an event that met the provider away three times waits for four
#: minutes (15 times the longest pause of the fast profile, doubled twice), give or take a fifth.
DRAIN_S = 330.0
#: How much of the money comes back, or goes on to banks, as the calm begins.
REVERSED, SETTLED = 10, 10
_BATCH = 10
#: The queues that the fleet receives from.
INBOUND = ("events", "commands", "payouts")

#: What the database still owes; `payouts` counts what the fleet has posted to itself.
COUNTS = """
SELECT (SELECT count(*) FROM payments) AS payments,
    (SELECT count(*) FROM payments WHERE status = 'completed') AS completed,
    (SELECT count(*) FROM outbox WHERE published_at IS NULL AND failed_at IS NULL) AS unsent,
    (SELECT count(*) FROM outbox WHERE destination = 'payouts') AS payouts,
    (SELECT count(*) FROM payments WHERE status = 'processing') AS processing
"""
#: Some of what was paid, and how much of each may come back.
PAID = """
SELECT provider_object_id AS object, vendor_id::text AS vendor,
    CASE WHEN random() < 0.5 THEN payments.amount_cents ELSE 1 + payments.amount_cents / 3 END AS amount
FROM payout_attempts JOIN payments USING (payment_id) WHERE state = 'succeeded' ORDER BY random() LIMIT %s
"""
#: As much of it as can be asked often, whatever the tables hold.
OWED = "SELECT count(*) AS unsent FROM outbox WHERE published_at IS NULL AND failed_at IS NULL"
#: Ends a share of the sessions of some users.
TERMINATE = """
SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity WHERE usename = ANY(%s) AND random() < %s
"""


class StormError(Exception):
    """The storm could not be held; the text says why. Nothing is said about the service then."""


class Feeder(threading.Thread):
    """Posts the traffic directly at the queues, as long as the fleet keeps up."""

    def __init__(self, ground: Ground, traffic: Iterable[Outgoing], messages_max: int) -> None:
        super().__init__(name="feeder", daemon=True)
        self._ground = ground
        self._client = ground.sqs()
        self._traffic = iter(traffic)
        self._messages_max = messages_max
        self.stopping = threading.Event()
        self.sent: Counter[str] = Counter()
        self.queues: Counter[str] = Counter()
        #: What the fleet has posted to itself, and what its outbox still holds, told by the driver.
        self.own = self.unsent = 0
        self.trouble: BaseException | None = None

    def run(self) -> None:
        """Feed until there is enough, or until told to stop."""
        try:
            while not self.stopping.is_set() and self.sent.total() + self.own < self._messages_max:
                room = OUTSTANDING_MAX - self._outstanding() if self.unsent < UNSENT_MAX else 0
                self._post(list(islice(self._traffic, max(0, room))))
                self.stopping.wait(_LOOK_EVERY_S)
        except BaseException as trouble:  # noqa: BLE001 - told by the driver, which ends the storm
            self.trouble = trouble

    def _outstanding(self) -> int:
        depths = (self._ground.depth(self._client, name) for name in INBOUND)
        return sum(sum(depth.values()) for depth in depths)

    def _post(self, messages: list[Outgoing]) -> None:
        by_queue: dict[str, list[Outgoing]] = {}
        for message in messages:
            by_queue.setdefault(message.queue, []).append(message)
            self.sent[message.label] += 1
            self.queues[message.queue] += 1
        for queue, group in by_queue.items():
            for first in range(0, len(group), _BATCH):
                self._send(queue, group[first : first + _BATCH])

    def _send(self, queue: str, messages: list[Outgoing]) -> None:
        entries: list[dict[str, Any]] = []
        for number, message in enumerate(messages):
            entry: dict[str, Any] = {"Id": str(number), "MessageBody": self._ground.people.text(message.body)}
            if message.message_attributes:
                entry["MessageAttributes"] = dict(message.message_attributes)
            entries.append(entry)
        answer = self._client.send_message_batch(QueueUrl=self._ground.running.queues[queue], Entries=entries)
        if answer.get("Failed"):
            raise StormError(f"SQS did not take what the storm sent: {answer['Failed']}")


@dataclass
class Storm:
    """One storm on its ground."""

    ground: Ground
    fleet: Fleet
    feeder: Feeder
    carrier: Carrier
    seed: int
    seconds: float
    faults: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)
    #: What is to be done later: (when, what).
    later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    gusts: list[str] = field(default_factory=list)
    provider_gusts: list[str] = field(default_factory=list)
    #: Whose money has gone on to a bank.
    settled_accounts: list[str] = field(default_factory=list)
    _line: psycopg.Connection[dict[str, Any]] | None = None
    _delays: int = 0
    _told_at: float = 0.0
    _counted_at: float = 0.0

    # -- the storm

    def start_fleet(self) -> None:
        """Start every process and wait until all are ready."""
        self.wait(lambda: all(slot.stage == "up" for slot in self.fleet.slots), 120, "the fleet to start")

    def blow(self) -> None:
        """Feed and strike until the time is over or everything is sent."""
        self.began = time.monotonic()
        strikes = schedule.planned(self.seed, self.seconds)
        self._rates()
        self.feeder.start()
        self.carrier.start()
        while self.elapsed() < self.seconds and self.feeder.is_alive():
            while strikes and strikes[0].at_s <= self.elapsed():
                self.strike(strikes.pop(0))
            self.tick()
        self.feeder.stopping.set()
        self.feeder.join(30)
        for part in (self.feeder, self.carrier):
            if part.trouble:
                raise StormError(f"the {part.name} broke: {part.trouble!r}") from part.trouble

    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def tick(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if now - self._counted_at > _COUNT_EVERY_S:
            self._counted_at = now
            self._count()
        for at, what in [entry for entry in self.later if entry[0] <= now]:
            self.later.remove((at, what))
            what()
        self.fleet.tend()
        if now - self._told_at > PROGRESS_EVERY_S:
            self._told_at = now
            self.progress()
        time.sleep(_TICK_S)

    def wait(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Go on until something is so.

        Raises:
            StormError: it was not so in time.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise StormError(f"waited {seconds:.0f} s in vain for {what}")
            self.tick()

    def strike(self, strike: Strike) -> None:
        """Let one thing happen, if there is somebody whom it can hit."""
        verb, _, whom = strike.kind.partition(" ")
        if whom in {"worker", "relay"}:
            self._hit_process(verb, whom, strike)
        else:
            getattr(self, f"_{strike.kind.replace(' ', '_')}")(strike)

    def _hit_process(self, verb: str, role: str, strike: Strike) -> None:
        found = self.fleet.up(role)
        if not found:
            return
        slot: Slot = found[int(strike.choice * len(found))]
        if verb == "kill":
            self.fleet.kill(slot, strike.measure)
        elif verb == "terminate":
            self.fleet.terminate(slot)
        else:
            self.fleet.freeze(slot, strike.measure)

    def _restart_postgres(self, strike: Strike) -> None:
        self.ground.crash_postgres()
        self.faults["postgres: immediate restart"] += 1
        time.sleep(strike.measure)
        self.ground.start_postgres()

    def _terminate_sessions(self, strike: Strike) -> None:
        found = self.ask(TERMINATE, [[user(role) for role in ("worker", "relay")], strike.measure])
        if found and found[0]["n"]:
            self.faults["postgres: sessions terminated"] += 1

    def _delay_postgres(self, strike: Strike) -> None:
        self._delays += 1
        self.ground.pg_weather.tell(delay_s=strike.measure)
        self.after(2 + 4 * strike.choice, self._end_delay)

    def _end_delay(self) -> None:
        self._delays -= 1
        if not self._delays:
            self.ground.pg_weather.tell(delay_s=0.0)

    def _stall_postgres(self, strike: Strike) -> None:
        self.ground.pg_weather.tell(stall_s=strike.measure)

    def _cut_postgres(self, strike: Strike) -> None:
        self.ground.pg_weather.tell(cut_share=strike.measure)

    def _cut_at_commit(self, strike: Strike) -> None:
        self.ground.pg_weather.tell(cut_at_commit=round(strike.measure))

    def _stall_sqs(self, strike: Strike) -> None:
        self.ground.aws_weather.stall("sqs", strike.measure)

    def _stall_bus(self, strike: Strike) -> None:
        self.ground.aws_weather.stall("bus", strike.measure)

    def _gust(self, strike: Strike) -> None:
        self._blow_for(self.gusts, list(schedule.GUST), strike)

    def _provider_gust(self, strike: Strike) -> None:
        self._blow_for(self.provider_gusts, list(schedule.PROVIDER_GUST), strike)

    def _blow_for(self, gusts: list[str], kinds: list[str], strike: Strike) -> None:
        kind = kinds[int(strike.choice * len(kinds))]

        def end() -> None:
            gusts.remove(kind)
            self._rates()

        gusts.append(kind)
        self._rates()
        self.after(strike.measure, end)

    def _provider_outage(self, strike: Strike) -> None:
        self.ground.bank.outage("reset" if strike.choice < 0.5 else "503")
        self.after(strike.measure, lambda: self.ground.bank.outage("off"))

    def _restart_provider(self, strike: Strike) -> None:
        self.ground.bank.crash(strike.measure)

    def _reverse_transfers(self, strike: Strike) -> None:
        self._reverse(round(strike.measure))

    def _reverse(self, count: int) -> None:
        """Let some money come back, all of it or a part, as a person at the provider does."""
        for row in self.ask(PAID, [count]):
            with suppress(httpx.HTTPError):  # the provider may fail this request too; what was done is in its books
                books.reverse(self.ground.bank.url, row["object"], row["amount"])

    def _settle(self, count: int) -> None:
        """Let the money of some vendors go on to their banks, where it arrives or not."""
        accounts = {account_of(row["vendor"]) for row in self.ask(PAID, [count])} - set(self.settled_accounts)
        for number, account in enumerate(sorted(accounts)):
            self.settled_accounts.append(account)
            with suppress(httpx.HTTPStatusError):  # all of it has come back meanwhile
                books.settle(self.ground.bank.url, account, status="failed" if number % 3 == 0 else "paid")

    def _rates(self) -> None:
        self.ground.aws_weather.rates({**schedule.BASE, **{kind: schedule.GUST[kind] for kind in self.gusts}})
        gusts = {kind: schedule.PROVIDER_GUST[kind] for kind in self.provider_gusts}
        self.ground.bank.trouble({**schedule.PROVIDER_BASE, **gusts})

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something later."""
        self.later.append((time.monotonic() + seconds, what))

    # -- the calm

    def calm(self) -> bool:
        """End every fault, let everybody come back, and wait until all is done; return whether it was in time."""
        self.later.clear()
        self.ground.aws_weather.calm()
        self.ground.pg_weather.calm()
        self.ground.bank.calm()
        self._reverse(REVERSED)
        self._settle(SETTLED)
        self.start_fleet()
        deadline = time.monotonic() + DRAIN_S
        quiet = 0
        while quiet < 3 and time.monotonic() < deadline:
            quiet = quiet + 1 if not any(self.left().values()) else 0
            self._tick_for(1.0)
        return quiet > 0

    def _tick_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.tick()

    def left(self) -> dict[str, int]:
        """Return what is still to be done."""
        client = self.ground.sqs()
        queues = {name: sum(self.ground.depth(client, name).values()) for name in INBOUND}
        counts = self.counts()
        told = self.ground.bank.untold() + (not self.carrier.idle())
        work = {"unsent outbox rows": counts["unsent"], "payments in processing": counts["processing"]}
        return {**queues, **work, "events of the provider": told}

    # -- what it tells

    def ask(self, text: Any, parameters: Any = None) -> list[dict[str, Any]]:
        """Ask the database directly; nothing while it is away."""
        with suppress(psycopg.OperationalError):
            if self._line is None or self._line.closed:
                url = self.ground.running.database_url
                self._line = psycopg.connect(url, row_factory=dict_row, autocommit=True, connect_timeout=5)
            return self._line.execute(text, parameters).fetchall()
        return []

    def counts(self) -> Mapping[str, int]:
        """Return what the database holds.

        Raises:
            StormError: it did not say.
        """
        found = self.ask(COUNTS)
        if not found:
            raise StormError("the database does not answer")
        return found[0]

    def _count(self) -> None:
        """Tell the feeder what the fleet has still to send."""
        for found in self.ask(OWED):
            self.feeder.unsent = found["unsent"]

    def all_faults(self) -> Counter[str]:
        """Return how often each kind has struck so far, wherever."""
        aws, pg = self.ground.aws_weather.faults(), self.ground.pg_weather.faults()
        return self.faults + self.fleet.faults + self.fleet.process_faults() + self.ground.bank.faults() + aws + pg

    def progress(self) -> None:
        """Say in one line how far it is."""
        found = self.ask(COUNTS)
        client = self.ground.sqs()
        depths = " ".join(f"{name} {'/'.join(map(str, self.ground.depth(client, name).values()))}" for name in INBOUND)
        counts = found[0] if found else {}
        self.feeder.own = counts.get("payouts", self.feeder.own)
        told = " ".join(f"{name} {count}" for name, count in counts.items()) or "the database is away"
        stages = " ".join(f"{slot.name}:{slot.stage}" for slot in self.fleet.slots if slot.stage != "up")
        sent, faults = self.feeder.sent.total(), self.all_faults()
        sys.stderr.write(
            f"{self.elapsed():5.0f} s  sent {sent}  {told}  faults {faults.total()} of {len(faults)} kinds  {depths}"
            f"  {stages}\n"
        )
        sys.stderr.flush()
