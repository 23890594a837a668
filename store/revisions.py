"""Which schema this release needs, without Alembic: 20 MiB that a process which migrates nothing can do without."""

from pathlib import Path

_VERSIONS = Path(__file__).with_name("migrations") / "versions"


def head() -> str:
    """Return the newest revision that this release knows; the files are named by their numbers.

    Raises:
        RuntimeError: there are none: the package is not whole.
    """
    numbers = [path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*.py")]
    if not numbers:
        raise RuntimeError("no migrations found beside store/migrations/versions")
    return max(numbers)
