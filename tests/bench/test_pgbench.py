"""Captured statements as a script for pgbench: the same statements, other ids each time, nothing else changed."""

import json

import pytest

from tests.bench.pgbench import Sent, TranslationError, literal, script, varied

A, B = "11111111-2222-4333-8444-aaaaaaaaaaaa", "55555555-6666-4777-8888-bbbbbbbbbbbb"


def test_an_id_that_is_another_one_each_time_gets_another_tail():
    assert varied(A, B) == "E'11111111-2222-4333-8444-' || :tail || E''"


def test_an_id_without_hyphens_is_one_too():
    bare = A.replace("-", "")
    assert varied(bare, B.replace("-", "")) == "E'11111111222243338444' || :tail || E''"


def test_an_id_that_is_the_same_each_time_stays():
    assert varied(A, A) == f"E'{A}'"


def test_within_a_text_only_those_that_differ_are_varied():
    assert varied(f"work:{A}/{B}!", f"work:{B}/{B}!") == (f"E'work\\x3a{A[:-12]}' || :tail || E'/{B}!'")


def test_a_hash_is_no_id():
    assert varied("\\x" + "ab" * 32, "\\x" + "cd" * 32) == "E'\\\\x" + "ab" * 32 + "'"


def test_what_differs_and_is_no_id_stays_as_it_was_first():
    assert varied("2026-01-01 10:00:00+00", "2026-01-01 10:00:01+00") == "E'2026-01-01 10\\x3a00\\x3a00+00'"


def test_nothing_is_null():
    assert varied(None, None) == "NULL"


def test_another_number_of_ids_cannot_be_repeated():
    with pytest.raises(TranslationError):
        varied(A, f"{A} {B}")


@pytest.mark.parametrize("text", ["it's", "a\\b", json.dumps({"a": None, "b": [True]}, separators=(",", ":")), "a\nb"])
def test_a_literal_holds_nothing_that_pgbench_or_the_server_takes_for_something_else(text):
    written = literal(text)
    assert ":" not in written
    assert "\n" not in written
    undone = written[2:-1].replace("''", "'").replace("\\x3a", ":").replace("\\n", "\n").replace("\\\\", "\\")
    assert undone == text


def test_a_script_keeps_the_flights_and_casts_every_parameter():
    first = [
        Sent(0, "BEGIN", ()),
        Sent(0, "INSERT INTO t VALUES ($1, $2)", (A, "x")),
        Sent(1, "UPDATE t SET b = $1", (None,)),
        Sent(1, "COMMIT", ()),
    ]
    second = [first[0], Sent(0, first[1].text, (B, "x")), *first[2:]]
    assert script(first, second, [[], ["uuid", "text"], ["integer"], []]).splitlines()[2:] == [
        "\\startpipeline",
        "BEGIN;",
        "INSERT INTO t VALUES (CAST(E'11111111-2222-4333-8444-' || :tail || E'' AS uuid), CAST(E'x' AS text));",
        "\\endpipeline",
        "\\startpipeline",
        "UPDATE t SET b = CAST(NULL AS integer);",
        "COMMIT;",
        "\\endpipeline",
    ]


def test_the_tenth_parameter_is_not_the_first_one_and_a_nought():
    text = f"SELECT {', '.join(f'${number}' for number in range(1, 11))}"
    sent = [Sent(0, text, tuple("abcdefghij"))]
    assert "CAST(E'j' AS text)" in script(sent, sent, [["text"] * 10])


def test_two_messages_with_different_statements_cannot_be_repeated():
    with pytest.raises(TranslationError):
        script([Sent(0, "BEGIN", ())], [Sent(1, "BEGIN", ())], [[]])
