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

from workers.local.processes import LOOPBACK

CHUNK_BYTES = 262_144
#: prctl(2): how late a timer may be, in nanoseconds; 50 microseconds by default.
_PR_SET_TIMERSLACK, _SLACK_NS = 29, 1_000


class Delay:
    """The proxy. The delay is the same for everything, so that what came first is always due first."""

    def __init__(self, server_port: int, round_trip_s: float) -> None:
        self._server_port = server_port
        self._one_way_s = round_trip_s / 2
        self._listener = socket.create_server((LOOPBACK, 0), backlog=256)
        self._others: dict[socket.socket, socket.socket] = {}
        self._open: set[socket.socket] = set()
        #: What is under way: when it arrives, where, and what; nothing at all stands for the end of the connection.
        self._under_way: deque[tuple[float, socket.socket, bytes]] = deque()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.getsockname()[1]

    def run(self) -> None:
        """Pass on, for ever."""
        while True:
            wait_s = max(0.0, self._under_way[0][0] - time.monotonic()) if self._under_way else None
            readable, _, _ = select.select([self._listener, *self._open], [], [], wait_s)
            for ready in readable:
                if ready is self._listener:
                    self._accept()
                else:
                    self._take(ready)
            self._deliver()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection((LOOPBACK, self._server_port))
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._others |= {client: server, server: client}
        self._open |= {client, server}

    def _take(self, source: socket.socket) -> None:
        data = b""
        with suppress(OSError):  # a reset is an end as well
            data = source.recv(CHUNK_BYTES)
        self._under_way.append((time.monotonic() + self._one_way_s, self._others[source], data))
        if not data:
            self._open.discard(source)  # nothing more comes from there

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._under_way and self._under_way[0][0] <= now:
            _, target, data = self._under_way.popleft()
            with suppress(OSError):  # it has left meanwhile; its own end is told to the other side
                if data:
                    target.sendall(data)
                else:
                    target.shutdown(socket.SHUT_WR)
            if not data and target not in self._open:
                self._close(target)

    def _close(self, end: socket.socket) -> None:
        other = self._others.pop(end)
        del self._others[other]
        end.close()
        other.close()


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
