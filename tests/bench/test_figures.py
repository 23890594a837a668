"""Medians and ratios: what a table and a verdict are made of."""

import pytest

from tests.bench.figures import Contest, Counts, Figures, median, percentiles
from tests.bench.ground import Setting


def figures(name: str, per_second: float, setting: Setting = Setting.BARE, **more: float) -> Figures:
    return Figures(name, setting, 8, 100, per_second, cpu_ms={"worker": 2.0, **more})


def test_a_ratio_is_taken_within_each_round_and_only_then_the_median():
    # The machine is ten times as slow in the second round: by medians of the speeds it would be 4, or 0.4.
    rounds = [
        [figures("ours", 400), figures("it", 100)],
        [figures("ours", 40), figures("it", 20)],
        [figures("ours", 300), figures("it", 100)],
    ]
    assert Contest(rounds).ratio(lambda one: one.per_second, "ours", "it", Setting.BARE) == 3.0


def test_a_ratio_ignores_the_other_setting():
    deployed = [figures("ours", 1, Setting.DEPLOYED), figures("it", 100, Setting.DEPLOYED)]
    contest = Contest([[figures("ours", 400), figures("it", 100), *deployed]])
    assert contest.ratio(lambda one: one.per_second, "ours", "it", Setting.BARE) == 4.0
    assert contest.ratio(lambda one: one.per_second, "ours", "it", Setting.DEPLOYED) == 0.01


@pytest.mark.parametrize("there", [[], ["ours"], ["it"]])
def test_a_ratio_to_who_took_no_part_is_none(there):
    contest = Contest([[figures(name, 100) for name in there]])
    assert contest.ratio(lambda one: one.per_second, "ours", "it", Setting.BARE) is None


def test_a_median_is_one_of_each_figure():
    runs = [figures("ours", 1, relay=30), figures("ours", 3, relay=10), figures("ours", 2, relay=20)]
    assert median(runs) == figures("ours", 2, relay=20)


def test_a_median_counts_what_a_run_did_not_use_as_nothing():
    runs = [figures("ours", 1), figures("ours", 1), figures("ours", 1, relay=9)]
    assert median(runs).cpu_ms == {"worker": 2.0, "relay": 0.0}


def test_the_counts_of_all_runs_are_added_up():
    runs = [figures("ours", 1), figures("ours", 1)]
    runs[0].counts, runs[1].counts = Counts(10, 10, 10, 10), Counts(10, 9, 10, 10)
    assert median(runs).counts == Counts(20, 19, 20, 20)


@pytest.mark.parametrize(
    ("counts", "agree"),
    [
        (Counts(10, 10), True),
        (Counts(10, 10, 10, 10), True),
        (Counts(10, 9), False),
        (Counts(10, 11), False),
        (Counts(10, 10, 10, 9), False),
    ],
)
def test_counts_agree_only_where_nothing_is_missing_and_nothing_too_many(counts, agree):
    assert counts.agree is agree


def test_sums_are_of_all_processes_and_operations():
    found = Figures(
        "ours", Setting.BARE, 8, 100, 1.0, {"worker": 2.0, "relay": 0.5}, {"PutEvents": 0.1, "Receive": 0.2}
    )
    assert (found.cpu_total_ms, round(found.requests_total, 3)) == (2.5, 0.3)
    assert (found.as_json()["cpu_total_ms"], found.as_json()["requests_total"]) == (2.5, 0.3)


def test_percentiles_lie_between_the_values():
    assert percentiles(list(range(101))) == (50.0, 99.0)
    assert percentiles([1.0, 2.0]) == pytest.approx((1.5, 1.99))
    assert percentiles([7.0]) == (7.0, 7.0)
