"""Metrics: the catalogue's and nothing else, from closed sets, all of them there from the start."""

import re
import subprocess
from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from prometheus_client import exposition
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from contracts.envelope import DELIVERIES, Queue
from contracts.outbound import Destination
from contracts.outcome import Outcome
from tests.kit.promql import promtool
from workers import catalogue
from workers.catalogue import CATALOGUE, NO_KIND, OTHER, Kind, Metric, Role
from workers.metrics import Metrics, UnknownSeriesError

NAME = re.compile(r"payments_[a-z][a-z0-9_]*[a-z0-9]")
LONG_HEX = re.compile(r"[0-9a-f]{8}")
#: What a label may be called; an id among them would make a series per payment.
LABELS = {
    *("queue", "message_type", "outcome", "result", "destination", "dependency", "operation", "table", "kind", "state"),
    *("source", "payer_type", "currency", "from_status", "to_status", "actor_kind", "decision", "model", "reason"),
    *("detail_type", "provider", "sqlstate_class", "command", "surface", "detector", "invariant", "route", "method"),
    *("status", "version", "commit", "role", "look", "le"),
}


def families(metrics: Metrics) -> list:
    text = generate_latest(metrics.registry).decode()  # type: ignore[no-untyped-call]
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def shown(metrics: Metrics, metric: Metric, read: list | None = None) -> list[tuple[tuple[str, ...], float]]:
    """Its series as a scraper reads them; of a histogram its counts."""
    wanted = f"{metric.name}_count" if metric.kind is Kind.HISTOGRAM else metric.name
    return [
        (tuple(sample.labels[label] for label in metric.labels), sample.value)
        for family in read or families(metrics)
        for sample in family.samples
        if sample.name == wanted
    ]


@pytest.mark.parametrize("role", Role)
def test_a_role_shows_its_metrics_of_the_catalogue_from_the_start_and_nothing_else(role: Role):
    metrics = Metrics(role, version="1.2.3", commit="abc")
    read = families(metrics)
    found = {sample.name for family in read for sample in family.samples}
    wanted = [metric for metric in CATALOGUE if role in metric.roles and metric.known]
    assert found == {name for metric in wanted if metric.series for name in metric.samples} | {"payments_info"}
    for metric in wanted:
        if metric is not catalogue.INFO:
            assert sorted(shown(metrics, metric, read)) == sorted((series, 0) for series in metric.series), metric.name
    assert shown(metrics, catalogue.INFO) == [(("1.2.3", "abc", role), 1)]


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_each_metric_is_named_as_prometheus_names_things(metric: Metric):
    assert NAME.fullmatch(metric.name)
    assert metric.help.endswith("."), "a sentence"
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert set(metric.labels) <= LABELS
    assert len(set(metric.series)) == len(metric.series)
    assert all(len(series) == len(metric.labels) for series in metric.series)
    assert not any(LONG_HEX.search(value) for series in metric.series for value in series)
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.roles
    bare = metric.name.removesuffix("_total")
    if metric.unit is catalogue.Unit.SECONDS:
        assert bare.endswith("_seconds")
    if metric.unit is catalogue.Unit.TIMESTAMP:
        assert bare.endswith("_timestamp_seconds")
    if metric.unit is catalogue.Unit.MINOR_UNITS:
        assert bare.endswith("_minor_units")


def test_a_gauge_of_which_zero_is_not_known_to_be_true_comes_with_its_first_value():
    metrics = Metrics(Role.MONITOR)
    assert shown(metrics, catalogue.OUTBOX_PENDING) == []
    assert shown(metrics, catalogue.PENDING) == []
    metrics.set(catalogue.OUTBOX_PENDING, 7)
    metrics.set(catalogue.PENDING, 3, "back_office")
    assert shown(metrics, catalogue.OUTBOX_PENDING) == [((), 7)]
    assert shown(metrics, catalogue.PENDING) == [(("back_office",), 3)]


def test_a_gauge_is_shown_by_the_scrape_that_finds_its_value():
    metrics = Metrics(Role.RELAY)
    metrics.before_scrape(lambda: metrics.set(catalogue.CREDENTIALS_AGE, 60))
    assert shown(metrics, catalogue.CREDENTIALS_AGE) == [((), 60)]


def test_a_gauge_that_nobody_knows_any_more_is_gone_until_it_is_set_again():
    metrics = Metrics(Role.MONITOR)
    metrics.clear(catalogue.PENDING, "back_office")
    metrics.set(catalogue.PENDING, 3, "back_office")
    metrics.set(catalogue.PENDING, 4, "driver_ic")
    metrics.clear(catalogue.PENDING, "back_office")
    assert shown(metrics, catalogue.PENDING) == [(("driver_ic",), 4)]
    metrics.set(catalogue.PENDING, 5, "back_office")
    assert sorted(shown(metrics, catalogue.PENDING)) == [(("back_office",), 5), (("driver_ic",), 4)]


@pytest.mark.parametrize("role", Role)
def test_promtool_finds_no_fault_with_what_a_role_shows(role: Role):
    metrics = Metrics(role, version="1.2.3", commit="abc")
    for metric in CATALOGUE:
        if role in metric.roles and not metric.known:
            for series in metric.series:
                metrics.set(metric, 1, *series)
    text = exposition.generate_latest(metrics.registry)
    wanted = {metric.name for metric in CATALOGUE if role in metric.roles and metric.series}
    assert wanted <= set(re.findall(r"^# TYPE (\S+)", text.decode(), re.MULTILINE))
    found = subprocess.run([promtool(), "check", "metrics"], input=text, capture_output=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")


def test_labels_outside_of_the_catalogue_are_a_bug():
    metrics = Metrics(Role.WORKER)
    with pytest.raises(UnknownSeriesError, match="payments_visibility_extensions_total"):
        metrics.inc(catalogue.LEASES, "gone")
    with pytest.raises(UnknownSeriesError):
        metrics.inc(catalogue.PUBLISHED, Destination.BUS, OTHER, "sent")  # the relay's


def test_every_outcome_of_every_kind_on_its_queues_is_there():
    kinds = {(queue, kind) for kind, places in DELIVERIES.items() for queue, _ in places}
    read = {(str(queue), kind, str(outcome)) for queue, kind in kinds for outcome in Outcome}
    unread = {(str(queue), NO_KIND, outcome) for queue in Queue for outcome in ("invalid", "retry", "fault")}
    assert set(catalogue.PROCESSED.series) == read | unread


def test_an_exemplar_leads_from_a_bucket_to_a_trace():
    metrics, trace = Metrics(Role.WORKER), "0af7651916cd43dd8448eb211c80319c"
    labels = (Queue.EVENTS, "WorkCompleted", Outcome.APPLIED)
    metrics.observe(catalogue.PROCESSING, 0.02, *labels, trace_id=trace)
    exemplars = [sample.exemplar for family in families(metrics) for sample in family.samples if sample.exemplar]
    assert [exemplar.labels for exemplar in exemplars] == [{"trace_id": trace}]


def test_two_processes_in_one_test_do_not_share_their_counts():
    first, second = Metrics(), Metrics()
    first.inc(catalogue.LEASES, "lost")
    assert (first.value(catalogue.LEASES, "lost"), second.value(catalogue.LEASES, "lost")) == (1, 0)


def test_the_longest_answer_to_a_scrape_is_within_bounds():
    size = len(generate_latest(Metrics(Role.WORKER).registry))  # type: ignore[no-untyped-call]
    assert size < 1_500_000, "Prometheus takes what it is given; a label too many multiplies it"


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
