"""`python -m tests.bench`: measure this service beside what one would use instead, on this machine, in one run.

throughput  ours, three rivals and the ceiling, in turn: messages/s, CPU, requests to AWS, latency, memory
scale       tables that have grown, more processes, more threads
latency     one message at a time through an idle fleet: send to commit, and to the event at the sink
memory      very many messages through one worker

Seconds differ between machines and from one hour to the next; ratios within a round do less, and their
medians are what counts. Exit code 0: everything that was measured is as it must be; 1: something is not; 2: it could
not be measured.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import contest, latency, machine, memory, report, scale, tuning
from tests.bench.command import HOME, RESULTS, Answer, Options, written
from tests.bench.ground import Ground, Setting, ground
from tests.bench.roster import ALL
from tests.bench.targets import all_met
from tests.bench.throughput import Load
from workers.local.processes import LocalStackError, take_lock


@dataclass(frozen=True, slots=True)
class Bench:
    """One of them: what it does, where its results are kept, how much it asks for (when short, too), its rounds."""

    run: Callable[[Ground, Options], Answer]
    file: str
    usual: Load
    short: Load
    rounds: int = 1


BENCHES: Mapping[str, Bench] = {
    "throughput": Bench(contest.run, "latest.json", Load(), Load(messages=600, paced_s=2.0, warm_up=100), rounds=5),
    "scale": Bench(scale.run, "scale.json", Load(), Load(messages=300, warm_up=100), rounds=3),
    "latency": Bench(latency.run, "latency.json", Load(messages=200), Load(messages=10, warm_up=50)),
    "memory": Bench(memory.run, "memory.json", Load(messages=200_000), Load(messages=2_000)),
}
_SIZES, _SHORT_SIZES = (1_000, 10_000, 100_000, 1_000_000), (1_000, 5_000)
_SHORT = """\
show only that everything runs: few messages, one round, nothing written. What can be counted alone decides: AWS
requests per payment, each message committed once, each event at the sink. Ratios are printed and decide nothing, since
a machine that is busy with other things misleads them"""


_OUT = """\
where results are written (default: tests/bench/results; without this option, what only some took part in, or in one
setting, is not written)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; return the exit code."""
    given = _parser().parse_args(arguments)
    bench = BENCHES[given.bench]
    run = tuning.run if given.tune else bench.run
    try:
        with _home() as home, ground(home) as servers:
            answer = run(servers, _options(given, bench))
    except (LocalStackError, AssertionError) as trouble:
        sys.stderr.write(f"bench: could not be measured: {trouble}\nbench: logs are in {HOME}\n")
        return 2
    print(_page(answer))
    folder = _folder(given)
    if folder is not None:
        _keep(answer, folder / bench.file, given.bench)
    return 0 if all_met(answer.verdicts, counted_only=given.short) else 1


def _page(answer: Answer) -> str:
    parts = [machine.line(machine.described()), answer.text]
    if answer.verdicts:
        parts.append(report.of_verdicts(answer.verdicts))
    return "\n\n".join(parts)


def _folder(given: argparse.Namespace) -> Path | None:
    """Return where results are to be written; those of a part replace nothing that is whole, unless one says where."""
    if given.short or given.tune:
        return None
    partial = given.only or given.setting != "both"
    return given.out or (None if partial else RESULTS)


def _keep(answer: Answer, path: Path, name: str) -> None:
    written(answer, path)
    if answer.picture is not None:
        answer.picture.save(path.parent, name)
    sys.stderr.write(f"bench: everything is in {path}\n")


@contextmanager
def _home() -> Iterator[Path]:
    """Yield an empty folder for servers and logs. One benchmark at a time: two would measure each other."""
    HOME.mkdir(parents=True, exist_ok=True)
    with HOME.with_suffix(".lock").open("w") as lock:
        if not take_lock(lock, wait=False):
            raise LocalStackError("another benchmark is running")
        shutil.rmtree(HOME)
        HOME.mkdir()
        try:
            yield HOME
        finally:
            shutil.rmtree(HOME / "postgres", ignore_errors=True)


def _options(given: argparse.Namespace, bench: Bench) -> Options:
    usual = tuning.LOAD if given.tune else bench.short if given.short else bench.usual
    return Options(
        rounds=given.rounds or (1 if given.short else tuning.ROUNDS if given.tune else bench.rounds),
        load=Load(
            messages=given.messages or usual.messages,
            paced_s=usual.paced_s if given.paced is None else given.paced,
            warm_up=usual.warm_up,
        ),
        settings=tuple(Setting) if given.setting == "both" else (Setting(given.setting),),
        only=given.only.split(",") if given.only else (),
        short=given.short,
        sizes=_numbers(given.sizes) or (_SHORT_SIZES if given.short else _SIZES),
        requests=50 if given.short else 500,
        say=_say,
    )


def _numbers(text: str | None) -> tuple[int, ...]:
    return tuple(sorted(int(word.replace("_", "")) for word in text.split(","))) if text else ()


def _say(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")


def _parser() -> argparse.ArgumentParser:
    names = ", ".join(entrant.name for entrant in ALL)
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("bench", nargs="?", choices=BENCHES, default="throughput", help="which one (default: throughput)")
    add("--rounds", type=int, help="how often everything is measured; medians count (default: 5; scale: 3; --tune: 3)")
    add("--messages", type=int, help="how many are sent (default: 6,000; latency: 200; memory: 200,000)")
    add("--paced", type=float, metavar="S", help="seconds at half of a contestant's own best (default: 8)")
    add("--setting", choices=(*Setting, "both"), default="both", help="where the servers are (default: both)")
    add("--only", metavar="NAMES", help=f"who takes part, separated by commas: {names} (default: all of them)")
    add("--sizes", help="payments in the tables before a run of scale (default: 1000,10000,100000,1000000)")
    add("--short", action="store_true", help=_SHORT)
    add("--tune", action="store_true", help="find with how many threads each contestant is fastest, and print it")
    add("--out", type=Path, metavar="DIR", help=_OUT)
    return parser


if __name__ == "__main__":
    sys.exit(main())
