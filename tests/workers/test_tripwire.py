"""The tripwire: what it takes out, what it leaves, and that no text whatever stops it."""

import time
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import ids
from workers import catalogue, tripwire
from workers.tripwire import Tripwire, as_id, luhn_valid

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
FOUND = {
    "card_number": [
        "4242424242424242",
        "4242 4242 4242 4242",
        "4242-4242-4242-4242",
        "378282246310005",
        "3782 822463 10005",
        "4222222222222",
        "6304000000000000000",
    ],
    "email": ["ada@example.org", "ada.lovelace+x@mail.example.co.uk", "Jörg@exämple.de"],
    "phone": ["+4915112345678", "+1 (555) 010-9999", "+44 20 7946 0958", "+1.555.010.9999"],
    "token": [JWT, JWT.rpartition(".")[0] + ".", "Bearer abcdef0123456789abcdef"],
    "key": [
        "sk_live_51HabcdefGHIJ",
        "rk_test_51HabcdefGHIJ",
        "whsec_abcdefghijkl",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "password=hunter2",
        "aws_secret_access_key = wJalrXUtnFEMI",
        '"clientSecret": "wJalrXUtnFEMI"',
        "password: hunter2",
    ],
}
SURROUNDED = ["{}", "before {} after", "({})", "x={}", "'{}'", "{}.", "[{}]", "a,{},b"]
PAYMENT = UUID("b87d5260-6299-5a9e-8d4f-c07a423b572d")
LEFT = [
    "",
    "message",
    str(PAYMENT),
    "00000000-0000-4000-8000-000000000000",
    "12345678-1234-4123-8123-123456789012",
    "345a6789-478a-447a-847a-424242424242",
    "aaaaaaaa-aaaa-4aaa-8242-424242424242",
    "sqs message 4242424a-4242-4242-4242-424242424242 is 42",
    "00-42424242424242424242424242424242-4242424242424242-01",
    "Root=1-42424242-424242424242424242424242;Parent=53995c3f42cd8ad8;Sampled=1",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "00f067aa0ba902b7",
    f"pay-{PAYMENT}-1",
    "acct_1032D82eZvKYlo2C",
    "acct_42424242424242424242424242424242",
    "tr_1NG8Du2eZvKYlo2CUI79vXWy",
    "evt_1NG8Du2eZvKYlo2CUI79vXWy",
    "req_4242424242424242",
    "2026-11-28T18:10:31.123456Z",
    "2026-11-28 18:10:31.123456+00:00",
    "2026-11-28T18:10:31+01:00",
    "1764353431000",
    "sha256:4242424242424242",
    "receive 10 of 10, 4242424242424241 is no card",
    "1.2.3+20261128",
    "token refused",
    "token_type: Bearer",
    "password authentication failed for user",
    "arn:aws:secretsmanager:eu-central-1:000000000000:secret:payments-AbCdEf",
    "http://127.0.0.1:9100/health",
    "https://sqs.eu-central-1.amazonaws.com/000000000000/payments-events",
    "transient_connection (sqlstate 08006)",
    "workers/consume.py:123 < handlers/process.py:45",
    "a@b",
    "3.1415926535897932384626433832795",
    ids.provider_account(str(PAYMENT)),
]


def cleaned(text: str) -> tuple[str, Counter[str]]:
    found: Counter[str] = Counter()
    return Tripwire(lambda detector: found.update([detector])).clean(text), found


def test_it_counts_by_the_words_of_the_catalogue():
    assert frozenset(catalogue.DETECTORS) == tripwire.DETECTORS


@pytest.mark.parametrize("frame", SURROUNDED)
@pytest.mark.parametrize(("detector", "text"), [(name, text) for name, texts in FOUND.items() for text in texts])
def test_what_must_not_be_there_is_taken_out(detector: str, text: str, frame: str):
    clean, found = cleaned(frame.format(text))
    assert found == {detector: 1}
    assert f"[redacted:{detector}]" in clean
    assert text not in clean


@pytest.mark.parametrize("frame", SURROUNDED)
@pytest.mark.parametrize("text", LEFT)
def test_ids_times_and_our_own_words_stay_as_they_are(text: str, frame: str):
    written = frame.format(text)
    assert cleaned(written) == (written, Counter())


@pytest.mark.parametrize("number", range(200))
def test_no_derived_id_looks_like_anything(number: int):
    text = f"{ids.derive('x', number)} {ids.derive('y', number).hex} {ids.span_id('t', number)}"
    assert cleaned(text) == (text, Counter())


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("postgresql://payments:s3cr@zzet@db.example:5432/x", "postgresql://[redacted:key]@db.example:5432/x"),
        ("https://:s3cret@host/x", "https://[redacted:key]@host/x"),
        ("https://user@host.example/x", "https://[redacted:email]/x"),
    ],
)
def test_of_a_url_only_the_credentials_go(url: str, clean: str):
    assert cleaned(url)[0] == clean


def test_several_finds_in_one_text_are_counted_one_by_one():
    clean, found = cleaned("ada@example.org, bob@example.org and 4242424242424242")
    assert clean == "[redacted:email], [redacted:email] and [redacted:card_number]"
    assert found == {"email": 2, "card_number": 1}


@given(st.text(max_size=200))
def test_what_is_clean_stays_clean(text: str):
    clean, _ = cleaned(text)
    assert cleaned(clean) == (clean, Counter())


@pytest.mark.parametrize(
    "piece", ["a", "1", "1 ", "-1", "eyJ", "@", "a@", "://", "://a:", "password", "+1(", "a.", "_"]
)
def test_no_long_text_takes_long(piece: str):
    text = piece * (200_000 // len(piece))
    began = time.perf_counter()
    clean, _ = cleaned(text)
    assert time.perf_counter() - began < 2
    assert len(clean) <= len(text)


def test_luhn():
    assert luhn_valid("79927398713")
    assert not luhn_valid("79927398710")
    assert not luhn_valid("0000000000000000")


@pytest.mark.parametrize("known", [str(PAYMENT), f"eb:{PAYMENT}", "evt_1NG8Du2eZvKYlo2CUI79vXWy"])
def test_an_id_that_can_be_nobody_s_name_is_written_as_it_is(known: str):
    assert as_id(known) == known


@pytest.mark.parametrize("free", ["ada@example.org", "incident-ada-lovelace", "evt_ada", f"{PAYMENT} ", "\ud800", "ü"])
def test_of_any_other_a_digest_is_written(free: str):
    assert as_id(free).startswith("sha256:")
    assert len(as_id(free)) == 23
    assert as_id(free) == as_id(free) != as_id(free + "x")
