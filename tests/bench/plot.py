"""The picture of a contest for the README: a panel for each setting, a bar for each contestant."""

from collections.abc import Mapping, Sequence

from tests.bench.figures import Contest, Figures
from tests.bench.ground import Setting
from tests.bench.picture import Box, Picture, Shape, Words

_WIDTH, _MARGIN, _LABELS, _NUMBERS = 900, 24, 215, 175
_HEAD, _ROW, _BAR, _FOOT = 74, 34, 20, 30
_OURS, _OTHER, _CEILING, _QUIET = "#1a7f37", "#8c959f", "#d0d7de", "#57606a"
_TITLES: Mapping[Setting, str] = {
    Setting.BARE: "Everything on loopback",
    Setting.DEPLOYED: "As deployed: SQS and EventBridge 10 ms away, Postgres 1 ms",
}


def picture(contest: Contest, titles: Mapping[str, str]) -> Picture:
    """Return the picture: longer bars are better; beside each stand what ours is of it, and its CPU."""
    shapes: list[Shape] = []
    top = float(_MARGIN)
    for setting, title in _TITLES.items():
        found = [one for name in contest.names() if (one := contest.median(name, setting))]
        if found:
            shapes += _panel(contest, found, titles, title, top)
            top += _HEAD + _ROW * len(found)
    foot = (
        "Messages per second, median of the rounds. In brackets: how many times as fast ours is. CPU: worker and relay."
    )
    shapes.append(Words(_MARGIN, top + 4, foot, size=11, colour=_QUIET))
    return Picture(_WIDTH, int(top + _FOOT), shapes)


def _panel(
    contest: Contest, found: Sequence[Figures], titles: Mapping[str, str], title: str, top: float
) -> list[Shape]:
    shapes: list[Shape] = [Words(_MARGIN, top + 14, title, size=16)]
    longest = max(one.per_second for one in found)
    for number, one in enumerate(sorted(found, key=lambda one: -one.per_second)):
        y = top + 34 + number * _ROW
        width = (_WIDTH - 2 * _MARGIN - _LABELS - _NUMBERS) * one.per_second / longest
        colour = {"ours": _OURS, "ceiling": _CEILING}.get(one.contestant, _OTHER)
        left = _MARGIN + _LABELS
        shapes += [
            Words(left - 10, y + _BAR - 5, titles[one.contestant], anchor="end"),
            Box(left, y, width, _BAR, colour),
            Words(left + width + 8, y + _BAR - 5, _numbers(contest, one), size=12, colour=_QUIET),
        ]
    return shapes


def _numbers(contest: Contest, one: Figures) -> str:
    speed = f"{one.per_second:,.0f}/s"
    ratio = contest.ratio(lambda run: run.per_second, "ours", one.contestant, one.setting)
    compared = f" (ours: {ratio:.2g}x)" if ratio and one.contestant != "ours" else ""
    return f"{speed}{compared}, {one.cpu_total_ms:.2f} ms CPU" if one.contestant != "ceiling" else f"{speed}{compared}"
