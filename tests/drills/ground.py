"""What a drill is held on: real servers, real worker processes that can be killed, and counts taken from outside."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families
from psycopg.rows import dict_row

from tests.kit import books, sqs
from tests.kit.people import People
from workers import sending, settings
from workers.local import aws, postgres
from workers.local.fleet import environment
from workers.local.logins import with_logins
from workers.local.processes import LOOPBACK, Child, Program, free_port
from workers.local.stack import Running, StackOptions, infrastructure
from workers.roles.migrate import run_migrate

#: A whole drill, or the short one of CI.
SHORT = os.environ.get("DRILLS", "full") == "short"
PROJECT = Path(__file__).parents[2]
VENDOR = UUID("22222222-2222-4222-8222-222222222222")
ADMIN = UUID("66666666-6666-4666-8666-666666666666")
#: Waits as a drill does: for minutes, and without a query every few milliseconds.
until = partial(sqs.until, within_s=60.0, every_s=0.1)
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ")


def say(line: str) -> None:
    """Report progress: a drill takes minutes."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@dataclass
class Process:
    """One process of the fleet."""

    child: Child
    url: str

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Ask its HTTP endpoint; (0, {}) when it does not answer."""
        try:
            answer = httpx.get(f"{self.url}{path}", timeout=15)
        except httpx.HTTPError:
            return 0, {}
        return answer.status_code, answer.json()

    def metric(self, name: str) -> dict[str, float]:
        """The values of a metric, by its labels in one text."""
        families = text_string_to_metric_families(httpx.get(f"{self.url}/metrics", timeout=15).text)
        return {
            " ".join(sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
            if sample.name == name
        }

    def kill(self) -> None:
        """End it as a crash would: nothing is flushed, nothing handed back."""
        self.child.process.send_signal(signal.SIGKILL)
        self.child.process.wait(10)

    def log(self) -> list[dict[str, Any]]:
        """Its log, line by line."""
        return [json.loads(line) for line in self.child.program.log_path.read_text().splitlines() if line]


@dataclass
class Ground:
    """A stack without a fleet, and the processes that a drill has started on it."""

    running: Running
    home: Path
    stack: ExitStack
    overrides: dict[str, str]
    processes: list[Process] = field(default_factory=list)

    def start(self, role: str, **overrides: str) -> Process:
        """Start a process of the fleet and wait until it is ready."""
        port = free_port()
        name = f"{role}-{len(self.processes)}"
        program = Program(
            argv=[sys.executable, "-m", "workers.cli", role],
            env={
                **{name: os.environ[name] for name in _INHERITED if name in os.environ},
                **environment(self.running, role),
                **self.overrides,
                **overrides,
                "PAYMENTS_HEALTH_PORT": str(port),
                "PYTHONPATH": str(PROJECT),
            },
            log_path=self.home / f"{name}.log",
            name=name,
        )
        child = Child.start(program)
        self.stack.callback(child.stop, 20.0)
        found = Process(child, f"http://{LOOPBACK}:{port}")
        self.processes.append(found)
        child.wait_until(lambda: found.get("/ready")[0] == 200, 30)
        return found

    # -- what is sent

    def finish_jobs(self, count: int) -> None:
        """Put events of finished work straight on the event queue, ten to a request, as the bus would."""
        client: Any = aws.session(self.running.aws_endpoint_url).client("sqs")
        for first in range(0, count, 10):
            entries: Any = [
                {"Id": str(number), "MessageBody": json.dumps(self._event())}
                for number in range(min(10, count - first))
            ]
            answer = client.send_message_batch(QueueUrl=self.running.queues["events"], Entries=entries)
            assert not answer.get("Failed"), answer

    def _event(self) -> dict[str, Any]:
        line = {"description": "Tire Replacement", "quantity": 1, "unitPriceCents": 12_000}
        mileage = {"description": "Mileage", "quantity": 30, "unitPriceCents": 100}
        detail = sending.work_completed(incident_id=uuid4(), vendor_id=VENDOR, priced={"lineItems": [line, mileage]})
        return {
            "version": "0",
            "id": str(uuid4()),
            "detail-type": "WorkCompleted",
            "source": sending.WORK_SOURCE,
            "detail": detail,
        }

    def approve_all(self, at_most: int = 1_000_000) -> None:
        """Approve every payment that waits, or so many of them."""
        client: Any = aws.session(self.running.aws_endpoint_url).client("sqs")
        people = People(str(self.running.token_keys_file), self.running.database_url)
        admin = people.sender(ADMIN, "admin")
        waiting = "SELECT payment_id::text AS id FROM payments WHERE status = 'pending_approval'"
        for row in self.query(f"{waiting} ORDER BY payment_id LIMIT {at_most}"):
            fields = {"amountCents": 15_000, "currency": "USD"}
            message = sending.command("ApprovePayment", admin, {"paymentId": row["id"], **fields})
            sending.post(client, self.running.queues["commands"], message)

    # -- what is found

    def query(self, text: str) -> list[dict[str, Any]]:
        """Ask the database, as its administrator."""
        with psycopg.connect(self.running.database_url, row_factory=dict_row) as connection:
            return connection.execute(text).fetchall()

    def count(self, table: str) -> int:
        """How many rows a table has; a condition may follow its name."""
        return int(self.query(f"SELECT count(*) AS n FROM {table}")[0]["n"])

    def wait_for(self, table: str, count: float, *, within_s: float = 120) -> None:
        """Wait until a table has so many rows; a condition may follow its name."""
        until(lambda: self.count(table) >= count, what=f"{count:.0f} {table}", within_s=within_s)

    def left_in(self, name: str) -> int:
        """How many messages a queue holds: visible, in flight and delayed."""
        client: Any = aws.session(self.running.aws_endpoint_url).client("sqs")
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        answer = client.get_queue_attributes(QueueUrl=self.running.queues[name], AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def receives(self) -> Counter[str]:
        """The highest receive count of every message, by what the workers logged."""
        highest: Counter[str] = Counter()
        for process in self.processes:
            for line in process.log():
                if line.get("event") == "message":
                    key = f"{line['queue']} {line['message_id']}"
                    highest[key] = max(highest[key], line["receive_count"])
        return highest

    def assert_all_created(self, jobs: int) -> None:
        """Nothing lost and nothing doubled: one payment, its lines, its first audit row and its events per job."""
        self.wait_for("payments", jobs, within_s=180)
        until(lambda: self.left_in("events") == 0, what="an empty queue", within_s=180)
        until(lambda: self.count("outbox WHERE published_at IS NULL") == 0, what="every event to be sent", within_s=180)
        counts = {name: self.count(name) for name in ("payments", "payment_audit_log", "message_inbox")}
        assert counts == {"payments": jobs, "payment_audit_log": jobs, "message_inbox": jobs}
        assert self.count("payment_line_items") == 2 * jobs
        assert self.count("outbox") == 2 * jobs, "PaymentCreated and the request for approval, once each"
        self.assert_sound()

    def assert_all_paid(self, jobs: int) -> None:
        """One payout per payment, every step audited and announced once."""
        self.wait_for("payments WHERE status = 'completed'", jobs, within_s=300)
        inbound = ("events", "commands", "payouts")
        until(lambda: sum(map(self.left_in, inbound)) == 0, what="empty queues")
        until(lambda: self.count("outbox WHERE published_at IS NULL") == 0, what="every event to be sent")
        assert self.count("payout_attempts") == self.count("payout_attempts WHERE state = 'succeeded'") == jobs
        assert self.running.provider_url
        moved = books.transfers(self.running.provider_url)
        assert (len(moved), len({made.group for made in moved})) == (jobs, jobs), "the money moved once"
        assert {(made.amount, made.currency) for made in moved} == {(15_000, "USD")}
        assert self.count("payment_audit_log") == 4 * jobs
        assert self.count("outbox WHERE destination = 'bus'") == 4 * jobs
        self.assert_sound()

    def assert_sound(self) -> None:
        """Nothing was given up, and every audit chain is whole."""
        assert [name for name in self.running.queues if name.endswith("_dlq") and self.left_in(name)] == []
        assert self.query("SELECT queue, kind, outcome, reason, detail FROM message_failures") == []
        verify = [sys.executable, "-m", "workers.cli", "audit", "verify"]
        environment = {"PATH": os.defpath, **self.running.environment()}
        found = subprocess.run(verify, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr


@contextmanager
def ground(home: Path, **overrides: str) -> Iterator[Ground]:
    """Run Postgres and a local AWS, migrated and with the fleet's users; stop whatever a drill has started."""
    options = StackOptions(data_dir=home / "data", say=lambda _line: None)
    with infrastructure(options) as running:
        run_migrate(settings.load(running.environment()))
        with ExitStack() as stack:
            yield Ground(with_logins(running, home / "data"), home, stack, overrides)


@contextmanager
def without_postgres(found: Ground) -> Iterator[None]:
    """Stop the real server, and start it again on the same data and port."""
    found.running.children[0].stop()
    yield
    say("Postgres comes back")
    data = found.home / "data"
    postgres.serve(found.stack, data / "postgres", data / "logs" / "postgres.log", say=lambda _line: None)
