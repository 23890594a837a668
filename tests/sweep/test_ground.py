"""The sweep looks at a place only when nothing is left to do there."""

from collections.abc import Iterable
from itertools import repeat
from typing import Any, cast

import pytest

from tests.sweep.bank import Bank
from tests.sweep.ground import Place, Servers

IDLE = {"unsent": 0, "unpaid": 0, "unlooked": 0, "outbox": 4, "inbox": 2}


class Telling:
    """A provider that has as many events left to tell as it says."""

    def __init__(self, untold: Iterable[int]) -> None:
        self._untold = iter(untold)

    def untold(self) -> int:
        return next(self._untold)


class Scripted(Place):
    """A place whose commands queue and work are told in advance."""

    def __init__(
        self, depths: Iterable[int], work: Iterable[dict[str, int]], untold: Iterable[int] = repeat(0)
    ) -> None:
        super().__init__(cast("Servers", None), "scripted", {}, cast("Bank", Telling(untold)))
        self._depths, self._work = iter(depths), iter(work)
        self.looks = 0

    def left(self) -> dict[str, int]:
        self.looks += 1
        return {"events": 0, "commands": next(self._depths), "payouts": 0}

    def query(self, text: str, *values: Any) -> list[dict[str, Any]]:
        del text, values
        return [next(self._work)]


@pytest.mark.parametrize(
    ("depths", "looks"),
    [
        pytest.param([0, 0], 2, id="idle"),
        pytest.param([2, 2, 0, 0], 4, id="a message that goes after it was counted twice"),
        pytest.param([0, 2, 0, 0], 4, id="one that comes back"),
    ],
)
def test_a_place_is_drained_when_two_looks_in_a_row_find_nothing(depths: list[int], looks: int):
    place = Scripted(depths, repeat(IDLE))
    place.await_drained()
    assert place.looks == looks


@pytest.mark.parametrize("change", [{"unsent": 1}, {"unpaid": 1}, {"inbox": 3}])
def test_a_place_whose_database_changes_is_not_drained(change: dict[str, int]):
    place = Scripted([0] * 4, [IDLE, {**IDLE, **change}, IDLE, IDLE])
    place.await_drained()
    assert place.looks == 4


def test_a_place_whose_provider_has_events_left_to_tell_is_not_drained():
    place = Scripted([0] * 3, repeat(IDLE), [1, 0, 0])
    place.await_drained()
    assert place.looks == 3
