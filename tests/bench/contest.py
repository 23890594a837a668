"""The contest: rounds in which each entrant is measured once in each setting, in another order each time."""

from collections.abc import Sequence
from typing import Any

from tests.bench import plot, report, targets
from tests.bench.command import Answer, Options
from tests.bench.figures import Contest, Figures
from tests.bench.ground import Ground
from tests.bench.roster import ALL, Entrant


def run(ground: Ground, options: Options) -> Answer:
    """Hold the contest."""
    entrants = [entrant for entrant in ALL if options.chosen(entrant.name)]
    contest = Contest([_round(ground, entrants, options, number) for number in range(options.rounds)])
    titles = {entrant.name: entrant.title for entrant in entrants}
    return Answer(
        report.of_contest(contest, titles),
        as_json(contest, titles, options),
        targets.of_contest(contest),
        plot.picture(contest, titles),
    )


def _round(ground: Ground, entrants: Sequence[Entrant], options: Options, number: int) -> list[Figures]:
    found = []
    for setting in options.settings:
        for entrant in rotated(entrants, number):
            measured = entrant.measure(ground, setting, options.load)
            options.say(f"round {number + 1} of {options.rounds}, {setting}: {told(measured)}")
            found.append(measured)
    return found


def rotated(entrants: Sequence[Entrant], number: int) -> list[Entrant]:
    """Return the order of a round: another one begins each time, so that nobody always comes after the same one."""
    first = number % len(entrants)
    return [*entrants[first:], *entrants[:first]]


def told(found: Figures) -> str:
    """Return one run in a line."""
    parts = [f"{found.contestant}, {found.threads} threads: {found.per_second:,.0f} messages/s"]
    if found.cpu_ms:
        parts.append(f"{found.cpu_total_ms:.2f} ms CPU each")
    if found.p50_ms:
        parts.append(f"p50/p99 {found.p50_ms:,.0f}/{found.p99_ms:,.0f} ms")
    if not found.counts.agree:
        parts.append(f"{found.counts}")
    return ", ".join(parts)


def as_json(contest: Contest, titles: dict[str, str], options: Options) -> dict[str, Any]:
    """Return a contest as it is written down: medians, ratios, and every run."""
    return {
        "rounds": options.rounds,
        "messages": options.load.messages,
        "paced_s": options.load.paced_s,
        "titles": titles,
        "medians": {
            setting: {
                name: found.as_json()
                for name in contest.names()
                if (found := contest.median(name, setting)) is not None
            }
            for setting in options.settings
        },
        "ours_divided_by": {
            setting: {
                name: {
                    "per_second": contest.ratio(lambda one: one.per_second, "ours", name, setting),
                    "cpu_ms": contest.ratio(lambda one: one.cpu_total_ms, "ours", name, setting),
                }
                for name in contest.names()
            }
            for setting in options.settings
        },
        "runs": [[found.as_json() for found in round_] for round_ in contest.rounds],
    }
