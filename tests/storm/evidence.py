"""Gathers, after a storm, what the outside world has: the bus, the queues of others, the provider's books."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kit import books, bus
from tests.kit.books import Event, Transfer
from tests.storm.driver import INBOUND
from tests.storm.servers import Ground

#: What the service's own events are called.
SOURCE = "roadcall.payment"
_BATCH = 10
#: Longer than it takes to read a queue: no message is received twice.
_HIDDEN_S = 600


@dataclass(slots=True)
class Gathered:
    """What was found outside of the database.

    Attributes:
        published: what the bus has taken, in order: `order`, `id`, `bus`, `source`, `detail_type`, `detail`.
        approvals: the messages of the approval queue: `message_id`, `body`.
        dead_letters: `queue`, `message_id`, `body`, `attributes` by name, `receive_count`.
        left: how many messages each queue of the fleet still holds.
        transfers: what the provider has moved.
        events: what the provider has told.
    """

    published: Iterator[dict[str, Any]]
    approvals: list[dict[str, Any]]
    dead_letters: list[dict[str, Any]]
    left: dict[str, int]
    transfers: list[Transfer]
    events: list[Event]


def gathered(ground: Ground, settled_accounts: Sequence[str] = ()) -> Gathered:
    """Read it all; the messages stay where they are, hidden for a while."""
    client = ground.sqs()
    return Gathered(
        published=announced(ground.record),
        approvals=list(_read(ground, client, "approvals")),
        dead_letters=[{"queue": name, **letter} for name in INBOUND for letter in _read(ground, client, f"{name}_dlq")],
        left={name: sum(ground.depth(client, name).values()) for name in INBOUND},
        transfers=books.transfers(ground.bank.url),
        events=books.events(ground.bank.url, *settled_accounts),
    )


def announced(record: Path) -> Iterator[dict[str, Any]]:
    """Read what the service has announced: the provider tells its own on the same bus."""
    return (entry for entry in bus.recorded(record) if entry["source"] == SOURCE)


def _read(ground: Ground, client: Any, name: str) -> Iterator[dict[str, Any]]:
    while True:
        answer = client.receive_message(
            QueueUrl=ground.running.queues[name],
            MaxNumberOfMessages=_BATCH,
            VisibilityTimeout=_HIDDEN_S,
            WaitTimeSeconds=0,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        if not messages:
            return
        for message in messages:
            yield {
                "message_id": message["MessageId"],
                "body": message["Body"],
                "attributes": {
                    key: value.get("StringValue") for key, value in message.get("MessageAttributes", {}).items()
                },
                "receive_count": int(message["Attributes"]["ApproximateReceiveCount"]),
            }
