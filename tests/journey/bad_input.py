"""The bad-input table: every way a message can be wrong that we could think of, and how each of them must end.

Beside the bad ones stand good ones that look bad, so that strictness does not grow into refusing what is right. Every
body carries digits of its own, which must turn up in no log.
"""

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from contracts.envelope import BODY_BYTES_MAX, DEPTH_MAX, KEY_CHARS_MAX

#: What Amazon SQS itself carries at most, in bytes.
SQS_BYTES_MAX = 1_048_576
CEILING = 99_999_999_999


# ---- how a message may end -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Invalid:
    """In the dead-letter queue with this reason, and a row in message_failures."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Turned down with this code, and an event that tells its sender, which names the field where one is to blame."""

    code: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """It has made a payment of so much."""

    amount_cents: int = 15_000
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Ignored:
    """Known already under another key."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Known already under the same key."""


End = Invalid | Refused | Accepted | Ignored | Duplicate


# ---- what a row is made of -------------------------------------------------------------------------------------------


def fresh() -> str:
    """A fresh id, as it stands on the wire."""
    return str(uuid4())


@dataclass(frozen=True, slots=True)
class Case:
    """The ids and the canary of one message."""

    canary: str = field(default_factory=lambda: f"7{secrets.randbelow(10**17):017d}")
    event: str = field(default_factory=fresh)
    command: str = field(default_factory=fresh)
    incident: str = field(default_factory=fresh)
    vendor: str = field(default_factory=fresh)
    company: str = field(default_factory=fresh)
    actor: str = field(default_factory=fresh)


@dataclass(frozen=True, slots=True)
class Known:
    """What was there before: finished work with its payment, and a payment that an admin created by hand."""

    work: Case
    payment_id: str
    creation: Case
    created_id: str


Body = Callable[[Case, Known], str]


@dataclass(frozen=True, slots=True)
class Row:
    """One message: what is wrong with it, where it goes, what it says, how it must end, and its key if not its own."""

    name: str
    queue: str
    body: Body
    end: End
    key: Callable[[Case, Known], str] | None = None


def now(**later: float) -> str:
    """A time on the wire."""
    return (datetime.now(UTC) + timedelta(**later)).isoformat()


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A message with changes; `...` removes a field, and what can be called is called when the message is made."""
    fields = {**base, **changes}
    return {name: value() if callable(value) else value for name, value in fields.items() if value is not ...}


LINES = [{"description": "Tire", "quantity": 1, "unitPriceCents": 15_000}]


def detail(case: Case, **changes: Any) -> dict[str, Any]:
    """Finished work of 150.00 USD."""
    base = {
        "eventId": case.event,
        "version": "1.0",
        "incidentId": case.incident,
        "vendorId": case.vendor,
        "companyId": case.company,
        "completedAt": now(),
        "notes": case.canary,
        "lineItems": LINES,
    }
    return merged(base, changes)


def envelope(inner: Any, **changes: Any) -> str:
    """An EventBridge envelope as the bus writes it."""
    base = {
        "version": "0",
        "id": fresh(),
        "detail-type": "WorkCompleted",
        "source": "roadcall.incident",
        "account": "000000000000",
        "time": "2026-03-01T12:00:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": inner,
    }
    return json.dumps(merged(base, changes))


def approval(case: Case, known: Known, **changes: Any) -> dict[str, Any]:
    """An approval that would be right: by a dispatcher of the company, of what is there."""
    base = {
        "type": "ApprovePayment",
        "commandId": case.command,
        "schemaVersion": "1.0",
        "issuedAt": now(),
        "actor": dispatcher(case, known),
        "paymentId": known.payment_id,
        "amountCents": 15_000,
        "currency": "USD",
        "notes": case.canary,
    }
    return merged(base, changes)


def dispatcher(case: Case, known: Known, **changes: Any) -> dict[str, Any]:
    """A dispatcher of the known work's company."""
    base = {"id": case.actor, "type": "user", "role": "dispatcher", "companyId": known.work.company}
    return merged(base, changes)


def creation(case: Case, **changes: Any) -> dict[str, Any]:
    """A payment of 150.00 USD by hand."""
    base = {
        "type": "CreatePayment",
        "commandId": case.command,
        "actor": {"id": case.actor, "type": "admin", "role": "admin"},
        "incidentId": case.incident,
        "vendorId": case.vendor,
        "payerType": "back_office",
        "amountCents": 15_000,
        "lineItems": LINES,
        "canary": case.canary,
    }
    return merged(base, changes)


def raw(name: str, text: str, reason: str = "not_json", queue: str = "events") -> Row:
    """A body that is no message at all; CANARY in it is replaced."""
    return Row(name, queue, lambda case, _: text.replace("CANARY", case.canary), Invalid(reason))


def work(name: str, end: End, **changes: Any) -> Row:
    """Finished work with changed fields."""
    return Row(name, "events", lambda case, _: envelope(detail(case, **changes)), end)


def lines(name: str, end: End, *items: Any, **changes: Any) -> Row:
    """Finished work with other line items; what an item leaves out is that of a good one."""
    return work(name, end, lineItems=[merged(LINES[0], item) for item in items], **changes)


def priced(name: str, end: End, **pricing: Any) -> Row:
    """Finished work with the price by its parts."""
    return work(name, end, lineItems=..., pricing=pricing)


def enveloped(name: str, end: End, **changes: Any) -> Row:
    """Good work in a changed envelope."""
    return Row(name, "events", lambda case, _: envelope(detail(case), **changes), end)


def approve(name: str, end: End, **changes: Any) -> Row:
    """An approval with changed fields."""
    return Row(name, "commands", lambda case, known: json.dumps(approval(case, known, **changes)), end)


def approve_as(name: str, end: End, **changes: Any) -> Row:
    """An approval by a changed actor."""

    def body(case: Case, known: Known) -> str:
        return json.dumps(approval(case, known, actor=dispatcher(case, known, **changes)))

    return Row(name, "commands", body, end)


def create(name: str, end: End, **changes: Any) -> Row:
    """A payment by hand with changed fields."""
    return Row(name, "commands", lambda case, _: json.dumps(creation(case, **changes)), end)


def withdraw(kind: str, name: str, end: End, **changes: Any) -> Row:
    """A rejection or cancellation with changed fields."""
    return approve(name, end, **{"type": kind, "reason": "not ours", **changes})


def order(name: str, end: End, queue: str = "payouts", **changes: Any) -> Row:
    """The service's own order to put an attempt to the provider."""

    def body(case: Case, _known: Known) -> str:
        base = {
            "type": "ExecutePayout",
            "commandId": case.command,
            "actor": {"id": case.actor, "type": "system"},
            "attemptId": fresh(),
            "canary": case.canary,
        }
        return json.dumps(merged(base, changes))

    return Row(name, queue, body, end)


def padded(size: int) -> Body:
    """Good work in a body of exactly so many bytes, by a long note."""

    def body(case: Case, _known: Known) -> str:
        empty = envelope(detail(case, notes=f"{case.canary} "))
        return empty.replace(f"{case.canary} ", f"{case.canary} ".ljust(size - len(empty) + len(case.canary) + 1, "n"))

    return body


def nested(levels: int) -> Body:
    """Good work with an extra field that makes the whole document so many levels deep."""
    return lambda case, _: envelope(detail(case, extra="DEEP")).replace('"DEEP"', _brackets(levels - 2))


def _brackets(levels: int) -> str:
    return "[" * levels + "]" * levels


def written(name: str, end: End, before: str, after: str, **changes: Any) -> Row:
    """Good work with a piece of its JSON written in another way."""

    def body(case: Case, _known: Known) -> str:
        text = envelope(detail(case, **changes))
        assert text.count(before) == 1, text
        return text.replace(before, after)

    return Row(name, "events", body, end)


# ---- the table -------------------------------------------------------------------------------------------------------

NO_JSON = [
    raw("plain words", "work is completed CANARY"),
    raw("white space only", "   \n"),
    raw("cut off in the middle", '{"detail-type": "WorkCompleted", "detail": {"notes": "CANARY", "inci'),
    raw("something behind the end", '{"type": "ApprovePayment", "notes": "CANARY"} and more', queue="commands"),
    raw("two documents in one", '{"notes": "CANARY"}{"notes": "CANARY"}'),
    raw("a comma too many", '{"type": "ApprovePayment", "notes": "CANARY",}', queue="commands"),
    raw("single quotes", "{'type': 'ApprovePayment', 'notes': 'CANARY'}", queue="commands"),
    raw("a comment", '{"notes": "CANARY" /* note */}'),
    raw("a byte order mark", '\ufeff{"notes": "CANARY"}'),
    raw("a raw line break in a text", '{"notes": "CANARY\n"}'),
    raw("XML", "<?xml version='1.0'?><WorkCompleted><notes>CANARY</notes></WorkCompleted>"),
    raw("a web form", "type=ApprovePayment&notes=CANARY", queue="commands"),
    written("NaN as an amount", Invalid("not_json"), "15000", "NaN"),
    written("Infinity as an amount", Invalid("not_json"), "15000", "-Infinity"),
    written("an amount with a leading zero", Invalid("not_json"), "15000", "015000"),
    written("a hexadecimal amount", Invalid("not_json"), "15000", "0x3A98"),
    Row(
        "good work in base64",
        "events",
        lambda case, _: base64.b64encode(envelope(detail(case)).encode()).decode(),
        Invalid("not_json"),
    ),
    raw("a JSON text", '"CANARY"', "not_an_object"),
    raw("JSON in a JSON text", '"{\\"type\\": \\"ApprovePayment\\", \\"notes\\": \\"CANARY\\"}"', "not_an_object"),
    raw("a JSON array", '[{"type": "ApprovePayment", "notes": "CANARY"}]', "not_an_object", "commands"),
    raw("a JSON number", "CANARY", "not_an_object"),
    raw("null", "null", "not_an_object"),
    raw("true", "true", "not_an_object", "payouts"),
]

UNREADABLE = [
    Row("one byte too large", "events", padded(BODY_BYTES_MAX + 1), Invalid("too_large")),
    Row("as large as it may be", "events", padded(BODY_BYTES_MAX), Accepted()),
    Row("nearly as large as a queue carries", "events", padded(SQS_BYTES_MAX - 2_048), Invalid("too_large")),
    Row("one level too deep", "events", nested(DEPTH_MAX + 1), Invalid("too_deep")),
    Row("as deep as it may be", "events", nested(DEPTH_MAX), Accepted()),
    Row("100,000 levels deep", "events", nested(100_000), Invalid("too_deep")),
    Row(
        "100,000 brackets that never close",
        "payouts",
        lambda case, _: case.canary.join(["[" * 100_000, ""]),
        Invalid("too_deep"),
    ),
    written("a key twice at the top", Invalid("duplicate_key"), '"version": "0"', '"version": "0", "version": "0"'),
    written(
        "a key twice inside",
        Invalid("duplicate_key"),
        '"unitPriceCents": 15000',
        '"unitPriceCents": 15000, "unitPriceCents": 1',
    ),
    written(
        "a key twice, once escaped", Invalid("duplicate_key"), '"quantity": 1', '"quantity": 1, "quantit\\u0079": 2'
    ),
    work("a NUL in a text", Invalid("nul_character"), serviceType="tire\x00change"),
    work("a NUL in a key", Invalid("nul_character"), **{"extra\x00": 1}),
    work("a lone surrogate in a text", Invalid("lone_surrogate"), serviceType="\ud83d"),
    work("a lone surrogate in a key", Invalid("lone_surrogate"), **{"\udc00": 1}),
    written("an amount of 41 digits", Invalid("bad_number"), "15000", "9" * 41),
    written("an exponent beyond all bounds", Invalid("bad_number"), "15000", "1e99999999999999999999"),
]

KINDS = [
    raw("an empty object", "{}", "missing_kind"),
    raw("an object without a kind", '{"notes": "CANARY"}', "missing_kind", "commands"),
    approve("a kind that is null", Invalid("missing_kind"), type=None),
    approve("a kind that is a list", Invalid("missing_kind"), type=["ApprovePayment"]),
    enveloped("a detail-type that is a number", Invalid("missing_kind"), **{"detail-type": 7}),
    approve("a kind of the future", Invalid("unknown_kind"), type="SettlePayment"),
    approve("a kind in another case", Invalid("unknown_kind"), type="approvePayment"),
    enveloped("an event that is none of ours", Invalid("unknown_kind"), **{"detail-type": "WorkStarted"}),
    approve("a kind of 10,000 characters", Invalid("unknown_kind"), type="Approve" * 1_500),
    Row("an event on the command queue", "commands", lambda c, _: envelope(detail(c)), Invalid("wrong_queue")),
    Row("an event on the payout queue", "payouts", lambda c, _: envelope(detail(c)), Invalid("wrong_queue")),
    Row("a command on the event queue", "events", lambda c, k: json.dumps(approval(c, k)), Invalid("wrong_queue")),
    Row("a command on the payout queue", "payouts", lambda c, k: json.dumps(approval(c, k)), Invalid("wrong_queue")),
    Row("a creation on the payout queue", "payouts", lambda c, _: json.dumps(creation(c)), Invalid("wrong_queue")),
    order("an own order on the command queue", Invalid("wrong_queue"), queue="commands"),
    order("an own order on the event queue", Invalid("wrong_queue"), queue="events"),
    Row(
        "a command inside an envelope, on its queue",
        "commands",
        lambda case, known: envelope(approval(case, known), **{"detail-type": "ApprovePayment"}),
        Invalid("wrong_queue"),
    ),
    Row(
        "a command inside an envelope, on the event queue",
        "events",
        lambda case, known: envelope(approval(case, known), **{"detail-type": "ApprovePayment"}),
        Invalid("wrong_queue"),
    ),
    Row(
        "an event as a bare command",
        "events",
        lambda case, _: json.dumps({"type": "WorkCompleted", **detail(case)}),
        Invalid("wrong_queue"),
    ),
    Row("an event without its envelope", "events", lambda case, _: json.dumps(detail(case)), Invalid("missing_kind")),
    enveloped("a source that nobody knows", Invalid("unknown_source"), source="acme.incident"),
    enveloped("a source in another case", Invalid("unknown_source"), source="Roadcall.Incident"),
    enveloped("no source", Invalid("unknown_source"), source=...),
    enveloped("a source that is a list", Invalid("unknown_source"), source=["roadcall.incident"]),
    work("the next major version", Invalid("unknown_version"), version="2.0"),
    work("a version that is a number", Invalid("unknown_version"), version=1.0),
    work("a version in words", Invalid("unknown_version"), version="latest"),
    work("a version with a letter", Invalid("unknown_version"), version="v1"),
    work("a version that ends too soon", Invalid("unknown_version"), version="1."),
    approve("the next major version of a command", Invalid("unknown_version"), schemaVersion="2"),
    approve("version nought of a command", Invalid("unknown_version"), schemaVersion="0.9"),
    work("a later minor version", Accepted(), version="1.99"),
    work("a version that is null", Accepted(), version=None),
]

SHAPES = [
    enveloped("a detail that is JSON in a text", Invalid("schema"), detail='{"incidentId": "1"}'),
    enveloped("a detail that is null", Invalid("schema"), detail=None),
    enveloped("no detail", Invalid("schema"), detail=...),
    enveloped("a detail that is empty", Invalid("schema"), detail={}),
    work("no incident", Invalid("schema"), incidentId=...),
    work("an incident that is a number", Invalid("schema"), incidentId=42),
    work("a vendor that is null", Invalid("schema"), vendorId=None),
    work("an object for a text", Invalid("schema"), serviceType={"name": "tire"}),
    work("a list for an object", Invalid("schema"), workDetails=[]),
    work("an object for a list", Invalid("schema"), lineItems={"description": "Tire", "unitPriceCents": 1}),
    lines("an amount that is a text", Invalid("schema"), {"unitPriceCents": "15000"}),
    lines("an amount that is true", Invalid("schema"), {"unitPriceCents": True}),
    lines("an amount that is a list", Invalid("schema"), {"unitPriceCents": [15_000]}),
    lines("a quantity that is a text", Invalid("schema"), {"quantity": "1"}),
    lines("a line without a description", Invalid("schema"), {"description": ...}),
    work("a line that is null", Invalid("schema"), lineItems=[None]),
    work("no time of completion", Invalid("schema"), completedAt=...),
    work("a time of completion without its zone", Invalid("schema"), completedAt="2026-03-01T12:00:00"),
    work("a time of completion that is a number", Invalid("schema"), completedAt=1_772_366_400),
    work("a time of completion that is digits", Invalid("schema"), completedAt="1772366400"),
    work("a time of completion in words", Invalid("schema"), completedAt="yesterday"),
    work("the thirtieth of February", Invalid("schema"), completedAt="2026-02-30T12:00:00Z"),
    work("an empty event id", Invalid("schema"), eventId=""),
    work("an event id that is a number", Invalid("schema"), eventId=1),
    work("an event id that is too long", Invalid("schema"), eventId="e" * (KEY_CHARS_MAX + 1)),
    Row(
        "neither an event id nor an envelope id",
        "events",
        lambda case, _: envelope(detail(case, eventId=...), id=...),
        Invalid("bad_key"),
    ),
    approve("no command id", Invalid("schema"), commandId=...),
    approve("a command id that is no UUID", Invalid("schema"), commandId="approve-1"),
    approve("no actor", Invalid("schema"), actor=...),
    approve("an actor that is a text", Invalid("schema"), actor="dispatcher"),
    approve_as("an actor whose id is no UUID", Invalid("schema"), id="me"),
    approve_as("an actor of a role that is none", Invalid("schema"), role="owner"),
    approve_as("an actor of a type that is none", Invalid("schema"), type="robot"),
    approve("an expected version that is a text", Invalid("schema"), expectedVersion="1"),
    approve("an expected version with a fraction", Invalid("schema"), expectedVersion=1.5),
    approve("no payment", Invalid("schema"), paymentId=...),
    create("a creation without its lines", Invalid("schema"), lineItems=...),
    withdraw("RejectPayment", "a rejection without a reason", Invalid("schema"), reason=...),
    order("an own order without its attempt", Invalid("schema"), attemptId=...),
    order("an own order whose attempt is no UUID", Invalid("schema"), attemptId="1"),
    order("an own order whose check is a text", Invalid("schema"), check="0"),
]

PRICES = [
    work("no price", Refused("missing_pricing", "pricing"), lineItems=...),
    work("no line", Refused("missing_pricing", "pricing"), lineItems=[]),
    priced("a price without parts", Refused("missing_pricing", "pricing")),
    priced("a mileage charge alone", Refused("missing_pricing", "pricing"), mileageCharge=500),
    lines("a line without a price", Refused("missing_pricing", "lineItems.0.unitPriceCents"), {"unitPriceCents": ...}),
    lines(
        "a line whose price is null", Refused("missing_pricing", "lineItems.0.unitPriceCents"), {"unitPriceCents": None}
    ),
    lines("half a cent in a line", Refused("non_integer_minor_units", "lineItems.0"), {"unitPriceCents": 350.5}),
    lines(
        "half a cent under the other name",
        Refused("non_integer_minor_units", "lineItems.0"),
        {"unitPriceCents": ..., "unitPrice": 0.5},
    ),
    priced("half a cent in the base price", Refused("non_integer_minor_units", "pricing.basePrice"), basePrice=99.5),
    priced(
        "half a cent in the mileage",
        Refused("non_integer_minor_units", "pricing.mileageCharge"),
        basePrice=100,
        mileageCharge=0.5,
    ),
    priced(
        "half a cent in an extra",
        Refused("non_integer_minor_units", "pricing.additionalCharges.0"),
        basePrice=100,
        additionalCharges=[{"description": "Night", "amount": 1.5}],
    ),
    work("half a cent in the total", Refused("non_integer_minor_units", "totalCents"), totalCents=15_000.5),
    create("half a cent by hand", Refused("non_integer_minor_units", "amountCents"), amountCents=15_000.5),
    written(
        "a fraction that no float can hold",
        Refused("non_integer_minor_units", "lineItems.0"),
        "15000",
        "15000.000000000000000000001",
    ),
    lines("a line below zero", Refused("negative_amount", "lineItems.0"), {"unitPriceCents": -1}),
    priced("a base price below zero", Refused("negative_amount", "pricing.basePrice"), basePrice=-100),
    priced("a rebate", Refused("negative_amount", "pricing.mileageCharge"), basePrice=100, mileageCharge=-50),
    work("a total below zero", Refused("negative_amount", "totalCents"), totalCents=-15_000),
    lines("a sum of zero", Refused("amount_out_of_range", "lineItems"), {"unitPriceCents": 0}),
    priced("a base price of zero", Refused("amount_out_of_range", "lineItems"), basePrice=0),
    lines("one cent above the ceiling", Refused("amount_out_of_range", "lineItems.0"), {"unitPriceCents": CEILING + 1}),
    lines("two lines above the ceiling", Refused("amount_out_of_range", "lineItems"), {"unitPriceCents": CEILING}, {}),
    lines(
        "a quantity that lifts it above the ceiling",
        Refused("amount_out_of_range", "lineItems"),
        {"unitPriceCents": CEILING, "quantity": 1_000_000},
    ),
    lines("an amount of 40 digits", Refused("amount_out_of_range", "lineItems.0"), {"unitPriceCents": 10**39}),
    written("an amount of 1e400", Refused("amount_out_of_range", "lineItems.0"), "15000", "1e400"),
    written("an amount of 1e-400", Refused("non_integer_minor_units", "lineItems.0"), "15000", "1e-400"),
    lines("a quantity of nought", Refused("invalid_field", "lineItems.0.quantity"), {"quantity": 0}),
    lines("a quantity below zero", Refused("invalid_field", "lineItems.0.quantity"), {"quantity": -1}),
    lines("half a tyre", Refused("invalid_field", "lineItems.0.quantity"), {"quantity": 0.5}),
    lines("a million and one tyres", Refused("invalid_field", "lineItems.0.quantity"), {"quantity": 1_000_001}),
    work("a total that is not the sum", Refused("sum_mismatch", "totalCents"), totalCents=15_001),
    work("an amount that is not the sum", Refused("sum_mismatch", "amountCents"), amountCents=14_999),
    work("two prices that differ", Refused("sum_mismatch", "pricing"), pricing={"basePrice": 14_000}),
    lines("two names of a price that differ", Refused("sum_mismatch", "lineItems.0.unitPrice"), {"unitPrice": 1}),
    create("an amount by hand that is not the sum", Refused("sum_mismatch", "amountCents"), amountCents=1),
    work("a currency that is none", Refused("unsupported_currency", "currency"), currency="ZZZ"),
    work("no name for a currency", Refused("unsupported_currency", "currency"), currency=""),
    work("a symbol for a currency", Refused("unsupported_currency", "currency"), currency="$"),
    work("a currency and a blank", Refused("unsupported_currency", "currency"), currency="USD "),
    work(
        "a currency with a letter that only looks right",
        Refused("unsupported_currency", "currency"),
        currency="u\u017fd",
    ),
    work("gold", Refused("unsupported_currency", "currency"), currency="XAU"),
    work("a currency in lower case", Accepted(currency="EUR"), currency="eur"),
    work("a currency without decimals", Accepted(currency="JPY"), currency="JPY"),
    lines("a whole amount with a point", Accepted(350), {"unitPriceCents": 350.0}),
    written("a whole amount with an exponent", Accepted(15_000), "15000", "1.5E+4"),
    lines("the ceiling itself", Accepted(CEILING), {"unitPriceCents": CEILING}),
    lines("a gift among paid lines", Accepted(15_000), {}, {"unitPriceCents": 0}),
    priced("a mileage charge of zero", Accepted(900), basePrice=900, mileageCharge=0),
]

FIELDS = [
    work("an incident that is no UUID", Refused("non_uuid_id", "incidentId"), incidentId="incident-001"),
    work(
        "an incident in braces",
        Refused("non_uuid_id", "incidentId"),
        incidentId="{11111111-1111-4111-8111-111111111111}",
    ),
    work("a vendor that is no UUID", Refused("non_uuid_id", "vendorId"), vendorId="' OR 1=1 --"),
    work("an empty vendor", Refused("non_uuid_id", "vendorId"), vendorId=""),
    work("a company that is no UUID", Refused("non_uuid_id", "companyId"), companyId="acme"),
    work("a driver that is no UUID", Refused("non_uuid_id", "driverId"), driverId="42"),
    work("an incident of 200,000 characters", Refused("non_uuid_id", "incidentId"), incidentId="i" * 200_000),
    work("a payer that is none", Refused("invalid_field", "payerType"), payerType="insurance"),
    work(
        "completed in ten minutes", Refused("completed_in_future", "completedAt"), completedAt=lambda: now(minutes=10)
    ),
    work(
        "completed in the year 9999", Refused("completed_in_future", "completedAt"), completedAt="9999-12-31T23:59:59Z"
    ),
    lines("an empty description", Refused("invalid_field", "lineItems.0.description"), {"description": ""}),
    lines("a blank description", Refused("invalid_field", "lineItems.0.description"), {"description": " \t "}),
    lines(
        "a description that is too long",
        Refused("invalid_field", "lineItems.0.description"),
        {"description": "d" * 256},
    ),
    lines("101 lines", Refused("invalid_field", "lineItems"), *[{}] * 101),
    work(
        "5,000 lines",
        Refused("invalid_field", "lineItems"),
        lineItems=[{"description": "x", "unitPriceCents": 1}] * 5_000,
    ),
    work(
        "10,000 lines",
        Invalid("too_large"),
        lineItems=[{"description": "Tire", "quantity": 1, "unitPriceCents": 1}] * 10_000,
    ),
    work("a service type of 5,000 characters", Refused("invalid_field", "metadata"), serviceType="s" * 5_000),
    create("a creation with a strange circumstance", Refused("invalid_field", "metadata"), metadata={"email": "a@b"}),
    create("a creation with nested circumstances", Refused("invalid_field", "metadata"), metadata={"reference": {}}),
    create("a creation without any line", Refused("missing_pricing", "lineItems"), lineItems=[]),
    create("a creation for an incident that is no UUID", Refused("non_uuid_id", "incidentId"), incidentId="1"),
    create(
        "a creation by a dispatcher",
        Refused("forbidden_role"),
        actor={"id": fresh(), "type": "user", "role": "dispatcher", "companyId": fresh()},
    ),
    work("100 lines", Accepted(100), lineItems=[{"description": "x", "unitPriceCents": 1}] * 100),
    lines("a description as long as it may be, in emoji", Accepted(), {"description": "\U0001f697" * 255}),
    lines("a description from right to left", Accepted(), {"description": "\u202eהחלפת צמיג\u202c"}),
    work("notes in many scripts", Accepted(), workDetails={"notes": "🚗 पंक्चर 轮胎 إطار \u0007", "photos": []}),
    work("a note of 100,000 characters", Accepted(), workDetails={"notes": "n" * 100_000}),
    work("fields that nobody knows", Accepted(), extra={"nested": [1, None, {}]}, Notes="other case"),
    Row(
        "an event id that is no UUID",
        "events",
        lambda case, _: envelope(detail(case, eventId=f"evt {case.event} é")),
        Accepted(),
        lambda case, _: f"evt {case.event} é",
    ),
    Row(
        "an envelope id in place of an event id",
        "events",
        lambda case, _: envelope(detail(case, eventId=...), id=case.event),
        Accepted(),
        lambda case, _: f"eb:{case.event}",
    ),
    work("completed in four minutes", Accepted(), completedAt=lambda: now(minutes=4)),
    work("completed in another zone", Accepted(), completedAt="2026-03-01T12:00:00+05:30"),
    written("white space all around", Accepted(), '{"version"', '\n\t {"version"'),
]

COMMANDS = [
    approve("an approval of a payment that is no UUID", Refused("invalid_field", "paymentId"), paymentId="payment-1"),
    approve("an approval of nothing", Refused("invalid_field", "paymentId"), paymentId=""),
    approve("an approval of another amount", Refused("amount_mismatch", "amountCents"), amountCents=14_999),
    approve("an approval of a fraction", Refused("amount_mismatch", "amountCents"), amountCents=15_000.5),
    approve("an approval in another currency", Refused("amount_mismatch", "currency"), currency="EUR"),
    approve("an approval of another version", Refused("version_conflict", "expectedVersion"), expectedVersion=7),
    approve("an approval in another's name", Refused("invalid_field", "approvedBy"), approvedBy=fresh()),
    approve_as("an approval by another company", Refused("wrong_company"), companyId=fresh()),
    approve_as("an approval by nobody's dispatcher", Refused("wrong_company"), companyId=...),
    approve_as("an approval in the role of a vendor", Refused("forbidden_role"), role="vendor"),
    approve_as("an approval without a role", Refused("forbidden_role"), role=...),
    approve_as("an approval by a machine", Refused("unauthenticated", "actorToken"), type="system", role=...),
    Row(
        "an approval by the vendor who is paid",
        "commands",
        lambda case, known: json.dumps(approval(case, known, actor=dispatcher(case, known, id=known.work.vendor))),
        Refused("self_approval"),
    ),
    Row(
        "an approval by whoever created the payment",
        "commands",
        lambda case, known: json.dumps(
            approval(
                case,
                known,
                paymentId=known.created_id,
                actor={"id": known.creation.actor, "type": "admin", "role": "admin"},
            )
        ),
        Refused("self_approval"),
    ),
    withdraw("RejectPayment", "a rejection for no reason", Refused("invalid_field", "reason"), reason=" "),
    withdraw("RejectPayment", "a rejection for 2,001 reasons", Refused("invalid_field", "reason"), reason="r" * 2_001),
    withdraw(
        "CancelPayment",
        "a cancellation with an endless code",
        Refused("invalid_field", "reasonCode"),
        reasonCode="c" * 65,
    ),
    withdraw("ProcessPayment", "a payout before the approval", Refused("illegal_transition")),
    Row(
        "an own payout order before the approval",
        "payouts",
        lambda case, known: json.dumps(approval(case, known, type="ProcessPayment")),
        Refused("illegal_transition"),
    ),
]

SEEN_BEFORE = [
    Row(
        "the same event id with other content",
        "events",
        lambda case, known: envelope(detail(known.work, notes=case.canary, lineItems=[{**LINES[0], "quantity": 2}])),
        Refused("payload_conflict"),
        lambda _, known: known.work.event,
    ),
    Row(
        "the same work under another event id with other content",
        "events",
        lambda case, known: envelope(
            detail(known.work, eventId=case.event, notes=case.canary, lineItems=[{**LINES[0], "quantity": 3}])
        ),
        Refused("payload_conflict"),
    ),
    Row(
        "the same command id with other content",
        "commands",
        lambda case, known: json.dumps(
            creation(known.creation, canary=case.canary, currency="EUR", reason="other content")
        ),
        Refused("payload_conflict"),
        lambda _, known: known.creation.command,
    ),
    Row(
        "the same work under another event id",
        "events",
        lambda case, known: envelope(detail(known.work, eventId=case.event, notes=case.canary)),
        Ignored(),
    ),
    Row(
        "the same event once more, with another note",
        "events",
        lambda case, known: envelope(detail(known.work, notes=case.canary)),
        Duplicate(),
        lambda _, known: known.work.event,
    ),
]

TABLE = [*NO_JSON, *UNREADABLE, *KINDS, *SHAPES, *PRICES, *FIELDS, *COMMANDS, *SEEN_BEFORE]
