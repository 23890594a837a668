"""The provider as an HTTP server: a thread for every connection, and connections that break when they should."""

import socket
import struct
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from workers.sandbox.api import Answer, Api, Fate, Request
from workers.sandbox.books import Books
from workers.sandbox.control import PREFIX, Control
from workers.sandbox.plan import Plan, Switches

LOOPBACK = "127.0.0.1"
BODY_BYTES_MAX = 1_000_000
#: How often the accepting thread looks whether it shall end, in seconds.
_LOOK_EVERY_S = 0.02
#: SO_LINGER on, zero seconds: closing resets the connection instead of ending it in good order.
_RESET = struct.pack("ii", 1, 0)
_HEALTHY = Answer(200, b'{"status":"ok"}')


class Sandbox:
    """The provider, running in this process.

    Args:
        books: what it knows; without any, empty ones in memory.
        plan: what goes wrong; without one, nothing.
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        api_key: the only key that it accepts; without one, any of test mode.
    """

    def __init__(
        self,
        books: Books | None = None,
        plan: Plan | None = None,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        api_key: str | None = None,
    ) -> None:
        self.books = books or Books()
        self.plan = plan or Plan()
        self.switches = Switches()
        self.url = ""
        self._address = (host, port)
        self._stopping = threading.Event()
        self._api = Api(self.books, self.plan, self.switches, self._stopping.wait, api_key)
        self._control = Control(self.books, self.plan, self.switches)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Start serving and return the base URL; after a stop, the same one again.

        Raises:
            OSError: the address may not be had.
        """
        host = self._address[0]
        self._stopping.clear()
        server = (_ServerV6 if ":" in host else _Server)(self._address, self)
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(_LOOK_EVERY_S,), name="provider", daemon=True
        )
        self._thread.start()
        self._address = (host, server.server_address[1])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self._address[1]}"
        return self.url

    def stop(self) -> None:
        """Stop serving and break what connections there are; the books stay open."""
        self._stopping.set()
        if self._server and self._thread:
            self._server.shutdown()
            self._thread.join()
            self._server.end()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        """Start serving."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        self.stop()

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request to any address."""
        if request.path.startswith(PREFIX):
            return self._control.answer(request.method, request.path, request.body)
        return _HEALTHY if request.path == "/health" else self._api.answer(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # connections that are kept open would be waited for
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__(address, _Connection)

    def server_bind(self) -> None:
        # The standard one looks up the host's name, for which a resolver may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that break: breaking them is half of the trade."""
        import sys  # noqa: PLC0415 - only when something broke

        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def end(self) -> None:
        """Close the listener, and wake the threads that wait for requests."""
        self.server_close()
        with self._lock:
            left = list(self._open)
        for connection in left:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 300  # a connection that nobody uses ends
    server: _Server

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._send(Answer(413, b'{"error":{"message":"Invalid request body.","type":"invalid_request_error"}}'))
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(length)).decode(errors="replace")
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.sandbox.answer(Request(self.command, path, query, headers, body))
        if answer.fate is Fate.RESET:
            self._break()
        else:
            self._send(answer)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the standard library looks for these names

    def _send(self, answer: Answer) -> None:
        # One write: what is sent in two waits for the other side's acknowledgement.
        whole = self._head(answer.status, answer.content_type, answer.headers, len(answer.body)) + answer.body
        if answer.fate is Fate.CUT:
            whole = whole[: len(whole) - (len(answer.body) + 1) // 2]
            self.close_connection = True
        self.wfile.write(whole)

    def _head(self, status: int, content_type: str, headers: Mapping[str, str], length: int) -> bytes:
        reason = self.responses.get(status, ("",))[0]
        lines = [f"HTTP/1.1 {status} {reason}", f"Content-Type: {content_type}", f"Content-Length: {length}"]
        lines += [f"Date: {self.date_time_string()}", *(f"{name}: {value}" for name, value in headers.items())]
        if self.close_connection:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _break(self) -> None:
        """Reset the connection."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # Taken from the socket object: closing that one would first say goodbye.
        socket.close(self.connection.detach())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Say nothing of single requests."""
