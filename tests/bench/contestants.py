"""Who is measured: ours, as it is deployed, and what a user would pick instead."""

import json
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

from tests.bench.figures import Counts
from tests.bench.ground import Run, Setting
from tests.bench.processes import Measured
from tests.bench.rivals import bodies, work
from workers import sending
from workers.local import aws
from workers.local.processes import LOOPBACK, free_port

VENDOR, COMPANY = "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"
#: What every message of every contestant asks to be paid.
LINES = (
    {"description": "Tire Replacement - Base Service", "quantity": 1, "unitPriceCents": 12_000},
    {"description": "Mileage Charge", "quantity": 30, "unitPriceCents": 100},
    {"description": "After-hours Charge", "quantity": 1, "unitPriceCents": 4_500},
)
READY_S = 60.0


class Contestant(Protocol):
    """One way to have work paid."""

    @property
    def name(self) -> str:
        """What it is called in the results."""

    @property
    def title(self) -> str:
        """What people call it."""

    @property
    def ours(self) -> bool:
        """Whether it is this service, with its schema."""

    @property
    def threads(self) -> Mapping[Setting, int]:
        """How many serve it best, by setting."""

    def start(self, run: Run, threads: int) -> None:
        """Start its processes and wait until they take messages."""

    def body(self, detail: Mapping[str, Any]) -> str:
        """Return what its producer would send."""

    def owes(self, run: Run) -> int:
        """Return how much of what is committed has not had its effect outside yet."""

    def ended_at(self, run: Run) -> float:
        """Return when its last effect was there, in seconds since 1970."""

    def counts(self, run: Run, sent: int, payments: int) -> Counts:
        """Return what must be equal at the end of a run in which so much was sent and made."""


def detail() -> dict[str, Any]:
    """Return a finished job, like every other but for its ids and its time."""
    return sending.work_completed(
        incident_id=uuid4(), vendor_id=uuid4(), priced={"lineItems": list(LINES)}, more={"companyId": COMPANY}
    )


_COMMITTED = "extract(epoch FROM pg_xact_commit_timestamp(xmin))"


def committed(run: Run, *, after: float = 0.0) -> dict[str, float]:
    """Return when each payment was committed, by its incident; those that were committed after a time."""
    text = f"SELECT incident_id::text AS id, {_COMMITTED}::float8 AS at FROM payments WHERE {_COMMITTED} > %s"
    return {row["id"]: row["at"] for row in run.query(text, after)}


@dataclass(frozen=True, slots=True)
class Ours:
    """This service: a worker and a relay, with production's settings and everything on.

    Attributes:
        threads: of each worker.
        workers: how many processes.
        more: settings that are other ones than in production.
    """

    threads: Mapping[Setting, int]
    workers: int = 1
    more: Mapping[str, str] = field(default_factory=dict)
    name: str = "ours"
    title: str = "Roadcall Payments"
    ours: bool = True

    def start(self, run: Run, threads: int) -> None:
        """Start the relay and the workers."""
        roles = ["relay", *("worker" for _ in range(self.workers))]
        members = [self._member(run, role, threads) for role in roles]
        for process, port in members:
            process.child.wait_until(partial(is_ready, port), READY_S)
            run.processes.append(process)

    def _member(self, run: Run, role: str, threads: int) -> tuple[Measured, int]:
        port = free_port()
        env = {
            **run.running.environment(role),
            "AWS_ENDPOINT_URL_EVENTBRIDGE": run.way.bus_url,
            "PAYMENTS_WORKER_THREADS": str(threads),
            "PAYMENTS_POOL_SIZE_MAX": str(max(10, threads)),
            "PAYMENTS_HEALTH_PORT": str(port),
            **self.more,
        }
        log_path = run.ground.home / f"{run.name}-{role}-{len(run.processes)}.log"
        return Measured.start(run.stack, role, "workers.cli", role, env=env, log_path=log_path), port

    def body(self, detail: Mapping[str, Any]) -> str:
        """Return the event as EventBridge delivers it."""
        return json.dumps(
            {
                "version": "0",
                "id": str(uuid4()),
                "detail-type": "WorkCompleted",
                "source": sending.WORK_SOURCE,
                "account": "000000000000",
                "time": detail["timestamp"],
                "region": aws.REGION,
                "resources": [],
                "detail": detail,
            }
        )

    def owes(self, run: Run) -> int:
        """Return how many rows of the outbox are unsent."""
        # In the words of its index: large tables would be read whole while others are measured.
        unsent = "SELECT count(*) AS n FROM outbox WHERE published_at IS NULL AND failed_at IS NULL"
        return int(run.query(unsent)[0]["n"])

    def ended_at(self, run: Run) -> float:
        """Return when the relay had marked the last row as sent."""
        return float(run.query("SELECT extract(epoch FROM max(published_at))::float8 AS at FROM outbox")[0]["at"])

    def counts(self, run: Run, sent: int, payments: int) -> Counts:
        """Return also the events of this run, and how many different ones the bus has taken."""
        text = f"SELECT count(*) AS n FROM outbox WHERE destination = 'bus' AND {_COMMITTED} > %s"
        came = {entry["detail"]["eventId"] for entry in run.published()}
        return Counts(sent, payments, run.query(text, run.began)[0]["n"], len(came))


def is_ready(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://{LOOPBACK}:{port}/ready", timeout=2) as answer:
        return answer.status == 200
    return False


@dataclass(frozen=True, slots=True)
class Rival:
    """One of the others: a process, with the same transaction in plain statements and nothing beside it."""

    name: str
    title: str
    threads: Mapping[Setting, int]
    ours: bool = False

    def start(self, run: Run, threads: int) -> None:
        """Make its tables and start it."""
        work.create(run.database_url)
        env = {
            "AWS_ENDPOINT_URL": run.way.sqs_url,
            "AWS_DEFAULT_REGION": aws.REGION,
            "AWS_ACCESS_KEY_ID": aws.ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": aws.SECRET_ACCESS_KEY,
            "RIVAL_DATABASE_URL": run.far_database_url,
            "RIVAL_QUEUE": run.running.queues["events"].rpartition("/")[2],
            "RIVAL_THREADS": str(threads),
        }
        log_path = run.ground.home / f"{run.name}-{self.name}.log"
        process = Measured.start(run.stack, "worker", f"tests.bench.rivals.{self.name}", env=env, log_path=log_path)
        process.child.wait_until(lambda: "ready\n" in log_path.read_text(), READY_S)
        run.processes.append(process)

    def body(self, detail: Mapping[str, Any]) -> str:
        """Return what its own producer would send."""
        return bodies.body(self.name, dict(detail))

    def owes(self, run: Run) -> int:
        """Return nothing: it tells nobody."""
        del run
        return 0

    def ended_at(self, run: Run) -> float:
        """Return when its last payment was committed."""
        return max(committed(run).values())

    def counts(self, run: Run, sent: int, payments: int) -> Counts:
        """Return the payments: there are no events."""
        del run
        return Counts(sent, payments)
