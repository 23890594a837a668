"""From a producer's shape to a payment request: lines and sum, or the first reason why not and its field."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import ids
from contracts.inbound import CreatePayment, WorkCompleted
from contracts.money import AMOUNT_CENTS_MAX, Money
from contracts.payment import LineItem, PayerType, PaymentRequest
from contracts.refusals import Refusal
from contracts.requests import LINES_MAX, QUANTITY_MAX, Rejected, from_command, from_work
from tests.kit import messages as m

D = Decimal


def line(**overrides: Any) -> dict[str, Any]:
    fields = {"description": "Tow", "quantity": 1, "unitPriceCents": 100, **overrides}
    return {name: value for name, value in fields.items() if value is not ...}


def priced(**fields: Any) -> dict[str, Any]:
    """Finished work whose price is in these fields alone."""
    return m.work(**{"lineItems": ..., **fields})


def asked(detail: dict[str, Any], *, legacy: bool = False) -> PaymentRequest | Rejected:
    return from_work(WorkCompleted.model_validate(detail), allow_legacy_ids=legacy)


def requested(detail: dict[str, Any], *, legacy: bool = False) -> PaymentRequest:
    found = asked(detail, legacy=legacy)
    assert isinstance(found, PaymentRequest), found
    return found


def creation(**overrides: Any) -> CreatePayment:
    fields = {
        "actor": m.admin(),
        "incidentId": str(m.INCIDENT),
        "vendorId": str(m.VENDOR),
        "payerType": "back_office",
        "amountCents": 300,
        "lineItems": [line(), line(description="Mileage", quantity=2)],
    }
    return CreatePayment.model_validate(m.command("CreatePayment", **{**fields, **overrides}))


BASE, MILEAGE = ("Towing - Base Service", 1, 15000), ("Mileage Charge", 1, 500)
PRICING = {"basePrice": 15000, "mileageCharge": 500}
EXTRAS = {"additionalCharges": [{"description": "Winch", "amount": 700}, {"description": " Night ", "amount": 0}]}

SHAPES = [
    ("unitPriceCents", {"lineItems": [line(quantity=3)]}, [("Tow", 3, 100)]),
    ("unitPrice", {"lineItems": [line(unitPriceCents=..., unitPrice=250)]}, [("Tow", 1, 250)]),
    ("both names agree", {"lineItems": [line(unitPrice=D("100.0"))]}, [("Tow", 1, 100)]),
    ("quantity defaults to one", {"lineItems": [line(quantity=...)]}, [("Tow", 1, 100)]),
    ("integral decimals", {"lineItems": [line(quantity=D("2.0"), unitPriceCents=D("350.0"))]}, [("Tow", 2, 350)]),
    ("a free line beside another", {"lineItems": [line(), line(unitPriceCents=0)]}, [("Tow", 1, 100), ("Tow", 1, 0)]),
    ("descriptions are stripped", {"lineItems": [line(description="  Tow ")]}, [("Tow", 1, 100)]),
    ("255 characters", {"lineItems": [line(description="x" * 255)]}, [("x" * 255, 1, 100)]),
    ("pricing", {"serviceType": "Towing", "pricing": PRICING}, [BASE, MILEAGE]),
    ("pricing of nested details", {"workDetails": {"serviceType": "Towing"}, "pricing": PRICING}, [BASE, MILEAGE]),
    ("nested before flat", {"serviceType": "x", "workDetails": {"serviceType": "Towing"}, "pricing": PRICING}, None),
    ("base price alone", {"serviceType": "Towing", "pricing": {"basePrice": 15000}}, [BASE]),
    (
        "no service type",
        {"pricing": {"basePrice": 1}},
        [("Roadside Service - Base Service", 1, 1)],
    ),
    (
        "mileage is kept at zero",
        {"serviceType": "Towing", "pricing": {**PRICING, "mileageCharge": 0}},
        [BASE, ("Mileage Charge", 1, 0)],
    ),
    (
        "additional charges",
        {"serviceType": "Towing", "pricing": {**PRICING, **EXTRAS}},
        [BASE, MILEAGE, ("Winch", 1, 700), ("Night", 1, 0)],
    ),
    ("both shapes agree", {"lineItems": [line(unitPriceCents=15500)], "pricing": PRICING}, [("Tow", 1, 15500)]),
    ("no lines but pricing", {"serviceType": "Towing", "lineItems": [], "pricing": PRICING}, [BASE, MILEAGE]),
    ("pricing without a base price", {"lineItems": [line()], "pricing": {"mileageCharge": 5}}, [("Tow", 1, 100)]),
]

#: The fields of finished work beside its ids, the refusal, and the wire field that is to blame.
REFUSED = [
    ({}, Refusal.MISSING_PRICING, "pricing"),
    ({"lineItems": []}, Refusal.MISSING_PRICING, "pricing"),
    ({"pricing": {}}, Refusal.MISSING_PRICING, "pricing"),
    ({"pricing": {"mileageCharge": 500}}, Refusal.MISSING_PRICING, "pricing"),
    ({"lineItems": [line(), line(unitPriceCents=...)]}, Refusal.MISSING_PRICING, "lineItems.1.unitPriceCents"),
    ({"lineItems": [line(unitPriceCents=D("350.5"))]}, Refusal.NON_INTEGER_MINOR_UNITS, "lineItems.0"),
    (
        {"pricing": {**PRICING, "mileageCharge": D("12.25")}},
        Refusal.NON_INTEGER_MINOR_UNITS,
        "pricing.mileageCharge",
    ),
    ({"lineItems": [line()], "totalCents": D("100.5")}, Refusal.NON_INTEGER_MINOR_UNITS, "totalCents"),
    ({"lineItems": [line(unitPriceCents=-1)]}, Refusal.NEGATIVE_AMOUNT, "lineItems.0"),
    ({"pricing": {"basePrice": -1}}, Refusal.NEGATIVE_AMOUNT, "pricing.basePrice"),
    (
        {"pricing": {"basePrice": 1, "additionalCharges": [{"description": "Discount", "amount": -1}]}},
        Refusal.NEGATIVE_AMOUNT,
        "pricing.additionalCharges.0",
    ),
    ({"lineItems": [line()], "amountCents": -100}, Refusal.NEGATIVE_AMOUNT, "amountCents"),
    ({"lineItems": [line(unitPriceCents=0)]}, Refusal.AMOUNT_OUT_OF_RANGE, "lineItems"),
    ({"pricing": {"basePrice": 0, "mileageCharge": 0}}, Refusal.AMOUNT_OUT_OF_RANGE, "lineItems"),
    ({"lineItems": [line(unitPriceCents=AMOUNT_CENTS_MAX + 1)]}, Refusal.AMOUNT_OUT_OF_RANGE, "lineItems.0"),
    ({"lineItems": [line(unitPriceCents=AMOUNT_CENTS_MAX), line()]}, Refusal.AMOUNT_OUT_OF_RANGE, "lineItems"),
    ({"lineItems": [line(unitPriceCents=D("1E+400"))]}, Refusal.AMOUNT_OUT_OF_RANGE, "lineItems.0"),
    ({"lineItems": [line(unitPrice=101)]}, Refusal.SUM_MISMATCH, "lineItems.0.unitPrice"),
    ({"lineItems": [line()], "pricing": PRICING}, Refusal.SUM_MISMATCH, "pricing"),
    ({"lineItems": [line()], "totalCents": 99}, Refusal.SUM_MISMATCH, "totalCents"),
    ({"lineItems": [line()], "amountCents": 101}, Refusal.SUM_MISMATCH, "amountCents"),
    ({"lineItems": [line()], "totalCents": 100, "amountCents": 0}, Refusal.SUM_MISMATCH, "amountCents"),
    ({"lineItems": [line()], "currency": "XXX"}, Refusal.UNSUPPORTED_CURRENCY, "currency"),
    ({"lineItems": [line()], "currency": ""}, Refusal.UNSUPPORTED_CURRENCY, "currency"),
    ({"lineItems": [line(quantity=0)]}, Refusal.INVALID_FIELD, "lineItems.0.quantity"),
    ({"lineItems": [line(quantity=-1)]}, Refusal.INVALID_FIELD, "lineItems.0.quantity"),
    ({"lineItems": [line(quantity=D("1.5"))]}, Refusal.INVALID_FIELD, "lineItems.0.quantity"),
    ({"lineItems": [line(quantity=QUANTITY_MAX + 1)]}, Refusal.INVALID_FIELD, "lineItems.0.quantity"),
    ({"lineItems": [line(quantity=D("1E+999999999"))]}, Refusal.INVALID_FIELD, "lineItems.0.quantity"),
    ({"lineItems": [line(description="")]}, Refusal.INVALID_FIELD, "lineItems.0.description"),
    ({"lineItems": [line(description=" \t\n")]}, Refusal.INVALID_FIELD, "lineItems.0.description"),
    ({"lineItems": [line(), line(description="x" * 256)]}, Refusal.INVALID_FIELD, "lineItems.1.description"),
    ({"lineItems": [line()] * (LINES_MAX + 1)}, Refusal.INVALID_FIELD, "lineItems"),
    ({"lineItems": [line()], "payerType": "insurer"}, Refusal.INVALID_FIELD, "payerType"),
    ({"lineItems": [line()], "serviceType": "x" * 5000}, Refusal.INVALID_FIELD, "metadata"),
]

IDS = ["incidentId", "vendorId", "companyId", "driverId", "payerId"]

#: What is reported when several flaws meet: the code that comes first in Refusal, with its field.
PRECEDENCE = [
    ({"payerType": "insurer", "driverId": "x"}, Refusal.INVALID_FIELD),
    ({"incidentId": "x"}, Refusal.NON_UUID_ID),
    ({"vendorId": "x", "lineItems": [line(unitPriceCents=-1)]}, Refusal.NON_UUID_ID),
    ({"payerId": "x", "lineItems": [line()], "currency": "XXX"}, Refusal.NON_UUID_ID),
    ({"currency": "XXX"}, Refusal.MISSING_PRICING),
    ({"lineItems": [line(unitPriceCents=0)], "totalCents": 1}, Refusal.AMOUNT_OUT_OF_RANGE),
    ({"lineItems": [line()], "totalCents": 1, "currency": "XXX"}, Refusal.SUM_MISMATCH),
]

#: Payer type, payer and driver as sent, and who is to pay.
PAYERS = [
    ({}, PayerType.BACK_OFFICE, None),
    ({"payerType": "back_office", "driverId": str(m.DRIVER)}, PayerType.BACK_OFFICE, None),
    ({"payerType": "back_office", "payerId": str(m.ADMIN)}, PayerType.BACK_OFFICE, m.ADMIN),
    ({"payerType": "driver_ic", "driverId": str(m.DRIVER)}, PayerType.DRIVER_IC, m.DRIVER),
    ({"payerType": "driver_ic", "driverId": str(m.DRIVER), "payerId": str(m.ADMIN)}, PayerType.DRIVER_IC, m.ADMIN),
    ({"payerType": "driver_ic"}, PayerType.DRIVER_IC, None),
]

COMPLETED = {"workCompletedAt": "2026-03-01T12:00:00.000000Z"}
CIRCUMSTANCES = [
    ({}, {}, None),
    (
        {"serviceType": "Towing", "duration": 45, "notes": "flat", "mediaUrls": ["a", "b"]},
        {"serviceType": "Towing", "duration": 45, "photoCount": 2},
        "flat",
    ),
    (
        {"workDetails": {"serviceType": "Towing", "duration": D("45.0"), "notes": "nested", "photos": []}},
        {"serviceType": "Towing", "duration": 45, "photoCount": 0},
        "nested",
    ),
    (
        {"duration": 1, "notes": "flat", "mediaUrls": ["a"], "workDetails": {"duration": 2, "photos": ["a", "b"]}},
        {"duration": 2, "photoCount": 2},
        "flat",
    ),
    ({"duration": D("45.5")}, {"duration": "45.5"}, None),
]

METADATA = [
    (None, {}),
    ({"serviceType": "Towing", "reference": "R-1"}, {"serviceType": "Towing", "reference": "R-1"}),
    ({"duration": D("45.0"), "photoCount": 3}, {"duration": 45, "photoCount": 3}),
    ({"duration": D("45.5")}, {"duration": "45.5"}),
    ({"driverPhone": "555-0100"}, None),
    ({"reference": "R-1", "unknown": 1}, None),
    ({"reference": {"nested": 1}}, None),
    ({"reference": ["R-1"]}, None),
    ({"reference": "x" * 4096}, None),
]

COMMAND_REFUSED = [
    ({"lineItems": []}, Refusal.MISSING_PRICING, "lineItems"),
    ({"amountCents": 299}, Refusal.SUM_MISMATCH, "amountCents"),
    ({"amountCents": D("300.5")}, Refusal.NON_INTEGER_MINOR_UNITS, "amountCents"),
    ({"amountCents": -300}, Refusal.NEGATIVE_AMOUNT, "amountCents"),
    ({"amountCents": AMOUNT_CENTS_MAX + 1}, Refusal.AMOUNT_OUT_OF_RANGE, "amountCents"),
    ({"lineItems": [line(unitPriceCents=0)], "amountCents": 0}, Refusal.AMOUNT_OUT_OF_RANGE, "lineItems"),
    ({"lineItems": [line(unitPriceCents=D("0.5"))]}, Refusal.NON_INTEGER_MINOR_UNITS, "lineItems.0"),
    ({"lineItems": [line(quantity=0)]}, Refusal.INVALID_FIELD, "lineItems.0.quantity"),
    ({"lineItems": [line(description=" ")]}, Refusal.INVALID_FIELD, "lineItems.0.description"),
    ({"currency": "XAU"}, Refusal.UNSUPPORTED_CURRENCY, "currency"),
    ({"payerType": ""}, Refusal.INVALID_FIELD, "payerType"),
    ({"payerType": "insurer", "incidentId": "x"}, Refusal.INVALID_FIELD, "payerType"),
    ({"metadata": {"unknown": 1}, "vendorId": "x"}, Refusal.INVALID_FIELD, "metadata"),
    ({"incidentId": "x", "lineItems": []}, Refusal.NON_UUID_ID, "incidentId"),
    *(({field: "test-001"}, Refusal.NON_UUID_ID, field) for field in IDS),
]


@pytest.mark.parametrize(("name", "fields", "lines"), SHAPES, ids=[name for name, _, _ in SHAPES])
def test_every_shape_of_a_price_becomes_its_lines_and_their_sum(name: str, fields: dict[str, Any], lines: Any):
    expected = lines or [BASE, MILEAGE]
    request = requested(priced(**fields))
    assert request.lines == tuple(LineItem(number, *each) for number, each in enumerate(expected, start=1))
    assert request.money == Money(sum(quantity * price for _, quantity, price in expected), "USD")


@pytest.mark.parametrize(("fields", "code", "field"), REFUSED)
def test_work_that_cannot_be_paid_is_refused_with_its_field(fields: dict[str, Any], code: Refusal, field: str):
    assert asked(priced(**fields)) == Rejected(code, field)


@pytest.mark.parametrize("field", IDS)
@pytest.mark.parametrize("text", ["test-incident-001", "", "{11111111-1111-4111-8111-111111111111}"])
def test_an_id_that_is_no_uuid_is_refused(field: str, text: str):
    assert asked(m.work(**{field: text})) == Rejected(Refusal.NON_UUID_ID, field)


@pytest.mark.parametrize(("fields", "code"), PRECEDENCE)
def test_of_several_flaws_the_first_in_order_of_precedence_is_reported(fields: dict[str, Any], code: Refusal):
    found = asked(priced(**fields))
    assert isinstance(found, Rejected)
    assert found.code is code


def test_a_legacy_id_is_mapped_once_and_for_all_where_that_is_allowed():
    request = requested(m.work(incidentId="test-incident-001", driverId="driver-7"), legacy=True)
    assert str(request.incident_id) == "f143cb36-0abe-5ee1-909e-4c58eb51b06c"
    assert request.driver_id == ids.derive("legacy", "driver-7")
    assert request.vendor_id == m.VENDOR


def test_an_empty_id_is_refused_even_where_legacy_ids_are_allowed():
    assert asked(m.work(vendorId=""), legacy=True) == Rejected(Refusal.NON_UUID_ID, "vendorId")


@pytest.mark.parametrize(("fields", "payer_type", "payer_id"), PAYERS)
def test_the_payer_defaults_to_the_back_office_and_for_a_driver_to_the_driver(
    fields: dict[str, Any], payer_type: PayerType, payer_id: object
):
    request = requested(m.work(**fields))
    assert (request.payer_type, request.payer_id) == (payer_type, payer_id)


@pytest.mark.parametrize("totals", [{}, {"totalCents": 15000}, {"amountCents": D("15000.0")}])
def test_a_stated_total_that_is_the_sum_is_taken(totals: dict[str, Any]):
    assert requested(m.work(**totals)).money == Money(15000, "USD")


@pytest.mark.parametrize(("sent", "currency"), [(None, "USD"), ("jpy", "JPY"), ("Bhd", "BHD")])
def test_the_currency_is_taken_in_any_case_and_defaults_to_dollars(sent: str | None, currency: str):
    assert requested(m.work(currency=sent)).money == Money(15000, currency)


@pytest.mark.parametrize(("fields", "metadata", "note"), CIRCUMSTANCES)
def test_the_circumstances_go_into_the_metadata_and_personal_text_into_the_note(
    fields: dict[str, Any], metadata: dict[str, Any], note: str | None
):
    request = requested(m.work(**fields))
    assert (request.metadata, request.note) == ({**metadata, **COMPLETED}, note)


@pytest.mark.parametrize("count", [1, LINES_MAX])
def test_up_to_the_limit_every_line_is_kept_and_numbered_from_one(count: int):
    assert [item.line_no for item in requested(priced(lineItems=[line()] * count)).lines] == [*range(1, count + 1)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, QUANTITY_MAX), st.integers(0, AMOUNT_CENTS_MAX)), min_size=1, max_size=5))
def test_the_sum_of_integral_lines_is_the_amount_or_the_amount_is_out_of_range(pairs: list[tuple[int, int]]):
    total = sum(quantity * price for quantity, price in pairs)
    found = asked(priced(lineItems=[line(quantity=quantity, unitPriceCents=price) for quantity, price in pairs]))
    if 0 < total <= AMOUNT_CENTS_MAX:
        assert isinstance(found, PaymentRequest)
        assert found.money.amount_cents == total == sum(item.total_cents for item in found.lines)
    else:
        assert found == Rejected(Refusal.AMOUNT_OUT_OF_RANGE, "lineItems")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 99999)), min_size=1, max_size=5), st.integers(1, 9))
def test_only_the_true_sum_passes_as_a_stated_total(pairs: list[tuple[int, int]], off: int):
    total = sum(quantity * price for quantity, price in pairs)
    lines = [line(quantity=quantity, unitPriceCents=price) for quantity, price in pairs]
    assert isinstance(asked(priced(lineItems=lines, totalCents=total)), PaymentRequest)
    assert asked(priced(lineItems=lines, totalCents=total + off)) == Rejected(Refusal.SUM_MISMATCH, "totalCents")


def test_a_creation_by_hand_becomes_the_request_that_it_states():
    request = from_command(creation(companyId=str(m.COMPANY), payerType="driver_ic", currency="eur"))
    assert request == PaymentRequest(
        incident_id=m.INCIDENT,
        vendor_id=m.VENDOR,
        company_id=m.COMPANY,
        driver_id=None,
        payer_type=PayerType.DRIVER_IC,
        payer_id=None,
        money=Money(300, "EUR"),
        lines=(LineItem(1, "Tow", 1, 100), LineItem(2, "Mileage", 2, 100)),
    )


@pytest.mark.parametrize(("sent", "metadata"), METADATA)
def test_only_known_and_small_metadata_is_taken(sent: dict[str, Any] | None, metadata: dict[str, Any] | None):
    found = from_command(creation(metadata=sent))
    if metadata is None:
        assert found == Rejected(Refusal.INVALID_FIELD, "metadata")
    else:
        assert isinstance(found, PaymentRequest)
        assert found.metadata == metadata


@pytest.mark.parametrize(("fields", "code", "field"), COMMAND_REFUSED)
def test_a_creation_that_cannot_be_paid_is_refused_with_its_field(fields: dict[str, Any], code: Refusal, field: str):
    assert from_command(creation(**fields)) == Rejected(code, field)
