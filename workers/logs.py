"""Logs: every line of a process is one JSON object on standard error; a message has one line, without its body.

What is written is what is on a closed list of keys, each with a plain value, and what passes the tripwire. An exception
is written as its class and its places: its text may quote what was being handled.
"""

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from datetime import date
from decimal import Decimal
from types import TracebackType
from typing import Any
from uuid import UUID

import structlog

from workers.tripwire import Tripwire

Logger = structlog.stdlib.BoundLogger

#: Keys whose values are ours, or a hexadecimal id: they are looked at by type alone, since a line is written for every
#: message. What a producer, a provider or a library has any say in is not among them.
OWN_KEYS = frozenset(
    {
        # every line
        "level",
        "ts",
        "service",
        "role",
        "version",
        "env",
        # a message
        "queue",
        "message_id",
        "message_type",
        "message_key",
        "receive_count",
        "outcome",
        "payment_id",
        "status",
        "payment_version",
        "duration_ms",
        "critical_ms",
        "trace_id",
        "span_id",
    }
)
#: Everything else that may be written; `tests/house/test_log_keys.py` holds that each is used, and no other.
LOG_KEYS = OWN_KEYS | {
    "event",
    "exception",
    "dropped_keys",
    # messages
    "message_ids",
    "reason",
    "flaw",
    "error",
    "where",
    "settlement",
    # what is sent
    "destination",
    "event_id",
    "kind",
    "code",
    "rows",
    "orders",
    "taken",
    # the provider
    "call",
    "request_id",
    "transfer_ids",
    "field",
    "problem",
    # the monitor
    "duty",
    "detail",
    "invariant",
    "seq",
    "payments",
    "links",
    "broken",
    # processes and what they lean on
    "url",
    "threads",
    "thread",
    "clean",
    "healthy",
    "dependency",
    "after_s",
    "count",
    "table",
    "message_inbox",
    "outbox",
}
#: Keys that the machinery of this module adds itself.
MACHINE_KEYS = frozenset({"event", "level", "ts", "service", "role", "version", "env", "exception", "dropped_keys"})
_PLAIN = frozenset({int, float, bool, type(None)})
_READABLE = (UUID, date, Decimal)
#: A whole number with this many digits could be that of a card.
_LONG_NUMBER = 10**12
_FRAMES_MAX, _CHAIN_MAX = 12, 5


def quiet_driver() -> None:
    """Keep the driver's own warnings out of every output: they quote connection strings, passwords among them.

    Its pipeline also tells of each lost race. What matters is told by us: by class, sqlstate and constraint.
    """
    for name in ("psycopg", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.ERROR)


def configure_logging(
    role: str, version: str, environment: str, level: str, redacted: Callable[[str], None] = lambda _detector: None
) -> None:
    """Send every log line of this process, libraries' too, to standard error as JSON.

    Args:
        role: the process's part in the fleet.
        version: the release.
        environment: where it runs, such as `production`.
        level: the least severe level that is written.
        redacted: is told what the tripwire has taken out of a line, by detector; must not log.
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _Static({"service": "roadcall-payments", "role": role, "version": version, "env": environment}),
    ]
    line = _Line(Tripwire(redacted))
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, line]
        )
    )
    # Ours go straight to the stream: by way of the library `logging`, which serves other libraries' lines, each costs
    # a tenth of a message's whole handling.
    structlog.configure(
        processors=[*shared, line],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=lambda *_: handler.lines,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    threading.excepthook = _thread_died
    quiet_driver()
    for chatty in ("botocore", "boto3", "urllib3", "dramatiq", "uvicorn", "alembic"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def logger(name: str) -> Logger:
    """Return a logger that writes events with keyword data."""
    found: Logger = structlog.get_logger(name)
    return found


def _thread_died(what: threading.ExceptHookArgs) -> None:
    """Log an exception that ends a thread; Python would print it with its text."""
    name = what.thread.name if what.thread else None
    logger(__name__).error("thread died", thread=name, exc_info=what.exc_value)


def in_places(error: BaseException) -> str:
    """Return an exception as classes and places, innermost first, with what it came of; never its text."""
    told: list[str] = []
    for link in _chain(error):
        within = f" of {', '.join(type(one).__name__ for one in link.exceptions)}" if _is_group(link) else ""
        places = list(_places(link.__traceback__))[-_FRAMES_MAX:]
        told.append(f"{type(link).__name__}{within} at {' < '.join(reversed(places)) or 'no place'}")
    return "; because of ".join(told)


def _is_group(error: BaseException) -> bool:
    return isinstance(error, BaseExceptionGroup)


def _chain(error: BaseException) -> Iterator[Any]:
    link: BaseException | None = error
    for _ in range(_CHAIN_MAX):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _places(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        yield f"{'/'.join(trace.tb_frame.f_code.co_filename.rsplit('/', 2)[-2:])}:{trace.tb_lineno}"
        trace = trace.tb_next


def _name_the_exception(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Replace `exc_info`, in any of the forms that it may have, by the exception's class and places."""
    given = event.pop("exc_info", None)
    if given:
        found = (
            given if isinstance(given, BaseException) else (given if isinstance(given, tuple) else sys.exc_info())[1]
        )
        if found is not None:
            event["exception"] = in_places(found)
    return event


class _Static:
    """Adds the same fields to every line."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    def __call__(self, _logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        return {**event, **self._fields}


class _Guard:
    """Lets pass what is on the list and plain; of other keys the names are told, of other values the type."""

    def __init__(self, tripwire: Tripwire) -> None:
        self._clean = tripwire.clean

    def __call__(self, _logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        kept: structlog.types.EventDict = {}
        dropped: list[str] = []
        for key, value in event.items():
            if key in OWN_KEYS:
                own = isinstance(value, str) or type(value) in _PLAIN
                kept[key] = value if own else self._shown(value)
            elif key in LOG_KEYS:
                kept[key] = self._shown(value)
            else:
                dropped.append(key)
        if dropped:
            kept["dropped_keys"] = [self._clean(str(key)) for key in dropped]
        return kept

    def _shown(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._clean(value)
        if type(value) in _PLAIN:
            return value if not isinstance(value, int) or abs(value) < _LONG_NUMBER else self._number(value)
        if isinstance(value, list | tuple | frozenset | set):
            return [self._clean(item) if isinstance(item, str) else self._one(item) for item in value]
        return self._one(value)

    def _number(self, value: int) -> int | str:
        text = str(value)
        cleaned = self._clean(text)
        return value if cleaned == text else cleaned

    def _one(self, value: Any) -> Any:
        """Return what is neither a text nor a collection: a plain value as it is, anything unknown as its type."""
        if type(value) in _PLAIN:
            return self._number(value) if isinstance(value, int) and abs(value) >= _LONG_NUMBER else value
        return str(value) if isinstance(value, _READABLE) else f"<{type(value).__name__}>"


class _Line:
    """Makes the line of an event: what may be written of it, as JSON. Of one that cannot be made it says so."""

    def __init__(self, tripwire: Tripwire) -> None:
        self._guard = _Guard(tripwire)
        self._encode = json.JSONEncoder().encode

    def __call__(self, logger: Any, method: str, event: structlog.types.EventDict) -> str:
        try:
            return self._encode(self._guard(logger, method, _name_the_exception(logger, method, event)))
        except Exception as error:  # noqa: BLE001 - whoever logs has something else to do; the text may quote the event
            return self._encode({**_LOST, "error": type(error).__name__, "where": next(_places(error.__traceback__))})


_LOST = {"event": "log line lost", "level": "error"}


class _Lines:
    """Writes our own lines, each whole, beside those that come by way of `logging`."""

    def __init__(self, handler: logging.StreamHandler[Any]) -> None:
        self._handler = handler

    def write(self, line: str) -> None:
        """Write one; where there is nowhere to write, there is nowhere to say so either."""
        handler = self._handler
        with suppress(OSError, ValueError), handler.lock or nullcontext():
            handler.stream.write(f"{line}\n")  # standard error is flushed with each line

    debug = info = warning = error = critical = exception = write


class _Handler(logging.StreamHandler[Any]):
    """Writes other libraries' lines; of one that cannot be written it says so, without what it held."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.lines = _Lines(self)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say that a line was lost, whose, and why: the class of the exception."""
        error = sys.exc_info()[0]
        lost = {**_LOST, "error": error.__name__ if error else None, "where": f"{record.filename}:{record.lineno}"}
        self.lines.write(json.dumps(lost))
