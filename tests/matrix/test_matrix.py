"""The authorisation matrix: every cell on the application and, for reads, on the database; every rule is missed.

The oracle beside this file says who may do what a second time, so that a changed cell fails and not only a broken one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from contracts import authority
from contracts.authority import MATRIX, Persona
from contracts.inbound import KINDS
from contracts.payment import Role
from store.db import StoreFault
from tests.kit.readers import reading_pool
from tests.matrix import oracle
from tests.matrix.world import PEOPLE, SKEW, World, serving
from workers import page, status
from workers.health import application
from workers.metrics import Metrics

COMMANDS = [(kind, who) for kind, who in oracle.CELLS if kind in oracle.ACCEPTED]
READS = [
    (read, who) for read, who in oracle.CELLS if read in oracle.READS and who not in {Persona.SERVICE, Persona.OPERATOR}
]
OPEN = [(read, who) for read, who in oracle.CELLS if read in oracle.OPEN and oracle.of(read, who) != "-"]
#: The tables that row-level security guards.
GUARDED = (*oracle.SEEN, "memberships", "heartbeats")


@pytest.fixture(scope="module")
def payment(world: World) -> UUID:
    return world.flagged()


@pytest.fixture(scope="module")
def served(world: World, url: str) -> Iterator[str]:
    with reading_pool(url) as reader, serving(reader, world) as address:
        yield address


# -- every cell


@pytest.mark.parametrize("cells", [pytest.param(len(oracle.CELLS), id=f"{len(oracle.CELLS)} cells")])
def test_the_matrix_has_so_many_cells(cells: int):
    assert cells == len(MATRIX) * len(Persona) == 207
    assert set(MATRIX) == {operation for operation, _ in oracle.CELLS}


@pytest.mark.parametrize(("operation", "who"), oracle.CELLS)
def test_a_cell_says_what_it_should(operation: str, who: Persona):
    assert MATRIX[operation][who] == oracle.of(operation, who)


@pytest.mark.parametrize(("kind", "who"), COMMANDS)
def test_a_command_ends_as_its_cell_says(world: World, kind: str, who: Persona):
    assert world.tried(kind, who) == oracle.of(kind, who)


@pytest.mark.parametrize(("read", "who"), READS)
def test_a_read_is_answered_as_its_cell_says(world: World, served: str, payment: UUID, read: str, who: Persona):
    assert world.read(served, read, who, payment) == oracle.of(read, who)


@pytest.mark.parametrize(("read", "who"), OPEN)
def test_what_is_open_is_answered_to_everybody(world: World, served: str, payment: UUID, read: str, who: Persona):
    assert world.read(served, read, who, payment) == "200"


def test_every_kind_and_every_route_has_a_row(world: World):
    assert set(KINDS) <= set(MATRIX)
    routes = [*status.routes(world.pool, world.verifier, SKEW), *page.routes(world.pool)]
    app = application(Metrics().registry, dict, dict, routes)
    paths = {f"GET {getattr(route, 'path', '')}".replace("{payment_id}", "{id}") for route in app.routes}
    assert paths == {operation for operation in MATRIX if operation.startswith("GET ")}


def test_what_has_no_row_is_denied():
    assert authority.refusal("FaxPayment", Persona.ADMIN) == "forbidden_role"
    assert authority.status("GET /everything", Persona.ADMIN) == 403


# -- every cell of the reads once more, on the database alone


@contextmanager
def as_role(connection: psycopg.Connection[Any], role: str, subject: UUID | None, groups: str) -> Iterator[None]:
    """A part of a transaction that has no more rights than a role, and says whose eyes it has."""
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
    settings = "SELECT set_config('app.subject', %s, true), set_config('app.groups', %s, true)"
    connection.execute(settings, (str(subject) if subject else "", groups))
    try:
        yield
    finally:
        connection.execute("RESET ROLE")


def sees(connection: psycopg.Connection[Any], who: Persona, table: str, payment_id: UUID) -> bool:
    role = "payments_monitor" if who is Persona.OPERATOR else "payments_reader"
    subject, membership = PEOPLE.get(who, (None, {"role": ""}))
    with as_role(connection, role, subject, str(membership["role"])):
        query = sql.SQL("SELECT count(*) FROM {} WHERE payment_id = %s").format(sql.Identifier(table))
        [(count,)] = connection.execute(query, (payment_id,)).fetchall()
        return bool(count)


def seen_memberships(connection: psycopg.Connection[Any], role: str, subject: UUID | None) -> int:
    with as_role(connection, role, subject, "admin"):
        return len(connection.execute("SELECT sub FROM memberships").fetchall())


def wrong_sights(connection: psycopg.Connection[Any], payment_id: UUID) -> list[str]:
    """Every cell in which the database alone shows something else than it should."""
    wrong = [
        f"{who} {table}"
        for table, may in oracle.SEEN.items()
        for who in Persona
        if who is not Persona.SERVICE and sees(connection, who, table, payment_id) is not (who in may)
    ]
    everything = [(role, table) for role in ("payments_worker", "payments_owner") for table in oracle.SEEN]
    for role, table in (*everything, ("payments_relay", "payments")):  # the relay's sweep looks for what is due
        with as_role(connection, role, None, ""):
            query = sql.SQL("SELECT 1 FROM {} WHERE payment_id = %s").format(sql.Identifier(table))
            wrong += [] if connection.execute(query, (payment_id,)).fetchall() else [f"{role} {table}"]
    everybody = len(connection.execute("SELECT 1 FROM memberships").fetchall())
    expected = {("payments_reader", PEOPLE[Persona.ADMIN][0]): 1, ("payments_reader", None): 0}
    expected |= {(role, None): everybody for role in ("payments_monitor", "payments_worker", "payments_owner")}
    for (role, subject), count in expected.items():
        wrong += [] if seen_memberships(connection, role, subject) == count else [f"{role} memberships"]
    return wrong + wrong_heartbeats(connection)


def wrong_heartbeats(connection: psycopg.Connection[Any]) -> list[str]:
    """Every role that sees other processes than it should, or cannot speak of its own."""
    wrong = []
    for role, (seen, own) in oracle.HEARTBEATS.items():
        with as_role(connection, role, None, ""):
            found = frozenset(name for (name,) in connection.execute("SELECT role FROM heartbeats"))
            spoken = connection.execute("UPDATE heartbeats SET trouble = 'x' WHERE role = ANY(%s)", ([*own],)).rowcount
        wrong += [] if (found, spoken) == (seen, len(own)) else [f"{role} heartbeats"]
    return wrong


@pytest.fixture
def superuser(url: str, payment: UUID) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url) as connection:
        for role in oracle.PROCESSES:
            beat = "INSERT INTO heartbeats (instance_id, role, version) VALUES (gen_random_uuid(), %s, '1')"
            connection.execute(beat, (role,))
        yield connection
        connection.rollback()


@pytest.mark.parametrize(
    ("table", "who"), [(table, who) for table in oracle.SEEN for who in Persona if who is not Persona.SERVICE]
)
def test_the_database_alone_shows_what_it_should(
    superuser: psycopg.Connection[Any], payment: UUID, table: str, who: Persona
):
    assert sees(superuser, who, table, payment) is (who in oracle.SEEN[table])


def test_the_database_alone_is_right_in_every_cell(superuser: psycopg.Connection[Any], payment: UUID):
    assert wrong_sights(superuser, payment) == []


def test_a_payment_of_no_company_is_no_dispatchers(superuser: psycopg.Connection[Any], payment: UUID):
    superuser.execute("SET LOCAL session_replication_role = replica")
    superuser.execute("UPDATE payments SET company_id = NULL, policy_version = NULL")
    assert not sees(superuser, Persona.DISPATCHER_OWN, "payments", payment)
    assert sees(superuser, Persona.ADMIN, "payments", payment)


@pytest.mark.parametrize("groups", ["", "dispatcher", "vendor,dispatcher"])
def test_a_token_without_ones_group_sees_nothing(superuser: psycopg.Connection[Any], payment: UUID, groups: str):
    with as_role(superuser, "payments_reader", PEOPLE[Persona.ADMIN][0], groups):
        assert superuser.execute("SELECT 1 FROM payments").fetchall() == []


# -- what is taken away is missed


@contextmanager
def another(matrix: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(authority, "MATRIX", MappingProxyType(dict(matrix)))
        yield


def ended(world: World, served: str, payment: UUID, operation: str, who: Persona) -> str:
    """What a persona's try of a command or a read ends with."""
    return world.read(served, operation, who, payment) if operation in oracle.READS else world.tried(operation, who)


@pytest.mark.parametrize("operation", [operation for operation in MATRIX if operation not in oracle.OPEN])
def test_a_row_that_is_gone_denies_what_it_allowed(
    world: World, served: str, payment: UUID, monkeypatch: pytest.MonkeyPatch, operation: str
):
    allowed = [who for who in Persona if oracle.of(operation, who) in {"accepted", "200"}]
    with another({name: row for name, row in MATRIX.items() if name != operation}, monkeypatch):
        for who in allowed:
            assert ended(world, served, payment, operation, who) != oracle.of(operation, who), who


ALLOWED = [
    (operation, who) for operation, who in (*COMMANDS, *READS) if oracle.of(operation, who) in {"accepted", "200"}
]


@pytest.mark.parametrize(("operation", "who"), ALLOWED)
def test_a_cell_that_denies_is_obeyed(
    world: World, served: str, payment: UUID, monkeypatch: pytest.MonkeyPatch, operation: str, who: Persona
):
    now = "403" if operation in oracle.READS else "forbidden_role"
    with another({**MATRIX, operation: {**MATRIX[operation], who: now}}, monkeypatch):
        assert ended(world, served, payment, operation, who) == now


def test_a_cell_that_allows_too_much_meets_the_database(world: World, monkeypatch: pytest.MonkeyPatch):
    row = {**MATRIX["ApprovePayment"], Persona.DISPATCHER_OTHER: "accepted"}
    refused = pytest.raises(StoreFault, match="payment_approvals_member")
    with another({**MATRIX, "ApprovePayment": row}, monkeypatch), refused:
        world.tried("ApprovePayment", Persona.DISPATCHER_OTHER)


@pytest.mark.parametrize("read", oracle.READS)
def test_a_read_that_is_allowed_too_much_meets_row_level_security(
    world: World, served: str, payment: UUID, monkeypatch: pytest.MonkeyPatch, read: str
):
    with another({**MATRIX, read: dict.fromkeys(Persona, "200")}, monkeypatch):
        assert ended(world, served, payment, read, Persona.DISPATCHER_OTHER) in {"404", "200 without it"}


def policies(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT tablename, policyname FROM pg_policies ORDER BY 1, 2").fetchall()


def test_every_policy_that_is_dropped_is_missed(url: str, superuser: psycopg.Connection[Any], payment: UUID):
    found = policies(url)
    assert len(found) == 24
    for table, policy in found:
        with superuser.transaction(force_rollback=True):
            superuser.execute(sql.SQL("DROP POLICY {} ON {}").format(sql.Identifier(policy), sql.Identifier(table)))
            assert wrong_sights(superuser, payment), f"nobody misses {policy}"


@pytest.mark.parametrize("table", GUARDED)
def test_row_level_security_that_is_switched_off_is_missed(
    superuser: psycopg.Connection[Any], payment: UUID, table: str
):
    superuser.execute(sql.SQL("ALTER TABLE {} DISABLE ROW LEVEL SECURITY").format(sql.Identifier(table)))
    assert wrong_sights(superuser, payment)


@pytest.mark.parametrize("table", GUARDED)
def test_row_level_security_is_forced(superuser: psycopg.Connection[Any], table: str):
    query = "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = %s"
    assert superuser.execute(query, (table,)).fetchall() == [(True, True)]


def test_every_table_that_the_reading_role_sees_rows_of_is_guarded(superuser: psycopg.Connection[Any]):
    query = """
        SELECT DISTINCT table_name FROM information_schema.column_privileges
        WHERE grantee = 'payments_reader' AND privilege_type = 'SELECT' AND table_schema = 'public'
    """
    seen = {name for (name,) in superuser.execute(query)}
    # What is left says nothing of anybody: the schema's revision, how many attempts are unknown, the monitor's counts.
    assert seen - set(GUARDED) == {"alembic_version", "payout_attempts", "fleet_snapshots"}


def test_a_role_of_the_back_office_is_one_of_those_that_there_are():
    assert {membership["role"] for _, membership in PEOPLE.values()} == set(Role)
