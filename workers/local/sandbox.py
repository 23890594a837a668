"""The sandbox provider of the local stack: it keeps its books in a file, and its events come by the local bus."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import MappingProxyType

from workers.local import aws
from workers.local.processes import LOOPBACK, Child, LocalStackError, Program, answers, end_orphan, kept_port, start

#: What the sandbox's events are called on the bus; a partner's source could be named by the partner only.
EVENT_SOURCE = "roadcall.sandbox-provider"
#: What the template has to know of them: they come by the bus that everything shares.
PARAMETERS: Mapping[str, str] = MappingProxyType(
    {"ProviderEventSource": EVENT_SOURCE, "ProviderEventBusName": "roadcall-events"}
)
PID_FILE = "provider.pid"
_READY_SECONDS = 20.0
_STOP_SECONDS = 5.0
#: Somebody may take the port between our look and the start.
_STARTS_MAX = 3


def serve(
    stack: ExitStack, home: Path, log_path: Path, *, endpoint_url: str, say: Callable[[str], None]
) -> tuple[Child, str]:
    """Start the provider, to be stopped by `stack`, and return it with its URL.

    Args:
        stack: stops it.
        home: a folder of ours for its books and its port; made if it is missing.
        log_path: where its output goes.
        endpoint_url: the local AWS, whose bus takes its events.
        say: is told what a person should know.

    Raises:
        LocalStackError: it did not start.
    """
    home.mkdir(mode=0o700, exist_ok=True)
    end_orphan(home / PID_FILE, signal.SIGTERM)  # it would keep the books
    for attempt in range(1, _STARTS_MAX + 1):
        port = kept_port(home / "port", "the sandbox provider", say)
        child = start(stack, _program(home, log_path, port, endpoint_url), stop_seconds=_STOP_SECONDS)
        try:
            child.wait_until(partial(answers, child, port, "/health"), _READY_SECONDS)
        except LocalStackError:
            if attempt == _STARTS_MAX or "cannot listen" not in child.log_tail():
                raise
        else:
            break
    say(f"The sandbox provider listens on http://{LOOPBACK}:{port}.")
    return child, f"http://{LOOPBACK}:{port}"


def _program(home: Path, log_path: Path, port: int, endpoint_url: str) -> Program:
    options = ("--port", str(port), "--journal", str(home / "books.jsonl"), "--event-source", EVENT_SOURCE)
    return Program(
        argv=(
            sys.executable,
            "-m",
            "workers.cli",
            "provider",
            *options,
            "--event-bus",
            PARAMETERS["ProviderEventBusName"],
        ),
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_DEFAULT_REGION": aws.REGION,
            "AWS_ACCESS_KEY_ID": aws.ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": aws.SECRET_ACCESS_KEY,
        },
        log_path=log_path,
        name="the sandbox provider",
        pid_path=home / PID_FILE,
    )
