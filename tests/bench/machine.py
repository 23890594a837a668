"""The machine, and what runs on it: figures mean little without."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from json import loads
from pathlib import Path
from typing import Any

from tests.kit import fauxqs
from workers.local.postgres import wheel_binaries

_PACKAGES = ("boto3", "celery", "dramatiq", "dramatiq-sqs", "kombu", "psycopg", "psycopg-pool", "roadcall-payments")


def described() -> dict[str, Any]:
    """Return what ran where, and when."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgres": _said(str(wheel_binaries() / "postgres"), "--version"),
        "node": _said(str(fauxqs._node()), "--version"),
        "packages": {"fauxqs": _fauxqs(), **{name: version(name) for name in _PACKAGES}},
        "load_before": round(os.getloadavg()[0], 2),
    }


def line(machine: dict[str, Any]) -> str:
    """Return it in a line for people."""
    return (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']:g} GiB, Linux {machine['kernel']},"
        f" Python {machine['python']}, {machine['postgres']}, Node {machine['node']}, {machine['date'][:10]}"
    )


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _fauxqs() -> str:
    return str(loads((fauxqs.PARTS / "package.json").read_text())["dependencies"]["fauxqs"])


def _said(*argv: str) -> str:
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    return said.replace("postgres (PostgreSQL)", "Postgres")
