"""Each rival does all of the work, each job once: one that did less would be measured as too fast."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tests.bench.rivals import bodies, work
from tests.kit import fauxqs
from tests.kit.sqs import until
from workers import sending
from workers.local import aws, postgres
from workers.local.aws import PROJECT_ROOT
from workers.local.processes import Child, Program, start

RIVALS = ("loop", "dramatiq_sqs", "celery_sqs")
LINES = [{"description": f"Work {number}", "quantity": 1, "unitPriceCents": 1_000 * number} for number in (1, 2, 3)]
JOBS = 50
DEPTHS = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]


@pytest.fixture(scope="module")
def sqs_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with fauxqs.serving(tmp_path_factory.mktemp("sqs") / "fauxqs.log") as url:
        yield url


@pytest.fixture
def client(sqs_url: str) -> Any:
    return aws.session(sqs_url).client("sqs")


@pytest.fixture
def queue_url(client: Any) -> str:
    return fauxqs.create_queues(client, prefix=f"{uuid4().hex[:8]}-")["events"]


@pytest.fixture
def empty_url(server: postgres.Server) -> Iterator[str]:
    """A database with a rival's tables and nothing else."""
    name = f"rival_{uuid4().hex}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        work.create(server.url(name))
        yield server.url(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def started(sqs_url: str, queue_url: str, empty_url: str, tmp_path: Path) -> Iterator[Callable[[str], Child]]:
    """Return what starts a rival and waits until it is ready."""
    log_path = tmp_path / "rival.log"
    env = {
        "PATH": os.defpath,
        "AWS_ENDPOINT_URL": sqs_url,
        "AWS_DEFAULT_REGION": aws.REGION,
        "AWS_ACCESS_KEY_ID": aws.ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": aws.SECRET_ACCESS_KEY,
        "RIVAL_DATABASE_URL": empty_url,
        "RIVAL_QUEUE": queue_url.rpartition("/")[2],
        "RIVAL_THREADS": "4",
    }
    with ExitStack() as stack:

        def run(name: str) -> Child:
            argv = [sys.executable, "-m", f"tests.bench.rivals.{name}"]
            child = start(stack, Program(argv=argv, env=env, log_path=log_path, name=name, cwd=PROJECT_ROOT))
            child.wait_until(lambda: "ready" in child.log_tail().splitlines(), 30)
            return child

        yield run


@pytest.mark.long
@pytest.mark.stack
@pytest.mark.parametrize("name", RIVALS)
def test_it_does_each_job_once_and_leaves_nothing(name, started, client, queue_url, empty_url):
    child = started(name)
    sent = [bodies.body(name, _detail()) for _ in range(JOBS)]
    for body in [*sent, sent[0]]:
        client.send_message(QueueUrl=queue_url, MessageBody=body)
    until(lambda: _left(client, queue_url) == 0, within_s=30, what="an empty queue", every_s=0.1)
    assert _counts(empty_url) == {"rival_inbox": 50, "payments": 50, "payment_line_items": 150, "payment_audit_log": 50}
    assert child.stop() == 0
    assert "Traceback" not in child.log_tail(100)
    assert _left(client, queue_url) == 0


@pytest.mark.long
@pytest.mark.stack
@pytest.mark.parametrize("name", RIVALS)
def test_its_payment_says_what_the_job_said(name, started, client, queue_url, empty_url):
    started(name)
    detail = _detail()
    client.send_message(QueueUrl=queue_url, MessageBody=bodies.body(name, detail))
    columns = "incident_id::text, vendor_id::text, amount_cents, currency, status, created_at IS NOT NULL"
    wanted = (detail["incidentId"], detail["vendorId"], 6_000, "USD", "pending_approval", True)
    until(lambda: _rows(empty_url, f"SELECT {columns} FROM payments") == [wanted], every_s=0.1)


def test_celery_is_imported_only_for_its_own_bodies():
    code = (
        "import sys; from tests.bench.rivals import bodies; bodies.body('loop', {}); sys.exit('celery' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=False).returncode == 0


def test_a_body_for_celery_is_what_celery_sends_but_for_its_ids():
    from tests.bench.rivals import celery_producer  # noqa: PLC0415 - as late as bodies imports it

    detail = _detail()
    assert _nameless(bodies.body("celery_sqs", detail)) == _nameless(celery_producer.sent(detail))


def _nameless(body: str) -> dict[str, Any]:
    """Return a message with the lengths of its ids."""
    message = json.loads(base64.b64decode(body))
    ids = {"headers": ("id", "root_id"), "properties": ("correlation_id", "delivery_tag", "reply_to")}
    for part, names in ids.items():
        message[part] |= {name: len(message[part][name]) for name in names}
    return message


def _detail() -> dict[str, Any]:
    return sending.work_completed(incident_id=uuid4(), vendor_id=uuid4(), priced={"lineItems": LINES})


def _left(client: Any, queue_url: str) -> int:
    answer = client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=DEPTHS)
    return sum(int(answer["Attributes"][name]) for name in DEPTHS)


def _counts(database_url: str) -> dict[str, int]:
    tables = ("rival_inbox", "payments", "payment_line_items", "payment_audit_log")
    return {table: _rows(database_url, f"SELECT count(*) FROM {table}")[0][0] for table in tables}


def _rows(database_url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(query).fetchall()
