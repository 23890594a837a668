"""What is counted of the database, its credentials, the signing keys and HTTP: where other parts meet the metrics."""

from collections.abc import Callable

from contracts.envelope import DELIVERIES
from store.db import UNNAMED, ConnectionTrouble, Pool, Transient, Watcher
from workers import catalogue, clock
from workers.catalogue import METHODS, NONE, OTHER, ROUTES, SQLSTATE_CLASSES, STATUSES, Role
from workers.credentials import RotatingCredentials, Source
from workers.health import Observed
from workers.metrics import Metrics

#: The roles whose transactions are measured.
_TRANSACTING = frozenset({Role.WORKER, Role.RELAY})


class DatabaseWatcher(Watcher):
    """Counts what happens at the database."""

    def __init__(self, metrics: Metrics, role: Role) -> None:
        self._metrics = metrics
        self._measures = role in _TRANSACTING

    def begin(self) -> float:
        """Return the time, in seconds of a clock that never goes back."""
        return clock.monotonic()

    def end(self, operation: str, begun: float, *, committed: bool) -> None:
        """Measure a transaction."""
        if self._measures:
            result = "commit" if committed else "rollback"
            self._metrics.observe(catalogue.TRANSACTION, clock.monotonic() - begun, _known(operation), result)

    def failed(self, operation: str, trouble: Transient) -> None:
        """Count what comes again, by the class of its sqlstate."""
        if self._measures:
            state = (trouble.sqlstate or "")[:2]
            self._metrics.inc(catalogue.DB_RETRIES, _known(operation), state if state in SQLSTATE_CLASSES else NONE)

    def disconnected(self, kind: ConnectionTrouble) -> None:
        """Count a connection that could not be made, or broke."""
        self._metrics.inc(catalogue.CONNECTION_ERRORS, kind)


def _known(operation: str) -> str:
    return operation if operation in DELIVERIES else UNNAMED


def watch_pool(metrics: Metrics, pool: Pool) -> None:
    """Show the pool's own figures at each scrape."""
    seen = {"requests_num": 0.0, "requests_wait_ms": 0.0}

    def grown(name: str, stats: dict[str, int]) -> float:
        now = stats.get(name, 0)
        by, seen[name] = now - seen[name], now
        return max(0.0, by)

    def refresh() -> None:
        stats = pool.get_stats()
        metrics.set(catalogue.POOL_SIZE, stats.get("pool_size", 0))
        metrics.set(catalogue.POOL_AVAILABLE, stats.get("pool_available", 0))
        metrics.set(catalogue.POOL_WAITING, stats.get("requests_waiting", 0))
        metrics.inc(catalogue.POOL_REQUESTS, by=grown("requests_num", stats))
        metrics.inc(catalogue.POOL_WAIT, by=grown("requests_wait_ms", stats) / 1000)

    metrics.before_scrape(refresh)


def watch_credentials(metrics: Metrics, source: Source) -> None:
    """Count how often credentials are fetched, and show their age at each scrape, where they come from a secret."""
    if not isinstance(source, RotatingCredentials):
        return
    credentials: RotatingCredentials = source

    def fetched(reason: str, *, ok: bool) -> None:
        metrics.inc(catalogue.CREDENTIALS_REFRESH, reason, "ok" if ok else "failed")

    def refresh() -> None:
        age_s = credentials.age_s
        if age_s is not None:
            metrics.set(catalogue.CREDENTIALS_AGE, age_s)

    credentials.fetched = fetched
    metrics.before_scrape(refresh)


def key_counter(metrics: Metrics) -> Callable[[bool], None]:
    """Return what counts the fetches of the signing keys."""
    return lambda ok: metrics.inc(catalogue.JWKS_REFRESH, "ok" if ok else "failed")


def flaw_counter(metrics: Metrics) -> Callable[[str], None]:
    """Return what counts the tokens that prove nobody, of those shown over HTTP."""
    return lambda flaw: metrics.inc(catalogue.AUTH_FAILURES, "http", flaw)


def request_counter(metrics: Metrics) -> Observed:
    """Return what counts and measures requests over HTTP."""

    def count(route: str, method: str, status: int, seconds: float) -> None:
        route = route if route in ROUTES else NONE
        method = method if method in METHODS else OTHER
        code = str(status)
        metrics.inc(catalogue.HTTP_REQUESTS, route, method, code if code in STATUSES else OTHER)
        metrics.observe(catalogue.HTTP_DURATION, seconds, route, method)

    return count
