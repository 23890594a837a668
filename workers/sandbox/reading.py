"""How objects are read: one by its id, many as pages of a list, and others shown whole inside of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from workers.sandbox import objects, refusals
from workers.sandbox.books import Books
from workers.sandbox.forms import Form
from workers.sandbox.objects import shown
from workers.sandbox.refusals import Refusal
from workers.sandbox.tables import Row, Table

#: Which table an id's prefix points to.
_TABLES: Mapping[str, Table] = {
    "tr": Table.TRANSFERS,
    "trr": Table.REVERSALS,
    "py": Table.CHARGES,
    "txn": Table.BALANCE_TRANSACTIONS,
    "po": Table.PAYOUTS,
    "evt": Table.EVENTS,
}

_COMPARED: Mapping[str, Callable[[int, int], bool]] = {
    "gt": int.__gt__,
    "gte": int.__ge__,
    "lt": int.__lt__,
    "lte": int.__le__,
}


def listed(
    books: Books, form: Form, url: str, table: Table, filters: Mapping[str, str | None], *, indexed: Sequence[str]
) -> Row:
    """Return a page of a list, the newest first.

    Args:
        books: where it is.
        form: the request's parameters.
        url: the list's own address.
        table: what it is a list of.
        filters: values that objects must have, by field; None filters nothing.
        indexed: the fields that may be looked up in an index, the best first.

    Raises:
        Refusal: a parameter is wrong, or the page begins at an object that there is none of.
    """
    limit, limits = form.limit(), form.created()
    after, before = form.text("starting_after"), form.text("ending_before")
    form.finish()
    if after and before:
        raise Refusal(400, "You can only use one of starting_after and ending_before.", param="ending_before")
    wanted = {field: value for field, value in filters.items() if value is not None}
    where = next(((field, wanted[field]) for field in indexed if field in wanted), None)
    with books.lock:
        for cursor in filter(None, (after, before)):
            if books.tables.get(table, cursor) is None:
                raise refusals.no_such(
                    table.value.rstrip("s"), cursor, param="starting_after" if after else "ending_before"
                )
        found = books.tables.following(table, where, before) if before else books.tables.newest(table, where, after)
        rows = list(islice(_fitting(found, wanted, limits), limit + 1))
    chosen = rows[:limit]
    data = [shown(row) for row in (reversed(chosen) if before else chosen)]
    return objects.page(data, url, more=len(rows) > limit)


def expanded(books: Books, answer: Row, paths: Sequence[str], *, many: bool = False) -> Row:
    """Return an answer in which the ids at these paths have become the objects that they name.

    Raises:
        Refusal: there is nothing to expand at a path.
    """
    for path in paths:
        steps = path.split(".")
        if many and steps[0] != "data":
            raise Refusal(400, f"This property cannot be expanded ({path}).", param="expand")
        answer = _expand(books, answer, steps, path)
    return answer


def _expand(books: Books, value: Any, steps: Sequence[str], path: str) -> Any:
    if isinstance(value, list):
        return [_expand(books, item, steps, path) for item in value]
    if not steps or value is None:
        return _named(books, value) if isinstance(value, str) else value
    if isinstance(value, str):
        value = _named(books, value)
    if not isinstance(value, dict) or steps[0] not in value:
        raise Refusal(400, f"This property cannot be expanded ({path}).", param="expand")
    return {**value, steps[0]: _expand(books, value[steps[0]], steps[1:], path)}


def _named(books: Books, name: str) -> Row | str:
    prefix = name.partition("_")[0]
    if prefix == "acct":
        return objects.account(name, books.account_state(name))
    table = _TABLES.get(prefix)
    row = books.tables.get(table, name) if table else None
    return shown(row) if row else name


def _fitting(rows: Iterator[Row], wanted: Mapping[str, str], limits: Mapping[str, int]) -> Iterator[Row]:
    for row in rows:
        if all(_has(row, field, value) for field, value in wanted.items()) and all(
            _COMPARED[comparison](row["created"], limit) for comparison, limit in limits.items()
        ):
            yield row


def _has(row: Row, field: str, value: str) -> bool:
    found = row.get(field)
    return value in found if isinstance(found, list) else found == value
