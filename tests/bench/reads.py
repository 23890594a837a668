"""How long the status role takes to answer a person: the payments that wait, and one payment."""

import http.client
import random
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

from tests.bench.bulk import company
from tests.bench.contestants import READY_S, is_ready
from tests.bench.figures import percentiles
from tests.bench.ground import Run
from tests.bench.processes import Measured
from tests.kit import people
from workers.local.pools import LocalPool
from workers.local.processes import LOOPBACK, LocalStackError, free_port

PENDING_OF_COMPANY, PENDING_OF_ALL, ONE = "pending, one company's", "pending, all companies'", "one payment"
_DISPATCHER, _ADMIN = UUID(int=0xD15, version=4), UUID(int=0xAD, version=4)
_PENDING_PATH = "/payments/pending"
#: Requests that are not counted: connections, prepared statements, keys.
_WARM_UP = 20


def measured(run: Run, requests: int) -> Mapping[str, tuple[float, float]]:
    """Return p50 and p99, in milliseconds, of so many requests of each kind, one after the other."""
    port = free_port()
    env = {**run.running.environment("status"), "PAYMENTS_STATUS_PORT": str(port)}
    log_path = run.ground.home / f"{run.name}-status.log"
    process = Measured.start(run.stack, "status", "workers.cli", "status", env=env, log_path=log_path)
    process.child.wait_until(partial(is_ready, port), READY_S)
    dispatcher, admin = _tokens(run)
    some = [f"/payments/{payment_id}" for payment_id in _some_payments(run, requests)]
    asked = {
        PENDING_OF_COMPANY: (dispatcher, [_PENDING_PATH] * requests),
        PENDING_OF_ALL: (admin, [_PENDING_PATH] * requests),
        ONE: (admin, some),
    }
    return {name: percentiles(_times_ms(port, token, paths)) for name, (token, paths) in asked.items()}


def _tokens(run: Run) -> tuple[str, str]:
    """Make a dispatcher of one company and an admin, and return a token of each."""
    who = [(_DISPATCHER, "dispatcher"), (_ADMIN, "admin")]
    members = [{"id": str(subject), "role": role, "companyId": str(company())} for subject, role in who]
    people.enrol(run.database_url, members)
    pool, at, lifetime = LocalPool(run.ground.keys_file), datetime.now(UTC), timedelta(hours=1)
    dispatcher, admin = (pool.mint(subject, [role], at, lifetime=lifetime) for subject, role in who)
    return dispatcher, admin


def _some_payments(run: Run, count: int) -> Sequence[str]:
    text = "SELECT payment_id::text AS id FROM payments ORDER BY hashtext(payment_id::text) LIMIT %s"
    found = [row["id"] for row in run.query(text, count)]
    return random.Random(count).choices(found, k=count)  # noqa: S311 - which ones, not who


def _times_ms(port: int, token: str, paths: Sequence[str]) -> list[float]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
    times = []
    for path in [*paths[:_WARM_UP], *paths]:
        began = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        times.append((time.perf_counter() - began) * 1000)
        if answer.status != http.client.OK:
            raise LocalStackError(f"GET {path} was answered with {answer.status}")
    connection.close()
    return times[-len(paths) :]
