"""One canonical JSON form, so that equal facts have equal digests on every machine and in every year."""

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
#: The most digits of a decimal that are written out as an integer.
DIGITS_MAX = 30


def canonical_json(value: Any) -> bytes:
    """Return `value` as UTF-8 JSON with sorted keys and no spaces.

    Integral decimals are written as integers, since `350.0` and `350` are the same amount; other
    decimals keep their exact digits as a string. Times are UTC with microseconds.

    Raises:
        TypeError: `value` holds something that has no canonical form, a float above all.
    """
    return _ENCODER.encode(_plain(value)).encode()


def digest(value: Any) -> bytes:
    """Return the SHA-256 (32 bytes) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).digest()


def utc_microseconds(moment: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC with six decimals, the precision Postgres stores."""
    # Not strftime: its %Y writes the year 1 as "1" on Linux.
    in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return in_utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def integral(value: Decimal) -> int | None:
    """Return a decimal as an integer where it is exactly one, else None."""
    # A huge exponent is not expanded: int() of 1E+999999999 would eat all memory.
    if not value.is_finite() or value.adjusted() > DIGITS_MAX or value != value.to_integral_value():
        return None
    return int(value)


#: What is written as it is: most of what there is.
_AS_IT_IS = frozenset({str, int, bool, type(None)})


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one return per JSON type
    if type(value) in _AS_IT_IS:
        return value
    match value:
        case dict():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case Enum():
            return _plain(value.value)
        case int() | str():
            return value
        case Decimal():
            whole = integral(value)
            return str(value) if whole is None else whole
        case UUID():
            return str(value)
        case datetime():
            return utc_microseconds(value)
        case _:
            raise TypeError(f"no canonical form for {type(value).__name__}")
