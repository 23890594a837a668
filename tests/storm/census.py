"""Counts what a fleet still holds when nothing is left to do, and what is left of it once it has stopped."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.storm.driver import INBOUND, Storm
from tests.storm.fleet import STOP_S, Slot
from workers import settings
from workers.local.fleet import environment
from workers.local.logins import user

#: How long a census is repeated before what it finds is a leak: a pool shrinks and a lease ends in its own time.
PATIENCE_S = 60.0
#: Connections of a process outside its pool: a worker's bell and its breaker's probe; a relay's ear.
BESIDE_POOL = {"worker": 2, "relay": 1}
#: How many connections a relay's pool has at most (workers.roles.relay.run_relay).
RELAY_POOL_MAX = 3

SESSIONS = """
SELECT usename, count(*) AS sessions, count(*) FILTER (WHERE state LIKE 'idle in transaction%%') AS idle_in_transaction
FROM pg_stat_activity WHERE usename = ANY(%s) GROUP BY usename
"""
Finding = tuple[str, str, str]


def at_rest(storm: Storm) -> list[Finding]:
    """Return what the idle fleet holds and should not; what is held for a moment only is looked at again."""
    fresh = _fresh_threads(storm)
    deadline = time.monotonic() + PATIENCE_S
    while (found := list(_held(storm, fresh))) and time.monotonic() < deadline:
        _pass(storm, 1.0)
    return found


def after_stop(storm: Storm) -> list[Finding]:
    """Stop every process by SIGTERM; return what it left behind."""
    found: list[Finding] = []
    for slot in storm.fleet.slots:
        code = slot.running.child.stop(STOP_S)
        last = _last_line(slot)
        told = {name: last.get(name) for name in ("event", "clean", "healthy")}
        good = {"event": f"{slot.role} stopped", "clean": True if slot.role == "worker" else None, "healthy": True}
        if (code, told) != (0, good):
            found.append(("leak: stop", slot.name, f"exit code {code}, last line {told}"))
    sessions = storm.ask(SESSIONS, [[user(role) for role in BESIDE_POOL]])
    found += [("leak: connection", row["usename"], f"{row['sessions']} sessions after the stop") for row in sessions]
    return [*found, *_in_flight(storm)]


def faults_told(storm: Storm) -> list[Finding]:
    """Return the faults that the processes told of: bugs, or broken invariants, whatever came of their messages."""
    told: Counter[str] = Counter()
    for slot in storm.fleet.slots:
        with slot.running.child.program.log_path.open() as lines:
            faults = (json.loads(line) for line in lines if '"event": "fault"' in line)
            told.update(f"{fault['error']} at {fault['where']}" for fault in faults)
    return [("fault", what, f"{count} times") for what, count in told.items()]


def _held(storm: Storm, fresh: dict[str, int]) -> Iterator[Finding]:
    yield from _in_flight(storm)
    for slot in storm.fleet.slots:
        status, health = storm.fleet.health(slot)
        if status != 200:
            yield "leak: health", slot.name, f"/health answers {status}: {health}"
        elif health.get("held", 0):
            yield "leak: slot", slot.name, f"holds {health['held']} messages while its queues are empty"
        threads = _threads(slot)
        if threads > fresh[slot.role]:
            yield "leak: thread", slot.name, f"{threads} threads, a fresh {slot.role} has {fresh[slot.role]}"
    most = _sessions_max(storm)
    for row in storm.ask(SESSIONS, [[user(role) for role in most]]):
        if row["idle_in_transaction"]:
            yield "leak: transaction", row["usename"], f"{row['idle_in_transaction']} idle in transaction"
        role = row["usename"].removeprefix(user(""))
        if row["sessions"] > most[role]:
            yield "leak: connection", row["usename"], f"{row['sessions']} sessions, {most[role]} at most"


def _in_flight(storm: Storm) -> Iterator[Finding]:
    client = storm.ground.sqs()
    for name in INBOUND:
        if count := storm.ground.depth(client, name)["in flight"]:
            yield "leak: lease", name, f"{count} messages in flight"


def _sessions_max(storm: Storm) -> dict[str, int]:
    """Return how many sessions the processes of a role may have together."""
    pools = {
        "worker": settings.load(environment(storm.ground.running, "worker")).pool_size_max,
        "relay": RELAY_POOL_MAX,
    }
    sizes = {role: sum(slot.role == role for slot in storm.fleet.slots) for role in pools}
    return {role: sizes[role] * (pools[role] + beside) for role, beside in BESIDE_POOL.items()}


def _fresh_threads(storm: Storm) -> dict[str, int]:
    """Return how many threads a fresh, idle process of each role has: one is started anew and asked like the others."""
    found = {}
    for role in BESIDE_POOL:
        slot = storm.fleet.up(role)[0]
        storm.fleet.terminate(slot)
        storm.wait(lambda slot=slot: slot.stage == "up", PATIENCE_S + STOP_S, f"a fresh {role}")  # type: ignore[misc]
        _pass(storm, 3.0)
        storm.fleet.health(slot)
        found[role] = _threads(slot)
    return found


def _last_line(slot: Slot) -> dict[str, Any]:
    try:
        return json.loads(slot.running.child.log_tail(1))
    except ValueError:
        return {}


def _threads(slot: Slot) -> int:
    status = Path(f"/proc/{slot.running.child.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("Threads:")).split()[1])


def _pass(storm: Storm, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        storm.tick()
