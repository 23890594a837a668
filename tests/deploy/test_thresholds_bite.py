"""Every threshold is held from both sides: halved or doubled, the rule tests of its alert notice."""

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.observability import alerting, thresholds
from deploy.observability.thresholds import Thresholds
from tests.deploy.test_alerts import OBSERVABILITY, RULE_TESTS, promtool
from tests.house.tree import ROOT

pytestmark = pytest.mark.long

#: A finer or coarser look at the same half hour: nothing that a test could or should tell apart.
UNSEEN = {("ApprovalBacklogGrowing", "step")}
#: What cannot be halved or doubled: the scores above and below are the neighbouring edges of the histogram.
NEIGHBOURS: dict[tuple[str, str], list[Any]] = {("FraudScoreRateHigh", "score"): [0.7, 0.9]}
#: Instead of twice nothing.
SOME_TIME, MANY = "1h", 1_000_000


def values() -> dict[str, Any]:
    return tomllib.loads(thresholds.PATH.read_text(encoding="utf-8"))


def others(alert: str, key: str, value: Any) -> list[Any]:
    if (alert, key) in NEIGHBOURS:
        return NEIGHBOURS[alert, key]
    if key == "severity":
        return [{"page": "ticket", "ticket": "page", "none": "page"}[value]]
    if isinstance(value, str):
        seconds = thresholds.seconds(value)
        return [f"{round(seconds * factor)}s" for factor in (0.5, 2)] if seconds else [SOME_TIME]
    return [value / 2, value * 2] if value else [MANY]


def changes() -> Iterator[Any]:
    for alert, keys in values()["alerts"].items():
        for key, value in keys.items():
            if (alert, key) not in UNSEEN:
                yield from (
                    pytest.param(alert, key, other, id=f"{alert}-{key}-{other}") for other in others(alert, key, value)
                )


def judged(folder: Path, alert: str, changed: dict[str, Any]) -> bool:
    """Whether the tests of an alert pass by rules that are made from changed thresholds."""
    for path, text in alerting.generate(Thresholds(changed)).items():
        target = folder / OBSERVABILITY.relative_to(ROOT) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    tests = folder / RULE_TESTS.relative_to(ROOT)
    tests.mkdir(parents=True)
    shutil.copy(RULE_TESTS / f"{alert}.yml", tests)
    return promtool("test", "rules", tests / f"{alert}.yml").returncode == 0


@pytest.mark.parametrize(("alert", "key", "other"), list(changes()))
def test_another_threshold_is_noticed(tmp_path, alert, key, other):
    changed = values()
    changed["alerts"][alert][key] = other
    assert not judged(tmp_path, alert, changed)


def test_the_thresholds_as_they_are_are_what_the_tests_expect(tmp_path):
    assert judged(tmp_path, "DeadLetters", values())


@pytest.mark.parametrize("factor", [0.5, 2])
@pytest.mark.parametrize(
    ("burn", "alert"),
    [
        *(("fast", f"{slo}FastBurn") for slo in ("SLO", "CommandSLO", "ReadSLO")),
        *(("slow", f"{slo}SlowBurn") for slo in ("SLO", "CommandSLO", "ReadSLO")),
        ("daily", "SLOBudgetDrain"),
        ("creeping", "SLOBudgetDrain"),
    ],
)
def test_another_burn_rate_is_noticed(tmp_path, burn, alert, factor):
    changed = values()
    changed["burn"][burn]["rate"] *= factor
    assert not judged(tmp_path, alert, changed)
