"""Breaks the code on purpose, one guarantee at a time, and shows which test notices: `make mutations`.

It works on a copy. First the tests must pass there as the code is; then each mutation must make one of them fail.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutations.catalogue import CATALOGUE, Edit, Mutation

PROJECT = Path(__file__).parents[2]
ROOMS = ("contracts", "store", "handlers", "workers", "tests", "deploy", "pyproject.toml", "ARCHITECTURE.md")
#: A mutation can make a test hang: that is noticed too.
LIMIT_S = 240
#: For all files of tests together, as the code is.
LIMIT_OF_ALL_S = 1_200
#: Exit codes of pytest.
PASSED, FAILED = 0, 1
_FAILURE = re.compile(r"^(?:FAILED|ERROR) (\S+(?:\[[^\]]*\])?)", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Apply the mutations one by one; return 0 when each of them was noticed, 2 when nothing could be shown."""
    chosen = _chosen(arguments)
    with tempfile.TemporaryDirectory(prefix="payments-mutations-") as folder:
        copy = _copy(Path(folder))
        proofs = sorted({proof for mutation in chosen for proof in mutation.proofs})
        print(f"As the code is: {len(proofs)} files of tests", end=" ", flush=True)
        code, output = _tests(copy, proofs, limit_s=LIMIT_OF_ALL_S)
        if code != PASSED:
            print(f"do not pass, so that nothing can be shown:\n{output[-4000:]}")
            return 2
        print("pass.\n")
        unnoticed = [mutation.name for mutation in chosen if not _noticed(copy, mutation)]
    print(f"\n{len(chosen) - len(unnoticed)} of {len(chosen)} mutations noticed.")
    if unnoticed:
        print(f"NOT NOTICED: {', '.join(unnoticed)}")
    return 1 if unnoticed else 0


def _chosen(arguments: Sequence[str] | None) -> list[Mutation]:
    names = [mutation.name for mutation in CATALOGUE]
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones; by default all of {', '.join(names)}")
    wanted = parser.parse_args(arguments).names
    if unknown := set(wanted) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return [mutation for mutation in CATALOGUE if not wanted or mutation.name in wanted]


def _copy(folder: Path) -> Path:
    """Copy what the tests need."""
    for name in ROOMS:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def _noticed(copy: Path, mutation: Mutation) -> bool:
    print(f"{mutation.name}\n    harm: {mutation.harm}", flush=True)
    began = time.monotonic()
    before = {edit.path: (copy / edit.path).read_text() for edit in mutation.edits}
    try:
        for edit in mutation.edits:
            _apply(copy, edit)
        code, output = _tests(copy, mutation.proofs, "-x")
    finally:
        for path, text in before.items():
            (copy / path).write_text(text)
    took_s = time.monotonic() - began
    if code == FAILED:
        found = _FAILURE.search(output)
        print(f"    noticed by {found.group(1) if found else 'a test'} ({took_s:.0f} s)", flush=True)
        return True
    print(f"    NOT NOTICED: pytest ended with {code} ({took_s:.0f} s)\n{output[-2000:]}", flush=True)
    return False


def _apply(copy: Path, edit: Edit) -> None:
    path = copy / edit.path
    text = path.read_text()
    found = text.count(edit.old)
    if found != edit.times:
        raise SystemExit(
            f"{edit.path} holds {edit.old!r} {found} times instead of {edit.times}: bring tests/mutations/catalogue.py"
            " up to date with the code"
        )
    path.write_text(text.replace(edit.old, edit.new))


def _tests(copy: Path, proofs: Sequence[str], *options: str, limit_s: float = LIMIT_S) -> tuple[int, str]:
    """Run tests of the copy, on the copy's code; return pytest's exit code and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=line", "-p", "no:randomly", *options, *proofs]
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=limit_s
        )
    except subprocess.TimeoutExpired as late:
        return FAILED, f"FAILED {' '.join(proofs)} did not end within {late.timeout:.0f} s"
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
