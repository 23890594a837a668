"""A message kind has four places that carry its name: model, decision, route, sample.

The envelope names it too: which queue it comes by, in which form.
"""

import ast
import re
from pathlib import Path

import pytest

from contracts import inbound
from contracts.envelope import DELIVERIES
from contracts.inbound import KINDS, InboundMessage
from handlers.routes import ROUTES
from tests.house.tree import ROOT, parsed

DECISIONS = ROOT / "handlers" / "decisions"
SAMPLES = ROOT / "tests" / "contracts" / "samples" / "inbound"
#: What kinds have in common: nobody sends one of these.
ABSTRACT = {"Command", "PaymentCommand"}


def snake_case(kind: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()


FILES = {snake_case(kind): kind for kind in KINDS}


def kind_of_sample(path: Path) -> str | None:
    """The kind whose name the file's name begins with; the longest, should two kinds begin alike."""
    fitting = [file for file in FILES if re.match(rf"{file}([._-]|$)", path.stem)]
    return FILES[max(fitting, key=len)] if fitting else None


def model_names() -> set[str]:
    """The message classes of `contracts/inbound.py` as its text has them, whether or not anybody registered them."""
    parents = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for node in parsed(ROOT / "contracts" / "inbound.py").body
        if isinstance(node, ast.ClassDef)
    }
    messages, found = {InboundMessage.__name__}, {InboundMessage.__name__}
    while found:
        found = {name for name, bases in parents.items() if bases & messages} - messages
        messages |= found
    concrete = messages - ABSTRACT - {InboundMessage.__name__}
    return {name for name in concrete if not name.startswith("_")}


def test_every_model_is_registered():
    assert model_names() == set(KINDS), (
        f"{sorted(model_names() ^ set(KINDS))}: a message class of contracts/inbound.py comes with its row in KINDS; "
        "one that only serves others begins with an underscore or stands in ABSTRACT, in this file"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_named_as_its_model(kind):
    assert KINDS[kind].__name__ == kind, f"KINDS['{kind}'] is {KINDS[kind].__name__}: one name everywhere"
    assert getattr(inbound, kind) is KINDS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_a_decision(kind):
    file = DECISIONS / f"{snake_case(kind)}.py"
    assert file.is_file(), f"write handlers/decisions/{file.name} with decide(facts, message, now) -> Decision"
    functions = {node.name for node in parsed(file).body if isinstance(node, ast.FunctionDef)}
    assert "decide" in functions, f"handlers/decisions/{file.name} lacks decide(facts, message, now) -> Decision"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_a_route(kind):
    assert KINDS[kind] in ROUTES, f"add a row for {kind} to ROUTES in handlers/routes.py"
    wanted = f"handlers.decisions.{snake_case(kind)}"
    taken = ROUTES[KINDS[kind]].decide.__module__
    assert taken == wanted, f"the row for {kind} takes its decide from {taken}, not from {wanted}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_a_sample(kind):
    assert any(kind_of_sample(path) == kind for path in SAMPLES.glob("*.json")), (
        f"add tests/contracts/samples/inbound/{snake_case(kind)}.json, a message as its producer sends it"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_a_delivery(kind):
    assert DELIVERIES.get(kind), (
        f"add a row for {kind} to DELIVERIES in contracts/envelope.py: on any queue it would be malformed"
    )


def test_no_delivery_without_a_kind():
    stray = sorted(set(DELIVERIES) - set(KINDS))
    assert not stray, f"DELIVERIES has rows for {stray}, which KINDS does not know: such a message could not be parsed"


def test_no_decision_without_a_kind():
    stray = {path.name for path in DECISIONS.glob("*.py")} - {"__init__.py"} - {f"{file}.py" for file in FILES}
    assert not stray, f"handlers/decisions/ holds {sorted(stray)}: one file per kind and nothing else"


def test_no_route_without_a_kind():
    stray = {model.__name__ for model in set(ROUTES) - set(KINDS.values())}
    assert not stray, f"ROUTES has rows for {sorted(stray)}, which KINDS does not know"


def test_no_sample_without_a_kind():
    stray = sorted(path.name for path in SAMPLES.glob("*.json") if kind_of_sample(path) is None)
    assert not stray, (
        f"tests/contracts/samples/inbound/ holds {stray}: a sample's name begins with its kind in snake_case"
    )
