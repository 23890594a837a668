"""Grafana dashboards as values: panels, rows, and the JSON that Grafana 10 and 11 read; and the PromQL of our panels.

No SDK: what is used of the schema is small and stands here. `json_of` has a stable order, so that a diff shows what
was changed.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.catalogue import Kind, Metric, Role

#: The version of Grafana's schema; a later Grafana migrates it by itself.
SCHEMA_VERSION = 39
COLUMNS = 24
#: Which targets are looked at: two variables of every dashboard.
TARGETS = ('job=~"$job"', 'instance=~"$instance"')
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
GREEN, AMBER, RED, BLUE, GREY, PURPLE = "green", "orange", "red", "blue", "#8e8e8e", "purple"
#: From which value on which colour; below the first one it is green.
Steps = Sequence[tuple[float, str]]
Json = dict[str, Any]


# -- PromQL


def of_the_whole(metric: Metric) -> bool:
    """Return whether a metric is a figure of the whole service, taken by the monitor, and of no single process.

    Two monitors say the same, so it is never added up; and who looks at one worker still wants to see it.
    """
    return metric.kind is Kind.GAUGE and metric.roles == {Role.MONITOR}


def having(label: str, *values: str) -> str:
    """Return a condition: the label has one of these values."""
    return _condition(label, "=", "=~", values)


def lacking(label: str, *values: str) -> str:
    """Return a condition: the label has none of these values."""
    return _condition(label, "!=", "!~", values)


def _condition(label: str, one: str, many: str, values: Sequence[str]) -> str:
    return f'{label}{many if len(values) > 1 else one}"{"|".join(values)}"'


def select(metric: Metric, *conditions: str, suffix: str = "") -> str:
    """Return a selector of a metric's series at the chosen targets."""
    inner = ",".join((*(() if of_the_whole(metric) else TARGETS), *conditions))
    return f"{metric.name}{suffix}" + (f"{{{inner}}}" if inner else "")


def over(how: str, by: str, what: str) -> str:
    """Return an aggregation by labels (words), or into one number."""
    return f"{how} by ({', '.join(by.split())}) ({what})" if by else f"{how}({what})"


def highest(metric: Metric, by: str = "", *conditions: str) -> str:
    """Return the highest value of a gauge."""
    return over("max", by, select(metric, *conditions))


def rate(metric: Metric, by: str = "", *conditions: str, suffix: str = "") -> str:
    """Return how much a counter grows in a second."""
    return over("sum", by, f"rate({select(metric, *conditions, suffix=suffix)}[$__rate_interval])")


def grown(metric: Metric, by: str = "", *conditions: str, suffix: str = "") -> str:
    """Return how much a counter has grown in the time that the dashboard shows."""
    return over("sum", by, f"increase({select(metric, *conditions, suffix=suffix)}[$__range])")


def quantile(share: float, metric: Metric, by: str = "", *conditions: str) -> str:
    """Return the value that this share of a histogram's observations does not exceed."""
    return f"histogram_quantile({share}, {rate(metric, f'le {by}'.strip(), *conditions, suffix='_bucket')})"


def mean(metric: Metric, by: str = "", *conditions: str) -> str:
    """Return the mean of a histogram's observations."""
    return f"{rate(metric, by, *conditions, suffix='_sum')} / {rate(metric, by, *conditions, suffix='_count')}"


# -- panels


@dataclass(frozen=True, slots=True)
class Query:
    """An expression and how its series are called; `{{label}}` stands for a label's value."""

    expr: str
    legend: str = ""
    exemplar: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel.

    Attributes:
        kind: Grafana's name of its type.
        title: what it shows.
        description: what it shows and when to worry, for people.
        unit: Grafana's id of the unit of its values.
        queries: what is asked of Prometheus.
        width: in columns, of 24.
        instant: whether it shows the latest values alone.
        defaults: what `fieldConfig.defaults` holds besides the unit.
        overrides: what differs for some of the series.
        options: the options of its type.
        extra: what else stands at the top of its JSON.
    """

    kind: str
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    width: int
    instant: bool = False
    defaults: Json = field(default_factory=dict)
    overrides: Sequence[Json] = ()
    options: Json = field(default_factory=dict)
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, set from left to right as they fit."""

    title: str
    panels: tuple[Panel, ...]


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 8,
    steps: Steps = (),
    stacked: bool = False,
    colours: Mapping[str, str] | None = None,
) -> Panel:
    """Return a panel of lines over time.

    Args:
        title: what it shows.
        description: what it shows and when to worry.
        unit: Grafana's id of the unit.
        queries: one or more lines each.
        width: in columns.
        steps: drawn as dashed lines.
        stacked: whether the lines stand on each other and add up.
        colours: fixed colours by a regular expression of the legend; the others come from Grafana's palette.
    """
    custom = {
        "drawStyle": "line",
        "fillOpacity": 35 if stacked else 8,
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "dashed" if steps else "off"},
    }
    defaults = {"color": {"mode": "palette-classic"}, "custom": custom, "min": 0, "thresholds": _thresholds(steps)}
    options = {
        "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    overrides = tuple(_fixed(pattern, colour) for pattern, colour in (colours or {}).items())
    return Panel("timeseries", title, description, unit, queries, width, False, defaults, overrides, options)


def numbers(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 6,
    steps: Steps = (),
    words: Mapping[int, str] | None = None,
) -> Panel:
    """Return a panel of big numbers, one for each series, on the colour of their step; some may be said in words."""
    options = {
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    }
    defaults = _coloured(steps) | {"mappings": _mappings(words or {}), "noValue": "no figures"}
    return Panel("stat", title, description, unit, queries, width, True, defaults, (), options)


def bars(title: str, description: str, unit: str, *queries: Query, width: int = 8, steps: Steps = ()) -> Panel:
    """Return a panel of bars, one for each series, in the colour of their step."""
    options = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": True,
        "valueMode": "color",
    }
    return Panel("bargauge", title, description, unit, queries, width, True, _coloured(steps) | {"min": 0}, (), options)


def table(title: str, description: str, unit: str, query: Query, columns: Mapping[str, str], width: int = 12) -> Panel:
    """Return a panel with a line for each series: these labels as columns, called so. `Value` is the value."""
    places = {label: at for at, label in enumerate(columns)}
    organize = {
        "id": "organize",
        "options": {"excludeByName": {"Time": True}, "indexByName": places, "renameByName": dict(columns)},
    }
    options = {"cellHeight": "sm", "showHeader": True, "sortBy": []}
    extra = {"transformations": [organize]}
    return Panel("table", title, description, unit, (query,), width, True, _coloured(()), (), options, extra)


def heat(title: str, description: str, unit: str, query: Query, width: int = 12) -> Panel:
    """Return a panel that shows where a histogram's observations lie over time."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"exponent": 0.5, "mode": "scheme", "scheme": "Oranges", "steps": 64},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "le"},
        "tooltip": {"mode": "single", "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "unit": unit},
    }
    return Panel("heatmap", title, description, unit, (query,), width, False, _coloured(()), (), options)


def _thresholds(steps: Steps) -> Json:
    base: Json = {"color": GREEN, "value": None}
    return {"mode": "absolute", "steps": [base, *({"color": colour, "value": value} for value, colour in steps)]}


def _coloured(steps: Steps) -> Json:
    return {"color": {"mode": "thresholds"}, "thresholds": _thresholds(steps)}


def _mappings(words: Mapping[int, str]) -> list[Json]:
    return [{"options": {str(value): {"text": word}}, "type": "value"} for value, word in words.items()]


def _fixed(pattern: str, colour: str) -> Json:
    value = {"fixedColor": colour, "mode": "fixed"}
    return {"matcher": {"id": "byRegexp", "options": pattern}, "properties": [{"id": "color", "value": value}]}


# -- dashboards


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard: its rows of panels under a fixed uid, by which others link to it."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]


def json_of(dashboard: Dashboard, siblings: Iterable[Dashboard], info: Metric) -> str:
    """Return a dashboard's JSON.

    Args:
        dashboard: what is written.
        siblings: the dashboards that it links to.
        info: the metric that every process exports; jobs and instances are read from it.
    """
    document = {
        "annotations": {"list": []},
        "description": dashboard.description,
        "editable": True,
        "graphTooltip": 1,
        "id": None,
        "links": [_link(other) for other in siblings if other.uid != dashboard.uid],
        "panels": _laid_out(dashboard.rows),
        "refresh": "30s",
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["payments"],
        "templating": {"list": _variables(info)},
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "title": dashboard.title,
        "uid": dashboard.uid,
        "version": 1,
        "weekStart": "",
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _link(other: Dashboard) -> Json:
    return {
        "icon": "external link",
        "includeVars": True,
        "keepTime": True,
        "tags": [],
        "targetBlank": False,
        "title": other.title,
        "tooltip": other.description,
        "type": "link",
        "url": f"/d/{other.uid}",
    }


def _variables(info: Metric) -> list[Json]:
    source = {
        "hide": 0,
        "label": "Data source",
        "name": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "type": "datasource",
    }
    job = _labels("job", "Job", f"label_values({info.name}, job)")
    instance = _labels("instance", "Instance", f"label_values({info.name}{{{TARGETS[0]}}}, instance)")
    return [source, job, instance]


def _labels(name: str, label: str, query: str) -> Json:
    return {
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "datasource": DATASOURCE,
        "definition": query,
        "hide": 0,
        "includeAll": True,
        "label": label,
        "multi": True,
        "name": name,
        "query": {"query": query, "refId": f"{name}s"},
        "refresh": 2,
        "sort": 1,
        "type": "query",
    }


def _laid_out(rows: Iterable[Row]) -> list[Json]:
    """Return rows and panels with their places; ids count from 1 in reading order."""
    placed: list[Json] = []
    top = 0
    for row in rows:
        placed.append(_heading(row.title, len(placed) + 1, top))
        left, top = 0, top + 1
        height = 8
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top = 0, top + height
            place = {"h": height, "w": panel.width, "x": left, "y": top}
            placed.append(_panel(panel, len(placed) + 1, place))
            left += panel.width
        top += height
    return placed


def _heading(title: str, number: int, top: int) -> Json:
    place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
    return {"collapsed": False, "gridPos": place, "id": number, "panels": [], "title": title, "type": "row"}


def _panel(panel: Panel, number: int, place: Json) -> Json:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, **panel.defaults}, "overrides": list(panel.overrides)},
        "options": panel.options,
        "targets": [_target(panel, query, at) for at, query in enumerate(panel.queries)],
        **panel.extra,
    }


def _target(panel: Panel, query: Query, at: int) -> Json:
    return {
        "refId": chr(ord("A") + at),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend,
        "exemplar": query.exemplar,
        "format": panel.kind if panel.kind in {"table", "heatmap"} else "time_series",
        "instant": panel.instant,
        "range": not panel.instant,
    }
