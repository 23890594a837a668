"""Spans, by OpenTelemetry: one around the handling of a message, one around each request of the relay.

This is the one module that knows the messaging conventions' names (semantic conventions 1.45, where they are still in
development). The SDK and the exporter are the extra `tracing`. Without them, or without OpenTelemetry's own variable
OTEL_EXPORTER_OTLP_ENDPOINT, nothing is recorded; the trace context of messages goes its way all the same.

No attribute holds a body, a token, a name or a text of anybody's, and no exception is recorded but its class: the text
of one may quote what was being handled.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    NoOpTracerProvider,
    ProxyTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TracerProvider,
    get_tracer,
    get_tracer_provider,
    set_span_in_context,
    use_span,
)
from opentelemetry.util.types import AttributeValue

from contracts.inbound import Cause, Parsed
from contracts.outbound import Destination
from contracts.outcome import Outcome
from contracts.traces import TraceContext, from_traceparent
from workers.delivery import Delivery
from workers.logs import logger
from workers.tripwire import as_id

SYSTEM, SQS, EVENT_BRIDGE = "messaging.system", "aws_sqs", "aws_eventbridge"
DESTINATION = "messaging.destination.name"
OPERATION, OPERATION_TYPE = "messaging.operation.name", "messaging.operation.type"
PROCESS, SEND = "process", "send"
MESSAGE_ID = "messaging.message.id"
CONVERSATION_ID = "messaging.message.conversation_id"
MESSAGE_COUNT = "messaging.batch.message_count"
ERROR_TYPE = "error.type"
# Our own.
PAYMENT_ID, OUTCOME, MESSAGE_TYPE = "payments.payment_id", "payments.outcome", "payments.message_type"
#: The trace of the message itself, by which its log lines are found; where spans are linked it is not the span's own.
MESSAGE_TRACE = "payments.trace_id"

#: What says where spans go; one is enough.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
#: What an entry of a batch that was not taken is called.
NOT_TAKEN = "entries_not_taken"
#: How long one export of spans may take, and how long the end of a process waits for the last, in seconds.
EXPORT_S = 3
CLOSE_S = 5.0
#: The global providers that record nothing: that of OpenTelemetry's API by itself, and before one is set.
_NOBODY = (NoOpTracerProvider, ProxyTracerProvider)
_ERRORS = frozenset({Outcome.FAULT, Outcome.INVALID})
_log = logger(__name__)


class Tracing:
    """Begins and ends spans; safe to share between threads."""

    def __init__(
        self,
        provider: TracerProvider | None = None,
        *,
        parent: bool = False,
        shut_down: Callable[[], object] = lambda: None,
    ) -> None:
        """Keep where spans go.

        Args:
            provider: who records them; by default whoever is OpenTelemetry's global one, which may be nobody.
            parent: whether the handling of a message is a child of the span that it was sent in. By default it begins
                a trace of its own with a link to that span: a message may have waited for hours.
            shut_down: sends what is still to be sent and ends the provider; may take its time.
        """
        self._shut_down = shut_down
        self._records = provider is not None or not isinstance(get_tracer_provider(), _NOBODY)
        self._tracer = get_tracer(__name__, tracer_provider=provider)
        self._parent = parent

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Send what is still to be sent, for so many seconds at most: a collector that is away ends no process late."""
        ending = threading.Thread(target=self._shut_down, name="spans-end", daemon=True)
        ending.start()
        ending.join(timeout_s)

    @contextmanager
    def processing(self, delivery: Delivery, parsed: Parsed | None, begun_ns: int) -> Iterator["Handling"]:
        """Be in the span of handling a message, which begins at a time in nanoseconds since 1970.

        Afterwards the delivery knows the trace that it is handled in. Where the span is recorded as a child, that is
        the span itself; otherwise it is the one that is derived from the message.
        """
        if parsed is not None and parsed.cause.trace is not None:
            delivery.trace = parsed.cause.trace
        if not self._records:
            yield _UNSEEN
            return
        caller = parsed.cause.caller if parsed else delivery.arrival.trace()[0]
        source = _span_context(caller or delivery.trace)
        span = self._tracer.start_span(
            f"{PROCESS} {delivery.source.queue}",
            context=set_span_in_context(NonRecordingSpan(source), Context()) if self._parent else Context(),
            kind=SpanKind.CONSUMER,
            attributes=_of_message(delivery, parsed.cause if parsed else None),
            links=() if self._parent else (Link(source),),
            start_time=begun_ns,
        )
        if self._parent and span.is_recording():
            delivery.trace = _trace_context(span)
        with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield Handling(span)

    @contextmanager
    def sending(self, destination: str, traceparents: Sequence[str | None]) -> Iterator["Sending"]:
        """Be in the span of one request, with a link to whatever each of its messages comes of."""
        if not self._records:
            yield Sending(INVALID_SPAN)
            return
        contexts = map(from_traceparent, traceparents)
        span = self._tracer.start_span(
            f"{SEND} {destination}",
            kind=SpanKind.PRODUCER,
            attributes={
                SYSTEM: EVENT_BRIDGE if destination == Destination.BUS else SQS,
                DESTINATION: destination,
                OPERATION: SEND,
                OPERATION_TYPE: SEND,
                MESSAGE_COUNT: len(traceparents),
            },
            links=[Link(_span_context(found)) for found in contexts if found is not None],
        )
        with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield Sending(span)
            except Exception as error:
                _failed(span, type(error).__name__)
                raise


class Handling:
    """The span of handling a message."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def ended(self, outcome: Outcome, reason: str | None, payment_id: str | None) -> None:
        """Say how it ended; `reason` is a code or an exception's class."""
        self._span.set_attribute(OUTCOME, outcome.value)
        if payment_id is not None:
            self._span.set_attribute(PAYMENT_ID, payment_id)
        if outcome in _ERRORS:
            _failed(self._span, reason or outcome.value)
        elif outcome is Outcome.RETRY:
            self._span.set_attribute(ERROR_TYPE, reason or outcome.value)


#: The handling of a message that nobody records.
_UNSEEN = Handling(INVALID_SPAN)


class Sending:
    """The span of one request of the relay."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def not_taken(self) -> None:
        """Say that some of the messages were not taken."""
        _failed(self._span, NOT_TAKEN)


def configure_tracing(
    role: str, version: str, environment: str, *, parent: bool, variables: Mapping[str, str] = os.environ
) -> Tracing:
    """Return what begins this process's spans, recorded where OpenTelemetry's own variables say where they go.

    Args:
        role: the process's part in the fleet.
        version: the release.
        environment: where it runs.
        parent: whether a message's span is a child of the one that it was sent in.
        variables: the environment.
    """
    off = variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if off or not any(variables.get(name) for name in ENDPOINTS):
        return Tracing(parent=parent)
    try:
        return _recording(role, version, environment, parent=parent, patient="OTEL_EXPORTER_OTLP_TIMEOUT" in variables)
    except ImportError:
        _log.warning("no spans are recorded: install the extra `tracing`")
        return Tracing(parent=parent)


def _recording(role: str, version: str, environment: str, *, parent: bool, patient: bool) -> Tracing:
    """Return what records by the SDK, which exports in batches and once more when it is closed.

    Unless its own variable says otherwise (`patient`), an export takes `EXPORT_S` at most.
    """
    # The SDK is an extra: whoever does without spans does without it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider as Recording  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    facts = {"service.name": "roadcall-payments", "service.version": version, "payments.role": role}
    resource = Resource.create({**facts, "deployment.environment.name": environment})
    provider = Recording(resource=resource, shutdown_on_exit=False)  # by itself it may take half a minute
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=None if patient else EXPORT_S)))
    return Tracing(provider, parent=parent, shut_down=provider.shutdown)


def within(parsed: Parsed, trace: TraceContext) -> Parsed:
    """Return a message whose consequences are sent in a trace."""
    return parsed if parsed.cause.trace == trace else replace(parsed, cause=replace(parsed.cause, trace=trace))


def _of_message(delivery: Delivery, cause: Cause | None) -> dict[str, AttributeValue]:
    facts: dict[str, AttributeValue] = {
        SYSTEM: SQS,
        DESTINATION: delivery.source.queue.value,
        OPERATION: PROCESS,
        OPERATION_TYPE: PROCESS,
        MESSAGE_ID: delivery.arrival.sqs_message_id,
        MESSAGE_TRACE: delivery.trace.trace_id,
    }
    if cause is not None:
        facts |= {MESSAGE_TYPE: cause.kind, CONVERSATION_ID: as_id(cause.correlation)}
    return facts


def _failed(span: Span, what: str) -> None:
    span.set_attribute(ERROR_TYPE, what)
    span.set_status(Status(StatusCode.ERROR))


def _span_context(trace: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), is_remote=True, trace_flags=flags)


def _trace_context(span: Span) -> TraceContext:
    found = span.get_span_context()
    return TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags.sampled)
