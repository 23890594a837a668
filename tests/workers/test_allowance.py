"""How much may be done in a minute: so much and no more, and what was left out is said."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog

from workers.allowance import WINDOW_S, Allowance


class Watch:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_so_many_a_minute_and_no_more():
    watch = Watch()
    allowance = Allowance(3, watch)
    for start in (0.0, WINDOW_S, 10 * WINDOW_S):
        watch.seconds = start
        assert [allowance.take() for _ in range(5)] == [True, True, True, False, False]
        watch.seconds = start + WINDOW_S - 0.1
        assert not allowance.take()


def test_what_was_left_out_is_said_once_it_is_over():
    watch = Watch()
    allowance = Allowance(1, watch)
    with structlog.testing.capture_logs() as logs:
        for _ in range(4):
            allowance.take()
        assert logs == []
        watch.seconds = WINDOW_S
        allowance.take()
        watch.seconds = 2 * WINDOW_S
        allowance.take()
    assert [(log["event"], log["count"]) for log in logs] == [("denied reads not recorded", 3)]


@pytest.mark.parametrize("per_minute", [0, 40])
def test_threads_share_it(per_minute: int):
    allowance = Allowance(per_minute)
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda _: allowance.take(), range(200))) == per_minute
