"""One run: how many messages a second a contestant takes, and what each of them costs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.bench.contestants import Contestant, committed, detail
from tests.bench.figures import Figures, percentiles
from tests.bench.ground import Ground, Run, Setting
from tests.bench.processes import cpu_of_tree_s
from tests.kit import sqs

#: How often the pacer sends, in seconds.
PACE_S = 0.02
#: What the requests of one side are called in the results; the rest is SQS's.
PUT_EVENTS = "PutEvents"


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked of a contestant.

    Attributes:
        messages: lie in a heap when it begins.
        paced_s: for how long messages come at half of its own best.
        warm_up: messages that are handled before anything is measured: imports, caches, prepared statements.
    """

    messages: int = 6_000
    paced_s: float = 8.0
    warm_up: int = 400


@dataclass(frozen=True, slots=True)
class _Used:
    """What has been used up to a moment."""

    cpu_s: dict[str, float]
    servers_s: dict[str, float]
    requests: dict[str, int]

    @classmethod
    def now(cls, run: Run) -> "_Used":
        cpu_s: dict[str, float] = {}
        for process in run.processes:
            cpu_s[process.name] = cpu_s.get(process.name, 0.0) + process.cpu_s()
        put = {entry["request"] for entry in run.published()}
        servers = run.ground.servers()
        return cls(
            cpu_s,
            {name: cpu_of_tree_s(pid) for name, pid in servers.items()},
            {**run.ground.requests(), PUT_EVENTS: len(put)},
        )


@dataclass(frozen=True, slots=True)
class Grown:
    """A run whose tables are not empty.

    Attributes:
        template: the database to copy.
        look: is shown the run at its end.
    """

    template: str
    look: Callable[[Run], None]


def measure(
    ground: Ground, contestant: Contestant, setting: Setting, threads: int, load: Load, grown: Grown | None = None
) -> Figures:
    """Measure one contestant in one setting, on a database and queues of its own.

    Args:
        ground: the servers.
        contestant: who.
        setting: how far away the servers are.
        threads: how many threads it is given.
        load: how much is asked of it.
        grown: where its tables are not to be empty.
    """
    with ground.run(setting, ours=contestant.ours, template=grown.template if grown else None) as run:
        there = payments(run) if grown else 0
        contestant.start(run, threads)
        run.send([contestant.body(detail()) for _ in range(load.warm_up)])
        sent = load.warm_up
        await_all(contestant, run, there + sent)
        found = _at_best(contestant, run, setting, threads, load.messages, there + sent)
        sent += load.messages
        if load.paced_s:
            sent += _at_half(contestant, run, found, load.paced_s, there + sent)
        found.counts = contestant.counts(run, sent, payments(run) - there)
        for process in run.processes:
            found.peak_mib[process.name] = round(max(found.peak_mib.get(process.name, 0), process.peak_mib()), 1)
        if grown:
            grown.look(run)
    return found


def _at_best(contestant: Contestant, run: Run, setting: Setting, threads: int, count: int, there: int) -> Figures:
    """Let it work off a heap that was there before it began, beside so many payments."""
    bodies = [contestant.body(detail()) for _ in range(count)]
    for process in run.processes:
        process.freeze()
    run.send(bodies)
    before = _Used.now(run)
    began = time.time()
    for process in run.processes:
        process.thaw()
    await_all(contestant, run, there + count)
    after = _Used.now(run)
    ended = max(*committed(run, after=began).values(), contestant.ended_at(run))
    requests = {name: after.requests[name] - before.requests.get(name, 0) for name in after.requests}
    return Figures(
        contestant=contestant.name,
        setting=setting,
        threads=threads,
        messages=count,
        per_second=round(count / (ended - began), 1),
        cpu_ms=_each_ms(count, before.cpu_s, after.cpu_s),
        requests={name: round(used / count, 4) for name, used in sorted(requests.items()) if used},
        servers_cpu_ms=_each_ms(count, before.servers_s, after.servers_s),
    )


def _each_ms(count: int, before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: round((after[name] - before[name]) * 1000 / count, 4) for name in after}


def _at_half(contestant: Contestant, run: Run, found: Figures, seconds: float, there: int) -> int:
    """Send at half of its own best, and take the time from each sending to its commit; return how many were sent."""
    rate = found.per_second / 2
    began = time.time()
    sent = _paced(contestant, run, rate, seconds)
    await_all(contestant, run, there + len(sent))
    at = committed(run, after=began)
    latencies = [(at[incident] - sent_at) * 1000 for incident, sent_at in sent.items()]
    found.paced_per_second = round(rate, 1)
    found.p50_ms, found.p99_ms = (round(value, 1) for value in percentiles(latencies))
    return len(sent)


def _paced(contestant: Contestant, run: Run, rate: float, seconds: float) -> dict[str, float]:
    """Send so many messages a second; return when each was sent, by its incident."""
    sent: dict[str, float] = {}
    began = time.time()
    while (now := time.time()) < began + seconds:
        due = [detail() for _ in range(int((now - began) * rate) - len(sent))]
        for job in due:
            sent[job["incidentId"]] = time.time()
        run.send([contestant.body(job) for job in due])
        time.sleep(max(0.0, now + PACE_S - time.time()))
    return sent


def payments(run: Run) -> int:
    """How many payments there are."""
    return int(run.query("SELECT count(*) AS n FROM payments")[0]["n"])


def await_all(contestant: Contestant, run: Run, count: int, within_s: float = 600) -> None:
    """Wait until so many payments are there, and everything that follows from them.

    The queue is asked first, and again and again; the database, whose time is being measured, only when that is empty.
    """

    def done() -> bool:
        for process in run.processes:
            process.child.check()
        return not run.left() and not contestant.owes(run) and payments(run) >= count

    sqs.until(done, what=f"{count} payments of {contestant.name}", within_s=within_s, every_s=0.1)
