"""The SQS of most tests: the model of SQS on the clock of the wall, with our queues there and faults by hand."""

import json
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError

from tests.kit.sqs_faults import Faults
from tests.kit.sqs_model import SqsModel, Stock, Stored
from tests.kit.sqs_rules import URL, error

__all__ = ["URL", "MemorySqs", "Stored", "throttled", "unreachable", "until"]


def throttled(operation: str = "Any") -> ClientError:
    """The error of a service that has too much to do."""
    return error("ThrottlingException", operation)


def unreachable() -> EndpointConnectionError:
    """The error of a service that is not there."""
    return EndpointConnectionError(endpoint_url=URL)


class MemorySqs(SqsModel):
    """The client; a queue is there as soon as it is named, with the redrive policy of the deployment.

    Attributes:
        calls: (operation, arguments) in order.
        faults: errors to raise before anything is done, by operation.
        refused: receipt handles whose batch entries fail.
        late: how many entries of batch deletes the service fails to do, by its own fault.
        redrive: whether queues have a redrive policy.
    """

    def __init__(self, *, late: int = 0, redrive: bool = True, plan: Faults | None = None) -> None:
        super().__init__(faults=plan)
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.faults: dict[str, deque[Exception]] = defaultdict(deque)
        self.refused: set[str] = set()
        self.late = late
        self.redrive = redrive

    # -- for tests

    def put(self, queue: str, body: str, attributes: dict[str, Any] | None = None) -> str:
        """Place a message; return its id."""
        with self._changed:
            return self._store(self._at(URL + queue), body, attributes or {}).message_id

    def held(self, queue: str) -> list[Stored]:
        """Every message of a queue, visible or not."""
        with self._changed:
            self._let_happen()
            return list(self._at(URL + queue).messages.values())

    def visible_in(self, queue: str) -> list[float]:
        """For how many seconds each message of a queue is still invisible."""
        return [stored.visible_at - self.clock.now() for stored in self.held(queue)]

    def named(self, operation: str) -> list[Mapping[str, Any]]:
        """The arguments of every call of an operation."""
        with self._changed:
            return [arguments for name, arguments in self.calls if name == operation]

    def entries(self, operation: str) -> list[dict[str, Any]]:
        """The entries of every batch call of an operation."""
        return [entry for arguments in self.named(operation) for entry in arguments["Entries"]]

    # -- what is different from the model

    def failing(self, operation: str, entry: Mapping[str, Any]) -> str | None:
        """Return the code with which one entry of a batch fails."""
        if entry.get("ReceiptHandle") in self.refused:
            return "ReceiptHandleIsInvalid"
        if self.late and operation == "delete_message_batch":
            self.late -= 1
            return "InternalError"
        return None

    def _asked(self, operation: str, arguments: Mapping[str, Any], do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        with self._changed:  # in one hold with what is asked: who sees the call sees it done
            self.calls.append((operation, arguments))
            if self.faults[operation]:
                raise self.faults[operation].popleft()
            return super()._asked(operation, arguments, do)

    def _at(self, url: str) -> Stock:
        name = url.removeprefix(URL)
        with self._changed:
            queue = self._queues.setdefault(name, Stock.new(name, self.clock.now(), {}))
            if self.redrive and not name.endswith("-dlq"):
                policy = {"deadLetterTargetArn": f"arn:aws:sqs:eu:0:{name}-dlq", "maxReceiveCount": "10"}
                queue.attributes["RedrivePolicy"] = json.dumps(policy)
            elif not self.redrive:
                queue.attributes.pop("RedrivePolicy", None)
            return queue


def until(
    found: Callable[[], object], *, within_s: float = 15.0, what: str = "the condition", every_s: float = 0.005
) -> None:
    """Wait for a condition, looking every so many seconds.

    Raises:
        AssertionError: it did not come true in time.
    """
    deadline = time.monotonic() + within_s
    while not found():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(every_s)
