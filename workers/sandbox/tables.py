"""The provider's rows: everything that it knows, changed in whole steps, each of them one line of the journal."""

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from workers.sandbox.journal import Journal

Row = dict[str, Any]


class Table(StrEnum):
    """What there are rows of."""

    TRANSFERS = "transfers"
    REVERSALS = "reversals"
    CHARGES = "charges"
    PAYOUTS = "payouts"
    BALANCE_TRANSACTIONS = "balance_transactions"
    EVENTS = "events"
    DELIVERED = "delivered"
    KEYS = "keys"
    ACCOUNTS = "accounts"
    FUNDS = "funds"
    CLOCK = "clock"


Write = tuple[Table, str, Row | None]

#: By which fields lists are filtered without looking at every row. A name with an underscore is the provider's own
#: and is never shown.
_INDEXED: Mapping[Table, Sequence[str]] = {
    Table.TRANSFERS: ("transfer_group", "destination"),
    Table.REVERSALS: ("transfer",),
    Table.PAYOUTS: ("_account",),
    Table.BALANCE_TRANSACTIONS: ("_account", "_payouts"),
    Table.EVENTS: ("_account", "type"),
}


class Tables:
    """Rows by table and id. Whoever reads to write holds the lock; a row is replaced, never changed."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.lock = threading.RLock()
        self._journal = journal
        self._rows: dict[Table, dict[str, Row]] = {table: {} for table in Table}
        self._place: dict[str, int] = {}
        self._index: dict[tuple[Table, str, str], list[str]] = {}
        for writes in journal.replay() if journal else ():
            self._apply([(Table(table), key, row) for table, key, row in writes])

    def rows(self, table: Table) -> dict[str, Row]:
        """Return a table, by id, in the order of arrival."""
        return self._rows[table]

    def get(self, table: Table, key: str) -> Row | None:
        """Return a row, if there is one."""
        return self._rows[table].get(key)

    def commit(self, writes: Sequence[Write]) -> None:
        """Make a change as a whole: in the journal first, then here."""
        with self.lock:
            if self._journal:
                self._journal.append(writes)
            self._apply(writes)

    def newest(self, table: Table, where: tuple[str, str] | None, after: str | None) -> Iterator[Row]:
        """Return rows from the newest to the oldest, those before the row `after` only; hold the lock."""
        ids = self._ids(table, where)
        end = bisect_left(ids, self._place[after], key=self._place.__getitem__) if after else len(ids)
        return (self._rows[table][ids[at]] for at in range(end - 1, -1, -1))

    def following(self, table: Table, where: tuple[str, str] | None, before: str) -> Iterator[Row]:
        """Return rows from the one after `before` on, the older first; hold the lock."""
        ids = self._ids(table, where)
        start = bisect_right(ids, self._place[before], key=self._place.__getitem__)
        return (self._rows[table][ids[at]] for at in range(start, len(ids)))

    def matching(self, table: Table, where: tuple[str, str]) -> list[Row]:
        """Return the rows of a filter, the oldest first; hold the lock."""
        return [self._rows[table][key] for key in self._ids(table, where)]

    def _ids(self, table: Table, where: tuple[str, str] | None) -> list[str]:
        return self._index.get((table, *(where or ("", ""))), [])

    def _apply(self, writes: Sequence[Write]) -> None:
        for table, key, row in writes:
            if row is None:
                self._rows[table].pop(key, None)
                continue
            before = self._rows[table].get(key)
            self._rows[table][key] = row
            if table in _INDEXED:
                self._enter(table, key, before, row)

    def _enter(self, table: Table, key: str, before: Row | None, row: Row) -> None:
        if before is None:
            self._place[key] = len(self._place)
            self._index.setdefault((table, "", ""), []).append(key)
        for field in _INDEXED[table]:
            known = _values(before, field)
            for value in _values(row, field):
                if value not in known:
                    self._index.setdefault((table, field, value), []).append(key)


def _values(row: Row | None, field: str) -> Sequence[str]:
    value = row.get(field) if row else None
    if value is None:
        return ()
    return value if isinstance(value, list) else (value,)
