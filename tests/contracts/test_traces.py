"""The trace context of a message: strictly read, from the carrier that is believed first, never a message's error."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import traces
from contracts.envelope import Arrival, Queue
from contracts.inbound import Parsed
from contracts.traces import TraceContext, from_traceparent, from_xray_header
from tests.kit import messages as m

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
OF_THE_BODY = TraceContext("a" * 32, "1" * 16)
BESIDE = TraceContext("b" * 32, "2" * 16)
OF_THE_ATTRIBUTE = TraceContext("c" * 32, "3" * 16)
OF_THE_HEADER = TraceContext("d" * 32, "4" * 16)

MALFORMED: list[Any] = [
    None,
    7,
    "",
    TRACE,
    PARENT.upper(),
    PARENT[:-1],
    PARENT + "0",
    PARENT + "-more",
    f" {PARENT[1:]}",
    PARENT.replace("-", "_"),
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"ff-{TRACE}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-0g",
    f"0x-{TRACE}-{SPAN}-01",
    f"cc-{TRACE}-{SPAN}-01x",
    f"cc-{TRACE}-{SPAN}-01-{'x' * 500}",
    f"00-{TRACE[:-1]}\u0661-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-01\n",
]
MALFORMED_HEADERS: list[Any] = [
    None,
    7,
    "",
    "Root",
    f"Root=1-5759e988-bd862e3fe1be46a99427279;Parent={SPAN}",
    f"Root=2-5759e988-bd862e3fe1be46a994272793;Parent={SPAN}",
    f"Root=1-00000000-{'0' * 24};Parent={SPAN}",
    "Root=1-5759e988-bd862e3fe1be46a994272793",
    "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=short",
    f"Root=1-5759e988-bd862e3fe1be46a994272793;Parent={'0' * 16}",
    f"Root=1-5759e988-bd862e3fe1be46a994272793;Parent={SPAN};Own={'x' * 500}",
]


def test_the_example_of_the_recommendation_is_read_and_written_as_it_is():
    found = from_traceparent(PARENT)
    assert found == TraceContext(TRACE, SPAN, sampled=True)
    assert found.traceparent == PARENT
    assert len(found.traceparent) == traces.TRACEPARENT_CHARS


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_of_the_flags_only_the_one_that_is_defined_counts(flags: str, *, sampled: bool):
    found = from_traceparent(f"00-{TRACE}-{SPAN}-{flags}")
    assert found is not None
    assert found.sampled is sampled
    assert found.traceparent.endswith("-01" if sampled else "-00")


@pytest.mark.parametrize("text", [f"cc-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-01-what-comes-later"])
def test_of_a_later_version_what_is_known_is_read(text: str):
    assert from_traceparent(text) == TraceContext(TRACE, SPAN)


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_not_well_formed_is_none(text: Any):
    assert from_traceparent(text) is None


@pytest.mark.parametrize(
    "header",
    [
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        "Sampled=1;Parent=53995c3f42cd8ad8;Root=1-5759e988-bd862e3fe1be46a994272793",
        "Self=1-6-1;Root=1-5759e988-bd862e3fe1be46a994272793; Parent=53995c3f42cd8ad8;Lineage=a:1;Sampled=1",
    ],
)
def test_an_x_ray_header_is_read_in_any_order(header: str):
    found = from_xray_header(header)
    assert found == TraceContext("5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8")
    assert found.xray_header == "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.mark.parametrize("decision", ["", ";Sampled=0", ";Sampled=?"])
def test_an_x_ray_header_that_decides_nothing_is_not_sampled(decision: str):
    found = from_xray_header(f"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8{decision}")
    assert found is not None
    assert not found.sampled


@pytest.mark.parametrize("header", MALFORMED_HEADERS)
def test_an_x_ray_header_that_is_not_well_formed_is_none(header: Any):
    assert from_xray_header(header) is None


@given(st.text(alphabet="0123456789abcdef-;=RootParent \u0661", max_size=80))
def test_no_text_whatever_raises(text: str):
    for found in (from_traceparent(text), from_xray_header(text)):
        assert found is None or from_traceparent(found.traceparent) == found


# -- which carrier is believed


def arrived(message: dict[str, Any], **said: str | None) -> Parsed:
    queue = Queue.COMMANDS if "type" in message else Queue.EVENTS
    return m.read(m.body(message), Arrival(queue, "sqs-1", m.NOW, **said))  # type: ignore[arg-type]


def held(**fields: Any) -> dict[str, Any]:
    return m.command("HoldPayment", paymentId="x", reasonCode="x", reason="x", **fields)


ALL: dict[str, Any] = {"traceparent": OF_THE_ATTRIBUTE.traceparent, "trace_header": OF_THE_HEADER.xray_header}
WITHIN = {"metadata": {"traceparent": OF_THE_BODY.traceparent}}


@pytest.mark.parametrize("make", [m.work, held])
@pytest.mark.parametrize(
    ("fields", "said", "caller"),
    [
        ({**WITHIN, "traceparent": BESIDE.traceparent}, ALL, OF_THE_BODY),
        ({"traceparent": BESIDE.traceparent}, ALL, BESIDE),
        ({"metadata": {"traceparent": "rubbish"}, "traceparent": BESIDE.traceparent}, ALL, BESIDE),
        ({"metadata": "rubbish", "traceparent": 7}, ALL, OF_THE_ATTRIBUTE),
        ({}, ALL, OF_THE_ATTRIBUTE),
        ({}, {**ALL, "traceparent": "rubbish"}, OF_THE_HEADER),
        ({}, {"trace_header": OF_THE_HEADER.xray_header}, OF_THE_HEADER),
        ({}, {"trace_header": "rubbish"}, None),
        ({}, {}, None),
    ],
)
def test_the_message_itself_goes_before_its_attribute_and_that_before_aws_s_header(make, fields, said, caller):
    cause = arrived(make(**fields), **said).cause
    assert cause.caller == caller
    assert cause.trace is not None
    if caller:
        assert cause.trace.trace_id == caller.trace_id
        assert cause.trace.span_id != caller.span_id


def test_who_is_not_sampled_stays_so():
    cause = arrived(m.work(traceparent=PARENT[:-1] + "0")).cause
    assert cause.trace is not None
    assert not cause.trace.sampled


def test_without_a_context_every_delivery_of_a_message_has_the_same_one_and_another_message_another():
    first, again = arrived(m.work()).cause.trace, arrived(m.work()).cause.trace
    assert first == again
    other = m.read(m.body(m.work()), Arrival(Queue.EVENTS, "sqs-2", m.NOW)).cause.trace
    assert first is not None
    assert other is not None
    assert first.trace_id != other.trace_id
    assert from_traceparent(first.traceparent) == first, "what is derived is well-formed"


def test_two_messages_of_one_trace_are_handled_in_spans_of_their_own():
    one = arrived(m.work(traceparent=PARENT)).cause.trace
    two = arrived(m.work(traceparent=PARENT, eventId="other")).cause.trace
    assert one is not None
    assert two is not None
    assert (one.trace_id, one.trace_id) == (TRACE, two.trace_id)
    assert len({one.span_id, two.span_id, SPAN}) == 3


@pytest.mark.parametrize(
    "sample",
    [
        m.work(),
        held(),
        m.command(
            "CreatePayment",
            incidentId="i",
            vendorId="v",
            payerType="back_office",
            amountCents=1,
            lineItems=[],
        ),
    ],
    ids=["event", "command", "CreatePayment"],
)
@pytest.mark.parametrize(
    "carrier",
    [{"traceparent": PARENT}, {"metadata": {"traceparent": PARENT, "tracestate": "a=b"}}, {"traceparent": {"a": 1}}],
)
def test_the_trace_is_no_business_the_same_message_in_another_one_is_a_repetition(sample, carrier):
    assert arrived({**sample, **carrier}).cause.fingerprint == arrived(sample).cause.fingerprint


def test_what_else_a_command_says_in_its_metadata_still_counts():
    def create(**metadata: Any) -> Parsed:
        fields: dict[str, Any] = {
            "incidentId": "i",
            "vendorId": "v",
            "payerType": "back_office",
            "amountCents": 1,
            "lineItems": [],
        }
        return arrived(m.command("CreatePayment", **fields, metadata=metadata))

    assert create(reference="a").cause.fingerprint != create(reference="b").cause.fingerprint
    assert create(reference="a", traceparent=PARENT).message == create(reference="a").message


def test_a_provider_s_event_and_an_order_of_our_own_are_traced_like_any_other():
    event = json.loads(json.dumps(m.provider_event()))
    event["detail"]["traceparent"] = PARENT
    assert m.read(json.dumps(event), Arrival(Queue.EVENTS, "sqs-1", m.NOW)).cause.caller == TraceContext(TRACE, SPAN)


def test_what_nothing_has_caused_begins_a_trace_that_is_the_same_each_time():
    assert traces.begun("order", 1) == traces.begun("order", 1) != traces.begun("order", 2)
