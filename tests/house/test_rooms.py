"""The rooms are exactly these four, each with a sign on its door, and their names are ours alone."""

import ast
import importlib
import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.house.tree import ROOMS, ROOT, parsed, python_files, settings, shown

#: Names that say nothing about what is inside, so everything ends up there.
SHAPELESS = {"utils", "util", "common", "helpers", "helper", "base", "manager", "managers", "misc", "shared"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = directory.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_four_rooms_and_nothing_else(wheel):
    top = {name.split("/")[0] for name in wheel if ".dist-info/" not in name}
    assert top == set(ROOMS), (
        f"the wheel's top level is {sorted(top)}, the rooms are {sorted(ROOMS)}: put new code into one of the rooms "
        "(tool.hatch.build.targets.wheel.packages in pyproject.toml names them)"
    )


def test_the_wheel_holds_every_source_file_of_the_rooms(wheel):
    missing = {shown(path) for path in python_files(*ROOMS)} - set(wheel)
    missing |= {shown(path) for path in (ROOT / "store").rglob("*.sql")} - set(wheel)
    missing |= {shown(path) for path in (ROOT / "workers" / "templates").iterdir()} - set(wheel)
    assert not missing, f"not in the wheel: {sorted(missing)}; look at .gitignore, hatchling leaves out what it ignores"


def test_every_tool_knows_the_same_rooms():
    tools = settings()["tool"]
    assert tools["hatch"]["build"]["targets"]["wheel"]["packages"] == list(ROOMS)
    assert tools["importlinter"]["root_packages"] == list(ROOMS)
    assert set(ROOMS) <= set(tools["mypy"]["packages"])
    assert set(ROOMS) <= set(tools["ruff"]["lint"]["isort"]["known-first-party"])


def test_no_other_directory_at_the_top_is_a_package():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == set(ROOMS), f"{sorted(packages ^ set(ROOMS))}: code belongs into one of {sorted(ROOMS)}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_typed(room):
    assert (ROOT / room / "py.typed").is_file(), f"add an empty {room}/py.typed: its annotations count elsewhere too"


@pytest.mark.parametrize("room", ROOMS)
def test_a_sign_hangs_on_the_door(room):
    sign = ast.get_docstring(parsed(ROOT / room / "__init__.py")) or ""
    wanted = "say in its docstring what the room is for, then 'May import: …' and 'Must not: …', a line each"
    assert len(sign.splitlines()) > 1, f"{room}/__init__.py: {wanted}"
    for words in ("May import", "Must not"):
        assert words in sign, f"{room}/__init__.py lacks '{words}': {wanted}"


def test_names_say_what_is_inside():
    shapeless = [shown(path) for path in python_files(*ROOMS) if SHAPELESS & set(_words(path))]
    assert not shapeless, f"{shapeless}: name a module for the one thing it holds, a noun of the domain"


def test_no_module_shadows_the_standard_library():
    shadows = [shown(path) for path in python_files(*ROOMS) if path.stem in sys.stdlib_module_names]
    assert not shadows, f"{shadows}: choose another name; run as a script, its directory would hide the standard module"


@pytest.mark.parametrize("room", [*ROOMS, "tests"])
def test_no_installed_distribution_claims_our_names(room):
    claimed = importlib.metadata.packages_distributions().get(room, [])
    assert set(claimed) <= {"roadcall-payments"}, (
        f"{claimed} install a top-level package '{room}', as we do: drop that dependency or rename the room"
    )


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_imported_from_this_repository(room):
    file = importlib.import_module(room).__file__
    assert file is not None
    assert Path(file).resolve() == ROOT / room / "__init__.py", f"'{room}' is imported from {file}: run make setup"


def _words(path: Path) -> list[str]:
    """The words of a module's name and of the packages around it."""
    return [word for part in path.relative_to(ROOT).with_suffix("").parts for word in part.split("_")]
