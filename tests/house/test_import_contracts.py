"""Each import contract bites: a leak planted in a copy of the rooms makes lint-imports fail and name it."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.house.tree import BIN, ROOMS, ROOT, settings


@dataclass(frozen=True, slots=True)
class Leak:
    """Modules planted in the copy, path → source, and the contract that they break."""

    contract: str
    modules: dict[str, str]


LEAKS = {
    "upward import": Leak(
        "Rooms: imports go only downward",
        {"contracts/planted.py": "import workers\n"},
    ),
    "second writer of the outbox": Leak(
        "One writer: outbox and audit are written by handlers.apply alone",
        {"handlers/planted.py": "from store import outbox\n"},
    ),
    "second writer of the audit log": Leak(
        "One writer: outbox and audit are written by handlers.apply alone",
        {"workers/planted.py": "import store.audit\n"},
    ),
    "psycopg in workers": Leak(
        "Only store speaks Postgres",
        {"workers/planted.py": "import psycopg\n"},
    ),
    "boto3 in handlers": Leak(
        "Only workers know the outside",
        {"handlers/planted.py": "import boto3\n"},
    ),
    "the environment in store": Leak(
        "Only workers know the outside",
        {"store/planted.py": "import os\n"},
    ),
    "chance in a decision": Leak(
        "Decisions and contracts are pure",
        {"handlers/decisions/planted.py": "import random\n"},
    ),
    "store in a decision": Leak(
        "Decisions and contracts are pure",
        {"handlers/decisions/planted.py": "import store.payments\n"},
    ),
    "one decision in another": Leak(
        "Decisions stand alone",
        {"handlers/decisions/planted.py": "from handlers.decisions import approve_payment\n"},
    ),
    "cycle inside a room": Leak(
        "No cycles inside a room",
        {
            "store/planted_one.py": "import store.planted_two\n",
            "store/planted_two.py": "import store.planted_one\n",
        },
    ),
}


@pytest.fixture
def copy(tmp_path) -> Path:
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken_contracts(directory: Path) -> set[str]:
    """The names of the contracts that lint-imports reports as broken; none of them may be unknown to it."""
    command = [str(BIN / "lint-imports"), "--no-cache", "--no-logo"]
    ran = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    verdicts = dict(re.findall(r"^(.+) (KEPT|BROKEN)\b", ran.stdout, flags=re.MULTILINE))
    assert set(verdicts) == contract_names(), ran.stdout + ran.stderr
    broken = {name for name, verdict in verdicts.items() if verdict == "BROKEN"}
    assert ran.returncode == int(bool(broken))
    return broken


def contract_names() -> set[str]:
    return {contract["name"] for contract in settings()["tool"]["importlinter"]["contracts"]}


def test_every_contract_has_a_leak_to_prove_it():
    proven = {leak.contract for leak in LEAKS.values()}
    assert proven == contract_names(), (
        f"{sorted(proven ^ contract_names())}: a contract in pyproject.toml comes with a leak in LEAKS that breaks it"
    )


def test_the_rooms_keep_every_contract(copy):
    assert not broken_contracts(copy), "make check says which import to turn round"


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_breaks_its_contract(name, copy):
    for path, source in LEAKS[name].modules.items():
        assert not (copy / path).exists()
        (copy / path).write_text(source, encoding="utf-8")
    assert broken_contracts(copy) == {LEAKS[name].contract}
