"""`payments observe --once`, which is `make observe ONCE=1`: everything here, seen by a real Prometheus."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def observe(path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(prefix="roadcall-test-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        command = [
            sys.executable,
            "-m",
            "workers.cli",
            "observe",
            "--once",
            "--data-dir",
            f"{folder}/state",
            *arguments,
        ]
        environment = {"PATH": path, "COLUMNS": "160", "LANG": "C.UTF-8"}
        return subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_prometheus_sees_what_the_fleet_does():
    found = observe(os.environ["PATH"], "--incidents", "5")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "What Prometheus has seen" in found.stdout
    for words in ("payments created", "visible in payments-events, dlq", "alerts firing"):
        assert words in found.stdout
    assert "http://" not in found.stdout, "nothing answers there any more"


def test_without_prometheus_it_says_how_to_get_it():
    found = observe("/nowhere")
    assert found.returncode == 1
    assert "apt-get install --no-install-recommends prometheus" in found.stderr
