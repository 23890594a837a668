"""The repository speaks of the project: not of a machine, a registry, or work left undone."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.tree import ROOT, shown, text_files

# Each pattern is put together from parts, so that this file does not find itself.
HOMES = ("root", "work", "home", "Users")
MACHINE_PATH = re.compile(rf"(?<![\w.~}})/-])/(?:{'|'.join(HOMES)})/")
TEMPORARY_PATH = re.compile(r"(?<![\w.~})/-])/" + "tmp/")
UNDONE = re.compile(r"\b(?:TO" + "DO|FIX" + r"ME)\b")
#: An address, a path, or an option that names where packages come from.
SOURCE = re.compile(r"://|^\s*--?(?:index|extra|find|trusted|i\b|f\b)|^\s*#|@ ", re.MULTILINE)


def hits(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{shown(path)}:{number} {line.strip()}"
        for path in paths
        for number, line in _lines(path)
        if pattern.search(line)
    ]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    return enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)


def listing(advice: str, found: list[str]) -> str:
    return "\n".join([advice, *found])


def test_the_scan_sees_the_repository():
    seen = {shown(path) for path in text_files()}
    assert {"pyproject.toml", "Makefile", "requirements.lock", "contracts/__init__.py", ".ci/run"} <= seen


@pytest.mark.parametrize("directory", HOMES)
def test_the_scan_knows_a_machine_path(directory):
    path = f"/{directory}/someone"
    assert MACHINE_PATH.search(f"see {path}")
    assert MACHINE_PATH.search(f'"{path}"')
    assert not MACHINE_PATH.search(f"docs{path}")
    assert not MACHINE_PATH.search(f"https://example.com{path}")


def test_no_machine_path():
    found = hits(MACHINE_PATH, text_files())
    assert not found, listing("say it relative to the repository, or take it from a setting:", found)


def test_no_temporary_path_outside_of_tests():
    found = hits(TEMPORARY_PATH, [path for path in text_files() if not shown(path).startswith("tests/")])
    assert not found, listing("use tempfile, or a directory that a setting names:", found)


def test_nothing_is_left_undone():
    found = hits(UNDONE, text_files())
    assert not found, listing("do it now, or write it down where plans are kept:", found)


def test_lock_files_do_not_say_where_packages_come_from():
    locks = [path for path in text_files() if path.suffix == ".lock"]
    assert {"requirements.lock", "requirements-dev.lock"} <= {path.name for path in locks}
    found = hits(SOURCE, locks)
    assert not found, listing("make lock writes them clean; an index is pip's own configuration:", found)


@pytest.mark.parametrize("line", ["--index-url x", "# https://example.com", "a @ file:///b", "  # via c", "-i x"])
def test_the_scan_knows_a_source_of_packages(line):
    assert SOURCE.search(line)


def test_what_runs_in_production_is_what_was_tested():
    tested = _pins(ROOT / "requirements-dev.lock")
    differing = {name: pin for name, pin in _pins(ROOT / "requirements.lock").items() if tested.get(name) != pin}
    assert not differing, f"requirements.lock has {differing}, requirements-dev.lock has not: make lock"


def _pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(encoding="utf-8"), flags=re.MULTILINE))
