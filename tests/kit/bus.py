"""A sink for PutEvents: takes every entry and records it, one JSON line each. It has no rules and no targets.

A line says when its entry came (seconds since 1970), and in which request: the sink's own count of requests.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.kit import webserver
from workers.local.processes import LOOPBACK

TARGET = "AWSEvents.PutEvents"
CONTENT_TYPE = "application/x-amz-json-1.1"
#: Fields of an entry that are recorded under a name of ours.
_FIELDS = {"EventBusName": "bus", "Source": "source", "DetailType": "detail_type"}


class Bus:
    """What was taken, in order. `detail` is recorded as the JSON value that it was sent as text of."""

    def __init__(self, record_path: Path) -> None:
        self._record = record_path.open("a", encoding="utf-8")
        self._numbers = count(1)
        self._requests = count(1)

    def take(self, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
        """Record the entries and return an answer for each."""
        answers = []
        came = {"at": time.time(), "request": next(self._requests)}
        for entry in entries:
            event_id = str(uuid4())
            known = {name: entry.get(field) for field, name in _FIELDS.items()}
            line = json.dumps({"order": next(self._numbers), "id": event_id, **came, **known})
            self._record.write(f'{line[:-1]}, "detail": {entry["Detail"]}}}\n')
            answers.append({"EventId": event_id})
        self._record.flush()  # whoever was told that it was taken can rely on it
        return answers


def recorded(record_path: Path) -> Iterator[dict[str, Any]]:
    """Read what a bus has taken, in order."""
    with record_path.open(encoding="utf-8") as lines:
        yield from parsed(lines)


def parsed(lines: Iterable[str | bytes]) -> Iterator[dict[str, Any]]:
    """Read lines of a record."""
    return map(json.loads, lines)


def delivered(entry: Mapping[str, Any]) -> str:
    """Return an entry as a rule with a queue for its target delivers it."""
    return json.dumps(
        {
            "version": "0",
            "id": entry["id"],
            "detail-type": entry["detail_type"],
            "source": entry["source"],
            "account": "000000000000",
            "time": datetime.now(UTC).isoformat(),
            "region": "us-east-1",
            "resources": [],
            "detail": entry["detail"],
        }
    )


@contextmanager
def serving(record_path: Path, log_path: Path) -> Iterator[str]:
    """Serve a bus in a process of its own until the end of the block; yield the endpoint's URL."""
    with webserver.serving("The event bus", "tests.kit.bus", str(record_path), log_path=log_path) as (port,):
        yield f"http://{LOOPBACK}:{port}"


async def _main(record_path: Path) -> None:
    bus = Bus(record_path)

    async def handle(request: webserver.Message, _writer: asyncio.StreamWriter) -> webserver.Message:
        if request.headers.get("x-amz-target") != TARGET:
            return webserver.answer(400, {"__type": "UnknownOperationException"}, CONTENT_TYPE)
        answers = bus.take(json.loads(request.body)["Entries"])
        return webserver.answer(200, {"FailedEntryCount": 0, "Entries": answers}, CONTENT_TYPE)

    server = await webserver.serve(handle)
    webserver.tell_ports(server)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
