"""States that the service cannot bring about: rows written past the triggers, as only a superuser can."""

from typing import LiteralString

from store import db
from store.db import Pool


def forge(pool: Pool, *statements: LiteralString) -> None:
    """Run statements in one transaction with every trigger and foreign key off; checks and indexes still hold.

    Raises:
        Transient: the rows collide with others.
        StoreFault: a check refuses the rows.
    """
    with db.transaction(pool) as tx:
        tx.send("SET LOCAL session_replication_role = replica", {})
        for statement in statements:
            tx.send(statement, {})
