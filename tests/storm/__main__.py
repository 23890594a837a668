"""`python -m tests.storm`: hold a storm over a real fleet, audit what came of it, and print one page.

Exit code 0: sound; 1: a guarantee was broken; 2: the storm could not be held, which says nothing about the service.
"""

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta

from store import db, invariants
from store.db import PoolOptions
from tests.storm.auditor import Finding, audit
from tests.storm.driver import StormError
from tests.storm.evidence import Gathered
from tests.storm.fleet import PROFILE
from tests.storm.hold import CALM_S, Options, hold
from tests.storm.traffic import Traffic
from workers.local.processes import LocalStackError
from workers.settings import FAST_PROFILE

_SEEDS = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; return the exit code."""
    options = _options(arguments)
    traffic = Traffic(options.seed)

    def judge(database_url: str, evidence: Gathered) -> tuple[Mapping[str, int], Sequence[Finding]]:
        not_yet = timedelta(seconds=float({**FAST_PROFILE, **PROFILE}["PAYMENTS_NOT_YET_S"]))
        figures, found = audit(database_url, traffic.manifest, evidence, not_yet=not_yet)
        return figures, [*found, *_violations(database_url)]

    sys.stderr.write(
        f"storm: seed {options.seed}, {options.messages:,} messages, {options.minutes:g} minutes at most\n"
    )
    try:
        report = hold(options, iter(traffic), judge, closed_accounts=traffic.closed_accounts)
    except (StormError, LocalStackError) as trouble:
        sys.stderr.write(f"storm: could not be held: {trouble}\nstorm: logs are in {options.home}\n")
        return 2
    sys.stdout.write(f"{report.text()}\n")
    sys.stderr.write(f"storm: report.txt, report.json and the logs of every process are in {options.home}\n")
    return 1 if report.findings else 0


def _violations(database_url: str) -> list[Finding]:
    """What the service's own monitor would say: the auditor must not be the only one to notice."""
    with db.open_pool(database_url, PoolOptions(size_min=1, size_max=1)) as pool:
        broken = invariants.check(pool).broken
    return [("invariant", name, f"{count} rows break it") for name, count in broken.items() if count]


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m tests.storm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Of the minutes, {CALM_S:.0f} seconds are for the calm, the census and the audit.",
    )
    parser.add_argument("--seed", type=int, default=None, help="of schedule, faults and traffic; by default a new one")
    parser.add_argument(
        "--messages", type=int, default=1_000_000, help="end the storm after so many, the fleet's own included"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long all of it takes at most (default: 10)")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(_SEEDS) if given.seed is None else given.seed
    return Options(seed=seed, messages=given.messages, minutes=given.minutes)


if __name__ == "__main__":
    sys.exit(main())
