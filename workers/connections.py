"""What a process talks to from its settings: clients of AWS, and the database's pool."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import boto3
import botocore.session
from botocore.config import Config

from store import db
from store.db import Pool, Watcher
from workers import credentials
from workers.direct import How, direct
from workers.metrics import Metrics
from workers.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_events.client import EventBridgeClient
    from mypy_boto3_secretsmanager.client import SecretsManagerClient
    from mypy_boto3_sqs.client import SQSClient

AWS_ATTEMPTS = 3
#: Every AWS call ends within the handling budget of 40 s; a long poll is the one that takes its time.
AWS_CONNECT_TIMEOUT_S = 3
AWS_READ_TIMEOUT_S = 10
#: Deletes, renewals and back-offs: well below a lease, and no more than a stop can wait for.
SETTLE_TIMEOUT_S = 5
SETTLE_ATTEMPTS = 2


def release() -> str:
    """Return this release's version."""
    return version("roadcall-payments")


def sqs_client(settings: Settings, *, connections: int, attempts: int = AWS_ATTEMPTS) -> "SQSClient":
    """Return an SQS client for a whole process; clients are safe to share between threads."""
    client: SQSClient = _direct("sqs", settings.poll_wait_s + AWS_READ_TIMEOUT_S, connections, attempts)
    return client


def settling_client(connections: int) -> "SQSClient":
    """Return an SQS client for what settles messages: patient for no longer than a stop can wait."""
    client: SQSClient = _direct("sqs", SETTLE_TIMEOUT_S, connections, SETTLE_ATTEMPTS)
    return client


def events_client(*, connections: int = 1, attempts: int = AWS_ATTEMPTS) -> "EventBridgeClient":
    """Return an EventBridge client."""
    client: EventBridgeClient = _direct("events", AWS_READ_TIMEOUT_S, connections, attempts)
    return client


@cache
def _session() -> tuple[botocore.session.Session, boto3.Session]:
    """Return the process's one session: each holds its own copy of what AWS's services look like, 8 MiB of it."""
    core = botocore.session.get_session()
    return core, boto3.Session(botocore_session=core)


def _direct(service: Literal["sqs", "events"], read_timeout_s: float, connections: int, attempts: int) -> Any:
    core, session = _session()
    client = session.client(service, config=_aws_config(read_timeout_s, connections, attempts))
    how = How(
        connections=connections,
        connect_s=AWS_CONNECT_TIMEOUT_S,
        read_s=read_timeout_s,
        attempts=attempts,
        user_agent=f"roadcall-payments/{release()}",
        ca_bundle=core.get_config_variable("ca_bundle"),
    )
    return direct(client, session.get_credentials(), how)


def cloudwatch_client() -> "CloudWatchClient":
    """Return a CloudWatch client."""
    return _session()[1].client("cloudwatch", config=_aws_config(AWS_READ_TIMEOUT_S, 2))


def secrets_client() -> "SecretsManagerClient":
    """Return a Secrets Manager client."""
    return _session()[1].client("secretsmanager", config=_aws_config(AWS_READ_TIMEOUT_S, 2))


def _aws_config(read_timeout_s: float, connections: int, attempts: int = AWS_ATTEMPTS) -> Config:
    return Config(
        connect_timeout=AWS_CONNECT_TIMEOUT_S,
        read_timeout=read_timeout_s,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": attempts},
        user_agent_extra=f"roadcall-payments/{release()}",
    )


def database_source(settings: Settings, metrics: Metrics | None = None) -> credentials.Source:
    """Return how to reach the database; one source per process, so that a rotation is noticed once for all."""
    return credentials.database(settings, lambda: metrics.counting(secrets_client()) if metrics else secrets_client())


@contextmanager
def opened_pool(
    settings: Settings,
    role: str,
    *,
    source: credentials.Source | None = None,
    size_max: int | None = None,
    watcher: Watcher = db.NOBODY,
) -> Generator[Pool]:
    """Open the role's connection pool and close it at the end."""
    source = source or database_source(settings)
    options = settings.pool_options(role, size_max=size_max)
    if isinstance(source, str):
        pool = db.open_pool(source, options, watcher=watcher)
    else:
        pool = db.open_pool(source, options, source.login_refused, watcher)
    try:
        yield pool
    finally:
        pool.close()


def database_conninfo(settings: Settings) -> str:
    """Return how to reach the database, once."""
    source = database_source(settings)
    return source if isinstance(source, str) else source()
