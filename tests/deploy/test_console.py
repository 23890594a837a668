"""The page of the queues that Prometheus serves: it asks for what the catalogue has, and for nothing from outside."""

import re

import pytest

from deploy.observability.write import HERE
from tests.kit import promql
from workers.catalogue import (
    OUTBOX_AGE,
    PENDING_AGE,
    PROCESSED,
    QUEUE_LAST_SUCCESS,
    QUEUE_MESSAGES,
    TRANSITIONS,
    UNKNOWN_ATTEMPTS,
)

PAGE = HERE / "consoles" / "queues.html"
#: Queries stand in backticks; with printf, the words of the page that fill them stand behind.
QUERY = re.compile(r"query (?:\(printf )?`([^`]*)`")
#: The label of an alert may be any that its rule has; these are asked for by name.
LABELS = {"queue", "message_type", "payer_type", "provider", "alertname", "severity"}


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text()


def filled(template: str) -> list[str]:
    """The queries of a template, filled: `%s` with a duration, `=%q` with any value at all, `%f` with a number."""
    return [query.replace("%s", "5m").replace("=%q", '=~".+"').replace("%f", "1") for query in QUERY.findall(template)]


def strange(template: str) -> list[str]:
    """What the queries of a template name and nobody exports, and labels that are shown and not there."""
    found = [problem for query in filled(template) for problem in promql.strangers(query)]
    shown = set(re.findall(r"\.Labels\.(\w+)", template)) | set(re.findall(r'sortByLabel "(\w+)"', template))
    return found + [f"no query leaves the label {label}" for label in sorted(shown - LABELS)]


def outside(template: str) -> list[str]:
    """Scripts, and addresses of anything that does not come with the page."""
    return re.findall(r"<script|https?:|@import|src=|url\(|href=\"(?!#|data:,|{{ pathPrefix }}/)", template)


def test_everything_asked_for_is_exported(page):
    assert strange(page) == []


def test_every_query_is_promql(page, tmp_path):
    assert promql.syntax({query: query for query in filled(page)}, tmp_path) == ""


def test_no_query_is_overlooked(page):
    without_comments = re.sub(r"{{- /\*.*?\*/ -}}", "", page, flags=re.DOTALL)
    assert len(QUERY.findall(page)) == len(re.findall(r"\bquery\b", without_comments)) > 0


def test_it_shows_what_it_is_for(page):
    asked = {selector.name for query in filled(page) for selector in promql.use(query).selectors}
    wanted = {QUEUE_MESSAGES, PENDING_AGE, OUTBOX_AGE, UNKNOWN_ATTEMPTS, PROCESSED, TRANSITIONS, QUEUE_LAST_SUCCESS}
    assert {metric.name for metric in wanted} | {"ALERTS"} <= asked


def test_it_stands_alone(page):
    assert outside(page) == []


def test_it_refreshes_itself_and_knows_the_dark(page):
    assert '<meta http-equiv="refresh" content="10">' in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


@pytest.mark.parametrize(
    ("template", "said"),
    {
        "{{ query `max(payments_outbox_pendig)` }}": "there is no metric payments_outbox_pendig",
        '{{ query (printf `payments_queue_messages{kind="dql",queue=%q}` $queue) }}': (
            "payments_queue_messages has no kind 'dql'"
        ),
        "{{ query (printf `payments_queue_messages{que=%q} offset %s` $queue .) }}": (
            "payments_queue_messages has no label que"
        ),
        "{{ .Labels.vendor }}": "no query leaves the label vendor",
    }.items(),
)
def test_what_nobody_exports_is_reported(template, said):
    assert strange(template) == [said]


@pytest.mark.parametrize(
    "text", ['<script src="x.js">', '<link href="/static/x.css">', "url(x.woff)", '<img src="x.png">', "https://x"]
)
def test_what_comes_from_outside_is_reported(text):
    assert outside(text)
