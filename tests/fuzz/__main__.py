"""`python -m tests.fuzz`: feed hostile bodies to parser and decisions, then to the real queue, then to the lifecycle.

Exit code 0: every body ended as declared; 1: one did not; its file, or its message id, is printed.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import bulk, queue
from workers.local.aws import PROJECT_ROOT

#: Bodies of one round of `--minutes`; and the shares of the time for queue and machine, which do so many a second.
_ROUND = 200_000
_QUEUE_SHARE, _QUEUE_A_SECOND = 0.25, 60
_MACHINE_SHARE, _EXAMPLES_A_SECOND = 0.15, 1.0
_MACHINE = "tests/fuzz/test_lifecycle.py"
_HOME = PROJECT_ROOT / ".local" / "fuzz"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; return the exit code."""
    given = _options(arguments)
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    say(f"seed {seed}")
    findings_home = _HOME / str(seed) / "findings"
    tally = _bulk(seed, given, findings_home)
    through = int(given.minutes * 60 * _QUEUE_SHARE * _QUEUE_A_SECOND) if given.minutes else given.queue
    ends = queue.run(seed, through, _HOME / str(seed), say=say) if through else queue.Ends()
    _tell(f"{tally.bodies:,} bodies through parse and decide", tally.ends)
    if ends.sent:
        _tell(
            f"{ends.sent:,} through the real queue ({ends.at_the_door:,} more were nothing that SQS takes)", ends.ends
        )
    examples = int(given.minutes * 60 * _MACHINE_SHARE * _EXAMPLES_A_SECOND) if given.minutes else given.machine
    findings = [*tally.findings, *ends.findings, *_machine(seed, examples)]
    for finding in findings[:50]:
        sys.stdout.write(f"FINDING {finding}\n")
    where = f": bodies are in {findings_home}" if tally.findings else ""
    sys.stdout.write(f"{len(findings)} findings (seed {seed}){where}\n")
    return 1 if findings else 0


def _bulk(seed: int, given: argparse.Namespace, findings: Path) -> bulk.Tally:
    if not given.minutes:
        return bulk.run(seed, given.bodies, findings, say=say)
    total, deadline, number = (
        bulk.Tally(),
        time.monotonic() + given.minutes * 60 * (1 - _QUEUE_SHARE - _MACHINE_SHARE),
        seed,
    )
    while time.monotonic() < deadline:
        total.add(bulk.run(number, _ROUND, findings, say=say))
        number += 1
    return total


def _machine(seed: int, examples: int) -> list[str]:
    """Run so many lives of the state machine; a failing one is printed by pytest, smallest first."""
    if not examples:
        return []
    say(f"{examples} lives of the state machine")
    argv = [sys.executable, "-m", "pytest", "-q", f"--hypothesis-seed={seed}", "--timeout=0", _MACHINE]
    environment = {**os.environ, "FUZZ_EXAMPLES": str(examples)}
    done = subprocess.run(argv, cwd=PROJECT_ROOT, env=environment, check=False)
    sys.stdout.write(f"{examples:,} lives of the state machine\n")
    return [f"{_MACHINE}: see above"] if done.returncode else []


def _tell(title: str, ends: Counter[str]) -> None:
    sys.stdout.write(f"{title}\n")
    for end, count in sorted(ends.items()):
        sys.stdout.write(f"  {count:>9,}  {end}\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=None, help="of every body; by default a new one")
    parser.add_argument("--minutes", type=float, default=None, help="go on for so long, instead of counting")
    parser.add_argument("--bodies", type=int, default=1_000_000, help="through parse and decide (default: 1,000,000)")
    parser.add_argument("--queue", type=int, default=10_000, help="through the real queue (default: 10,000)")
    parser.add_argument("--machine", type=int, default=100, help="lives of the state machine (default: 100)")
    return parser.parse_args(arguments)


def say(line: str) -> None:
    """Report progress."""
    sys.stderr.write(f"fuzz: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
