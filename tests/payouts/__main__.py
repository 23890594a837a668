"""`python -m tests.payouts`: pay many payments at a provider that fails in every way, killing workers throughout.

Exit code 0: each was paid exactly once, to the cent; 1: a promise was broken.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from tests.payouts.run import Options, Outcome, run

_SEEDS = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; return the exit code."""
    options = _options(arguments)
    print(f"payouts: seed {options.seed}, {options.payments:,} payments, {options.share:.0%} faults; {options.home}")
    outcome = run(options)
    print(text(outcome))
    (options.home / "outcome.json").write_text(json.dumps(outcome.figures, default=str, indent=1))
    return 1 if outcome.findings else 0


def text(outcome: Outcome) -> str:
    """The page that says what came of it."""
    figures = outcome.figures
    faults = {**outcome.faults}
    for fault, count in figures.pop("faults before", {}).items():
        faults[fault] = faults.get(fault, 0) + count
    report = figures.pop("report", None)
    lines = [f"{name}: {value}" for name, value in figures.items()]
    lines.append(f"faults struck: {sum(faults.values())} ({', '.join(f'{k} {v}' for k, v in sorted(faults.items()))})")
    lines.append(f"kills: {sum(outcome.kills.values())} ({', '.join(f'{k} {v}' for k, v in outcome.kills.items())})")
    lines.append(f"reconcile --report: {report}")
    lines += [f"FINDING: {finding}" for finding in outcome.findings[:20]]
    lines.append(f"{len(outcome.findings)} findings")
    return "\n".join(lines)


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m tests.payouts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=None, help="of amounts, faults and kills; by default a new one")
    parser.add_argument("--payments", type=int, default=10_000, help="how many (default: 10,000)")
    parser.add_argument("--share", type=float, default=0.2, help="of requests that go wrong (default: 0.2)")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long the payments may take (default: 20)")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(_SEEDS) if given.seed is None else given.seed
    home = Path(tempfile.mkdtemp(prefix=f"payouts-{seed}-"))
    return Options(
        seed=seed, payments=given.payments, share=given.share, home=home, patience=timedelta(minutes=given.minutes)
    )


if __name__ == "__main__":
    sys.exit(main())
