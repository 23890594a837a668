"""The trace that a message belongs to: W3C Trace Context, and AWS X-Ray's header for the same.

Three carriers are believed, in this order: the message itself, its SQS attribute `traceparent`, and `AWSTraceHeader`.
A context that is not well-formed counts as none: it is never an error of the message. Where there is none, a trace is
derived from the queue's own id of the message, so that each of its deliveries belongs to the same one. `tracestate`,
which holds vendors' private notes, is not carried on.
"""

import re
from collections.abc import Mapping
from typing import Any

from contracts import ids
from contracts.values import dataclass

#: The field of a message, and the name of the SQS message attribute.
TRACEPARENT = "traceparent"
#: What a `metadata` object may hold of W3C Trace Context: none of it is business.
TRACE_FIELDS = frozenset({TRACEPARENT, "tracestate"})
#: The length of a `traceparent` of version 00; a later version may only add to it.
TRACEPARENT_CHARS = 55
#: The longest header that is looked at, in characters: that of AWS, and far above what a later version needs.
HEADER_CHARS_MAX = 500
#: A `traceparent` of version 00, in the regular expressions that JSON Schema and Python share.
TRACEPARENT_PATTERN = "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_ROOT = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})")
_SPAN = re.compile(r"[0-9a-f]{16}")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span of a trace.

    Attributes:
        trace_id: 32 lower-case hexadecimal digits, not all zero.
        span_id: 16 of them.
        sampled: whether the trace may have been recorded by whoever was before.
    """

    trace_id: str
    span_id: str
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The context as W3C Trace Context writes it, in version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    @property
    def xray_header(self) -> str:
        """The context as AWS X-Ray writes it."""
        root = f"1-{self.trace_id[:8]}-{self.trace_id[8:]}"
        return f"Root={root};Parent={self.span_id};Sampled={int(self.sampled)}"


def from_traceparent(text: object) -> TraceContext | None:
    """Return the context of a `traceparent`, or None where it is not a well-formed one.

    Of a later version the part that is known is read, as the recommendation asks (§3.2.4); `ff` is no version.
    """
    if not isinstance(text, str) or not TRACEPARENT_CHARS <= len(text) <= HEADER_CHARS_MAX:
        return None
    found = _TRACEPARENT.fullmatch(text[:TRACEPARENT_CHARS])
    if found is None:
        return None
    version, trace_id, span_id, flags = found.groups()
    rest = text[TRACEPARENT_CHARS:]
    if version == "ff" or (rest and (version == "00" or not rest.startswith("-"))):
        return None
    return _context(trace_id, span_id, sampled=bool(int(flags, 16) & _SAMPLED))


def from_xray_header(text: object) -> TraceContext | None:
    """Return the context of an X-Ray header, or None where it is not a well-formed one or names no parent.

    Its fields may stand in any order and others are ignored. One that is not decided about counts as not sampled.
    """
    if not isinstance(text, str) or len(text) > HEADER_CHARS_MAX:
        return None
    fields = dict(field.strip().partition("=")[::2] for field in text.split(";"))
    root = _ROOT.fullmatch(fields.get("Root", ""))
    parent = fields.get("Parent", "")
    if root is None or not _SPAN.fullmatch(parent):
        return None
    return _context("".join(root.groups()), parent, sampled=fields.get("Sampled") == "1")


def _context(trace_id: str, span_id: str, *, sampled: bool) -> TraceContext | None:
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id, span_id, sampled)


def in_payload(payload: Mapping[str, Any]) -> TraceContext | None:
    """Return the context that an event's detail or a bare command carries: in its `metadata`, or else beside it."""
    metadata = payload.get("metadata")
    within = from_traceparent(metadata.get(TRACEPARENT)) if isinstance(metadata, Mapping) else None
    return within or from_traceparent(payload.get(TRACEPARENT))


def without_trace(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a payload whose `metadata` says nothing of traces: the same message, whatever trace it is sent in."""
    metadata = payload.get("metadata")
    if not isinstance(metadata, Mapping) or TRACE_FIELDS.isdisjoint(metadata):
        return payload
    left = {name: value for name, value in metadata.items() if name not in TRACE_FIELDS}
    kept = {name: value for name, value in payload.items() if name != "metadata"}
    return {**kept, "metadata": left} if left else kept


def on_arrival(sqs_message_id: str, attribute: str | None, header: str | None) -> tuple[TraceContext | None, str]:
    """Return the context that the queue says a message was sent in, if any, and the id of the message's trace."""
    caller = from_traceparent(attribute) or from_xray_header(header)
    return caller, caller.trace_id if caller else ids.trace_id(sqs_message_id)


def handling(trace_id: str, caller: TraceContext | None, *identity: object) -> TraceContext:
    """Return the context of the handling of a message: its own span, which is the same in each of its deliveries.

    Nobody has decided against recording a trace that begins here.
    """
    span_id = ids.span_id(trace_id, *identity)
    return TraceContext(trace_id, span_id, caller.sampled if caller else True)


def begun(*identity: object) -> TraceContext:
    """Return the context of something that nothing incoming has caused, such as an order of the sweep's."""
    trace_id = ids.trace_id(*identity)
    return TraceContext(trace_id, ids.span_id(trace_id, *identity))
