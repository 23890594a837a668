"""Logs: every line is JSON, whoever wrote it, and says who, when and what."""

import json
import logging
import threading
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import structlog

from store import db
from store.db import PoolOptions, Transient
from tests.kit.logs import CHATTY, configured
from workers import catalogue, settings
from workers.catalogue import Role
from workers.logs import in_places, logger
from workers.metrics import Metrics
from workers.roles import process


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    out, err = capsys.readouterr()
    assert out == "", "standard output belongs to the commands"
    return [json.loads(line) for line in err.splitlines()]


def test_our_own_line_is_one_json_object_with_who_when_and_what(capsys: pytest.CaptureFixture[str]):
    with configured(), structlog.contextvars.bound_contextvars(queue="payments-events", message_id="sqs-1"):
        logger("test").info("message", outcome="applied", reason='a "quoted"\nline')
    [line] = lines(capsys)
    assert (line["service"], line["role"], line["version"], line["env"]) == (
        "roadcall-payments",
        "worker",
        "1.2.3",
        "test",
    )
    assert (line["event"], line["level"], line["outcome"]) == ("message", "info", "applied")
    assert (line["queue"], line["message_id"]) == ("payments-events", "sqs-1")
    assert line["reason"] == 'a "quoted"\nline'
    assert line["ts"].endswith("Z")


def test_a_library_s_line_is_json_too_with_its_exception_in_it(capsys: pytest.CaptureFixture[str]):
    with configured():
        try:
            json.loads("{")
        except ValueError:
            logging.getLogger("some.library").exception("it %s", "failed")
    [line] = lines(capsys)
    assert (line["event"], line["level"], line["role"]) == ("it failed", "error", "worker")
    assert line["exception"].startswith("JSONDecodeError at json/decoder.py:")
    assert "test_logs.py:" in line["exception"], "every place that it came through"


@pytest.mark.parametrize("name", [name for name in CHATTY if not name.startswith("psycopg")])
def test_chatty_libraries_are_heard_from_warnings_on(capsys: pytest.CaptureFixture[str], name: str):
    with configured():
        logging.getLogger(f"{name}.part").info("request with a body")
        logging.getLogger(f"{name}.part").warning("trouble")
    assert [line["event"] for line in lines(capsys)] == ["trouble"]


def test_a_driver_that_quotes_a_connection_string_is_not_heard(capsys: pytest.CaptureFixture[str]):
    wrong = "postgresql://u:s3cr%zzet@127.0.0.1:1/x"
    options = PoolOptions(size_min=1, wait_s=0.3)
    with configured(), db.open_pool(wrong, options) as pool, pytest.raises(Transient):
        db.ping(pool)
    told = capsys.readouterr()
    assert "s3cr" not in told.err + told.out


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]):
    with configured():
        logger("test").debug("detail")
    assert lines(capsys) == []


# -- what may be written


def test_a_key_that_is_not_on_the_list_is_dropped_and_named(capsys: pytest.CaptureFixture[str]):
    with configured():
        logger("test").info("message", outcome="applied", notes="secret words", driver_name="Ada")
    [line] = lines(capsys)
    assert line["dropped_keys"] == ["notes", "driver_name"]
    assert line.keys().isdisjoint({"notes", "driver_name"})
    assert line["outcome"] == "applied"


def test_what_a_library_binds_to_the_context_is_dropped_too(capsys: pytest.CaptureFixture[str]):
    with configured(), structlog.contextvars.bound_contextvars(body="secret words"):
        logging.getLogger("some.library").warning("trouble")
    [line] = lines(capsys)
    assert (line["event"], line["dropped_keys"]) == ("trouble", ["body"])


class Opaque:
    def __repr__(self) -> str:
        return "secret words"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"body": "secret words"}, "<dict>"),
        (Opaque(), "<Opaque>"),
        (b"secret words", "<bytes>"),
        ([{"a": 1}, "x", 7, None], ["<dict>", "x", 7, None]),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01 00:00:00+00:00"),
        (Decimal("1.50"), "1.50"),
        (1.5, 1.5),
        (True, True),
        (None, None),
        (4242424242424242, "[redacted:card_number]"),
        ([4242424242424242], ["[redacted:card_number]"]),
        (10**13, 10**13),
    ],
)
@pytest.mark.parametrize("key", ["reason", "status"])
def test_a_value_is_plain_or_its_type_alone(capsys: pytest.CaptureFixture[str], key: str, value: Any, written: Any):
    with configured():
        logger("test").info("message", **{key: value})
    [line] = lines(capsys)
    own_number = key == "status" and isinstance(value, int)
    assert line[key] == (value if own_number else written)


def test_what_the_tripwire_finds_is_taken_out_and_counted_whoever_logs_it(capsys: pytest.CaptureFixture[str]):
    found: Counter[str] = Counter()
    with configured(redacted=lambda detector: found.update([detector])):
        logger("test").info(
            "paid with 4242 4242 4242 4242", reason="write to ada@example.org", transfer_ids=["+4915112345678"]
        )
        logging.getLogger("some.library").warning("connecting to %s", "postgresql://u:s3cret@db/x")
    first, second = lines(capsys)
    assert first["event"] == "paid with [redacted:card_number]"
    assert first["reason"] == "write to [redacted:email]"
    assert first["transfer_ids"] == ["[redacted:phone]"]
    assert second["event"] == "connecting to postgresql://[redacted:key]@db/x"
    assert found == {"card_number": 1, "email": 1, "phone": 1, "key": 1}


def fail_with(error: Exception) -> None:
    raise error


def test_an_exception_is_its_classes_and_places_and_never_its_text(capsys: pytest.CaptureFixture[str]):
    with configured():
        try:
            dict[str, int]()["secret words"]
        except KeyError as error:
            caused = ExceptionGroup("secret words", [ValueError("secret words")])
            caused.__cause__ = error
        try:
            fail_with(caused)
        except ExceptionGroup:
            logger("test").exception("it failed", exc_info=True)
            logging.getLogger("some.library").exception("it failed")
    written = lines(capsys)
    assert "secret words" not in str(written)
    for line in written:
        first, second = line["exception"].split("; because of ")
        assert first.startswith("ExceptionGroup of ValueError at workers/test_logs.py:")
        assert second.startswith("KeyError at workers/test_logs.py:")


def test_an_exception_without_a_place_or_with_an_endless_chain_is_told_too():
    first, second = ValueError(), KeyError()
    first.__context__, second.__context__ = second, first
    assert in_places(ValueError("x")) == "ValueError at no place"
    assert in_places(first).count("at no place") == 5


def test_an_exception_that_ends_a_thread_is_a_line_without_its_text(capsys: pytest.CaptureFixture[str]):
    def fail() -> None:
        raise ValueError("secret words")

    with configured():
        thread = threading.Thread(target=fail, name="poller-x")
        thread.start()
        thread.join()
    [line] = lines(capsys)
    assert (line["event"], line["thread"]) == ("thread died", "poller-x")
    assert line["exception"].startswith("ValueError at ")
    assert "secret words" not in str(line)


def test_a_line_that_cannot_be_written_is_told_of_without_its_words(capsys: pytest.CaptureFixture[str]):
    with configured():
        logging.getLogger("some.library").warning("secret %d", "words")
    [line] = lines(capsys)
    assert (line["event"], line["error"]) == ("log line lost", "TypeError")
    assert line["where"].startswith("test_logs.py:")
    assert "words" not in str(line)


def test_a_standard_error_that_is_gone_ends_nobody():
    with configured():
        [handler] = logging.getLogger().handlers
        assert isinstance(handler, logging.StreamHandler)

        class Gone:
            def write(self, _text: str) -> None:
                raise BrokenPipeError

            def flush(self) -> None:
                raise BrokenPipeError

        handler.setStream(Gone())
        logger("test").info("message")
        with suppress(BrokenPipeError):
            handler.setStream(None)


def test_a_role_counts_what_is_taken_out_of_its_lines(capsys: pytest.CaptureFixture[str]):
    metrics = Metrics(Role.RELAY)
    with configured():
        process.log_as(Role.RELAY, settings.load({}), metrics)
        logging.getLogger("some.library").warning("write to ada@example.org")
    assert metrics.value(catalogue.REDACTIONS, "email") == 1
    assert metrics.value(catalogue.REDACTIONS, "phone") == 0
    [line] = lines(capsys)
    assert (line["role"], line["event"]) == ("relay", "write to [redacted:email]")
