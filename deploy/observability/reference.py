"""The metrics as a page for people, made from the catalogue."""

from collections.abc import Mapping

from workers.catalogue import CATALOGUE, Kind, Metric, Unit

_UNITS = {
    Unit.SECONDS: "seconds",
    Unit.TIMESTAMP: "seconds since 1970",
    Unit.MINOR_UNITS: "minor units of the currency",
    Unit.RATIO: "a share of 1",
}

_HEAD = """# Metrics

<!-- Generated from workers/catalogue.py by `make golden`; do not edit. -->

Each process serves its own at `/metrics`, as OpenMetrics. Every series is there from the start at zero; what is marked
*late* is absent until it is known. Labels are closed sets and hold no ids. What the monitor exports is the same in
every monitor: aggregate it with `max by (…)`, never with `sum`.
"""


def files() -> Mapping[str, str]:
    """Return the page."""
    return {"METRICS.md": _HEAD + "".join(map(_section, CATALOGUE))}


def _section(metric: Metric) -> str:
    roles = ", ".join(sorted(metric.roles))
    absent = not metric.known if metric.kind is Kind.GAUGE else not metric.series and bool(metric.labels)
    kind = metric.kind + (", late" if absent else "")
    unit = "" if metric.unit is Unit.COUNT else f", in {_UNITS[metric.unit]}"
    lines = [f"\n## `{metric.name}`\n", f"{metric.help}\n", f"- {kind}{unit}; of {roles}"]
    lines += [f"- `{label}`: {_values(metric, place)}" for place, label in enumerate(metric.labels)]
    if metric.buckets:
        lines.append(f"- buckets up to {', '.join(f'{bound:g}' for bound in metric.buckets)}")
    return "\n".join(lines) + "\n"


def _values(metric: Metric, place: int) -> str:
    values = list(dict.fromkeys(series[place] for series in metric.series))
    if not values:
        return "set by the process"
    shown = ", ".join(values[:20])
    return shown if len(values) <= 20 else f"{shown}, … ({len(values)} in all)"  # noqa: PLR2004 - what a line holds
