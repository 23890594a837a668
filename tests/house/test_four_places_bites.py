"""The four-places rule fails when one of the places is missing: a kind is planted in a copy of the tree, in part."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import ROOT

PLACES = ("model", "decision", "route", "sample")
MODEL = '''

class AuditPayment(PaymentCommand):
    """A kind that is planted by a test."""


KINDS = {**KINDS, "AuditPayment": AuditPayment}
'''
ROUTE = """
from contracts.inbound import AuditPayment
from handlers.decisions import {module}

ROUTES = {{**ROUTES, AuditPayment: Route(facts.of_payment, {module}.decide, _named, waits=True)}}
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of everything that the rule looks at."""
    for folder in ("contracts", "store", "handlers", "tests/house", "tests/contracts/samples"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def plant(root: Path, places: set[str]) -> None:
    """Add the kind AuditPayment to a tree, in these places only."""
    if "model" in places:
        with (root / "contracts" / "inbound.py").open("a") as inbound:
            inbound.write(MODEL)
    if "decision" in places:
        decisions = root / "handlers" / "decisions"
        shutil.copy(decisions / "approve_payment.py", decisions / "audit_payment.py")
    if "route" in places:
        with (root / "handlers" / "routes.py").open("a") as routes:
            routes.write(ROUTE.format(module="audit_payment" if "decision" in places else "approve_payment"))
    if "sample" in places:
        (root / "tests" / "contracts" / "samples" / "inbound" / "audit_payment.json").write_text("{}")


def judged(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the rule over a tree of its own."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/house/test_four_places.py"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_kind_in_all_four_places_is_welcome(copy: Path):
    plant(copy, set(PLACES))
    done = judged(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("missing", PLACES)
def test_a_kind_that_lacks_a_place_is_noticed(copy: Path, missing: str):
    # Without its model a route could not even be imported: what is then left over is noticed instead.
    absent = {"model", "route"} if missing == "model" else {missing}
    plant(copy, set(PLACES) - absent)
    done = judged(copy)
    assert done.returncode == 1, done.stdout
    assert "audit_payment" in done.stdout or "AuditPayment" in done.stdout
