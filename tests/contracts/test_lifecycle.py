"""The state machine as tables: the golden grid, the chart, and what must hold of any such table."""

from pathlib import Path

import pytest

from contracts import lifecycle
from contracts.lifecycle import ABSORBED, INITIAL, MOVES, RECORDS, TERMINAL, Event, Status, Verdict, next_status
from contracts.refusals import Refusal
from tests.contracts import golden

ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"
CHART_BEGINS = "<!-- lifecycle chart: generated -->"
CHART_ENDS = "<!-- end -->"


def reachable(start: Status) -> set[Status]:
    found, todo = {start}, [start]
    while todo:
        status = todo.pop()
        news = {to for (origin, _), to in MOVES.items() if origin is status} - found
        found |= news
        todo += news
    return found


def test_the_grid_of_every_status_and_event_is_the_golden_one():
    assert lifecycle.grid() == golden.LIFECYCLE.read_text()


def test_the_grid_has_a_line_for_every_pair():
    assert len(lifecycle.grid().splitlines()) == 1 + len(Status) * len(Event)


def test_the_chart_in_the_architecture_is_generated_from_the_tables():
    text = ARCHITECTURE.read_text()
    assert text.count(CHART_BEGINS) == 1
    between = text.split(CHART_BEGINS)[1].split(CHART_ENDS)[0]
    assert between.strip() == f"```mermaid\n{lifecycle.chart()}```"


def test_the_chart_draws_every_move_and_every_record():
    arrows = [line for line in lifecycle.chart().splitlines() if "-->" in line]
    assert len(arrows) == 1 + len(MOVES) + len(RECORDS) + len(TERMINAL)


def test_moves_records_and_absorbed_facts_are_disjoint():
    tables = [set(MOVES), set(RECORDS), set(ABSORBED)]
    assert sum(map(len, tables)) == len(set.union(*tables))


def test_a_terminal_status_has_no_move_but_the_retry_of_a_failure():
    leaving = {(status, event): to for (status, event), to in MOVES.items() if status in TERMINAL}
    assert leaving == {(Status.FAILED, Event.RETRIED): Status.PROCESSING}


def test_no_move_leads_to_where_it_comes_from():
    assert [move for move, to in MOVES.items() if move[0] is to] == []


def test_every_status_is_reachable_from_the_initial_one():
    assert reachable(INITIAL) == set(Status)


@pytest.mark.parametrize("status", sorted(set(Status) - TERMINAL))
def test_a_status_that_is_not_terminal_can_reach_a_terminal_one(status: Status):
    assert reachable(status) & TERMINAL


def test_a_payment_that_is_being_paid_out_cannot_be_called_off():
    assert Status.CANCELLED not in {to for (origin, _), to in MOVES.items() if origin is Status.PROCESSING}


def test_creation_is_no_move_of_an_existing_payment():
    assert {next_status(status, Event.CREATED) for status in Status} == {Refusal.ILLEGAL_TRANSITION}


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("event", Event)
def test_the_verdict_on_a_pair_comes_from_the_tables_and_its_absence_from_them_is_a_refusal(
    status: Status, event: Event
):
    pair = (status, event)
    expected: Status | Verdict | Refusal = Refusal.ILLEGAL_TRANSITION
    if pair in MOVES:
        expected = MOVES[pair]
    elif pair in RECORDS:
        expected = Verdict.RECORD
    elif pair in ABSORBED:
        expected = Verdict.ABSORB
    assert next_status(status, event) == expected
