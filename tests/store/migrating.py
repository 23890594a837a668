"""Migrations by processes of their own, all at the same moment: threads of one process would take turns."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE

PROJECT = Path(__file__).resolve().parents[2]
CODE = """
import json, sys
from store import migrate
print("ready", flush=True)
input()
print(json.dumps(migrate.upgrade(sys.argv[1])))
"""


def migrate_at_once(urls: Sequence[str]) -> list[tuple[str | None, str]]:
    """Migrate each database by its own process; return the revisions before and after that each of them reports.

    Raises:
        AssertionError: one failed; the text is what it said.
    """
    with ExitStack() as stack:
        started = [stack.enter_context(_process(url)) for url in urls]
        for process in started:
            assert process.stdout
            assert process.stdout.readline() == "ready\n", process.communicate(timeout=60)
        for process in started:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        return [_revisions(process) for process in started]


def _process(url: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", CODE, url], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, cwd=PROJECT
    )


def _revisions(process: "subprocess.Popen[str]") -> tuple[str | None, str]:
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    before, after = json.loads(said)
    return before, after
