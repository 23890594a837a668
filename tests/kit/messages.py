"""Builders of inbound bodies and parsed messages; every field can be overridden, `...` removes it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from contracts.envelope import Arrival, Queue
from contracts.inbound import Parsed, parse

#: The time of every pure test.
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SOURCES = frozenset({"roadcall.incident", "roadcall.incident-service", "incident-svc"})
PROVIDER_SOURCE = "aws.partner/stripe.com/ed_test_61QyRz8Hk3Lm0A4bC5dE6f7g"
PROVIDER_SOURCES = frozenset({PROVIDER_SOURCE})

INCIDENT = UUID("11111111-1111-4111-8111-111111111111")
VENDOR = UUID("22222222-2222-4222-8222-222222222222")
COMPANY = UUID("33333333-3333-4333-8333-333333333333")
OTHER_COMPANY = UUID("33333333-3333-4333-8333-333333333334")
DRIVER = UUID("44444444-4444-4444-8444-444444444444")
DISPATCHER = UUID("55555555-5555-4555-8555-555555555555")
ADMIN = UUID("66666666-6666-4666-8666-666666666666")
EVENT = UUID("77777777-7777-4777-8777-777777777777")

#: The commands that say which payment they are about, and what their sender saw of it.
ABOUT_A_PAYMENT = {"ApprovePayment", "RejectPayment", "CancelPayment", "HoldPayment", "ReleaseHold", "ProcessPayment"}
_HOME = {"ExecutePayout": Queue.PAYOUTS, "ReconcileAttempt": Queue.PAYOUTS}


def dispatcher(**overrides: Any) -> dict[str, Any]:
    """The actor of a dispatcher of COMPANY."""
    return _with({"id": str(DISPATCHER), "type": "user", "role": "dispatcher", "companyId": str(COMPANY)}, overrides)


def admin(**overrides: Any) -> dict[str, Any]:
    """The actor of an admin."""
    return _with({"id": str(ADMIN), "type": "admin", "role": "admin"}, overrides)


def work(**overrides: Any) -> dict[str, Any]:
    """The detail of a WorkCompleted of 150.00 USD in two lines."""
    detail = {
        "eventId": str(EVENT),
        "timestamp": NOW.isoformat(),
        "version": "1.0",
        "incidentId": str(INCIDENT),
        "vendorId": str(VENDOR),
        "companyId": str(COMPANY),
        "completedAt": NOW.isoformat(),
        "lineItems": [
            {"description": "Tire Replacement - Base Service", "quantity": 1, "unitPriceCents": 12000},
            {"description": "Mileage Charge", "quantity": 1, "unitPriceCents": 3000},
        ],
    }
    return _with(detail, overrides)


def command(kind: str, number: int = 1, **overrides: Any) -> dict[str, Any]:
    """A command of a kind; `number` makes its id. What its sender saw is the payment of `work`."""
    body = {
        "type": kind,
        "commandId": f"aaaaaaaa-aaaa-4aaa-8aaa-{number:012d}",
        "schemaVersion": "1.0",
        "issuedAt": NOW.isoformat(),
        "actor": dispatcher(),
    }
    seen = {"amountCents": 15000, "currency": "USD"} if kind in ABOUT_A_PAYMENT else {}
    return _with({**body, **seen}, overrides)


def provider_event(kind: str = "transfer.created", about: str = "tr_1", **overrides: Any) -> dict[str, Any]:
    """An event of the provider's as EventBridge delivers it; the overrides are those of the event itself."""
    event = {
        "id": "evt_1",
        "object": "event",
        "api_version": "2026-02-25.clover",
        "created": int(NOW.timestamp()),
        "type": kind,
        "livemode": False,
        "pending_webhooks": 0,
        "data": {"object": {"id": about, "object": kind.partition(".")[0]}},
    }
    return envelope(_with(event, overrides), **{"detail-type": kind, "source": PROVIDER_SOURCE})


def envelope(detail: Any, **overrides: Any) -> dict[str, Any]:
    """An EventBridge envelope around a detail."""
    outer = {
        "version": "0",
        "id": "eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee",
        "detail-type": "WorkCompleted",
        "source": "roadcall.incident",
        "account": "000000000000",
        "time": "2026-03-01T12:00:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": detail,
    }
    return _with(outer, overrides)


def body(message: dict[str, Any]) -> str:
    """The body on the wire: a work detail goes into an envelope, a command goes as it is."""
    return json.dumps(message if "type" in message or "detail-type" in message else envelope(message))


def parsed(message: dict[str, Any], *, queue: Queue | None = None, sent_at: datetime = NOW) -> Parsed:
    """A message as the worker hands it to the funnel, by default from the queue of its kind."""
    home = queue or (_HOME.get(message["type"], Queue.COMMANDS) if "type" in message else Queue.EVENTS)
    return read(body(message), Arrival(home, "sqs-message-1", sent_at))


def read(body: str, arrival: Arrival) -> Parsed:
    """A body as the worker reads it, of the sources that are believed."""
    return parse(body, arrival, sources=SOURCES, provider_sources=PROVIDER_SOURCES)


def late(message: dict[str, Any], **delay: float) -> Parsed:
    """A message that was first sent some time before NOW."""
    return parsed(message, sent_at=NOW - timedelta(**delay))


def _with(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**base, **overrides}.items() if value is not ...}
