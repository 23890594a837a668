"""What a storm is held on: Postgres, SQS and a bus behind proxies that the driver commands, and a provider too."""

import http.client
import json
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from store.migrate import ensure_database
from tests.kit import fauxqs, webserver
from tests.kit.people import People
from tests.storm.aws_proxy import CONTROL, FAULTS
from tests.storm.bank import BUS, Bank
from workers import settings
from workers.local import aws, pools, postgres
from workers.local.logins import with_logins
from workers.local.processes import LOOPBACK, Child
from workers.local.stack import DATABASE, Running
from workers.roles.migrate import run_migrate

_ANSWER_S = 30.0


@dataclass
class Weather:
    """A proxy, as its driver sees it."""

    control_port: int

    def tell(self, **wanted: Any) -> dict[str, Any]:
        """Say what shall happen; return what has happened."""
        connection = http.client.HTTPConnection(LOOPBACK, self.control_port, timeout=_ANSWER_S)
        try:
            connection.request("POST", CONTROL, json.dumps(wanted))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def told(self) -> dict[str, Any]:
        """Return what has happened so far."""
        return self.tell()

    def faults(self) -> Counter[str]:
        """Return how often each kind of fault has hit so far."""
        return Counter(self.told()["faults"])


@dataclass
class AwsWeather(Weather):
    """The proxy before SQS and the bus."""

    endpoint_url: str

    def rates(self, rates: Mapping[str, float]) -> None:
        """Set the chance of some kinds of fault."""
        self.tell(rates=dict(rates))

    def stall(self, side: str, seconds: float) -> None:
        """Answer nothing for a while."""
        self.tell(stall_s={side: seconds})

    def calm(self) -> None:
        """Let no fault strike any more; deliveries that were to be made later are forgotten, their leases end."""
        self.tell(rates=dict.fromkeys(FAULTS, 0.0), stall_s={"sqs": 0.0, "bus": 0.0}, forget=True)

    @contextmanager
    def only(self, kind: str) -> Iterator[None]:
        """Let one kind strike every request that it can; it must have struck at the end."""
        before = self.faults()
        self.rates({kind: 1.0})
        try:
            yield
        finally:
            self.rates({kind: 0.0})
        struck = self.faults() - before
        assert set(struck) == {kind}, struck


@dataclass
class PgWeather(Weather):
    """The proxy before Postgres."""

    port: int

    def calm(self) -> None:
        """Let everything pass again."""
        self.tell(delay_s=0.0, stall_s=0.0, cut_at_commit=0)


@contextmanager
def aws_proxy(sqs_url: str, record_path: Path, log_path: Path, seed: int) -> Iterator[AwsWeather]:
    """Run the proxy before SQS, with a bus of its own, until the end of the block."""
    arguments = (str(urlsplit(sqs_url).port), str(record_path), str(seed))
    with webserver.serving("The proxy of AWS", "tests.storm.aws_proxy", *arguments, log_path=log_path) as (port,):
        yield AwsWeather(port, f"http://{LOOPBACK}:{port}")


@contextmanager
def pg_proxy(server_port: int, log_path: Path, seed: int) -> Iterator[PgWeather]:
    """Run the proxy before Postgres until the end of the block."""
    arguments = (str(server_port), str(seed))
    with webserver.serving("The proxy of Postgres", "tests.storm.pg_proxy", *arguments, log_path=log_path) as ports:
        yield PgWeather(port=ports[0], control_port=ports[1])


class Ground:
    """Everything but the fleet. `running` is the way of the fleet, through the proxies, but for the administrator's."""

    def __init__(self, home: Path, stack: ExitStack, seed: int) -> None:
        self.home = home
        self.record = home / "bus.jsonl"
        self._stack = stack
        self._server = self._postgres()
        database_url = self._server.url(DATABASE)
        ensure_database(self._server.url("postgres"), DATABASE)
        self.sqs_url = stack.enter_context(fauxqs.serving(home / "fauxqs.log"))
        self.aws_weather = stack.enter_context(aws_proxy(self.sqs_url, self.record, home / "aws_proxy.log", seed))
        self.pg_weather = stack.enter_context(pg_proxy(self._server.port, home / "pg_proxy.log", seed))
        self.bank = Bank(stack, home, self.aws_weather.endpoint_url, seed)
        bare = Running(
            database_url=database_url,
            aws_endpoint_url=self.aws_weather.endpoint_url,
            region=aws.REGION,
            event_bus=BUS,
            queues=fauxqs.create_queues(self.sqs()),
            token_keys_file=pools.prepare(home / "pool"),
            provider_url=self.bank.url,
        )
        self.people = People(str(bare.token_keys_file), database_url)
        run_migrate(settings.load(bare.environment()))
        logins = with_logins(bare, home).database_urls
        through = {
            role: url.replace(f":{self._server.port}/", f":{self.pg_weather.port}/") for role, url in logins.items()
        }
        self.running = replace(bare, database_urls=through)

    @property
    def database(self) -> Child:
        """Postgres's process."""
        return self._server.child

    def crash_postgres(self) -> None:
        """End the server at once, as pg_ctl's mode `immediate` does: nothing is written, the log is replayed later."""
        self.database.process.send_signal(signal.SIGQUIT)
        self.database.process.wait(30)

    def start_postgres(self) -> None:
        """Start it again on the same data and port."""
        self._server = self._postgres()

    def _postgres(self) -> postgres.Server:
        # With fsync, though no machine crashes here: without it a commit would not even reach the log in time.
        return postgres.serve(
            self._stack, self.home / "postgres", self.home / "postgres.log", say=lambda _line: None, fsync=True
        )

    def sqs(self) -> Any:
        """Return a client that speaks to SQS directly."""
        return aws.session(self.sqs_url).client("sqs")

    def depth(self, client: Any, name: str) -> dict[str, int]:
        """Return how many messages a queue holds: visible, in flight, delayed."""
        kinds = {"visible": "", "in flight": "NotVisible", "delayed": "Delayed"}
        names = {kind: f"ApproximateNumberOfMessages{suffix}" for kind, suffix in kinds.items()}
        answer = client.get_queue_attributes(QueueUrl=self.running.queues[name], AttributeNames=list(names.values()))
        return {kind: int(answer["Attributes"][attribute]) for kind, attribute in names.items()}


@contextmanager
def ground(home: Path, seed: int) -> Iterator[Ground]:
    """Bring everything up but the fleet; stop it at the end, whatever was started meanwhile first."""
    home.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        yield Ground(home, stack, seed)
