"""The proxy that puts servers further away: everything arrives, whole and in order, and late."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.kit import webserver
from workers.local.processes import LOOPBACK

ROUND_TRIP_S = 0.05


def echo(connection: socket.socket) -> None:
    """Send back whatever comes, and hang up when the other side has said its last."""
    with connection:
        while data := connection.recv(65_536):
            connection.sendall(data)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    listener = socket.create_server((LOOPBACK, 0), backlog=64)

    def serve() -> None:
        with suppress(OSError):  # it was closed
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=echo, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener
    hang_up(listener)


def hang_up(listener: socket.socket) -> None:
    """Listen no more; the thread that waits in `accept` would keep a closed socket listening."""
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def far(server: socket.socket, tmp_path: Path) -> Iterator[int]:
    port = server.getsockname()[1]
    arguments = (str(port), str(ROUND_TRIP_S))
    with webserver.serving("The way", "tests.bench.delay", *arguments, log_path=tmp_path / "far.log") as (own,):
        yield own


def connect(port: int) -> socket.socket:
    return socket.create_connection((LOOPBACK, port), timeout=20)


def say(connection: socket.socket, data: bytes) -> None:
    """Say something, and that it was the last."""
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def everything(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_an_answer_takes_at_least_the_round_trip(far):
    with closing(connect(far)) as connection:
        for _ in range(3):
            began = time.monotonic()
            connection.sendall(b"ping")
            assert connection.recv(4) == b"ping"
            assert time.monotonic() - began >= ROUND_TRIP_S


def test_what_is_under_way_does_not_wait_for_what_was_sent_before(far):
    with closing(connect(far)) as connection:
        began = time.monotonic()
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.001)
        got = b""
        while len(got) < 100:
            got += connection.recv(100)
        # One after the other they would take a hundred round trips.
        assert time.monotonic() - began < 100 * ROUND_TRIP_S


def test_bytes_come_back_unharmed_after_a_half_close(far):
    sent = bytes(range(256)) * 8_192
    with closing(connect(far)) as connection:
        writer = threading.Thread(target=say, args=(connection, sent))
        writer.start()
        assert everything(connection) == sent
        writer.join()


def test_many_connections_do_not_mix(far):
    def talk(number: int) -> bool:
        said = f"{number}:".encode() * 1_000
        with closing(connect(far)) as connection:
            say(connection, said)
            return everything(connection) == said

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(talk, range(64)))


def test_it_outlives_connections_that_end_in_every_way(far, server):
    for _ in range(10):
        reset = connect(far)
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        reset.sendall(b"never read")
        reset.close()
        connect(far).close()
    with closing(connect(far)) as connection:
        say(connection, b"still there")
        assert everything(connection) == b"still there"


def test_a_reader_that_does_not_read_holds_up_nobody_else(far):
    with closing(connect(far)) as slow, closing(connect(far)) as other:
        slow.sendall(bytes(16 * 2**20))  # which comes back, to nobody
        other.sendall(b"ping")
        assert other.recv(4) == b"ping"


def test_a_server_that_is_away_ends_the_connection_and_not_the_proxy(far, server):
    hang_up(server)
    for _ in range(2):
        with closing(connect(far)) as connection:
            assert everything(connection) == b""
