"""`python -m deploy.observability.write`: writes what is made from the catalogue, or says with --check what differs.

Exit codes: 0 written, or in order; 1 with --check, where a file is not what the catalogue makes of it.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.observability import alerting, panels, reference

HERE = Path(__file__).resolve().parent
#: What makes files: each returns its files by their path below this folder.
GENERATORS: tuple[Callable[[], Mapping[str, str]], ...] = (
    alerting.files,
    panels.files,
    reference.files,
)


def files() -> dict[str, str]:
    """Return every generated file by its path below this folder."""
    return {path: text for generate in GENERATORS for path, text in generate().items()}


def stale() -> list[str]:
    """Return the generated files that are missing or differ."""
    return [path for path, text in files().items() if not _is(HERE / path, text)]


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


def main() -> int:
    """Write, or check; return the exit code."""
    if "--check" in sys.argv[1:]:
        for path in (found := stale()):
            print(f"{path} is not what the catalogue makes of it: make golden, then read the diff.", file=sys.stderr)
        return 1 if found else 0
    for path, text in files().items():
        (HERE / path).parent.mkdir(parents=True, exist_ok=True)
        (HERE / path).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
