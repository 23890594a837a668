"""A Stripe that says what a test wrote down, once for each request, and remembers what it was asked."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

ACCOUNT = "acct_1Nv0FGQ9RKHgCVdK"
PLATFORM = "acct_1OurPlatform00000"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, or how there is none."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0
    cut: bool = False
    reset: bool = False

    @property
    def wire(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str]


class Script:
    """Answers in the order in which they are given; the last one goes on for ever."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[Request] = []
        self.over = threading.Event()
        self.url = ""

    def says(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def next(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def error(status: int, kind: str = "invalid_request_error", code: str | None = None, **more: Any) -> Reply:
    """An error as Stripe writes it, with words that nobody else may ever see."""
    said = {"type": kind, "message": "Jane Roe of 1 Private Road", **({"code": code} if code else {}), **more}
    return Reply(status, {"error": said})


def transfer(**changes: Any) -> dict[str, Any]:
    """A transfer as Stripe writes it."""
    return {
        "id": "tr_1",
        "object": "transfer",
        "amount": 15_000,
        "amount_reversed": 0,
        "created": 1_790_000_000,
        "currency": "usd",
        "destination": ACCOUNT,
        "livemode": False,
        "metadata": {},
        "reversals": listed(),
        "transfer_group": None,
        **changes,
    }


def platform(**changes: Any) -> dict[str, Any]:
    """The account that a key belongs to, as Stripe writes it."""
    return {"id": PLATFORM, "object": "account", "type": "standard", "country": "US", **changes}


def listed(*items: dict[str, Any], more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": list(items), "has_more": more, "url": "/v1/things"}


@contextmanager
def scripted() -> Iterator[Script]:
    """Serve a script on loopback until the end of the block."""
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

        def _answer(self) -> None:
            reply = self._heard()
            script.over.wait(reply.delay_s)
            if reply.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                return
            self._say(reply)

        def _heard(self) -> Reply:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            address = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Request(
                self.command or "", address.path, dict(parse_qsl(address.query)), headers, dict(parse_qsl(body))
            )
            script.requests.append(asked)
            return script.next()

        def _say(self, reply: Reply) -> None:
            try:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.wire) + (50 if reply.cut else 0)))
                self.end_headers()
                self.wfile.write(reply.wire)
            except OSError:
                pass  # nobody waits any more

    class Server(ThreadingHTTPServer):
        request_queue_size = 64  # many threads at once are no reason to refuse one

    server = Server(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        script.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
