"""What strikes when: everything a storm does on its own account follows from its seed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from tests.storm.bank import KINDS

#: How often each kind strikes a request even between the gusts.
BASE: Mapping[str, float] = {
    "sqs: throttled": 0.004,
    "sqs: error 500": 0.003,
    "sqs: error 503": 0.003,
    "sqs: reset before": 0.004,
    "sqs: reset after success": 0.003,
    "sqs: silent after success": 0.0004,
    "sqs: slow": 0.003,
    "sqs: entries failed": 0.01,
    "sqs: late delete": 0.01,
    "sqs: lost delete": 0.004,
    "sqs: sent again": 0.02,
    "sqs: delivered twice": 0.03,
    "sqs: held back": 0.01,
    "sqs: shuffled": 0.1,
    "bus: throttled": 0.005,
    "bus: error 500": 0.005,
    "bus: error 503": 0.005,
    "bus: reset before": 0.005,
    "bus: reset after success": 0.005,
    "bus: silent after success": 0.0004,
    "bus: slow": 0.005,
    "bus: entries failed": 0.02,
}
#: The same within a gust of that kind.
GUST: Mapping[str, float] = {
    **{kind: min(1.0, 40 * rate) for kind, rate in BASE.items()},
    "sqs: silent after success": 0.03,
    "bus: silent after success": 0.03,
    "sqs: throttled": 0.5,
    "bus: throttled": 0.8,
}
PROVIDER_BASE: Mapping[str, float] = {
    **dict.fromkeys(KINDS, 0.005),
    "timeout": 0.002,  # it and the next hold a thread of the worker for seconds
    "late": 0.002,
    "slow": 0.01,
}
PROVIDER_GUST: Mapping[str, float] = {
    **{kind: 40 * rate for kind, rate in PROVIDER_BASE.items()},
    "timeout": 0.04,
    "late": 0.04,
}

#: Strikes: how often one is chosen, by weight, and the bounds of its measure (what it measures, see `Storm`).
STRIKES: Mapping[str, tuple[float, float, float]] = {
    "kill worker": (5, 0.2, 3.0),  # seconds until it is started again
    "kill relay": (3, 0.2, 3.0),
    "terminate worker": (3, 0, 0),
    "terminate relay": (2, 0, 0),
    "freeze worker": (3, 9.0, 13.0),  # seconds: longer than a lease
    "freeze relay": (2, 5.0, 12.0),
    "restart postgres": (1, 0.1, 2.0),  # seconds that it is away
    "terminate sessions": (4, 0.1, 0.6),  # share of our sessions
    "delay postgres": (3, 0.005, 0.04),  # seconds each way
    "stall postgres": (3, 0.5, 4.0),  # seconds
    "cut postgres": (3, 0.2, 1.0),  # share of the connections
    "cut at commit": (6, 1, 5),  # commits
    "stall sqs": (2, 0.5, 4.0),  # seconds
    "stall bus": (2, 0.5, 6.0),
    "gust": (14, 2.0, 5.0),  # seconds
    "provider gust": (6, 2.0, 5.0),
    "provider outage": (2, 1.0, 4.0),  # seconds
    "restart provider": (2, 0.1, 1.5),  # seconds that it is away
    "reverse transfers": (3, 1, 5),  # transfers
}
#: The mean time between two strikes, in seconds.
GAP_S = 4.0
#: For how long nothing strikes at first: the fleet shall be at work.
FIRST_S = 3.0


@dataclass(frozen=True, slots=True)
class Strike:
    """One thing that happens; `choice` in 0..1 picks whom it hits."""

    at_s: float
    kind: str
    measure: float
    choice: float


def planned(seed: int, seconds: float) -> list[Strike]:
    """Return what strikes within so many seconds, in order."""
    chance = random.Random(f"{seed} schedule")  # noqa: S311 - a storm's seed
    kinds, weights = list(STRIKES), [weight for weight, _, _ in STRIKES.values()]
    found = []
    at_s = FIRST_S
    while at_s < seconds:
        kind = chance.choices(kinds, weights)[0]
        _, low, high = STRIKES[kind]
        found.append(Strike(at_s, kind, chance.uniform(low, high), chance.random()))
        at_s += chance.expovariate(1 / GAP_S)
    return found
