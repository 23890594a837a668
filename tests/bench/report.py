"""What people read: tables in plain text."""

from collections.abc import Mapping, Sequence

from tests.bench.figures import Contest, Figures
from tests.bench.ground import Setting
from tests.bench.targets import Target, Verdict

_SETTINGS: Mapping[Setting, str] = {
    Setting.BARE: "Bare: everything on loopback",
    Setting.DEPLOYED: "As deployed: SQS and EventBridge 10 ms away, Postgres 1 ms (round trips)",
}
_HEADS = ("", "threads", "messages/s", "ours is", "CPU ms", "requests", "p50 ms", "p99 ms", "at", "peak MiB")
_NOTES = """\
ours is: its messages/s divided by theirs, within a round. CPU ms: of worker and relay, for each message.
requests: to SQS and EventBridge, for each message. p50, p99: from send to commit, at half of its own messages/s (`at`).
Messages/s count until the last commit, and for ours until the last event has been sent and marked as sent."""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(heads), rule, *(line(row) for row in rows)])


def of_contest(contest: Contest, titles: Mapping[str, str]) -> str:
    """Return the results of a contest, a table for each setting."""
    parts = []
    for setting, heading in _SETTINGS.items():
        found = {name: contest.median(name, setting) for name in contest.names()}
        if rows := [_row(contest, titles[name], one, setting) for name, one in found.items() if one]:
            servers = _servers(found["ours"]) if found.get("ours") else ""
            parts.append(f"{heading}\n\n{table(_HEADS, rows)}{servers}")
    return "\n\n".join([*parts, _NOTES])


def _row(contest: Contest, title: str, found: Figures, setting: Setting) -> list[str]:
    share = contest.ratio(lambda one: one.per_second, "ours", found.contestant, setting)
    waits = found.p50_ms > 0
    return [
        title,
        str(found.threads),
        f"{found.per_second:,.0f}",
        f"{share:.2f} x" if share is not None else "-",
        f"{found.cpu_total_ms:.2f}" if found.cpu_ms else "-",
        f"{found.requests_total:.2f}" if found.requests else "-",
        f"{found.p50_ms:,.1f}" if waits else "-",
        f"{found.p99_ms:,.1f}" if waits else "-",
        f"{found.paced_per_second:,.0f}/s" if waits else "-",
        f"{found.peak_total_mib:,.0f}" if found.peak_mib else "-",
    ]


def _servers(ours: Figures | None) -> str:
    if ours is None:
        return ""
    named = ", ".join(f"{name} {value:.2f}" for name, value in ours.servers_cpu_ms.items())
    return f"\n\nCPU ms of the servers for each message of ours: {named}."


def of_verdicts(verdicts: Sequence[Verdict]) -> str:
    """Return the targets, and what became of them."""
    heads = ("Target", "must", "aim", "measured", "")
    return table(heads, [_judged(one) for one in verdicts])


def _judged(one: Verdict) -> list[str]:
    target = one.target
    sign = ">=" if target.at_least else "<="
    measured = "-" if one.measured is None else _shown(target, one.measured)
    return [target.text, f"{sign} {_shown(target, target.must)}", _shown(target, target.aim), measured, one.word]


def _shown(target: Target, value: float) -> str:
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f} {target.unit}".rstrip()
