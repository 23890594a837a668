"""Stands between the fleet and Postgres: delays, stalls and cuts what passes, also between a COMMIT and its answer.

A process of its own, told by the driver what to do; each kind of fault is counted when it has really hit a connection.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from tests.kit import webserver
from tests.kit.webserver import Message, answer
from workers.local.processes import LOOPBACK

#: How the server says that a transaction is committed: CommandComplete with its tag (protocol 3.0).
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
#: Kinds, as they are counted.
DELAYED, STALLED, CUT, CUT_AT_COMMIT = (
    "postgres: delayed",
    "postgres: stalled",
    "postgres: cut",
    "postgres: cut at commit",
)


class Weather:
    """What happens to everything that passes."""

    def __init__(self, server_port: int, seed: int) -> None:
        self.server_port = server_port
        self.random = random.Random(seed)  # noqa: S311 - chooses connections
        self.delay_s = 0.0
        self.stalled_until = 0.0
        #: How many answers to a COMMIT are still to be lost.
        self.commits_to_cut = 0
        self.links: set[Link] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.faults: Counter[str] = Counter()
        self._counted: set[str] = set()

    async def control(self, request: Message, _writer: asyncio.StreamWriter) -> Message:
        """Do what the driver wants; tell what has hit so far and how many connections there are."""
        wanted: Mapping[str, Any] = json.loads(request.body)
        if "delay_s" in wanted:
            self.delay_s = wanted["delay_s"]
            self._counted.discard(DELAYED)
        if "stall_s" in wanted:
            self.stalled_until = time.monotonic() + wanted["stall_s"]
            self._counted.discard(STALLED)
        if "cut_share" in wanted:
            for link in [link for link in self.links if self.random.random() < wanted["cut_share"]]:
                self.faults[CUT] += link.cut()
        self.commits_to_cut = wanted.get("cut_at_commit", self.commits_to_cut)
        return answer(200, {"faults": self.faults, "connections": len(self.links)})

    def held_until(self, now: float) -> float:
        """Return when what is sent now arrives, and count why that is later."""
        if now < self.stalled_until:
            self._hit(STALLED)
            return self.stalled_until
        if self.delay_s:
            self._hit(DELAYED)
        return now + self.delay_s

    def _hit(self, kind: str) -> None:
        """Count a spell of bad weather once, when it hits first."""
        if kind not in self._counted:
            self._counted.add(kind)
            self.faults[kind] += 1


class Link:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather
        self.client = End(self)
        self.server = End(self)
        self.client.other, self.server.other = self.server, self.client
        weather.links.add(self)

    def cut(self) -> bool:
        """Break both by RST; return whether there was anything to break."""
        known = self in self.weather.links
        self.weather.links.discard(self)
        for end in (self.client, self.server):
            if end.transport is not None:
                webserver.reset(end.transport)
        return known

    def close(self) -> None:
        """Close both, once what was sent is delivered."""
        self.weather.links.discard(self)
        for end in (self.client, self.server):
            if end.transport is not None:
                end.transport.close()

    async def dial(self) -> None:
        """Connect to the server."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.server, LOOPBACK, self.weather.server_port)
        except OSError:
            self.cut()


class End(asyncio.Protocol):
    """One side of a link: what arrives here goes out at the other, in the same order whatever the weather."""

    other: "End"

    def __init__(self, link: Link) -> None:
        self._link = link
        self.transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []  # what came before this side was connected
        self._held: deque[tuple[float, bytes]] = deque()  # what came from this side and goes on later: (when, what)
        self._ended = False

    @staticmethod
    def accepted(weather: Weather) -> "End":
        """Return the client's side of a new link."""
        link = Link(weather)
        task = asyncio.ensure_future(link.dial())
        weather.tasks.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(weather.tasks.discard)
        return link.client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._link not in self._link.weather.links:
            transport.abort()  # the client has left meanwhile
            return
        for data in self._unsent:
            transport.write(data)
        self._unsent.clear()

    def data_received(self, data: bytes) -> None:
        link, weather = self._link, self._link.weather
        if weather.commits_to_cut and self is link.server and COMMITTED in data:
            weather.commits_to_cut -= 1
            weather.faults[CUT_AT_COMMIT] += link.cut()
            return
        now = time.monotonic()
        at = weather.held_until(now)
        if at <= now and not self._held:
            self.other.send(data)
            return
        self._held.append((max(at, self._held[-1][0]) if self._held else at, data))
        if len(self._held) == 1:
            asyncio.get_running_loop().call_at(at, self._release)

    def _release(self) -> None:
        """Send on what is due, and come back for the rest."""
        while self._held and self._held[0][0] <= time.monotonic():
            self.other.send(self._held.popleft()[1])
        if self._held:
            asyncio.get_running_loop().call_at(self._held[0][0], self._release)
        elif self._ended:
            self._link.close()

    def send(self, data: bytes) -> None:
        """Send on this side."""
        if self.transport is None:
            self._unsent.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._ended = True
        if not self._held:
            self._link.close()


async def _main(server_port: int, seed: int) -> None:
    weather = Weather(server_port, seed)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: End.accepted(weather), LOOPBACK, 0)
    control = await webserver.serve(weather.control)
    webserver.tell_ports(listener, control)
    await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
