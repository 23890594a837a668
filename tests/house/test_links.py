"""What the documents point to is there: files, headings, make targets, commands."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.tree import BIN, ROOT, shown

DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")
FENCED = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^(?: {4}|\t).+$", re.MULTILINE)
INLINE_CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)")
REFERENCE = re.compile(r"^\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$)", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:", re.IGNORECASE)


def documents() -> list[Path]:
    return [*(ROOT / name for name in DOCUMENTS), *sorted((ROOT / "deploy").rglob("*.md"))]


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def code(path: Path) -> str:
    """Everything in a document that is set as code, without comments: what a reader would type."""
    whole = text(path)
    prose = FENCED.sub("", whole)
    pieces = [
        *(match.group() for match in FENCED.finditer(whole)),
        *INDENTED.findall(prose),
        *INLINE_CODE.findall(prose),
    ]
    return re.sub(r"\s#.*", "", "\n".join(pieces))


def links(path: Path) -> Iterator[str]:
    """The targets of a document's links that lead to somewhere in the repository."""
    prose = INLINE_CODE.sub("", FENCED.sub("", text(path)))
    for target in [*LINK.findall(prose), *REFERENCE.findall(prose)]:
        if not ELSEWHERE.match(target):
            yield target


def anchors(path: Path) -> set[str]:
    """The anchors that a forge makes of a document's headings."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCED.sub("", text(path))):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\s-]", "", plain.lower()).replace(" ", "-")
        found.add(next(name for name in _numbered(anchor) if name not in found))
    return found


def _numbered(anchor: str) -> Iterator[str]:
    yield anchor
    yield from (f"{anchor}-{number}" for number in range(1, 1000))


def dead(target: str, source: Path) -> bool:
    file, _, anchor = target.partition("#")
    destination = (source.parent / file).resolve() if file else source
    if not destination.exists() or not destination.is_relative_to(ROOT):
        return True
    return bool(anchor) and destination.suffix == ".md" and anchor not in anchors(destination)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_document_is_there(name):
    assert (ROOT / name).is_file(), f"write {name}: it is one of the three that a reader looks for first"
    assert HEADING.search(text(ROOT / name)), f"{name} has no heading"


def test_every_link_leads_somewhere():
    found = [f"{shown(path)} → {target}" for path in documents() for target in links(path) if dead(target, path)]
    assert not found, "\n".join(["no such file or heading:", *found])


def test_every_make_target_of_the_readme_exists():
    named = set(re.findall(r"\bmake ([a-z][a-z0-9-]*)", code(ROOT / "README.md")))
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", text(ROOT / "Makefile"), flags=re.MULTILINE))
    assert {"run", "test"} <= named, "README.md says how to run and how to test: make run, make test"
    assert not named - targets, f"README.md names {sorted(named - targets)}; the Makefile has {sorted(targets)}"


def test_every_make_target_is_explained():
    phony = re.search(r"^\.PHONY: (.+)$", text(ROOT / "Makefile"), flags=re.MULTILINE)
    assert phony is not None
    usage = subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    missing = [
        name for name in phony.group(1).split() if not re.search(rf"^\s+{name}\s+\S", usage.stdout, re.MULTILINE)
    ]
    assert not missing, f"make help does not show {missing}: give each target a ## comment"


def test_every_command_of_the_readme_exists():
    named = set(re.findall(r"\bpayments ([a-z][a-z-]*)", code(ROOT / "README.md")))
    usage = subprocess.run([BIN / "payments", "--help"], capture_output=True, text=True, check=True)
    missing = [name for name in sorted(named) if not re.search(rf"^[│|\s]*{name}\s", usage.stdout, re.MULTILINE)]
    assert not missing, f"README.md names {missing}; payments --help does not"


def test_anchors_are_made_as_a_forge_makes_them(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# The road: one `message`\n## Why?\n## Why?\n```\n# not this\n```\n", encoding="utf-8")
    assert anchors(page) == {"the-road-one-message", "why", "why-1"}


def test_links_in_code_are_no_links(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("[a](b.md) `[c](d.md)`\n```\n[e](f.md)\n```\n[g]: h.md\n[i](https://j)\n", encoding="utf-8")
    assert list(links(page)) == ["b.md", "h.md"]
    assert all(dead(target, page) for target in links(page))


def test_code_is_found_in_every_dress_and_without_comments(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("make up `make a`\n\n    make b  # make sure\n\n```sh\nmake c\n```\n", encoding="utf-8")
    assert re.findall(r"\bmake (\w+)", code(page)) == ["c", "b", "a"]


def test_every_proof_that_the_architecture_names_exists():
    named = re.findall(r"`(tests/[\w/.]+)`", (ROOT / "ARCHITECTURE.md").read_text())
    assert named, "the architecture names the tests that prove its promises"
    missing = sorted(name for name in named if not (ROOT / name).exists())
    assert not missing, f"ARCHITECTURE.md names {missing}, which do not exist: name the test that proves it"
