"""Asks the database whether work could be done now: over a connection of its own, with a deadline of its own.

Not over the pool: a pool whose connections are all busy is not an outage, and a connection that an outage has left
half open answers nobody, whatever the server's own timeouts say.
"""

import select
from collections.abc import Callable

import psycopg
from psycopg import pq

from store.db import Pool, Transient, TransientReason, connection_class, translated
from store.wakeup import Conninfo

#: A reader that was a writer until a failover takes no work, though it answers.
_ASK = b"SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'"
#: What is said of such a server, as Postgres itself would.
READ_ONLY = "25006"
#: An answer is a few packets; more waits than this are a server that dribbles.
_WAITS_MAX = 5


def ask(conninfo: Conninfo, timeout_s: int, login_refused: Callable[[], None] = lambda: None) -> None:
    """Ask, and return if work could be done now.

    Args:
        conninfo: where the database is, or a function that says so.
        timeout_s: how long to wait for a connection, and again for each part of the answer; at least 2.
        login_refused: called when the server refuses the credentials, so that fresh ones can be fetched.

    Raises:
        Transient: it could not: there is no server, no answer in time, or one that only reads.
    """
    where = conninfo if isinstance(conninfo, str) else conninfo()
    try:
        connection = connection_class(login_refused).connect(where, autocommit=True, connect_timeout=timeout_s)
        try:
            answer = _answer(connection.pgconn, timeout_s)
        finally:
            connection.close()  # not by `with`: it would wait for the answer before it closes
    except psycopg.Error as error:
        raise translated(error) from None
    if answer is None:
        raise Transient(TransientReason.TIMEOUT, None)
    if answer != b"f":
        raise Transient(TransientReason.CONNECTION, READ_ONLY)


def refresh(pool: Pool) -> None:
    """Replace every connection of the pool: some may be broken, half open, or lead to a server that only reads."""
    pool.drain()


def _answer(connection: "pq.abc.PGconn", timeout_s: float) -> bytes | None:
    """Return the answer's one value, or None when it did not come in time."""
    connection.send_query(_ASK)
    for _ in range(_WAITS_MAX):
        readable, _writable, _broken = select.select([connection.socket], [], [], timeout_s)
        if not readable:
            return None
        connection.consume_input()
        if not connection.is_busy():
            result = connection.get_result()
            return result.get_value(0, 0) if result else None
    return None
