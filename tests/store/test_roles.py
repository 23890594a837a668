"""Roles are global to a cluster: several databases share them, and a user belongs to exactly one of ours."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors, sql

from store import migrate
from store.db import Transient
from store.migrate import MigrationDenied
from store.roles import OWNER, GroupRole, LoginError, ensure_login
from tests.kit.sqs import until
from tests.store.migrating import migrate_at_once
from workers.local import postgres

PASSWORD = "correct-horse"  # noqa: S105 - of throw-away users
OUR_ROLES = {OWNER, *GroupRole}
SPENT = "SELECT count(*) FROM payments"


def execute(url: str, query: str, *names: str) -> list[tuple]:
    """The rows of a statement, run as whoever the URL names; each `{}` stands for an identifier."""
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(sql.SQL(query).format(*map(sql.Identifier, names)))
        return done.fetchall() if done.description else []


def as_user(url: str, name: str, password: str = PASSWORD) -> str:
    return urlsplit(url)._replace(netloc=f"{name}:{password}@{urlsplit(url).netloc.rpartition('@')[2]}").geturl()


def all_at_once(*works: Callable[[], object]) -> list[Exception]:
    """Do everything at the same moment; return what went wrong."""
    start, failed = threading.Barrier(len(works)), []

    def run(work: Callable[[], object]) -> None:
        start.wait(10)
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def memberships(url: str, name: str) -> set[str]:
    found = execute(
        url,
        f"SELECT roleid::regrole::text FROM pg_auth_members WHERE member = (SELECT oid FROM pg_roles "
        f"WHERE rolname = '{name}')",
    )
    return {role for (role,) in found}


@pytest.fixture
def name(server: postgres.Server) -> Iterator[str]:
    """The name of a user that is not there yet, and will not be afterwards."""
    user = f"user_{uuid4().hex}"
    yield user
    execute(server.url("postgres"), "DROP ROLE IF EXISTS {}", user)


# -- several databases of one cluster


def new_database(server: postgres.Server, owner: str = postgres.ROLE) -> str:
    database = f"database_{uuid4().hex}"
    execute(server.url("postgres"), "CREATE DATABASE {} OWNER {}", database, owner)
    return server.url(database)


def drop_database(server: postgres.Server, url: str) -> None:
    execute(server.url("postgres"), "DROP DATABASE {} WITH (FORCE)", urlsplit(url).path.strip("/"))


def migrator(server: postgres.Server, attributes: str = "CREATEROLE") -> str:
    """A user that is no superuser, and owns what it is given."""
    user = f"migrator_{uuid4().hex}"
    execute(server.url("postgres"), f"CREATE ROLE {{}} LOGIN {attributes} PASSWORD '{PASSWORD}'", user)
    return user


def test_a_second_database_of_the_cluster_can_be_migrated(server: postgres.Server):
    url = new_database(server)
    assert migrate.upgrade(url) == (None, migrate.head())
    assert execute(url, SPENT) == [(0,)]
    drop_database(server, url)


def test_databases_of_a_new_cluster_can_be_migrated_at_the_same_moment(bare_server: postgres.Server):
    urls = [new_database(bare_server) for _ in range(4)]
    assert migrate_at_once(urls) == [(None, migrate.head())] * 4
    found = execute(urls[0], "SELECT rolname FROM pg_roles WHERE rolname LIKE 'payments%'")
    assert {role for (role,) in found} == OUR_ROLES


def test_a_role_that_somebody_else_is_just_making_is_waited_for(bare_server: postgres.Server):
    url = new_database(bare_server)
    with psycopg.connect(bare_server.url("postgres")) as other, ThreadPoolExecutor() as threads:
        other.execute("CREATE ROLE payments_relay")
        migration = threads.submit(migrate.upgrade, url)
        waits = (
            f"SELECT 1 FROM pg_stat_activity WHERE datname = '{urlsplit(url).path[1:]}' AND wait_event_type = 'Lock'"
        )
        until(lambda: execute(bare_server.url("postgres"), waits), what="the migration to wait")
        other.commit()
        assert migration.result(30) == (None, migrate.head())


def test_a_database_that_is_dropped_leaves_the_others_working(bare_server: postgres.Server):
    kept, dropped = new_database(bare_server), new_database(bare_server)
    migrate.upgrade(dropped)
    migrate.upgrade(kept)
    ensure_login(kept, "someone", PASSWORD, GroupRole.READER)
    drop_database(bare_server, dropped)
    assert migrate.upgrade(kept) == (migrate.head(), migrate.head())
    assert execute(as_user(kept, "someone"), SPENT) == [(0,)]
    again = new_database(bare_server)
    migrate.upgrade(again)
    assert execute(as_user(again, "someone"), SPENT) == [(0,)]


# -- who migrates


def test_the_owner_of_a_database_who_may_make_roles_can_migrate_it_without_being_a_superuser(
    bare_server: postgres.Server,
):
    user = migrator(bare_server)
    url = as_user(new_database(bare_server, user), user)
    assert migrate.upgrade(url) == (None, migrate.head())
    owners = execute(url, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert owners == [(OWNER,)]
    ensure_login(url, "someone", PASSWORD, GroupRole.WORKER)
    assert execute(as_user(url, "someone"), SPENT) == [(0,)]
    ensure_login(url, "someone", PASSWORD, GroupRole.MONITOR)
    assert memberships(url, "someone") == {GroupRole.MONITOR}


def test_such_an_owner_can_migrate_two_databases_at_the_same_moment(bare_server: postgres.Server):
    user = migrator(bare_server)
    urls = [as_user(new_database(bare_server, user), user) for _ in range(4)]
    assert migrate_at_once(urls) == [(None, migrate.head())] * 4


def test_where_the_roles_are_there_a_member_of_the_owner_needs_no_right_to_make_any(server: postgres.Server):
    user = migrator(server, attributes="NOCREATEROLE")
    execute(server.url("postgres"), "GRANT {} TO {}", OWNER, user)
    url = as_user(new_database(server, user), user)
    assert migrate.upgrade(url) == (None, migrate.head())
    drop_database(server, url)
    execute(server.url("postgres"), "DROP ROLE {}", user)


def test_another_member_of_the_owner_can_run_the_next_migration(server: postgres.Server):
    first, second = (migrator(server, attributes="NOCREATEROLE") for _ in range(2))
    for user in (first, second):
        execute(server.url("postgres"), "GRANT {} TO {}", OWNER, user)
    url = new_database(server, first)
    migrate.upgrade(as_user(url, first))
    execute(url, "UPDATE alembic_version SET version_num = '0003'")  # only its writing is looked at
    execute(as_user(url, second), "UPDATE alembic_version SET version_num = '0004'")
    drop_database(server, url)
    execute(server.url("postgres"), "DROP ROLE {}, {}", first, second)


def test_who_may_not_migrate_is_told_which_rights_it_takes(server: postgres.Server):
    user = migrator(server, attributes="NOCREATEROLE")
    url = as_user(new_database(server, user), user)
    with pytest.raises(MigrationDenied, match="must own the database, and must be a member of payments_owner"):
        migrate.upgrade(url)
    drop_database(server, url)
    execute(server.url("postgres"), "DROP ROLE {}", user)


# -- who logs in


@pytest.mark.parametrize("role", GroupRole)
def test_a_user_logs_in_with_its_password_as_a_member_of_its_one_role(database_url: str, name: str, role: GroupRole):
    ensure_login(database_url, name, PASSWORD, role)
    [(user, superuser)] = execute(
        as_user(database_url, name), "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user"
    )
    assert (user, superuser) == (name, False)
    assert memberships(database_url, name) == {role}


def test_another_password_is_refused(database_url: str, name: str):
    ensure_login(database_url, name, PASSWORD, GroupRole.READER)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        execute(as_user(database_url, name, "battery-staple"), "SELECT 1")


def test_doing_it_again_changes_nothing_but_what_was_asked_for(database_url: str, name: str):
    ensure_login(database_url, name, PASSWORD, GroupRole.READER)
    ensure_login(database_url, name, PASSWORD, GroupRole.READER)
    assert execute(as_user(database_url, name), SPENT) == [(0,)]
    ensure_login(database_url, name, "battery-staple", GroupRole.READER)
    assert execute(as_user(database_url, name, "battery-staple"), SPENT) == [(0,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        execute(as_user(database_url, name), SPENT)


def test_a_user_that_changes_its_role_loses_the_rights_of_the_old_one(database_url: str, name: str):
    ensure_login(database_url, name, PASSWORD, GroupRole.WORKER)
    execute(database_url, "GRANT {} TO {}", OWNER, name)
    ensure_login(database_url, name, PASSWORD, GroupRole.READER)
    assert memberships(database_url, name) == {GroupRole.READER}
    with pytest.raises(errors.InsufficientPrivilege):
        execute(as_user(database_url, name), "DELETE FROM message_failures")


def test_a_user_that_may_not_log_in_yet_or_no_longer_may_again(database_url: str, name: str):
    execute(database_url, "CREATE ROLE {} NOLOGIN NOINHERIT PASSWORD 'old' VALID UNTIL '2001-01-01'", name)
    ensure_login(database_url, name, PASSWORD, GroupRole.READER)
    assert execute(as_user(database_url, name), SPENT) == [(0,)]


def test_a_user_that_another_database_has_made_is_brought_in_line(
    server: postgres.Server, name: str, database_url: str
):
    other = new_database(server)
    migrate.upgrade(other)
    ensure_login(other, name, "battery-staple", GroupRole.RELAY)
    ensure_login(database_url, name, PASSWORD, GroupRole.READER)
    assert memberships(other, name) == {GroupRole.READER}
    assert execute(as_user(other, name), SPENT) == [(0,)]
    drop_database(server, other)


def test_one_user_may_be_made_from_several_databases_at_the_same_moment(
    server: postgres.Server, name: str, database_url: str
):
    others = [new_database(server) for _ in range(3)]
    urls = [database_url, *others, database_url, *others]
    asked = [GroupRole.WORKER, GroupRole.READER] * 4
    works = [
        lambda url=url, role=role: ensure_login(url, name, PASSWORD, role)
        for url, role in zip(urls, asked, strict=True)
    ]
    assert all_at_once(*works) == []
    assert memberships(database_url, name) in ({GroupRole.WORKER}, {GroupRole.READER})
    assert execute(as_user(database_url, name), SPENT) == [(0,)]
    for url in others:
        drop_database(server, url)


def test_the_server_never_hears_the_password(server: postgres.Server, database_url: str, name: str):
    ensure_login(f"{database_url}&options=-c%20log_statement%3Dall", name, "a-telling-password", GroupRole.READER)
    log = server.child.program.log_path.read_text()
    assert f'ALTER ROLE "{name}"' in log
    assert "SCRAM-SHA-256$" in log
    assert "a-telling-password" not in log


@pytest.mark.parametrize("role", sorted(OUR_ROLES))
def test_a_group_role_is_nobody_to_log_in_as(database_url: str, role: str):
    with pytest.raises(LoginError, match="choose another name"):
        ensure_login(database_url, role, PASSWORD, GroupRole.READER)
    assert execute(database_url, f"SELECT rolcanlogin FROM pg_roles WHERE rolname = '{role}'") == [(False,)]


def test_a_user_with_rights_of_its_own_is_left_alone(database_url: str):
    with pytest.raises(LoginError, match="rights of its own"):
        ensure_login(database_url, postgres.ROLE, PASSWORD, GroupRole.READER)
    assert execute(database_url, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("unfit", ["", "x" * 64, "ü" * 32, "a\0b"])
def test_a_name_that_postgres_would_not_take_as_it_is_is_refused(database_url: str, unfit: str):
    with pytest.raises(LoginError, match="1 to 63 bytes"):
        ensure_login(database_url, unfit, PASSWORD, GroupRole.READER)


@pytest.mark.parametrize("unfit", ["", "a\0b"])
def test_a_password_that_would_let_nobody_in_or_half_of_it_is_refused(database_url: str, name: str, unfit: str):
    with pytest.raises(LoginError, match="choose another one"):
        ensure_login(database_url, name, unfit, GroupRole.READER)


def test_names_and_passwords_of_any_spelling_are_taken_as_they_are(database_url: str, name: str):
    strange, password = f'{name} "; -- ü', "';\\ DROP %s ü"
    ensure_login(database_url, strange, password, GroupRole.READER)
    with psycopg.connect(database_url, user=strange, password=password) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (strange,)
    execute(database_url, "DROP ROLE {}", strange)


def test_a_cluster_that_was_never_migrated_is_told_apart(bare_server: postgres.Server):
    with pytest.raises(LoginError, match="run `payments migrate` first"):
        ensure_login(bare_server.url("postgres"), "someone", PASSWORD, GroupRole.READER)
    assert execute(bare_server.url("postgres"), "SELECT 1 FROM pg_roles WHERE rolname = 'someone'") == []


def test_a_database_that_is_away_is_told_without_the_password(name: str):
    with pytest.raises(Transient) as failed:
        ensure_login(f"postgresql://x:{PASSWORD}@127.0.0.1:1/x", name, "battery-staple", GroupRole.READER)
    assert PASSWORD not in str(failed.value)
    assert "battery-staple" not in str(failed.value)
