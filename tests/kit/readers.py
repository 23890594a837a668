"""Readers in tests: the read endpoint's database as its own user sees it, and tokens for those who ask."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from contracts.payment import Role
from store import db
from store.db import Pool, PoolOptions
from store.roles import GroupRole, ensure_login

_PASSWORD = "correct-horse"  # noqa: S105 - of a throw-away user


@contextmanager
def reading_pool(database_url: str) -> Iterator[Pool]:
    """A pool of a user of the reading role, as in production: row-level security holds it."""
    name, place = f"reader_{uuid4().hex}", urlsplit(database_url)
    ensure_login(database_url, name, _PASSWORD, GroupRole.READER)
    url = place._replace(netloc=f"{name}:{_PASSWORD}@{place.hostname}:{place.port}").geturl()
    opened = db.open_pool(url, PoolOptions(size_min=1, wait_s=5))
    try:
        yield opened
    finally:
        opened.close()
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def bearer(subject: UUID, role: Role | None) -> str:
    """The plain token of somebody, as an Authorization header."""
    return f"Bearer {json.dumps({'sub': str(subject), 'role': role})}"
