"""HTTP as far as AWS's JSON services speak it: an answer is read whole however it is framed, or it is an error."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions as errors
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.kit.sqs import until
from workers.exchange import Exchange

OK = b"HTTP/1.1 200 OK\r\n"


class Script:
    """A server that answers the requests of all connections in turn with what is written, and keeps what came."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: list[bytes] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                bare, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._converse, args=(bare,), daemon=True).start()

    def _converse(self, bare: socket.socket) -> None:
        with suppress(OSError), bare, self._tls.wrap_socket(bare, server_side=True) if self._tls else bare as peer:
            while request := peer.recv(65_536):
                self.requests.append(request)
                answer = self.answers.pop(0)
                peer.sendall(answer)
                if b"\r\nX-End: now" in answer:
                    return

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or the thread that waits there would wait on
        self._listener.close()


@pytest.fixture
def script() -> Iterator[Script]:
    found = Script()
    yield found
    found.close()


def exchange(script: Script, *, read_s: float = 5.0, kept: int = 2) -> Exchange:
    return Exchange(f"http://127.0.0.1:{script.port}", kept=kept, connect_s=1.0, read_s=read_s, ca_file=None)


def test_a_request_is_well_formed_and_its_connection_is_kept(script: Script):
    script.answers += [OK + b"Content-Length: 2\r\nX-One:  two \r\n\r\nhi"] * 2
    asking = exchange(script)
    first = asking.post({"X-Asked": "yes"}, b"body")
    assert (first.status, first.data, first.headers) == (200, b"hi", {"content-length": "2", "x-one": "two"})
    assert asking.post({"X-Asked": "yes"}, b"body") == first
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{script.port}\r\nX-Asked: yes\r\nContent-Length: 4\r\n\r\n"
    assert (script.requests, script.connections) == ([head.encode() + b"body"] * 2, 1)


@pytest.mark.parametrize(
    ("answer", "data", "connections"),
    [
        (OK + b"Content-Length: 0\r\n\r\n", b"", 1),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nX-Late: 1\r\n\r\n",
            b"abc0123456789",
            1,
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx", b"x", 1),
        (OK + b"Connection: close\r\nContent-Length: 1\r\n\r\nx", b"x", 2),
        (OK + b"X-End: now\r\n\r\nuntil the end", b"until the end", 2),
        (b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx", b"x", 1),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x", 2),
        (OK + b"Connection: Close, x\r\nContent-Length: 1\r\n\r\nx", b"x", 2),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", 1),
        (OK + b"Content-Length: 1\r\n\r\nx and what nobody asked for", b"x", 2),
    ],
    ids=[
        "empty",
        "chunked",
        "told to go on",
        "told to close",
        "by its end",
        "lines without returns",
        "an old server",
        "a list",
        "nothing",
        "more than the answer",
    ],
)
def test_an_answer_is_read_however_it_is_framed(script: Script, answer: bytes, data: bytes, connections: int):
    script.answers += [answer, answer]
    asking = exchange(script)
    assert [asking.post({}, b"").data, asking.post({}, b"").data] == [data, data]
    assert script.connections == connections


@pytest.mark.parametrize(
    "answer",
    [
        b"X-End: now\r\n",
        b"SSH-2.0 hello\r\n\r\nX-End: now",
        b"HTTP/1.1 two hundred\r\n\r\nX-End: now",
        OK + b"X-End: now\r\n",
        OK + b"X-End: now\r\nContent-Length: 9\r\n\r\nshort",
        OK + b"X-End: now\r\nContent-Length: -1\r\n\r\n",
        OK + b"X-End: now\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        OK + b"X-End: now\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n",
        OK + b"X-End: now\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabcX\r\n0\r\n\r\n",
        OK + b"X-End: now\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        OK + b"X-End: now\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"X-End: now\r\nContent-Length: \xb2\r\n\r\n",
        OK + b"X-End: now\r\nContent-Length: 99999999999999\r\n\r\n",
        OK + b"X-End: now\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: 1\r\n" * 300 + b"\r\n",
        OK + b"Content-Length: 2\r\nX-End: now\r\nContent-Length: 5\r\n\r\nabcde",
        OK + b"X: 1\r\n" * 300 + b"X-End: now\r\n\r\n",
        OK + b"X: " + b"1" * 70_000 + b"\r\nX-End: now\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_a_connection_that_broke(script: Script, answer: bytes):
    script.answers += [b"\r\n" + answer if answer.startswith(b"X-End") else answer, OK + b"Content-Length: 1\r\n\r\nx"]
    asking = exchange(script)
    with pytest.raises(errors.ConnectionClosedError):
        asking.post({}, b"")
    assert asking.post({}, b"").data == b"x", "over another one"
    assert script.connections == 2


def test_a_connection_that_was_closed_while_it_was_kept_is_not_used(script: Script):
    script.answers += [OK + b"X-End: now\r\nContent-Length: 1\r\n\r\nx", OK + b"Content-Length: 1\r\n\r\ny"]
    asking = exchange(script)
    assert asking.post({}, b"").data == b"x"
    until(asking._kept[0].dropped, what="the end of the connection")
    assert asking.post({}, b"").data == b"y"


def test_a_silent_server_is_not_waited_for(script: Script):
    script.answers.append(b"")
    with pytest.raises(errors.ReadTimeoutError):
        exchange(script, read_s=0.05).post({}, b"")


def test_nobody_there_cannot_be_reached():
    nobody = Exchange("http://127.0.0.1:1", kept=1, connect_s=1.0, read_s=1.0, ca_file=None)
    with pytest.raises(errors.EndpointConnectionError):
        nobody.post({}, b"")


def test_no_more_connections_are_kept_than_wanted(script: Script):
    script.answers += [OK + b"Content-Length: 1\r\n\r\nx"] * 24
    asking, together = exchange(script, kept=3), threading.Barrier(8)
    answers: list[bytes] = []

    def ask() -> None:
        for _ in range(3):
            together.wait(5)
            answers.append(asking.post({}, b"").data)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"x"] * 24
    assert len(asking._kept) <= 3


def test_an_interrupted_exchange_leaves_no_connection_behind(script: Script, monkeypatch: pytest.MonkeyPatch):
    asking = exchange(script)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workers.exchange._Connection.exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        asking.post({}, b"")
    assert not asking._kept


# -- TLS


def certificate(folder: Path, name: x509.GeneralName) -> Path:
    """Write a certificate that vouches for itself, with its key; return its path."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{abs(hash(name))}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
def over_tls(tmp_path: Path) -> Iterator[Callable[[x509.GeneralName], tuple[Script, Path]]]:
    """A server with a certificate of a name."""
    made: list[Script] = []

    def serve(name: x509.GeneralName) -> tuple[Script, Path]:
        path = certificate(tmp_path, name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        made.append(Script(context))
        return made[-1], path

    yield serve
    for each in made:
        each.close()


def test_a_server_is_believed_by_its_certificate_and_its_name(over_tls: Any):
    script, path = over_tls(x509.IPAddress(ip_address("127.0.0.1")))
    script.answers.append(OK + b"Content-Length: 1\r\n\r\nx")
    url = f"https://127.0.0.1:{script.port}"
    assert Exchange(url, kept=1, connect_s=5, read_s=5, ca_file=str(path)).post({}, b"").data == b"x"
    with pytest.raises(errors.SSLError):
        Exchange(url, kept=1, connect_s=5, read_s=5, ca_file=None).post({}, b"")


def test_a_certificate_of_another_name_is_refused(over_tls: Any):
    script, path = over_tls(x509.DNSName("elsewhere.example"))
    url = f"https://127.0.0.1:{script.port}"
    with pytest.raises(errors.SSLError):
        Exchange(url, kept=1, connect_s=5, read_s=5, ca_file=str(path)).post({}, b"")
