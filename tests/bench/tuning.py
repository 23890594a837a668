"""With how many threads each contestant is fastest, in each setting: `--tune`. The outcome belongs into `roster`."""

from collections.abc import Mapping
from typing import Any

from tests.bench import report
from tests.bench.command import Answer, Options
from tests.bench.ground import Ground, Setting
from tests.bench.roster import ALL, Fleet
from tests.bench.throughput import Load

#: What is tried.
THREADS = (2, 4, 8, 16, 32)
LOAD = Load(messages=2_000, paced_s=0)


def run(ground: Ground, options: Options) -> Answer:
    """Try each number of threads once."""
    found: dict[tuple[str, Setting], dict[int, float]] = {}
    for setting in options.settings:
        for fleet in (one for one in ALL if isinstance(one, Fleet) and options.chosen(one.name)):
            tried = found[fleet.name, setting] = {}
            for threads in THREADS:
                tried[threads] = fleet.measure(ground, setting, options.load, threads).per_second
                options.say(f"{setting}, {fleet.name}, {threads} threads: {tried[threads]:,.0f} messages/s")
    heads = ("messages/s by threads", "setting", *map(str, THREADS), "best")
    rows = [[name, setting, *_cells(tried), str(best(tried))] for (name, setting), tried in found.items()]
    return Answer(report.table(heads, rows), _as_json(found))


def best(tried: Mapping[int, float]) -> int:
    """Return the number of threads that is fastest; the smaller one of two that are equally so."""
    return max(sorted(tried), key=lambda threads: tried[threads])


def _cells(tried: Mapping[int, float]) -> list[str]:
    return [f"{tried[threads]:,.0f}" for threads in THREADS]


def _as_json(found: Mapping[tuple[str, Setting], Mapping[int, float]]) -> dict[str, Any]:
    return {f"{name}, {setting}": dict(tried) for (name, setting), tried in found.items()}
