"""Flights: statements that travel to Postgres in one packet, and whose answers come back in one.

This is libpq's pipeline mode, spoken through `psycopg.pq`, psycopg's own wrapper of libpq, instead of through its
cursors: those send each statement by itself and look at the socket after each. Two flights of five statements cost
0.05 ms of CPU here and 0.54 ms there, measured side by side in one process.

Every statement is prepared at its first use on a connection. Its parameters travel as text whose types the server
infers, so that one prepared statement serves whatever is null in a row; where it cannot infer, the statement casts.
"""

import json
import re
import select
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import count
from operator import itemgetter
from typing import Any
from uuid import UUID

import psycopg
from psycopg import errors, pq
from psycopg.abc import Buffer, PyFormat
from psycopg.adapt import Transformer
from psycopg.pq.abc import PGconn, PGresult
from psycopg.types.json import Jsonb

Row = dict[str, Any]

_PLACEHOLDER = re.compile(r"%(?:\((\w+)\)s|%)")
_DONE = frozenset({pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK})
_OPEN = frozenset({pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR})
_ENCODING = "utf-8"
_AS_TEXT = (PyFormat.TEXT,)


def numbered(query: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement as Postgres takes it, with `$1` for `%(name)s` and `%` for `%%`, and the names in order."""
    names: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        name = found[1]
        return f"${names.setdefault(name, len(names) + 1)}" if name else "%"

    return _PLACEHOLDER.sub(number, query).encode(), tuple(names) if _PLACEHOLDER.search(query) else ()


def is_outdated(error: psycopg.Error) -> bool:
    """Whether a prepared statement is of no use any more: the server was made to forget it, or a column has changed.

    Of the second its function tells, in any language of the server's (`RevalidateCachedQuery`, plancache.c).
    """
    return isinstance(error, errors.InvalidSqlStatementName) or (
        isinstance(error, errors.FeatureNotSupported) and error.diag.source_function == "RevalidateCachedQuery"
    )


def _of_text(value: str) -> bytes:
    if "\x00" in value:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return value.encode()


def _of_number(value: int) -> bytes:
    return b"%d" % value


_to_json = json.JSONEncoder(separators=(",", ":")).encode
#: How the most frequent types are written. Any other is left to psycopg's dumpers, which take two microseconds more
#: for each value.
_WRITERS: Mapping[type, Callable[[Any], bytes | None]] = {
    str: _of_text,
    int: _of_number,
    bool: lambda value: b"t" if value else b"f",
    bytes: lambda value: b"\\x" + value.hex().encode(),
    UUID: lambda value: b"%032x" % value.int,  # without hyphens, which take six times as long
    Jsonb: lambda value: _to_json(value.obj).encode(),
    datetime: lambda value: str(value).encode(),
    type(None): lambda _: None,
}


class Statement:
    """What a connection knows of one statement: how it is written, and, once it was sent, its name and its columns."""

    __slots__ = ("columns", "name", "pick", "text")

    def __init__(self, query: str) -> None:
        self.text, names = numbered(query)
        self.pick: Callable[[Mapping[str, Any]], Sequence[Any]] = _picking(names)
        self.name: bytes | None = None
        self.columns: tuple[str, ...] | None = None


def _picking(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """Return what takes a statement's values out of a mapping, in order."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: [values[name] for name in names]


def _columns(result: PGresult) -> tuple[str, ...]:
    return tuple((result.fname(number) or b"").decode() for number in range(result.nfields))


class Slot:
    """The place of one statement in a flight, and of its answer once that is there."""

    __slots__ = ("params", "result", "statement")

    def __init__(self, statement: Statement, params: Sequence[Buffer | None]) -> None:
        self.statement = statement
        self.params = params
        self.result: PGresult | None = None


class Flights:
    """Sends flights on one connection; belongs to it, and knows which statements are prepared there."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._pgconn: PGconn = connection.pgconn
        self._transformer = Transformer(connection)
        self._statements: dict[str, Statement] = {}
        self._numbers = count(1)
        self._waiting: list[Slot] = []
        self._error: psycopg.Error | None = None
        self._poll = select.poll()

    def open(self) -> None:
        """Enter pipeline mode."""
        self._pgconn.enter_pipeline_mode()
        self._poll.register(self._pgconn.socket, select.POLLIN)

    def close(self) -> None:
        """Leave pipeline mode, and the transaction where one is open still; what has not been sent is dropped."""
        self._waiting.clear()
        self._error = None
        try:
            if self._pgconn.transaction_status in _OPEN:
                # Here, not by psycopg: after a ROLLBACK of its own it makes the server forget all prepared statements.
                self.put("ROLLBACK", {})
                self.land()
            self._poll.unregister(self._pgconn.socket)
            self._pgconn.exit_pipeline_mode()
        except BaseException as error:
            # Broken, or interrupted between question and answer: nobody can say what its next answer would belong to.
            self._pgconn.finish()
            if not isinstance(error, psycopg.Error | KeyError):
                raise

    def put(self, query: str, values: Mapping[str, Any]) -> Slot:
        """Let a statement go with the next flight.

        Raises:
            psycopg.Error: a value cannot be told to Postgres, such as a text with a NUL character.
        """
        statement = self._statements.get(query)
        if statement is None:
            statement = self._statements[query] = Statement(query)
        write, other = _WRITERS.get, self._written
        kinds: list[tuple[type, Any]] = [(type(value), value) for value in statement.pick(values)]
        slot = Slot(statement, [(write(kind) or other)(value) for kind, value in kinds])
        self._waiting.append(slot)
        return slot

    def _written(self, value: Any) -> Buffer | None:
        return self._transformer.dump_sequence((value,), _AS_TEXT)[0]

    def rows(self, slot: Slot) -> list[Row]:
        """Return the rows of a statement, where it has any, and send it first where it has not been.

        Raises:
            psycopg.Error: it failed, or another one of its flight did; then none of the flight is done.
        """
        if slot.result is None:
            self.land()
        result = slot.result
        if result is None or result.status not in _DONE:
            raise self._error or psycopg.ProgrammingError("the statement was not done")
        if not result.ntuples:
            return []
        columns = slot.statement.columns = slot.statement.columns or _columns(result)
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, lambda values: dict(zip(columns, values, strict=True)))

    def land(self) -> None:
        """Send what waits and take all of its answers.

        Raises:
            psycopg.Error: the first failure among them.
        """
        flight, self._waiting = self._waiting, []
        fresh = self._send(flight)
        for slot in flight:
            if slot.statement in fresh:
                self._prepared(slot.statement, fresh.pop(slot.statement))
            slot.result = self._answer()
        self._next()  # that of the synchronisation
        if self._error is not None:
            raise self._error

    def _send(self, flight: Sequence[Slot]) -> dict[Statement, bytes]:
        """Send a flight; return what is prepared with it, each with its name."""
        pgconn = self._pgconn
        fresh: dict[Statement, bytes] = {}
        for slot in flight:
            statement = slot.statement
            name = statement.name or fresh.get(statement)
            if name is None:
                name = fresh[statement] = f"flight_{next(self._numbers)}".encode()
                pgconn.send_prepare(name, statement.text)
            pgconn.send_query_prepared(name, slot.params)
        pgconn.pipeline_sync()
        while pgconn.flush():
            self._wait(select.POLLIN | select.POLLOUT)
            pgconn.consume_input()
        return fresh

    def _prepared(self, statement: Statement, name: bytes) -> None:
        """Take the answer to a preparation, which stands even where a later statement fails."""
        if self._answer().status == pq.ExecStatus.COMMAND_OK:
            statement.name = name

    def _answer(self) -> PGresult:
        """Take the next answer, and note the first failure."""
        result = self._next()
        if result is None:
            raise psycopg.OperationalError("the connection was lost")
        if result.status == pq.ExecStatus.FATAL_ERROR and self._error is None:
            self._error = errors.error_from_result(result, encoding=_ENCODING)
            if is_outdated(self._error):
                self._statements.clear()  # each is prepared anew, under another name
        while self._next() is not None:  # libpq ends each answer with nothing
            pass
        return result

    def _next(self) -> PGresult | None:
        pgconn = self._pgconn
        while pgconn.is_busy():
            self._wait(select.POLLIN)
            pgconn.consume_input()
        return pgconn.get_result()

    def _wait(self, events: int) -> None:
        """Wait for the socket, without the interpreter's lock."""
        if events != select.POLLIN:
            self._poll.modify(self._pgconn.socket, events)
        self._poll.poll()
        if events != select.POLLIN:
            self._poll.modify(self._pgconn.socket, select.POLLIN)
