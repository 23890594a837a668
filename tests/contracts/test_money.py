"""Money: whole minor units or a reason, the decimals of ISO 4217, and amounts that people can read."""

import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.money import AMOUNT_CENTS_MAX, EXPONENTS, Money, currency_code, minor_units
from contracts.refusals import Refusal

D = Decimal

UNITS = [
    (350, 350),
    (D("350.0"), 350),
    (D("3.5E+2"), 350),
    (D(350), 350),
    (0, 0),
    (D("-0.0"), 0),
    (D("350.5"), Refusal.NON_INTEGER_MINOR_UNITS),
    (D("0.0000000001"), Refusal.NON_INTEGER_MINOR_UNITS),
    (D("-350.5"), Refusal.NON_INTEGER_MINOR_UNITS),
    (D("1E-999999999"), Refusal.NON_INTEGER_MINOR_UNITS),
    (D("123456789012345678901234567890.5"), Refusal.NON_INTEGER_MINOR_UNITS),
    (-1, Refusal.NEGATIVE_AMOUNT),
    (D("-1.0"), Refusal.NEGATIVE_AMOUNT),
    (AMOUNT_CENTS_MAX, AMOUNT_CENTS_MAX),
    (AMOUNT_CENTS_MAX + 1, Refusal.AMOUNT_OUT_OF_RANGE),
    (D(AMOUNT_CENTS_MAX + 1), Refusal.AMOUNT_OUT_OF_RANGE),
    (10**39, Refusal.AMOUNT_OUT_OF_RANGE),
    (D("1E+400"), Refusal.AMOUNT_OUT_OF_RANGE),
    (D("1E+999999999"), Refusal.AMOUNT_OUT_OF_RANGE),
    (D("-1E+999999999"), Refusal.AMOUNT_OUT_OF_RANGE),
    (D("Infinity"), Refusal.AMOUNT_OUT_OF_RANGE),
    (D("NaN"), Refusal.AMOUNT_OUT_OF_RANGE),
]

#: ISO 4217 list one, by the number of decimals of the major unit.
DECIMALS = {
    0: ["BIF", "CLP", "ISK", "JPY", "KRW", "PYG", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"],
    2: ["AUD", "CAD", "CHF", "CNY", "EUR", "GBP", "HUF", "INR", "MGA", "MXN", "TWD", "USD", "XCG"],
    3: ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"],
}

CODES = [
    (None, "USD"),
    ("USD", "USD"),
    ("usd", "USD"),
    ("Jpy", "JPY"),
    ("", Refusal.UNSUPPORTED_CURRENCY),
    ("US", Refusal.UNSUPPORTED_CURRENCY),
    ("USD ", Refusal.UNSUPPORTED_CURRENCY),
    ("u\u017fd", Refusal.UNSUPPORTED_CURRENCY),  # a long s, whose capital is S
    ("XXX", Refusal.UNSUPPORTED_CURRENCY),
    ("XAU", Refusal.UNSUPPORTED_CURRENCY),
    ("BTC", Refusal.UNSUPPORTED_CURRENCY),
    ("840", Refusal.UNSUPPORTED_CURRENCY),
]

TEXTS = [
    (Money(15000, "JPY"), "15,000 JPY"),
    (Money(15000, "USD"), "150.00 USD"),
    (Money(15000, "BHD"), "15.000 BHD"),
    (Money(1, "USD"), "0.01 USD"),
    (Money(AMOUNT_CENTS_MAX, "USD"), "999,999,999.99 USD"),
]


@pytest.mark.parametrize(("value", "expected"), UNITS)
def test_a_wire_amount_is_a_whole_number_of_minor_units_or_has_its_reason_why_not(
    value: int | Decimal, expected: int | Refusal
):
    found = minor_units(value)
    assert (found, type(found)) == (expected, type(expected))


def test_a_monstrous_exponent_is_judged_without_being_expanded():
    begun = time.perf_counter()
    for text in ("1E+999999999", "-1E+999999999", "1E-999999999", "1E+999999999999999999"):
        assert isinstance(minor_units(Decimal(text)), Refusal)
    assert time.perf_counter() - begun < 0.1


@settings(deadline=None)
@given(st.integers(0, AMOUNT_CENTS_MAX), st.integers(0, 6))
def test_an_integral_decimal_is_the_same_amount_however_many_zeros_follow(amount: int, zeros: int):
    assert minor_units(Decimal(f"{amount}." + "0" * (zeros + 1))) == amount == minor_units(amount)


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_an_amount_is_never_rounded(value: Decimal):
    found = minor_units(value)
    assert isinstance(found, Refusal) or found == value


@pytest.mark.parametrize(("decimals", "code"), [(count, code) for count, codes in DECIMALS.items() for code in codes])
def test_a_currency_has_the_decimals_of_iso_4217(decimals: int, code: str):
    assert EXPONENTS[code] == decimals


def test_the_currencies_without_two_decimals_are_exactly_those_of_iso_4217():
    odd = {"BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF": 0, "BHD IQD JOD KWD LYD OMR TND": 3}
    expected = {code: decimals for codes, decimals in odd.items() for code in codes.split()}
    assert {code: decimals for code, decimals in EXPONENTS.items() if decimals != 2} == expected
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in EXPONENTS)


@pytest.mark.parametrize(("text", "expected"), CODES)
def test_a_currency_is_taken_in_any_case_and_an_unknown_one_refused(text: str | None, expected: str):
    found = currency_code(text)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(("money", "text"), TEXTS)
def test_money_is_shown_to_people_in_major_units(money: Money, text: str):
    assert str(money) == text
