"""The status page: what it shows of what the fleet says, over real HTTP and a real database."""

import asyncio
import gc
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import pytest

from contracts.fleet import Snapshot, Waiting
from store import db
from store import fleet as store_fleet
from store.db import Pool, PoolOptions
from store.fleet import Process, Taken
from tests.kit import fleet
from tests.kit.fleet import beaten, depth, facts, reported, waiting, well
from tests.kit.readers import reading_pool
from workers import clock, page
from workers.catalogue import LOOKS
from workers.health import Server, application
from workers.merging import merged
from workers.metrics import Metrics
from workers.overview import Card, Mood, Overview, overview
from workers.settings import SettingsError, load

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@contextmanager
def serving(reader: Pool, *, on: bool = True) -> Iterator[int]:
    server = Server(application(Metrics().registry, dict, dict, page.routes(reader) if on else []), "127.0.0.1", 0)
    try:
        yield int(server.start().rpartition(":")[2])
    finally:
        server.stop()


@pytest.fixture
def port(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(page, "SHARED_S", 0.0)
    with reading_pool(database_url) as reader, serving(reader) as found:
        yield found


def ask(port: int, method: str = "GET", path: str = "/") -> tuple[int, http.client.HTTPMessage, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, text


class _Text(HTMLParser):
    """Collects what is to be read, and every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag if tag in {"style", "script", "title"} else self._hidden

    def handle_endtag(self, tag: str) -> None:
        self._hidden = "" if tag == self._hidden else self._hidden

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.extend(data.split())


def parsed(html: str) -> _Text:
    found = _Text()
    found.feed(html)
    found.close()
    return found


def text(html: str) -> str:
    return " ".join(parsed(html).words)


def ago(age_s: float) -> datetime:
    return NOW - timedelta(seconds=age_s)


def taken(age_s: float = 4, **changed: Any) -> Taken:
    at = ago(age_s)
    return Taken(at, age_s, Snapshot.model_validate(facts(at, **changed)))


def process(role: str, *, trouble: str | None = None, silent_s: float = 2, version: str = "0.1.0") -> Process:
    return Process(role, version, trouble, 7_500, silent_s)


FLEET = [process(role) for role in fleet.ROLES]


def shown(*snapshots: Taken, processes: list[Process] | None = None) -> Overview:
    return overview(snapshots, FLEET if processes is None else processes, NOW)


def remarks(found: Overview) -> list[str]:
    return [remark.text for remark in found.attention]


def card(found: Overview, name: str) -> Card:
    [only] = [each for each in found.cards if each.id == name]
    return only


def cells(found: Overview, name: str, table: int = 0) -> list[list[str]]:
    return [[cell.text for cell in row] for row in card(found, name).tables[table].rows]


# -- what needs attention


def test_a_fleet_that_is_well_needs_nothing():
    found = shown(taken())
    assert (found.mood, found.headline, found.attention, found.unknown) == (Mood.WELL, "All is well", (), ())
    assert found.reported == "The monitor reported 4 s ago."


QUEUE = "payments-commands"
DEAD = {**fleet.queues(), QUEUE: {"main": depth(), "dlq": depth(2, 1)}}
LATE = {"back_office": waiting(2, 4 * 3_600 + 60)}
TROUBLES: list[tuple[dict[str, Any], str, str]] = [
    ({"queues": DEAD}, "queues", f"3 dead letters in {QUEUE}"),
    ({"pending": LATE}, "approvals", "The oldest payment has waited 4 h 1 min for approval"),
    ({"unknown_payouts": {"stripe": waiting(1, 65)}}, "payouts", "1 payout of unknown outcome, the oldest for 1 min"),
    ({"outbox": waiting(7, 121)}, "outbox", "The outbox lags 2 min"),
    ({"broken_chains": 1}, "audit", "1 audit chain is broken"),
    ({"outbox_rejected": 3}, "outbox", "3 events that their receiver refuses for good"),
    ({"outbox_rejected": 1}, "outbox", "1 event that its receiver refuses for good"),
    ({"verified_at": "2026-02-28T09:59:59Z"}, "audit", "The audit chains were last verified 1 d 2 h ago"),
    ({"checked_at": "2026-03-01T09:29:59Z"}, "invariants", "The invariants were last checked 2 h 30 min ago"),
    ({"violations": {"lines_sum_to_amount": 1_002}}, "invariants", "1,002 rows break “Lines sum to amount”"),
]


@pytest.mark.parametrize(("changed", "name", "said"), TROUBLES, ids=[name for _, name, _ in TROUBLES])
def test_what_needs_attention_is_said_first_and_marked_in_its_card(changed: dict[str, Any], name: str, said: str):
    found = shown(taken(**changed))
    assert (found.mood, found.headline, remarks(found)) == (Mood.TROUBLED, "1 thing needs attention", [said])
    assert found.attention[0].card == name
    where = card(found, name)
    marked = [each.alarming for each in where.figures]
    marked += [cell.alarming for table in where.tables for row in table.rows for cell in row]
    assert any(marked)


@pytest.mark.parametrize(
    "changed",
    [
        {"pending": {"back_office": waiting(2, 4 * 3_600)}},
        {"outbox": waiting(7, 120)},
        {"verified_at": "2026-02-28T10:00:00Z"},
        {"checked_at": "2026-03-01T09:30:00Z"},
        {"counted_at": "2026-03-01T11:30:00Z"},
        {"pending": {"back_office": waiting(0, 99_999)}},
    ],
)
def test_a_threshold_is_not_yet_over_it(changed: dict[str, Any]):
    assert shown(taken(**changed)).mood is Mood.WELL


def test_several_things_are_counted_and_the_gravest_comes_first():
    found = shown(taken(outbox=waiting(7, 600), broken_chains=2), processes=FLEET[1:])
    assert found.headline == "3 things need attention"
    assert remarks(found) == ["2 audit chains are broken", "The outbox lags 10 min", "No worker process is heard of"]


def test_a_process_in_trouble_and_one_that_is_silent_are_told_apart():
    more = [process("worker", trouble="database_away"), process("worker", silent_s=31, version="0.2.0")]
    found = shown(taken(), processes=[*FLEET, *more, process("worker", silent_s=30)])
    assert remarks(found) == ["1 worker process is in trouble: database_away", "1 worker process is silent"]
    worker = cells(found, "fleet")[0]
    assert worker == ["worker", "4", "1 database_away, 1 silent", "2 h 5 min", "0.1.0, 0.2.0", "2 s ago"]
    assert [row[1] for row in cells(found, "fleet", 1)] == ["well"] * 4 + ["database_away", "silent", "well"]


# -- what is not known


@pytest.mark.parametrize(
    "fact",
    [
        "pending",
        "outbox",
        "outbox_rejected",
        "unknown_payouts",
        "payments",
        "failures",
        "message_failures",
        "broken_chains",
        "violations",
    ],
)
def test_a_fact_that_is_absent_is_not_known_and_never_zero(fact: str):
    absent: dict[str, Any] = {fact: ...}
    if fact == "outbox":  # one look finds both
        absent["outbox_rejected"] = ...
    found = shown(taken(**absent))
    assert (found.mood, len(found.unknown)) == (Mood.UNSURE, 1)
    assert found.headline == "No trouble is seen, but 1 thing is not known"
    where = card(found, found.unknown[0].card)
    said = [each.text for each in where.figures] + [row[-1].text for table in where.tables for row in table.rows]
    said += [row[0].text for table in where.tables for row in table.rows]
    assert "not known" in said
    assert fact in {"failures", "message_failures"} or "0" not in said


def test_a_queue_of_which_nothing_is_known_says_so():
    found = shown(taken(queues={**fleet.queues(), QUEUE: {"dlq": depth()}, "payments-payouts": {"main": depth()}}))
    assert [remark.text for remark in found.unknown] == [
        f"How many messages {QUEUE} holds",
        "How many dead letters payments-payouts has",
    ]
    assert cells(found, "queues")[1] == [QUEUE, "not known", "0", "not known", "not known", "", ""]
    assert cells(found, "queues")[3] == ["payment-approvals", "4", "-", "0", "0", "", ""]


def test_no_queue_at_all_is_said_once():
    assert [remark.text for remark in shown(taken(queues={})).unknown] == ["How many messages the queues hold"]


def test_a_monitor_that_has_not_reported_is_said_before_anything_else():
    found = shown(taken(181, broken_chains=1))
    assert remarks(found) == ["The monitor has not reported for 3 min: what follows is old", "1 audit chain is broken"]
    assert shown(taken(60)).mood is Mood.WELL


def test_without_a_snapshot_nothing_is_known():
    found = shown()
    assert remarks(found) == ["The monitor has not reported for more than 1 h: what it counts is not known"]
    assert {figure.text for each in found.cards for figure in each.figures} == {"not known"}


# -- what is old


def queues_of(age_s: float, *names: str) -> dict[str, Any]:
    """All queues; the named ones were looked at so long ago."""
    return {
        queue: {
            kind: {**found, "looked_at": ago(age_s).isoformat()} if queue in names else found
            for kind, found in kinds.items()
        }
        for queue, kinds in fleet.queues().items()
    }


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (tuple(fleet.queues()), "The queues have not been looked at for 7 min: their depths are old"),
        (("payments-events", QUEUE), "2 queues have not been looked at for 7 min: their depths are old"),
        ((QUEUE,), f"{QUEUE} has not been looked at for 7 min: its depths are old"),
    ],
)
def test_depths_that_are_old_are_said_once_and_not_shown(names: tuple[str, ...], said: str):
    found = shown(taken(queues=queues_of(450, *names)))
    assert (found.mood, remarks(found), found.unknown) == (Mood.TROUBLED, [said], ())
    assert {row[0] for row in cells(found, "queues") if row[1] == "not known"} == set(names)
    commands = cells(found, "queues")[1]
    assert commands == [QUEUE, *["not known"] * 4, "", ""]


def test_depths_that_are_nearly_old_are_believed():
    assert shown(taken(queues=queues_of(300, *fleet.queues()))).mood is Mood.WELL


def test_one_old_depth_of_two_hides_only_itself():
    dead = {**fleet.queues(), QUEUE: {"main": depth(3), "dlq": depth(0, looked_at=ago(301).isoformat())}}
    found = shown(taken(queues=dead))
    assert remarks(found) == [f"{QUEUE} has not been looked at for 5 min: its depths are old"]
    assert cells(found, "queues")[1][:5] == [QUEUE, "3", "not known", "0", "0"]


def test_dead_letters_are_spoken_of_though_they_are_old():
    old = {**fleet.queues(), QUEUE: {"main": depth(), "dlq": depth(2, looked_at=ago(301).isoformat())}}
    found = shown(taken(queues=old))
    assert f"2 dead letters in {QUEUE}" in remarks(found)
    assert cells(found, "queues")[1][2] == "2"


def test_an_old_monitor_that_writes_no_times_is_believed():
    untimed = {
        queue: {kind: {**found, "looked_at": ...} for kind, found in kinds.items()}
        for queue, kinds in fleet.queues().items()
    }
    assert shown(taken(queues=untimed, waiting_at={})).mood is Mood.WELL


def test_a_time_that_is_absent_where_others_are_there_is_no_time_at_all():
    queues = {**fleet.queues(), QUEUE: {"main": depth(looked_at=...), "dlq": depth()}}
    looked = {"pending": ago(4).isoformat(), "unknown_attempts": ago(4).isoformat(), "outbox": ago(4).isoformat()}
    found = shown(taken(queues=queues, waiting_at=looked))
    assert remarks(found) == [
        f"{QUEUE} has not been looked at for a time that is not known: its depths are old",
        "Messages that failed have not been looked at for a time that is not known: what is shown is old",
    ]
    assert card(found, "failures").tables[1].caption.endswith("last day, looked at: not known when")


WAITS = {
    "pending": ("approvals", "What waits for approval has not been looked at for 2 min: what is shown is old"),
    "unknown_attempts": (
        "payouts",
        "Payouts of unknown outcome have not been looked at for 2 min: what is shown is old",
    ),
    "outbox": ("outbox", "The outbox has not been looked at for 2 min: what is shown is old"),
    "message_failures": ("failures", "Messages that failed have not been looked at for 2 min: what is shown is old"),
}


@pytest.mark.parametrize("look", WAITS)
def test_what_waits_and_was_not_looked_at_lately_is_said_and_marked(look: str):
    name, remark = WAITS[look]
    found = shown(taken(waiting_at=looks(**{look: 121})))
    assert (found.mood, remarks(found)) == (Mood.TROUBLED, [remark])
    where = card(found, name)
    assert [each.alarming for each in where.figures] == [True] * len(where.figures)
    said = [each.note for each in where.figures] + [each.caption for each in where.tables]
    assert "looked at 2 min ago" in " ".join(said)
    assert shown(taken(waiting_at=looks(**{look: 120}))).mood is Mood.WELL


def looks(**ages_s: float) -> dict[str, str]:
    """When each look was; now where nothing else is said."""
    return {look: ago(ages_s.get(look, 0)).isoformat() for look in LOOKS}


def test_what_is_absent_is_not_old_too():
    found = shown(taken(pending=..., waiting_at=looks(pending=999)))
    assert (remarks(found), [remark.text for remark in found.unknown]) == (
        [],
        ["How many payments wait for approval"],
    )


def test_counts_that_are_old_are_not_known():
    found = shown(taken(counted_at=ago(45 * 60).isoformat()))
    assert (found.mood, [remark.text for remark in found.unknown]) == (
        Mood.UNSURE,
        ["How many payments there are now: they were counted 45 min ago"],
    )


def test_where_the_monitor_is_silent_it_is_said_once_that_all_is_old():
    found = shown(taken(2_400))
    assert remarks(found) == ["The monitor has not reported for 40 min: what follows is old"]
    assert found.unknown == ()
    assert cells(found, "queues")[0][1] == "not known"


# -- several monitors


def test_a_monitor_that_has_just_started_hides_nothing():
    fresh = Taken(ago(1), 1, Snapshot())
    assert merged([fresh, taken(4)]) == taken(4).snapshot
    assert shown(fresh, taken(4)).mood is Mood.WELL
    assert merged([fresh, taken(121)]) == taken(121).snapshot
    assert merged([fresh, taken(122)]) == Snapshot()


def test_nothing_is_merged_to_nothing():
    assert merged([]) == Snapshot()


def test_of_each_fact_the_newest_finding_counts_and_not_the_newest_snapshot():
    stuck = taken(
        1,
        queues=queues_of(400, *fleet.queues()),
        waiting_at=looks(outbox=300),
        outbox=waiting(9, 500),
        violations={"lines_sum_to_amount": 1},
        checked_at=ago(9_999).isoformat(),
        payments={"failed": 1},
        counted_at=ago(3_000).isoformat(),
    )
    found = merged([stuck, taken(4)])
    known = taken(4).snapshot
    assert (found.queues, found.outbox, found.violations) == (known.queues, known.outbox, {})
    assert (found.checked_at, found.payments, found.counted_at) == (
        known.checked_at,
        known.payments,
        known.counted_at,
    )
    assert found.waiting_at["outbox"] == ago(4)
    assert found.waiting_at["pending"] == ago(0)
    assert shown(stuck, taken(4)).mood is Mood.WELL


def test_each_queue_is_merged_by_itself_and_a_time_beats_none():
    one = taken(1, queues={QUEUE: {"main": depth(1, looked_at=...)}})
    other = taken(2, queues={QUEUE: {"main": depth(2), "dlq": depth(5)}, "payments-events": {"main": depth(6)}})
    found = {
        (queue, kind): each.visible
        for queue, kinds in merged([one, other]).queues.items()
        for kind, each in kinds.items()
    }
    assert found == {(QUEUE, "main"): 2, (QUEUE, "dlq"): 5, ("payments-events", "main"): 6}


def test_of_findings_without_a_time_the_newer_snapshots_counts():
    one, other = (taken(age_s, outbox=waiting(count), waiting_at={}) for age_s, count in ((1, 1), (2, 2)))
    assert merged([one, other]).outbox == Waiting(count=1, oldest_age_s=0)


# -- charts


def test_a_number_is_drawn_over_the_hour_with_its_gaps():
    ages = [0, 600, 1_200, 2_400, 3_000, 3_600]
    points = [taken(age, payments={"processing": 10 - number}) for number, age in enumerate(ages)]
    points.insert(2, taken(900, payments=...))
    drawn = card(shown(*points), "payments").figures[2].chart
    assert drawn
    assert drawn.says == "Last hour: 5 to 10, at last 10"
    assert drawn.line == "M0.0 14.0L20.0 11.6L40.0 9.2L80.0 6.8L100.0 4.4L120.0 2.0"
    apart = [taken(age) for age in (0, 15, 30, 1_000, 1_015)]
    again = card(shown(*apart), "payments").figures[2].chart
    assert again
    assert again.line.count("M") == 2


def test_what_only_grows_says_by_how_much():
    figure = card(shown(taken(0, payments={"failed": 30}), taken(3_540, payments={"failed": 21})), "payments").figures[
        4
    ]
    assert (figure.label, figure.text, figure.note) == ("Failed", "30", "+9 in 59 min")


def test_one_snapshot_is_no_chart():
    assert card(shown(taken()), "payments").figures[0].chart is None


# -- over HTTP


def test_nothing_written_is_a_page_that_says_so(port: int):
    code, _, html = ask(port)
    assert code == 200
    assert "5 things need attention" in text(html)
    assert "The monitor has not reported for more than 1 h" in text(html)


def test_what_the_monitor_and_the_processes_wrote_is_shown(port: int, pool: Pool):
    for age_s in range(0, 3_600, 15):
        reported(pool, facts(), age_s)
    well(pool)
    code, headers, html = ask(port)
    assert (code, headers["content-type"]) == (200, "text/html; charset=utf-8")
    said = text(html)
    assert "All is well The monitor reported" in said
    assert "Completed 48,210 +0 in 59 min" in said
    assert "Payments that wait 15 the oldest for 1 h 30 min" in said
    assert "Back office 12 1 h 30 min Driver, independent 3 4 min" in said
    assert "payments-commands 3 0 2 0 payments-payouts" in said
    assert html.count('aria-label="Last hour: 3 to 3, at last 3"') == 3
    assert "account_closed 19 no_account 12" in said
    assert "Retry transient 14 Invalid malformed 2" in said
    assert "Broken chains 0 Verified 5 h ago" in said
    assert "Rows that break an invariant 0 Checked 4 min ago" in said
    assert "worker 2 well 2 h 5 min 0.1.0" in said


def test_the_charts_reach_back_an_hour_however_often_the_monitor_looks(port: int, pool: Pool):
    for number in range(int(page.POINTS * 1.5)):
        reported(pool, facts(), number * 20)
    [first] = {path.split()[0] for path in re.findall(r'class="line" d="(\S+) ', ask(port)[2])}
    assert float(first.removeprefix("M")) < 2


def test_a_process_that_is_long_gone_is_left_out(port: int, pool: Pool):
    reported(pool, facts())
    well(pool)
    beaten(pool, "relay", silent_s=601)
    assert "All is well" in text(ask(port)[2])
    beaten(pool, "relay", silent_s=595)
    assert "1 relay process is silent" in text(ask(port)[2])


def test_the_monitors_silence_is_told_by_the_databases_clock(port: int, pool: Pool):
    reported(pool, facts(), 200)
    well(pool)
    assert "1 thing needs attention The monitor has not reported for 3 min: what follows is old" in text(ask(port)[2])


def test_hostile_text_is_text(port: int, pool: Pool):
    planted = "<script>alert(1)</script>"
    quoted = "\"><img src=x onerror=alert(1)>'"
    told = facts(
        failures={planted: 1, quoted: 2},
        message_failures={planted: {quoted: 3}},
        queues={planted: {"main": depth(1), "dlq": depth(1)}},
        payments={quoted: 5},
        pending={planted: waiting(1, 1)},
        unknown_payouts={quoted: waiting(1, 1)},
        violations={planted: 1},
    )
    reported(pool, told)
    beaten(pool, "worker", trouble=planted, version=quoted)
    _, _, html = ask(port)
    tags = parsed(html).tags
    assert [name for name, _ in tags].count("script") == 1
    assert not [name for name, _ in tags if name == "img"]
    assert not [found for _, attributes in tags for found in attributes if found.startswith(("on", "style"))]
    assert planted in text(html)


def test_no_id_is_shown(port: int, pool: Pool):
    reason, digits, account = str(uuid4()), "4111111111111111", "acct_1OxYz2AbCd3EfGh4"
    told = facts(
        failures={f"declined_{reason}": 1, account: 1},
        message_failures={"fault": {f"KeyError {reason.upper()}": 1, digits: 1}},
        violations={reason: 1},
    )
    reported(pool, told)
    instances = [*well(pool), beaten(pool, "worker", trouble=f"cannot load {reason}")]
    _, _, html = ask(port)
    body = html.partition("<body>")[2].partition("<script>")[0]
    for secret in (reason, reason.upper(), digits, account, *instances):
        assert secret not in html
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", body, re.IGNORECASE)
    assert "in trouble: cannot load …" in text(html)


def test_nothing_is_loaded_from_anywhere(port: int, pool: Pool):
    reported(pool, facts())
    tags = parsed(ask(port)[2]).tags
    addresses = [attributes.get(name) or "" for _, attributes in tags for name in ("src", "href", "action", "data")]
    assert [found for found in addresses if found and not found.startswith(("#", "data:"))] == []
    assert not {"link", "img", "iframe", "object", "form"} & {name for name, _ in tags} - {"link"}


def test_the_browser_is_told_what_it_may_do(port: int):
    _, headers, html = ask(port)
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy.pop("style-src").startswith("'sha256-")
    assert policy.pop("script-src").startswith("'sha256-")
    assert policy == {
        "default-src": "'none'",
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in html


def test_tables_have_captions_and_ids_are_unique(port: int, pool: Pool):
    reported(pool, facts(broken_chains=..., outbox=waiting(1, 500)))
    tags = parsed(ask(port)[2]).tags
    names = [name for name, _ in tags]
    assert names.count("table") == names.count("caption") == 8
    assert all(attributes.get("scope") in {"row", "col"} for name, attributes in tags if name == "th")
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {(attributes.get("href") or "")[1:] for name, attributes in tags if name == "a"}
    assert anchors <= set(ids)


def test_head_is_a_get_without_its_body(port: int):
    code, headers, body = ask(port, "HEAD")
    assert (code, body) == (200, "")
    assert "content-security-policy" in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(port: int, method: str):
    assert ask(port, method)[0] == 405


def test_switched_off_there_is_nothing(pool: Pool):
    with serving(pool, on=False) as port:
        assert ask(port)[0] == 404


def test_the_setting_is_on_or_off():
    assert load({}).status_page == "on"
    assert load({"PAYMENTS_STATUS_PAGE": "off"}).status_page == "off"
    with pytest.raises(SettingsError, match="PAYMENTS_STATUS_PAGE"):
        load({"PAYMENTS_STATUS_PAGE": "maybe"})


def test_many_viewers_ask_once(database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch):
    asked: list[float] = []
    going = threading.Event()
    processes = store_fleet.processes

    def counted(*arguments: Any) -> Any:
        asked.append(clock.monotonic())
        going.wait(2)
        return processes(*arguments)

    monkeypatch.setattr(store_fleet, "processes", counted)
    monkeypatch.setattr(page, "SHARED_S", 60.0)
    with reading_pool(database_url) as reader, serving(reader) as port, ThreadPoolExecutor(16) as viewers:
        answers = [viewers.submit(ask, port) for _ in range(50)]
        going.set()
        assert {answer.result()[0] for answer in answers} == {200}
        assert ask(port)[0] == 200
    assert len(asked) == 1


def test_an_answer_is_given_only_for_a_moment(database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page, "SHARED_S", 0.2)
    with reading_pool(database_url) as reader, serving(reader) as port:
        assert "All is well" not in ask(port)[2]
        reported(pool, facts())
        well(pool)
        clock.sleep(0.3)
        assert "All is well" in ask(port)[2]


def test_a_database_that_is_away_is_said_in_the_same_style_and_asked_again(monkeypatch: pytest.MonkeyPatch):
    nowhere = db.open_pool("host=127.0.0.1 port=1 dbname=nowhere", PoolOptions(size_min=0, wait_s=0.1))
    with nowhere, serving(nowhere) as port:
        code, headers, html = ask(port)
    assert code == 503
    assert "The database does not answer" in text(html)
    assert "content-security-policy" in headers
    assert '<noscript><meta http-equiv="refresh"' in html
    assert 'id="main"' in html


def test_a_database_that_is_slow_keeps_nobody_waiting(database_url: str, monkeypatch: pytest.MonkeyPatch):
    let_go = threading.Event()
    monkeypatch.setattr(store_fleet, "snapshots", lambda *_: let_go.wait(10) and [])
    monkeypatch.setattr(page.Once.answer, "__defaults__", (0.1,))
    with reading_pool(database_url) as reader, serving(reader) as port:
        code, _, html = ask(port)
        let_go.set()
    assert code == 503
    assert "The database has not answered yet" in text(html)


def test_what_cannot_be_read_is_a_page_too(port: int, pool: Pool):
    reported(pool, {"queues": "<b>none</b>"})
    code, _, html = ask(port)
    assert code == 500
    assert "What the fleet says of itself cannot be read" in text(html)
    assert "<b>" not in html


def test_one_snapshot_that_cannot_be_read_hides_no_other(port: int, pool: Pool, capsys: pytest.CaptureFixture[str]):
    reported(pool, facts(), 10)
    reported(pool, {"queues": "<b>none</b>"})
    well(pool)
    code, _, html = ask(port)
    assert (code, "All is well" in text(html)) == (200, True)
    assert "<b>" not in html
    said = "".join(capsys.readouterr())
    assert "snapshots unreadable" in said
    assert "none" not in said


def test_two_monitors_whose_snapshots_take_turns_do_not_flicker(port: int, pool: Pool):
    # So many that only some are drawn, and those might all be of the one that knows nothing.
    for number in range(page.POINTS * 2):
        reported(pool, {} if number % 2 == 0 else facts(), number * 5)
    well(pool)
    assert "All is well" in text(ask(port)[2])


def test_what_nobody_foresaw_is_a_page_and_its_values_are_not_told(
    port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fails(*_: object) -> Any:
        raise LookupError("4111111111111111")

    monkeypatch.setattr(store_fleet, "processes", fails)
    code, _, html = ask(port)
    assert code == 500
    assert "What the fleet says of itself cannot be read" in text(html)
    said = "".join(capsys.readouterr())
    assert "LookupError" in said
    assert "4111111111111111" not in html + said


def test_what_fails_when_nobody_waits_any_more_is_not_printed_by_the_loop():
    let_go = threading.Event()
    told: list[dict[str, Any]] = []

    def fails() -> page.Shown:
        let_go.wait(10)
        raise LookupError("4111111111111111")

    async def scene() -> page.Shown | None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
        once = page.Once(fails, lambda: page.Shown(500, b"otherwise"))
        assert await once.answer(0.05) is None
        let_go.set()
        found = await once.answer(5)
        del once
        gc.collect()
        return found

    assert asyncio.run(scene()) == page.Shown(500, b"otherwise")
    assert told == []


@contextmanager
def role_status(database_url: str, **settings: str) -> Iterator[int]:
    """The role as a process of its own; yields its port."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")},
        "PAYMENTS_DATABASE_URL": database_url,
        "PAYMENTS_TOKEN_ISSUER": "https://issuer.invalid/pool",
        "PAYMENTS_TOKEN_CLIENT_IDS": "office",
        "PAYMENTS_STATUS_PORT": "0",
        **settings,
    }
    command = [sys.executable, "-m", "workers.cli", "status"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stderr
            lines = map(json.loads, running.stderr)
            yield next(int(said["url"].rpartition(":")[2]) for said in lines if said["event"] == "status started")
        finally:
            running.terminate()


@pytest.mark.parametrize(("setting", "code"), [("on", 200), ("off", 404)])
def test_the_role_serves_it_unless_it_is_switched_off(database_url: str, setting: str, code: int):
    with role_status(database_url, PAYMENTS_STATUS_PAGE=setting, PAYMENTS_STATUS_REFRESH_S="7") as port:
        found, _, body = ask(port)
        assert found == code
        assert ('content="7"' in body) is (setting == "on")
