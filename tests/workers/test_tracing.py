"""Spans as a real SDK records them, and the trace that a message and what follows from it belong to."""

import io
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import messaging_attributes as messaging
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.openmetrics.exposition import generate_latest

from contracts.envelope import Queue
from contracts.outbound import Destination
from contracts.traces import TraceContext, from_traceparent
from handlers.decision import Rules
from store.db import Pool, Transient, TransientReason
from tests.house.tree import ROOT
from tests.kit import messages as m
from tests.kit.brokers import EVENTS, AtWork, backlog, running
from tests.kit.funnel import rows
from tests.kit.proofs import SENDER, SENDERS, TRUST
from tests.kit.providers import nobody
from tests.kit.sqs import URL, MemorySqs, until
from workers import tracing
from workers.consume import MessageHandler
from workers.delivery import Delivery, InboundQueue, Settlement
from workers.metrics import Metrics
from workers.relay import Relay, RelayOptions, Sent
from workers.tracing import Tracing, configure_tracing

CALLER = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
ATTRIBUTE = TraceContext("c" * 32, "3" * 16)
HEADER = TraceContext("d" * 32, "4" * 16)


class Recording:
    """An SDK that keeps what it records."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def only(self) -> ReadableSpan:
        [span] = self.spans()
        return span


@pytest.fixture
def recording() -> Recording:
    return Recording()


def deliver(
    body: str, queue: Queue = Queue.EVENTS, *, attribute: TraceContext | None = None, header: TraceContext | None = None
) -> Delivery:
    raw: Any = {
        "MessageId": "sqs-1",
        "ReceiptHandle": "receipt",
        "Body": body,
        "Attributes": {
            "SentTimestamp": str(int(datetime.now(UTC).timestamp() * 1000)),
            "ApproximateReceiveCount": "1",
            "SenderId": SENDER,
        },
    }
    if attribute:
        raw["MessageAttributes"] = {"traceparent": {"DataType": "String", "StringValue": attribute.traceparent}}
    if header:
        raw["Attributes"]["AWSTraceHeader"] = header.xray_header
    return Delivery(InboundQueue(queue, "url", "dlq"), raw)


def handler(pool: Pool, traced: Tracing | None = None, metrics: Metrics | None = None) -> MessageHandler:
    rules = Rules(provider="none", senders=SENDERS)
    return MessageHandler(pool, nobody(pool), rules, TRUST, metrics or Metrics(), tracing=traced)


def sent(pool: Pool) -> TraceContext:
    [row] = rows(pool, "SELECT traceparent FROM outbox WHERE detail_type = 'PaymentCreated'")
    found = from_traceparent(row["traceparent"])
    assert found is not None
    return found


@contextmanager
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        yield logs


# -- the names


def test_the_names_are_those_of_the_conventions():
    assert tracing.SYSTEM == messaging.MESSAGING_SYSTEM
    assert messaging.MessagingSystemValues.AWS_SQS.value == tracing.SQS
    assert tracing.DESTINATION == messaging.MESSAGING_DESTINATION_NAME
    assert tracing.OPERATION == messaging.MESSAGING_OPERATION_NAME
    assert tracing.OPERATION_TYPE == messaging.MESSAGING_OPERATION_TYPE
    assert {each.value for each in messaging.MessagingOperationTypeValues} >= {tracing.PROCESS, tracing.SEND}
    assert tracing.MESSAGE_ID == messaging.MESSAGING_MESSAGE_ID
    assert tracing.CONVERSATION_ID == messaging.MESSAGING_MESSAGE_CONVERSATION_ID
    assert tracing.MESSAGE_COUNT == messaging.MESSAGING_BATCH_MESSAGE_COUNT
    assert tracing.ERROR_TYPE == error_attributes.ERROR_TYPE


# -- handling a message


def test_a_message_s_span_says_what_it_was_and_how_it_ended(pool: Pool, recording: Recording):
    handler(pool, Tracing(recording.provider)).handle(deliver(m.body(m.work(traceparent=CALLER.traceparent))))
    span = recording.only()
    [payment] = rows(pool, "SELECT payment_id FROM payments")
    assert (span.name, span.kind, span.status.status_code) == (
        "process payments-events",
        SpanKind.CONSUMER,
        StatusCode.UNSET,
    )
    assert dict(span.attributes or {}) == {
        "messaging.system": "aws_sqs",
        "messaging.destination.name": "payments-events",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": "sqs-1",
        "messaging.message.conversation_id": str(m.EVENT),
        "payments.message_type": "WorkCompleted",
        "payments.trace_id": CALLER.trace_id,
        "payments.outcome": "applied",
        "payments.payment_id": str(payment["payment_id"]),
    }


def test_by_default_a_span_begins_a_trace_of_its_own_with_a_link_to_where_it_comes_from(
    pool: Pool, recording: Recording
):
    delivery = deliver(m.body(m.work(traceparent=CALLER.traceparent)))
    handler(pool, Tracing(recording.provider)).handle(delivery)
    span = recording.only()
    assert span.parent is None
    [link] = span.links
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == (CALLER.trace_id, CALLER.span_id)
    assert sent(pool) == delivery.trace
    assert delivery.trace.trace_id == CALLER.trace_id


def test_as_a_child_it_goes_on_with_the_trace_and_what_follows_comes_of_the_span_itself(
    pool: Pool, recording: Recording
):
    with logged() as logs:
        handler(pool, Tracing(recording.provider, parent=True)).handle(
            deliver(m.body(m.work(traceparent=CALLER.traceparent)))
        )
    span = recording.only()
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == CALLER.span_id
    own = TraceContext(f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
    assert own.trace_id == CALLER.trace_id
    assert sent(pool) == own
    assert {(log["trace_id"], log["span_id"]) for log in logs} == {(own.trace_id, own.span_id)}


def test_as_a_child_that_nobody_sampled_it_is_not_recorded_and_its_trace_goes_on(pool: Pool, recording: Recording):
    quiet = TraceContext(CALLER.trace_id, CALLER.span_id, sampled=False)
    handler(pool, Tracing(recording.provider, parent=True)).handle(
        deliver(m.body(m.work(traceparent=quiet.traceparent)))
    )
    assert recording.spans() == []
    assert (sent(pool).trace_id, sent(pool).sampled) == (CALLER.trace_id, False)


@pytest.mark.parametrize("parent", [False, True])
def test_without_a_context_a_message_has_the_same_trace_in_each_of_its_deliveries(
    pool: Pool, recording: Recording, *, parent: bool
):
    traced = handler(pool, Tracing(recording.provider, parent=parent))
    first, again = deliver(m.body(m.work())), deliver(m.body(m.work()))
    traced.handle(first)
    traced.handle(again)
    assert first.trace.trace_id == again.trace.trace_id == sent(pool).trace_id
    if not parent:
        assert first.trace == again.trace


@pytest.mark.parametrize(
    ("said", "expected"),
    [({"attribute": ATTRIBUTE, "header": HEADER}, ATTRIBUTE), ({"header": HEADER}, HEADER)],
)
@pytest.mark.parametrize("body", [m.body(m.work()), "rubbish"])
def test_the_queue_s_word_is_taken_too_also_of_what_is_no_message(
    pool: Pool, recording: Recording, said: dict[str, TraceContext], expected: TraceContext, body: str
):
    delivery = deliver(body, attribute=said.get("attribute"), header=said.get("header"))
    handler(pool, Tracing(recording.provider)).handle(delivery)
    [link] = recording.only().links
    assert f"{link.context.span_id:016x}" == expected.span_id
    assert delivery.trace.trace_id == expected.trace_id


def fails_with(error: BaseException) -> Any:
    def process(*_: object, **__: object) -> None:
        raise error

    return process


@pytest.mark.parametrize(
    ("body", "error", "kind", "status"),
    [
        ("rubbish", None, "not_json", StatusCode.ERROR),
        (m.body(m.work()), ZeroDivisionError("secret words"), "ZeroDivisionError", StatusCode.ERROR),
        (m.body(m.work()), Transient(TransientReason.TIMEOUT, "57014"), "transient_timeout", StatusCode.UNSET),
    ],
)
def test_what_goes_wrong_is_a_code_or_a_class_and_no_text(
    pool: Pool, recording: Recording, monkeypatch, body: str, error: Exception | None, kind: str, status: StatusCode
):
    if error:
        monkeypatch.setattr("workers.consume.process", fails_with(error))
    handler(pool, Tracing(recording.provider)).handle(deliver(body))
    span = recording.only()
    assert (span.attributes or {})["error.type"] == kind
    assert (span.status.status_code, span.status.description) == (status, None)
    assert span.events == ()


# -- logs and metrics


def test_every_line_of_a_message_says_its_trace_and_the_next_message_has_its_own(pool: Pool, monkeypatch):
    traced = handler(pool)
    with logged() as logs:
        traced.handle(deliver(m.body(m.work(traceparent=CALLER.traceparent))))
        monkeypatch.setattr("workers.consume.process", fails_with(ZeroDivisionError()))
        traced.handle(deliver(m.body(m.work()), attribute=ATTRIBUTE))
        traced.handle(deliver("rubbish", header=HEADER))
    traces = [(log["event"], log["trace_id"]) for log in logs]
    assert traces == [
        ("message", CALLER.trace_id),
        ("fault", ATTRIBUTE.trace_id),
        ("message", ATTRIBUTE.trace_id),
        ("message", HEADER.trace_id),
    ]
    assert all(len(log["span_id"]) == 16 for log in logs)
    assert structlog.contextvars.get_contextvars() == {}


def test_nothing_is_left_bound_even_where_a_handler_is_torn_out(pool: Pool, monkeypatch):
    monkeypatch.setattr("workers.consume.process", fails_with(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        handler(pool).handle(deliver(m.body(m.work())))
    assert structlog.contextvars.get_contextvars() == {}


def test_a_bucket_s_exemplar_leads_to_a_message_s_trace(pool: Pool):
    metrics = Metrics()
    handler(pool, metrics=metrics).handle(deliver(m.body(m.work(traceparent=CALLER.traceparent))))
    exposed = generate_latest(metrics.registry).decode()  # type: ignore[no-untyped-call]
    assert f'# {{trace_id="{CALLER.trace_id}"}}' in exposed


def test_aws_s_own_header_is_asked_for_and_comes_through_the_queue():
    sqs, seen = MemorySqs(), list[tuple[str | None, str]]()
    header = {"DataType": "String", "StringValue": HEADER.xray_header}
    sqs.send_message(QueueUrl=URL + EVENTS, MessageBody="x", MessageSystemAttributes={"AWSTraceHeader": header})

    def handle(delivery: Delivery) -> None:
        seen.append((delivery.arrival.trace_header, delivery.trace.trace_id))
        delivery.settle_as(Settlement.DELETE)

    with running(sqs, handle):
        until(lambda: seen)
    assert seen == [(HEADER.xray_header, HEADER.trace_id)]


@pytest.mark.parametrize("trouble", ["lease lost", "settling refused: the lease was lost"])
def test_what_is_said_of_a_delivery_outside_its_handling_names_its_trace_too(trouble: str):
    sqs = backlog(1)
    with logged() as logs:
        if trouble == "lease lost":
            at_work = AtWork()
            with running(sqs, at_work, visibility_s=2, renew_every_s=0.1) as found:
                at_work.await_begun(1)
                sqs.refused |= {delivery.receipt_handle for delivery in found.broker.holding.deliveries()}
                until(lambda: logs)
                at_work.release()
        else:
            with running(sqs, lambda delivery: _refuse(sqs, delivery)):
                until(lambda: logs)
    [line] = [log for log in logs if log["event"] == trouble]
    assert {"queue", "message_id", "trace_id", "span_id"} <= line.keys()
    assert line["trace_id"] == deliver_as(line["message_id"]).trace_id


def _refuse(sqs: MemorySqs, delivery: Delivery) -> None:
    sqs.refused.add(delivery.receipt_handle)
    delivery.settle_as(Settlement.DELETE)


def deliver_as(message_id: str) -> TraceContext:
    """The context that a message without one is handled in, by the id that its queue gave it."""
    raw: Any = {"MessageId": message_id, "Attributes": {}}
    return Delivery(InboundQueue(Queue.EVENTS, "url", "dlq"), raw).trace


# -- sending


def relay(pool: Pool, recording: Recording, sender: Any) -> Relay:
    senders = dict.fromkeys(Destination, sender)
    return Relay(pool, senders, RelayOptions(), Metrics(), Tracing(recording.provider))


def test_a_request_of_the_relay_is_a_span_with_a_link_for_each_message(pool: Pool, recording: Recording):
    handler(pool).handle(deliver(m.body(m.work(traceparent=CALLER.traceparent))))
    relay(pool, recording, lambda chunk: Sent({row.outbox_id: "sent" for row in chunk}, (), ())).run_once()
    spans = {span.name: span for span in recording.spans()}
    assert spans.keys() == {"send bus", "send approvals"}
    for span in spans.values():
        [link] = span.links
        assert f"{link.context.trace_id:032x}" == CALLER.trace_id
        assert (span.kind, span.status.status_code) == (SpanKind.PRODUCER, StatusCode.UNSET)
        assert (span.attributes or {})["messaging.batch.message_count"] == 1


def test_what_was_not_taken_or_fails_is_said(pool: Pool, recording: Recording):
    handler(pool).handle(deliver(m.body(m.work())))
    relay(pool, recording, lambda chunk: Sent({}, chunk, ())).run_once()
    assert {(span.attributes or {})["error.type"] for span in recording.spans()} == {tracing.NOT_TAKEN}
    with pytest.raises(ZeroDivisionError), Tracing(recording.provider).sending("bus", [None, "rubbish"]):
        raise ZeroDivisionError("secret words")
    last = recording.spans()[-1]
    assert ((last.attributes or {})["error.type"], last.links, last.events) == ("ZeroDivisionError", (), ())
    assert last.status.description is None


# -- switching it on


def test_without_an_endpoint_nothing_is_recorded_and_nothing_is_said(pool: Pool):
    found = configure_tracing("worker", "1", "test", parent=True, variables={})
    with logged() as logs:
        delivery = deliver(m.body(m.work()))
        handler(pool, found).handle(delivery)
    assert [log["event"] for log in logs] == ["message"]
    assert sent(pool) == delivery.trace


def test_switched_off_by_opentelemetry_s_own_variable_it_is_off(monkeypatch):
    monkeypatch.setattr(tracing, "_recording", fails_with(AssertionError()))
    for variables in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {**_ENDPOINT, "OTEL_SDK_DISABLED": "true"}):
        configure_tracing("worker", "1", "test", parent=False, variables=variables)


_ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


def test_without_the_extra_it_says_so_and_goes_on(monkeypatch):
    monkeypatch.setattr(tracing, "_recording", fails_with(ImportError()))
    with logged() as logs:
        configure_tracing("worker", "1", "test", parent=False, variables=_ENDPOINT)
    assert [log["event"] for log in logs] == ["no spans are recorded: install the extra `tracing`"]


class Collector(ThreadingHTTPServer):
    """An OTLP receiver that keeps what it is sent."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.taken.append((self.path, body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_with_an_endpoint_spans_go_there_over_http(collector: Collector):
    script = (
        "from workers.tracing import configure_tracing\n"
        "tracing = configure_tracing('relay', '1.2.3', 'test', parent=False)\n"
        "with tracing.sending('bus', [None]):\n    pass\n"
        "tracing.close()\n"
    )
    url = f"http://127.0.0.1:{collector.server_port}"
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
    [(path, body)] = collector.taken
    assert path == "/v1/traces"
    for word in (b"send bus", b"roadcall-payments", b"1.2.3", b"relay", b"messaging.batch.message_count"):
        assert word in body


def test_a_collector_that_never_answers_keeps_no_process_from_its_end():
    began = time.monotonic()
    Tracing(shut_down=lambda: time.sleep(30)).close(0.2)
    assert time.monotonic() - began < 5


def test_the_api_alone_says_nothing_on_any_logger(pool: Pool):
    stream = io.StringIO()
    handler_ = logging.StreamHandler(stream)
    logging.getLogger("opentelemetry").addHandler(handler_)
    try:
        handler(pool).handle(deliver(m.body(m.work())))
    finally:
        logging.getLogger("opentelemetry").removeHandler(handler_)
    assert stream.getvalue() == ""
