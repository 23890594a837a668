"""Runs a role of the fleet in a process of its own that kills itself at a point: nothing is flushed, nothing said.

The product has no hook for it. What is wrapped are the seams that everything passes: flights and psycopg's `execute`,
direct calls and boto3's events, and the methods of the provider.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import stripe  # noqa: F401 - imported late by the product: here once, and not by each process anew
from botocore.exceptions import EndpointConnectionError

from store.flights import Flights, Slot
from tests.sweep.points import CALLS, OPERATIONS, SWEEPS, TOLD_APART, Point, Trouble, When, statement
from workers import cli, connections
from workers.direct import DirectClient
from workers.stripe_provider import StripeProvider

#: How long a slow provider takes: longer than half a lease of the sweep, shorter than a whole one.
SLOW_S = 1.7
#: What a request to AWS is about, by the setting that holds its queue.
_QUEUES = {
    "PAYMENTS_EVENT_QUEUE_URL": "events",
    "PAYMENTS_COMMAND_QUEUE_URL": "commands",
    "PAYMENTS_PAYOUT_QUEUE_URL": "payouts",
    "APPROVAL_QUEUE_URL": "approvals",
}
_LEASE_KEEPER, _SWEEPER = "lease-keeper", "sweeper"
#: Forks every process from one that has imported everything already: a start costs a tenth of a second, not two.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])
_starting = threading.Lock()


def warm_up() -> None:
    """Let everything be imported before anybody waits for a process: the first start takes many seconds."""
    process = _CONTEXT.Process(target=_nothing)
    process.start()
    process.join()


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a process is told.

    Attributes:
        role: worker or relay.
        environment: its whole environment.
        log_path: where its output goes.
        mark_path: where it writes, at the point, what it was doing.
        point: where it kills itself; None for a process that shall live.
    """

    role: str
    environment: Mapping[str, str]
    log_path: Path
    mark_path: Path
    point: Point | None = None


class Running:
    """A process that was launched."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._process: ForkServerProcess = _CONTEXT.Process(target=_run, args=(launch,), daemon=True)
        with _starting:  # the library looks after all its children at each start, and may be asked by one thread only
            self._process.start()

    @property
    def exit_code(self) -> int | None:
        """Its exit code, the negative number of a signal, or None while it runs."""
        with _starting:
            return self._process.exitcode

    def kill(self) -> None:
        """Kill it, if it still runs, and wait for its end."""
        with _starting:
            self._process.kill()
            self._process.join()

    def marked(self) -> dict[str, Any]:
        """What it was doing when it died at its point; empty when it did not."""
        path = self.launch.mark_path
        return json.loads(path.read_text()) if path.exists() else {}

    def log_tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.launch.log_path.read_text().splitlines()[-15:])


class FailPoint:
    """Counts how often a point is reached, and ends the process at its hit."""

    def __init__(self, point: Point, mark_path: Path) -> None:
        self._point = point
        self._mark_path = mark_path
        self._lock = threading.Lock()
        self._hits = 0

    def reached(self, when: When, step: str, about: str) -> bool:
        """Whether the process shall die here; counts."""
        point = self._point
        if (when, step) != (point.when, point.step) or point.about not in ("", about):
            return False
        with self._lock:
            self._hits += 1
            return self._hits == point.hit

    def die(self, **seen: Any) -> None:
        """Write down what was going on, and end as a power failure would."""
        with self._lock:  # held for good: nobody else gets past
            self._mark_path.write_text(json.dumps({"point": self._point.name, **seen}))
            os.kill(os.getpid(), signal.SIGKILL)


class _Doing(threading.local):
    """What this thread's transaction or request is about."""

    about = ""
    kind = ""
    message_key = ""
    destination = ""


_doing = _Doing()
_OF_REQUESTS = frozenset({Trouble.BUS_AWAY, Trouble.SWEEP_IN_VAIN, Trouble.BUS_REFUSES})


def _run(launch: Launch) -> None:
    log = os.open(launch.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    os.environ.clear()
    os.environ.update(launch.environment)
    _end_with_the_sweep()
    if launch.point:
        fail_point = FailPoint(launch.point, launch.mark_path)
        _make_trouble(launch.point.trouble)
        _watch_statements(fail_point)
        _watch_requests(fail_point)
        _watch_provider(fail_point, launch.point.trouble)
    sys.argv = ["payments", launch.role]
    cli.main()


def _end_with_the_sweep() -> None:
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _watch_statements(fail_point: FailPoint) -> None:
    """Watch both ways of a statement: in a flight, where a message's transaction is, and by itself."""
    _watch_flights(fail_point)
    execute: Callable[..., psycopg.Cursor[Any]] = psycopg.Connection.execute

    def watched(connection: psycopg.Connection[Any], query: Any, params: Any = None, **more: Any) -> Any:
        step = statement(query) if isinstance(query, str) else None
        if step is None:
            return execute(connection, query, params, **more)
        about = _subject(step, params)
        if fail_point.reached(When.BEFORE, step, about):
            fail_point.die(**_seen())
        cursor = execute(connection, query, params, **more)
        if fail_point.reached(When.AFTER, step, about):
            fail_point.die(**_seen(), status=cursor.statusmessage)
        return cursor

    psycopg.Connection.execute = watched  # type: ignore[method-assign, assignment]


def _watch_flights(fail_point: FailPoint) -> None:
    """Watch what is put into flights.

    After a statement means that the server has carried it out: whatever waits is sent and read. Before it, it waits.
    """
    put: Callable[..., Slot] = Flights.put

    def watched(flights: Flights, query: str, values: Mapping[str, Any]) -> Slot:
        step = statement(query)
        if step is None:
            return put(flights, query, values)
        about = _subject(step, values)
        if fail_point.reached(When.BEFORE, step, about):
            fail_point.die(**_seen())
        slot = put(flights, query, values)
        if step in SWEEPS:
            about = _claimed(flights.rows(slot), step)
        if fail_point.reached(When.SENT, step, about):
            flights._send(flights._waiting)
            fail_point.die(**_seen())
        if fail_point.reached(When.AFTER, step, about):
            flights.rows(slot)
            fail_point.die(**_seen(), status=_told(slot))
        return slot

    Flights.put = watched  # type: ignore[method-assign, assignment]


def _seen() -> dict[str, str]:
    return {"kind": _doing.kind, "message_key": _doing.message_key}


def _told(slot: Slot) -> str | None:
    """Return what the server has said of a statement that it carried out."""
    told = slot.result.command_status if slot.result else None
    return told.decode() if told else None


def _subject(step: str, params: Any) -> str:
    """Return what a statement is about, which may be what an earlier one of its transaction was about."""
    if step == "begin":
        _doing.about = _doing.kind = _doing.message_key = ""
    elif step == "claim-message":
        _doing.kind, _doing.message_key = params["kind"], params["message_key"]
        _doing.about = _doing.kind
    elif step == "settle-message" and params["outcome"] != "applied":
        _doing.about = f"{params['outcome']}-{_doing.kind}"
    elif step == "insert-audit" and str(params["action"]) in TOLD_APART:
        _doing.about = str(params["action"])
    elif step == "lease-rows":
        _doing.about = "lease"
    elif step.startswith("prune-"):
        _doing.about = step
    elif step in ("mark-published", "postpone", "mark-failed"):
        return _doing.destination
    return _doing.about


def _claimed(rows: Sequence[Any], step: str) -> str:
    """Return what a round of the sweep is about from here on: whether it has claimed anything."""
    _doing.about = f"{step}-due" if rows else step
    return _doing.about


def _watch_requests(fail_point: FailPoint) -> None:
    queues = {urlsplit(os.environ[name]).path: queue for name, queue in _QUEUES.items()}

    def before(operation: str, body: Mapping[str, Any]) -> None:
        _doing.destination = queues.get(urlsplit(body.get("QueueUrl", "")).path, "bus")
        if threading.current_thread().name == _SWEEPER:
            _doing.destination = "swept"
        if fail_point.reached(When.BEFORE, _step(operation), _doing.destination):
            fail_point.die(queue=_doing.destination)

    def after(operation: str, answer: Mapping[str, Any]) -> None:
        if operation == "ReceiveMessage" and not answer.get("Messages"):
            return
        if fail_point.reached(When.AFTER, _step(operation), _doing.destination):
            fail_point.die(queue=_doing.destination, answer=200)

    attempt = DirectClient._attempt

    def watched(client: DirectClient, operation: str, body: bytes) -> Any:
        before(operation, json.loads(body))
        answer = attempt(client, operation, body)
        after(operation, answer)
        return answer

    DirectClient._attempt = watched  # type: ignore[method-assign, assignment]
    # What is seldom sent goes by boto3.
    events = connections._session()[1].events
    events.register("before-send.sqs.SendMessage", lambda request, **_: before("SendMessage", json.loads(request.body)))
    events.register_last("after-call.sqs.SendMessage", lambda parsed, **_: after("SendMessage", parsed))


def _step(operation: str) -> str:
    """Return the step that a request is; who renews leases is known by the name of its thread."""
    steps = [step for step, name in OPERATIONS.items() if name == operation]
    if len(steps) == 1:
        return steps[0]
    return "renew-leases" if threading.current_thread().name == _LEASE_KEEPER else "hide"


def _watch_provider(fail_point: FailPoint, trouble: Trouble) -> None:
    for step in CALLS:
        name = step.replace("-", "_")
        call = getattr(StripeProvider, name)
        setattr(StripeProvider, name, _around(fail_point, step, call, slow=trouble is Trouble.SLOW_PROVIDER))


def _around(fail_point: FailPoint, step: str, call: Callable[..., Any], *, slow: bool) -> Callable[..., Any]:
    def around(provider: StripeProvider, *asked: Any) -> Any:
        if fail_point.reached(When.BEFORE, step, ""):
            fail_point.die(asked=str(asked))
        if slow:
            time.sleep(SLOW_S)
        answer = call(provider, *asked)
        if fail_point.reached(When.AFTER, step, ""):
            fail_point.die(asked=str(asked), answer=type(answer).__name__)
        return answer

    return around


def _make_trouble(trouble: Trouble) -> None:
    """Let one request fail, the first that the trouble is about; who watches stands before it, and sees it go."""
    once = iter([trouble])
    attempt = DirectClient._attempt

    def troubled(client: DirectClient, operation: str, body: bytes) -> Any:
        swept = operation == "SendMessageBatch" and threading.current_thread().name == _SWEEPER
        unsent = swept if trouble is Trouble.SWEEP_IN_VAIN else operation == "PutEvents"
        if unsent and trouble is not Trouble.BUS_REFUSES and next(once, None):
            raise EndpointConnectionError(endpoint_url=client.meta.endpoint_url)
        answer = attempt(client, operation, body)
        if trouble is Trouble.BUS_REFUSES and operation == "PutEvents" and next(once, None):
            answer["Entries"][0] = {"ErrorCode": "MalformedDetail", "ErrorMessage": "no JSON"}
        return answer

    if trouble in _OF_REQUESTS:
        DirectClient._attempt = troubled  # type: ignore[method-assign, assignment]
