"""What the model of SQS may do to a request: a seeded plan of every fault that a client must be able to live with."""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from tests.kit.sqs_rules import URL, action, error

#: What happens to a whole request before anything of it is done, and after all of it is done.
BEFORE = ("throttled", "error_500", "error_503", "unreachable", "reset_before")
AFTER = ("reset_after", "timeout_after")
#: One entry of a batch fails by the service's fault, and is not done.
ENTRIES_FAILED = "entries_failed"
#: A delete is told as done and happens later, or not at all: a server that holds a copy was away (DeleteMessage).
LATE_DELETE, UNDELETED = "late_delete", "undeleted"
#: A message is there once more while somebody holds it; messages come in another order (standard queues).
DUPLICATE, SHUFFLED = "duplicate", "shuffled"
KINDS = (*BEFORE, *AFTER, ENTRIES_FAILED, LATE_DELETE, UNDELETED, DUPLICATE, SHUFFLED)
#: How late a late delete is at most, in seconds.
LATE_MAX_S = 1.0


@dataclass(slots=True)
class Faults:
    """A seeded plan: the same seed and the same requests in the same order meet the same faults.

    Attributes:
        seed: of every choice.
        rates: the chance of a kind, 0 to 1; that of a kind at one operation ("throttled send_message") goes before it.
        struck: how often each kind has struck.
        chance: where every choice comes from.
    """

    seed: int = 0
    rates: Mapping[str, float] = field(default_factory=dict)
    struck: Counter[str] = field(default_factory=Counter)
    chance: random.Random = field(init=False)
    _next: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        kinds = {key.split(" ")[0] for key in self.rates}
        assert kinds <= set(KINDS), kinds - set(KINDS)
        self.chance = random.Random(self.seed)  # noqa: S311 - a plan that can be repeated

    def once(self, kind: str, operation: str = "") -> None:
        """Let a kind strike at its next opportunity, or at the next one in an operation."""
        assert kind in KINDS, kind
        self._next.append((kind, operation))

    def strikes(self, operation: str, *kinds: str) -> str | None:
        """Return which of some kinds strikes at an operation now, if any."""
        for kind in kinds:
            if self._told(kind, operation) or self.chance.random() < self._rate(kind, operation):
                self.struck[kind] += 1
                return kind
        return None

    def _rate(self, kind: str, operation: str) -> float:
        return self.rates.get(f"{kind} {operation}", self.rates.get(kind, 0.0))

    def _told(self, kind: str, operation: str) -> bool:
        for told in ((kind, operation), (kind, "")):
            if told in self._next:
                self._next.remove(told)
                return True
        return False


def trouble(kind: str, operation: str) -> Exception:
    """Return what boto3 raises for a fault of a whole request."""
    match kind:
        case "throttled":
            return error("ThrottlingException", action(operation))
        case "error_500":
            return error("InternalFailure", action(operation), 500)
        case "error_503":
            return error("ServiceUnavailable", action(operation), 503)
        case "unreachable":
            return EndpointConnectionError(endpoint_url=URL)
        case "timeout_after":
            return ReadTimeoutError(endpoint_url=URL)
        case _:
            return ConnectionClosedError(endpoint_url=URL)
