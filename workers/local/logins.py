"""The database's users on one machine: each role of the fleet logs in with its own rights and no more."""

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from store.roles import GroupRole, LoginError, ensure_login
from workers.local.processes import LocalStackError, keep
from workers.local.stack import Running

#: The group role that holds the rights of each role of the fleet.
RIGHTS: Mapping[str, GroupRole] = {
    "worker": GroupRole.WORKER,
    "relay": GroupRole.RELAY,
    "status": GroupRole.READER,
    "monitor": GroupRole.MONITOR,
}


def user(role: str) -> str:
    """Return the name of a role's database user."""
    return f"roadcall_{role}"


def with_logins(running: Running, data_dir: Path) -> Running:
    """Make the users of a migrated database, or bring them in line, and return the stack with their URLs.

    Args:
        running: a stack whose database is migrated.
        data_dir: its folder; the passwords are kept beside the administrator's.

    Raises:
        LocalStackError: a user cannot be made; the text says why.
        Transient: the database did not answer.
        StoreFault: the database refused it.
    """
    return replace(running, database_urls={role: _url(running, data_dir / "postgres", role) for role in RIGHTS})


def _url(running: Running, home: Path, role: str) -> str:
    password = _password(home / f"password.{role}")
    try:
        ensure_login(running.database_url, user(role), password, RIGHTS[role])
    except LoginError as error:
        raise LocalStackError(str(error)) from error
    parts = urlsplit(running.database_url)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{user(role)}:{password}@{place}").geturl()


def _password(path: Path) -> str:
    """Return the password, made once. URL-safe, since it becomes part of a URL."""
    with suppress(FileNotFoundError):
        if kept := path.read_text().strip():
            return kept
    password = secrets.token_urlsafe(24)
    keep(path, password, mode=0o600)
    return password
