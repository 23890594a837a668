"""Time, ids and settings are values: only workers/ reads a clock, chance or the environment.

Held twice: by ruff's banned-api, shown here to bite, and by a scan of our own, which no `noqa` silences.
"""

import ast
import subprocess
from collections.abc import Iterator

import pytest

from tests.house.tree import BIN, ROOT, parsed, python_files, settings, shown

PURE_ROOMS = ("contracts", "store", "handlers")
BANNED: dict[str, str] = {
    name: rule["msg"] for name, rule in settings()["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"].items()
}
#: One call, as its author may write it.
SPELLINGS = {
    "the clock": "import datetime\n\nnow = datetime.datetime.now(datetime.UTC)\n",
    "the clock's class": "from datetime import UTC, datetime\n\nnow = datetime.now(UTC)\n",
    "the clock by another name": "import time as t\n\nnow = t.time()\n",
    "the clock's function": "from time import time\n\nnow = time()\n",
    "a random id": "import uuid\n\nid_ = uuid.uuid4()\n",
    "a random id's function": "from uuid import uuid4\n\nid_ = uuid4()\n",
    "the environment": 'import os\n\nhome = os.environ["HOME"]\n',
    "the environment's mapping": 'from os import environ as e\n\nhome = e["HOME"]\n',
    "a setting": 'import os\n\nhome = os.getenv("HOME")\n',
    "today's date": "from datetime import date as day\n\ntoday = day.today()\n",
    "the clock, taken along unread": "import time\n\nread = time.monotonic\n",
}
#: What looks like it and is none.
HARMLESS = {
    "a time as a value": "from datetime import datetime\n\n\ndef later(now: datetime) -> datetime:\n    return now\n",
    "a pause": "import time\n\ntime.sleep(1)\n",
    "a derived id": 'import uuid\n\nid_ = uuid.uuid5(uuid.NAMESPACE_URL, "x")\n',
    "a name of our own": "def show(environ: dict[str, str]) -> None:\n    environ.clear()\n",
}


def ruff_reports(source: str, room: str) -> bool:
    """Whether ruff, by our configuration, reports TID251 for this source in that room."""
    command = [
        str(BIN / "ruff"),
        "check",
        "--no-cache",
        "--output-format=concise",
        f"--stdin-filename={room}/planted.py",
        "-",
    ]
    ran = subprocess.run(command, input=source, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode in {0, 1}, ran.stderr
    return "TID251" in ran.stdout


@pytest.mark.parametrize("room", PURE_ROOMS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_ruff_reports_it(spelling, room):
    assert ruff_reports(SPELLINGS[spelling], room), (
        f"ruff lets {spelling} pass in {room}/: see banned-api in pyproject.toml"
    )


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_ruff_leaves_the_outermost_room_alone(spelling):
    assert not ruff_reports(SPELLINGS[spelling], "workers")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_our_scan_sees_it(spelling):
    assert list(banned_uses(ast.parse(SPELLINGS[spelling])))


@pytest.mark.parametrize("module", ["os", "time", "uuid"])
def test_our_scan_sees_a_star(module):
    assert list(banned_uses(ast.parse(f"from {module} import *\n")))


@pytest.mark.parametrize("name", HARMLESS)
def test_our_scan_knows_what_is_harmless(name):
    assert not list(banned_uses(ast.parse(HARMLESS[name])))


def test_the_pure_rooms_read_no_clock_no_chance_no_environment():
    found = [
        f"{shown(path)}:{line} {name}. {BANNED[name]}"
        for path in python_files(*PURE_ROOMS)
        for line, name in banned_uses(parsed(path))
    ]
    assert not found, "\n".join(["these know the outside:", *found])


def banned_uses(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every place that imports or names something banned, in whatever spelling: its line and the full name."""
    imported = dict(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = [name for alias in node.names for name in _taken(f"{node.module}.{alias.name}")]
        elif isinstance(node, ast.Attribute | ast.Name):
            names = [_full_name(node, imported)]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name in BANNED)


def _taken(imported: str) -> list[str]:
    """What `from … import …` takes by this full name; a star takes everything banned that the module has."""
    package, _, name = imported.rpartition(".")
    return [banned for banned in BANNED if banned.rpartition(".")[0] == package] if name == "*" else [imported]


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Local name → full name, for everything that is imported anywhere in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (top, top)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _full_name(node: ast.expr, imported: dict[str, str]) -> str:
    """`t.time` → `time.time`, if `t` was imported as `time`; empty for anything that is no imported name."""
    if isinstance(node, ast.Name):
        return imported.get(node.id, "")
    if isinstance(node, ast.Attribute):
        owner = _full_name(node.value, imported)
        return f"{owner}.{node.attr}" if owner else ""
    return ""
