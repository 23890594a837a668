"""A little chart of one number over a while, as the path of an SVG; a gap is a gap, never a line over it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from workers.wording import number

#: The chart's own units; the page scales them.
WIDTH, HEIGHT = 120, 28
#: The line's room: half of its width, above and below.
_EDGE = 2
#: How many times the usual distance between two points is a gap.
_GAP = 4
_GAP_MIN_S = 90.0


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A chart.

    Attributes:
        line: the path of the line.
        area: the path of what lies below it.
        says: what it shows, for those who do not see it.
    """

    line: str
    area: str
    says: str


@dataclass(frozen=True, slots=True)
class Point:
    """A number, and its age in seconds."""

    age_s: float
    value: float


def drawn(
    points: Sequence[Point],
    span_s: float,
    lately: str,
    *,
    from_zero: bool = True,
    shown: Callable[[float], str] = number,
) -> Sparkline | None:
    """Return the chart of what is known, the oldest at the left; None where two points cannot be had.

    It begins at zero, so that its height means something: a number that never left zero is a line at the foot.

    Args:
        points: the newest first.
        span_s: how long a time the chart's width is, in seconds.
        lately: the same in words.
        from_zero: whether the foot is zero; it is the lowest point otherwise.
        shown: how a value is written.
    """
    known = [point for point in reversed(points) if 0 <= point.age_s <= span_s]
    if len(known) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    values = [point.value for point in known]
    low = 0 if from_zero else min(values)
    height = max(max(values) - low, 1)
    runs = [[_placed(point.age_s / span_s, (point.value - low) / height) for point in run] for run in _runs(known)]
    return Sparkline(
        line=" ".join(_line(run) for run in runs),
        area=" ".join(_area(run) for run in runs),
        says=f"Last {lately}: {shown(min(values))} to {shown(max(values))}, at last {shown(values[-1])}",
    )


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """Return the points without a gap between them, run by run."""
    steps = sorted(before.age_s - after.age_s for before, after in pairwise(points))
    gap_s = max(_GAP_MIN_S, _GAP * steps[len(steps) // 2])
    runs = [[points[0]]]
    for before, after in pairwise(points):
        if before.age_s - after.age_s > gap_s:
            runs.append([])
        runs[-1].append(after)
    return runs


def _placed(age: float, height: float) -> tuple[float, float]:
    """Return where a point is; its age and its height are shares of the whole."""
    return WIDTH * (1 - age), HEIGHT - _EDGE - (HEIGHT - 2 * _EDGE) * height


def _line(run: Sequence[tuple[float, float]]) -> str:
    # A run of one point is a dot: a line of no length with round ends.
    (x, y), *rest = run
    return f"M{x:.1f} {y:.1f}" + ("".join(f"L{x:.1f} {y:.1f}" for x, y in rest) or "h0")


def _area(run: Sequence[tuple[float, float]]) -> str:
    return f"M{run[0][0]:.1f} {HEIGHT}" + "".join(f"L{x:.1f} {y:.1f}" for x, y in run) + f"L{run[-1][0]:.1f} {HEIGHT}Z"
