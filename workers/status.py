"""Role status: the read-only HTTP endpoint with payment views, in the specification's JSON shapes."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts.canonical import utc_microseconds
from contracts.ids import as_uuid
from contracts.payment import Payment
from store import reads
from store.db import Pool
from store.reads import LineView, PaymentView, TimelineEntry
from workers.health import problem

PAGE_DEFAULT = 50
PAGE_MAX = 200
OFFSET_MAX = 1_000_000
#: Columns that concern the service alone.
_INTERNAL = frozenset({"request_fingerprint", "audit_head", "source_key"})


def routes(pool: Pool) -> list[Route]:
    """Return the payment views; GET (and HEAD) only, everything else is 405."""
    return [
        Route("/payments/pending", _pending(pool), methods=["GET"]),
        Route("/payments/{payment_id}", _payment(pool), methods=["GET"]),
    ]


def payment_json(payment: Payment) -> dict[str, Any]:
    """Return a payment as the specification writes it."""
    names = (name for name in payment.__dataclass_fields__ if name not in _INTERNAL)
    return {to_camel(name): _json(getattr(payment, name)) for name in names}


def line_json(line: LineView) -> dict[str, Any]:
    """Return a line item as the specification writes it."""
    return {to_camel(name): _json(getattr(line, name)) for name in line.__dataclass_fields__}


def payment_view_json(view: PaymentView) -> dict[str, Any]:
    """Return a payment with its lines as the specification writes it."""
    return {"payment": payment_json(view.payment), "lineItems": [line_json(line) for line in view.lines]}


def detail_json(view: PaymentView, timeline: Sequence[TimelineEntry]) -> dict[str, Any]:
    """Return a payment with its lines and its timeline."""
    entries = [{name: _json(getattr(entry, name)) for name in entry.__dataclass_fields__} for entry in timeline]
    return {**payment_view_json(view), "timeline": entries}


def _payment(pool: Pool) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        payment_id = as_uuid(request.path_params["payment_id"])
        if payment_id is None:
            return problem(400, "Bad Request", "The payment id is not a UUID.")
        found = reads.payment(pool, payment_id)
        if found is None:
            return problem(404, "Not Found", "There is no such payment.")
        return JSONResponse(payment_view_json(found))

    return answer


def _pending(pool: Pool) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        limit = _number(request, "limit", PAGE_DEFAULT, low=1, high=PAGE_MAX)
        offset = _number(request, "offset", 0, low=0, high=OFFSET_MAX)
        if limit is None or offset is None:
            detail = f"limit is 1 to {PAGE_MAX}, offset 0 to {OFFSET_MAX}, both whole numbers."
            return problem(400, "Bad Request", detail)
        found = [payment_json(payment) for payment in reads.pending(pool, limit=limit, offset=offset)]
        page = {"limit": limit, "offset": offset, "count": len(found)}
        return JSONResponse({"payments": found, "pagination": page})

    return answer


def _number(request: Request, name: str, default: int, *, low: int, high: int) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return default
    # isascii: isdigit alone takes digits of every script
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(high)):
        return None
    number = int(text)
    return number if low <= number <= high else None


def _json(value: Any) -> Any:
    match value:
        case UUID():
            return str(value)
        case datetime():
            return utc_microseconds(value)
        case _:
            return value
