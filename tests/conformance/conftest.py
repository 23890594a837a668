"""The backends that every rule is put to: the model, and the local servers that stand in for SQS."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from botocore.exceptions import ClientError

from tests.conformance.differences import DIFFERENCES
from tests.kit import fauxqs
from tests.kit.sqs_clocks import VirtualClock
from tests.kit.sqs_model import SqsModel
from workers.local import aws
from workers.local.processes import LOOPBACK, Child, Program, free_port

BACKENDS = ("model", "ministack", "moto", "fauxqs")
#: An attribute of a message.
TEXT = {"DataType": "String", "StringValue": "text"}
_READY_S = 30.0


@dataclass
class Backend:
    """A client, and a way to let time pass."""

    client: Any
    wait: Callable[[float], object]
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def name(self) -> str:
        """Return a name for a queue that no other has."""
        return f"conformance-{os.getpid()}-{next(self.numbers)}"

    def queue(self, **attributes: Any) -> str:
        """Make a queue of a test's own; return its URL."""
        texts = {key: str(value) for key, value in attributes.items()}
        return self.client.create_queue(QueueName=self.name(), Attributes=texts)["QueueUrl"]

    def arn(self, url: str) -> str:
        """The ARN of a queue."""
        return self.attribute(url, "QueueArn")

    def attribute(self, url: str, name: str) -> str:
        """One attribute of a queue."""
        return self.client.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]

    def send(self, url: str, *bodies: str, **more: Any) -> list[str]:
        """Send messages one by one; return their ids."""
        return [self.client.send_message(QueueUrl=url, MessageBody=body, **more)["MessageId"] for body in bodies]

    def receive(self, url: str, **more: Any) -> list[dict[str, Any]]:
        """Receive at once what is there."""
        wanted = {"WaitTimeSeconds": 0, "MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"]}
        return self.client.receive_message(QueueUrl=url, **{**wanted, **more}).get("Messages", [])


def refused(call: Any, **arguments: Any) -> str:
    """Return the code of the error that a call raises, without its namespace; or `nothing`."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"]).rsplit(".", 1)[-1]
    return "nothing"


def codes(answer: dict[str, Any]) -> dict[str, str]:
    """Return which entries of a batch failed, each with its code."""
    return {entry["Id"]: entry["Code"].rsplit(".", 1)[-1] for entry in answer.get("Failed", [])}


@pytest.fixture(scope="session")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Backend]]:
    """Return what starts a backend, each once."""
    home = tmp_path_factory.mktemp("conformance")
    started: dict[str, Backend] = {}
    with ExitStack() as stack:

        def start(name: str) -> Backend:
            if name not in started:
                started[name] = _model() if name == "model" else _server(name, stack, home)
            return started[name]

        yield start


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, backends: Callable[[str], Backend]) -> Backend:
    """One of the backends; where it is known to differ, the test must fail."""
    name = request.param
    case = request.node.callspec.id.removeprefix(name).removeprefix("-")
    rule = f"{request.node.originalname}[{case}]" if case else request.node.originalname
    if difference := DIFFERENCES.get((name, rule)):
        documented, does = difference
        reason = f"AWS, {documented}; {name}: {does}"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True, raises=(AssertionError, ClientError)))
    return backends(name)


def _model() -> Backend:
    clock = VirtualClock()
    return Backend(SqsModel(clock), clock.advance)


def _server(name: str, stack: ExitStack, home: Path) -> Backend:
    url = {"ministack": _ministack, "moto": _moto, "fauxqs": _fauxqs}[name](stack, home)
    return Backend(aws.session(url).client("sqs"), time.sleep)


def _ministack(stack: ExitStack, home: Path) -> str:
    python = aws.prepare(lambda _line: None)
    return aws.serve(stack, home / "aws", home / "ministack.log", python, lambda _line: None)[1]


def _fauxqs(stack: ExitStack, home: Path) -> str:
    return stack.enter_context(fauxqs.serving(home / "fauxqs.log"))


def _moto(stack: ExitStack, home: Path) -> str:
    return stack.enter_context(_serving_moto(home / "moto.log"))


@contextmanager
def _serving_moto(log_path: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    program = Program(
        argv=(sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)),
        env={"PATH": os.defpath},
        log_path=log_path,
        name="moto's server",
    )
    child = Child.start(program)
    try:
        child.wait_until(lambda: _answers(url), _READY_S)
        yield url
    finally:
        child.stop()


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/moto-api/", timeout=1):  # noqa: S310 - our own server
            return True
    except (URLError, OSError):
        return False
