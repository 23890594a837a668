"""What a real Prometheus sees of a real fleet: queues that fill and drain, payments that wait and fail, an alert.

Prometheus is Debian's, run as an ordinary process on loopback with the repository's configuration, rules and console;
it scrapes and evaluates every second instead of every fifteen.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest

from tests.drills.ground import VENDOR, Ground, ground, until
from tests.storm.auditor_model import account_of
from workers import catalogue
from workers.local import prometheus
from workers.local.prometheus import Prometheus

MESSAGES = 1_000
APPROVED, TO_FAIL = 60, 40
#: Each look of the monitor and each check of the invariants, within a second of what it looks at.
EAGER = {"PAYMENTS_INVARIANTS_EVERY_S": "1", "PAYMENTS_MONITOR_EVERY_S": "1", "PAYMENTS_QUEUE_LOOK_EVERY_S": "1"}
DEPTH = f'sum(max by (queue, state) ({catalogue.QUEUE_MESSAGES.name}{{queue="payments-events",kind="main"}}))'
BACKLOG = f"sum(max by (payer_type) ({catalogue.PENDING.name}))"
HANDLED = f'{catalogue.CRITICAL_TIME.name}_%s{{message_type="WorkCompleted",outcome="applied"}}'
FIRING = 'ALERTS{alertname="InvariantViolated",alertstate="firing"}'

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


@dataclass
class Observed:
    """A fleet and the Prometheus that watches it."""

    ground: Ground
    prometheus: Prometheus

    def start(self, role: str) -> None:
        self.ground.start(role)
        self.prometheus.watch(roles(self.ground))

    def value(self, query: str) -> float | None:
        found = self.prometheus.ask(query)
        return found[0][1] if found else None

    def wait_for(self, query: str, wanted: float, *, within_s: float = 60) -> None:
        until(lambda: self.value(query) == wanted, what=f"{query} to be {wanted:g}", within_s=within_s)

    def api(self, path: str) -> Any:
        return httpx.get(f"{self.prometheus.url}/api/v1/{path}", timeout=20).raise_for_status().json()["data"]


def roles(found: Ground) -> list[tuple[str, str]]:
    return [(process.child.program.name.partition("-")[0], process.url) for process in found.processes]


@pytest.fixture
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    home = tmp_path_factory.mktemp("observed")
    with ground(home, **EAGER) as found, ExitStack() as stack:
        for role in ("monitor", "relay"):
            found.start(role)
        watching = prometheus.serve(stack, home / "prometheus", home / "prometheus.log", targets=roles(found))
        yield Observed(found, watching)


def test_a_fleet_explains_itself_to_a_real_prometheus(observed: Observed):
    the_rules_are_loaded(observed)
    a_queue_fills_and_drains(observed)
    what_waits_for_approval_is_shown(observed)
    every_message_is_in_the_histogram_of_critical_time(observed)
    the_failed_rate_is_the_share_that_failed(observed)
    every_role_is_scraped_with_its_own_metrics(observed)
    an_alert_fires_and_resolves(observed)
    the_console_shows_every_queue(observed)


def the_rules_are_loaded(observed: Observed) -> None:
    until(lambda: {rule["health"] for rule in rules(observed)} == {"ok"}, what="every rule to be evaluated")
    assert {rule["name"] for rule in rules(observed) if rule["type"] == "alerting"} >= {"DeadLetters", "SLOFastBurn"}


def rules(observed: Observed) -> list[dict[str, Any]]:
    found = [rule for group in observed.api("rules")["groups"] for rule in group["rules"]]
    assert [(rule["name"], rule.get("lastError")) for rule in found if rule["health"] == "err"] == []
    return found


def a_queue_fills_and_drains(observed: Observed) -> None:
    """Nobody receives at first."""
    observed.ground.finish_jobs(MESSAGES)
    observed.wait_for(DEPTH, MESSAGES)
    observed.start("worker")
    observed.wait_for(DEPTH, 0)
    assert observed.value(f"max_over_time(({DEPTH})[5m:1s])") == MESSAGES


def what_waits_for_approval_is_shown(observed: Observed) -> None:
    """By the database's word, not by a queue's."""
    observed.wait_for(BACKLOG, MESSAGES)
    assert (observed.value(f"max({catalogue.PENDING_AGE.name})") or 0) > 0


def every_message_is_in_the_histogram_of_critical_time(observed: Observed) -> None:
    observed.wait_for(f"sum({HANDLED % 'count'})", MESSAGES)
    infinite = (HANDLED % "bucket").replace("}", ',le="+Inf"}')
    assert observed.value(f"sum({infinite})") == MESSAGES
    mean = f"sum({HANDLED % 'sum'}) / sum({HANDLED % 'count'})"
    assert 0.1 < (observed.value(mean) or 0) < 300, "they waited until a worker came"
    p99 = observed.value(f"histogram_quantile(0.99, sum by (le) ({HANDLED % 'bucket'}))")
    assert p99 is not None
    assert 0.1 < p99 <= 300


def the_failed_rate_is_the_share_that_failed(observed: Observed) -> None:
    found, ended = observed.ground, f'sum({catalogue.TRANSITIONS.name}{{from_status="processing",to_status=~"%s"}})'
    found.approve_all(APPROVED)
    observed.wait_for(ended % "completed", APPROVED)
    close_account(found, closed=True)
    found.approve_all(TO_FAIL)
    observed.wait_for(ended % "failed", TO_FAIL)
    close_account(found, closed=False)
    rate = f"{ended % 'failed'} / {ended % 'failed|completed'}"
    assert observed.value(rate) == pytest.approx(TO_FAIL / (TO_FAIL + APPROVED))
    observed.wait_for(BACKLOG, MESSAGES - APPROVED - TO_FAIL)


def close_account(found: Ground, *, closed: bool) -> None:
    """Let the provider refuse, or take again, what is paid to the one vendor of all jobs."""
    state = "closed" if closed else "ok"
    url = f"{found.running.provider_url}/_control/accounts/{account_of(str(VENDOR))}"
    httpx.put(url, json={"state": state}).raise_for_status()


def every_role_is_scraped_with_its_own_metrics(observed: Observed) -> None:
    until(lambda: observed.prometheus.sees(3), what="three processes that answer")
    found = observed.prometheus.ask(catalogue.INFO.name)
    assert {labels["role"] for labels, _ in found} == {"worker", "relay", "monitor"}
    known = {sample for metric in catalogue.CATALOGUE for sample in metric.samples}
    assert {name for name in observed.api("label/__name__/values") if name.startswith(catalogue.PREFIX)} <= known
    for metric in (catalogue.PROCESSED, catalogue.PUBLISHED, catalogue.VIOLATIONS, catalogue.POOL_SIZE):
        assert observed.prometheus.ask(metric.name), f"{metric.name} is scraped"


def an_alert_fires_and_resolves(observed: Observed) -> None:
    assert observed.prometheus.ask(FIRING) == []
    [line] = observed.ground.query("SELECT line_item_id::text AS id FROM payment_line_items LIMIT 1")
    tamper(observed.ground, line["id"], +1)
    until(lambda: bool(observed.prometheus.ask(FIRING)), what="the alert to fire")
    [(labels, _)] = observed.prometheus.ask(FIRING)
    assert (labels["invariant"], labels["severity"]) == ("lines_sum_to_amount", "page")
    tamper(observed.ground, line["id"], -1)
    until(lambda: observed.prometheus.ask(FIRING) == [], what="the alert to be resolved")


def tamper(found: Ground, line: str, cents: int) -> None:
    """Change a line behind the back of every guard, as a repair by hand could."""
    change = "UPDATE payment_line_items SET unit_price_cents = unit_price_cents + %s WHERE line_item_id = %s"
    with psycopg.connect(found.running.database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        assert connection.execute(change, (cents, line)).rowcount == 1


def the_console_shows_every_queue(observed: Observed) -> None:
    page = httpx.get(observed.prometheus.console, timeout=20)
    assert page.status_code == 200
    for queue, _ in catalogue.WATCHED_QUEUES:
        assert queue in page.text
    for name in ("graph", "alerts", "targets"):
        assert httpx.get(observed.prometheus.page(name), timeout=20, follow_redirects=True).status_code == 200
    assert httpx.get(f"{observed.prometheus.url}/graph", timeout=20, follow_redirects=True).status_code == 200
