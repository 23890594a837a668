"""TCP proxies on loopback that stand between a client and a server."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

CLIENT, SERVER = "client", "server"


class Wire:
    """A proxy in front of a local server: everything passes, until a subclass says otherwise."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def passes(self, who: str, data: bytes) -> bool:  # noqa: ARG002
        """Look at what one side has sent; return False and nothing more of this side is passed on."""
        return True

    @contextmanager
    def before(self, url: str) -> Iterator[tuple[Self, str]]:
        """Stand before the server of a URL; yield this proxy and the URL that leads through it."""
        try:
            yield self, url.replace(f":{self._server_port}/", f":{self.port}/")
        finally:
            for each in self._sockets:
                each.close()

    def _accept(self) -> None:
        try:
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._sockets += [client, server]
                threading.Thread(target=self._pump, args=(client, server, CLIENT), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, SERVER), daemon=True).start()
        except OSError:
            return

    def _pump(self, source: socket.socket, sink: socket.socket, who: str) -> None:
        try:
            while data := source.recv(65_536):
                if not self.passes(who, data):
                    return
                sink.sendall(data)
        except OSError:
            return


class Valve(Wire):
    """A wire that can be shut: what is sent is taken, and nothing ever comes back."""

    shut_after: bytes | None = None

    def passes(self, who: str, data: bytes) -> bool:  # noqa: ARG002
        return self.shut_after is None or self.shut_after not in data


class FlightCounter(Wire):
    """A wire that counts how often the conversation turns from the client to the server."""

    def __init__(self, server_port: int) -> None:
        self._lock = threading.Lock()
        self._last = SERVER
        self.flights = 0
        super().__init__(server_port)

    def passes(self, who: str, data: bytes) -> bool:  # noqa: ARG002
        with self._lock:
            self.flights += who == CLIENT and self._last == SERVER
            self._last = who
        if who == SERVER:
            threading.Event().wait(0.02)  # a slow answer, so that what the client sends meanwhile is one flight
        return True
