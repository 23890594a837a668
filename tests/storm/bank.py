"""The storm's payment provider: `payments provider` in a process of its own, which fails as it is told to."""

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.kit import books, bus
from workers.local import aws
from workers.local.processes import LOOPBACK, Child, Program, answers, free_port
from workers.local.sandbox import EVENT_SOURCE

BUS = "roadcall-events"
#: Every kind of fault that one request can meet, as the provider names them.
KINDS = (
    "rate_limited",
    "lock_timeout",
    "in_use",
    "unavailable",
    "lost_before",
    "lost_after",
    "cut_off",
    "garbled",
    "slow",
    "timeout",
    "late",
    "error_before",
    "error_after",
    "insufficient",
)
#: When `timeout` and `late` answer: longer than the fleet waits (launch.py).
TIMEOUT_S = 4.0
SLOW_S = (0.1, 1.5)
#: The share of its events that it tells twice, and that later ones overtake.
REPEATED, HELD_BACK = 0.05, 0.1
_START_S = 30.0
_DAY_S = 24 * 3_600 + 60


class Bank:
    """One provider over all its lives: its books are in a file, what it is told to do wrong is told it again."""

    def __init__(self, stack: ExitStack, home: Path, endpoint_url: str, seed: int) -> None:
        """Start it; `endpoint_url` takes its events."""
        self._stack = stack
        self._home = home
        self._endpoint_url = endpoint_url
        self._seed = seed
        self._port = free_port()
        self.url = f"http://{LOOPBACK}:{self._port}"
        self._plans = 0
        self._rates: Mapping[str, float] = {}
        self._outage = "off"
        #: What struck in lives that are over, and what the driver did to it.
        self._struck: Counter[str] = Counter()
        self._child = self._start()

    def _start(self) -> Child:
        options = ("--port", str(self._port), "--journal", str(self._home / "books.jsonl"), "--seed", str(self._seed))
        events = ("--event-bus", BUS, "--event-source", EVENT_SOURCE)
        disorder = ("--event-repeat", str(REPEATED), "--event-hold", str(HELD_BACK))
        environment = {
            "PATH": os.defpath,
            "AWS_ENDPOINT_URL": self._endpoint_url,
            "AWS_DEFAULT_REGION": aws.REGION,
            "AWS_ACCESS_KEY_ID": aws.ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": aws.SECRET_ACCESS_KEY,
        }
        program = Program(
            argv=[sys.executable, "-m", "workers.cli", "provider", *options, *events, *disorder],
            env=environment,
            log_path=self._home / "provider.log",
            name="the provider",
            cwd=aws.PROJECT_ROOT,
        )
        child = Child.start(program)
        self._stack.callback(child.stop)
        child.wait_until(partial(answers, child, self._port, "/health"), _START_S)
        return child

    # -- what the driver does to it

    def trouble(self, rates: Mapping[str, float]) -> None:
        """Set the share of the requests that each kind of fault strikes; each time the dice begin anew."""
        assert set(rates) <= set(KINDS), rates
        most = max(1.0, sum(rates.values()))
        self._rates = {kind: rate / most for kind, rate in rates.items()}
        self._plans += 1
        self._arrange_all()

    def outage(self, mode: str) -> None:
        """Let it be away: `reset` or `503`; or not any more, `off`."""
        self._outage = mode
        if mode != "off":
            self._struck[f"provider: away ({mode})"] += 1
        self._arrange_all()

    def crash(self, seconds: float) -> None:
        """End it as a crash would, and start it again after a while on the same books."""
        self._struck = self.faults()
        self._child.process.send_signal(signal.SIGKILL)
        self._child.process.wait(30)
        self._struck["provider: kill -9"] += 1
        time.sleep(seconds)
        self._child = self._start()
        self._arrange_all()

    def calm(self) -> None:
        """Let nothing go wrong any more, and a day pass: keys under which an error is remembered are forgotten."""
        self._outage, self._rates = "off", {}
        self._arrange_all()
        books.arrange(self.url, "POST", "clock", advance_s=_DAY_S)

    def close_accounts(self, accounts: Iterable[str]) -> None:
        """Decline whatever is to be paid to these accounts from now on."""
        for account in accounts:
            books.arrange(self.url, "PUT", f"accounts/{account}", state="closed")

    def _arrange_all(self) -> None:
        plan = {"seed": self._seed * 1_000 + self._plans, "rates": self._rates}
        books.arrange(self.url, "PUT", "plan", **plan, timeout_s=TIMEOUT_S, slow_s=SLOW_S)
        books.arrange(self.url, "PUT", "outage", mode=self._outage)

    # -- what it tells

    def faults(self) -> Counter[str]:
        """Return how often each kind of fault has struck so far, over all its lives."""
        struck = self._state()["plan"]["struck"]
        return self._struck + Counter({f"provider: {kind}": count for kind, count in struck.items()})

    def untold(self) -> int:
        """Return how many events have not reached the bus yet."""
        return int(self._state()["undelivered"])

    def _state(self) -> dict[str, Any]:
        return books.arrange(self.url, "GET", "state")


class Carrier(threading.Thread):
    """Does what the bus's rule for the provider's events does: puts what the bus has taken on the events queue."""

    def __init__(self, record: Path, sqs: Any, queue_url: str) -> None:
        super().__init__(name="carrier", daemon=True)
        self._record = record
        self._sqs = sqs
        self._queue_url = queue_url
        self._read = 0
        self.stopping = threading.Event()
        self.carried = 0
        self.trouble: BaseException | None = None

    def run(self) -> None:
        """Carry until told to stop."""
        try:
            while not self.stopping.wait(0.1):
                self._carry()
        except BaseException as trouble:  # noqa: BLE001 - told by the driver, which ends the storm
            self.trouble = trouble

    def idle(self) -> bool:
        """Whether everything that the bus has taken is carried."""
        return not self._record.exists() or self._read == self._record.stat().st_size

    def _carry(self) -> None:
        if self.idle():
            return
        with self._record.open("rb") as lines:
            lines.seek(self._read)
            fresh = lines.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        entries = (entry for entry in bus.parsed(whole.splitlines()) if entry["source"] == EVENT_SOURCE)
        bodies = [bus.delivered(entry) for entry in entries]
        for first in range(0, len(bodies), 10):
            ten = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[first : first + 10])]
            answer = self._sqs.send_message_batch(QueueUrl=self._queue_url, Entries=ten)
            assert not answer.get("Failed"), answer
        self.carried += len(bodies)
        self._read += len(whole)
