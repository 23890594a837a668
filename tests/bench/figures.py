"""What is measured of a run, and what is made of several: medians, and ratios within a round.

A machine is faster at one time than at another. What was measured one after the other within a round has met the same
conditions, more or less, so ratios are taken there first, and their median afterwards.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tests.bench.ground import Setting


@dataclass(frozen=True, slots=True)
class Counts:
    """What must be equal whatever the machine: messages sent and payments made, events owed and events that came."""

    sent: int = 0
    payments: int = 0
    owed: int = 0
    came: int = 0

    @property
    def agree(self) -> bool:
        """Whether each message has made its payment, and each event has arrived."""
        return (self.sent, self.owed) == (self.payments, self.came)


@dataclass(slots=True)
class Figures:
    """What was measured of one run; CPU in milliseconds per message, latency in milliseconds, memory in MiB."""

    contestant: str
    setting: Setting
    threads: int
    messages: int
    per_second: float
    cpu_ms: dict[str, float] = field(default_factory=dict)
    requests: dict[str, float] = field(default_factory=dict)
    servers_cpu_ms: dict[str, float] = field(default_factory=dict)
    peak_mib: dict[str, float] = field(default_factory=dict)
    paced_per_second: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    counts: Counts = Counts()

    @property
    def cpu_total_ms(self) -> float:
        """Of all its processes."""
        return sum(self.cpu_ms.values())

    @property
    def requests_total(self) -> float:
        """Requests to AWS for each message."""
        return sum(self.requests.values())

    @property
    def peak_total_mib(self) -> float:
        """Of all its processes."""
        return sum(self.peak_mib.values())

    def as_json(self) -> dict[str, Any]:
        """Return it with its sums, as it is written down."""
        sums = {"cpu_total_ms": self.cpu_total_ms, "requests_total": self.requests_total}
        return {**asdict(self), **{name: round(value, 4) for name, value in sums.items()}}


#: Reads one figure.
Reading = Callable[[Figures], float]


@dataclass(frozen=True, slots=True)
class Contest:
    """All that was measured: for each round, the figures of each contestant in each setting."""

    rounds: Sequence[Sequence[Figures]]

    def names(self) -> list[str]:
        """Who took part, in the order of the first round."""
        return list(dict.fromkeys(found.contestant for found in self.all()))

    def all(self) -> Iterable[Figures]:
        """Every run."""
        return (found for round_ in self.rounds for found in round_)

    def of(self, name: str, setting: Setting) -> list[Figures]:
        """The runs of one contestant in one setting, in order."""
        return [found for found in self.all() if (found.contestant, found.setting) == (name, setting)]

    def median(self, name: str, setting: Setting) -> Figures | None:
        """The median of each figure; nothing where it was not measured."""
        found = self.of(name, setting)
        return median(found) if found else None

    def ratio(self, read: Reading, over: str, under: str, setting: Setting) -> float | None:
        """The median of the ratios of one contestant's figure to another's, each within a round."""
        ratios = []
        for round_ in self.rounds:
            by_name = {found.contestant: read(found) for found in round_ if found.setting == setting}
            if by_name.get(under) and over in by_name:
                ratios.append(by_name[over] / by_name[under])
        return statistics.median(ratios) if ratios else None


def median(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure of several runs of the same; counts are sums."""
    medians: dict[str, Any] = {}
    for one in fields(Figures):
        values = [getattr(run, one.name) for run in runs]
        medians[one.name] = _median(values)
    return Figures(**medians)


def _median(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, Counts):
        return Counts(*(sum(getattr(value, one.name) for value in values) for one in fields(Counts)))
    if isinstance(first, Mapping):
        keys = dict.fromkeys(key for value in values for key in value)
        return {key: _middle([value.get(key, 0.0) for value in values]) for key in keys}
    return first if isinstance(first, str) else type(first)(_middle(values))


def _middle(values: Sequence[float]) -> float:
    return round(statistics.median(values), 4)


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the 50th and the 99th percentile; one value is both."""
    if len(values) == 1:
        return values[0], values[0]
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]
