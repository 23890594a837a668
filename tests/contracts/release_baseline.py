"""Write the baseline anew: `python -m tests.contracts.release_baseline`, when a release has gone out.

The baseline, `contracts/schemas/released.json`, holds what others were told last. Every change of a schema is compared
with it, and it is not overwritten by what would break them, unless the message's major version has moved.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from contracts.published import files
from contracts.published.catalogue import CATALOGUE, Direction, schema
from tests.contracts import golden
from tests.contracts.compatibility import breaches, without_annotations

#: A message's name to its direction, major version, places and schema.
Baseline = Mapping[str, Mapping[str, Any]]


def current() -> Baseline:
    """What the models say today, without its words for people."""
    return {
        found.name: {
            "direction": str(found.direction),
            "major": found.major,
            "places": [place._asdict() for place in found.places],
            "schema": without_annotations(schema(found)),
        }
        for found in CATALOGUE.values()
    }


def released() -> Baseline:
    """What others were told last; nothing before the first release."""
    return json.loads(golden.RELEASED.read_text(encoding="utf-8")) if golden.RELEASED.exists() else {}


def broken(old: Baseline, new: Baseline) -> list[str]:
    """Return every breach between two baselines; a message whose major version has moved on breaks nothing."""
    found: list[str] = []
    for name, before in old.items():
        after = new.get(name)
        if after is None or after["direction"] != before["direction"]:
            found.append(f"{name}: the message is gone")
        elif int(after["major"]) <= int(before["major"]):
            found += (f"{name}: {breach}" for breach in _breaches(before, after))
    return found


def _breaches(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    direction = Direction(before["direction"])
    verb = "taken from" if direction is Direction.INBOUND else "sent to"
    gone = [place for place in before["places"] if place not in after["places"]]
    moved = [f"is no longer {verb} {place['address']} as {place['form']}" for place in gone]
    if int(after["major"]) < int(before["major"]):
        moved.append(f"major version {before['major']} has gone back to {after['major']}")
    return moved + breaches(before["schema"], after["schema"], direction)


def main(arguments: list[str] | None = None) -> int:
    """Write the baseline, or say what it would break; 0 written, 1 refused."""
    argparse.ArgumentParser(prog="python -m tests.contracts.release_baseline", description=__doc__).parse_args(
        arguments
    )
    old, new = released(), current()
    if found := broken(old, new):
        sys.stderr.write("".join(f"{breach}\n" for breach in found))
        sys.stderr.write("Nothing was written: take these changes back, or raise the message's major version.\n")
        return 1
    golden.RELEASED.write_text(files.as_text(new), encoding="utf-8")
    sys.stdout.write(f"{len(new)} messages written, {len(new.keys() - old.keys())} of them new.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
