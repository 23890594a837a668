"""What must hold of rules, thresholds, runbooks and rule tests; each check takes what it looks at and returns its finds."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.utils import floatToGoString

from tests.deploy import promql
from workers.catalogue import Kind, Metric

#: The labels that Prometheus gives to every series that it scrapes.
TARGET_LABELS = frozenset({"job", "instance"})
FIRING, SILENT = "firing", "silent"


@dataclass(frozen=True)
class Known:
    """One name that can be asked for: its labels with their values; None where the values are no closed set."""

    labels: Mapping[str, frozenset[str] | None]
    combinations: frozenset[tuple[str, ...]] | None = None


def known(metrics: Iterable[Metric]) -> dict[str, Known]:
    """Return every sample name of a catalogue."""
    return {sample: _known(metric, sample) for metric in metrics for sample in metric.samples}


def _known(metric: Metric, sample: str) -> Known:
    labels: dict[str, frozenset[str] | None] = {}
    for place, label in enumerate(metric.labels):
        labels[label] = frozenset(series[place] for series in metric.series) or None
    if metric.kind is Kind.HISTOGRAM and sample.endswith("_bucket"):
        labels["le"] = frozenset({*(floatToGoString(bound) for bound in metric.buckets), "+Inf"})
    return Known(labels | dict.fromkeys(TARGET_LABELS))


def recorded(rules: Iterable[Mapping[str, Any]]) -> dict[str, Known]:
    """Return the names that recording rules make, with the labels that they keep: those they group by at the outside."""
    return {rule["record"]: Known(dict.fromkeys({"job"})) for rule in rules if "record" in rule}


def strangers(expr: str, names: Mapping[str, Known]) -> list[str]:
    """Return what an expression speaks of that does not exist: names, labels, values of labels."""
    read = promql.read(expr)
    found = [f"no metric is called {one.name}" for one in read.selectors if one.name not in names]
    there = [one for one in read.selectors if one.name in names]
    for one in there:
        found += [flaw for matcher in one.matchers if (flaw := _stranger(one.name, names[one.name], matcher))]
    reachable = {label for one in there for label in names[one.name].labels}
    return found + [f"no metric of it has a label {label}" for label in sorted(read.labels - reachable)]


def _stranger(name: str, there: Known, matcher: promql.Matcher) -> str:
    if matcher.label not in there.labels:
        return f"{name} has no label {matcher.label}"
    values = there.labels[matcher.label]
    if values is None:
        return ""
    # Each alternative of a pattern by itself: one that matches nothing is a misspelt value.
    for value in matcher.value.split("|") if matcher.sign in {"=~", "!~"} else [re.escape(matcher.value)]:
        if not any(re.fullmatch(value, one) for one in values):
            return f"{name}: {matcher.label} is never {value}"
    return ""


# -- files


def rules_in(path: Path) -> list[dict[str, Any]]:
    """Return the rules of a file."""
    return [rule for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def alerts_in(path: Path) -> set[str]:
    """Return the names of a file's alerts."""
    return {rule["alert"] for rule in rules_in(path) if "alert" in rule}


def unpaired(alerts: set[str], folder: Path, suffix: str, *others: str) -> list[str]:
    """Return alerts that have no file in the folder, and files that belong to no alert."""
    there = {path.stem for path in folder.glob(f"*{suffix}")} - set(others)
    return [f"{name} has no {name}{suffix}" for name in sorted(alerts - there)] + [
        f"{name}{suffix} belongs to no alert" for name in sorted(there - alerts)
    ]


def cases(path: Path, alert: str) -> set[str]:
    """Return which cases a promtool test file holds of an alert: `firing`, `silent`."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    judged = [
        case
        for group in document.get("tests", [])
        for case in group.get("alert_rule_test", [])
        if case["alertname"] == alert
    ]
    return {FIRING if case.get("exp_alerts") else SILENT for case in judged}


def untested(alerts: Iterable[str], folder: Path) -> list[str]:
    """Return alerts whose test file has no firing or no silent case."""
    found = []
    for alert in sorted(alerts):
        path = folder / f"{alert}.yml"
        missing = {FIRING, SILENT} - (cases(path, alert) if path.is_file() else set())
        found += [f"{alert} has no {case} case" for case in sorted(missing)]
    return found
