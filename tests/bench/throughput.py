"""One run: how many messages a second a contestant takes, and what each of them costs."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.contestants import Contestant, committed, detail
from tests.bench.ground import Ground, Run, Setting
from tests.bench.processes import cpu_of_tree_s
from tests.kit import sqs

#: What is handled before anything is measured: imports, caches, prepared statements.
WARM_UP = 400
#: How often the pacer sends, in seconds.
PACE_S = 0.02
#: What the requests of one side are called in the results; the rest is SQS's.
PUT_EVENTS = "PutEvents"


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked of a contestant: messages in a heap, and for how long at half of its own best."""

    messages: int = 6_000
    paced_s: float = 8.0


@dataclass(slots=True)
class Figures:
    """What was measured of one run; CPU in milliseconds per message, latency in milliseconds, memory in MiB."""

    contestant: str
    setting: Setting
    threads: int
    messages: int
    per_second: float
    cpu_ms: dict[str, float]
    requests: dict[str, float]
    servers_cpu_ms: dict[str, float]
    peak_mib: dict[str, float] = field(default_factory=dict)
    paced_per_second: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0

    @property
    def cpu_total_ms(self) -> float:
        """Of all its processes."""
        return sum(self.cpu_ms.values())

    @property
    def requests_total(self) -> float:
        """Requests to AWS for each message."""
        return sum(self.requests.values())


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


def measure(ground: Ground, contestant: Contestant, setting: Setting, threads: int, load: Load) -> Figures:
    """Measure one contestant in one setting, on a database and queues of its own."""
    with ground.run(setting, ours=contestant.ours) as run:
        contestant.start(run, threads)
        run.send([contestant.body(detail()) for _ in range(WARM_UP)])
        _await(contestant, run, WARM_UP)
        found = _at_best(contestant, run, setting, threads, load.messages)
        if load.paced_s:
            _at_half(contestant, run, found, load)
        for process in run.processes:
            found.peak_mib[process.name] = round(max(found.peak_mib.get(process.name, 0), process.peak_mib()), 1)
    return found


def _at_best(contestant: Contestant, run: Run, setting: Setting, threads: int, count: int) -> Figures:
    """Let it work off a heap that was there before it began."""
    bodies = [contestant.body(detail()) for _ in range(count)]
    for process in run.processes:
        process.freeze()
    run.send(bodies)
    before = _Used.now(run)
    began = time.time()
    for process in run.processes:
        process.thaw()
    _await(contestant, run, WARM_UP + count)
    after = _Used.now(run)
    ended = max(*committed(run).values(), contestant.ended_at(run))
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


def _at_half(contestant: Contestant, run: Run, found: Figures, load: Load) -> None:
    """Send at half of its own best, and take the time from each sending to its commit."""
    before = len(committed(run))
    rate = found.per_second / 2
    sent = _paced(contestant, run, rate, load.paced_s)
    _await(contestant, run, before + len(sent))
    at = committed(run)
    latencies = [(at[incident] - sent_at) * 1000 for incident, sent_at in sent.items()]
    found.paced_per_second = round(rate, 1)
    found.p50_ms, found.p99_ms = (round(value, 1) for value in percentiles(latencies))


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


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the 50th and the 99th percentile."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


def _await(contestant: Contestant, run: Run, count: int) -> None:
    """Wait until so many payments are there, and everything that follows from them."""

    def done() -> bool:
        for process in run.processes:
            process.child.check()
        payments: Any = run.query("SELECT count(*) AS n FROM payments")[0]["n"]
        return payments >= count and not contestant.owes(run) and not run.left()

    sqs.until(done, what=f"{count} payments of {contestant.name}", within_s=300, every_s=0.2)
