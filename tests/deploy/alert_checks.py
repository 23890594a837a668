"""What must hold of rules, thresholds, runbooks and rule tests; each check takes what it looks at as arguments."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
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
    """One name that can be asked for.

    Attributes:
        labels: its labels with their values; None where the values are no closed set.
        series: every combination of values that there is, where they are a closed set.
    """

    labels: Mapping[str, frozenset[str] | None]
    series: tuple[Mapping[str, str], ...] = ()


def known(metrics: Iterable[Metric]) -> dict[str, Known]:
    """Return every sample name of a catalogue."""
    return {sample: _known(metric, sample) for metric in metrics for sample in metric.samples}


def _known(metric: Metric, sample: str) -> Known:
    labels: dict[str, frozenset[str] | None] = {}
    for place, label in enumerate(metric.labels):
        labels[label] = frozenset(series[place] for series in metric.series) or None
    if metric.kind is Kind.HISTOGRAM and sample.endswith("_bucket"):
        labels["le"] = frozenset({*map(_as_exposed, metric.buckets), "+Inf"})
    series = tuple(dict(zip(metric.labels, values, strict=True)) for values in metric.series)
    return Known(labels | dict.fromkeys(TARGET_LABELS), series)


def _as_exposed(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]


def recorded(rules: Iterable[Mapping[str, Any]]) -> dict[str, Known]:
    """Return the names that recording rules make; all of them are by job."""
    return {rule["record"]: Known({"job": None}) for rule in rules if "record" in rule}


def strangers(expr: str, names: Mapping[str, Known]) -> list[str]:
    """Return what an expression speaks of that does not exist: names, labels, values of labels."""
    read = promql.read(expr)
    found = [f"no metric is called {one.name}" for one in read.selectors if one.name not in names]
    there = [one for one in read.selectors if one.name in names]
    for one in there:
        flaws = [flaw for matcher in one.matchers if (flaw := _stranger(one.name, names[one.name], matcher))]
        found += flaws or _empty(one, names[one.name])
    reachable = {label for one in there for label in names[one.name].labels}
    return found + [f"no metric of it has a label {label}" for label in sorted(read.labels - reachable)]


def _stranger(name: str, there: Known, matcher: promql.Matcher) -> str:
    if matcher.label not in there.labels:
        return f"{name} has no label {matcher.label}"
    values = there.labels[matcher.label]
    if values is None:
        return ""
    # Each alternative of a pattern by itself: one that matches nothing is a misspelt value.
    for value in matcher.value.split("|") if _is_pattern(matcher) else [matcher.value]:
        if not any(re.fullmatch(value, one) if _is_pattern(matcher) else value == one for one in values):
            return f"{name}: {matcher.label} is never {value}"
    return ""


def _empty(one: promql.Selector, there: Known) -> list[str]:
    """Say so where each value exists and no series has all of them."""
    asked = [matcher for matcher in one.matchers if matcher.label not in TARGET_LABELS | {"le"}]
    if not there.series or any(all(_matches(matcher, series) for matcher in asked) for series in there.series):
        return []
    return [f"{one.name}: no series has all of {', '.join(f'{each.label}{each.sign}{each.value}' for each in asked)}"]


def _is_pattern(matcher: promql.Matcher) -> bool:
    return matcher.sign.endswith("~")


def _matches(matcher: promql.Matcher, series: Mapping[str, str]) -> bool:
    value = series[matcher.label]
    same = bool(re.fullmatch(matcher.value, value)) if _is_pattern(matcher) else matcher.value == value
    return same != matcher.sign.startswith("!")


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


# -- runbook pages

FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: What begins like a metric and is a group role of the database.
GROUP_ROLES = frozenset({"payments_owner", "payments_worker", "payments_relay", "payments_reader", "payments_monitor"})


def blocks(page: str, language: str) -> list[str]:
    """Return a page's code blocks of one language."""
    return [text for named, text in FENCED.findall(page) if named == language]


def queries(page: str) -> list[str]:
    """Return a page's PromQL, an expression a line."""
    return [line for block in blocks(page, "promql") for line in block.splitlines() if line.strip()]


def statements(page: str) -> list[str]:
    """Return a page's SQL, statement by statement."""
    return [part.strip() for block in blocks(page, "sql") for part in block.split(";") if part.strip()]


def commands(page: str) -> list[list[str]]:
    """Return every `payments …` that a page tells to type, as words: in code blocks and in the text."""
    typed = [line.partition(" #")[0].strip() for block in blocks(page, "sh") for line in block.splitlines()]
    typed += re.findall(r"`([^`\n]+)`", FENCED.sub("", page))
    return [shlex.split(line)[1:] for line in typed if re.match(r"payments [a-z]", line)]


def misnamed(page: str, names: Iterable[str]) -> list[str]:
    """Return what a page calls like a metric and what is none."""
    there = {*names, *GROUP_ROLES}
    return sorted({name for name in re.findall(r"(?<![\w:])payments_[a-z_]+[a-z]", page) if name not in there})


def impossible(words: Sequence[str], command: Any) -> str:
    """Return why a command line would not be understood; empty where it would.

    Args:
        words: what follows `payments`.
        command: the command line's root, as typer makes it.
    """
    left = list(words)
    while left and hasattr(command, "commands"):
        name = left.pop(0)
        if name not in command.commands:
            return f"payments {' '.join(words)}: there is no {name}"
        command = command.commands[name]
    options = {text: one for one in command.params for text in (*one.opts, *one.secondary_opts) if text.startswith("-")}
    given = [word for word in left if word.startswith("--")]
    if unknown := [word for word in given if word not in options]:
        return f"payments {' '.join(words)}: no option {', '.join(unknown)}"
    required = {text for text, one in options.items() if one.required}
    # Without anything behind it, a command is only spoken of.
    if left and (missing := sorted(required - set(given))):
        return f"payments {' '.join(words)}: {', '.join(missing)} must be given"
    return ""
