"""Whether it costs the same when there is more of everything: rows in the tables, processes, threads.

Each size is measured in each round, so that their ratios are taken within a round. The largest is measured once more
while the relay prunes, with the shortest retention that it takes: 18 days for the inbox, one for the outbox.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import psycopg

from tests.bench import bulk, reads, report, throughput
from tests.bench.command import Answer, Options
from tests.bench.contestants import Ours
from tests.bench.figures import Contest, Figures
from tests.bench.ground import Ground, Run, Setting
from tests.bench.roster import THREADS
from tests.bench.targets import Target, Verdict, counts
from tests.bench.throughput import Grown

PROCESSES, POOLS = (1, 2, 4), (4, 8, 16, 32, 64)
#: All together have no more than this many threads: Postgres takes a hundred connections.
_THREADS_MAX = 80
_PRUNING = {
    "PAYMENTS_INBOX_RETENTION_DAYS": "18",
    "PAYMENTS_OUTBOX_RETENTION_DAYS": "1",
}
_PRUNED = "pruning"
_OLD_LEFT = """
SELECT (SELECT count(*) FROM message_inbox WHERE received_at < to_timestamp(%(began)s))
     + (SELECT count(*) FROM outbox WHERE created_at < to_timestamp(%(began)s)) AS n
"""
_MIB = 2**20
_GROWING = (bulk.TABLES, ("message_inbox",), ("outbox",))
_SIZES_NOTE = """\
KiB each: by how much the tables and their indexes have grown for each message; inbox, outbox: these two of them.
Of the reads, 500 of each kind one after the other: their p99 in milliseconds."""
_SIZES = "SELECT name, pg_total_relation_size(name::regclass) FROM unnest(%s::text[]) AS name"


@dataclass(slots=True)
class Seen:
    """What was seen at one size besides its figures; tables with their indexes in MiB, times in milliseconds."""

    tables_mib: dict[str, float] = field(default_factory=dict)
    p50_ms: dict[str, float] = field(default_factory=dict)
    p99_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows the relay has pruned from both tables, and in how many seconds."""

    rows: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class Found:
    """Everything; `before_mib` is the size of the tables before a run."""

    before_mib: dict[int, dict[str, float]] = field(default_factory=dict)
    rounds: list[list[Figures]] = field(default_factory=list)
    seen: dict[int, list[Seen]] = field(default_factory=dict)
    pruned: list[Pruned] = field(default_factory=list)
    fleets: list[tuple[int, Figures]] = field(default_factory=list)


def run(ground: Ground, options: Options) -> Answer:
    """Measure sizes, pruning, and fleets."""
    found = Found()
    if Setting.BARE in options.settings:
        templates = {size: _template(ground, options, size, found) for size in options.sizes}
        for number in range(options.rounds):
            found.rounds.append(_round(ground, options, templates, found, number))
    for setting in options.settings:
        found.fleets += _fleets(ground, options, setting)
    return Answer(_text(found, options), _as_json(found, options), _verdicts(found, options))


def _template(ground: Ground, options: Options, size: int, found: Found) -> str:
    name = bulk.template(ground, size)
    found.before_mib[size] = _tables_mib(ground.postgres.url(name))
    options.say(f"{size:,} payments are loaded: {sum(found.before_mib[size].values()):,.0f} MiB")
    return name


def _round(ground: Ground, options: Options, templates: Mapping[int, str], found: Found, number: int) -> list[Figures]:
    figures = []
    for size in sorted(templates, reverse=number % 2 == 1):
        figures.append(_at_size(ground, options, templates[size], size, found))
        options.say(f"round {number + 1}, {size:,} payments: {figures[-1].per_second:,.0f} messages/s")
    largest = max(templates)
    figures.append(_while_pruning(ground, options, templates[largest], largest, found))
    options.say(f"round {number + 1}, pruning of {largest:,}: {figures[-1].per_second:,.0f} messages/s")
    return figures


def _at_size(ground: Ground, options: Options, template: str, size: int, found: Found) -> Figures:
    seen = Seen()

    def look(run: Run) -> None:
        seen.tables_mib = _tables_mib(run.database_url)
        for name, times in reads.measured(run, options.requests).items():
            seen.p50_ms[name], seen.p99_ms[name] = (round(value, 1) for value in times)

    figures = _measured(ground, options, Ours({}), Grown(template, look))
    found.seen.setdefault(size, []).append(seen)
    return replace(figures, contestant=f"{size}")


def _while_pruning(ground: Ground, options: Options, template: str, size: int, found: Found) -> Figures:
    def look(run: Run) -> None:
        found.pruned.append(_pruned(run, size))

    return replace(_measured(ground, options, Ours({}, more=_PRUNING), Grown(template, look)), contestant=_PRUNED)


def _measured(ground: Ground, options: Options, ours: Ours, grown: Grown) -> Figures:
    threads, load = THREADS["ours"][Setting.BARE], replace(options.load, paced_s=0)
    return throughput.measure(ground, ours, Setting.BARE, threads, load, grown)


def _tables_mib(database_url: str) -> dict[str, float]:
    with psycopg.connect(database_url) as connection:
        sizes = connection.execute(_SIZES, [list(bulk.TABLES)]).fetchall()
    return {name: round(size / _MIB, 3) for name, size in sizes}


def _pruned(run: Run, size: int) -> Pruned:
    """Return how many of the old rows are gone, since the relay has begun, and until it was done or until now."""
    log_path = next(process.child.program.log_path for process in run.processes if process.name == "relay")
    lines = [json.loads(line) for line in log_path.read_text().splitlines() if line.startswith("{")]
    at = {line["event"]: datetime.fromisoformat(line["ts"]) for line in reversed(lines)}
    until = at.get("pruned", datetime.now(UTC))
    with psycopg.connect(run.database_url) as connection:
        row = connection.execute(_OLD_LEFT, {"began": run.began}).fetchone()
    # There were as many of each as payments.
    return Pruned(2 * size - (row[0] if row else 0), round((until - at["relay started"]).total_seconds(), 2))


def _fleets(ground: Ground, options: Options, setting: Setting) -> list[tuple[int, Figures]]:
    """Measure more processes with the usual threads, and one process with more threads."""
    usual = THREADS["ours"][setting]
    processes, pools = (PROCESSES[:2], POOLS[:1]) if options.short else (PROCESSES, POOLS)
    tried = [(count, min(usual, _THREADS_MAX // count)) for count in processes] + [(1, threads) for threads in pools]
    found = []
    for workers, threads in dict.fromkeys(tried):
        load = replace(options.load, paced_s=0)
        figures = throughput.measure(ground, Ours({}, workers), setting, threads, load)
        options.say(f"{setting}, {workers} workers of {threads} threads: {figures.per_second:,.0f} messages/s")
        found.append((workers, figures))
    return found


def _verdicts(found: Found, options: Options) -> list[Verdict]:
    few, many = min(options.sizes), max(options.sizes)
    contest = Contest(found.rounds)
    flat = contest.ratio(lambda one: one.per_second, f"{many}", f"{few}", Setting.BARE)
    pending = _p99(found, many, reads.PENDING_OF_COMPANY, reads.PENDING_OF_ALL)
    return [
        Verdict(Target("flat", f"messages/s at {many:,} payments / at {few:,}", 0.90, 0.97), flat),
        Verdict(
            Target("pending_p99", f"/payments/pending at {many:,} payments: p99", 20, 10, unit="ms", at_least=False),
            pending,
        ),
        counts(Contest([*found.rounds, [figures for _, figures in found.fleets]])),
    ]


def _p99(found: Found, size: int, *names: str) -> float | None:
    """Return the median of the rounds' p99 of the slowest of these reads."""
    rounds = [max(seen.p99_ms[name] for name in names) for seen in found.seen.get(size, ())]
    return statistics.median(rounds) if rounds else None


def _text(found: Found, options: Options) -> str:
    parts = []
    if found.rounds:
        parts = [_sizes_text(found, options), _pruning_text(found, options)]
    return "\n\n".join([*parts, _fleets_text(found.fleets)])


def _sizes_text(found: Found, options: Options) -> str:
    contest = Contest(found.rounds)
    names = (reads.PENDING_OF_COMPANY, reads.PENDING_OF_ALL, reads.ONE)
    heads = ("payments before", "messages/s", "tables MiB", "KiB each", "inbox", "outbox", *names)
    rows = []
    for size in options.sizes:
        figures = contest.median(f"{size}", Setting.BARE)
        if figures:
            before = f"{sum(found.before_mib[size].values()):,.0f}"
            count = figures.messages + options.load.warm_up
            each = [f"{_growth_kib(found, size, tables) / count:.1f}" for tables in _GROWING]
            p99 = [f"{_p99(found, size, name) or 0:.1f}" for name in names]
            rows.append([f"{size:,}", f"{figures.per_second:,.0f}", before, *each, *p99])
    return f"{report.table(heads, rows)}\n\n{_SIZES_NOTE}"


def _growth_kib(found: Found, size: int, tables: Sequence[str]) -> float:
    """Return by how much some tables have grown in a run."""
    before = sum(found.before_mib[size][name] for name in tables)
    after = statistics.median(sum(seen.tables_mib[name] for name in tables) for seen in found.seen[size])
    return (after - before) * 1024


def _pruning_text(found: Found, options: Options) -> str:
    contest = Contest(found.rounds)
    pruning = contest.median(_PRUNED, Setting.BARE)
    share = contest.ratio(lambda one: one.per_second, _PRUNED, f"{max(options.sizes)}", Setting.BARE)
    rate = statistics.median(one.per_second for one in found.pruned)
    speed = pruning.per_second if pruning else 0.0
    return (
        f"With {max(options.sizes):,} payments, while the relay prunes {rate:,.0f} rows a second:"
        f" {speed:,.0f} messages/s, {share or 0:.2f} x of what it is otherwise."
    )


def _fleets_text(fleets: Sequence[tuple[int, Figures]]) -> str:
    heads = ("setting", "workers", "threads each", "messages/s", "CPU ms each", "requests each")
    rows = [
        [
            one.setting,
            str(workers),
            str(one.threads),
            f"{one.per_second:,.0f}",
            f"{one.cpu_total_ms:.2f}",
            f"{one.requests_total:.2f}",
        ]
        for workers, one in fleets
    ]
    return report.table(heads, rows)


def _as_json(found: Found, options: Options) -> dict[str, Any]:
    return {
        "rounds": options.rounds,
        "messages": options.load.messages,
        "sizes": {
            size: {
                "before_mib": found.before_mib[size],
                "runs": [one.as_json() for one in Contest(found.rounds).of(f"{size}", Setting.BARE)],
                "seen": [asdict(one) for one in seen],
            }
            for size, seen in found.seen.items()
        },
        "pruning": {
            "runs": [one.as_json() for one in Contest(found.rounds).of(_PRUNED, Setting.BARE)],
            "pruned": [asdict(one) for one in found.pruned],
        },
        "fleets": [{"workers": workers, **one.as_json()} for workers, one in found.fleets],
    }
