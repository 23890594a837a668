"""The process itself: no interrupts, no dramatiq command line, clients and pools that fit their threads, own queues."""

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from dramatiq.middleware import CurrentMessage

from contracts.envelope import Queue
from store import db
from tests.kit.brokers import EVENTS, running, settle
from tests.kit.sqs import URL, MemorySqs, until
from workers import catalogue, settings
from workers.breaker import Breaker
from workers.delivery import Delivery, InboundQueue, Settlement, inbound_queue
from workers.metrics import Metrics
from workers.roles import process, worker
from workers.settings import Settings

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


def test_t5_each_client_has_a_connection_for_every_thread_that_uses_it(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(process, "inbound_queue", lambda _client, queue, url: InboundQueue(queue, url, f"{url}-dlq"))
    urls: Any = {f"{name}_queue_url": URL + name for name in ("event", "command", "payout")}
    found = Settings(worker_threads=10, pollers_per_queue=7, **urls)
    metrics = Metrics()
    away = [Breaker(name, lambda: None, metrics, every_s=1) for name in ("database", "provider")]  # neither is asked
    broker = worker._broker(found, worker.Breakers(*away), metrics)
    receiving: Any = broker._pollers._client.meta.config
    settling: Any = broker._client.meta.config
    assert receiving.max_pool_connections >= len(broker._pollers.threads()) == 21
    assert settling.max_pool_connections >= found.worker_threads + len(("settler", "lease keeper"))
    assert [config.retries["mode"] for config in (receiving, settling)] == ["standard"] * 2


def test_t8_a_process_opens_few_connections_and_gives_them_back():
    found = Settings()
    options = replace(found.pool_options("worker"), size_min=0)
    with db.open_pool("host=127.0.0.1 port=1", options) as pool:
        assert found.worker_threads <= pool.max_size <= 10
        assert pool.max_idle <= 30
    with pytest.raises(settings.SettingsError, match="PAYMENTS_POOL_SIZE_MAX"):
        settings.load({"PAYMENTS_WORKER_THREADS": "11"})


def test_p6_a_queue_that_is_not_there_is_an_error_and_never_made():
    sqs = MemorySqs()
    missing = ClientError({"Error": {"Code": "AWS.SimpleQueueService.NonExistentQueue"}}, "GetQueueAttributes")
    sqs.faults["get_queue_attributes"].append(missing)
    with pytest.raises(ClientError):
        inbound_queue(sqs, Queue.EVENTS, URL + "nowhere")  # type: ignore[arg-type]
    assert not [path for path in PRODUCT if "create_queue" in path.read_text() and "local" not in path.parts]


def test_p7_these_are_the_rights_that_a_worker_needs_on_its_queues():
    sqs = MemorySqs()
    for settlement in Settlement:
        sqs.put(EVENTS, settlement.value)

    def handle(delivery: Delivery) -> None:
        until(lambda: sqs.named("change_message_visibility_batch"), what="a renewal")
        delivery.settle_as(Settlement(delivery.body))

    with running(sqs, handle, renew_every_s=0.05):
        until(lambda: len(sqs.held(EVENTS)) == 1, what="what is deleted and what is dead-lettered")
    asked = {
        (name, str(arguments.get("QueueUrl", URL + arguments.get("QueueName", ""))).removeprefix(URL))
        for name, arguments in sqs.calls
    }
    assert {place for name, place in asked if name == "get_queue_url"} == {f"{queue}-dlq" for queue in Queue}
    assert {name for name, place in asked if place == EVENTS} == {
        "get_queue_attributes",
        "receive_message",
        "change_message_visibility_batch",
        "delete_message_batch",
    }
    assert {name for name, place in asked if place == f"{EVENTS}-dlq"} == {"get_queue_url", "send_message"}


def test_p8_a_dead_letter_queue_is_found_by_its_policy_whatever_it_is_called():
    class Named(MemorySqs):
        def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
            arn = "arn:aws:sqs:us-east-1:0:what_nobody-took.v2"
            return {"Attributes": {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn})}}

    found = inbound_queue(Named(), Queue.EVENTS, URL + "some.other_name")  # type: ignore[arg-type]
    assert found.url == URL + "some.other_name"
    assert found.dead_letter_url == URL + "what_nobody-took.v2"


def test_o1_the_metrics_of_a_process_are_its_own_and_nothing_of_them_is_on_disk():
    first, second = Metrics(), Metrics()
    labels = {"queue": Queue.EVENTS.value, "result": "deleted"}
    first.inc(catalogue.SETTLED, *labels.values())
    counted = [each.registry.get_sample_value("payments_messages_settled_total", labels) for each in (first, second)]
    assert counted == [1, 0]
    assert not [path for path in PRODUCT if "PROMETHEUS_MULTIPROC_DIR" in path.read_text()]
