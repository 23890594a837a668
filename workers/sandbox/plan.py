"""What goes wrong, and when: a plan of faults that the same seed repeats."""

import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """A way in which a request goes wrong."""

    RATE_LIMITED = "rate_limited"  # 429; not executed, not remembered
    LOCK_TIMEOUT = "lock_timeout"  # 429; the same
    IN_USE = "in_use"  # 409; the same
    UNAVAILABLE = "unavailable"  # 503; the same
    LOST_BEFORE = "lost_before"  # the connection breaks; the same
    LOST_AFTER = "lost_after"  # executed, then the connection breaks
    CUT_OFF = "cut_off"  # executed, and the answer ends in its middle
    GARBLED = "garbled"  # executed, and the answer is no JSON, or a proxy's page
    SLOW = "slow"  # executed and answered, after a while
    TIMEOUT = "timeout"  # executed at once, answered when nobody waits any more
    LATE = "late"  # executed and answered when nobody waits any more
    ERROR_BEFORE = "error_before"  # 500, remembered under the key; not executed
    ERROR_AFTER = "error_after"  # executed, but 500 is remembered under the key
    INSUFFICIENT = "insufficient"  # 400, remembered under the key: a poisoned key; not executed


#: What makes sense only where something is made.
POST_ONLY = frozenset({Fault.LOCK_TIMEOUT, Fault.IN_USE, Fault.LATE, Fault.ERROR_AFTER, Fault.INSUFFICIENT})
#: What comes before anything else is looked at.
EARLY = frozenset({Fault.RATE_LIMITED, Fault.LOCK_TIMEOUT, Fault.IN_USE, Fault.UNAVAILABLE, Fault.LOST_BEFORE})


class Outage(StrEnum):
    """How the provider is away."""

    OFF = "off"
    RESET = "reset"
    UNAVAILABLE = "503"


@dataclass(slots=True)
class Switches:
    """What is wrong with every request for as long as it is switched on."""

    outage: Outage = Outage.OFF
    unauthorized: bool = False


@dataclass(frozen=True, slots=True)
class Strike:
    """What the plan has for one request: a fault or none, and a number between 0 and 1 for its details."""

    fault: Fault | None = None
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class _Forced:
    fault: Fault
    method: str | None


class Plan:
    """Decides for one request after the other; the same seed and order of requests give the same faults.

    Args:
        seed: what the decisions come from.
        rates: the share of requests that each fault strikes; together at most 1.
        slow_s: between which durations `slow` answers.
        timeout_s: after how long `timeout` and `late` answer: longer than the client waits.

    Raises:
        ValueError: a rate is no share, or they are more than everything.
    """

    def __init__(
        self,
        seed: int = 0,
        rates: Mapping[Fault, float] | None = None,
        slow_s: tuple[float, float] = (0.2, 1.0),
        timeout_s: float = 30.0,
    ) -> None:
        self._lock = threading.Lock()
        self._forced: list[_Forced] = []
        self._counts: Counter[Fault] = Counter()
        self.set(seed, rates, slow_s, timeout_s)

    def set(
        self,
        seed: int = 0,
        rates: Mapping[Fault, float] | None = None,
        slow_s: tuple[float, float] = (0.2, 1.0),
        timeout_s: float = 30.0,
    ) -> None:
        """Start another plan; what is counted stays counted, what was forced is forgotten.

        Raises:
            ValueError: a rate is no share, or they are more than everything.
        """
        chosen = {Fault(fault): float(rate) for fault, rate in (rates or {}).items()}
        if any(not 0 <= rate <= 1 for rate in chosen.values()) or sum(chosen.values()) > 1 + 1e-9:
            raise ValueError("the rates of faults are shares of the requests: each from 0 to 1, and so is their sum")
        if not 0 <= slow_s[0] <= slow_s[1] or timeout_s < 0:
            raise ValueError("durations are not negative, and the shorter comes first")
        with self._lock:
            self.seed = seed
            # In the order of the enumeration, so that a plan does not depend on how its rates were written down.
            self.rates = {fault: chosen[fault] for fault in Fault if chosen.get(fault)}
            self.slow_s = (float(slow_s[0]), float(slow_s[1]))
            self.timeout_s = float(timeout_s)
            self._random = random.Random(seed)  # noqa: S311 - decides what breaks, guards nothing
            self._forced.clear()

    def force(self, fault: Fault, *, times: int = 1, method: str | None = "POST") -> None:
        """Let a fault strike the next requests of a method (None: of any) that it makes sense for."""
        with self._lock:
            self._forced.extend([_Forced(Fault(fault), method)] * times)

    def draw(self, method: str) -> Strike:
        """Return what the plan has for the next request."""
        with self._lock:
            # Two numbers for every request, struck or not: what comes later does not depend on what came before.
            roll, share = self._random.random(), self._random.random()
            for forced in self._forced:
                if forced.method in {None, method} and _fits(forced.fault, method):
                    self._forced.remove(forced)
                    return Strike(forced.fault, share)
            return Strike(self._rolled(roll, method), share)

    def struck(self, fault: Fault) -> None:
        """Count a fault that took effect: a drawn one may find nothing to spoil."""
        with self._lock:
            self._counts[fault] += 1

    @property
    def counts(self) -> dict[Fault, int]:
        """How often each fault took effect."""
        with self._lock:
            return dict(self._counts)

    def told(self) -> dict[str, Any]:
        """Return the plan as JSON has it."""
        return {
            "seed": self.seed,
            "rates": dict(self.rates),
            "slow_s": list(self.slow_s),
            "timeout_s": self.timeout_s,
            "struck": self.counts,
        }

    def _rolled(self, roll: float, method: str) -> Fault | None:
        for fault, rate in self.rates.items():
            if roll < rate:
                return fault if _fits(fault, method) else None
            roll -= rate
        return None


def _fits(fault: Fault, method: str) -> bool:
    return method == "POST" or fault not in POST_ONLY
