"""Numbers, ages and codes as people read them."""

import pytest

from workers.wording import age, counted, harmless, number, words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (0.9, "0 s"),
        (12, "12 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3_599, "59 min"),
        (3_600, "1 h"),
        (7_500, "2 h 5 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d"),
        (273_600, "3 d 4 h"),
    ],
)
def test_an_age(seconds: float, said: str):
    assert age(seconds) == said


def test_numbers_and_nouns():
    assert (number(0), number(12_345)) == ("0", "12,345")
    assert (counted(1, "payment"), counted(1_000, "payment")) == ("1 payment", "1,000 payments")
    assert counted(2, "chain is", "chains are") == "2 chains are"


@pytest.mark.parametrize(
    "code",
    ["pending_approval", "insufficient_funds", "E11000", "http 503", "0.1.0", "payments-commands", "1.12.0rc1"],
)
def test_a_code_is_left_alone(code: str):
    assert harmless(code) == code


@pytest.mark.parametrize(
    "code",
    [
        "3f2b8c1e-9d44-4a6b-8f10-aa11bb22cc33",
        "3F2B8C1E-9D44-4A6B-8F10-AA11BB22CC33",
        "acct_1OxYz2AbCd3EfGh4",
        "4111111111111111",
        "deadbeef0123456789",
    ],
)
def test_what_may_be_an_id_is_withheld(code: str):
    assert harmless(f"lost {code}.") == "lost …."


def test_words():
    assert words("lines_sum_to_amount") == "Lines sum to amount"
    assert words("") == ""
