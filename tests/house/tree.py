"""The repository as the house tests see it: its rooms, its Python files, its text."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("workers", "handlers", "store", "contracts")
#: Where the tools of the running environment are.
BIN = Path(sys.executable).parent


def settings() -> dict[str, Any]:
    """What pyproject.toml says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def python_files(*rooms: str) -> list[Path]:
    """Every Python file of these top-level directories."""
    files = sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))
    assert files, f"no Python file in {', '.join(rooms)}: the house tests look in the wrong place"
    return files


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def shown(path: Path) -> str:
    """A path as a reader of a message wants it: from the root of the repository."""
    return path.relative_to(ROOT).as_posix()


def text_files() -> list[Path]:
    """Every text file that belongs to the repository: tracked, or new and not ignored."""
    return [path for path in sorted(_repository_files()) if path.is_file() and b"\0" not in path.read_bytes()]


def _repository_files() -> Iterator[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - whichever git there is
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode == 0:
        return (ROOT / name for name in listing.stdout.split("\0") if name)
    return _walked(ROOT, _ignored())


def _ignored() -> Callable[[str], bool]:
    """Understands the patterns that our .gitignore uses: a name, or an ending after a star."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    endings = tuple(line.strip("*/") for line in lines if line.startswith("*"))
    names = {".git", *(line.strip("/") for line in lines if not line.startswith("*"))}
    return lambda name: name in names or name.endswith(endings)


def _walked(directory: Path, ignored: Callable[[str], bool]) -> Iterator[Path]:
    for entry in directory.iterdir():
        if ignored(entry.name):
            continue
        if entry.is_dir():
            yield from _walked(entry, ignored)
        else:
            yield entry
