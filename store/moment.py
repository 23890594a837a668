"""The one clock of a transaction: the database's, read after the row lock and a value from there on."""

from datetime import datetime

from store.db import Pending, Tx


def now(tx: Tx) -> Pending[datetime]:
    """Return `clock_timestamp()`; ask after the lock, since `now()` is the start, before any wait for it."""
    return tx.ask("SELECT clock_timestamp() AS at", {}).map(lambda rows: rows[0]["at"])
