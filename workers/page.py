"""The status page at `/` of role status: for people, read-only, without a sign-in since it holds no id and no amount.

It is one HTML document made on the server. What its policy lets the browser run is named by hash, and nothing is loaded
from anywhere; without scripts it reloads itself. However many look at it, the database is asked once in a while.
"""

import asyncio
import base64
import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from store import fleet
from store.db import Pool, StoreFault, Transient
from workers import clock
from workers.logs import logger
from workers.merging import RECENT
from workers.overview import GONE, SPAN, Overview, overview
from workers.sparkline import HEIGHT, WIDTH

#: How long an answer is given to everybody who asks.
SHARED_S = 1.0
#: How long somebody waits for the database before they are told that it has not answered.
PATIENCE_S = 3.0
#: How many points a chart has at most.
POINTS = 120
#: How many of the newest snapshots are asked for at most: what each monitor of a fleet has said lately is among them.
RECENT_MAX = 240
#: How often an open page refreshes itself.
REFRESH_S = 5
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is nothing to show."""

    status: int
    headline: str
    detail: str


_AWAY = Trouble(503, "The database does not answer", "Nothing can be shown until it does.")
_SLOW = Trouble(503, "The database has not answered yet", "It is still being asked.")
_UNREADABLE = Trouble(500, "What the fleet says of itself cannot be read", "The log of this process says why.")


@dataclass(frozen=True, slots=True)
class Shown:
    """A page, made; it is the same for everybody."""

    status: int
    body: bytes


def routes(pool: Pool, refresh_s: int = REFRESH_S) -> list[Route]:
    """Return the route of the status page; GET (and HEAD) only.

    Args:
        pool: the database, as a member of the reading role.
        refresh_s: how often an open page refreshes itself.
    """
    once = Once(lambda: _asked(pool, refresh_s), lambda: _told(_UNREADABLE, refresh_s))

    async def answer(_request: Request) -> Response:
        shown = await once.answer() or _told(_SLOW, refresh_s)
        return Response(shown.body, shown.status, headers(), media_type="text/html")

    return [Route("/", answer, methods=["GET"])]


class Once:
    """Asks once for all who come while the answer is fresh or on its way. It belongs to one event loop.

    Who waits takes no thread: only the one question does.

    Args:
        ask: the question.
        otherwise: the answer where the question has failed in a way that it does not know of.
    """

    def __init__(self, ask: Callable[[], Shown], otherwise: Callable[[], Shown]) -> None:
        self._ask = ask
        self._otherwise = otherwise
        self._asking: asyncio.Task[Shown] | None = None
        self._fresh_until = float("-inf")

    async def answer(self, patience_s: float = PATIENCE_S) -> Shown | None:
        """Return the answer, or None where it takes too long; it is not asked for again meanwhile."""
        if self._asking is None or (self._asking.done() and clock.monotonic() >= self._fresh_until):
            self._asking = asyncio.create_task(self._asked())
        with suppress(TimeoutError):
            # Shielded: whoever goes away must not take the others' answer along.
            return await asyncio.wait_for(asyncio.shield(self._asking), patience_s)
        return None

    async def _asked(self) -> Shown:
        try:
            shown = await run_in_threadpool(self._ask)
        except Exception as error:  # noqa: BLE001 - where nobody waits any more the loop would print it, with its values
            _log.error("status page unreadable", error=type(error).__name__)
            shown = self._otherwise()
        self._fresh_until = clock.monotonic() + SHARED_S
        return shown


def _asked(pool: Pool, refresh_s: int) -> Shown:
    unreadable: list[int] = []
    try:
        taken = fleet.snapshots(pool, SPAN, POINTS, unreadable.append)
        recent = fleet.snapshots(pool, RECENT, RECENT_MAX, unreadable.append)
        processes = fleet.processes(pool, GONE)
    except Transient:
        return _told(_AWAY, refresh_s)
    except StoreFault as error:
        _log.error("status page unreadable", error=type(error).__name__)
        return _told(_UNREADABLE, refresh_s)
    newest = next(iter([*recent, *taken]), None)
    if unreadable:
        # Another release's monitor may write what this one cannot read; the values themselves are nobody's business.
        _log.warning("snapshots unreadable", count=max(unreadable))
        if newest is None:
            return _told(_UNREADABLE, refresh_s)
    # The snapshots' own times are by the database's clock.
    now = newest.taken_at + timedelta(seconds=newest.age_s) if newest else clock.now()
    return Shown(200, rendered(overview(taken, processes, now, recent), now, refresh_s).encode())


def _told(trouble: Trouble, refresh_s: int) -> Shown:
    return Shown(trouble.status, rendered(trouble, clock.now(), refresh_s).encode())


# -- HTML


def rendered(found: Overview | Trouble, now: datetime, refresh_s: int = REFRESH_S) -> str:
    """Return the page."""
    return _template().render(
        found=found,
        trouble=isinstance(found, Trouble),
        now=now,
        refresh_s=refresh_s,
        style=Markup(_style()),  # noqa: S704 - a file of ours
        script=Markup(_script()),  # noqa: S704 - a file of ours
        chart_width=WIDTH,
        chart_height=HEIGHT,
    )


@cache
def headers() -> dict[str, str]:
    """Return what a browser may do with the page: show it, run its own style and script, and fetch it again."""
    policy = {
        "default-src": "'none'",
        "style-src": _hash(_style()),
        "script-src": _hash(_script()),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _style() -> str:
    return _file("status.css")


@cache
def _script() -> str:
    return _file("status.js")


def _file(name: str) -> str:
    return files("workers").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("workers"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("status.html.j2")
