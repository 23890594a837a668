"""Composes and posts messages as a producer or a back office would: for the CLI and the demo."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from contracts.payment import ActorType
from workers import clock
from workers.quotas import BATCH_MAX

if TYPE_CHECKING:
    from mypy_boto3_events.client import EventBridgeClient
    from mypy_boto3_sqs.client import SQSClient

#: The source that finished work is announced under.
WORK_SOURCE = "roadcall.incident"


class NotTakenError(Exception):
    """The bus did not take an event; the text is its error code."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who a command is from: a person with a token, or without one the IAM role that sends it."""

    id: UUID
    token: str | None = field(default=None, repr=False)

    def wire(self) -> dict[str, Any]:
        """Return what a command says of its sender, and how it proves that."""
        kind = ActorType.SYSTEM if self.token is None else ActorType.USER
        proof = {} if self.token is None else {"actorToken": self.token}
        return {"actor": {"id": str(self.id), "type": kind}, **proof}


def work_completed(
    *, incident_id: UUID, vendor_id: UUID, priced: Mapping[str, Any], more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the detail of a WorkCompleted event; `priced` holds `lineItems` or `pricing`."""
    at = clock.now().isoformat().replace("+00:00", "Z")
    return {
        "eventId": str(uuid4()),
        "timestamp": at,
        "version": "1.0",
        "incidentId": str(incident_id),
        "vendorId": str(vendor_id),
        "completedAt": at,
        **priced,
        **(more or {}),
    }


def command(kind: str, sender: Sender, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a command under a fresh command id; fields without a value are left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    return {
        "type": kind,
        "commandId": str(uuid4()),
        "schemaVersion": "1.0",
        "issuedAt": clock.now().isoformat(),
        **sender.wire(),
        **given,
    }


def put_work(client: "EventBridgeClient", bus: str, details: Sequence[Mapping[str, Any]]) -> None:
    """Put WorkCompleted events on the bus, every entry's answer checked.

    Raises:
        NotTakenError: the bus refused one.
    """
    for first in range(0, len(details), BATCH_MAX):
        entries: Any = [
            {"EventBusName": bus, "Source": WORK_SOURCE, "DetailType": "WorkCompleted", "Detail": json.dumps(detail)}
            for detail in details[first : first + BATCH_MAX]
        ]
        for answer in client.put_events(Entries=entries)["Entries"]:
            if "EventId" not in answer:
                raise NotTakenError(answer.get("ErrorCode", "unknown"))


def post(client: "SQSClient", url: str, message: Mapping[str, Any]) -> None:
    """Post one command to a queue."""
    client.send_message(QueueUrl=url, MessageBody=json.dumps(message))
