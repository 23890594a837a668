"""From bytes to a message: every malformed body has its flaw, and no word of it is repeated."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from contracts.envelope import (
    BODY_BYTES_MAX,
    DELIVERIES,
    DEPTH_MAX,
    KEY_CHARS_MAX,
    Arrival,
    Flaw,
    Form,
    Malformed,
    Queue,
    parse_object,
)
from contracts.inbound import KINDS, Parsed, WorkCompleted
from contracts.refusals import Refusal
from contracts.requests import Rejected, from_work
from tests.kit import messages as m

#: Digits, so that it can be planted as text and as a number alike.
CANARY = "8675309"
NUMBER = int(CANARY)


@dataclass(frozen=True)
class Row:
    """A body, its flaw, and the wire name that the flaw's detail must mention."""

    name: str
    body: str
    flaw: Flaw
    where: str = ""
    queue: Queue = Queue.EVENTS


def work(**overrides: Any) -> str:
    return m.body(m.work(**{"notes": CANARY, **overrides}))


def wrapped(**overrides: Any) -> str:
    return json.dumps(m.envelope(m.work(notes=CANARY), **overrides))


def approve(**overrides: Any) -> str:
    return json.dumps(m.command("ApprovePayment", **{"paymentId": CANARY, "notes": CANARY, **overrides}))


def reject(**overrides: Any) -> str:
    fields = {"paymentId": CANARY, "reason": CANARY, **overrides}
    return json.dumps(m.command("RejectPayment", **fields))


def provided(**overrides: Any) -> str:
    return json.dumps(m.provider_event(**{"account": CANARY, **overrides}))


def deep(levels: int) -> str:
    """Finished work in which an unknown field nests to `levels` levels in all."""
    inner = "1"
    for _ in range(levels - 3):
        inner = f'{{"{CANARY}": {inner}}}'
    return work(extra="HOLE").replace('"HOLE"', inner)


def number(literal: str) -> str:
    return work(totalCents="HOLE").replace('"HOLE"', literal)


TEXT = [
    Row("not JSON", f"{{{CANARY}", Flaw.NOT_JSON),
    Row("single quotes", f"{{'type': '{CANARY}'}}", Flaw.NOT_JSON),
    Row("empty", "", Flaw.NOT_JSON),
    Row("blank", " \n", Flaw.NOT_JSON),
    Row("byte order mark", "\ufeff" + work(), Flaw.NOT_JSON),
    Row("two documents", work() * 2, Flaw.NOT_JSON),
    Row("array", f'["{CANARY}"]', Flaw.NOT_AN_OBJECT),
    Row("string", f'"{CANARY}"', Flaw.NOT_AN_OBJECT),
    Row("number", CANARY, Flaw.NOT_AN_OBJECT),
    Row("null", "null", Flaw.NOT_AN_OBJECT),
    Row("NaN", number("NaN"), Flaw.NOT_JSON),
    Row("Infinity", number("-Infinity"), Flaw.NOT_JSON),
    Row("duplicate key at the top", approve()[:-1] + f', "type": "{CANARY}"}}', Flaw.DUPLICATE_KEY),
    Row("duplicate key nested", number(f'1, "totalCents": {CANARY}'), Flaw.DUPLICATE_KEY),
    Row("duplicate key by an escape", number(f'1, "total\\u0043ents": {CANARY}'), Flaw.DUPLICATE_KEY),
    Row("one level too deep", deep(DEPTH_MAX + 1), Flaw.TOO_DEEP),
    Row("too deep by nothing else", f'{{"a": {"[" * (DEPTH_MAX - 1)}{CANARY}{"]" * (DEPTH_MAX - 1)}}}', Flaw.TOO_DEEP),
    Row("too deep for the parser", CANARY.join(["[" * 60_000, "]" * 60_000]), Flaw.TOO_DEEP),
    Row("300 KB", work(extra="x" * 300_000), Flaw.TOO_LARGE),
    Row("too large in bytes alone", work().replace(CANARY, CANARY + "ü" * (BODY_BYTES_MAX // 2)), Flaw.TOO_LARGE),
    Row("NUL in a value", work(notes=f"{CANARY}\x00"), Flaw.NUL_CHARACTER),
    Row("NUL in a key", work(**{f"{CANARY}\x00": 1}), Flaw.NUL_CHARACTER),
    Row("raw NUL", work().replace(CANARY, f"{CANARY}\x00"), Flaw.NOT_JSON),
    Row("lone surrogate escaped", work(notes=f"{CANARY}\ud800"), Flaw.LONE_SURROGATE),
    Row("lone surrogate escaped in a key", work(**{f"{CANARY}\udfff": 1}), Flaw.LONE_SURROGATE),
    Row("lone surrogate raw", work().replace(CANARY, f"{CANARY}\ud800"), Flaw.LONE_SURROGATE),
    Row("integer of 60 digits", number(CANARY + "0" * 53), Flaw.BAD_NUMBER),
    Row("fraction of 60 digits", number(f"{CANARY}.{'1' * 53}"), Flaw.BAD_NUMBER),
    Row("exponent beyond any decimal", number(f"{CANARY}e99999999999999999999"), Flaw.BAD_NUMBER),
    Row("negative exponent beyond any decimal", number(f"{CANARY}e-99999999999999999999"), Flaw.BAD_NUMBER),
]

NAMING = [
    Row("no kind", approve(type=...), Flaw.MISSING_KIND, queue=Queue.COMMANDS),
    Row("type is a number", approve(type=NUMBER), Flaw.MISSING_KIND, queue=Queue.COMMANDS),
    Row("type is null", approve(type=None), Flaw.MISSING_KIND, queue=Queue.COMMANDS),
    Row("bare detail", json.dumps(m.work(notes=CANARY)), Flaw.MISSING_KIND),
    Row("detail-type is a number", wrapped(**{"detail-type": NUMBER}), Flaw.MISSING_KIND),
    Row("unknown command", approve(type=CANARY), Flaw.UNKNOWN_KIND, queue=Queue.COMMANDS),
    Row("unknown event", wrapped(**{"detail-type": CANARY}), Flaw.UNKNOWN_KIND),
    Row("kind in another case", approve(type="approvePayment"), Flaw.UNKNOWN_KIND, queue=Queue.COMMANDS),
    Row("unknown source", wrapped(source=CANARY), Flaw.UNKNOWN_SOURCE),
    Row("no source", wrapped(source=...), Flaw.UNKNOWN_SOURCE),
    Row("source is a number", wrapped(source=NUMBER), Flaw.UNKNOWN_SOURCE),
    Row("provider's event of a work source", provided().replace(m.PROVIDER_SOURCE, "incident-svc"), Flaw.UNKNOWN_KIND),
    Row("its kind of a work source", wrapped(**{"detail-type": "ProviderEvent"}), Flaw.UNKNOWN_SOURCE),
    Row("its kind of a stranger", wrapped(**{"detail-type": "ProviderEvent", "source": CANARY}), Flaw.UNKNOWN_SOURCE),
    Row("work of the provider's source", wrapped(source=m.PROVIDER_SOURCE), Flaw.SCHEMA, "livemode"),
    Row("version 2.0", work(version="2.0"), Flaw.UNKNOWN_VERSION, "version"),
    Row("version abc", work(version="abc" + CANARY), Flaw.UNKNOWN_VERSION, "version"),
    Row("version is a number", work(version=1), Flaw.UNKNOWN_VERSION, "version"),
    Row("version 1.", work(version="1."), Flaw.UNKNOWN_VERSION, "version"),
    Row("version 10.0", work(version="10.0"), Flaw.UNKNOWN_VERSION, "version"),
    Row("version with a line end", work(version="1.0\n"), Flaw.UNKNOWN_VERSION, "version"),
    Row("schemaVersion 2", approve(schemaVersion="2"), Flaw.UNKNOWN_VERSION, "schemaVersion", Queue.COMMANDS),
    Row("detail is a string", json.dumps(m.envelope(CANARY)), Flaw.SCHEMA, "detail"),
    Row("detail is a list", json.dumps(m.envelope([CANARY])), Flaw.SCHEMA, "detail"),
    Row("no detail", json.dumps(m.envelope(..., extra=CANARY)), Flaw.SCHEMA, "detail"),
    Row("no key at all", json.dumps(m.envelope(m.work(eventId=..., notes=CANARY), id=...)), Flaw.BAD_KEY),
    Row("envelope id is a number", json.dumps(m.envelope(m.work(eventId=...), id=NUMBER)), Flaw.BAD_KEY),
    Row("envelope id is empty", json.dumps(m.envelope(m.work(eventId=..., notes=CANARY), id="")), Flaw.BAD_KEY),
    Row("envelope id is too long", json.dumps(m.envelope(m.work(eventId=...), id=CANARY * 40)), Flaw.BAD_KEY),
]

SCHEMA = [
    ("a required text is absent", work(incidentId=...), "incidentId"),
    ("a required text is null", work(vendorId=None), "vendorId"),
    ("a required time is absent", work(completedAt=...), "completedAt"),
    ("a number for a text", work(incidentId=NUMBER), "incidentId"),
    ("a boolean for a text", work(currency=True), "currency"),
    ("an object for a text", work(notes={"text": CANARY}), "notes"),
    ("a text for an amount", work(totalCents=CANARY), "totalCents"),
    ("a fraction in a text for an amount", work(amountCents=CANARY + ".5"), "amountCents"),
    ("a boolean for an amount", work(totalCents=True), "totalCents"),
    ("a list for an amount", work(totalCents=[NUMBER]), "totalCents"),
    ("an object for a list", work(lineItems={"0": CANARY}), "lineItems"),
    ("a text for a list", work(mediaUrls=CANARY), "mediaUrls"),
    ("a text for an object", work(pricing=CANARY), "pricing"),
    ("a list for an object", work(workDetails=[CANARY]), "workDetails"),
    ("a number for a text in a list", work(mediaUrls=[NUMBER]), "mediaUrls.0"),
    ("a line without a description", work(lineItems=[{"unitPriceCents": NUMBER}]), "lineItems.0.description"),
    ("a line that is a text", work(lineItems=[CANARY]), "lineItems.0"),
    ("a time without a zone", work(completedAt="2026-03-01T12:00:00"), "completedAt"),
    ("a date for a time", work(completedAt="2026-03-01"), "completedAt"),
    ("a number for a time", work(completedAt=1_700_000_000), "completedAt"),
    ("a number in a text for a time", work(completedAt="1700000000"), "completedAt"),
    ("words for a time", work(completedAt=CANARY + " o'clock"), "completedAt"),
    ("a time after the last one in UTC", work(completedAt="9999-12-31T23:59:59-14:00"), "completedAt"),
    ("a time before the first one in UTC", work(timestamp="0001-01-01T00:00:00+14:00"), "timestamp"),
    ("an empty event id", work(eventId=""), "eventId"),
    ("an event id that is too long", work(eventId="x" * (KEY_CHARS_MAX + 1)), "eventId"),
    ("an event id that is a number", work(eventId=NUMBER), "eventId"),
]

PROVIDERS_SCHEMA = [
    ("a provider's event without an id", provided(id=...), "id"),
    ("a provider's event with an empty id", provided(id=""), "id"),
    ("a provider's event with a number for its id", provided(id=NUMBER), "id"),
    ("a provider's event that does not say what happened", provided(type=...), "type"),
    ("a provider's event that does not say whether money is real", provided(livemode=...), "livemode"),
    ("a provider's event that says so in words", provided(livemode="true"), "livemode"),
    ("a provider's event about nothing", provided(data={"object": None}), "data.object"),
    (
        "a provider's event about something without an id",
        provided(data={"object": {"object": CANARY}}),
        "data.object.id",
    ),
    ("a provider's event with an account that is too long", provided(account=CANARY * 40), "account"),
]

COMMAND_SCHEMA = [
    ("a command id that is no UUID", approve(commandId=CANARY), "commandId"),
    ("a command id that is a number", approve(commandId=NUMBER), "commandId"),
    ("no command id", approve(commandId=...), "commandId"),
    ("no actor", approve(actor=...), "actor"),
    ("an actor that is a text", approve(actor=CANARY), "actor"),
    ("an actor of no known type", approve(actor=m.dispatcher(type=CANARY)), "actor.type"),
    ("an actor of no known role", approve(actor=m.dispatcher(role=CANARY)), "actor.role"),
    ("an actor without an id", approve(actor=m.dispatcher(id=...)), "actor.id"),
    ("an actor whose id is no UUID", approve(actor=m.dispatcher(id=CANARY)), "actor.id"),
    ("no payment", approve(paymentId=...), "paymentId"),
    ("a version that is a text", approve(expectedVersion=CANARY), "expectedVersion"),
    ("a version that is a fraction", approve(expectedVersion=NUMBER + 0.5), "expectedVersion"),
    ("a version that is a boolean", approve(expectedVersion=True), "expectedVersion"),
    ("an approver who is no UUID", approve(approvedBy=CANARY), "approvedBy"),
    ("a time of issue without a zone", approve(issuedAt="2026-03-01T12:00:00"), "issuedAt"),
    ("a correlation id that is too long", approve(correlationId=CANARY * 40), "correlationId"),
    ("no reason", reject(reason=...), "reason"),
    ("a reason that is a number", reject(reason=NUMBER), "reason"),
]

ROWS = [
    *TEXT,
    *NAMING,
    *(Row(name, body, Flaw.SCHEMA, where) for name, body, where in (*SCHEMA, *PROVIDERS_SCHEMA)),
    *(Row(name, body, Flaw.SCHEMA, where, Queue.COMMANDS) for name, body, where in COMMAND_SCHEMA),
]
CANNOT_HOLD_A_CANARY = {"empty", "blank", "null"}

PLACES = [(kind, queue, form) for kind in DELIVERIES for queue in Queue for form in Form]
WRONG_PLACES = [(kind, queue, form) for kind, queue, form in PLACES if (queue, form) not in DELIVERIES[kind]]
RIGHT_PLACES = [(kind, queue, form) for kind, queue, form in PLACES if (queue, form) in DELIVERIES[kind]]

#: The fields that a kind needs beyond those of every command.
FIELDS: dict[str, dict[str, Any]] = {
    "WorkCompleted": m.work(),
    "CreatePayment": {
        "incidentId": CANARY,
        "vendorId": CANARY,
        "payerType": "back_office",
        "amountCents": 1,
        "lineItems": [],
    },
    "ApprovePayment": {"paymentId": CANARY},
    "RejectPayment": {"paymentId": CANARY, "reason": CANARY},
    "CancelPayment": {"paymentId": CANARY, "reason": CANARY},
    "HoldPayment": {"paymentId": CANARY, "reason": CANARY},
    "ReleaseHold": {"paymentId": CANARY, "reason": CANARY},
    "SetApprovalPolicy": {"companyId": CANARY, "tiers": []},
    "MembershipChanged": {"sub": CANARY, "role": CANARY, "enabled": True},
    "ProcessPayment": {"paymentId": CANARY},
    "VendorAccountChanged": {"vendorId": CANARY, "stripeAccountId": CANARY, "payoutsEnabled": True},
    "ExecutePayout": {"attemptId": str(m.EVENT)},
    "ReconcileAttempt": {"attemptId": str(m.EVENT)},
    "ProviderEvent": m.provider_event()["detail"],
}

TAKEN = [
    ("one level less than too deep", deep(DEPTH_MAX)),
    ("version 1", work(version="1")),
    ("version 1.7.2", work(version="1.7.2")),
    ("no version", work(version=...)),
    ("null for what may be absent", work(version=None, currency=None, driverId=None, lineItems=None)),
    ("an event id of the longest kind", work(eventId="x" * KEY_CHARS_MAX)),
    ("a surrogate pair", work(notes="\U0001f69a")),
    ("an offset other than UTC", work(completedAt="2026-03-01T13:00:00.123+01:00")),
    ("an integer of 40 digits", number("1" * 40)),
]


def taken(body: str, queue: Queue = Queue.EVENTS) -> Parsed:
    return m.read(body, Arrival(queue, "sqs-1", m.NOW))


def body_in(kind: str, form: Form) -> str:
    """A body that is right in everything but, perhaps, its place."""
    if (kind, form) == ("ProviderEvent", Form.EVENT_BRIDGE):
        return json.dumps(m.provider_event(notes=CANARY))
    if form is Form.EVENT_BRIDGE:
        detail = FIELDS[kind] if kind == "WorkCompleted" else m.command(kind, **FIELDS[kind])
        return json.dumps(m.envelope({**detail, "notes": CANARY}, **{"detail-type": kind}))
    return json.dumps(m.command(kind, **{**FIELDS[kind], "type": kind, "notes": CANARY}))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_malformed_body_has_its_flaw_and_no_word_of_it_is_repeated(row: Row):
    with pytest.raises(Malformed) as caught:
        taken(row.body, row.queue)
    assert caught.value.flaw is row.flaw
    assert row.where in caught.value.detail
    assert CANARY in row.body or row.name in CANNOT_HOLD_A_CANARY
    assert CANARY not in f"{caught.value} {caught.value.detail} {caught.value!r}"


def test_no_two_rows_have_the_same_name():
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_every_flaw_has_a_row():
    assert {row.flaw for row in ROWS} | {Flaw.WRONG_QUEUE} == set(Flaw)


@pytest.mark.parametrize(("kind", "queue", "form"), WRONG_PLACES)
def test_a_kind_on_another_queue_or_in_another_form_is_malformed(kind: str, queue: Queue, form: Form):
    with pytest.raises(Malformed) as caught:
        taken(body_in(kind, form), queue)
    assert (caught.value.flaw, caught.value.kind) == (Flaw.WRONG_QUEUE, kind)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(("kind", "queue", "form"), RIGHT_PLACES)
def test_a_kind_in_its_own_place_is_taken(kind: str, queue: Queue, form: Form):
    found = taken(body_in(kind, form), queue)
    assert (type(found.message), found.cause.kind, found.cause.queue) == (KINDS[kind], kind, queue)


@pytest.mark.parametrize(("name", "body"), TAKEN)
def test_what_is_unusual_but_sound_is_taken(name: str, body: str):
    assert isinstance(taken(body).message, WorkCompleted), name


@pytest.mark.parametrize("literal", ["1e400", "1e40", "-1e400", "1e999999999"])
def test_a_number_of_monstrous_size_is_a_message_and_then_a_refusal(literal: str):
    message = taken(number(literal)).message
    assert isinstance(message, WorkCompleted)
    assert from_work(message, allow_legacy_ids=False) == Rejected(Refusal.AMOUNT_OUT_OF_RANGE, "totalCents")


def test_an_unknown_field_is_ignored_wherever_it_stands():
    plain, extended = m.work(), m.work(later="addition")
    extended["lineItems"][0]["taxCents"] = 100
    assert taken(m.body(plain)).cause == taken(m.body(extended)).cause


def test_a_fraction_keeps_its_exact_digits():
    assert str(parse_object('{"amount": 0.1000000000000000055511151231257827}')["amount"]) == (
        "0.1000000000000000055511151231257827"
    )


def test_an_event_is_known_by_its_own_id_and_lacking_it_by_its_envelopes():
    assert taken(work()).cause.message_key == str(m.EVENT)
    assert taken(work(eventId=...)).cause.message_key == "eb:eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee"


def test_a_command_is_known_by_its_id_however_it_is_spelled():
    spelled = approve(commandId="AAAAAAAA-AAAA-4AAA-8AAA-000000000001")
    assert taken(spelled, Queue.COMMANDS).cause.message_key == "aaaaaaaa-aaaa-4aaa-8aaa-000000000001"


@pytest.mark.parametrize(
    "travel",
    [
        {"eventId": "another"},
        {"timestamp": "2026-03-02T00:00:00Z"},
        {"version": "1.1"},
        {"correlationId": "another"},
        {"completedAt": "2026-02-28T00:00:00Z"},
        {"notes": "another note"},
        {"serviceType": "Towing", "duration": 3, "mediaUrls": ["u"]},
        {"workDetails": {"notes": "n"}},
    ],
)
def test_how_work_travelled_and_what_people_wrote_stay_out_of_its_fingerprint(travel: dict[str, Any]):
    assert taken(work(**travel)).cause.fingerprint == taken(work()).cause.fingerprint


@pytest.mark.parametrize(
    "business",
    [
        {"incidentId": str(m.DRIVER)},
        {"vendorId": str(m.DRIVER)},
        {"companyId": str(m.OTHER_COMPANY)},
        {"driverId": str(m.DRIVER)},
        {"payerType": "driver_ic"},
        {"payerId": str(m.DRIVER)},
        {"currency": "EUR"},
        {"totalCents": 1},
        {"amountCents": 1},
        {"pricing": {"basePrice": 1}},
        {"lineItems": []},
    ],
)
def test_every_business_field_of_work_is_in_its_fingerprint(business: dict[str, Any]):
    assert taken(work(**business)).cause.fingerprint != taken(work()).cause.fingerprint


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"reason": "another"}, True),
        ({"issuedAt": "2026-03-02T00:00:00Z", "schemaVersion": "1.1", "correlationId": "c"}, True),
        ({"reasonCode": "another"}, False),
        ({"paymentId": "another"}, False),
        ({"expectedVersion": 1}, False),
        ({"actor": m.admin()}, False),
    ],
)
def test_the_fingerprint_of_a_command_holds_its_business_and_no_free_text(change: dict[str, Any], *, same: bool):
    first, second = (taken(body, Queue.COMMANDS).cause for body in (reject(), reject(**change)))
    assert (first.fingerprint == second.fingerprint) is same


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"version": 7, "schemaVersion": "2.0"}, True),
        ({"created": 1, "api_version": "2030-01-01.later", "pending_webhooks": 3, "request": {"id": "req_1"}}, True),
        ({"data": {"object": {"id": "tr_1", "object": "transfer", "amount": 1}, "previous_attributes": {}}}, True),
        ({"data": {"object": {"id": "tr_2", "object": "transfer"}}}, False),
        ({"type": "transfer.reversed"}, False),
        ({"livemode": True}, False),
        ({"account": "acct_1"}, False),
    ],
)
def test_the_fingerprint_of_a_providers_event_holds_what_it_points_at_and_not_what_it_says_of_it(
    change: dict[str, Any], *, same: bool
):
    first, second = (taken(json.dumps(m.provider_event(**each))).cause for each in ({}, change))
    assert (first.fingerprint == second.fingerprint) is same
