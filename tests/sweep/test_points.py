"""The table of points is whole: whatever a worker or a relay sends or writes has a point, or a reason why not."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from tests.sweep.points import CALLS, OPERATIONS, POINTS, STATEMENTS, statement

ROOT = Path(__file__).parents[2]
WRITES = re.compile(r"^(?:INSERT INTO|UPDATE|DELETE FROM|WITH)\b", re.MULTILINE)
#: Statements that write and have no point.
WITHOUT_POINT = {
    "INSERT INTO failure_replays": "a person's command, not a step of worker or relay",
    "INSERT INTO failure_replays_sent": "the same",
    "INSERT INTO access_audit (operation,": "the read endpoint's own, which takes no other step",
    "INSERT INTO reconcile_requests": "a person's command, not a step of worker or relay",
    "INSERT INTO heartbeats": "tells of a process and of no message: nothing that is done depends on it",
    "UPDATE heartbeats": "the same",
    "DELETE FROM heartbeats": "the monitor's, which takes no other step",
    "INSERT INTO fleet_snapshots": "the same",
    "DELETE FROM fleet_snapshots": "the same",
    "INSERT INTO audit_verifications": "the same",
}
#: Operations of boto3's clients that only ask.
READS = {"get_queue_attributes", "get_queue_url"}
#: The rooms' modules in which worker and relay speak to AWS.
SPEAKERS = ("broker", "delivery", "leases", "polling", "relay", "settling")


def writing_statements() -> Iterator[str]:
    """Every statement of the store that writes: as its modules spell it, and as they put it together."""
    found: dict[str, None] = {}
    for path in sorted((ROOT / "store").glob("*.py")):
        spelt = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        composed = vars(import_module(f"store.{path.stem}")).values()
        for written in (*composed, *spelt):
            if isinstance(written, str) and WRITES.search(written) and re.search(r"\b(INTO|SET|DELETE FROM) ", written):
                found[" ".join(written.split())] = None
    yield from found


def test_there_are_more_than_twenty_points():
    assert len(POINTS) > 20


def test_every_name_is_one_points_own():
    names = [point.name for point in POINTS]
    assert sorted(set(names)) == sorted(names)


def test_every_point_names_a_step_that_there_is():
    unknown = {point.step for point in POINTS} - {*STATEMENTS, *OPERATIONS, *CALLS}
    assert not unknown


def test_every_step_has_a_point():
    without = {*STATEMENTS, *OPERATIONS, *CALLS} - {point.step for point in POINTS}
    assert not without


def test_every_statement_that_writes_has_a_point_or_a_reason():
    found = list(writing_statements())
    assert len(found) >= len(WITHOUT_POINT) + 10, "the scan has lost its eyes"
    reasons = tuple(f"{start} " for start in WITHOUT_POINT)
    nameless = [written[:80] for written in found if not statement(written) and not written.startswith(reasons)]
    assert not nameless, f"give each a name in STATEMENTS and a point, or a reason in WITHOUT_POINT: {nameless}"


def test_every_reason_is_needed():
    needed = {start for start in WITHOUT_POINT for written in writing_statements() if written.startswith(f"{start} ")}
    assert needed == set(WITHOUT_POINT)


def test_no_statement_is_two_steps():
    for written in writing_statements():
        names = [name for name, pattern in STATEMENTS.items() if re.match(pattern, written)]
        assert len(names) < 2, written


def test_every_privilege_to_write_is_used_by_a_step():
    """The grants are golden: a new table that worker or relay may write to needs a point."""
    verbs = {"INSERT": "INSERT INTO {}", "UPDATE": "UPDATE {}", "DELETE": "DELETE FROM {}"}
    role = table = ""
    for line in (ROOT / "tests" / "store" / "grants.golden.txt").read_text().splitlines():
        if header := re.fullmatch(r"(\w+) (\w+):", line):
            role, table = header.groups()
        verb = line.split()[0]
        if verb in verbs and role in ("payments_worker", "payments_relay"):
            wanted = verbs[verb].format(table)
            upserted = verb == "UPDATE" and any(
                re.search(rf"\bINSERT INTO {table}\b.* DO UPDATE", written) for written in writing_statements()
            )
            steps = [name for name, pattern in STATEMENTS.items() if wanted in pattern]
            assert steps or upserted or wanted in WITHOUT_POINT, f"{role} may {verb} {table}, and no step does"


def test_every_operation_of_the_clients_has_a_point():
    called = {
        operation
        for module in SPEAKERS
        for operation in re.findall(r"client\.(\w+)\(", (ROOT / "workers" / f"{module}.py").read_text())
    }
    names = {"".join(word.capitalize() for word in operation.split("_")) for operation in called - READS}
    assert names == set(OPERATIONS.values())
