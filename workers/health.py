"""What every role serves over HTTP: `/health`, `/ready` and `/metrics`, read-only, and nothing else of its own.

`/health` looks at this process alone: a database that is away must not restart the fleet. `/ready` says whether the
process could do its work now.
"""

import socket
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio
import anyio.to_thread
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from store import db, reads, revisions
from store.db import Pool, StoreFault, Transient
from workers import clock

#: How long an answer of the database is believed, so that probes cannot load it.
READY_TTL_S = 5.0
#: How long a probe waits for another one's answer: it must not keep a thread from `/health`.
READY_TURN_S = 1.0
#: How long a server may take to stop.
SERVER_TURN_S = 5.0

Check = Callable[[], Mapping[str, Any]]
#: Is told of each request: the template of its route ("none" without one), its method, the status, the seconds.
Observed = Callable[[str, str, int, float], None]


class NotReadyError(Exception):
    """The process cannot do its work now; the text is a code for the answer."""


def problem(status: int, title: str, detail: str = "", headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error as problem JSON (RFC 9457)."""
    body = {"type": "about:blank", "title": title, "status": status}
    if detail:
        body["detail"] = detail
    return JSONResponse(body, status_code=status, headers=headers, media_type="application/problem+json")


def application(
    registry: CollectorRegistry,
    alive: Check,
    ready: Check,
    more: Sequence[Route] = (),
    observed: Observed = lambda *_: None,
) -> Starlette:
    """Return the role's HTTP application.

    Args:
        registry: the process's metrics.
        alive: returns what `/health` says; raises NotReadyError when the process is broken.
        ready: returns what `/ready` says; raises NotReadyError when it could not work now.
        more: further read-only routes.
        observed: is told of each request.
    """
    routes = [
        Route("/health", _at_once(alive), methods=["GET"]),
        Route("/ready", _checked(ready), methods=["GET"]),
        Route("/metrics", _metrics(registry), methods=["GET"]),
        *more,
    ]
    handlers = {HTTPException: _http_problem, Transient: _database_away, StoreFault: _fault, Exception: _fault}
    watched = Middleware(_Watched, routes=routes, observed=observed)
    app = Starlette(routes=routes, exception_handlers=handlers, middleware=[watched])
    app.router.redirect_slashes = False  # an address is right, or there is nothing at it
    return app


class _Watched:
    """Times each request and tells of it, with its route as a template: a path may hold an id."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route], observed: Observed) -> None:
        self._app = app
        self._routes = routes
        self._observed = observed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = clock.monotonic(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            self._observed(self._template(scope), scope["method"], status, clock.monotonic() - begun)

    def _template(self, scope: Scope) -> str:
        return next((route.path for route in self._routes if route.matches(scope)[0] is not Match.NONE), "none")


def _at_once(check: Check) -> Callable[[Request], Awaitable[Response]]:
    """Answer in the event loop: a check that only looks at memory must not wait for a thread behind slow ones."""
    checked = _checked(check)

    async def answer(request: Request) -> Response:
        return checked(request)

    return answer


def _checked(check: Check) -> Callable[[Request], Response]:
    def answer(_request: Request) -> Response:
        try:
            return JSONResponse({"status": "ok", **check()})
        except NotReadyError as trouble:
            return JSONResponse({"status": "unavailable", "reason": str(trouble)}, status_code=503)

    return answer


def _metrics(registry: CollectorRegistry) -> Callable[[Request], Awaitable[Response]]:
    """Answer in a thread that nobody else can take: an outage, when all others wait, is when it is looked at."""
    turn = anyio.CapacityLimiter(1)

    async def answer(_request: Request) -> Response:
        text = await anyio.to_thread.run_sync(generate_latest, registry, limiter=turn)
        return Response(text, headers={"content-type": CONTENT_TYPE_LATEST})

    return answer


def _http_problem(_request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return problem(error.status_code, error.detail, headers=error.headers)
    return problem(500, "Internal Server Error")


def _database_away(_request: Request, _error: Exception) -> Response:
    return problem(503, "Service Unavailable", "The database does not answer. Try again.")


def _fault(_request: Request, _error: Exception) -> Response:
    return problem(500, "Internal Server Error")


class DatabaseReadiness:
    """Whether the database answers and has this release's schema; asked at most every few seconds."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._head = revisions.head()
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._found: Mapping[str, Any] | NotReadyError = NotReadyError("not asked yet")

    def __call__(self) -> Mapping[str, Any]:
        """Return what is known of the database.

        Raises:
            NotReadyError: it does not answer, or its schema is another release's.
        """
        if not self._lock.acquire(timeout=READY_TURN_S):
            raise NotReadyError("database_slow: it has not answered yet")
        try:
            if clock.monotonic() - self._asked_at > READY_TTL_S:
                self._found = self._ask()
                self._asked_at = clock.monotonic()
            found = self._found
        finally:
            self._lock.release()
        if isinstance(found, NotReadyError):
            raise found
        return found

    def _ask(self) -> Mapping[str, Any] | NotReadyError:
        try:
            db.ping(self._pool)
            revision = reads.revision(self._pool)
            if revision is None or revision < self._head:
                return NotReadyError("schema_behind: run `payments migrate`")
            unknown = reads.unknown_attempts(self._pool)
        except Transient as trouble:
            return NotReadyError(f"database_{trouble.reason}")
        except StoreFault:
            return NotReadyError("database_fault")
        return {
            "schema": revision,
            "unknownAttempts": unknown.unknown,
            "unknownAttemptsOldestAgeSeconds": round(unknown.oldest_age_s, 1),
        }


class Server:
    """A role's HTTP server, in a thread of its own."""

    def __init__(self, app: Starlette, host: str, port: int) -> None:
        self._address = (host, port)
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(name="http", daemon=True)

    def start(self) -> str:
        """Start serving and return the base URL; port 0 takes a free one.

        Raises:
            NotReadyError: the address may not be had.
        """
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server((host, port), family=family)
            # What is accepted inherits it. asyncio sets it only on sockets that say that they are TCP, which these do
            # not: an answer on a connection that is kept would wait 40 ms for the other side's acknowledgement.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise NotReadyError(f"cannot listen on {host}:{port}: {error.strerror}") from None
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="http", daemon=True
        )
        self._thread.start()
        shown = f"[{host}]" if family is socket.AF_INET6 else host
        return f"http://{shown}:{listener.getsockname()[1]}"

    def alive(self) -> bool:
        """Whether the server's thread runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(SERVER_TURN_S)
