"""What must be reached, what is aimed for, and whether it was."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from operator import ge, le
from typing import Any

from tests.bench.figures import Contest, Figures, Reading
from tests.bench.ground import Setting


@dataclass(frozen=True, slots=True)
class Target:
    """One figure that matters.

    Attributes:
        name: in the results.
        text: for people.
        must: what has to be reached.
        aim: what one would like to reach.
        unit: of the figures; `x` is a ratio.
        at_least: whether more is better.
        counted: whether it is the same on every machine, however busy; a short run is judged by these alone.
    """

    name: str
    text: str
    must: float
    aim: float
    unit: str = "x"
    at_least: bool = True
    counted: bool = False

    def reaches(self, measured: float, wanted: float) -> bool:
        """Return whether a figure is as good as one that is wanted."""
        return (ge if self.at_least else le)(measured, wanted)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a target; nothing is said where it was not measured."""

    target: Target
    measured: float | None

    @property
    def met(self) -> bool | None:
        """Whether it reaches what must be."""
        return None if self.measured is None else self.target.reaches(self.measured, self.target.must)

    @property
    def word(self) -> str:
        """The verdict in a word."""
        if self.measured is None:
            return "not measured"
        if not self.met:
            return "MISSED"
        return "aim reached" if self.target.reaches(self.measured, self.target.aim) else "met"

    def as_json(self) -> dict[str, Any]:
        """Return it as it is written down."""
        return {**asdict(self.target), "measured": self.measured, "verdict": self.word}


def all_met(verdicts: Iterable[Verdict], *, counted_only: bool = False) -> bool:
    """Return whether everything that was measured, and decides, is as it must be."""
    return all(one.met is not False for one in verdicts if one.target.counted or not counted_only)


def _speed(read: Figures) -> float:
    return read.per_second


def _cpu(read: Figures) -> float:
    return read.cpu_total_ms


def _ratio(name: str, rival: str, setting: Setting, must: float, aim: float) -> tuple[Target, Reading, str, Setting]:
    target = Target(f"{setting}_vs_{rival}", f"messages/s, {setting}: ours / {name}", must, aim)
    return target, _speed, rival, setting


def _less_cpu(setting: Setting) -> tuple[Target, Reading, str, Setting]:
    text = f"CPU per WorkCompleted, {setting}: ours / dramatiq-sqs"
    return Target(f"{setting}_cpu", text, 0.5, 0.35, at_least=False), _cpu, "dramatiq_sqs", setting


#: Each with the figure that it is a ratio of, whose figure ours is divided by, and the setting.
_RATIOS: Sequence[tuple[Target, Reading, str, Setting]] = (
    _ratio("dramatiq-sqs", "dramatiq_sqs", Setting.BARE, 2.5, 4.0),
    _ratio("Celery", "celery_sqs", Setting.BARE, 7.0, 10.0),
    _ratio("hand-written loop", "loop", Setting.BARE, 0.8, 1.2),
    _ratio("dramatiq-sqs", "dramatiq_sqs", Setting.DEPLOYED, 3.0, 5.0),
    _ratio("hand-written loop", "loop", Setting.DEPLOYED, 1.0, 1.5),
    *(_less_cpu(setting) for setting in Setting),
    (
        Target("ceiling", "messages/s, bare: ours / the same statements by pgbench", 0.15, 0.20),
        _speed,
        "ceiling",
        Setting.BARE,
    ),
)


def of_contest(contest: Contest) -> list[Verdict]:
    """Return what a contest says about each target."""
    verdicts = [
        Verdict(target, contest.ratio(read, "ours", rival, setting)) for target, read, rival, setting in _RATIOS
    ]
    for setting in Setting:
        ours = contest.median("ours", setting)
        text = f"AWS requests per payment created, {setting}, everything included"
        target = Target(f"{setting}_requests", text, 0.5, 0.45, unit="", at_least=False, counted=True)
        verdicts.append(Verdict(target, ours.requests_total if ours else None))
    return [*verdicts, counts(contest)]


def counts(contest: Contest) -> Verdict:
    """Return whether, in every run, each message was committed once and each event came to the sink."""
    agreed = [found.counts.agree for found in contest.all()]
    text = "share of runs in which each message made its payment, and each event came to the sink"
    target = Target("counts", text, 1.0, 1.0, unit="", counted=True)
    return Verdict(target, sum(agreed) / len(agreed) if agreed else None)
