"""Logging as a role has it, for the length of a block."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from workers.logs import configure_logging

#: The libraries whose level a role sets.
CHATTY = ("botocore", "boto3", "urllib3", "dramatiq", "uvicorn", "alembic", "psycopg", "psycopg.pool")


@contextmanager
def configured(level: str = "INFO", redacted: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Log as a role does, to the standard error that there is now; afterwards as before."""
    root = logging.getLogger()
    handlers, before_level = list(root.handlers), root.level
    known = {name: logging.getLogger(name).level for name in CHATTY}
    hook = threading.excepthook
    configure_logging("worker", "1.2.3", "test", level, redacted)
    try:
        yield
    finally:
        threading.excepthook = hook
        root.handlers[:] = handlers
        root.setLevel(before_level)
        for name, before in known.items():
            logging.getLogger(name).setLevel(before)
        structlog.reset_defaults()
