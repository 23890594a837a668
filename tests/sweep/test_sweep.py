"""A process is killed at every step to the outside; another takes over, and nothing is lost, doubled or left open.

`make sweep`; one point alone: `make sweep ARGS='-k after-commit-WorkCompleted'`.
"""

import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from signal import SIGKILL

import pytest

from tests.conftest import TEMPLATE
from tests.sweep import scenario
from tests.sweep.ground import Place, Servers, place, servers, until
from tests.sweep.launch import Running, warm_up
from tests.sweep.points import POINTS, Point, Role, Trouble
from tests.sweep.verdict import findings
from workers.local import postgres

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(600)]

#: Points that are swept at the same time: most of a point's time is spent waiting for a lease to end.
AT_ONCE = 8
#: What the outbox holds before a relay is started that dies at its first claim.
_TO_SEND = 6
_OLD = """
INSERT INTO message_inbox (consumer, message_key, fingerprint, outcome, received_at)
VALUES ('WorkCompleted', 'old', sha256('old'), 'ignored', clock_timestamp() - interval '30 days');
INSERT INTO outbox (event_id, aggregate_id, aggregate_seq, destination, detail_type, payload, available_at, created_at,
                    published_at, bus_event_id)
VALUES (gen_random_uuid(), gen_random_uuid(), 0, 'bus', 'Old', '{}', clock_timestamp() - interval '3 days',
        clock_timestamp() - interval '3 days', clock_timestamp() - interval '3 days', 'old');
"""
_OLD_LEFT = """
SELECT 1 FROM message_inbox WHERE message_key = 'old' UNION ALL SELECT 1 FROM outbox WHERE detail_type = 'Old'
"""


@pytest.fixture(scope="module")
def sweep(
    server: postgres.Server, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Future]:
    """Sweep the points that are selected, some at a time, before the first test looks at its own.

    pytest writes the name of each test into the environment, which nothing may change while other threads read it.
    """
    selected = {item.name for item in request.session.items}
    chosen = [point for point in POINTS if f"test_killed[{point.name}]" in selected]
    warm_up()
    with (
        servers(server, TEMPLATE, tmp_path_factory.mktemp("sweep")) as found,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        swept = {point.name: pool.submit(_swept, found, point) for point in chosen}
        names = {future: name for name, future in swept.items()}
        for number, future in enumerate(as_completed(names), start=1):
            if future.exception() or future.result():
                _say(request.config, f"{names[future]} is not as it must be")
            if number % 10 == 0 or number == len(chosen):
                _say(request.config, f"{number} of {len(chosen)} points swept")
    return swept


def _say(config: pytest.Config, line: str) -> None:
    """Report progress past pytest's capture."""
    capture = config.pluginmanager.getplugin("capturemanager")
    assert capture
    with capture.global_and_fixture_disabled():
        sys.stderr.write(f"sweep: {line}\n")


@pytest.mark.parametrize("point", [pytest.param(point, id=point.name) for point in POINTS])
def test_killed(point: Point, sweep: Mapping[str, Future]):
    found = sweep[point.name].result()
    assert not found, "\n".join(found)


def _swept(found: Servers, point: Point) -> list[str]:
    """Kill at a point, let others finish the work, and return what is wrong then."""
    with place(found, point.name) as here:
        if point.trouble is Trouble.OLD_ROWS:
            here.write(_OLD)
        here.write(scenario.ACCOUNT)
        here.bank.settle_once(scenario.SETTLED_ACCOUNT, lambda: _paid(here))
        here.post("commands", scenario.commands())
        if point.trouble is not Trouble.EARLY_COMMANDS:
            here.post("events", scenario.events())
        doomed = _start(here, point)
        until(lambda: _first_payment(here) or doomed.exit_code is not None)
        repeated = _first_payment(here)
        if repeated:
            here.post("events", scenario.repetitions())
        _await_death(here, doomed, point)
        here.start(point.role)
        if point.trouble is Trouble.EARLY_COMMANDS:
            here.post("events", scenario.events())
        if not repeated:
            until(lambda: _first_payment(here), what="the first payment")
            here.post("events", scenario.repetitions())
        here.await_drained()
        if point.trouble is Trouble.OLD_ROWS:
            until(lambda: not here.query(_OLD_LEFT), what="the old rows to go")
        return findings(here)


def _first_payment(here: Place) -> bool:
    return bool(here.query("SELECT FROM payments WHERE payment_id = %s", scenario.FIRST))


def _paid(here: Place) -> bool:
    """Whether the payment is paid whose money goes on; then an operator asks for a look at it, too."""
    found = here.query("SELECT FROM payments WHERE payment_id = %s AND status = 'completed'", scenario.TO_SETTLE)
    if found:
        here.write(scenario.REQUEST)
    return bool(found)


def _start(here: Place, point: Point) -> Running:
    """Start the role that shall die, and the other one; a relay is to have something to send at once."""
    if point.role is Role.WORKER:
        here.start("relay")
        return here.start("worker", point)
    here.start("worker")
    until(lambda: here.query("SELECT count(*) AS n FROM outbox")[0]["n"] >= _TO_SEND, what="rows to send")
    return here.start("relay", point)


def _await_death(here: Place, doomed: Running, point: Point) -> None:
    try:
        until(lambda: doomed.exit_code is not None)
    except AssertionError:
        raise AssertionError(f"the point was never reached\n{here.logs()}") from None
    marked = doomed.marked()
    assert (doomed.exit_code, marked.get("point")) == (-SIGKILL, point.name), doomed.log_tail()
    if point.committed is not None:
        key = (marked["kind"], marked["message_key"])
        rows = here.query("SELECT 1 FROM message_inbox WHERE consumer = %s AND message_key = %s", *key)
        assert bool(rows) is point.committed, f"{key} in the inbox: {bool(rows)}"
