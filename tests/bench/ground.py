"""What the benchmarks are held on: one Postgres, one SQS, one bus; a database and queues of its own for each run.

Two settings. Bare: everything on loopback. As deployed: proxies put SQS and EventBridge ten milliseconds away and
Postgres one, which is what a container in the same region lives with.
"""

import json
import os
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from store.migrate import ensure_database
from tests.bench.processes import Measured
from tests.kit import bus, fauxqs, webserver
from workers import settings
from workers.delivery import tens
from workers.local import aws, pools, postgres
from workers.local.logins import with_logins
from workers.local.processes import LOOPBACK, command_line
from workers.local.stack import Running
from workers.roles.migrate import run_migrate

#: Of a round trip to AWS in the same region, and to the database in the same zone; in seconds.
AWS_ROUND_TRIP_S, POSTGRES_ROUND_TRIP_S = 0.010, 0.001
#: The database that every run of ours begins with: migrated and empty.
TEMPLATE = "bench_template"
#: What is asked of SQS by the benchmark itself while it waits.
_OUR_OWN = "GetQueueAttributes"
#: Commit times are read from Postgres itself; statements are counted for the profiles.
_SERVER_SETTINGS: Mapping[str, str] = {
    "track_commit_timestamp": "on",
    "shared_preload_libraries": "pg_stat_statements",
}


class Setting(StrEnum):
    """How far away the servers are."""

    BARE = "bare"
    DEPLOYED = "deployed"


#: What tells the servers by their command lines.
_SERVERS: Mapping[str, str] = {
    "postgres": "bin/postgres",
    "sqs": "serve.mjs",
    "bus": "tests.kit.bus",
    "far": "tests.bench.delay",
}


@dataclass(frozen=True, slots=True)
class Way:
    """How a contestant reaches the servers in one setting."""

    sqs_url: str
    bus_url: str
    postgres_port: int


class Ground:
    """The servers, and the ways to them."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self.home = home
        self.postgres = _postgres(home, stack)
        self.sqs_url = stack.enter_context(fauxqs.serving(home / "fauxqs.log"))
        self.record = home / "bus.jsonl"
        bus_url = stack.enter_context(bus.serving(self.record, home / "bus.log"))
        self.client: Any = aws.session(self.sqs_url).client("sqs")
        self.keys_file = pools.prepare(home / "pool")
        self.ways = {Setting.BARE: Way(self.sqs_url, bus_url, self.postgres.port)}
        self.ways[Setting.DEPLOYED] = Way(
            self._far(stack, "sqs", self.sqs_url), self._far(stack, "bus", bus_url), self._far_postgres(stack)
        )
        ensure_database(self.postgres.url("postgres"), TEMPLATE)
        bare = self._running(self.postgres.url(TEMPLATE), "", {})
        run_migrate(settings.load({**bare.environment(), "PAYMENTS_EVENT_QUEUE_URL": ""}))
        self._users = with_logins(bare, home).database_urls
        self.runs = 0

    def _far(self, stack: ExitStack, name: str, url: str) -> str:
        return f"http://{LOOPBACK}:{self._delayed(stack, name, urlsplit(url).port or 0, AWS_ROUND_TRIP_S)}"

    def _far_postgres(self, stack: ExitStack) -> int:
        return self._delayed(stack, "postgres", self.postgres.port, POSTGRES_ROUND_TRIP_S)

    def _delayed(self, stack: ExitStack, name: str, port: int, round_trip_s: float) -> int:
        arguments = (str(port), str(round_trip_s))
        log_path = self.home / f"far_{name}.log"
        served = webserver.serving(f"The way to {name}", "tests.bench.delay", *arguments, log_path=log_path)
        return stack.enter_context(served)[0]

    def _running(self, database_url: str, name: str, queues: Mapping[str, str], way: Way | None = None) -> Running:
        users = getattr(self, "_users", {}).items()
        port = way.postgres_port if way else self.postgres.port
        here, there = f":{self.postgres.port}/", f":{port}/"
        return Running(
            database_url=database_url,
            aws_endpoint_url=way.sqs_url if way else self.sqs_url,
            region=aws.REGION,
            event_bus=name,
            queues=queues or dict.fromkeys(fauxqs.QUEUES, ""),
            token_keys_file=self.keys_file,
            provider_url=f"http://{LOOPBACK}:9",  # finished work has nothing to ask a provider
            database_urls={
                role: urlsplit(url.replace(here, there))._replace(path=f"/{name}").geturl() for role, url in users
            },
        )

    def servers(self) -> dict[str, int]:
        """Return the process ids of the servers; those of the proxies by the server that they stand before."""
        ours = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        lines = {int(pid): command_line(int(pid)) for pid in ours}
        return {name: pid for name, part in _SERVERS.items() for pid, line in lines.items() if part in line}

    def requests(self) -> Counter[str]:
        """How often each operation of SQS has been asked for so far; what we ask while we wait is left out."""
        with urllib.request.urlopen(f"{self.sqs_url}/-/requests") as answer:  # noqa: S310 - our own loopback URL
            return Counter({name: count for name, count in json.loads(answer.read()).items() if name != _OUR_OWN})

    @contextmanager
    def run(self, setting: Setting, *, ours: bool, template: str | None = None) -> Iterator["Run"]:
        """Make a database and queues for one run; everything that it has started is stopped at the end.

        Args:
            setting: how far away the servers are.
            ours: whether the database has this service's schema; else it is empty.
            template: another database to copy.
        """
        self.runs += 1
        name = f"bench{self.runs}"
        database = sql.Identifier(name)
        self.copy(template or (TEMPLATE if ours else "template0"), name)
        way = self.ways[setting]
        queues = fauxqs.create_queues(self.client, prefix=f"{name}-")
        running = self._running(self.postgres.url(name), name, queues, way)
        try:
            with ExitStack() as stack:
                yield Run(self, name, way, running, stack, self.record.stat().st_size)
        finally:
            self.administer(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))

    def copy(self, template: str, name: str) -> None:
        """Make a database as a copy of another one."""
        # As files: through the log, a large one would take its time.
        make = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        self.administer(make.format(sql.Identifier(name), sql.Identifier(template)))

    def administer(self, *statements: sql.SQL | sql.Composed) -> None:
        """Do what concerns the server and none of its databases."""
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


@dataclass
class Run:
    """One run of one contestant: what it has for itself, and its processes.

    Attributes:
        recorded: how much of the bus's record is of earlier runs, in bytes.
        began: when it began, in seconds since 1970.
    """

    ground: Ground
    name: str
    way: Way
    running: Running
    stack: ExitStack
    recorded: int = 0
    began: float = field(default_factory=time.time)
    processes: list[Measured] = field(default_factory=list)

    @property
    def database_url(self) -> str:
        """The database as its administrator, without detours."""
        return self.running.database_url

    @property
    def far_database_url(self) -> str:
        """The same database, as far away as the setting says."""
        return self.database_url.replace(f":{self.ground.postgres.port}/", f":{self.way.postgres_port}/")

    def query(self, text: str, *values: Any) -> list[dict[str, Any]]:
        """Ask the database."""
        with psycopg.connect(self.database_url, row_factory=dict_row, autocommit=True) as connection:
            return connection.execute(text, values or None).fetchall()

    def send(self, bodies: Sequence[str]) -> None:
        """Put messages on the queue of events, ten to a request."""
        entries: Any = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
        for ten in tens(entries):
            answer = self.ground.client.send_message_batch(QueueUrl=self.running.queues["events"], Entries=ten)
            assert not answer.get("Failed"), answer

    def left(self) -> int:
        """How many messages the queue of events holds: visible or in flight."""
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.ground.client.get_queue_attributes(QueueUrl=self.running.queues["events"], AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def published(self) -> list[dict[str, Any]]:
        """What the bus has taken of this run, in order."""
        with self.ground.record.open("rb") as lines:
            lines.seek(self.recorded)
            return [entry for entry in bus.parsed(lines) if entry["bus"] == self.name]


def _postgres(home: Path, stack: ExitStack) -> postgres.Server:
    """Start Postgres, tell it what to keep for us, and start it again; fsync is on, as everywhere."""
    root, log_path = home / "postgres", home / "postgres.log"
    with ExitStack() as first:
        server = postgres.serve(first, root, log_path, say=lambda _line: None)
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            for name, value in _SERVER_SETTINGS.items():
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    return postgres.serve(stack, root, log_path, say=lambda _line: None)


@contextmanager
def ground(home: Path) -> Iterator[Ground]:
    """Bring the servers up, and take them down at the end."""
    home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        yield Ground(home, stack)
