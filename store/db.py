"""The pool and the transaction: two flights per message, timeouts everywhere, driver errors in our own words.

A transaction here has its own BEGIN and COMMIT. What is asked is sent when the first answer is read, so that claim,
lock and load travel together (first flight), and writes and COMMIT together (second). Measured: psycopg's
`conn.transaction()` inside a pipeline would cost three to six round trips instead of two.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, LiteralString, Self, TypeVar

import psycopg
from psycopg import errors
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from store import flights
from store.flights import Flights

T = TypeVar("T")
Row = flights.Row


class Connection(psycopg.Connection[Row]):
    """A connection of the pool, with its flights."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.flights = Flights(self)


class Watcher:
    """Is told what happens at the database; this one takes no notice. Must be quick, and must not raise."""

    def begin(self) -> float:
        """Return when a transaction begins, in the watcher's own time."""
        return 0.0

    def end(self, operation: str, begun: float, *, committed: bool) -> None:
        """Take notice of a transaction that has ended."""

    def failed(self, operation: str, trouble: "Transient") -> None:
        """Take notice of work that failed for now."""

    def disconnected(self, kind: "ConnectionTrouble") -> None:
        """Take notice of a connection that could not be made, or broke."""


NOBODY = Watcher()
#: The operation of whoever names none.
UNNAMED = "other"


class Pool(ConnectionPool[Connection]):
    """The connection pool of a process.

    Attributes:
        watcher: is told what happens at its connections.
    """

    watcher: Watcher = NOBODY


#: A violation of these unique keys means that another transaction was faster: try again and meet its row.
LOST_RACES = frozenset(
    {
        "payments_pkey",
        "payments_source_key_key",
        "ux_payments_live_work",
        "ux_attempt_open",
        "payout_attempts_pkey",
        "approval_policies_pkey",
        "memberships_pkey",
    }
)


class TransientReason(StrEnum):
    """Why the same message will do better later."""

    CONFLICT = "conflict"  # serialization, deadlock, lost race
    TIMEOUT = "timeout"  # a lock, statement or pool wait took too long
    CONNECTION = "connection"  # the database is away, restarting, or read-only after a failover


class ConnectionTrouble(StrEnum):
    """Why a connection to the database could not be made, or broke."""

    CONNECT = "connect"  # the server cannot be reached, or takes no more connections
    AUTH = "auth"  # it refuses the credentials
    LOST = "lost"  # it was there and is gone
    TIMEOUT = "timeout"  # the pool had none in time, or the server was too slow
    READONLY = "readonly"  # a writer has become a reader, after a failover


class Transient(Exception):
    """The database could not do it now; nothing was written, the same message may come again.

    Attributes:
        reason: from a closed set.
        sqlstate: Postgres's code, or None where the connection broke before it could send one.
    """

    def __init__(self, reason: TransientReason, sqlstate: str | None) -> None:
        super().__init__(f"{reason} (sqlstate {sqlstate})" if sqlstate else str(reason))
        self.reason = reason
        self.sqlstate = sqlstate


class StoreFault(Exception):
    """The database refused a statement of ours: a bug or a broken invariant.

    Its text names class, sqlstate and constraint only: the driver's own text quotes row values.
    """

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(f"{type(error).__name__} (sqlstate {error.sqlstate}, constraint {error.diag.constraint_name})")


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """Limits of the connection pool; durations in seconds.

    The three timeouts and the wait for a connection sum to less than the handling budget (40 s).
    """

    size_min: int = 2
    size_max: int = 10
    idle_s: float = 30
    lifetime_s: float = 1800
    wait_s: float = 10
    #: How long the pool tries by itself to replace a broken connection. Its pauses double, so that after a long
    #: outage it would come back late; whoever asks for a connection makes it try at once.
    reconnect_s: float = 5
    connect_s: int = 3
    statement_s: float = 10
    lock_s: float = 5
    idle_in_transaction_s: float = 15
    application: str = "payments"


def connection_class(login_refused: Callable[[], None], watcher: Watcher = NOBODY) -> type[Connection]:
    """Return a connection class that calls `login_refused` when the server refuses the credentials."""

    class Watched(Connection):
        @classmethod
        def connect(cls, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().connect(*args, **kwargs)
            except psycopg.OperationalError as error:
                kind = _unconnected(error)
                if kind is ConnectionTrouble.AUTH:
                    login_refused()
                watcher.disconnected(kind)
                raise

    return Watched


def _unconnected(error: psycopg.OperationalError) -> ConnectionTrouble:
    """Return why there is no connection; the error carries no sqlstate, only the server's or libpq's text."""
    if isinstance(error, errors.ConnectionTimeout):
        return ConnectionTrouble.TIMEOUT
    if "authentication failed" in str(error):
        return ConnectionTrouble.AUTH
    # libpq's, where a server is found that is not what target_session_attrs=read-write asks for.
    return ConnectionTrouble.READONLY if "session is read-only" in str(error) else ConnectionTrouble.CONNECT


#: A server that vanishes without a word, as in a failover, is noticed within these: seconds, but the last one in
#: milliseconds (libpq, "Parameter Key Words"). Server-side timeouts cannot help then.
_KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}


def open_pool(
    conninfo: str | Callable[[], str],
    options: PoolOptions,
    login_refused: Callable[[], None] = lambda: None,
    watcher: Watcher = NOBODY,
) -> Pool:
    """Return an open pool; it connects in the background, so a database that is away is no error yet.

    Args:
        conninfo: where the database is, or a function that is asked anew for every connection, so that
            rotated credentials are taken up.
        options: limits.
        login_refused: called when the server refuses the credentials, so that fresh ones can be fetched.
        watcher: is told what happens at the connections.
    """
    server_side = " ".join(
        f"-c {name}={int(seconds * 1000)}"
        for name, seconds in (
            ("statement_timeout", options.statement_s),
            ("lock_timeout", options.lock_s),
            ("idle_in_transaction_session_timeout", options.idle_in_transaction_s),
        )
    )
    pool = Pool(
        conninfo,
        connection_class=connection_class(login_refused, watcher),
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": options.connect_s,
            **_KEEPALIVE,
            "application_name": options.application,
            "options": f"{server_side} -c timezone=UTC",
        },
        min_size=options.size_min,
        max_size=options.size_max,
        max_idle=options.idle_s,
        max_lifetime=options.lifetime_s,
        timeout=options.wait_s,
        reconnect_timeout=options.reconnect_s,
        name=options.application,
        open=False,
    )
    pool.watcher = watcher
    pool.open()
    return pool


class Pending(Generic[T]):
    """An answer that is on its way; reading it ends the flight."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._value: list[T] = []

    def value(self) -> T:
        """Wait for the answer, once.

        Raises:
            psycopg.Error: this statement, or one sent before it in the same flight, failed.
        """
        if not self._value:
            self._value.append(self._read())
        return self._value[0]

    def map(self, change: Callable[[T], "U"]) -> "Pending[U]":
        """Return the answer seen through a function, still without waiting."""
        return Pending(lambda: change(self.value()))


U = TypeVar("U")


class Tx:
    """One open transaction. Statements wait for the first answer that is needed, and travel together."""

    def __init__(self, flights: Flights) -> None:
        self._flights = flights
        self.abandoned = False

    def send(self, query: LiteralString, values: Mapping[str, Any]) -> None:
        """Send a statement whose answer nobody reads; its failure surfaces at the next read or at the end."""
        self._flights.put(query, values)

    def ask(self, query: LiteralString, values: Mapping[str, Any]) -> Pending[list[Row]]:
        """Send a statement and return its rows, to be read later."""
        slot = self._flights.put(query, values)
        return Pending(lambda: self._flights.rows(slot))

    def abandon(self) -> None:
        """End this transaction with ROLLBACK: there is nothing to write."""
        self.abandoned = True


class _Lent:
    """A connection of the pool for the length of a block, with its errors in our own words.

    Not a generator with @contextmanager around the pool's own: three of them cost as much as the statements' values.
    """

    __slots__ = ("_begun", "_connection", "_operation", "_pool", "flights")

    def __init__(self, pool: Pool, operation: str) -> None:
        self._pool = pool
        self._operation = operation

    def __enter__(self) -> Self:
        self._begun = self._pool.watcher.begin()
        try:
            self._connection = self._opened()
        except psycopg.Error as error:
            self._pool.watcher.end(self._operation, self._begun, committed=False)
            raise _told(self._pool.watcher, self._operation, error) from None
        self.flights = self._connection.flights
        return self

    def _opened(self) -> Connection:
        connection = self._pool.getconn()
        try:
            connection.flights.open()
        except BaseException:  # whatever it is, it goes on its way: only the connection must not be lost to the pool
            connection.close()
            self._pool.putconn(connection)
            raise
        return connection

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        watcher = self._pool.watcher
        committed = False
        try:
            if error is None:
                committed = self._end()
            elif isinstance(error, psycopg.Error):
                raise error
        except psycopg.Error as failure:
            raise _told(watcher, self._operation, failure) from None
        finally:
            try:
                self.flights.close()
            finally:
                self._pool.putconn(self._connection)  # in any case: the pool would be short of it for ever
                watcher.end(self._operation, self._begun, committed=committed)

    def _end(self) -> bool:
        """Do what is left to do; return whether something was committed."""
        return True


class _Transaction(_Lent):
    """A connection with a transaction open."""

    __slots__ = ("tx",)

    def __enter__(self) -> Tx:  # type: ignore[override] # a block gets the transaction itself
        super().__enter__()
        self.flights.put("BEGIN ISOLATION LEVEL READ COMMITTED", {})
        self.tx = Tx(self.flights)
        return self.tx

    def _end(self) -> bool:
        self.flights.put("ROLLBACK" if self.tx.abandoned else "COMMIT", {})
        self.flights.land()
        return not self.tx.abandoned


def transaction(pool: Pool, operation: str = UNNAMED) -> AbstractContextManager[Tx]:
    """Open one transaction: return = COMMIT (or ROLLBACK when abandoned), raise = ROLLBACK.

    READ COMMITTED. COMMIT travels with the writes, so nothing may be decided on a row count seen afterwards:
    the row lock of the first flight is what excludes a lost update.

    Args:
        pool: the database.
        operation: what it is for, from a closed set; the pool's watcher is told.

    Raises:
        Transient: the same work may succeed later.
        StoreFault: the database refused a statement of ours.
    """
    return _Transaction(pool, operation)


def one(pool: Pool, query: LiteralString, values: Mapping[str, Any], operation: str = UNNAMED) -> list[Row]:
    """Do one statement, a transaction of its own, in one round trip; return its rows, where it has any.

    Raises:
        Transient: the same work may succeed later.
        StoreFault: the database refused it.
    """
    with _Lent(pool, operation) as lent:
        return lent.flights.rows(lent.flights.put(query, values))


@contextmanager
def reading(pool: Pool) -> Generator[Connection]:
    """Lend a connection for plain reads, each statement on its own.

    Raises:
        Transient: the same work may succeed later.
        StoreFault: the database refused a statement of ours.
    """
    try:
        with pool.connection() as connection:
            yield connection
    except psycopg.Error as error:
        raise _told(pool.watcher, UNNAMED, error) from None


def ping(pool: Pool) -> None:
    """Ask the database for a sign of life.

    Raises:
        Transient: it gave none.
    """
    with reading(pool) as connection:
        connection.execute("SELECT 1")


def _told(watcher: Watcher, operation: str, error: psycopg.Error) -> Transient | StoreFault:
    """Return a driver's error in our own words, and tell the watcher of it."""
    found = translated(error)
    if isinstance(found, Transient):
        watcher.failed(operation, found)
        if found.reason is TransientReason.CONNECTION and not (found.sqlstate or "").startswith(_FULL):
            watcher.disconnected(_kind(error))
    return found


def _kind(error: psycopg.Error) -> ConnectionTrouble:
    if isinstance(error, PoolTimeout):
        return ConnectionTrouble.TIMEOUT
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return ConnectionTrouble.READONLY
    if (error.sqlstate or "").startswith("28"):
        return ConnectionTrouble.AUTH
    return ConnectionTrouble.LOST


_CONFLICT = (errors.SerializationFailure, errors.DeadlockDetected)
_TIMEOUT = (errors.LockNotAvailable, errors.QueryCanceled, errors.IdleInTransactionSessionTimeout)
#: A disk or memory that is full fails a statement; the connection stands.
_FULL = "53"
#: Classes of sqlstate that say "not now": connection, login (rotated credentials), out of resources, shutting down
#: or starting up, and a writer that has become a reader after a failover.
_NOT_NOW = ("08", "28", "53", "57P", "25006")


def translated(error: psycopg.Error) -> Transient | StoreFault:
    """Return a driver's error in our own words, without any value from a row."""
    state = error.sqlstate
    if isinstance(error, errors.UniqueViolation):
        lost = error.diag.constraint_name in LOST_RACES
        return Transient(TransientReason.CONFLICT, state) if lost else StoreFault(error)
    if isinstance(error, _CONFLICT) or flights.is_outdated(error):
        return Transient(TransientReason.CONFLICT, state)
    if isinstance(error, _TIMEOUT):
        return Transient(TransientReason.TIMEOUT, state)
    # Without a state it is a broken or refused connection, or a pool that had none in time.
    lost = state is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    if lost or (state or "").startswith(_NOT_NOW):
        return Transient(TransientReason.CONNECTION, state)
    return StoreFault(error)
