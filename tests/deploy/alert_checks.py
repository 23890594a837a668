"""What must hold of rules, thresholds, runbooks and rule tests; each check takes what it looks at as arguments."""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

FIRING, SILENT = "firing", "silent"
#: Alerts that cannot be silent, and why.
NEVER_SILENT = {"Watchdog": "it fires always, so that something outside notices a Prometheus that is dead"}


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
    """Return alerts whose test file has no firing or no silent case, as far as they can be silent."""
    found = []
    for alert in sorted(alerts):
        path = folder / f"{alert}.yml"
        wanted = {FIRING} if alert in NEVER_SILENT else {FIRING, SILENT}
        missing = wanted - (cases(path, alert) if path.is_file() else set())
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
