"""Pools of users with the rights of one group role and no others, as in production."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from store import db
from store.db import Pool, PoolOptions
from store.roles import GroupRole, ensure_login

PASSWORD = "correct-horse"  # noqa: S105 - of a throw-away user


@contextmanager
def member_url(database_url: str, role: GroupRole) -> Iterator[str]:
    """Make a user who is a member of a group role; yield the database's URL as that user."""
    name, place = f"member_{uuid4().hex}", urlsplit(database_url)
    ensure_login(database_url, name, PASSWORD, role)
    yield place._replace(netloc=f"{name}:{PASSWORD}@{place.hostname}:{place.port}").geturl()
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@contextmanager
def member(database_url: str, role: GroupRole, **options: Any) -> Iterator[Pool]:
    """Open a pool as a user who is a member of a group role."""
    with (
        member_url(database_url, role) as url,
        db.open_pool(url, PoolOptions(size_min=1, **{"wait_s": 5, **options})) as pool,
    ):
        yield pool
