"""Databases for tests: copies of a template, made while the tests before them run."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Self
from uuid import uuid4

import psycopg
from psycopg import sql

from workers.local import postgres

#: How many lie ready; a copy takes Postgres about 0.1 s, as long as many a test.
_READY = 2


class Copies:
    """Copies of one database of a server, to which nobody else may be connected meanwhile."""

    def __init__(self, server: postgres.Server, template: str) -> None:
        self._server = server
        self._template = template
        self._maker = ThreadPoolExecutor(1, "copies")
        self._ready: deque[Future[str]] = deque()

    def __enter__(self) -> Self:
        """Begin to make copies."""
        self._ready.extend(self._maker.submit(self._made) for _ in range(_READY))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; what lies ready goes with its server."""
        self._maker.shutdown(cancel_futures=True)

    @contextmanager
    def one(self) -> Iterator[str]:
        """A copy of one's own, as its URL."""
        self._ready.append(self._maker.submit(self._made))
        name = self._ready.popleft().result()
        yield self._server.url(name)
        self._maker.submit(self._run, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _made(self) -> str:
        name = f"copy_{uuid4().hex}"
        self._run(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(self._template))
        )
        return name

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._server.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)
