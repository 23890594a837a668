"""Each metric of the catalogue is shown by the code, and nothing else is."""

import ast

import pytest

from tests.house.tree import ROOT, parsed, python_files, shown
from workers import catalogue
from workers.catalogue import Metric

#: What nothing gives a value yet: there is no scoring.
UNUSED = {"FRAUD_SCORE"}
NAMES = {name for name, found in vars(catalogue).items() if isinstance(found, Metric)}
HOME = ROOT / "workers" / "catalogue.py"


def used() -> set[str]:
    """The metrics that code names, by `catalogue.NAME` or after importing the name itself."""
    found: set[str] = set()
    for path in python_files("workers"):
        if path == HOME:
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "catalogue":
                found.add(node.attr)
            if isinstance(node, ast.ImportFrom) and node.module == "workers.catalogue":
                found |= {alias.name for alias in node.names}
    return found & NAMES


def test_the_code_gives_a_value_to_every_metric():
    assert NAMES - used() == UNUSED, "in the catalogue, and set by nothing"


@pytest.mark.parametrize("library", ["prometheus_client"])
def test_metrics_are_made_in_one_place(library: str):
    makers = {"Counter", "Gauge", "Histogram", "Summary", "Enum", "Info"}
    found = [
        f"{shown(path)}:{node.lineno}"
        for path in python_files("workers")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith(library)
        and makers & {alias.name for alias in node.names}
        and path != ROOT / "workers" / "metrics.py"
    ]
    assert found == []
