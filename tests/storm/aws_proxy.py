"""Stands between the fleet and AWS: passes requests on to a local SQS and a bus, and does to some what AWS may do.

A process of its own. The driver sets how often each kind of fault strikes; each is counted when it has really hit a
request. Which requests it hits follows from the seed and the order of arrival.
"""

import asyncio
import json
import random
import re
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kit import webserver
from tests.kit.bus import Bus
from tests.kit.webserver import Message, answer
from workers.local.processes import LOOPBACK

CONTROL = "/control"
#: What a stall does not answer in time is answered late; longer than the shortest timeout of a client (5 s).
SILENT_S = 20.0
SLOW_S = (0.1, 1.0)
#: A copy of a delivery carries another receipt handle, as SQS would give it; this is how it is told apart here.
_AGAIN = re.compile(rb"~again\d+")
#: For how long a message is held back, and after how long it is forgotten: its lease is over soon.
_HELD_S, _FORGOTTEN_S = (0.2, 3.0), 6.0
#: After how many seconds a delete is done that was confirmed at once: before or after the end of the lease.
LATE_DELETE_S = (0.5, 12.0)
_IDLE_S = 30.0

Answered = Message | None


@dataclass(slots=True)
class _Call:
    """One request under way; `body` is its JSON."""

    request: Message
    writer: asyncio.StreamWriter
    side: str
    operation: str
    kind: str = ""

    def body(self) -> dict[str, Any]:
        return json.loads(self.request.body)

    def failed(self, status: int, code: str) -> Message:
        content_type = self.request.headers.get("content-type", webserver.JSON)
        return answer(status, {"__type": code, "message": self.kind}, content_type)


@dataclass(slots=True)
class _Stash:
    """Deliveries of a queue that are made later: (due at, message, kind to count then)."""

    waiting: deque[tuple[float, dict[str, Any], str]] = field(default_factory=deque)

    def due(self, now: float, room: int) -> list[tuple[dict[str, Any], str]]:
        """Take what is due, up to so many; what waited too long is dropped, and comes back by its lease."""
        found: list[tuple[dict[str, Any], str]] = []
        for _ in range(len(self.waiting)):
            at, message, kind = self.waiting.popleft()
            if now < at or len(found) == room:
                self.waiting.append((at, message, kind))
            elif now < at + _FORGOTTEN_S:
                found.append((message, kind))
        return found


class Proxy:
    """The proxy; `rates` is the chance of each kind of fault, by request that it can strike."""

    def __init__(self, sqs_port: int, bus: Bus, seed: int) -> None:
        self._sqs_port = sqs_port
        self._bus = bus
        self._random = random.Random(seed)  # noqa: S311 - chooses faults
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._stashes: dict[str, _Stash] = defaultdict(_Stash)
        self._background: set[asyncio.Task[object]] = set()
        self._stalled_until: dict[str, float] = {}
        self._stall_hit: set[str] = set()
        self._copies = 0
        self._late_delete_s: Sequence[float] = LATE_DELETE_S
        self.rates: dict[str, float] = {}
        self.faults: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.deliveries = 0

    async def handle(self, request: Message, writer: asyncio.StreamWriter) -> Answered:
        """Answer one request, or break its connection."""
        if request.path == CONTROL:
            return self._control(json.loads(request.body))
        operation = request.headers.get("x-amz-target", "").rpartition(".")[2]
        self.requests[operation] += 1
        call = _Call(request, writer, "bus" if operation == "PutEvents" else "sqs", operation)
        if b"~again" in request.body:
            request.body = _AGAIN.sub(b"", request.body)
        await self._stalled(call.side)
        call.kind = self._chosen(call)
        return await FAULTS[call.kind](self, call) if call.kind else await self._passed_on(call)

    def _control(self, wanted: Mapping[str, Any]) -> Message:
        self.rates.update(wanted.get("rates", {}))
        self._late_delete_s = wanted.get("late_delete_s", self._late_delete_s)
        if wanted.get("forget"):
            self._stashes.clear()
        for side, seconds in wanted.get("stall_s", {}).items():
            self._stalled_until[side] = time.monotonic() + seconds
            self._stall_hit.discard(side)
        told = {"faults": self.faults, "requests": self.requests, "deliveries": self.deliveries}
        return answer(200, told)

    async def _stalled(self, side: str) -> None:
        left_s = self._stalled_until.get(side, 0.0) - time.monotonic()
        if left_s > 0:
            if side not in self._stall_hit:
                self._stall_hit.add(side)
                self.faults[f"{side}: stalled"] += 1
            await asyncio.sleep(left_s)

    def _chosen(self, call: _Call) -> str:
        """Return the kind of fault that strikes this request, usually none."""
        for kind, rate in self.rates.items():
            if rate and _strikes(kind, call) and self._random.random() < rate:
                return kind
        return ""

    # -- to the servers

    async def _passed_on(self, call: _Call) -> Message:
        if call.side == "bus":
            answers = self._bus.take(call.body()["Entries"])
            content_type = call.request.headers["content-type"]
            return answer(200, {"FailedEntryCount": 0, "Entries": answers}, content_type)
        return await self._asked(call)

    async def _asked(self, call: _Call) -> Message:
        """Ask SQS, over a connection that is kept; receives get what is still to be delivered."""
        reply = await self._exchanged(call.request)
        if call.operation == "ReceiveMessage":
            self._add_stashed(call, reply)
            self.deliveries += reply.body.count(b'"ReceiptHandle":')
        return reply

    async def _exchanged(self, request: Message) -> Message:
        reader, writer = await self._connection()
        writer.write(request.wire())
        reply = await Message.read(reader)
        if reply is None:
            raise ConnectionError("SQS closed the connection")
        self._idle.append((time.monotonic(), reader, writer))
        return reply

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            since, reader, writer = self._idle.pop()
            if time.monotonic() - since < _IDLE_S and not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(LOOPBACK, self._sqs_port, limit=2**22)

    def _add_stashed(self, call: _Call, reply: Message) -> None:
        asked = call.body()
        stash = self._stashes[asked["QueueUrl"]]
        if not stash.waiting:
            return
        found = json.loads(reply.body)
        messages: list[dict[str, Any]] = found.get("Messages", [])
        for message, kind in stash.due(time.monotonic(), asked.get("MaxNumberOfMessages", 1) - len(messages)):
            self.faults[kind] += 1
            messages.append(message)
        if messages:
            reply.body = json.dumps({**found, "Messages": messages}).encode()

    def _later(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -- the faults: each counts itself when it strikes

    async def _throttled(self, call: _Call) -> Answered:
        self.faults[call.kind] += 1
        return call.failed(400, "ThrottlingException")

    async def _error_500(self, call: _Call) -> Answered:
        self.faults[call.kind] += 1
        return call.failed(500, "InternalFailure")

    async def _error_503(self, call: _Call) -> Answered:
        self.faults[call.kind] += 1
        return call.failed(503, "ServiceUnavailable")

    async def _reset_before(self, call: _Call) -> Answered:
        self.faults[call.kind] += 1
        webserver.reset(call.writer)
        return None

    async def _reset_after(self, call: _Call) -> Answered:
        await self._passed_on(call)
        self.faults[call.kind] += 1
        webserver.reset(call.writer)
        return None

    async def _silent_after(self, call: _Call) -> Answered:
        await self._passed_on(call)
        self.faults[call.kind] += 1
        await asyncio.sleep(SILENT_S)
        webserver.reset(call.writer)
        return None

    async def _slow(self, call: _Call) -> Answered:
        self.faults[call.kind] += 1
        await asyncio.sleep(self._random.uniform(*SLOW_S))
        return await self._passed_on(call)

    async def _entries_failed(self, call: _Call) -> Answered:
        """Let some entries of a batch fail: they are not passed on."""
        body = call.body()
        entries = body["Entries"]
        chosen = set(self._random.sample(range(len(entries)), self._random.randint(1, len(entries))))
        self.faults[call.kind] += 1
        body["Entries"] = [entry for number, entry in enumerate(entries) if number not in chosen]
        call.request.body = json.dumps(body).encode()
        if call.side == "bus":
            taken = iter(self._bus.take(body["Entries"]))
            failed = {"ErrorCode": "InternalFailure", "ErrorMessage": call.kind}
            answers = [failed if number in chosen else next(taken) for number in range(len(entries))]
            failures = {"FailedEntryCount": len(chosen), "Entries": answers}
            return answer(200, failures, call.request.headers["content-type"])
        told: dict[str, Any] = {"Successful": []}
        if body["Entries"]:
            told = json.loads((await self._asked(call)).body)
        failed_too = [{"Id": entries[number]["Id"], "SenderFault": False, "Code": "InternalError"} for number in chosen]
        told["Failed"] = [*(told.get("Failed") or []), *failed_too]
        return answer(200, told, call.request.headers["content-type"])

    async def _late_delete(self, call: _Call) -> Answered:
        self.faults[call.kind] += 1

        async def delete() -> None:
            await asyncio.sleep(self._random.uniform(*self._late_delete_s))
            await self._exchanged(call.request)

        self._later(delete())
        return _all_done(call)

    async def _lost_delete(self, call: _Call) -> Answered:
        self.faults[call.kind] += 1
        return _all_done(call)

    async def _sent_again(self, call: _Call) -> Answered:
        """Send the body of a delivery a second time, as a producer may: it has another message id."""
        reply = await self._asked(call)
        if messages := json.loads(reply.body).get("Messages"):
            chosen = self._random.choice(messages)
            wanted = {"QueueUrl": call.body()["QueueUrl"], "MessageBody": chosen["Body"]}
            if attributes := chosen.get("MessageAttributes"):
                wanted["MessageAttributes"] = attributes
            headers = {**call.request.headers, "x-amz-target": "AmazonSQS.SendMessage"}
            sent = await self._exchanged(Message(call.request.first, headers, json.dumps(wanted).encode()))
            self.faults[call.kind] += " 200 " in sent.first
        return reply

    async def _delivered_twice(self, call: _Call) -> Answered:
        """Deliver a message to somebody else too: the same message id, another receipt handle."""
        reply = await self._asked(call)
        messages = json.loads(reply.body).get("Messages") or []
        if firsts := [message for message in messages if "~again" not in message["ReceiptHandle"]]:
            chosen = dict(self._random.choice(firsts))
            self._copies += 1
            chosen["ReceiptHandle"] += f"~again{self._copies}"
            self._stash(call, chosen, call.kind, self._random.uniform(*_HELD_S))
        return reply

    async def _held_back(self, call: _Call) -> Answered:
        """Deliver some messages after others that were sent later."""
        reply = await self._asked(call)
        found = json.loads(reply.body)
        messages = found.get("Messages") or []
        if len(messages) > 1:
            kept = self._random.randint(1, len(messages) - 1)
            for message in messages[kept:]:
                self._stash(call, message, call.kind, self._random.uniform(*_HELD_S))
            reply.body = json.dumps({**found, "Messages": messages[:kept]}).encode()
        return reply

    async def _shuffled(self, call: _Call) -> Answered:
        reply = await self._asked(call)
        found = json.loads(reply.body)
        messages = found.get("Messages") or []
        if len(messages) > 1:
            self._random.shuffle(messages)
            self.faults[call.kind] += 1
            reply.body = json.dumps({**found, "Messages": messages}).encode()
        return reply

    def _stash(self, call: _Call, message: dict[str, Any], kind: str, delay_s: float) -> None:
        waiting = self._stashes[call.body()["QueueUrl"]].waiting
        waiting.append((time.monotonic() + delay_s, message, kind))


def _all_done(call: _Call) -> Message:
    done = [{"Id": entry["Id"]} for entry in call.body()["Entries"]]
    return answer(200, {"Successful": done}, call.request.headers["content-type"])


Fault = Callable[[Proxy, _Call], Awaitable[Answered]]
_EITHER: Mapping[str, Fault] = {
    "throttled": Proxy._throttled,
    "error 500": Proxy._error_500,
    "error 503": Proxy._error_503,
    "reset before": Proxy._reset_before,
    "reset after success": Proxy._reset_after,
    "silent after success": Proxy._silent_after,
    "slow": Proxy._slow,
    "entries failed": Proxy._entries_failed,
}
_RECEIVES: Mapping[str, Fault] = {
    "sqs: sent again": Proxy._sent_again,
    "sqs: delivered twice": Proxy._delivered_twice,
    "sqs: held back": Proxy._held_back,
    "sqs: shuffled": Proxy._shuffled,
}
_DELETES: Mapping[str, Fault] = {"sqs: late delete": Proxy._late_delete, "sqs: lost delete": Proxy._lost_delete}
#: Every kind of fault that can be set a rate for.
FAULTS: Mapping[str, Fault] = {
    **{f"{side}: {kind}": fault for side in ("sqs", "bus") for kind, fault in _EITHER.items()},
    **_RECEIVES,
    **_DELETES,
}


def _strikes(kind: str, call: _Call) -> bool:
    """Whether a kind of fault can strike this request."""
    if not kind.startswith(call.side):
        return False
    if kind.endswith("entries failed"):
        return call.operation.endswith("Batch") or call.side == "bus"
    if kind in _RECEIVES:
        return call.operation == "ReceiveMessage"
    return kind not in _DELETES or call.operation == "DeleteMessageBatch"


async def _main(sqs_port: int, record_path: Path, seed: int) -> None:
    proxy = Proxy(sqs_port, Bus(record_path), seed)
    server = await webserver.serve(proxy.handle)
    webserver.tell_ports(server)
    with suppress(asyncio.CancelledError):
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
