"""As much HTTP/1.1 as boto3 and a test driver speak, on asyncio: cheap enough to stand before a queue under load."""

import asyncio
import json
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from workers.local.aws import PROJECT_ROOT
from workers.local.processes import LOOPBACK, Child, Program

JSON = "application/json"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass(slots=True)
class Message:
    """A request or an answer: its first line, its headers by lower-case name, its body."""

    first: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """What a request asks for."""
        return self.first.split(" ", 2)[1]

    def wire(self) -> bytes:
        """Return it as it is sent; its length is that of the body it has now."""
        self.headers["content-length"] = str(len(self.body))
        head = "\r\n".join((self.first, *(f"{name}: {value}" for name, value in self.headers.items())))
        return f"{head}\r\n\r\n".encode("latin-1") + self.body

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> Self | None:
        """Read one; None when the other side has closed the connection between two of them.

        Raises:
            asyncio.IncompleteReadError: it closed the connection within one.
            OSError: the connection broke.
        """
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as cut:
            if cut.partial:
                raise
            return None
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return cls(first, headers, body)


def answer(status: int, body: Any, content_type: str = JSON) -> Message:
    """Return an answer with a JSON body."""
    first = f"HTTP/1.1 {status} {_REASONS[status]}"
    return Message(first, {"content-type": content_type}, json.dumps(body, separators=(",", ":")).encode())


def reset(writer: asyncio.StreamWriter | asyncio.WriteTransport) -> None:
    """Break a connection as a crash of the other side would: by RST, what waits to be sent is lost."""
    transport = writer.transport if isinstance(writer, asyncio.StreamWriter) else writer
    if peer := transport.get_extra_info("socket"):
        with suppress(OSError):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


Handle = Callable[[Message, asyncio.StreamWriter], Awaitable[Message | None]]


async def serve(handle: Handle, port: int = 0) -> asyncio.Server:
    """Serve on loopback; `handle` returns an answer, or None after it has broken the connection itself."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while request := await Message.read(reader):
                reply = await handle(request, writer)
                if reply is None:
                    break
                writer.write(reply.wire())
                await writer.drain()
        writer.close()

    return await asyncio.start_server(converse, LOOPBACK, port, limit=2**22)


def tell_ports(*servers: asyncio.Server) -> None:
    """Say on which ports servers listen: the first line of a process's output, which `serving` waits for."""
    sys.stdout.write(" ".join(str(server.sockets[0].getsockname()[1]) for server in servers) + "\n")
    sys.stdout.flush()


@contextmanager
def serving(name: str, module: str, *arguments: str, log_path: Path) -> Iterator[tuple[int, ...]]:
    """Run a module that serves in a process of its own until the end of the block; yield its ports.

    Raises:
        LocalStackError: it did not start; the text says why.
    """
    log_path.unlink(missing_ok=True)  # its first line tells the ports
    argv = (sys.executable, "-m", module, *arguments)
    child = Child.start(Program(argv, {"PATH": os.defpath}, log_path, name, cwd=PROJECT_ROOT))
    try:
        child.wait_until(lambda: log_path.read_text().endswith("\n"), 30)
        yield tuple(map(int, log_path.read_text().split()))
    finally:
        child.stop()
