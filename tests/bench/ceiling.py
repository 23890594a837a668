"""The ceiling: the very statements of our `WorkCompleted` transaction, sent by pgbench with nothing around them.

No queue, no parsing, no decision, no events that leave. The statements are captured from `handlers.process` on the
database of the run, anew for each, since the database accepts no times that are long past.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg

from contracts.envelope import Arrival, Queue
from contracts.inbound import parse
from handlers.decision import Rules
from handlers.process import process
from store import db
from store.db import PoolOptions
from store.flights import Flights, Slot, numbered
from tests.bench import pgbench
from tests.bench.contestants import Ours, detail
from tests.bench.figures import Counts, Figures
from tests.bench.ground import Ground, Setting
from tests.bench.pgbench import Sent
from tests.bench.processes import cpu_of_tree_s
from tests.bench.throughput import Load
from tests.kit.proofs import proof_of
from workers import settings
from workers.local.postgres import wheel_binaries
from workers.local.processes import LocalStackError
from workers.sending import WORK_SOURCE

#: Connections of pgbench, and its threads.
CLIENTS: Mapping[Setting, int] = {Setting.BARE: 8, Setting.DEPLOYED: 16}
_JOBS = 2
#: How many transactions for each message that contestants are given: it is that much faster.
_TIMES = 3
_WITHIN_S = 300.0
_FACTS = {"tps": r"^tps = ([\d.]+)", "done": r"actually processed: (\d+)", "failed": r"failed transactions: (\d+)"}
_TABLES = ("payments", "payment_line_items", "payment_audit_log", "message_inbox", "outbox")
#: As the service's own connections have them (`store.db`).
_SESSION = "-c statement_timeout=10000 -c lock_timeout=5000 -c timezone=UTC"


@dataclass(frozen=True, slots=True)
class Ceiling:
    """An entrant that is no contestant."""

    name: str = "ceiling"
    title: str = "pgbench, our statements alone"

    def measure(self, ground: Ground, setting: Setting, load: Load, threads: int | None = None) -> Figures:
        """Measure it once, with so many connections.

        Raises:
            LocalStackError: pgbench failed, or the tables do not hold what it says it did.
        """
        clients = threads or CLIENTS[setting]
        with ground.run(setting, ours=True) as run:
            rules = settings.load(run.running.environment("worker")).rules()
            url, path = run.running.database_urls["worker"], ground.home / f"{run.name}.sql"
            path.write_text(captured_script(url, rules))
            before, cpu_s = rows(run.database_url), _postgres_cpu_s(ground)
            found = repeated(url, path, clients, load.messages * _TIMES // clients)
            cpu_s = _postgres_cpu_s(ground) - cpu_s
            verify(before, rows(run.database_url), done := int(found["done"]))
        return Figures(
            contestant=self.name,
            setting=setting,
            threads=clients,
            messages=done,
            per_second=round(found["tps"], 1),
            servers_cpu_ms={"postgres": round(cpu_s * 1000 / done, 4)},
            counts=Counts(clients * (load.messages * _TIMES // clients), done),
        )


def _postgres_cpu_s(ground: Ground) -> float:
    return cpu_of_tree_s(ground.servers()["postgres"])


def captured_script(url: str, rules: Rules) -> str:
    """Return the script for pgbench, from two messages that are handled in a database."""
    first, second = captured(url, rules)
    with psycopg.connect(url) as connection:
        types = [_types(connection, one.text) for one in first]
    return pgbench.script(first, second, types)


def captured(url: str, rules: Rules) -> tuple[list[Sent], list[Sent]]:
    """Handle two messages, and return what each sent to the database."""
    both = []
    with db.open_pool(url, PoolOptions(size_min=1, size_max=1)) as pool, _listening() as heard:
        pool.wait()
        for _ in range(2):
            heard.clear()
            arrival = Arrival(Queue.EVENTS, str(uuid4()), datetime.now(UTC))
            parsed = parse(Ours({}).body(detail()), arrival, sources=frozenset({WORK_SOURCE}))
            process(pool, parsed, rules, proof_of(parsed))
            both.append(_counted_anew(heard))
    return both[0], both[1]


def _counted_anew(heard: Sequence[Sent]) -> list[Sent]:
    """Return what one message sent, its first flight as number 0."""
    return [replace(one, flight=one.flight - heard[0].flight) for one in heard]


@contextmanager
def _listening() -> Iterator[list[Sent]]:
    """Write down, in this process, every statement that is put into a flight."""
    heard: list[Sent] = []
    put, land = Flights.put, Flights.land
    flights = 0

    def hear(self: Flights, query: str, values: Any) -> Slot:
        slot = put(self, query, values)
        heard.append(Sent(flights, numbered(query)[0].decode(), tuple(map(_text, slot.params))))
        return slot

    def count(self: Flights) -> None:
        nonlocal flights
        flights += 1
        land(self)

    with mock.patch.object(Flights, "put", hear), mock.patch.object(Flights, "land", count):
        yield heard


def _text(parameter: Any) -> str | None:
    return None if parameter is None else bytes(parameter).decode()


def _types(connection: psycopg.Connection[Any], text: str) -> list[str]:
    """Return the types that the server infers for a statement's parameters."""
    if "$1" not in text:
        return []
    connection.execute(f"PREPARE one AS {text}".encode())
    row = connection.execute("SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'one'").fetchone()
    connection.execute("DEALLOCATE one")
    # As a type in a cast, `character` means one character.
    return ["bpchar" if name == "character" else name for name in row[0]] if row else []


def repeated(url: str, script: Path, clients: int, each: int) -> dict[str, float]:
    """Let pgbench send a script so often on each of so many connections; return what it says, by the names of _FACTS.

    Raises:
        LocalStackError: it failed; the text says why.
    """
    where = urlsplit(url)
    options = f"-n -M prepared -c {clients} -j {min(_JOBS, clients)} -t {each} -D n=0 -f {script.name}"
    login = f"-h {where.hostname} -p {where.port} -U {where.username} {where.path[1:]}"
    done = subprocess.run(
        [wheel_binaries() / "pgbench", *options.split(), *login.split()],
        cwd=script.parent,
        env={"PATH": os.defpath, "PGPASSWORD": where.password or "", "PGOPTIONS": _SESSION, "PGSSLMODE": "disable"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_WITHIN_S,
    )
    script.with_suffix(".log").write_text(done.stdout + done.stderr)
    found = {name: re.search(pattern, done.stdout, re.MULTILINE) for name, pattern in _FACTS.items()}
    if done.returncode or not all(found.values()):
        raise LocalStackError(f"pgbench failed:\n{done.stderr[-2_000:]}")
    return {name: float(match[1]) for name, match in found.items() if match}


def rows(url: str) -> dict[str, int]:
    """Count the rows of the tables that a message writes to."""
    with psycopg.connect(url) as connection:
        counted = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone() for name in _TABLES}
    return {name: row[0] for name, row in counted.items() if row}


def verify(before: dict[str, int], after: dict[str, int], done: int) -> None:
    """Check that each transaction has left what one message leaves; before, there were two.

    Raises:
        LocalStackError: it has not.
    """
    wanted = {name: count + done * (count // 2) for name, count in before.items()}
    if after != wanted:
        raise LocalStackError(f"pgbench says {done} transactions, but the tables hold {after} and not {wanted}")
