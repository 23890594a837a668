"""Alert and recording rules: made from the catalogue, judged by promtool, each with a page for whoever is woken."""

import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer.main
import yaml
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from deploy.observability import alerting, expressions, thresholds, write
from deploy.observability.thresholds import ThresholdError, Thresholds
from tests.deploy import alert_checks as checks
from tests.house.tree import ROOT
from tests.kit import promql
from workers import catalogue
from workers.cli import app
from workers.replay import KEPT_FOR
from workers.settings import Settings

OBSERVABILITY = ROOT / "deploy" / "observability"
RUNBOOKS = ROOT / "deploy" / "runbooks"
INDEX = "README"
RULE_TESTS = ROOT / "tests" / "deploy" / "alerts"
RECORDING_TESTS = ROOT / "tests" / "deploy" / "recordings.yml"
ALERTS, RECORDINGS = OBSERVABILITY / alerting.ALERTS_FILE, OBSERVABILITY / alerting.RECORDINGS_FILE
RULES = [*checks.rules_in(RECORDINGS), *checks.rules_in(ALERTS)]
RECORDED = frozenset(rule["record"] for rule in RULES if "record" in rule)
NAMES = frozenset({*promql.SAMPLES, *RECORDED, *catalogue.BY_NAME})
PAGES = sorted(RUNBOOKS.glob("*.md"))
SOME_ID = "8b493539-1c92-5f07-8051-0b54f28ebf61"


def values() -> dict[str, Any]:
    return tomllib.loads(thresholds.PATH.read_text(encoding="utf-8"))


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    # It collects its garbage seldom: it is short-lived, and this halves what it takes.
    variables = {**os.environ, "GOGC": "800"}
    return subprocess.run(
        [promql.promtool(), *map(str, words)], capture_output=True, text=True, check=False, env=variables
    )


# -- promtool


def test_promtool_takes_the_rules():
    done = promtool("check", "rules", RECORDINGS, ALERTS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_does_what_its_tests_say():
    done = promtool("test", "rules", RECORDING_TESTS, *sorted(RULE_TESTS.glob("*.yml")))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_test_that_expects_something_else_fails(tmp_path):
    wrong = yaml.safe_load((RULE_TESTS / "DeadLetters.yml").read_text())
    wrong["rule_files"] = [str(ALERTS)]
    (case,) = [one for one in wrong["tests"][0]["alert_rule_test"] if one["exp_alerts"]]
    case["exp_alerts"] = []
    path = tmp_path / "wrong.yml"
    path.write_text(yaml.safe_dump(wrong))
    assert promtool("test", "rules", path).returncode != 0


# -- what is made is what is committed, from thresholds that are all used


def test_the_committed_rules_are_what_the_catalogue_makes_of_them():
    made = alerting.files()
    assert set(made) == {alerting.ALERTS_FILE, alerting.RECORDINGS_FILE}
    stale = [path for path, text in made.items() if (OBSERVABILITY / path).read_text(encoding="utf-8") != text]
    assert not stale, f"{stale}: make golden, then read the diff"


def test_make_golden_writes_them():
    assert alerting.files in write.GENERATORS


def test_every_threshold_is_used():
    read = Thresholds(values())
    alerting.generate(read)
    assert not read.unused, f"thresholds.toml: nobody asks for {sorted(read.unused)}"


def test_an_unused_threshold_is_reported():
    read = Thresholds(values() | {"alerts": values()["alerts"] | {"Nothing": {"for": "5m"}}})
    alerting.generate(read)
    assert read.unused == {"alerts.Nothing.for"}


@pytest.mark.parametrize("alert", sorted(values()["alerts"]))
def test_a_missing_threshold_is_named(alert):
    for key in values()["alerts"][alert]:
        lacking = values()
        del lacking["alerts"][alert][key]
        with pytest.raises(ThresholdError, match=rf"has no alerts\.{alert}\.{key}$"):
            alerting.generate(Thresholds(lacking))


@pytest.mark.parametrize(("key", "value"), [("for", "soon"), ("for", 5), ("severity", "loud"), ("count_min", "many")])
def test_a_threshold_of_the_wrong_kind_is_named(key, value):
    wrong = values()
    wrong["alerts"]["SLOFastBurn"][key] = value
    with pytest.raises(ThresholdError, match=rf"alerts\.SLOFastBurn\.{key}"):
        alerting.generate(Thresholds(wrong))


def test_an_objective_between_two_edges_of_its_histogram_is_refused():
    wrong = values()
    wrong["slo"]["work"]["within"] = "45s"
    with pytest.raises(expressions.NoSuchEdgeError, match="45"):
        alerting.generate(Thresholds(wrong))


def test_every_threshold_says_why():
    unsaid = [
        f"{number}: {line}"
        for number, line in enumerate(thresholds.PATH.read_text(encoding="utf-8").splitlines(), start=1)
        if " = " in line and not line.startswith("#") and " # " not in line and "runbook_base" not in line
    ]
    assert not unsaid, f"thresholds.toml: add unit and reason as a comment: {unsaid}"


@pytest.mark.parametrize(("text", "seconds"), [("300ms", 0.3), ("90s", 90), ("1h30m", 5_400), ("14d", 1_209_600)])
def test_durations_are_those_of_prometheus(text, seconds):
    assert thresholds.seconds(text) == pytest.approx(seconds)


def test_dead_letters_are_kept_for_as_long_as_the_alert_believes():
    assert Thresholds.load().seconds("alerts.MessageExpiryRisk.kept_for") == KEPT_FOR.total_seconds()


@pytest.mark.parametrize("bound", [60, 30, 0.8, 0.3])
@pytest.mark.parametrize("exposed", [generate_latest, openmetrics.generate_latest], ids=["text", "openmetrics"])
def test_an_edge_is_written_as_our_processes_write_it(bound, exposed):
    metric = next(one for one in catalogue.CATALOGUE if bound in one.buckets)
    registry = CollectorRegistry()
    Histogram("seen", "what is exposed", buckets=metric.buckets, registry=registry).observe(0)
    assert f'le="{expressions.edge(metric, bound)}"' in exposed(registry).decode()


# -- what the rules speak of


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_speaks_of_nothing_but_the_catalogue(rule):
    assert promql.use(rule["expr"]).selectors or rule.get("alert") in checks.NEVER_SILENT
    assert not promql.strangers(rule["expr"], RECORDED)


@pytest.mark.parametrize(
    ("expr", "flaw"),
    [
        ("payments_messages_procesed_total > 0", "there is no metric payments_messages_procesed_total"),
        ('payments_messages_processed_total{outcome="refusd"} > 0', "has no outcome 'refusd'"),
        ('payments_messages_processed_total{outcome=~"refused|fualt"} > 0', "has no outcome 'fualt'"),
        ('payments_messages_processed_total{result="refused"} > 0', "has no label result"),
        ('payments_message_critical_time_seconds_bucket{le="60"} > 0', "has no le '60'"),
        (
            'payments_queue_messages{queue="payment-approvals",kind="dlq"} > 0',
            "has no series with all of its conditions",
        ),
        ("sum by (payment) (payments_outbox_pending) > 0", "no metric here has the label payment"),
        ("job:payments_slo_late:ratio_rate7d > 1", "there is no metric job:payments_slo_late:ratio_rate7d"),
        ("payments_message_critical_time_seconds > 1", "there is no metric payments_message_critical_time_seconds"),
    ],
)
def test_a_stranger_is_noticed(expr, flaw):
    (found,) = promql.strangers(expr, RECORDED)
    assert flaw in found


def test_a_metric_that_is_renamed_in_the_catalogue_is_noticed():
    renamed = [
        replace(one, name="payments_outbox_backlog_seconds") if one is catalogue.OUTBOX_AGE else one
        for one in catalogue.CATALOGUE
    ]
    samples = {sample: metric for metric in renamed for sample in metric.samples}
    speaking = {rule.get("alert") for rule in RULES if promql.strangers(rule["expr"], RECORDED, samples)}
    assert speaking == {"OutboxStuck"}


# -- what belongs to each alert


def test_every_alert_says_how_bad_it_is_what_it_means_and_where_to_look():
    for rule in checks.rules_in(ALERTS):
        assert rule["labels"]["severity"] in ({"none"} if rule["alert"] in checks.NEVER_SILENT else {"page", "ticket"})
        notes = rule["annotations"]
        assert set(notes) == {"summary", "description", "runbook_url", "dashboard"}
        assert notes["dashboard"] in {"payments-overview", "payments-approvals", "payments-database"}
        assert (ROOT / notes["runbook_url"]).is_file(), "runbook_base is this repository's folder as it is committed"


def test_the_alarms_that_the_specification_names_can_be_told():
    specified = {rule["alert"] for rule in checks.rules_in(ALERTS) if rule["labels"].get("specified") == "true"}
    assert specified == {"FraudScoreRateHigh", "ApprovalBacklogAge", "ApprovalBacklogGrowing", "DbConnectionErrors"}


def test_every_alert_has_its_page_and_every_page_its_alert():
    assert not checks.unpaired(checks.alerts_in(ALERTS), RUNBOOKS, ".md", INDEX)


def test_every_alert_is_tested_firing_and_silent():
    alerts = checks.alerts_in(ALERTS)
    assert not checks.unpaired(alerts, RULE_TESTS, ".yml")
    assert not checks.untested(alerts, RULE_TESTS)


def test_the_one_alert_that_is_never_silent_speaks_of_nothing_that_could_be_away():
    (rule,) = [one for one in checks.rules_in(ALERTS) if one["alert"] in checks.NEVER_SILENT]
    assert set(checks.NEVER_SILENT) == {"Watchdog"}
    assert rule["expr"] == "vector(1)"
    assert "for" not in rule


def test_each_job_of_prometheus_is_missed():
    jobs = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())["scrape_configs"]
    assert [job["job_name"] for job in jobs] == list(alerting.JOBS)


def test_every_recording_is_tested():
    tested = {
        name
        for group in yaml.safe_load(RECORDING_TESTS.read_text())["tests"]
        for case in group["promql_expr_test"]
        for name in (one.name for one in promql.use(case["expr"]).selectors)
    }
    assert tested == {rule["record"] for rule in RULES if "record" in rule}


def test_a_page_that_is_missing_and_one_too_many_are_noticed(tmp_path):
    pages = shutil.copytree(RUNBOOKS, tmp_path / "runbooks")
    (pages / "DeadLetters.md").rename(pages / "DeadLetter.md")
    found = checks.unpaired(checks.alerts_in(ALERTS), pages, ".md", INDEX)
    assert found == ["DeadLetters has no DeadLetters.md", "DeadLetter.md belongs to no alert"]


def test_a_test_that_is_missing_is_noticed(tmp_path):
    folder = shutil.copytree(RULE_TESTS, tmp_path / "alerts")
    (folder / "DeadLetters.yml").unlink()
    alerts = checks.alerts_in(ALERTS)
    assert checks.unpaired(alerts, folder, ".yml") == ["DeadLetters has no DeadLetters.yml"]
    assert checks.untested(alerts, folder) == ["DeadLetters has no firing case", "DeadLetters has no silent case"]


@pytest.mark.parametrize("case", [checks.FIRING, checks.SILENT])
def test_a_test_that_tells_half_is_noticed(tmp_path, case):
    folder = shutil.copytree(RULE_TESTS, tmp_path / "alerts")
    document = yaml.safe_load((folder / "DeadLetters.yml").read_text())
    for group in document["tests"]:
        group["alert_rule_test"] = [
            one for one in group["alert_rule_test"] if bool(one["exp_alerts"]) == (case == checks.SILENT)
        ]
    (folder / "DeadLetters.yml").write_text(yaml.safe_dump(document))
    assert checks.untested(checks.alerts_in(ALERTS), folder) == [f"DeadLetters has no {case} case"]


# -- the runbooks


def named(path: Path) -> str:
    return path.stem


def test_the_index_lists_every_page_with_its_severity():
    listed = re.findall(
        r"^\| \[(\w+)\]\((\w+)\.md\) \| (page|ticket|none) \|", (RUNBOOKS / "README.md").read_text(), re.MULTILINE
    )
    rules = {rule["alert"]: rule["labels"]["severity"] for rule in checks.rules_in(ALERTS)}
    assert {name: severity for name, _, severity in listed} == rules
    assert all(name == page for name, page, _ in listed)
    assert len(listed) == len(rules)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_asks_for_metrics_that_there_are(page):
    text = page.read_text(encoding="utf-8")
    assert not [flaw for query in checks.queries(text) for flaw in promql.strangers(query, RECORDED)]
    assert not checks.misnamed(text, NAMES)


def test_every_query_of_a_page_is_promql(tmp_path):
    asked = {
        f"{page.stem}: {query}": query for page in PAGES for query in checks.queries(page.read_text(encoding="utf-8"))
    }
    assert asked
    assert not promql.syntax(asked, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_names_commands_that_there_are(page):
    root = typer.main.get_command(app)
    found = [checks.impossible(words, root) for words in checks.commands(page.read_text(encoding="utf-8"))]
    assert not [flaw for flaw in found if flaw]


@pytest.mark.parametrize(
    ("words", "flaw"),
    [
        (["failure"], "there is no failure"),
        (["audit", "verfy"], "there is no verfy"),
        (["failures", "--kind", "x"], "no option --kind"),
        (["replay", "X", "--reason", "y"], "--actor must be given"),
    ],
)
def test_a_command_that_there_is_not_is_noticed(words, flaw):
    assert flaw in checks.impossible(words, typer.main.get_command(app))


def test_every_statement_of_a_page_runs_as_an_operator(database_url):
    asked = [(page.stem, one) for page in PAGES for one in checks.statements(page.read_text(encoding="utf-8"))]
    assert asked
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET ROLE payments_monitor")
        for _page, statement in asked:
            connection.execute(f"EXPLAIN {statement.replace('PAYMENT_ID', SOME_ID)}".encode())


def test_the_statement_that_sends_rejected_rows_after_all_is_for_the_owner(database_url):
    page = (RUNBOOKS / "OutboxRejected.md").read_text(encoding="utf-8")
    (statement,) = re.findall(r"`(UPDATE outbox .+?)`", page)
    explained = f"EXPLAIN {statement.replace('…', '1')}".encode()
    with psycopg.connect(database_url, autocommit=True) as connection:
        for role in ("payments_worker", "payments_monitor"):
            connection.execute(f"SET ROLE {role}".encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(explained)
        connection.execute("SET ROLE payments_owner")
        connection.execute(explained)


@pytest.mark.parametrize("page", [one for one in PAGES if one.stem != INDEX], ids=named)
def test_a_page_tells_all_that_is_needed(page):
    headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == ["What is at stake", "First look", "Likely causes", "What to do", "Never", "Over when"]


def test_no_paragraph_stands_on_two_pages():
    seen: dict[str, str] = {}
    for page in PAGES:
        for part in re.split(r"\n\s*\n", page.read_text(encoding="utf-8")):
            if len(part) > 120:
                assert seen.setdefault(part, page.stem) == page.stem, f"{page.stem} repeats {seen[part]}: {part[:80]}"


@pytest.mark.parametrize(
    ("setting", "limit"),
    [
        ("invariants_every_s", "alerts.InvariantsUnchecked.checked_within"),
        ("audit_verify_every_s", "alerts.AuditChainUnverified.verified_within"),
    ],
)
def test_no_setting_makes_a_check_later_than_its_alert_allows(setting: str, limit: str):
    bounds = Settings.model_fields[setting].metadata
    [longest] = [bound.le for bound in bounds if hasattr(bound, "le")]
    assert longest <= Thresholds.load().seconds(limit) - 1_800
