"""What people see: tables that are in line, a picture that can be drawn, options that mean what they say."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from tests.bench import __main__ as bench
from tests.bench import contest, plot, report, tuning
from tests.bench.command import RESULTS
from tests.bench.figures import Contest, Figures
from tests.bench.ground import Setting
from tests.bench.memory import Look, slope_kib, spread
from tests.bench.picture import Box, Picture, Words
from tests.bench.roster import ALL, THREADS
from tests.bench.targets import Target, Verdict

TITLES = {"ours": "Ours", "loop": "A <loop>", "ceiling": "The ceiling"}


def found() -> Contest:
    ours = Figures("ours", Setting.BARE, 8, 100, 450.0, {"worker": 1.5}, {"ReceiveMessage": 0.4}, p50_ms=4, p99_ms=9)
    loop = Figures("loop", Setting.BARE, 4, 100, 300.0, {"worker": 1.0}, {"ReceiveMessage": 0.2})
    return Contest([[ours, loop, Figures("ceiling", Setting.BARE, 8, 300, 3_000.0)]])


def test_a_table_is_in_line():
    assert report.table(("name", "value"), [["a", "1"], ["bcdef", "1,000"]]).splitlines() == [
        "name   value",
        "-----  -----",
        "a          1",
        "bcdef  1,000",
    ]


def test_the_results_say_how_many_times_as_fast_ours_is():
    rows = report.of_contest(found(), TITLES).splitlines()
    assert next(row for row in rows if row.startswith("A <loop>")).split()[2:6] == ["4", "300", "1.50", "x"]
    assert "As deployed" not in "\n".join(rows)


def test_a_target_says_what_was_wanted_and_what_was_found():
    target = Target("p99", "the slowest", 20, 10, unit="ms", at_least=False)
    line = report.of_verdicts([Verdict(target, 12.34)]).splitlines()[-1]
    assert line.split() == ["the", "slowest", "<=", "20.0", "ms", "10.0", "ms", "12.3", "ms", "met"]


def test_a_picture_is_drawn_as_svg_and_as_png(tmp_path):
    plot.picture(found(), TITLES).save(tmp_path, "throughput")
    drawn = ET.parse(tmp_path / "throughput.svg").getroot()  # noqa: S314 - our own
    words = ["".join(element.itertext()) for element in drawn.iter() if element.tag.endswith("text")]
    assert {"Ours", "A <loop>", "The ceiling", "300/s (ours: 1.5x), 1.00 ms CPU"} <= set(words)
    with Image.open(tmp_path / "throughput.png") as image:
        assert image.size[0] > image.size[1] > 0
        assert len(image.getcolors(256) or []) > 8


def test_longer_bars_are_faster():
    boxes = [shape for shape in plot.picture(found(), TITLES).shapes if isinstance(shape, Box)]
    assert [round(box.width / boxes[0].width, 2) for box in boxes] == [1.0, 0.15, 0.1]


def test_words_of_a_picture_cannot_break_it():
    svg = Picture(10, 10, [Words(0, 0, "<&>")]).svg()
    assert "&lt;&amp;&gt;" in svg


def test_each_round_begins_with_another_one():
    orders = [[entrant.name for entrant in contest.rotated(ALL, number)] for number in range(len(ALL))]
    assert {order[0] for order in orders} == {entrant.name for entrant in ALL}
    assert all(sorted(order) == sorted(orders[0]) for order in orders)


def test_the_fastest_number_of_threads_is_the_smaller_of_equals():
    assert tuning.best({4: 100.0, 2: 90.0, 8: 100.0}) == 4


def test_everybody_has_threads_for_every_setting():
    assert {setting for threads in THREADS.values() for setting in threads} == set(Setting)


def test_a_short_run_is_short_and_a_long_one_as_long_as_asked():
    parse = bench._parser().parse_args
    throughput = bench.BENCHES["throughput"]
    short = bench._options(parse(["--short"]), throughput)
    assert (short.rounds, short.short, short.load.messages < 1_000) == (1, True, True)
    words = "--rounds 2 --messages 50 --paced 0 --setting bare --only ours,loop"
    asked = bench._options(parse(words.split()), throughput)
    assert (asked.rounds, asked.load.messages, asked.load.paced_s) == (2, 50, 0)
    assert (asked.settings, asked.chosen("ours"), asked.chosen("ceiling")) == ((Setting.BARE,), True, False)


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ("", RESULTS),
        ("--rounds 1", RESULTS),
        ("--short", None),
        ("--short --out here", None),
        ("--tune", None),
        ("--only ours", None),
        ("--setting bare", None),
        ("--only ours --out here", Path("here")),
        ("--out here", Path("here")),
    ],
)
def test_what_is_measured_in_part_replaces_no_results(words, folder):
    assert bench._folder(bench._parser().parse_args(words.split())) == folder


def test_sizes_are_numbers_in_order():
    options = bench._options(bench._parser().parse_args(["scale", "--sizes", "10_000,500"]), bench.BENCHES["scale"])
    assert options.sizes == (500, 10_000)


@pytest.mark.parametrize("grown_kib", [0, 3])
def test_the_growth_of_a_worker_is_that_of_the_second_half(grown_kib):
    looks = [Look(number * 1_000, 50.0 + max(0, number - 10) * grown_kib / 1024, 40.0) for number in range(21)]
    looks[0] = Look(0, 10.0, 10.0)
    assert slope_kib(looks) == pytest.approx(grown_kib)


def test_of_too_few_looks_nothing_is_said():
    assert slope_kib([Look(100, 50.0, 40.0)]) is None


def test_the_last_look_is_always_shown():
    looks = [Look(number, 1.0, 1.0) for number in range(100)]
    shown = spread(looks, 12)
    assert len(shown) <= 12
    assert shown[-1].handled == 99
