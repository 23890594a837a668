"""The provider of a run: a process of its own, with its journal, that can be killed and comes back with its books."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.drills.ground import PROJECT
from workers.local import aws, sandbox
from workers.local.processes import LOOPBACK, Child, Program, answers, free_port
from workers.local.stack import Running

#: Any key of test mode will do.
KEY = "sk_test_payouts"
#: How long an answer takes that nobody waits for any more, in seconds: longer than the fleet's timeouts.
TIMEOUT_S = 3.0


class Bank:
    """Starts, kills and asks the provider."""

    def __init__(self, running: Running, home: Path, seed: int) -> None:
        self._running = running
        self._home = home
        self._seed = seed
        self._port = free_port()
        self.url = f"http://{LOOPBACK}:{self._port}"
        self._child: Child | None = None
        self.kills = 0

    def start(self) -> None:
        """Start it, on its port and with its books, and wait until it answers."""
        disorder = ("--event-repeat", "0.2", "--event-hold", "0.3", "--seed", str(self._seed))
        bus = ("--event-bus", self._running.event_bus, "--event-source", sandbox.EVENT_SOURCE)
        options = ("--port", str(self._port), "--journal", str(self._home / "books.jsonl"))
        program = Program(
            argv=[
                sys.executable,
                "-m",
                "workers.cli",
                "provider",
                *options,
                *bus,
                *disorder,
                "--timeout-s",
                str(TIMEOUT_S),
            ],
            env={
                "PATH": os.defpath,
                "AWS_ENDPOINT_URL": self._running.aws_endpoint_url,
                "AWS_DEFAULT_REGION": aws.REGION,
                "AWS_ACCESS_KEY_ID": aws.ACCESS_KEY_ID,
                "AWS_SECRET_ACCESS_KEY": aws.SECRET_ACCESS_KEY,
                "PYTHONPATH": str(PROJECT),
            },
            log_path=self._home / "bank.log",
            name="bank",
        )
        child = Child.start(program)
        self._child = child
        child.wait_until(lambda: answers(child, self._port, "/health"), 60)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._child
        self._child.process.kill()
        self._child.process.wait(10)
        self.kills += 1

    def stop(self) -> None:
        """End it."""
        if self._child:
            self._child.stop(10.0)

    def control(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Arrange something with it."""
        answer = httpx.request(method, f"{self.url}/_control/{path}", json=dict(body or {}), timeout=30)
        answer.raise_for_status()
        return answer.json()

    def ask(self, method: str, path: str, **fields: Any) -> Any:
        """Speak its own protocol."""
        sent: Any = {"data" if method == "POST" else "params": fields}
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = httpx.request(method, f"{self.url}/v1/{path}", headers=headers, timeout=30, **sent)
        answer.raise_for_status()
        return answer.json()

    def transfers(self) -> list[dict[str, Any]]:
        """Every transfer that it has made."""
        found: list[dict[str, Any]] = []
        after: dict[str, Any] = {}
        while True:
            page = self.ask("GET", "transfers", limit=100, **after)
            found += page["data"]
            if not page["has_more"]:
                return found
            after = {"starting_after": page["data"][-1]["id"]}
