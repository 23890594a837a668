"""The four-places rule bites: a kind is planted in a copy of the tree, in part, and the rule names what it lacks."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.house.tree import ROOT

pytestmark = pytest.mark.long

RULE = "tests/house/test_four_places.py"
MODEL = '''

class AuditPayment(PaymentCommand):
    """A kind that is planted by a test."""
'''
REGISTERED = """
KINDS = {**KINDS, "AuditPayment": AuditPayment}
"""
DELIVERY = """
DELIVERIES = {**DELIVERIES, "AuditPayment": frozenset({(Queue.COMMANDS, Form.COMMAND)})}
"""
ROUTE = """
from contracts.inbound import AuditPayment
from handlers.decisions import {decision}

ROUTES = {{**ROUTES, AuditPayment: Route(facts.of_payment, {decision}.decide, _named, waits=True)}}
"""
WHOLE = "every place"
EVERYWHERE = frozenset({"model", "registered", "delivery", "decision", "route", "sample"})


@dataclass(frozen=True, slots=True)
class Half:
    """A kind that stands in these places only, and the tests of the rule that must fail for it."""

    planted: frozenset[str]
    noticed_by: set[str]


HALVES = {
    # The route of a kind without a decision takes somebody else's, which is noticed as well.
    "no decision": Half(EVERYWHERE - {"decision"}, {"test_a_kind_has_a_decision", "test_a_kind_has_a_route"}),
    "no route": Half(EVERYWHERE - {"route"}, {"test_a_kind_has_a_route"}),
    "no sample": Half(EVERYWHERE - {"sample"}, {"test_a_kind_has_a_sample"}),
    "no delivery": Half(EVERYWHERE - {"delivery"}, {"test_a_kind_has_a_delivery"}),
    "a model alone": Half(frozenset({"model"}), {"test_every_model_is_registered"}),
    "a decision alone": Half(frozenset({"decision"}), {"test_no_decision_without_a_kind"}),
    "a sample alone": Half(frozenset({"sample"}), {"test_no_sample_without_a_kind"}),
    "a delivery alone": Half(frozenset({"delivery"}), {"test_no_delivery_without_a_kind"}),
    "a route to what is not registered": Half(
        frozenset({"model", "route"}), {"test_every_model_is_registered", "test_no_route_without_a_kind"}
    ),
}


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[set[str]]]]:
    """The tests of the rule that fail, by what was planted; each tree in a process of its own, two at a time."""
    planted = {WHOLE: EVERYWHERE, **{name: half.planted for name, half in HALVES.items()}}
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(failures, copy(tmp_path_factory.mktemp("tree")), places)
            for name, places in planted.items()
        }


def copy(root: Path) -> Path:
    """Copy everything that the rule looks at."""
    for folder in ("contracts", "store", "handlers", "tests/house", "tests/contracts/samples"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def plant(root: Path, places: frozenset[str]) -> None:
    """Add the kind AuditPayment to a tree, in these places only."""
    decision = "audit_payment" if "decision" in places else "approve_payment"
    appended = {
        "model": ("contracts/inbound.py", MODEL),
        "registered": ("contracts/inbound.py", REGISTERED),
        "delivery": ("contracts/envelope.py", DELIVERY),
        "route": ("handlers/routes.py", ROUTE.format(decision=decision)),
    }
    for place, (file, source) in appended.items():
        if place in places:
            with (root / file).open("a", encoding="utf-8") as module:
                module.write(source)
    if "decision" in places:
        decisions = root / "handlers" / "decisions"
        shutil.copy(decisions / "approve_payment.py", decisions / "audit_payment.py")
    if "sample" in places:
        sample = root / "tests" / "contracts" / "samples" / "inbound" / "audit_payment.json"
        sample.write_text("{}", encoding="utf-8")


def failures(root: Path, places: frozenset[str]) -> set[str]:
    """Plant the kind in a tree, run the rule over that, and return the names of its tests that fail there."""
    plant(root, places)
    argv = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", RULE]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=60)
    noticed = set(re.findall(rf"^FAILED {RULE}::(\w+)", done.stdout, flags=re.MULTILINE))
    assert done.returncode == int(bool(noticed)), done.stdout + done.stderr
    return noticed


def test_a_kind_in_every_place_is_welcome(failed: Mapping[str, Future[set[str]]]):
    assert not failed[WHOLE].result()


@pytest.mark.parametrize("name", HALVES)
def test_a_kind_that_is_there_by_half_is_noticed(failed: Mapping[str, Future[set[str]]], name: str):
    assert failed[name].result() == HALVES[name].noticed_by
