"""How the provider tells what happened: as an event destination does, on an event bus, at least once, in any order."""

import json
import random
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from workers.sandbox.books import Books

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

#: How many entries one request to a bus may have.
BATCH_MAX = 10
#: For how many rounds an event may be held back at most.
ROUNDS_HELD_MAX = 5
#: What the events of a sandbox are called on the bus, in the form of a partner's.
SOURCE_DEFAULT = "aws.partner/stripe.com/sandbox"


class Entry(TypedDict):
    """An event as a bus takes it."""

    Source: str
    DetailType: str
    Detail: str


class Publish(Protocol):
    """Sends entries; a bus, or a test."""

    def __call__(self, entries: Sequence[Entry], /) -> Collection[int]:
        """Send up to ten entries and return the positions of those that were not taken."""
        ...


class PublishError(Exception):
    """None of the entries was taken."""


@dataclass(frozen=True, slots=True)
class Disorder:
    """How delivery departs from once and in order.

    Attributes:
        seed: what the decisions come from.
        repeated: the share of events that come twice.
        held_back: the share of events that a round leaves for the next one, so that later ones overtake them.
        shuffled: among how many events in a row the order is lost; 1 keeps it.
    """

    seed: int = 0
    repeated: float = 0.0
    held_back: float = 0.0
    shuffled: int = 1


class Delivery:
    """Takes new events from the books to a bus, in a thread of its own.

    What was not taken is tried again; what was told but not marked before the process ended is told again.
    """

    def __init__(
        self,
        books: Books,
        publish: Publish,
        *,
        source: str = SOURCE_DEFAULT,
        disorder: Disorder | None = None,
        retry_s: float = 1.0,
    ) -> None:
        self._books = books
        self._publish = publish
        self._source = source
        self._disorder = disorder or Disorder()
        self._retry_s = retry_s
        self._random = random.Random(self._disorder.seed)  # noqa: S311 - makes disorder, guards nothing
        self._held: dict[str, int] = {}
        self._again: list[str] = []
        self._seen: set[str] = set()
        self._round = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start delivering."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="provider-events", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop delivering; what is left is delivered by the next one on the same books."""
        self._stopping.set()
        if self._thread:
            self._thread.join()
        self._thread = None

    def run_once(self) -> int:
        """Deliver what is due and return how many entries were taken, repeated ones among them."""
        with self._round:
            due = self._due()
            taken = 0
            for start in range(0, len(due), BATCH_MAX):
                names = due[start : start + BATCH_MAX]
                delivered = self._send(names)
                self._books.mark_delivered(delivered)
                self._seen.difference_update(delivered)
                taken += len(delivered)
            return taken

    def drain(self, rounds_max: int = 100) -> int:
        """Deliver until nothing is left, or for so many rounds; return how many entries were taken."""
        taken = 0
        for _ in range(rounds_max):
            taken += self.run_once()
            if not self._books.undelivered() and not self._again:
                break
        return taken

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not (self._books.wait_for_events(0.05) or self._again):
                continue
            if not self.run_once():
                self._stopping.wait(self._retry_s)

    def _due(self) -> list[str]:
        """Return which events go out in this round, in which order."""
        again, self._again = self._again, []
        waiting = self._books.undelivered()
        due = [name for name in waiting if not self._hold_back(name)]
        for name in due:
            if name not in self._seen and self._random.random() < self._disorder.repeated:
                self._again.append(name)
            self._seen.add(name)
        return self._shuffled([*due, *again])

    def _hold_back(self, name: str) -> bool:
        if name in self._seen or self._held.get(name, 0) >= ROUNDS_HELD_MAX:
            return False
        if self._random.random() >= self._disorder.held_back:
            self._held.pop(name, None)
            return False
        self._held[name] = self._held.get(name, 0) + 1
        return True

    def _shuffled(self, names: list[str]) -> list[str]:
        width = self._disorder.shuffled
        if width <= 1:
            return names
        mixed: list[str] = []
        for start in range(0, len(names), width):
            window = names[start : start + width]
            self._random.shuffle(window)
            mixed += window
        return mixed

    def _send(self, names: Sequence[str]) -> list[str]:
        try:
            refused = set(self._publish([self._entry(name) for name in names]))
        except PublishError:
            return []
        return [name for at, name in enumerate(names) if at not in refused]

    def _entry(self, name: str) -> Entry:
        event = self._books.event(name)
        return {
            "Source": self._source,
            "DetailType": event["type"],
            "Detail": json.dumps(event, separators=(",", ":")),
        }


class BusPublisher:
    """Puts entries on an EventBridge bus, each entry's answer checked."""

    def __init__(self, client: "EventBridgeClient", bus: str) -> None:
        self._client = client
        self._bus = bus

    def __call__(self, entries: Sequence[Entry], /) -> Collection[int]:
        """Send up to ten entries and return the positions of those that were not taken.

        Raises:
            PublishError: the bus does not answer, or refuses the whole request.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - the provider alone needs no AWS

        wanted: Any = [{**entry, "EventBusName": self._bus} for entry in entries]
        try:
            answer: Mapping[str, Any] = self._client.put_events(Entries=wanted)
        except (BotoCoreError, ClientError) as error:
            raise PublishError(type(error).__name__) from error
        return [at for at, entry in enumerate(answer["Entries"]) if "EventId" not in entry]
