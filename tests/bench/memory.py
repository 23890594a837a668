"""Whether a worker's memory stays as it is over very many messages."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.bench import report
from tests.bench.command import Answer, Options
from tests.bench.contestants import Ours, detail
from tests.bench.ground import Ground, Run, Setting
from tests.bench.roster import USUAL_THREADS
from tests.bench.targets import Target, Verdict
from tests.bench.throughput import await_all, payments

#: How often memory is looked at, in seconds, and how many messages the queue holds at least and at most meanwhile.
_LOOK_S, _LOW, _HIGH = 5.0, 1_000, 3_000
_KIB = 1024
_PEAK = Target("peak", "worker memory, peak", 120, 90, unit="MiB", at_least=False)
_SLOPE = Target(
    "slope", "worker memory, growth per 1,000 messages over the second half", 10, 2, unit="KiB", at_least=False
)


@dataclass(frozen=True, slots=True)
class Look:
    """What a look has found: messages handled so far, and the memory of worker and relay in MiB."""

    handled: int
    worker_mib: float
    relay_mib: float


def run(ground: Ground, options: Options) -> Answer:
    """Send the messages, and judge the worker."""
    setting = options.settings[0]
    looks, peak_mib = measured(ground, setting, options)
    slope = slope_kib(looks)
    heads = ("messages", "worker MiB", "relay MiB")
    rows = [[f"{one.handled:,}", f"{one.worker_mib:.1f}", f"{one.relay_mib:.1f}"] for one in spread(looks, 12)]
    verdicts = [Verdict(_PEAK, round(peak_mib, 1)), Verdict(_SLOPE, slope)]
    data = {"messages": options.load.messages, "looks": [asdict(one) for one in looks]}
    return Answer(report.table(heads, rows), data, verdicts)


def measured(ground: Ground, setting: Setting, options: Options) -> tuple[Sequence[Look], float]:
    """Keep the queue filled until all are handled; return what was seen, and the worker's peak in MiB."""
    ours, looks = Ours({}), list[Look]()
    with ground.run(setting, ours=True) as run:
        ours.start(run, USUAL_THREADS)
        sent, next_look = 0, time.monotonic()
        while sent < options.load.messages or run.left():
            left = run.left()
            if left < _LOW and sent < options.load.messages:
                more = min(_HIGH - left, options.load.messages - sent)
                run.send([ours.body(detail()) for _ in range(more)])
                sent += more
            if time.monotonic() > next_look:
                next_look = time.monotonic() + _LOOK_S
                looks.append(_look(run, sent - left))
                options.say(f"{looks[-1].handled:,} messages: worker {looks[-1].worker_mib:.1f} MiB")
            time.sleep(0.1)
        await_all(ours, run, sent)
        looks.append(_look(run, payments(run)))
        peak_mib = next(process.peak_mib() for process in run.processes if process.name == "worker")
    return looks, peak_mib


def _look(run: Run, handled: int) -> Look:
    held = {process.name: process.memory_mib() for process in run.processes}
    return Look(max(0, handled), round(held["worker"], 2), round(held["relay"], 2))


def slope_kib(looks: Sequence[Look]) -> float | None:
    """Return how many KiB the worker has grown for each 1,000 messages over the second half; None for too few looks."""
    half = [one for one in looks if one.handled >= looks[-1].handled / 2]
    handled = [one.handled / 1_000 for one in half]
    if len(set(handled)) <= 1:
        return None
    line = statistics.linear_regression(handled, [one.worker_mib * _KIB for one in half])
    return round(line.slope, 2)


def spread(looks: Sequence[Look], count: int) -> Sequence[Look]:
    """Return at most so many of the looks, evenly, the last one among them."""
    every = max(1, -(-len(looks) // count))
    return looks[::-1][::every][::-1]
