"""Holds a storm from the first server to the report; who judges what came of it is handed in."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.storm import census
from tests.storm.bank import Carrier
from tests.storm.driver import Feeder, Storm, StormError
from tests.storm.evidence import Gathered, gathered
from tests.storm.fleet import SIZES, Fleet
from tests.storm.report import Report
from tests.storm.servers import Ground, ground
from tests.storm.traffic import Outgoing
from workers.local.aws import PROJECT_ROOT

#: What of the given minutes is kept for the calm, the census and the audit, in seconds, and the least that must blow.
CALM_S, STORM_MIN_S = 75.0, 20.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may choose."""

    seed: int
    messages: int
    minutes: float

    @property
    def home(self) -> Path:
        """Where everything about this storm is kept."""
        return PROJECT_ROOT / ".local" / "storm" / str(self.seed)

    @property
    def seconds(self) -> float:
        """How long it blows at most."""
        return max(STORM_MIN_S, self.minutes * 60 - CALM_S)


#: Given the database's URL and the evidence, returns counts for the report and findings (rule, subject, text).
Judge = Callable[[str, Gathered], tuple[Mapping[str, int], Sequence[tuple[str, str, str]]]]


def hold(options: Options, traffic: Iterable[Outgoing], judge: Judge, *, closed_accounts: Sequence[str] = ()) -> Report:
    """Hold one storm; what is wrong with the service stands in the report.

    Args:
        options: what a person may choose.
        traffic: what is sent.
        judge: who judges what has come of it.
        closed_accounts: whom the provider does not pay.

    Raises:
        StormError: it could not be held.
        LocalStackError: a server did not start.
    """
    shutil.rmtree(options.home, ignore_errors=True)
    report = Report(options.seed, SIZES)
    with ground(options.home, options.seed) as found, _fleet(found, options.seed) as fleet:
        feeder = Feeder(found, traffic, options.messages)
        carrier = Carrier(found.record, found.sqs(), found.running.queues["events"])
        found.bank.close_accounts(closed_accounts)
        storm = Storm(found, fleet, feeder, carrier, options.seed, options.seconds)
        storm.start_fleet()
        findings: list[tuple[str, str, str]] = []
        with _timed(report, "storm"):
            storm.blow()
        with _timed(report, "calm"):
            drained = storm.calm()
        if not drained:
            findings.append(("not drained", "fleet", f"left in the calm: {storm.left()}"))
        with _timed(report, "census"):
            findings += census.at_rest(storm)
            findings += census.after_stop(storm)
            findings += census.faults_told(storm)
        _tell(report, storm)
        with _timed(report, "audit"):
            evidence = gathered(found, storm.settled_accounts)
            report.dead_letters = _reasons(evidence)
            report.effects, judged = judge(found.running.database_url, evidence)
        report.findings = [*fleet.findings, *findings, *judged]
    report.keep(options.home)
    return report


@contextmanager
def _fleet(found: Ground, seed: int) -> Iterator[Fleet]:
    fleet = Fleet(found, seed)
    try:
        yield fleet
    finally:
        fleet.stop_all()


@contextmanager
def _timed(report: Report, part: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    report.seconds[part] = time.monotonic() - began


def _tell(report: Report, storm: Storm) -> None:
    report.sent = {**storm.feeder.sent, "events of the provider": storm.carrier.carried}
    report.own = storm.counts()["payouts"]
    report.deliveries = storm.ground.aws_weather.told()["deliveries"]
    report.faults = dict(storm.all_faults())
    report.failed_starts = storm.fleet.failed_starts
    if not report.own:
        raise StormError("the fleet has posted nothing to itself: no payment came as far as a payout")


def _reasons(evidence: Gathered) -> dict[str, int]:
    told = (
        f"{letter['queue']}: {letter['attributes'].get('Reason', 'received too often')}"
        for letter in evidence.dead_letters
    )
    return dict(Counter(told))
