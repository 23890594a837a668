"""How long one message takes through an idle fleet: send, commit, event at the sink.

Each is sent after the last one's event has come and a random pause, in which workers and relay fall back to waiting.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench import report
from tests.bench.command import Answer, Options
from tests.bench.contestants import Ours, committed, detail
from tests.bench.figures import percentiles
from tests.bench.ground import Ground, Run, Setting
from tests.bench.roster import USUAL_THREADS
from tests.bench.targets import Target, Verdict
from tests.bench.throughput import await_all
from tests.kit import sqs

#: Between an event and the next message, in seconds.
_PAUSE_S = (0.05, 0.3)
_WITHIN_S = 30.0
_TARGETS = (
    Target("commit_p50", "send to commit, idle, bare: p50", 15, 8, unit="ms", at_least=False),
    Target("commit_p99", "send to commit, idle, bare: p99", 50, 25, unit="ms", at_least=False),
    Target("event_p50", "send to event at the sink, idle, bare: p50", 50, 30, unit="ms", at_least=False),
    Target("event_p99", "send to event at the sink, idle, bare: p99", 150, 60, unit="ms", at_least=False),
)


@dataclass(frozen=True, slots=True)
class Times:
    """When one message was sent, committed, and told to the world; in seconds since 1970."""

    sent: float
    committed: float
    told: float


def run(ground: Ground, options: Options) -> Answer:
    """Measure it in each setting."""
    found = {setting: measured(ground, setting, options) for setting in options.settings}
    figures = {setting: _figures(times) for setting, times in found.items()}
    bare = figures.get(Setting.BARE, {})
    verdicts = [Verdict(target, bare.get(target.name)) for target in _TARGETS]
    data = {setting: {**figures[setting], "messages": len(times)} for setting, times in found.items()}
    return Answer(_text(figures), {"settings": data}, verdicts)


def measured(ground: Ground, setting: Setting, options: Options) -> Sequence[Times]:
    """Send one message after the other through a fleet that has warmed up."""
    ours, chance = Ours({}), random.Random(options.load.messages)  # noqa: S311 - pauses
    with ground.run(setting, ours=True) as run:
        ours.start(run, USUAL_THREADS)
        run.send([ours.body(detail()) for _ in range(options.load.warm_up)])
        await_all(ours, run, options.load.warm_up)
        sent: dict[str, float] = {}
        for number in range(options.load.messages):
            time.sleep(chance.uniform(*_PAUSE_S))
            job = detail()
            sent[job["incidentId"]] = time.time()
            run.send([ours.body(job)])
            _await_event(run, options.load.warm_up + number + 1)
        at, told = committed(run), _told(run)
    options.say(f"{setting}: {len(sent)} messages, one at a time")
    return [Times(sent_at, at[incident], told[incident]) for incident, sent_at in sent.items()]


def _await_event(run: Run, count: int) -> None:
    """Wait until the bus has taken so many entries of this run; it says itself when."""

    def came() -> bool:
        with run.ground.record.open("rb") as record:
            record.seek(run.recorded)
            return record.read().count(b"\n") >= count

    sqs.until(came, what=f"event {count}", within_s=_WITHIN_S, every_s=0.01)


def _told(run: Run) -> Mapping[str, float]:
    """Return when the bus took the event of each incident."""
    return {entry["detail"]["incidentId"]: entry["at"] for entry in run.published()}


def _figures(times: Sequence[Times]) -> dict[str, float]:
    commits = percentiles([(one.committed - one.sent) * 1000 for one in times])
    events = percentiles([(one.told - one.sent) * 1000 for one in times])
    names = ("commit_p50", "commit_p99", "event_p50", "event_p99")
    return {name: round(value, 1) for name, value in zip(names, (*commits, *events), strict=True)}


def _text(figures: Mapping[Setting, Mapping[str, Any]]) -> str:
    heads = ("ms after the sending", "commit p50", "p99", "event at the sink p50", "p99")
    rows = [[setting, *(f"{value:,.1f}" for value in found.values())] for setting, found in figures.items()]
    return report.table(heads, rows)
