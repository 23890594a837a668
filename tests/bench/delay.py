"""A TCP proxy that puts a server as far away as it is when deployed: whatever passes arrives a while later.

A process of its own, so that its CPU is nobody else's: `python -m tests.bench.delay SERVER_PORT ROUND_TRIP_S`. Its port
is the first line of output. Half of the round trip is spent in each direction; a connection is made without delay.

Not asyncio: its timers are those of epoll, which count whole milliseconds, and a round trip to a database has one.
"""

import ctypes
import select
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from workers.local.processes import LOOPBACK

CHUNK_BYTES = 262_144
#: prctl(2): how late a timer may be, in nanoseconds; 50 microseconds by default.
_PR_SET_TIMERSLACK, _SLACK_NS = 29, 1_000


@dataclass(eq=False)
class End:
    """One end of a connection through the proxy: a client, or the server.

    Attributes:
        socket: does not block.
        backlog: what has arrived for it and could not be handed over yet; nothing at all stands for the end.
        heard: whether it has said its last.
        told: whether it knows that nothing more comes.
    """

    socket: socket.socket
    backlog: deque[bytes] = field(default_factory=deque)
    heard: bool = False
    told: bool = False
    other: "End" = field(init=False, repr=False)


class Delay:
    """The proxy. The delay is the same for everything, so that what came first is always due first."""

    def __init__(self, server_port: int, round_trip_s: float) -> None:
        self._server_port = server_port
        self._one_way_s = round_trip_s / 2
        self._listener = socket.create_server((LOOPBACK, 0), backlog=256)
        self._ends: dict[socket.socket, End] = {}
        #: What is under way: when it arrives, where, and what.
        self._under_way: deque[tuple[float, End, bytes]] = deque()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.getsockname()[1]

    def run(self) -> None:
        """Pass on, for ever."""
        while True:
            wait_s = max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else None
            talking = [end.socket for end in self._ends.values() if not end.heard]
            waiting = [end.socket for end in self._ends.values() if end.backlog]
            readable, writable, _ = select.select([self._listener, *talking], waiting, [], wait_s)
            for ready in readable:
                if ready is self._listener:
                    self._accept()
                else:
                    self._take(self._ends[ready])
            for ready in writable:
                if end := self._ends.get(ready):  # else it went with its other end, just now
                    self._hand_over(end)
            self._deliver()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection((LOOPBACK, self._server_port))
        except OSError:  # it is away, which the client finds out as it would without us
            client.close()
            return
        ends = [End(client), End(server)]
        for end, other in (ends, reversed(ends)):
            end.other = other
            end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.socket.setblocking(False)
            self._ends[end.socket] = end

    def _take(self, source: End) -> None:
        data = b""
        with suppress(OSError):  # a reset is an end as well
            data = source.socket.recv(CHUNK_BYTES)
        source.heard = not data
        self._under_way.append((time.monotonic() + self._one_way_s, source.other, data))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._under_way and self._under_way[0][0] <= now:
            _, target, data = self._under_way.popleft()
            target.backlog.append(data)
            self._hand_over(target)

    def _hand_over(self, target: End) -> None:
        """Give an end what has arrived for it, as far as it takes it now."""
        try:
            while target.backlog:
                data = target.backlog.popleft()
                if not data:
                    target.told = True
                    target.socket.shutdown(socket.SHUT_WR)
                elif rest := data[target.socket.send(data) :]:
                    target.backlog.appendleft(rest)
        except BlockingIOError:
            target.backlog.appendleft(data)
        except OSError:  # it has left; what it says of that itself is told to the other side
            target.told = target.told or b"" in target.backlog
            target.backlog.clear()
        if target.told and target.other.told:
            self._close(target)

    def _close(self, end: End) -> None:
        for one in (end, end.other):
            if self._ends.pop(one.socket, None):
                one.socket.close()


def main() -> None:
    """Serve until killed."""
    with suppress(OSError, AttributeError):  # not Linux: the timers are a little later
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, _SLACK_NS)
    proxy = Delay(int(sys.argv[1]), float(sys.argv[2]))
    sys.stdout.write(f"{proxy.port}\n")
    sys.stdout.flush()
    proxy.run()


if __name__ == "__main__":
    main()
