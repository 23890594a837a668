"""Database users: whoever logs in is a member of exactly one of the group roles that hold the grants (revision 0004).

Roles are global to a cluster: a user that is made here can log in to every database of the server.
"""

from enum import StrEnum
from typing import Any

import psycopg
from psycopg import errors, sql

from store.db import translated

#: Owns every table. Migrations switch to it; a user that logs in is never a member by `ensure_login`.
OWNER = "payments_owner"
#: Bytes; Postgres would silently cut a longer name.
NAME_BYTES_MAX = 63
#: Every failed try was overtaken by another one, of another database, that succeeded.
TRIES_MAX = 20

_LOCK = "SELECT pg_advisory_xact_lock(7246003)"
_USER = """
SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS privileged
FROM pg_roles WHERE rolname = %(name)s
"""
_MEMBERSHIPS = """
SELECT granted.rolname AS role, grantor.rolname AS grantor
FROM pg_auth_members AS membership
JOIN pg_roles AS granted ON granted.oid = membership.roleid
JOIN pg_roles AS member ON member.oid = membership.member
JOIN pg_roles AS grantor ON grantor.oid = membership.grantor
WHERE member.rolname = %(name)s AND granted.rolname = ANY(%(ours)s) AND granted.rolname <> %(role)s
"""
#: How Postgres says that somebody else changed the same role at the same moment.
_OVERTAKEN = (errors.DuplicateObject, errors.UniqueViolation, errors.InternalError_)
#: From this version on a membership is kept once per grantor, and is revoked so.
_PER_GRANTOR = 160_000


class GroupRole(StrEnum):
    """What a user that logs in may be a member of."""

    WORKER = "payments_worker"
    RELAY = "payments_relay"
    READER = "payments_reader"
    MONITOR = "payments_monitor"


class LoginError(Exception):
    """The user cannot be made as it was asked for; the text says why and what to do."""


def ensure_login(conninfo: str, name: str, password: str, role: GroupRole) -> None:
    """Make the user `name`, or bring it in line: this password, and of our group roles just this one.

    The password itself is not sent: what the server gets, and might log, is its SCRAM-SHA-256 verifier.

    Args:
        conninfo: any migrated database of the cluster, as a superuser or as whoever migrated it.
        name: the user, at most 63 bytes.
        password: what it logs in with; without a NUL character.
        role: whose rights it gets.

    Raises:
        LoginError: the name or the password cannot be used, or the group roles are not there yet.
        Transient: the database cannot be reached.
        StoreFault: the server refused it, for instance since it takes more rights.
    """
    _check(name, password)
    try:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            _settle(connection, name, _verifier(connection, name, password), role)
    except errors.UndefinedObject:
        raise LoginError(f"The role {role} is not there: run `payments migrate` first.") from None
    except psycopg.Error as error:
        raise translated(error) from None


def _check(name: str, password: str) -> None:
    if not 0 < len(name.encode()) <= NAME_BYTES_MAX or "\0" in name:
        raise LoginError(f"The name of a user has 1 to {NAME_BYTES_MAX} bytes and no NUL character.")
    if name in {OWNER, *GroupRole}:
        raise LoginError(f"{name} is a group role, which nobody logs in as: choose another name.")
    if not password or "\0" in password:
        raise LoginError(f"The password of {name} is empty or has a NUL character: choose another one.")


def _verifier(connection: psycopg.Connection[Any], name: str, password: str) -> str:
    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
    return verifier.decode()


def _settle(connection: psycopg.Connection[Any], name: str, verifier: str, role: GroupRole) -> None:
    """Try until nobody else changes the same role meanwhile; no lock that is ours excludes other databases."""
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            with connection.transaction():
                connection.execute(_LOCK)
                _make(connection, name, verifier)
                _join(connection, name, role)
        except _OVERTAKEN:
            if not tries_left:
                raise
        else:
            return


def _make(connection: psycopg.Connection[Any], name: str, verifier: str) -> None:
    found = connection.execute(_USER, {"name": name}).fetchone()
    if found and found[0]:
        raise LoginError(
            f"The user {name} has rights of its own, such as SUPERUSER or CREATEROLE: choose another name."
        )
    user = sql.Identifier(name)
    if not found:
        connection.execute(sql.SQL("CREATE ROLE {}").format(user))
    connection.execute(
        sql.SQL("ALTER ROLE {} LOGIN INHERIT PASSWORD {} VALID UNTIL 'infinity'").format(user, sql.Literal(verifier))
    )


def _join(connection: psycopg.Connection[Any], name: str, role: GroupRole) -> None:
    ours = [OWNER, *GroupRole]
    user = sql.Identifier(name)
    for other, grantor in connection.execute(_MEMBERSHIPS, {"name": name, "ours": ours, "role": role}).fetchall():
        revoke = sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(other), user)
        if connection.info.server_version >= _PER_GRANTOR:
            revoke += sql.SQL(" GRANTED BY {}").format(sql.Identifier(grantor))
        connection.execute(revoke)
    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), user))
