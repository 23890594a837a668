"""The verdicts: what was missed is said, decides, and nothing else does."""

import pytest

from tests.bench.figures import Contest, Counts, Figures
from tests.bench.ground import Setting
from tests.bench.targets import Target, Verdict, all_met, counts, of_contest

MORE = Target("more", "more is better", 2.0, 3.0)
LESS = Target("less", "less is better", 0.5, 0.4, at_least=False)


@pytest.mark.parametrize(
    ("target", "measured", "met", "word"),
    [
        (MORE, 1.99, False, "MISSED"),
        (MORE, 2.0, True, "met"),
        (MORE, 3.0, True, "aim reached"),
        (LESS, 0.51, False, "MISSED"),
        (LESS, 0.5, True, "met"),
        (LESS, 0.4, True, "aim reached"),
        (MORE, None, None, "not measured"),
    ],
)
def test_a_verdict(target, measured, met, word):
    verdict = Verdict(target, measured)
    assert (verdict.met, verdict.word) == (met, word)


def test_what_was_not_measured_decides_nothing():
    assert all_met([Verdict(MORE, None), Verdict(LESS, 0.5)])
    assert not all_met([Verdict(MORE, 2.0), Verdict(LESS, 0.6)])


def test_a_short_run_is_judged_by_what_can_be_counted():
    counted = Target("counted", "counted", 1.0, 1.0, counted=True)
    assert all_met([Verdict(MORE, 0.1), Verdict(counted, 1.0)], counted_only=True)
    assert not all_met([Verdict(MORE, 9.0), Verdict(counted, 0.9)], counted_only=True)


def one(name: str, setting: Setting, per_second: float, cpu_ms: float) -> Figures:
    return Figures(name, setting, 8, 100, per_second, {"worker": cpu_ms}, {"ReceiveMessage": 0.1, "PutEvents": 0.3})


def found(*names: str) -> dict[str, float | None]:
    """What is judged where ours does 400 messages a second at 1 ms, and each other one 100 at 4 ms."""
    figures = [one(name, setting, 400 if name == "ours" else 100, 1 if name == "ours" else 4)
               for setting in Setting for name in names]  # fmt: skip
    return {verdict.target.name: verdict.measured for verdict in of_contest(Contest([figures]))}


def test_every_target_of_the_contest_is_judged():
    measured = found("ours", "dramatiq_sqs", "celery_sqs", "loop", "ceiling")
    assert measured == {
        "bare_vs_dramatiq_sqs": 4.0,
        "bare_vs_celery_sqs": 4.0,
        "bare_vs_loop": 4.0,
        "deployed_vs_dramatiq_sqs": 4.0,
        "deployed_vs_loop": 4.0,
        "bare_cpu": 0.25,
        "deployed_cpu": 0.25,
        "ceiling": 4.0,
        "bare_requests": 0.4,
        "deployed_requests": 0.4,
        "counts": 1.0,
    }


def test_what_took_no_part_is_not_judged():
    measured = found("ours", "loop")
    assert {name for name, value in measured.items() if value is None} == {
        "bare_vs_dramatiq_sqs",
        "bare_vs_celery_sqs",
        "deployed_vs_dramatiq_sqs",
        "bare_cpu",
        "deployed_cpu",
        "ceiling",
    }


def test_one_run_that_lost_something_spoils_the_counts():
    runs = [one("ours", Setting.BARE, 400, 1) for _ in range(4)]
    runs[2].counts = Counts(10, 9)
    assert counts(Contest([runs])).measured == 0.75
    assert counts(Contest([runs])).met is False
