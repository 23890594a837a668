"""With how many threads each contestant is fastest, in each setting: `--tune`. The outcome belongs into `roster`."""

from collections.abc import Mapping
from itertools import product
from statistics import median
from typing import Any

from tests.bench import report
from tests.bench.command import Answer, Options
from tests.bench.ground import Ground, Setting
from tests.bench.roster import ALL, Fleet
from tests.bench.throughput import Load

#: What is tried.
THREADS = (4, 8, 16, 32, 64)
ROUNDS = 3
LOAD = Load(messages=2_000, paced_s=0)


def run(ground: Ground, options: Options) -> Answer:
    """Try each number of threads once in every round; medians count, since a machine has slower minutes."""
    fleets = [one for one in ALL if isinstance(one, Fleet) and options.chosen(one.name)]
    found = {
        (fleet.name, setting): {threads: list[float]() for threads in THREADS}
        for setting in options.settings
        for fleet in fleets
    }
    for number in range(options.rounds):
        for setting, fleet, threads in product(options.settings, fleets, THREADS):
            speed = fleet.measure(ground, setting, options.load, threads).per_second
            found[fleet.name, setting][threads].append(speed)
            what = f"round {number + 1} of {options.rounds}, {setting}: {fleet.name}, {threads} threads"
            options.say(f"{what}: {speed:,.0f} messages/s")
    medians = {key: {threads: median(speeds) for threads, speeds in runs.items()} for key, runs in found.items()}
    heads = ("messages/s by threads", "setting", *map(str, THREADS), "best")
    rows = [[name, setting, *_cells(tried), str(best(tried))] for (name, setting), tried in medians.items()]
    return Answer(report.table(heads, rows), _as_json(medians))


def best(tried: Mapping[int, float]) -> int:
    """Return the number of threads that is fastest; the smaller one of two that are equally so."""
    return max(sorted(tried), key=lambda threads: tried[threads])


def _cells(tried: Mapping[int, float]) -> list[str]:
    return [f"{tried[threads]:,.0f}" for threads in THREADS]


def _as_json(found: Mapping[tuple[str, Setting], Mapping[int, float]]) -> dict[str, Any]:
    return {f"{name}, {setting}": dict(tried) for (name, setting), tried in found.items()}
