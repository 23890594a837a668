"""Logs: every line is JSON, whoever wrote it, and says who, when and what."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog

from store import db
from store.db import PoolOptions, Transient
from workers.logs import configure_logging, logger

CHATTY = ("botocore", "boto3", "urllib3", "dramatiq", "uvicorn", "alembic", "psycopg", "psycopg.pool")


@contextmanager
def configured() -> Iterator[None]:
    """Logging as a role has it, on the standard error that there is now; afterwards as it was."""
    root = logging.getLogger()
    handlers, level, known = list(root.handlers), root.level, {name: logging.getLogger(name).level for name in CHATTY}
    configure_logging("worker", "1.2.3", "test", "INFO")
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, before in known.items():
            logging.getLogger(name).setLevel(before)
        structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    out, err = capsys.readouterr()
    assert out == "", "standard output belongs to the commands"
    return [json.loads(line) for line in err.splitlines()]


def test_our_own_line_is_one_json_object_with_who_when_and_what(capsys: pytest.CaptureFixture[str]):
    with configured(), structlog.contextvars.bound_contextvars(queue="payments-events", message_id="sqs-1"):
        logger("test").info("message", outcome="applied", text='a "quoted"\nline')
    [line] = lines(capsys)
    assert (line["service"], line["role"], line["version"], line["env"]) == (
        "roadcall-payments",
        "worker",
        "1.2.3",
        "test",
    )
    assert (line["event"], line["level"], line["outcome"]) == ("message", "info", "applied")
    assert (line["queue"], line["message_id"]) == ("payments-events", "sqs-1")
    assert line["text"] == 'a "quoted"\nline'
    assert line["ts"].endswith("Z")


def test_a_library_s_line_is_json_too_with_its_exception_in_it(capsys: pytest.CaptureFixture[str]):
    with configured():
        try:
            json.loads("{")
        except ValueError:
            logging.getLogger("some.library").exception("it %s", "failed")
    [line] = lines(capsys)
    assert (line["event"], line["level"], line["role"]) == ("it failed", "error", "worker")
    assert "JSONDecodeError" in line["exception"]


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
