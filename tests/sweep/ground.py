"""What the sweep is held on: one set of servers, and on them a database, queues and a bus of its own for each point."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tests.kit import bus, fauxqs, sqs
from tests.kit.people import People
from tests.sweep.bank import Bank
from tests.sweep.launch import Launch, Running
from tests.sweep.points import Point
from workers.delivery import tens
from workers.local import aws, pools
from workers.local.logins import with_logins
from workers.local.postgres import Server
from workers.local.stack import Running as Stack
from workers.settings import FAST_PROFILE

#: Waits as a sweep does: for a process to come up, and for a lease to end.
until = partial(sqs.until, within_s=180.0, every_s=0.1)
#: Short leases, so that what a killed process held comes back soon; few threads, so that a batch has a middle.
PROFILE: Mapping[str, str] = {
    **FAST_PROFILE,
    "PAYMENTS_VISIBILITY_S": "2",
    "PAYMENTS_LEASE_RENEW_S": "1",
    "PAYMENTS_BACKOFF_S": "1,1,2,4,15",
    "PAYMENTS_NOT_YET_S": "60",  # a slow machine must not turn an early command into a refused one
    "PAYMENTS_RELAY_LEASE_S": "5",
    "PAYMENTS_RELAY_AT_ONCE": "1",  # what is marked after a request is then about one destination
    "PAYMENTS_WORKER_THREADS": "3",
    "PAYMENTS_POLLERS_PER_QUEUE": "1",
    "PAYMENTS_POOL_SIZE_MIN": "1",
    "PAYMENTS_POOL_SIZE_MAX": "4",
    "PAYMENTS_OUTBOX_RETENTION_DAYS": "1",
    "PAYMENTS_INBOX_RETENTION_DAYS": "18",
    "PAYMENTS_CHECK_AFTER_S": "1,1,2",
    "PAYMENTS_SWEEP_EVERY_S": "0.5",
    "PAYMENTS_SWEEP_AGAIN_S": "2",
    "PAYMENTS_STUCK_AFTER_S": "5",
}
_INBOUND = ("events", "commands", "payouts")
_DEPTH = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")
_WORK = """
SELECT (SELECT count(*) FROM outbox WHERE published_at IS NULL) AS unsent,
       (SELECT count(*) FROM payments WHERE status IN ('approved', 'processing')) AS unpaid,
       (SELECT count(*) FROM reconcile_requests WHERE posted_at IS NULL) AS unlooked,
       (SELECT count(*) FROM outbox) AS outbox, (SELECT count(*) FROM message_inbox) AS inbox
"""


@dataclass
class Servers:
    """Postgres, SQS and the bus, shared by all points."""

    postgres: Server
    template: str
    sqs_url: str
    bus_url: str
    record: Path
    users: Mapping[str, str]
    home: Path
    keys_file: Path
    #: A client of the queues, which all points share: making one reads the environment and takes its time.
    client: Any


@contextmanager
def servers(postgres: Server, template: str, home: Path) -> Iterator[Servers]:
    """Start SQS and a bus beside a Postgres that has a migrated template database; make the fleet's users."""
    record = home / "bus.jsonl"
    with ExitStack() as stack:
        sqs_url = stack.enter_context(fauxqs.serving(home / "fauxqs.log"))
        bus_url = stack.enter_context(bus.serving(record, home / "bus.log"))
        (home / "postgres").mkdir()
        bare = Stack(
            database_url=postgres.url(template), aws_endpoint_url=sqs_url, region=aws.REGION, event_bus="", queues={}
        )
        users = with_logins(bare, home).database_urls
        client = aws.session(sqs_url).client("sqs")
        yield Servers(postgres, template, sqs_url, bus_url, record, users, home, pools.prepare(home / "pool"), client)


@dataclass
class Place:
    """What one point has for itself."""

    servers: Servers
    name: str
    queues: Mapping[str, str]
    bank: Bank
    processes: list[Running] = field(default_factory=list)

    @property
    def database_url(self) -> str:
        """The database, as its administrator."""
        return self.servers.postgres.url(self.name)

    @property
    def client(self) -> Any:
        """A client of the queues."""
        return self.servers.client

    def start(self, role: str, point: Point | None = None) -> Running:
        """Start a process that lives, or that dies at a point."""
        number = len(self.processes)
        path = self.servers.home / f"{self.name}-{number}-{role}"
        launch = Launch(role, self._environment(role), path.with_suffix(".log"), path.with_suffix(".mark"), point)
        self.processes.append(Running(launch))
        return self.processes[-1]

    def _environment(self, role: str) -> dict[str, str]:
        users = self.servers.users.items()
        stack = Stack(
            database_url=self.database_url,
            aws_endpoint_url=self.servers.sqs_url,
            region=aws.REGION,
            event_bus=self.name,
            queues=self.queues,
            token_keys_file=self.servers.keys_file,
            provider_url=self.bank.url,
            database_urls={user: urlsplit(url)._replace(path=f"/{self.name}").geturl() for user, url in users},
        )
        return {**stack.environment(role), **PROFILE, "AWS_ENDPOINT_URL_EVENTBRIDGE": self.servers.bus_url}

    def post(self, queue: str, bodies: Sequence[str]) -> None:
        """Put messages on a queue, ten to a request."""
        people = People(self.servers.keys_file, self.database_url)
        _send(self.client, self.queues[queue], [people.text(body) for body in bodies])

    def query(self, text: str, *values: Any) -> list[dict[str, Any]]:
        """Ask the database, as its administrator."""
        with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
            return connection.execute(text, values or None).fetchall()

    def write(self, text: LiteralString) -> None:
        """Write to the database past its triggers, as a superuser can."""
        with psycopg.connect(self.database_url) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(text)

    def left(self) -> dict[str, int]:
        """How many messages each inbound queue holds: visible, in flight and delayed."""
        return {name: self._depth(name) for name in _INBOUND}

    def _depth(self, name: str) -> int:
        answer = self.client.get_queue_attributes(QueueUrl=self.queues[name], AttributeNames=list(_DEPTH))
        return sum(int(answer["Attributes"][attribute]) for attribute in _DEPTH)

    def await_drained(self) -> None:
        """Wait until nothing is left to do, and that twice in a row: work may be on its way between two places."""
        looks: list[object] = [None]

        def drained() -> bool:
            self.check()
            (work,) = self.query(_WORK)
            untold, left = self.bank.untold(), self.left()
            looks.append((left, work, untold))
            owed = (*left.values(), work["unsent"], work["unpaid"], work["unlooked"], untold)
            done = not any(owed)
            return done and looks[-1] == looks[-2]

        try:
            until(drained, every_s=0.25)
        except AssertionError:
            raise AssertionError(f"not drained: {looks[-1]}\n{self.logs()}") from None

    def check(self) -> None:
        """See that every process that shall live does."""
        dead = [process for process in self.processes if not process.launch.point and process.exit_code is not None]
        assert not dead, f"ended by itself with {dead[0].exit_code}:\n{dead[0].log_tail()}"

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"-- {process.launch.log_path.name}\n{process.log_tail()}" for process in self.processes)

    def taken_from(self, name: str) -> list[dict[str, Any]]:
        """Take every message of a queue that nobody else reads."""
        found: list[dict[str, Any]] = []
        while self._depth(name):
            answer = self.client.receive_message(
                QueueUrl=self.queues[name],
                MaxNumberOfMessages=10,
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
            for message in answer.get("Messages", []):
                found.append({"queue": name, **message})
                self.client.delete_message(QueueUrl=self.queues[name], ReceiptHandle=message["ReceiptHandle"])
        return found

    def published(self) -> list[dict[str, Any]]:
        """What the bus has taken for this point, in order."""
        return [entry for entry in bus.recorded(self.servers.record) if entry["bus"] == self.name]

    def approvals(self) -> list[dict[str, Any]]:
        """What has arrived in the approval queue."""
        return [json.loads(message["Body"]) for message in self.taken_from("approvals")]


def _send(client: Any, queue_url: str, bodies: Sequence[str]) -> None:
    entries: Any = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
    for ten in tens(entries):
        answer = client.send_message_batch(QueueUrl=queue_url, Entries=ten)
        assert not answer.get("Failed"), answer


@contextmanager
def place(found: Servers, name: str) -> Iterator[Place]:
    """Make a database, queues and a bus of one point's own; kill its processes at the end."""
    database, template = sql.Identifier(name), sql.Identifier(found.template)
    with psycopg.connect(found.postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(database, template))
    queues = fauxqs.create_queues(found.client, prefix=f"{name}-")
    made = Place(found, name, queues, Bank(partial(_send, found.client, queues["events"])))
    try:
        yield made
    finally:
        for process in made.processes:
            process.kill()
        made.bank.stop()
        with psycopg.connect(found.postgres.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
