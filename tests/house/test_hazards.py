"""Every hazard of an SQS worker is a named test, or a line of ARCHITECTURE.md says why it cannot occur."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
HAZARDS = ROOT / "tests" / "workers" / "hazards"
#: The rows that there are: loss, duplicates, stalls, throughput, poison, observability, relay.
ROWS = [
    f"{letter}{number}"
    for letter, count in {"L": 7, "D": 12, "Z": 13, "T": 8, "P": 10, "O": 6, "R": 10}.items()
    for number in range(1, count + 1)
]
_LINE = re.compile(r"^\| ([A-Z]\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
_IDS = re.compile(r"test_((?:[a-z]\d+_)+)")


def named_tests() -> dict[str, list[str]]:
    """The tests of every row, by the ids in their names."""
    found: dict[str, list[str]] = {row: [] for row in ROWS}
    for path in sorted(HAZARDS.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and (ids := _IDS.match(node.name)):
                for row in ids.group(1).upper().strip("_").split("_"):
                    assert row in found, f"{node.name} is named after a row that there is not"
                    found[row].append(node.name)
    return found


def test_every_row_stands_once_in_the_table_with_its_test_or_the_reason_why_it_needs_none():
    section = (ROOT / "ARCHITECTURE.md").read_text().partition("\n## Hazards\n")[2].partition("\n## ")[0]
    lines = [(row, proof) for row, _, proof in _LINE.findall(section)]
    assert [row for row, _ in lines] == ROWS
    tests = named_tests()
    for row, proof in lines:
        named = proof.strip("`")
        if proof == f"`{named}`":
            assert named in tests[row], f"{row}: there is no {named}"
        else:
            assert proof.startswith("cannot occur: "), f"{row}: neither a test nor a reason"
            assert not tests[row], f"{row} has a test: name it"


def test_the_tests_are_collected():
    assert sum(map(len, named_tests().values())) > 60
