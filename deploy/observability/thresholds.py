"""Reads thresholds.toml, strictly: what is asked for must be there, and what is there must be asked for."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: Where the numbers of the rules stand.
PATH = Path(__file__).with_name("thresholds.toml")
_PART = re.compile(r"(\d+)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
#: `none` is for what always fires, so that somebody notices when it does not.
_SEVERITIES = ("page", "ticket", "none")


class ThresholdError(Exception):
    """A key is missing, or is not what it should be; the text names it."""


def seconds(duration: str) -> float:
    """Return a Prometheus duration ("1h30m") in seconds.

    Raises:
        ThresholdError: it is none.
    """
    parts = _PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ThresholdError(f"{duration!r} is no duration such as 5m, 300ms or 1h30m")
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


class Thresholds:
    """The numbers by their dotted path; remembers which were asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(_leaves(values))
        self._used: set[str] = set()

    @classmethod
    def load(cls, path: Path = PATH) -> "Thresholds":
        """Return what a file says."""
        return cls(tomllib.loads(path.read_text(encoding="utf-8")))

    @property
    def unused(self) -> set[str]:
        """What nobody has asked for."""
        return set(self._values) - self._used

    def number(self, key: str) -> float:
        """Return a number.

        Raises:
            ThresholdError: it is not there, or is none.
        """
        found = self._get(key)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise ThresholdError(f"thresholds.toml: {key} is no number")
        return found

    def text(self, key: str) -> str:
        """Return a text.

        Raises:
            ThresholdError: it is not there, or is none.
        """
        found = self._get(key)
        if not isinstance(found, str):
            raise ThresholdError(f"thresholds.toml: {key} is no text")
        return found

    def duration(self, key: str) -> str:
        """Return a duration as Prometheus writes it.

        Raises:
            ThresholdError: it is not there, or is none.
        """
        found = self.text(key)
        try:
            seconds(found)
        except ThresholdError as error:
            raise ThresholdError(f"thresholds.toml: {key}: {error}") from None
        return found

    def seconds(self, key: str) -> float:
        """Return a duration in seconds.

        Raises:
            ThresholdError: it is not there, or is none.
        """
        return seconds(self.duration(key))

    def severity(self, key: str) -> str:
        """Return a severity.

        Raises:
            ThresholdError: it is not there, or is none.
        """
        found = self.text(key)
        if found not in _SEVERITIES:
            raise ThresholdError(f"thresholds.toml: {key} is none of {', '.join(_SEVERITIES)}")
        return found

    def _get(self, key: str) -> Any:
        self._used.add(key)
        try:
            return self._values[key]
        except KeyError:
            raise ThresholdError(f"thresholds.toml has no {key}") from None


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value
