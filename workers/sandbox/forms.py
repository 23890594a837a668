"""Parameters as Stripe takes them: form-encoded, nested by brackets, and none that it does not know."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from workers.sandbox import refusals
from workers.sandbox.refusals import Refusal

_PARTS = re.compile(r"\[([^\]]*)\]")
_INTEGER = re.compile(r"-?\d{1,18}")
#: Limits of metadata: pairs, characters of a name, characters of a value.
PAIRS_MAX, NAME_MAX, VALUE_MAX = 50, 40, 500
LIMIT_DEFAULT, LIMIT_MAX = 10, 100

#: What a comparison of `created` means.
_COMPARISONS = ("gt", "gte", "lt", "lte")


def nested(encoded: str) -> dict[str, Any]:
    """Return parameters by name: `metadata[a]=1` is `{"metadata": {"a": "1"}}`, `expand[]=b` is `{"expand": ["b"]}`.

    Raises:
        Refusal: a name is used for two things.
    """
    found: dict[str, Any] = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        top, _, rest = name.partition("[")
        parts = _PARTS.findall(f"[{rest}") if rest else []
        if not parts:
            found[top] = value
            continue
        inner = parts[0]  # nothing here is nested more deeply
        listed = not inner or inner.isdigit()
        holder = found.setdefault(top, [] if listed else {})
        if listed and isinstance(holder, list):
            holder.append(value)
        elif not listed and isinstance(holder, dict):
            holder[inner] = value
        else:
            raise Refusal(400, f"Invalid {top}", param=top)
    return found


class Form:
    """Reads parameters one by one; what was never asked for is unknown.

    Every reading method raises Refusal when the parameter is not what it should be.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._left = set(values) - {"expand"}

    def text(self, name: str, *, required: bool = False) -> str | None:
        """Return a text; an empty one counts as none."""
        self._left.discard(name)
        value = self._values.get(name) or None
        if value is None and required:
            raise refusals.missing(name)
        if value is not None and not isinstance(value, str):
            raise Refusal(400, f"Invalid string: {value}", param=name)
        return value

    def needed(self, name: str) -> str:
        """Return a text that must be there."""
        return self.text(name, required=True) or ""

    def positive(self, name: str) -> int | None:
        """Return a whole number above zero."""
        text = self.text(name)
        if text is None:
            return None
        if not _INTEGER.fullmatch(text):
            raise refusals.not_an_integer(name, text)
        if int(text) <= 0:
            raise refusals.not_an_integer(name, text, "positive integer")
        return int(text)

    def pairs(self, name: str) -> dict[str, str]:
        """Return names and values, as metadata has them."""
        self._left.discard(name)
        value = self._values.get(name) or {}
        if not isinstance(value, dict):
            raise Refusal(400, f"Invalid {name}: must be an object", param=name)
        if len(value) > PAIRS_MAX or any(len(key) > NAME_MAX or len(text) > VALUE_MAX for key, text in value.items()):
            raise Refusal(400, f"Invalid {name}: too many pairs, or too long ones", param=name)
        return {key: text for key, text in value.items() if text}

    def created(self) -> dict[str, int]:
        """Return the limits of a list in time."""
        self._left.discard("created")
        value = self._values.get("created") or {}
        limits = value if isinstance(value, dict) else {"gte": value, "lte": value}
        for comparison, text in limits.items():
            if comparison not in _COMPARISONS:
                raise refusals.unknown(f"created[{comparison}]")
            if not isinstance(text, str) or not _INTEGER.fullmatch(text):
                raise refusals.not_an_integer(f"created[{comparison}]", str(text))
        return {comparison: int(text) for comparison, text in limits.items()}

    def limit(self) -> int:
        """Return how many objects a page has."""
        limit = self.positive("limit") or LIMIT_DEFAULT
        if limit > LIMIT_MAX:
            raise refusals.not_an_integer("limit", str(limit), f"integer from 1 to {LIMIT_MAX}")
        return limit

    def expand(self) -> list[str]:
        """Return the paths of what is to be shown whole."""
        value = self._values.get("expand") or []
        if not isinstance(value, list):
            raise Refusal(400, "Invalid array: expand", param="expand")
        return value

    def finish(self) -> None:
        """Raise for parameters that nobody asked for."""
        if self._left:
            raise refusals.unknown(min(self._left))
