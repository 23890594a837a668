"""Runs one process of the fleet as it would run on another host: its clock is wrong, and it waits for nobody for long.

The environment says how: STORM_CLOCK_SKEW_S, and STORM_FAULTS, the file that gets a line when it has struck.
"""

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from contracts.provider import PayoutProvider
from store.db import Pool
from workers import cli, clock, payouts, stripe_provider
from workers.roles import worker

SKEWED = "clock: skewed"
#: How long the provider is waited for, in seconds: shorter than it takes when it wants a request to time out.
LOOK_UP_S, SUBMIT_S, PROBE_S = 2.5, 2.5, 1.5
#: How old the reading of an attempt may be when it is submitted, and for how long after its last possible submission
#: an attempt is waited for that the provider does not know: a sixth and a third of the least that settings allow.
SUBMIT_WITHIN_S, GRACE_S = 5.0, 20.0


def skew_clock(seconds: float) -> None:
    """Let the wall clock be wrong by so many seconds; intervals are not touched."""
    right: Callable[[], datetime] = clock.now
    clock.now = lambda: right() + timedelta(seconds=seconds)


def hurry() -> None:
    """Let the provider's time-outs, and how long an attempt is waited for, be as short as all else in a storm."""
    timeouts = partial(stripe_provider.Timeouts, look_up_s=LOOK_UP_S, submit_s=SUBMIT_S, probe_s=PROBE_S)
    stripe_provider.Timeouts = timeouts  # type: ignore[assignment, misc]
    payouts.SUBMIT_WITHIN_S = SUBMIT_WITHIN_S
    vars(worker)["Asker"] = _asker


def _asker(pool: Pool, provider: PayoutProvider, _grace: timedelta) -> payouts.Asker:
    return payouts.Asker(pool, provider, timedelta(seconds=GRACE_S))


def count(faults_path: Path, kind: str) -> None:
    """Write down that a fault has struck; one write, so that lines of several processes do not mix."""
    with faults_path.open("ab", buffering=0) as lines:
        lines.write(f"{json.dumps({'kind': kind})}\n".encode())


def main() -> None:
    """Do what the environment says, then run the role that is the argument."""
    skew_s = float(os.environ["STORM_CLOCK_SKEW_S"])
    if skew_s:
        skew_clock(skew_s)
        count(Path(os.environ["STORM_FAULTS"]), SKEWED)
    hurry()
    sys.argv[0] = "payments"
    cli.main()


if __name__ == "__main__":
    main()
