"""What a fleet must survive, at its real size: `make drills`. CI runs the same with smaller numbers.

Every figure is taken from outside: the database, the queues, the processes' own metrics and logs.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drills.ground import SHORT, Ground, ground, say, until, without_postgres

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900)]

#: A killed worker's messages come back when their lease ends: shorter than in production, so that it can be waited for.
LEASE = {"PAYMENTS_VISIBILITY_S": "8", "PAYMENTS_LEASE_RENEW_S": "3"}
PAID = "payments WHERE status = 'completed'"
JOBS = 200 if SHORT else 500


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Ground]:
    with ground(tmp_path, **LEASE) as found:
        yield found


def test_kill_9_in_the_middle_loses_and_doubles_nothing(field: Ground):
    field.start("relay")
    worker = field.start("worker")
    field.finish_jobs(JOBS)
    for share in (0.2, 0.5, 0.8):
        field.wait_for("payments", JOBS * share)
        worker.kill()
        say(f"killed a worker after {field.count('payments')} payments")
        worker = field.start("worker")
    field.assert_all_created(JOBS)
    field.approve_all()
    for share in (0.2, 0.5, 0.8):
        field.wait_for(PAID, JOBS * share)
        worker.kill()
        say(f"killed a worker after {field.count(PAID)} payouts")
        worker = field.start("worker")
    field.assert_all_paid(JOBS)


def test_sigterm_in_the_middle_loses_doubles_and_releases_nothing_twice(field: Ground):
    field.start("relay")
    worker = field.start("worker")
    field.finish_jobs(JOBS)
    stops = (0.2, 0.5, 0.8)
    for share in stops:
        field.wait_for("payments", JOBS * share)
        began = time.monotonic()
        assert worker.child.stop(20) == 0
        took_s = time.monotonic() - began
        last = worker.log()[-1]
        assert (last["event"], last["clean"], last["healthy"]) == ("worker stopped", True, True)
        settled = field.left_in("events") + field.count("payments")
        say(f"stopped a worker after {field.count('payments')} payments in {took_s:.1f} s")
        assert took_s < 10, "the stop budget of the fast profile"
        assert settled == JOBS, "what was handled is deleted, what was not is still there"
        worker = field.start("worker")
    field.assert_all_created(JOBS)
    received = field.receives()
    assert len(received) == JOBS
    assert max(received.values()) <= 1 + len(stops), "handed back once per stop at most"
    assert sum(count > 2 for count in received.values()) <= 40, "hardly any message meets two stops"


def test_an_outage_of_postgres_costs_each_message_at_most_two_receives(field: Ground):
    field.overrides["PAYMENTS_OUTAGE_S"] = "30,60"  # as in production
    field.start("relay")
    worker = field.start("worker")
    field.finish_jobs(JOBS)
    field.wait_for("payments", JOBS * 0.3)
    outage_s = 15 if SHORT else 60
    with without_postgres(field):
        say(f"Postgres is away for {outage_s} s")
        began = time.monotonic()
        until(lambda: worker.get("/ready")[0] == 503, what="readiness to say so", within_s=30)
        until(lambda: worker.metric("payments_breaker_open")["database"] == 1, what="the breaker", within_s=30)
        reason = worker.get("/ready")[1]["reason"]
        assert "database_away" in reason
        assert worker.get("/health")[0] == 200, "an outage must not restart the fleet"
        threading.Event().wait(outage_s - (time.monotonic() - began))
    came_back = time.monotonic()
    until(lambda: worker.get("/ready")[0] == 200, what="readiness", within_s=60)
    field.assert_all_created(JOBS)
    say(f"all done {time.monotonic() - came_back:.0f} s after Postgres came back")
    assert worker.child.alive()
    received = field.receives()
    say(f"receive counts: {sorted(set(received.values()))}")
    assert max(received.values()) <= 3, "its own receive, and two more"


def test_a_backlog_costs_half_a_request_per_message_at_most(field: Ground):
    """The worker has a backlog, and then the relay has one: what each sends depends on no race between the two.

    Side by side a relay that keeps up sends what is there, on two cores 8 of 10 entries.
    """
    jobs = 2_000 if SHORT else 5_000
    field.overrides["PAYMENTS_POLL_WAIT_S"] = "5"  # 20 in production: what is idle costs even less there
    field.finish_jobs(jobs)
    began = time.monotonic()
    worker = field.start("worker")
    field.wait_for("payments", jobs, within_s=400)
    took_s = time.monotonic() - began
    relay = field.start("relay")
    field.wait_for("outbox WHERE published_at IS NOT NULL", 2 * jobs)
    requests: Counter[str] = Counter()
    for process in (worker, relay):
        requests.update({name: int(count) for name, count in process.metric("payments_aws_requests_total").items()})
    per_message = sum(requests.values()) / jobs
    say(f"{jobs} WorkCompleted in {took_s:.0f} s, {jobs / took_s:.0f} per second")
    for operation, count in sorted(requests.items()):
        say(f"  {operation:<30} {count:>6.0f}  {count / jobs:.3f} per message")
    say(f"  all                            {sum(requests.values()):>6.0f}  {per_message:.3f} per message")
    assert per_message <= 0.5
    field.assert_all_created(jobs)
