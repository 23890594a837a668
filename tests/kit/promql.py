"""Which metrics, matchers and labels a PromQL expression uses, and which of them the catalogue does not know.

This reads names; whether an expression is PromQL at all says `promtool`, in `syntax`.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from prometheus_client.utils import floatToGoString

from workers.catalogue import CATALOGUE, Kind, Metric

#: What Prometheus itself says of its targets and of its alerts.
OF_PROMETHEUS = frozenset({"up", "ALERTS"})
#: Labels that no metric of ours declares: those of a target, and those of an alert.
OF_TARGETS = frozenset({"job", "instance"})
OF_ALERTS = frozenset({"alertname", "alertstate", "severity"})

MISSING = (
    "promtool is not here: Debian's package `prometheus` has it (apt-get install --no-install-recommends prometheus)"
)

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
      | (?P<range>\[[^\]]*\])
      | (?P<number>[0-9][\w.]*)
      | (?P<word>[a-zA-Z_:][\w:]*)
      | (?P<sign>=~|!~|!=|==|<=|>=|.)""",
    re.VERBOSE,
)
_LISTS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "start", "end"})


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label: `queue=~"a|b"` has the label `queue`, the operator `=~` and the value `a|b`."""

    label: str
    operator: str
    value: str

    def takes(self, value: str) -> bool:
        """Return whether a series with this value of the label is selected."""
        equal = re.fullmatch(self.value, value) if self.operator in {"=~", "!~"} else self.value == value
        return bool(equal) is (self.operator in {"=", "=~"})

    def dead(self, values: Iterable[str]) -> list[str]:
        """Return what it names that is none of these values: the value itself, or branches of its regex."""
        branches = self.value.split("|") if self.operator in {"=~", "!~"} else [re.escape(self.value)]
        known = list(values)
        return [branch for branch in branches if not any(re.fullmatch(branch, value) for value in known)]


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric name with its conditions."""

    name: str
    matchers: tuple[Matcher, ...] = ()


@dataclass(frozen=True, slots=True)
class Use:
    """What an expression asks for: its selectors, and the labels by which it groups and joins."""

    selectors: tuple[Selector, ...]
    labels: frozenset[str]


def use(expression: str) -> Use:
    """Return what an expression uses. Of one that is no PromQL, something or other is returned."""
    tokens = [(found.lastgroup or "", found.group()) for found in _TOKEN.finditer(expression)]
    tokens = [token for token in tokens if token[0] not in {"space", "range"}]
    selectors: list[Selector] = []
    labels: set[str] = set()
    at = 0
    while at < len(tokens):
        (kind, text), follows = tokens[at], tokens[at + 1][1] if at + 1 < len(tokens) else ""
        at += 1
        if kind == "word" and text in _LISTS and follows == "(":
            inside, at = _until(tokens, at + 1, ")")
            labels |= {word for kind, word in inside if kind == "word"}
        elif kind == "word" and text not in _WORDS and follows == "{":
            inside, at = _until(tokens, at + 1, "}")
            selectors.append(Selector(text, tuple(_matchers(inside))))
        elif kind == "word" and text not in _WORDS | _LISTS and follows not in {"(", *_LISTS}:
            selectors.append(Selector(text))
    return Use(tuple(selectors), frozenset(labels))


def _until(tokens: list[tuple[str, str]], start: int, end: str) -> tuple[list[tuple[str, str]], int]:
    """Return the tokens from here to the closing sign, and where it goes on behind it."""
    stop = next((at for at in range(start, len(tokens)) if tokens[at][1] == end), len(tokens))
    return tokens[start:stop], stop + 1


def _matchers(tokens: list[tuple[str, str]]) -> Iterator[Matcher]:
    parts = [token for token in tokens if token[1] != ","]
    for (_, label), (_, operator), (_, value) in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        yield Matcher(label, operator, value[1:-1])


SAMPLES: Mapping[str, Metric] = {sample: metric for metric in CATALOGUE for sample in metric.samples}


def strangers(expression: str, recorded: Iterable[str] = (), samples: Mapping[str, Metric] = SAMPLES) -> list[str]:
    """Return what an expression names that is not in the catalogue: metrics, labels, values; nothing if all is known.

    Args:
        expression: PromQL, without variables of Grafana.
        recorded: names of recording rules; their labels are not looked at.
        samples: the metrics by the names under which their values can be asked for.
    """
    found = use(expression)
    told = {*OF_PROMETHEUS, *recorded}
    problems = [
        problem for selector in found.selectors if selector.name not in told for problem in _strange(selector, samples)
    ]
    if problems:
        return problems
    metrics = [samples[selector.name] for selector in found.selectors if selector.name in samples]
    labels = {label for metric in metrics for label in labels_of(metric)} | OF_TARGETS | OF_ALERTS
    return [f"no metric here has the label {label}" for label in sorted(found.labels - labels)]


def labels_of(metric: Metric) -> tuple[str, ...]:
    """Return the labels of a metric's samples."""
    return (*metric.labels, "le") if metric.kind is Kind.HISTOGRAM else metric.labels


def _strange(selector: Selector, samples: Mapping[str, Metric]) -> list[str]:
    metric = samples.get(selector.name)
    if metric is None:
        return [f"there is no metric {selector.name}"]
    own = [matcher for matcher in selector.matchers if matcher.label not in OF_TARGETS]
    unknown = [matcher for matcher in own if matcher.label not in labels_of(metric)]
    if unknown:
        return [f"{selector.name} has no label {matcher.label}" for matcher in unknown]
    return _dead(selector.name, metric, own) or _empty(selector.name, metric, own)


def _dead(name: str, metric: Metric, matchers: list[Matcher]) -> list[str]:
    """Return the values that a label never has. Where the catalogue leaves the series open, any value may come."""
    return [
        f"{name} has no {matcher.label} {branch!r}"
        for matcher in matchers
        if matcher.label == "le" or metric.series
        for branch in matcher.dead(_values(metric, matcher.label))
    ]


def _values(metric: Metric, label: str) -> set[str]:
    """Return the values of a label; bounds are spelt as prometheus_client spells them, 60 as `60.0`."""
    if label == "le":
        bounds = (*metric.buckets, float("inf"))
        return {floatToGoString(bound) for bound in bounds}  # type: ignore[no-untyped-call]
    return {series[metric.labels.index(label)] for series in metric.series}


def _empty(name: str, metric: Metric, matchers: list[Matcher]) -> list[str]:
    """Say whether the conditions together leave no series, though each by itself would."""
    known = [matcher for matcher in matchers if matcher.label in metric.labels]
    fits = (
        all(matcher.takes(series[metric.labels.index(matcher.label)]) for matcher in known) for series in metric.series
    )
    return [f"{name} has no series with all of its conditions"] if metric.series and not any(fits) else []


def promtool() -> str:
    """Return the path of promtool. Without it CI fails, since nothing else knows PromQL; a person's test is skipped."""
    path = shutil.which("promtool")
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
    return path


def syntax(expressions: Mapping[str, str], folder: Path) -> str:
    """Return what promtool says against these expressions, each by its name; nothing if all of them are PromQL.

    Args:
        expressions: expressions by name, without variables of Grafana.
        folder: where the file for promtool is written.
    """
    rules = [{"record": f"checked:{at}", "expr": text} for at, text in enumerate(expressions.values())]
    path = folder / "expressions.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "checked", "rules": rules}]}))
    done = subprocess.run([promtool(), "check", "rules", str(path)], capture_output=True, text=True, check=False)
    names = dict(enumerate(expressions))
    said = re.sub(r"checked:(\d+)", lambda found: names[int(found[1])], done.stdout + done.stderr)
    return said if done.returncode else ""
