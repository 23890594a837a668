"""The journal of the provider's books: one line of JSON per change, so that they survive whatever ends the process.

A line is one write to the end of the file. The operating system has it before anybody is answered, so it outlives
SIGKILL; it does not outlive a loss of power, which nobody asks of a sandbox.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class JournalError(Exception):
    """The journal cannot be used; the text says why."""


class Journal:
    """An append-only file of JSON lines that one process at a time writes.

    Raises:
        JournalError: another process has it, or it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise JournalError(f"{path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise JournalError(f"{path} is written by another provider: stop that one, or name another file") from None

    def replay(self) -> Iterator[Any]:
        """Return what was written, the oldest first, and cut off a last line that was not written whole.

        Raises:
            JournalError: a line before the last one is damaged; the rest cannot be believed.
        """
        whole = 0
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                try:
                    yield json.loads(line)
                except ValueError:
                    raise JournalError(f"{self._path}:{number} is damaged") from None
        os.ftruncate(self._file, whole)

    def append(self, value: Any) -> None:
        """Write one line, whole or not at all.

        Raises:
            OSError: the disk does not take it.
        """
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
        except OSError:
            os.ftruncate(self._file, size)
            raise
        if written != len(line):
            os.ftruncate(self._file, size)
            raise OSError(f"{self._path}: no room for a line")

    def close(self) -> None:
        """Let another process have it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
