"""The dashboards: committed as generated, readable by people, and asking only for what there is."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.money import EXPONENTS
from deploy.observability import write
from deploy.observability.grafana import COLUMNS, of_the_whole
from deploy.observability.panels import SLO_LATE, files
from tests.kit import promql
from workers.catalogue import CATALOGUE, CREATED_AMOUNT

Json = dict[str, Any]

#: What Grafana puts in the place of its variables, near enough for promtool.
VARIABLES = {"$__rate_interval": "5m", "$__range": "1h", "$job": ".*", "$instance": ".*"}
#: The units that are used, by Grafana's ids; `suffix:` is followed by any text.
UNITS = {"s", "percentunit", "short", "mps", "reqps", "cps", "cpm", "locale"}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
UIDS = ("payments-overview", "payments-approvals", "payments-database")
DESCRIPTION_CHARS_MIN = 40


@pytest.fixture(scope="module")
def documents() -> dict[str, Json]:
    return {uid: json.loads((write.HERE / f"dashboards/{uid}.json").read_text()) for uid in UIDS}


@pytest.fixture(params=UIDS)
def document(request, documents) -> Json:
    return documents[request.param]


def panels(document: Json) -> Iterator[Json]:
    return (panel for panel in document["panels"] if panel["type"] != "row")


def queries(document: Json) -> Iterator[tuple[str, Json, Json]]:
    """Every query with its place, its panel and itself."""
    for panel in panels(document):
        for target in panel["targets"]:
            yield f"{document['uid']}: {panel['title']}: {target['refId']}", panel, target


def plain(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


# -- the checks: each takes a dashboard and returns what is wrong with it


def unexplained(document: Json) -> list[str]:
    """Panels that do not say what they show, in what unit, or when to worry."""
    return [
        f"{panel.get('title')}: {missing}"
        for panel in panels(document)
        for missing, there in {
            "no title": panel.get("title"),
            "no description": len(panel.get("description", "")) >= DESCRIPTION_CHARS_MIN,
            "no word on when to worry": "worry" in panel.get("description", "").lower(),
            "no unit": _unit(panel) in UNITS or _unit(panel).startswith("suffix:"),
            "no colours": panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps"),
            "no legend": panel["type"] == "table" or all(target["legendFormat"] for target in panel["targets"]),
        }.items()
        if not there
    ]


def _unit(panel: Json) -> str:
    return str(panel["fieldConfig"]["defaults"].get("unit", ""))


def tied(document: Json) -> list[str]:
    """Panels, queries and variables that ask a certain data source rather than the chosen one."""
    asking: list[tuple[str, Json]] = [(panel["title"], panel) for panel in panels(document)]
    asking += [(place, target) for place, _, target in queries(document)]
    asking += [(each["name"], each) for each in document["templating"]["list"] if each["type"] == "query"]
    return [place for place, each in asking if each.get("datasource") != SOURCE]


def strange(document: Json) -> list[str]:
    """What queries name and nobody exports; grouping and legends included."""
    return [
        f"{place}: {problem}"
        for place, panel, target in queries(document)
        for problem in [*promql.strangers(plain(target["expr"]), SLO_LATE.values()), *_legends(panel, target)]
    ]


def _legends(panel: Json, target: Json) -> list[str]:
    """Labels of a legend that the query does not keep."""
    kept = promql.use(plain(target["expr"])).labels
    return [
        f"{label} is no longer there" for label in re.findall(r"{{(\w+)}}", target["legendFormat"]) if label not in kept
    ]


def loose(document: Json) -> list[str]:
    """Queries that look past the chosen targets, over a window of their own, or count a figure of the whole twice."""
    return [
        f"{place}: {problem}" for place, _, target in queries(document) for problem in _loose(target["expr"], target)
    ]


def _loose(expression: str, target: Json) -> Iterator[str]:
    windows = {"$__rate_interval", "$__range"} if target["instant"] else {"$__rate_interval"}
    yield from (f"window {window}" for window in re.findall(r"\[(.*?)\]", expression) if window not in windows)
    for selector in promql.use(expression).selectors:
        metric = promql.SAMPLES.get(selector.name)
        chosen = {(each.label, each.value) for each in selector.matchers} >= {
            ("job", "$job"),
            ("instance", "$instance"),
        }
        if metric and of_the_whole(metric):
            if chosen:
                yield f"{selector.name} is no figure of a single process"
            if not re.search(rf"max(?: by \([\w, ]+\) )?\({selector.name}\b", expression):
                yield f"{selector.name} is not the maximum of what monitors say"
        elif not chosen and (metric or selector.name == "up"):
            yield f"{selector.name} is not narrowed to the chosen targets"


def broken(document: Json, folder: Path) -> str:
    """What promtool says against the queries."""
    return promql.syntax({place: plain(target["expr"]) for place, _, target in queries(document)}, folder)


def overlapping(document: Json) -> list[str]:
    """Panels that lie on others or stand out of the page."""
    taken: dict[tuple[int, int], str] = {}
    found = []
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells = [
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        if place["x"] + place["w"] > COLUMNS or any(cell in taken for cell in cells):
            found.append(panel["title"])
        taken |= dict.fromkeys(cells, panel["title"])
    return found


# -- they hold


def test_the_committed_files_are_what_the_catalogue_makes(tmp_path):
    made = files()
    assert {path.removeprefix("dashboards/").removesuffix(".json") for path in made} == set(UIDS)
    assert {path: (write.HERE / path).read_text() for path in made} == made
    assert all(text.endswith("}\n") for text in made.values())
    assert {path.name for path in (write.HERE / "dashboards").iterdir()} == {Path(path).name for path in made}


def test_the_writer_knows_them():
    assert set(files()) <= set(write.files())


def test_every_panel_is_explained(document):
    assert unexplained(document) == []


def test_every_panel_asks_the_chosen_data_source(document):
    assert tied(document) == []


def test_everything_asked_for_is_exported(document):
    assert strange(document) == []


def test_queries_look_at_what_is_chosen(document):
    assert loose(document) == []


def test_every_query_is_promql(documents, tmp_path):
    everything = {"uid": "all", "panels": [panel for each in documents.values() for panel in each["panels"]]}
    assert broken(everything, tmp_path) == ""


def test_panels_lie_beside_one_another(document):
    assert overlapping(document) == []
    numbers = [panel["id"] for panel in document["panels"]]
    assert len(numbers) == len(set(numbers))
    titles = [panel["title"] for panel in panels(document)]
    assert len(titles) == len(set(titles))


def test_every_metric_is_shown(documents):
    shown = {
        promql.SAMPLES[selector.name].name
        for document in documents.values()
        for _, _, target in queries(document)
        for selector in promql.use(plain(target["expr"])).selectors
        if selector.name in promql.SAMPLES
    }
    missing = {metric.name for metric in CATALOGUE} - shown
    assert not missing, f"show these in a panel of deploy/observability/panels.py: {sorted(missing)}"


def test_the_variables(document):
    found = {each["name"]: each for each in document["templating"]["list"]}
    assert list(found) == ["datasource", "job", "instance"]
    assert (found["datasource"]["type"], found["datasource"]["query"]) == ("datasource", "prometheus")
    assert found["job"]["definition"] == "label_values(payments_info, job)"
    assert found["instance"]["definition"] == 'label_values(payments_info{job=~"$job"}, instance)'
    assert all(found[name]["includeAll"] and found[name]["multi"] for name in ("job", "instance"))


def test_each_links_to_the_others(documents):
    for uid, document in documents.items():
        assert document["uid"] == uid
        assert {link["url"] for link in document["links"]} == {f"/d/{other}" for other in UIDS if other != uid}
        assert all(link["keepTime"] and link["includeVars"] for link in document["links"])


def test_the_overview_begins_with_the_depth_of_the_queues(documents):
    first = next(panels(documents["payments-overview"]))
    assert first["gridPos"]["x"] == 0
    assert first["targets"][0]["expr"] == 'max by (queue) (payments_queue_messages{kind="main",state="visible"})'


@pytest.mark.parametrize("title", ["Dead letters", "Outbox rows rejected"])
def test_what_waits_for_a_person_turns_red_above_zero(documents, title):
    panel = next(each for each in panels(documents["payments-overview"]) if each["title"] == title)
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [(step["value"], step["color"]) for step in steps] == [(None, "green"), (1, "red")]
    assert panel["options"]["colorMode"] == "background"


def test_amounts_are_shown_in_major_units_of_every_currency(documents):
    shown: dict[str, dict[str, int]] = {}
    for place, _, target in queries(documents["payments-approvals"]):
        for selector in promql.use(plain(target["expr"])).selectors:
            if selector.name == CREATED_AMOUNT.name:
                (currencies,) = (each.value for each in selector.matchers if each.label == "currency")
                divisor = re.search(r"/ (\d+) > 0$", target["expr"])
                assert divisor
                names = currencies.split("|")
                shown.setdefault(place[:-1], {}).update(dict.fromkeys(names, len(divisor[1]) - 1))
    assert list(shown.values()) == [EXPONENTS, EXPONENTS]


def test_a_dashboard_can_be_found_by_its_tag_and_its_version_of_the_schema(document):
    assert document["tags"] == ["payments"]
    assert document["schemaVersion"] == 39
    assert {panel["type"] for panel in panels(document)} <= {"timeseries", "stat", "bargauge", "table", "heatmap"}


# -- and they bite


def test_each_check_is_silent_about_the_dashboard_that_is_broken_below(sound, tmp_path):
    assert [*unexplained(sound), *tied(sound), *strange(sound), *loose(sound), *overlapping(sound)] == []
    assert broken(sound, tmp_path) == ""


@pytest.fixture
def sound(documents) -> Json:
    return copy.deepcopy(documents["payments-overview"])


@pytest.fixture
def panel(sound) -> Json:
    """The panel that is broken: the depth of the queues."""
    return next(panels(sound))


@pytest.mark.parametrize("lost", ["title", "description"])
def test_a_panel_that_does_not_say_what_it_shows_is_reported(sound, panel, lost):
    del panel[lost]
    assert len(unexplained(sound)) >= 1


@pytest.mark.parametrize("unit", [None, "", "furlongs"])
def test_a_panel_without_a_unit_that_grafana_knows_is_reported(sound, panel, unit):
    panel["fieldConfig"]["defaults"]["unit"] = unit
    assert unexplained(sound) == ["Messages waiting: no unit"]


def test_a_description_without_advice_is_reported(sound, panel):
    panel["description"] = "This is the number of messages, by the queue that they are in, over time."
    assert unexplained(sound) == ["Messages waiting: no word on when to worry"]


def test_a_panel_without_colours_or_legend_is_reported(sound, panel):
    del panel["fieldConfig"]["defaults"]["thresholds"]
    panel["targets"][0]["legendFormat"] = ""
    assert unexplained(sound) == ["Messages waiting: no colours", "Messages waiting: no legend"]


def test_a_data_source_of_its_own_is_reported(sound, panel):
    panel["datasource"] = {"type": "prometheus", "uid": "P1809F7CD0C75ACF3"}
    panel["targets"][0]["datasource"] = {"type": "prometheus", "uid": "prometheus"}
    sound["templating"]["list"][1]["datasource"] = "Prometheus"
    assert tied(sound) == ["Messages waiting", "payments-overview: Messages waiting: A", "job"]


@pytest.mark.parametrize(
    ("expression", "said"),
    {
        "max by (queue) (payments_queue_mesages)": "there is no metric payments_queue_mesages",
        'max by (queue) (payments_queue_messages{sort="dlq"})': "payments_queue_messages has no label sort",
        'max by (queue) (payments_queue_messages{kind="dql"})': "payments_queue_messages has no kind 'dql'",
        'max by (queue) (payments_queue_messages{state=~"visible|due"})': "payments_queue_messages has no state 'due'",
        'max by (queue) (payments_queue_messages{queue="payment-approvals",kind="dlq"})': (
            "payments_queue_messages has no series with all of its conditions"
        ),
        "max by (queue, sort) (payments_queue_messages)": "no metric here has the label sort",
        "max by (kind) (payments_queue_messages)": "queue is no longer there",
        'max by (queue) (payments_message_wait_seconds_bucket{le="60"})': (
            "payments_message_wait_seconds_bucket has no le '60'"
        ),
        "max by (queue) (payments_message_wait_seconds)": "there is no metric payments_message_wait_seconds",
    }.items(),
)
def test_what_nobody_exports_is_reported(sound, panel, expression, said):
    panel["targets"][0]["expr"] = expression
    assert strange(sound) == [f"payments-overview: Messages waiting: A: {said}"]


@pytest.mark.parametrize(
    ("expression", "said"),
    {
        "sum by (queue) (rate(payments_messages_received_total[5m]))": [
            "window 5m",
            "payments_messages_received_total is not narrowed to the chosen targets",
        ],
        "sum by (queue) (payments_queue_messages)": ["payments_queue_messages is not the maximum of what monitors say"],
        'max by (queue) (payments_queue_messages{job=~"$job",instance=~"$instance"})': [
            "payments_queue_messages is no figure of a single process"
        ],
        "count(up)": ["up is not narrowed to the chosen targets"],
    }.items(),
)
def test_a_query_that_looks_elsewhere_is_reported(sound, panel, expression, said):
    panel["targets"][0]["expr"] = expression
    assert loose(sound) == [f"payments-overview: Messages waiting: A: {each}" for each in said]


def test_what_is_no_promql_is_reported_by_its_place(sound, panel, tmp_path):
    panel["targets"][0]["expr"] = "max by (queue (payments_queue_messages)"
    said = broken(sound, tmp_path)
    assert "payments-overview: Messages waiting: A" in said
    assert "could not parse expression" in said


def test_panels_on_top_of_one_another_are_reported(sound, panel):
    panel["gridPos"]["w"] = 13
    assert overlapping(sound) == ["Dead letters"]


@pytest.mark.parametrize(("ci", "end"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_without_promtool_ci_fails_and_a_person_s_test_is_skipped(monkeypatch, tmp_path, ci, end):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    with pytest.raises(end, match="apt-get install --no-install-recommends prometheus"):
        promql.syntax({"one": "1"}, tmp_path)
