"""Numbers, ages and codes as people read them; nothing that looks like an id passes."""

import re

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
#: UUIDs, and any other run of letters and digits that is long and has many digits: ids, account numbers, tokens.
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=\w*\d\w*\d\w*\d\w*\d)\w{12,}|\d{6,}", re.IGNORECASE)
_WITHHELD = "…"


def number(value: float) -> str:
    """Return a count with its thousands set apart: 12,345."""
    return f"{value:,.0f}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count and its noun: 1 payment, 2 payments."""
    return f"{number(count)} {one if count == 1 else many or f'{one}s'}"


def age(seconds: float) -> str:
    """Return a duration by its two largest units at most: 12 s, 3 min, 2 h 5 min, 3 d 4 h.

    It is rounded down: what is nearly old enough is not. What lies ahead, by clocks that differ, is now.
    """
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return _two(whole // _HOUR, "h", whole % _HOUR // _MINUTE, "min")
    return _two(whole // _DAY, "d", whole % _DAY // _HOUR, "h")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def harmless(text: str) -> str:
    """Return a text without what could be an id."""
    return _ID.sub(_WITHHELD, text)


def words(code: str) -> str:
    """Return a code as words: pending_approval is Pending approval."""
    spaced = harmless(code).replace("_", " ").strip()
    return spaced[:1].upper() + spaced[1:]
