"""Logs and metrics: every label from a closed set and there from the start; every log line is JSON."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
import structlog
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from contracts.envelope import DELIVERIES, Queue
from contracts.outbound import Destination
from contracts.outcome import Outcome
from store import db
from store.db import PoolOptions, Transient
from workers.telemetry import NO_KIND, Metrics, configure_logging, logger

#: What a label may be called; an id among them would make a series per payment.
LABELS = {"queue", "message_type", "outcome", "result", "destination", "dependency", "operation", "table", "le"}
CHATTY = ("botocore", "boto3", "urllib3", "dramatiq", "uvicorn", "alembic", "psycopg", "psycopg.pool")
LONG_HEX = re.compile(r"[0-9a-f]{8}")


def samples(metrics: Metrics) -> list[tuple[str, dict[str, str], float]]:
    """Every sample, read as a scraper reads it."""
    text = generate_latest(metrics.registry).decode()  # type: ignore[no-untyped-call]
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def counted(metrics: Metrics, name: str) -> list[dict[str, str]]:
    return [labels for found, labels, value in samples(metrics) if found == name and value == 0]


def test_every_outcome_of_every_kind_on_its_queues_is_there_at_zero():
    found = counted(Metrics(), "payments_messages_processed_total")
    kinds = {(queue, kind) for kind, places in DELIVERIES.items() for queue, _ in places}
    places = kinds | {(queue, NO_KIND) for queue in Queue}
    assert {(each["queue"], each["message_type"], each["outcome"]) for each in found} == {
        (str(queue), kind, str(outcome)) for queue, kind in places for outcome in Outcome
    }


def test_every_result_of_sending_and_renewing_is_there_at_zero():
    published = counted(Metrics(), "payments_events_published_total")
    assert {(each["destination"], each["result"]) for each in published} == {
        (str(destination), result) for destination in Destination for result in ("sent", "failed", "rejected")
    }
    leases = counted(Metrics(), "payments_visibility_extensions_total")
    assert {each["result"] for each in leases} == {"extended", "lost"}


def test_every_table_that_is_pruned_is_there_at_zero():
    assert counted(Metrics(), "payments_pruned_rows_total") == [{"table": "message_inbox"}, {"table": "outbox"}]


def test_no_label_holds_an_id():
    for name, labels, _ in samples(Metrics()):
        assert set(labels) <= LABELS, name
        assert not any(LONG_HEX.search(value) for value in labels.values()), name


def test_two_processes_in_one_test_do_not_share_their_counts():
    first, second = Metrics(), Metrics()
    first.leases.labels("lost").inc()
    assert second.registry.get_sample_value("payments_visibility_extensions_total", {"result": "lost"}) == 0


@contextmanager
def configured() -> Iterator[None]:
    """Logging as a role has it, on the standard error that there is now; afterwards as it was."""
    root = logging.getLogger()
    handlers, level, known = list(root.handlers), root.level, {name: logging.getLogger(name).level for name in CHATTY}
    configure_logging("worker", "1.2.3", "test", "INFO")
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, before in known.items():
            logging.getLogger(name).setLevel(before)
        structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    out, err = capsys.readouterr()
    assert out == "", "standard output belongs to the commands"
    return [json.loads(line) for line in err.splitlines()]


def test_our_own_line_is_one_json_object_with_who_when_and_what(capsys: pytest.CaptureFixture[str]):
    with configured(), structlog.contextvars.bound_contextvars(queue="payments-events", message_id="sqs-1"):
        logger("test").info("message", outcome="applied", text='a "quoted"\nline')
    [line] = lines(capsys)
    assert (line["service"], line["role"], line["version"], line["env"]) == (
        "roadcall-payments",
        "worker",
        "1.2.3",
        "test",
    )
    assert (line["event"], line["level"], line["outcome"]) == ("message", "info", "applied")
    assert (line["queue"], line["message_id"]) == ("payments-events", "sqs-1")
    assert line["text"] == 'a "quoted"\nline'
    assert line["ts"].endswith("Z")


def test_a_library_s_line_is_json_too_with_its_exception_in_it(capsys: pytest.CaptureFixture[str]):
    with configured():
        try:
            json.loads("{")
        except ValueError:
            logging.getLogger("some.library").exception("it %s", "failed")
    [line] = lines(capsys)
    assert (line["event"], line["level"], line["role"]) == ("it failed", "error", "worker")
    assert "JSONDecodeError" in line["exception"]


@pytest.mark.parametrize("name", [name for name in CHATTY if not name.startswith("psycopg")])
def test_chatty_libraries_are_heard_from_warnings_on(capsys: pytest.CaptureFixture[str], name: str):
    with configured():
        logging.getLogger(f"{name}.part").info("request with a body")
        logging.getLogger(f"{name}.part").warning("trouble")
    assert [line["event"] for line in lines(capsys)] == ["trouble"]


def test_a_driver_that_quotes_a_connection_string_is_not_heard(capsys: pytest.CaptureFixture[str]):
    wrong = "postgresql://u:s3cr%zzet@127.0.0.1:1/x"
    options = PoolOptions(size_min=1, wait_s=0.3)
    with configured(), db.open_pool(wrong, options) as pool, pytest.raises(Transient):
        db.ping(pool)
    told = capsys.readouterr()
    assert "s3cr" not in told.err + told.out


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]):
    with configured():
        logger("test").debug("detail")
    assert lines(capsys) == []


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("sqs", "ReceiveMessage", {"QueueUrl": "http://127.0.0.1:1/0/q"}),
        ("events", "PutEvents", {"Entries": [{"Source": "a", "DetailType": "b", "Detail": "{}"}]}),
    ],
)
def test_every_request_to_aws_is_counted_repetitions_too(service: Any, operation: str, arguments: dict):
    metrics = Metrics()
    client: Any = boto3.client(
        service,
        endpoint_url="http://127.0.0.1:1",
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(retries={"mode": "standard", "total_max_attempts": 2}),
    )
    metrics.count_requests(client)
    with pytest.raises(EndpointConnectionError):
        getattr(client, xform_name(operation))(**arguments)
    counted = metrics.registry.get_sample_value("payments_aws_requests_total", {"operation": operation})
    assert counted == 2
    client.close()
