"""`payments local` as a process of its own: started, spoken to from outside, stopped by SIGTERM."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAYMENTS = [sys.executable, "-m", "workers.cli"]
#: What a process of ours inherits: nothing that could change what it does.
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True, slots=True)
class Local:
    """A running stack: its process, its folder, its line of JSON."""

    process: subprocess.Popen[str]
    folder: Path
    stack: dict[str, Any]

    @property
    def logs(self) -> Path:
        """Where its processes write their logs."""
        return self.folder / "data" / "logs"

    def environment(self) -> dict[str, str]:
        """What a process needs to join it: the file that it keeps for people."""
        kept = (self.folder / "data" / "environment").read_text()
        exports = [shlex.split(line)[1].partition("=") for line in kept.splitlines() if line.startswith("export ")]
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return inherited | {name: value for name, _, value in exports}

    def url_of(self, member: str) -> str:
        """Where a process of the fleet serves its health, by its own first words."""
        return url_in(self.logs / f"{member}.log")

    def roles(self) -> dict[int, str]:
        """The processes of the fleet: the role of each by its pid."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with_parent = _parent(path.parent) == self.process.pid
            words = _words(path)
            if with_parent and words[1:3] == ["-m", "workers.cli"]:
                found[int(path.parent.name)] = words[3]
        return found


@contextmanager
def local(folder: Path, *arguments: str) -> Iterator[Local]:
    """Run `payments local --json`; it must end well when it is told to stop."""
    with (folder / "talk.log").open("w") as talk:
        command = [*PAYMENTS, "local", "--json", "--no-fsync", "--data-dir", str(folder / "data"), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=talk, text=True)
        assert process.stdout
        line = process.stdout.readline()
        assert line, (folder / "talk.log").read_text()
        try:
            yield Local(process, folder, json.loads(line))
        finally:
            process.send_signal(signal.SIGTERM)
            process.stdout.close()
            ended = process.wait(40)
    assert ended == 0, (folder / "talk.log").read_text()


@contextmanager
def worker(running: Local, log: Path, settings: dict[str, str]) -> Iterator[Path]:
    """Run one worker of our own against a stack, with settings of our own; yield its log."""
    environment = {**running.environment(), "PAYMENTS_HEALTH_PORT": "0", **settings}
    with log.open("w") as out:
        process = subprocess.Popen([*PAYMENTS, "worker"], env=environment, stdout=out, stderr=out)
        try:
            yield log
        finally:
            process.send_signal(signal.SIGTERM)
            ended = process.wait(40)
    assert ended == 0, log.read_text()


def url_in(log: Path) -> str:
    """The URL that a role says it listens at."""
    found = re.search(r'"url": "(http://[^"]+)"', log.read_text())
    assert found, log.read_text()
    return found[1]


def get(url: str) -> str:
    """What is served at a loopback URL."""
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - a loopback URL of our own
        return str(answer.read().decode())


def outcomes(metrics: str) -> dict[str, int]:
    """How many messages ended how, by what a worker counts."""
    counted: dict[str, int] = {}
    pattern = re.compile(r'^payments_messages_processed_total\{.*outcome="(\w+)".*\} (\S+)', re.MULTILINE)
    for outcome, count in pattern.findall(metrics):
        counted[outcome] = counted.get(outcome, 0) + int(float(count))
    return counted


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended meanwhile
        return 0


def _words(cmdline: Path) -> list[str]:
    try:
        return cmdline.read_bytes().decode().split("\0")
    except OSError:
        return []
