"""Logs: every line of a process is one JSON object on standard error; a message has one line, without its body."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

import structlog

Logger = structlog.stdlib.BoundLogger


def quiet_driver() -> None:
    """Keep the driver's own warnings out of every output: they quote connection strings, passwords among them.

    Its pipeline also tells of each lost race. What matters is told by us: by class, sqlstate and constraint.
    """
    for name in ("psycopg", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.ERROR)


def configure_logging(role: str, version: str, environment: str, level: str) -> None:
    """Send every log line of this process, libraries' too, to standard error as JSON.

    Args:
        role: the process's part in the fleet.
        version: the release.
        environment: where it runs, such as `production`.
        level: the least severe level that is written.
    """
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _Static({"service": "roadcall-payments", "role": role, "version": version, "env": environment}),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    quiet_driver()
    for chatty in ("botocore", "boto3", "urllib3", "dramatiq", "uvicorn", "alembic"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def logger(name: str) -> Logger:
    """Return a logger that writes events with keyword data."""
    found: Logger = structlog.get_logger(name)
    return found


class _Static:
    """Adds the same fields to every line."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    def __call__(self, _logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        return {**event, **self._fields}
