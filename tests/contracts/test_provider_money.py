"""The provider's amounts: a table of every odd currency, and no amount that changes on its way there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.money import AMOUNT_CENTS_MAX, EXPONENTS, Money
from contracts.provider_money import MINIMUM, STEP, SUPPORTED, our_amount, payable, provider_amount
from contracts.refusals import Refusal

#: Ours, and what the provider takes for it.
AMOUNTS = [
    ("USD", 15_000, 15_000),
    ("EUR", 1, 1),
    ("USD", 0, 0),
    # no decimals on either side
    ("JPY", 500, 500),
    ("KRW", 1, 1),
    ("CLP", 99, 99),
    ("VND", 10_000, 10_000),
    ("XPF", 7, 7),
    # none here, two there
    ("ISK", 5, 500),
    ("UGX", 5, 500),
    # two here, none there
    ("MGA", 500, 5),
    ("MGA", 550, Refusal.INVALID_FIELD),
    # two on both sides, but whole units only
    ("HUF", 1_000, 1_000),
    ("HUF", 1_045, Refusal.INVALID_FIELD),
    ("TWD", 100, 100),
    ("TWD", 101, Refusal.INVALID_FIELD),
    # three, of which the last is zero
    ("KWD", 5_120, 5_120),
    ("KWD", 5_124, Refusal.INVALID_FIELD),
    ("BHD", 10, 10),
    ("JOD", 15, Refusal.INVALID_FIELD),
    ("OMR", 1_000, 1_000),
    ("TND", 9, Refusal.INVALID_FIELD),
    # not there at all
    ("IQD", 1_000, Refusal.UNSUPPORTED_CURRENCY),
    ("LYD", 1_000, Refusal.UNSUPPORTED_CURRENCY),
    ("IRR", 1_000, Refusal.UNSUPPORTED_CURRENCY),
    ("KPW", 1_000, Refusal.UNSUPPORTED_CURRENCY),
    ("CUP", 1_000, Refusal.UNSUPPORTED_CURRENCY),
    ("XXX", 1_000, Refusal.UNSUPPORTED_CURRENCY),
]

#: Whether the provider would pay it.
PAYABLE = [
    ("USD", 50, None),
    ("USD", 49, Refusal.AMOUNT_BELOW_MINIMUM),
    ("USD", 0, Refusal.AMOUNT_BELOW_MINIMUM),
    ("USD", -100, Refusal.AMOUNT_BELOW_MINIMUM),
    ("GBP", 30, None),
    ("GBP", 29, Refusal.AMOUNT_BELOW_MINIMUM),
    ("AED", 199, Refusal.AMOUNT_BELOW_MINIMUM),
    ("CZK", 1_499, Refusal.AMOUNT_BELOW_MINIMUM),
    ("JPY", 50, None),
    ("JPY", 49, Refusal.AMOUNT_BELOW_MINIMUM),
    ("HUF", 17_500, None),
    ("HUF", 17_400, Refusal.AMOUNT_BELOW_MINIMUM),
    ("HUF", 17_450, Refusal.INVALID_FIELD),
    ("THB", 999, Refusal.AMOUNT_BELOW_MINIMUM),
    # no minimum is documented: one step
    ("ZAR", 1, None),
    ("ZAR", 0, Refusal.AMOUNT_BELOW_MINIMUM),
    ("ISK", 1, None),
    ("KWD", 10, None),
    ("MGA", 100, None),
    ("MGA", 0, Refusal.AMOUNT_BELOW_MINIMUM),
    # eight digits, counted on the provider's side
    ("USD", 99_999_999, None),
    ("USD", 100_000_000, Refusal.AMOUNT_OUT_OF_RANGE),
    ("ISK", 999_999, None),
    ("ISK", 1_000_000, Refusal.AMOUNT_OUT_OF_RANGE),
    ("MGA", 9_999_999_900, None),
    ("MGA", 10_000_000_000, Refusal.AMOUNT_OUT_OF_RANGE),
    ("IDR", AMOUNT_CENTS_MAX, None),
    ("IQD", 10_000, Refusal.UNSUPPORTED_CURRENCY),
]

NOT_OURS = [(100, "eek"), (100, ""), (150, "isk"), (1, "ugx")]

moneys = st.builds(Money, st.integers(0, AMOUNT_CENTS_MAX), st.sampled_from(sorted(SUPPORTED)))


@pytest.mark.parametrize(("currency", "ours", "theirs"), AMOUNTS)
def test_the_amount_that_the_provider_takes(currency: str, ours: int, theirs: int | Refusal):
    assert provider_amount(Money(ours, currency)) == theirs
    if not isinstance(theirs, Refusal):
        assert our_amount(theirs, currency.lower()) == Money(ours, currency)


@pytest.mark.parametrize(("currency", "ours", "expected"), PAYABLE)
def test_whether_the_provider_would_pay_it(currency: str, ours: int, expected: Refusal | None):
    assert payable(Money(ours, currency)) is expected


@pytest.mark.parametrize(("amount", "currency"), NOT_OURS)
def test_an_amount_that_is_none_of_ours_is_no_amount(amount: int, currency: str):
    with pytest.raises(ValueError, match=r"currency that we do not know|no whole number"):
        our_amount(amount, currency)


@given(moneys)
def test_no_amount_changes_on_its_way_there_and_back(money: Money):
    there = provider_amount(money)
    if isinstance(there, Refusal):
        assert money.amount_cents % STEP[money.currency]
    else:
        assert our_amount(there, money.currency) == money


@given(st.builds(Money, st.integers(-10, AMOUNT_CENTS_MAX), st.sampled_from(sorted(EXPONENTS))))
def test_what_is_payable_can_be_written(money: Money):
    if payable(money) is None:
        there = provider_amount(money)
        assert isinstance(there, int)
        assert there > 0


def test_the_tables_name_currencies_that_exist():
    assert set(EXPONENTS) >= SUPPORTED
    assert set(MINIMUM) <= SUPPORTED
    assert set(STEP) <= SUPPORTED
    assert len(SUPPORTED) >= 135


@pytest.mark.parametrize("currency", sorted(MINIMUM))
def test_a_minimum_can_be_paid(currency: str):
    assert payable(Money(MINIMUM[currency], currency)) is None
