"""The relay's doorbell: NOTIFY after commits, LISTEN before the next poll.

Never in a business transaction: NOTIFY takes a lock over the whole server until its commit is on disk, and would
make all writers together as slow as one (measured: half the throughput at 8 connections). A ring that is lost costs
nothing but the time to the relay's next poll.
"""

from collections.abc import Callable
from typing import LiteralString

import psycopg

#: How long a connection attempt may take, in seconds.
CONNECT_S = 3
#: How long a ring may take, in milliseconds; also how long the network may stay silent.
STATEMENT_MS = 3_000
_NOTIFY = "NOTIFY payments_outbox"
_LISTEN = "LISTEN payments_outbox"

Conninfo = str | Callable[[], str]


class _Line:
    """A connection of its own, outside the pool; made when it is first needed, and again after it broke."""

    def __init__(self, conninfo: Conninfo, on_connect: LiteralString | None = None) -> None:
        self._conninfo = conninfo
        self._on_connect: LiteralString | None = on_connect
        self._connection: psycopg.Connection | None = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            conninfo = self._conninfo if isinstance(self._conninfo, str) else self._conninfo()
            self._connection = psycopg.connect(
                conninfo,
                autocommit=True,
                connect_timeout=CONNECT_S,
                options=f"-c statement_timeout={STATEMENT_MS}",
                tcp_user_timeout=STATEMENT_MS,
            )
            if self._on_connect:
                self._connection.execute(self._on_connect)
        return self._connection


class Bell(_Line):
    """Rings for the relays; used by one thread."""

    def __init__(self, conninfo: Conninfo) -> None:
        super().__init__(conninfo)

    def ring(self) -> bool:
        """Tell listening relays that there is something to send; return whether they could be told."""
        try:
            self._connected().execute(_NOTIFY)
        except (psycopg.Error, OSError):
            self.close()
            return False
        return True


class Ear(_Line):
    """Listens for the bell; used by one thread."""

    def __init__(self, conninfo: Conninfo) -> None:
        super().__init__(conninfo, _LISTEN)

    def wait(self, seconds: float) -> bool | None:
        """Wait for a ring; return whether it came in time, or None, at once, where nothing can be heard."""
        try:
            heard = self._connected().notifies(timeout=seconds, stop_after=1)
            return any(True for _ in heard)
        except (psycopg.Error, OSError):
            self.close()
            return None
