"""The process itself: no interrupts, no dramatiq command line, clients and pools that fit their threads, own queues."""

import ast
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from dramatiq.middleware import CurrentMessage

from contracts.envelope import Queue
from tests.kit.brokers import running, settle
from tests.kit.sqs import URL, MemorySqs
from workers import main, settings
from workers.delivery import Settlement, inbound_queue
from workers.settings import Settings
from workers.telemetry import Metrics

ROOT = Path(__file__).parents[3]
PRODUCT = [path for room in ("contracts", "store", "handlers", "workers") for path in (ROOT / room).rglob("*.py")]


def test_d11_z6_o2_nothing_interrupts_a_handler_and_nothing_waits_for_a_boot():
    with running(MemorySqs(), settle(Settlement.DELETE)) as found:
        names = [type(each).__name__ for each in found.broker.middleware]
    assert names == [CurrentMessage.__name__, "_Hooks", "_WorkerMiddleware"], "ours, and the worker's own bookkeeping"


def test_d11_every_wait_of_a_handler_together_is_shorter_than_its_lease():
    found = Settings()
    flights = 2
    waits_s = found.pool_wait_s + found.connect_timeout_s + flights * found.statement_timeout_s
    assert waits_s < found.visibility_s
    assert found.lock_timeout_s <= found.statement_timeout_s


def test_o2_o4_no_process_of_ours_comes_from_dramatiqs_command_line():
    foreign = {"dramatiq.cli", "dramatiq.__main__", "dramatiq.middleware.prometheus", "multiprocessing"}
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not foreign & set(names), path


def test_t5_one_client_has_a_connection_for_every_thread_that_uses_it(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    pollers = Settings().pollers_per_queue * len(Queue)
    config: Any = main.sqs_client(Settings(), connections=pollers + 4).meta.config
    assert config.max_pool_connections >= pollers
    assert config.retries["mode"] == "standard"


def test_t8_a_process_opens_few_connections_and_gives_them_back():
    found = Settings()
    assert found.worker_threads <= found.pool_size_max <= 10
    assert found.pool_idle_s <= 30
    with pytest.raises(settings.SettingsError, match="PAYMENTS_POOL_SIZE_MAX"):
        settings.load({"PAYMENTS_WORKER_THREADS": "11"})


def test_p6_a_queue_that_is_not_there_is_an_error_and_never_made():
    sqs = MemorySqs()
    missing = ClientError({"Error": {"Code": "AWS.SimpleQueueService.NonExistentQueue"}}, "GetQueueAttributes")
    sqs.faults["get_queue_attributes"].append(missing)
    with pytest.raises(ClientError):
        inbound_queue(sqs, Queue.EVENTS, URL + "nowhere")  # type: ignore[arg-type]
    assert not [path for path in PRODUCT if "create_queue" in path.read_text() and "local" not in path.parts]


def test_o1_the_metrics_of_a_process_are_its_own_and_nothing_of_them_is_on_disk():
    first, second = Metrics(), Metrics()
    labels = {"queue": Queue.EVENTS.value, "result": "deleted"}
    first.settled.labels(*labels.values()).inc()
    counted = [each.registry.get_sample_value("payments_messages_settled_total", labels) for each in (first, second)]
    assert counted == [1, 0]
    assert not [path for path in PRODUCT if "PROMETHEUS_MULTIPROC_DIR" in path.read_text()]
