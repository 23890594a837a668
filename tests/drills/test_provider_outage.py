"""The provider is away for ten minutes: what waits for it costs two receives at most, and approvals go on meanwhile."""

import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.drills.ground import SHORT, Ground, ground, say, until

#: How long the provider is away, in seconds.
OUTAGE_S = 90.0 if SHORT else 600.0
#: As in production: the fast profile would hide that an outage burns receives.
PRODUCTION = {
    "PAYMENTS_BACKOFF_S": "5,15,45,120,300",
    "PAYMENTS_OUTAGE_S": "30,60",
    "PAYMENTS_BREAKER_PROBE_S": "2",
    "PAYMENTS_NOT_YET_S": "120",
    "PAYMENTS_SWEEP_EVERY_S": "30",
}
JOBS = 40
#: How long an approval may take while the provider is away, in seconds.
APPROVED_WITHIN_S = 20.0
UNAPPROVED = "payments WHERE status = 'pending_approval'"

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1_200)]


def outage(found: Ground, mode: str) -> None:
    """Switch the provider off and on."""
    httpx.put(f"{found.running.provider_url}/_control/outage", json={"mode": mode}).raise_for_status()


def approve(found: Ground, jobs: int) -> None:
    """Finish and approve so many jobs."""
    before = found.count("payments")
    found.finish_jobs(jobs)
    found.wait_for("payments", before + jobs, within_s=APPROVED_WITHIN_S)
    found.approve_all()


def test_an_outage_of_the_provider_costs_two_receives_and_delays_no_approval(tmp_path: Path):
    with ground(tmp_path, **PRODUCTION) as found:
        for role in ("worker", "worker", "relay"):
            found.start(role)
        approve(found, JOBS)
        outage(found, "reset")  # in the midst of them
        began, jobs = time.monotonic(), JOBS
        while time.monotonic() - began < OUTAGE_S:
            approve(found, JOBS // 4)
            jobs += JOBS // 4
            until(lambda: found.count(UNAPPROVED) == 0, what="every approval", within_s=APPROVED_WITHIN_S)
            say(f"away for {time.monotonic() - began:.0f} s, {jobs} payments approved")
            time.sleep(10)
        assert found.count("payments WHERE status = 'completed'") < jobs
        outage(found, "off")
        found.wait_for("payments WHERE status = 'completed'", jobs, within_s=400)
        until(lambda: found.left_in("payouts") == 0, what="an empty queue", within_s=120)
        highest = Counter(found.receives().values())
        say(f"messages by receives: {dict(sorted(highest.items()))}")
        assert max(highest) <= 2, highest
        found.assert_sound()
