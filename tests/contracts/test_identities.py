"""Canonical JSON and the ids: literals, so that a change of a recipe, which would pay twice, is seen."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import ids
from contracts.canonical import canonical_json, digest, integral, utc_microseconds

PAYMENT = UUID("b87d5260-6299-5a9e-8d4f-c07a423b572d")
ATTEMPT = UUID("e8536395-cc08-549d-8c2f-11c672f7d346")
WORK_KEY = "work:11111111-1111-4111-8111-111111111111:22222222-2222-4222-8222-222222222222:evt-1"


class Colour(StrEnum):
    RED = "red"


CANONICAL = [
    (None, "null"),
    (True, "true"),
    (350, "350"),
    (Decimal("350.0"), "350"),
    (Decimal("3.5E+2"), "350"),
    (Decimal("-0.0"), "0"),
    (Decimal("350.50"), '"350.50"'),
    (Decimal("1E+400"), '"1E+400"'),
    ("Zürich \n", '"Zürich \\n"'),
    (Colour.RED, '"red"'),
    (PAYMENT, f'"{PAYMENT}"'),
    (datetime(2026, 3, 1, 13, 0, tzinfo=timezone(timedelta(hours=1))), '"2026-03-01T12:00:00.000000Z"'),
    ([1, (2, 3)], "[1,[2,3]]"),
    ({"b": 1, "a": {"d": None, "c": []}}, '{"a":{"c":[],"d":null},"b":1}'),
]

#: Values are literals from the day these tests were written. A failure here means: do not release.
GOLDEN_IDS: list[tuple[str, object, str]] = [
    ("namespace", ids.NAMESPACE, "6f0d9a52-0b8e-5b5e-9d0c-2f1f6f7f3b11"),
    ("intake", ids.SYSTEM_INTAKE, "00000000-0000-4000-8000-00000000a001"),
    ("payouts", ids.SYSTEM_PAYOUTS, "00000000-0000-4000-8000-00000000a002"),
    ("directory", ids.SYSTEM_DIRECTORY, "00000000-0000-4000-8000-00000000a003"),
    ("accounts", ids.SYSTEM_ACCOUNTS, "00000000-0000-4000-8000-00000000a004"),
    ("work source key", ids.work_source_key("inc", "ven", "evt"), "work:inc:ven:evt"),
    ("command source key", ids.command_source_key(PAYMENT), "command:b87d5260-6299-5a9e-8d4f-c07a423b572d"),
    ("legacy id", ids.derive("legacy", "test-incident-001"), "f143cb36-0abe-5ee1-909e-4c58eb51b06c"),
    ("payment of work", ids.payment_id(WORK_KEY), "456f9d19-f056-5c93-b1cf-668c20ccb385"),
    ("payment of a command", ids.payment_id(ids.command_source_key(PAYMENT)), "ebdd156a-673d-53c9-9993-72ea0a157a6d"),
    ("line item", ids.line_item_id(PAYMENT, 1), "63337362-b6eb-5876-9e8d-2e08ee3b7f7f"),
    ("audit entry", ids.audit_id(PAYMENT, 1), "8e1a22b8-e78b-5cd2-b8f5-0ee99fe74a54"),
    ("attempt", ids.attempt_id(PAYMENT, 1), "e8536395-cc08-549d-8c2f-11c672f7d346"),
    ("provider key", ids.provider_key(PAYMENT, 1), "pay-b87d5260-6299-5a9e-8d4f-c07a423b572d-1"),
    ("event", ids.event_id(PAYMENT, 2, "PaymentApproved"), "cfe578a2-ca99-5bdc-b3b5-22cb254168ed"),
    ("trace", ids.trace_id("sqs-1"), "721b2a18e59f53b7a087b8f8fd8e19b5"),
    ("span", ids.span_id("4bf92f3577b34da6a3ce929d0e0e4736", "WorkCompleted", "evt-1"), "644e3b7608c450a4"),
    ("notice", ids.notice_id("key", bytes(32), "PaymentCommandRejected"), "b33a397d-c447-5667-9ca0-760da4372f5a"),
    ("process payment", ids.process_payment_key(PAYMENT, 2, refusals=0), "9754fe96-88c3-56b5-a1f6-b6b778822683"),
    ("process payment again", ids.process_payment_key(PAYMENT, 2, refusals=1), "dacee5e0-d25f-5078-a6be-f87ebac00a96"),
    ("execute payout", ids.execute_payout_key(ATTEMPT, 0), "3cf1f2e3-9fc5-5e43-b1d8-82faa07643cd"),
    ("execute payout check", ids.execute_payout_key(ATTEMPT, 1), "25daf459-d3aa-5b85-87c9-22af7522a401"),
    ("reconcile attempt", ids.reconcile_attempt_key(ATTEMPT, 0), "c65faa2e-367c-5a74-9c17-1cd26e02b74f"),
    ("reconcile attempt again", ids.reconcile_attempt_key(ATTEMPT, 1), "31997c9c-88ce-5a30-ac27-2a05f8ec9e5c"),
    ("settlement", ids.reconcile_settlement_key(ATTEMPT, "evt_1"), "ce9aec20-c7c0-5382-925d-8cc81481470f"),
    ("derived account", ids.provider_account(str(PAYMENT)), "acct_b87d526062995a9e8d4fc07a423b572d"),
    ("registered account", ids.provider_account("acct_1"), "acct_1"),
]

ACCEPTED = [
    "11111111-1111-4111-8111-111111111111",
    "AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA",
    "00000000-0000-0000-0000-000000000000",
]
REFUSED = [
    None,
    "",
    "test-incident-001",
    "11111111111141118111111111111111",
    "{11111111-1111-4111-8111-111111111111}",
    "urn:uuid:11111111-1111-4111-8111-111111111111",
    "11111111-1111-4111-8111-11111111111g",
    "11111111-1111-4111-8111-111111111111\n",
    " 1111111-1111-4111-8111-111111111111",
    "{{11111111111141118111111111111111}}",
    "----11111111111141118111111111111111",
    "1_111111-1111-4111-8111-111111111111",
    "0x111111-1111-4111-8111-111111111111",
    "\u06611111111-1111-4111-8111-111111111111",
]

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(("value", "text"), CANONICAL)
def test_a_value_has_one_canonical_form(value: Any, text: str):
    assert canonical_json(value) == text.encode()


@settings(deadline=None)
@given(st.dictionaries(st.text("abcdef", max_size=3), PLAIN, max_size=5), st.randoms())
def test_canonical_json_does_not_depend_on_the_order_of_keys(document: dict[str, Any], random: Any):
    pairs = list(document.items())
    random.shuffle(pairs)
    assert canonical_json(dict(pairs)) == canonical_json(document)
    assert digest(dict(pairs)) == digest(document)


@settings(deadline=None)
@given(st.integers(-(10**15), 10**15))
def test_an_amount_has_one_digest_whether_it_came_as_an_integer_or_as_a_decimal(amount: int):
    assert digest({"amount": amount}) == digest({"amount": Decimal(f"{amount}.0")})


@pytest.mark.parametrize("value", [1.5, {"amount": 350.0}, [[0.1]], {1, 2}, b"bytes", object()])
def test_what_has_no_canonical_form_is_refused_floats_above_all(value: Any):
    with pytest.raises(TypeError, match="no canonical form"):
        canonical_json(value)


def test_the_digest_is_sha_256_of_the_canonical_json():
    assert digest({"b": 1, "a": 2}).hex() == "d3626ac30a87e6f7a6428233b3c68299976865fa5508e4267c5415c76af7a772"


@pytest.mark.parametrize(
    ("value", "whole"),
    [("350.00", 350), ("-3", -3), ("350.5", None), ("1E+31", None), ("NaN", None), ("-Infinity", None)],
)
def test_a_decimal_is_an_integer_only_where_it_is_exactly_one(value: str, whole: int | None):
    assert integral(Decimal(value)) == whole


def test_the_first_and_the_last_year_are_written_with_four_digits_and_six_decimals():
    assert utc_microseconds(datetime(1, 1, 1, tzinfo=UTC)) == "0001-01-01T00:00:00.000000Z"
    assert utc_microseconds(datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)) == "9999-12-31T23:59:59.999999Z"


@pytest.mark.parametrize(("name", "found", "literal"), GOLDEN_IDS)
def test_an_id_is_the_same_in_every_release(name: str, found: object, literal: str):
    assert str(found) == literal, name


def test_no_two_recipes_give_the_same_id():
    assert len({literal for _, _, literal in GOLDEN_IDS}) == len(GOLDEN_IDS)


@pytest.mark.parametrize("text", ACCEPTED)
def test_a_uuid_in_its_canonical_form_is_one_in_either_case(text: str):
    assert str(ids.as_uuid(text)) == text.lower()


@pytest.mark.parametrize("text", REFUSED)
def test_anything_but_the_canonical_form_of_a_uuid_is_none(text: str | None):
    assert ids.as_uuid(text) is None
