"""How the corpus is sent to running workers through the real queues, and what is found afterwards."""

import json
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from tests.forged.corpus import CORPUS, Accepted, Case, Duplicate, Invalid, Refused
from tests.forged.forging import Mint
from tests.forged.world import (
    DISABLED,
    MEMBERS,
    WORKS,
    Make,
    World,
    about,
    approval,
    body_of,
    creation,
    enrolment,
    identity,
    policy,
    release_as_if_ours,
    work,
)
from tests.journey.main_road import Journey, until
from tests.journey.running import Local, get, local, outcomes, url_in, worker
from workers.local.pools import LocalPool

QUEUES = ("events", "commands", "payouts")
#: What nobody in this room may change. A note can only come with a row of the log.
GUARDED = (
    "payments",
    "payment_line_items",
    "payment_approvals",
    "payment_audit_log",
    "payout_attempts",
    "approval_policies",
    "memberships",
    "vendor_accounts",
    "payout_reversals",
)
#: How long all of the corpus may take; what has no end by then is looked at as it is.
PATIENCE_S = 20.0
#: The one sender of the local stack, and somebody else.
SENDER, ELSE = "000000000000", "AROASOMEBODYELSE"
UNLISTED = dict.fromkeys(("PAYMENTS_COMMAND_SENDERS", "PAYMENTS_SERVICE_SENDERS", "PAYMENTS_ACCOUNT_SENDERS"), ELSE)
OPERATOR = {**UNLISTED, "PAYMENTS_MEMBERSHIP_SENDERS": ELSE, "PAYMENTS_OPERATOR_SENDERS": SENDER}
_FAILED = """
INSERT INTO message_failures (failure_id, queue, sqs_message_id, kind, message_key, outcome, reason, body_bytes,
                              body_digest, first_sent_at)
VALUES (%s, %s, %s, NULL, %s, 'fault', 'long ago', %s, %s, %s)
"""


@dataclass
class Evidence:
    """What was found when everything was settled.

    Attributes:
        ids: the queue's own id of each case's message.
        bodies: what was sent.
        inbox: the inbox, by message key.
        rejections: what was announced about each command that was turned down, by its id.
        denials: what `access_audit` holds of denials.
        failures: what could not be handled, by the queue's own id; without what was said to have failed before.
        dead: the dead letters, by the original's id.
        before: the guarded rows, before the corpus was sent.
        after: the same afterwards, without what the good commands have changed.
        changed: the payments that the good commands have changed, by their names.
        left: how many messages are in each queue.
        counted: how many messages ended how, by the worker's own count.
        texts: every log, table and metrics page, by its name.
    """

    world: World
    ids: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, str] = field(default_factory=dict)
    inbox: dict[str, dict[str, Any]] = field(default_factory=dict)
    rejections: list[dict[str, Any]] = field(default_factory=list)
    denials: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)
    dead: dict[str, dict[str, Any]] = field(default_factory=dict)
    before: dict[str, list[Any]] = field(default_factory=dict)
    after: dict[str, list[Any]] = field(default_factory=dict)
    changed: dict[str, dict[str, Any]] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def key(self, case: Case) -> str:
        """The id that a command names."""
        return str(json.loads(self.bodies[case.title])["commandId"])

    def inbox_key(self, case: Case) -> str:
        """Under which key the inbox must know a command."""
        if isinstance(case.end, Refused) and case.end.turned_away:
            return f"turned-away:{self.ids[case.title]}"
        own = case.queue == "payouts" and json.loads(self.bodies[case.title])["type"] == "ProcessPayment"
        return f"own:{self.key(case)}" if own else self.key(case)

    def told(self, case: Case) -> list[dict[str, Any]]:
        """What was announced about a command with the code that it must have."""
        assert isinstance(case.end, Refused)
        key, code = self.key(case), case.end.code
        return [
            row for row in self.rejections if (row["payload"]["causationId"], row["payload"]["code"]) == (key, code)
        ]


def cases_of(fleets: Iterable[str]) -> list[Case]:
    """The cases that go to some workers."""
    return [case for case in CORPUS if case.fleet in fleets]


class Room:
    """A stack with people, payments and a policy in it, to which the corpus is sent."""

    def __init__(self, running: Local) -> None:
        self.journey = Journey(running.stack)
        keys_file = Path(running.environment()["PAYMENTS_TOKEN_KEYS_FILE"])
        self.world = World(Mint(LocalPool(keys_file), f"canary-{secrets.token_hex(12)}"))
        self.evidence = Evidence(self.world)
        self._database_url: str = running.stack["database_url"]

    def send(self, queue: str, body: str) -> str:
        """Send a body; return the queue's own id for it."""
        url = self.journey.stack["queues"][queue]
        return str(self.journey.sqs.send_message(QueueUrl=url, MessageBody=body)["MessageId"])

    # -- what is there before

    def enrol(self) -> None:
        """Let the directory tell of everybody, and then of those who are no members any more."""
        self._applied(enrolment(name) for name in MEMBERS)
        self._applied(enrolment(name, enabled=False) for name in DISABLED)

    def finish(self, names: Iterable[str]) -> None:
        """Finish work, and wait for its payments."""
        entries: list[Any] = [
            {
                "EventBusName": self.journey.stack["event_bus"],
                "Source": "roadcall.incident",
                "DetailType": "WorkCompleted",
                "Detail": json.dumps(work(name)),
            }
            for name in names
        ]
        for start in range(0, len(entries), 10):
            assert self.journey.bus.put_events(Entries=entries[start : start + 10])["FailedEntryCount"] == 0
        self._await_payments(names)

    def furnish(self) -> None:
        """Bring about everything that the corpus speaks of."""
        world = self.world
        self.enrol()
        self._applied([policy("admin"), creation("admin", incidentId=identity("incident created"))])
        self.finish(WORKS)
        self._await_payments(["created"])
        world.bodies["good"] = body_of(approval("dispatcher", "paid")(world))
        world.bodies["half"] = body_of(approval("first", "half")(world))
        contested = approval("dispatcher", "contested")(world)
        world.bodies["contested"] = body_of(contested)
        claims = world.claims()
        forged = world.mint.signed(world.mint.header(), claims, key=world.mint.stranger)
        turned_away = self.send("commands", body_of({**contested, "actorToken": forged}))
        self._applied(
            [*(lambda _, sent=sent: world.bodies[sent] for sent in ("good", "half")), approval("first", "due")]
        )
        self._applied([approval("second", "due"), about("held", "HoldPayment", "colleague")])
        squatter = self.send("commands", body_of(release_as_if_ours("squatted", "nobody")(world)))
        until("the release by nobody", lambda: f"turned-away:{squatter}" in self._inbox())
        early = body_of(release_as_if_ours("squatted", "colleague")(world))
        self.send("commands", early)
        until("the early release", lambda: json.loads(early)["commandId"] in self._inbox())
        until("the payout", lambda: self._status("paid") == "completed")
        until("the first forgery", lambda: f"turned-away:{turned_away}" in self._inbox())

    def _applied(self, makes: Iterable[Make]) -> None:
        """Send good commands and wait for them."""
        bodies = [body_of(make(self.world)) for make in makes]
        for body in bodies:
            self.send("commands", body)
        keys = {json.loads(body)["commandId"] for body in bodies}
        until(
            "good commands",
            lambda: keys <= {key for key, row in self._inbox().items() if row["outcome"] == "applied"},
        )

    def _await_payments(self, names: Iterable[str]) -> None:
        incidents = {identity(f"incident {name}"): name for name in names}

        def there() -> bool:
            rows = self.journey.query("SELECT incident_id::text, payment_id::text FROM payments")
            found = {
                incidents[row["incident_id"]]: row["payment_id"] for row in rows if row["incident_id"] in incidents
            }
            self.world.payments.update(found)
            return len(found) == len(incidents)

        until("the payments", there)

    def _status(self, payment: str) -> str:
        query = "SELECT status FROM payments WHERE payment_id = %s"
        return str(self.journey.query(query, self.world.payments[payment])[0]["status"])

    # -- the corpus

    def attack(self, fleet: str) -> None:
        """Send the cases of a fleet at once, and wait until each has come to an end."""
        cases = cases_of([fleet])
        for case in cases:
            body = self.evidence.bodies[case.title] = case.body(self.world)
            if case.failed_before is not None:
                self._failed_before(case, body)
            self.evidence.ids[case.title] = self.send(case.queue, body)
        deadline = time.monotonic() + PATIENCE_S
        while not self._settled(cases) and time.monotonic() < deadline:
            time.sleep(0.1)

    def _failed_before(self, case: Case, body: str) -> None:
        """Write down that this very body failed here, so long ago."""
        assert case.failed_before is not None
        octets, first_sent_at = body.encode(), datetime.now(UTC) - case.failed_before
        sqs_id = f"long-ago-{uuid4()}"
        row = (uuid4(), "payments-commands", sqs_id, f"sqs:{sqs_id}", len(octets), sha256(octets).digest())
        with psycopg.connect(self._database_url) as connection:
            connection.execute(_FAILED, (*row, first_sent_at))

    def _settled(self, cases: Sequence[Case]) -> bool:
        # The inbox before and after: what is handled between two looks, and announces more, would be missed by both.
        inbox, failures = self._inbox(), self._failures()

        def ended(case: Case) -> bool:
            if isinstance(case.end, Invalid):
                return self.evidence.ids[case.title] in failures
            return isinstance(case.end, Duplicate) or self.evidence.inbox_key(case) in inbox

        if not all(map(ended, cases)):
            return False
        quiet = self._published() and not any(self._left().values())
        return quiet and self._inbox().keys() == inbox.keys()

    def _published(self) -> bool:
        """Whether everything has been announced; without a relay nothing ever is."""
        unsent = "SELECT 1 FROM outbox WHERE published_at IS NULL AND failed_at IS NULL"
        return not self.journey.query("SELECT 1 FROM outbox WHERE published_at IS NOT NULL") or not self.journey.query(
            unsent
        )

    # -- what is found

    def _inbox(self) -> dict[str, dict[str, Any]]:
        rows = self.journey.query("SELECT message_key, consumer, outcome, outcome_code FROM message_inbox")
        return {row["message_key"]: row for row in rows}

    def _failures(self) -> dict[str, dict[str, Any]]:
        rows = self.journey.query("SELECT * FROM message_failures WHERE reason <> 'long ago'")
        return {row["sqs_message_id"]: row for row in rows}

    def _left(self) -> dict[str, int]:
        return {queue: self.journey.left_in(queue) for queue in QUEUES}

    def guarded(self) -> dict[str, list[Any]]:
        """Every guarded row, but those of the payments that good commands are about."""
        good = [case.end.payment for case in cases_of(["local"]) if isinstance(case.end, Accepted)]
        theirs = [self.world.payments[name] for name in good if name in self.world.payments]
        found = {}
        for table in GUARDED:
            rows = self.journey.query(f"SELECT to_jsonb(one) AS row FROM {table} AS one ORDER BY one::text")
            found[table] = [row["row"] for row in rows if row["row"].get("payment_id") not in theirs]
        return found

    def collect(self) -> None:
        """Look at everything but the logs."""
        found, query = self.evidence, self.journey.query
        found.inbox, found.failures, found.left = self._inbox(), self._failures(), self._left()
        found.rejections = query("SELECT * FROM outbox WHERE payload ? 'code'")
        found.denials = query("SELECT * FROM access_audit WHERE decision = 'denied'")
        found.after = self.guarded()
        found.dead = self._dead_letters()
        rows = query("SELECT payment_id::text AS id, status, approved_by::text FROM payments")
        names = {payment_id: name for name, payment_id in self.world.payments.items()}
        found.changed = {names[row["id"]]: row for row in rows if row["id"] in names}
        tables = query("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")
        for table in (row["name"] for row in tables):
            rows = query(f"SELECT to_jsonb(one)::text AS row FROM {table} AS one")
            found.texts[f"table {table}"] = "\n".join(row["row"] for row in rows)

    def _dead_letters(self) -> dict[str, dict[str, Any]]:
        found, sqs = {}, self.journey.sqs
        for queue in QUEUES:
            url = self.journey.stack["queues"][f"{queue}_dlq"]
            while received := sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            ).get("Messages"):
                for message in received:
                    notes = {name: note["StringValue"] for name, note in message["MessageAttributes"].items()}
                    found[notes["OriginalMessageId"]] = {"queue": queue, "body": message["Body"], **notes}
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def keep_logs(self, folder: Path) -> None:
        """Take in every log there is, when every process has ended."""
        for log in sorted(folder.rglob("*.log")):
            self.evidence.texts[f"log {log.name}"] = log.read_text(errors="replace")


def counted_of(page: str) -> dict[str, int]:
    """How many messages ended how, without the news that the provider itself has of the good payments."""
    news = ('message_type="ProviderEvent",outcome="applied"', 'message_type="ProviderEvent",outcome="ignored"')
    own = [line for line in page.splitlines() if not any(label in line for label in news)]
    return outcomes("\n".join(own))


def attacked_fleet(folder: Path) -> Evidence:
    """Send the corpus to the fleet of a local stack."""
    with local(folder) as running:
        room = Room(running)
        room.furnish()
        metrics = {member: f"{running.url_of(member)}/metrics" for member in ("worker-1", "relay", "status")}
        room.evidence.before, counted = room.guarded(), counted_of(get(metrics["worker-1"]))
        room.attack("local")
        after = counted_of(get(metrics["worker-1"]))
        room.evidence.counted = {name: count - counted.get(name, 0) for name, count in after.items()}
        room.evidence.texts |= {f"metrics of {member}": get(url) for member, url in metrics.items()}
        room.collect()
    room.keep_logs(folder)
    return room.evidence


def attacked_strangers(folder: Path) -> Evidence:
    """Send what is left to workers that list another sender, and then to some that take this one for an operator."""
    with local(folder, "--infra-only") as running:
        room = Room(running)
        with _listening(running, folder, "unlisted", UNLISTED) as metrics:
            room.enrol()
            room.finish(["open"])
            room.evidence.before = room.guarded()
            room.attack("unlisted")
            room.evidence.texts["metrics of unlisted"] = get(metrics)
        with _listening(running, folder, "operator", OPERATOR) as metrics:
            room.attack("operator")
            room.evidence.texts["metrics of operator"] = get(metrics)
        room.collect()
    room.keep_logs(folder)
    return room.evidence


@contextmanager
def _listening(running: Local, folder: Path, name: str, settings: dict[str, str]) -> Iterator[str]:
    """Run a worker; yield where its metrics are."""
    with worker(running, folder / f"{name}.log", settings) as log:
        until("the worker", lambda: '"url"' in log.read_text())
        yield f"{url_in(log)}/metrics"
