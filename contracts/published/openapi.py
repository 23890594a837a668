"""The OpenAPI 3.1 document of the read endpoint, made from the very models that its answers are made of."""

from collections.abc import Mapping
from inspect import cleandoc
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contracts.published.catalogue import SchemaGenerator
from contracts.views import AuditLog, OfficePayment, PaymentList, Problem, VendorsPayment

PAGE_DEFAULT = 50
PAGE_MAX = 200
OFFSET_MAX = 1_000_000
#: Sixteen digits of microseconds reach from 1970 to 2286.
CURSOR_PATTERN = r"^[0-9]{16}\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

_MODELS: tuple[type[BaseModel], ...] = (AuditLog, OfficePayment, PaymentList, Problem, VendorsPayment)
_REF = "#/components/schemas/{model}"
_DESCRIPTION = """\
Reads of Roadcall Payments. Nothing can be changed here: whatever changes a payment is a message.

Every read needs an Amazon Cognito access token of the configured user pool. What its bearer may see comes from their
membership: admins everything, dispatchers their company's payments, vendors their own. Another one's payment is
answered like one that does not exist. Denied reads, and reads of a history, are on record.
"""
_PROBLEMS: Mapping[int, str] = {
    400: "The request cannot be understood.",
    401: "There is no access token, or it does not prove anybody.",
    403: "The bearer's role may not read this.",
    404: "There is no such payment, or it is not the bearer's to see.",
    405: "This is read-only: GET and HEAD.",
    503: "The database or the signing keys are away. Try again.",
}


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document, as a JSON object."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Roadcall Payments, reads", "version": "1.0.0", "description": _DESCRIPTION},
        "security": [{"accessToken": []}],
        "paths": {
            "/payments/pending": _list("listPending", "Payments that wait for approval, the oldest first."),
            "/payments/flagged": _list("listFlagged", "Payments that a fraud check has flagged, the oldest first."),
            "/payments/{paymentId}": _one(
                "getPayment",
                "One payment with its lines; the back office sees more of it than its vendor.",
                {"oneOf": [_ref(OfficePayment), _ref(VendorsPayment)]},
            ),
            "/payments/{paymentId}/audit": _one(
                "getAuditLog", "A payment's history, for the back office.", _ref(AuditLog)
            ),
        },
        "components": {
            "securitySchemes": {"accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": _schemas(),
        },
    }


def _schemas() -> dict[str, Any]:
    _, found = models_json_schema(
        [(model, "serialization") for model in _MODELS], ref_template=_REF, schema_generator=SchemaGenerator
    )
    return {name: _closed(schema) for name, schema in sorted(found["$defs"].items())}


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its description in one piece, and closed: what it does not name is not sent."""
    tidy = {**schema, "description": cleandoc(schema["description"])} if "description" in schema else dict(schema)
    return {**tidy, "additionalProperties": False} if "properties" in schema else tidy


def _list(name: str, summary: str) -> dict[str, Any]:
    whole = {"type": "integer"}
    parameters = [
        _query("limit", "How many at most.", {**whole, "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT}),
        _query("offset", "After how many.", {**whole, "minimum": 0, "maximum": OFFSET_MAX, "default": 0}),
        _query(
            "cursor",
            "The `nextCursor` of the answer before; it costs the same on every page.",
            {"type": "string", "pattern": CURSOR_PATTERN},
        ),
    ]
    return {"get": _read(name, summary, _ref(PaymentList), parameters, (400, 401, 403, 405, 503))}


def _one(name: str, summary: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    payment = {
        "name": "paymentId",
        "in": "path",
        "required": True,
        "description": "The payment.",
        "schema": {
            "type": "string",
            "format": "uuid",
            "pattern": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
        },
    }
    return {"get": _read(name, summary, schema, [payment], (400, 401, 403, 404, 405, 503))}


def _query(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _read(
    name: str, summary: str, schema: Mapping[str, Any], parameters: list[dict[str, Any]], problems: tuple[int, ...]
) -> dict[str, Any]:
    answer = {"description": summary, "content": {"application/json": {"schema": schema}}}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {"200": answer, **{str(status): _problem(status) for status in problems}},
    }


def _problem(status: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": _PROBLEMS[status],
        "content": {"application/problem+json": {"schema": _ref(Problem)}},
    }
    if status == 401:  # noqa: PLR2004 - Unauthorized
        found["headers"] = {"WWW-Authenticate": {"description": "How to sign in.", "schema": {"type": "string"}}}
    return found


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _REF.format(model=model.__name__)}
