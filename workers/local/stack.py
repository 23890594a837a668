"""Brings up everything that the fleet needs on one machine, and takes it down again, however the work ends."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from workers.local import aws, pools, postgres, sandbox, template
from workers.local.processes import LOOPBACK, Child, LocalStackError, signals_held, take_lock
from workers.settings import LOCAL

__all__ = ["DATABASE", "LocalStackError", "Running", "StackOptions", "infrastructure", "prepare"]

#: The database's name (design §10).
DATABASE = "roadcall"

_PLATFORM = os.name

#: Our name for each queue, and the output of the template that holds its URL.
_QUEUE_OUTPUTS: Mapping[str, str] = {
    "events": "EventsQueueUrl",
    "commands": "CommandsQueueUrl",
    "payouts": "PayoutsQueueUrl",
    "approvals": "ApprovalsQueueUrl",
    "events_dlq": "EventsDeadLetterQueueUrl",
    "commands_dlq": "CommandsDeadLetterQueueUrl",
    "payouts_dlq": "PayoutsDeadLetterQueueUrl",
}


@dataclass(frozen=True, slots=True)
class Running:
    """Where everything runs; what `payments local --json` prints.

    Attributes:
        database_url: the service's database as its administrator, with the password; for people and tests.
        aws_endpoint_url: the local AWS.
        region: the region that everything was made in.
        event_bus: the name of the bus.
        queues: events, commands, payouts, approvals, events_dlq, commands_dlq, payouts_dlq: the URL of each.
        status_url: the status page, once there is one.
        token_keys_file: the public keys of the local user pool.
        provider_url: the sandbox provider.
        database_urls: the same database by role (worker, relay, status), each as a user with that role's rights, once
            there are such users.
        children: the servers that were started for it.
    """

    database_url: str
    aws_endpoint_url: str
    region: str
    event_bus: str
    queues: Mapping[str, str]
    status_url: str | None = None
    token_keys_file: Path | None = None
    provider_url: str | None = None
    database_urls: Mapping[str, str] = field(default_factory=dict, repr=False)
    children: tuple[Child, ...] = field(default=(), repr=False, compare=False)

    def as_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(
            {
                "database_url": self.database_url,
                "aws_endpoint_url": self.aws_endpoint_url,
                "region": self.region,
                "event_bus": self.event_bus,
                "queues": dict(self.queues),
                "status_url": self.status_url,
                "provider_url": self.provider_url,
                "token_keys_file": str(self.token_keys_file) if self.token_keys_file else None,
            }
        )

    def environment(self, role: str | None = None) -> dict[str, str]:
        """Return the environment variables that make one process use it.

        Args:
            role: the role of a process of the fleet, which logs in as that role's user; absent: the administrator.

        Raises:
            KeyError: the database has no user for the role; `logins.with_logins` makes them.
        """
        pool = {"PAYMENTS_TOKEN_KEYS_FILE": str(self.token_keys_file)} if self.token_keys_file else {}
        return {
            **pool,
            "PAYMENTS_ENVIRONMENT": LOCAL,
            "PAYMENTS_TOKEN_ISSUER": pools.ISSUER,
            "PAYMENTS_TOKEN_CLIENT_IDS": pools.CLIENT_ID,
            "PAYMENTS_COMMAND_SENDERS": aws.SENDER,
            "PAYMENTS_MEMBERSHIP_SENDERS": aws.SENDER,
            "PAYMENTS_ACCOUNT_SENDERS": aws.SENDER,
            "PAYMENTS_SERVICE_SENDERS": aws.SENDER,
            "PAYMENTS_DATABASE_URL": self.database_urls[role] if role else self.database_url,
            "PAYMENTS_EVENT_QUEUE_URL": self.queues["events"],
            "PAYMENTS_COMMAND_QUEUE_URL": self.queues["commands"],
            "PAYMENTS_PAYOUT_QUEUE_URL": self.queues["payouts"],
            "APPROVAL_QUEUE_URL": self.queues["approvals"],
            "EVENT_BUS_NAME": self.event_bus,
            "PAYMENTS_PROVIDER": "sandbox",
            "PAYMENTS_PROVIDER_SOURCES": sandbox.EVENT_SOURCE,
            **({"PAYMENTS_PROVIDER_URL": self.provider_url} if self.provider_url else {}),
            "AWS_ENDPOINT_URL": self.aws_endpoint_url,
            # boto3 reads this one and not AWS_REGION, and needs credentials even where none are checked.
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": aws.ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": aws.SECRET_ACCESS_KEY,
        }

    def check(self) -> None:
        """Raise if one of the servers has ended.

        Raises:
            LocalStackError: one has; the text holds the end of its log.
        """
        for child in self.children:
            child.check()


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """What a person may choose.

    Attributes:
        data_dir: the folder for data, state and logs; made if it is missing.
        say: is told, line by line, what goes on.
        fsync: whether a commit waits for the disk.
        aws_endpoint_url: a LocalStack or compatible server that already runs, to be used instead of our own.
        postgres_bin: the bin directory of a Postgres, to be used instead of the wheel's.
    """

    data_dir: Path
    say: Callable[[str], None]
    fsync: bool = True
    aws_endpoint_url: str | None = None
    postgres_bin: Path | None = None


@contextmanager
def infrastructure(options: StackOptions) -> Iterator[Running]:
    """Run Postgres and a local AWS with the database and the queues in them; stop both at the end.

    Neither the migrations nor the fleet are part of it: stop the fleet before leaving. Everything it started is
    stopped too when the start fails half way and when SIGINT or SIGTERM become an exception; further ones
    while it stops change nothing.

    Raises:
        LocalStackError: something is in the way; the text says what, and what to do about it.
    """
    stack = ExitStack()
    try:
        with _in_plain_words(options.data_dir):
            running = _bring_up(stack, options)
        yield running
    finally:
        with signals_held(deliver=False):
            stack.close()


def prepare(say: Callable[[str], None]) -> None:
    """Do beforehand what the first start would have to wait for.

    Raises:
        LocalStackError: it cannot be done here.
    """
    _check_platform()
    aws.prepare(say)
    postgres.wheel_binaries()


def _bring_up(stack: ExitStack, options: StackOptions) -> Running:
    """Start in this order: what is started first is stopped last."""
    _check_platform()
    data_dir = options.data_dir.expanduser().absolute()
    data_dir.mkdir(parents=True, exist_ok=True)
    _take(stack, data_dir)
    logs = _fresh_logs(data_dir)
    server = postgres.serve(
        stack,
        data_dir / "postgres",
        logs / "postgres.log",
        say=options.say,
        binaries=options.postgres_bin.expanduser().absolute() if options.postgres_bin else None,
        fsync=options.fsync,
    )
    options.say(f"Postgres listens on {LOOPBACK}:{server.port}.")
    _ensure_database(server.url("postgres"))
    children, endpoint_url = _aws(stack, options, data_dir, logs)
    outputs = template.apply(aws.session(endpoint_url).client("cloudformation"), parameters=sandbox.PARAMETERS)
    bank, provider_url = sandbox.serve(
        stack,
        data_dir / "provider",
        logs / "provider.log",
        endpoint_url=endpoint_url,
        say=options.say,
    )
    return Running(
        database_url=server.url(DATABASE),
        aws_endpoint_url=endpoint_url,
        region=aws.REGION,
        event_bus=outputs["EventBusName"],
        queues=_queue_urls(outputs, endpoint_url),
        token_keys_file=pools.prepare(data_dir / "pool"),
        provider_url=provider_url,
        children=(server.child, *children, bank),
    )


def _aws(stack: ExitStack, options: StackOptions, data_dir: Path, logs: Path) -> tuple[tuple[Child, ...], str]:
    if options.aws_endpoint_url is not None:
        options.say(f"Using the AWS server at {options.aws_endpoint_url}.")
        return (), options.aws_endpoint_url
    python = aws.prepare(options.say)
    child, endpoint_url = aws.serve(stack, data_dir / "aws", logs / "ministack.log", python, options.say)
    options.say(f"The local AWS listens on {endpoint_url}.")
    return (child,), endpoint_url


def _queue_urls(outputs: Mapping[str, str], endpoint_url: str) -> dict[str, str]:
    """Return the URLs on this server: its own still tell the port of the run that made the queue."""
    paths = {name: urlsplit(outputs[output]).path for name, output in _QUEUE_OUTPUTS.items()}
    return {name: f"{endpoint_url.rstrip('/')}{path}" for name, path in paths.items()}


def _check_platform() -> None:
    if _PLATFORM != "posix":
        raise LocalStackError(f"The local stack needs Linux or macOS, not {sys.platform}; on Windows, use WSL.")


def _take(stack: ExitStack, data_dir: Path) -> None:
    """Make sure that we are the only one who uses the folder."""
    file = stack.enter_context((data_dir / "lock").open("a+"))
    if not take_lock(file, wait=False):
        file.seek(0)
        holder = file.read().strip() or "unknown"
        raise LocalStackError(
            f"The local stack is already running (pid {holder}) on {data_dir}: use that one, stop it,"
            " or name another data directory."
        )
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()


def _fresh_logs(data_dir: Path) -> Path:
    """Return the folder of the logs; those of the last run are kept under another name, older ones are not."""
    logs = data_dir / "logs"
    logs.mkdir(mode=0o700, exist_ok=True)  # a server's log may quote data
    for log in logs.glob("*.log"):
        if not log.name.endswith(".previous.log"):
            log.replace(log.with_name(f"{log.stem}.previous.log"))
    return logs


def _ensure_database(server_url: str) -> None:
    from store.migrate import ensure_database  # noqa: PLC0415 - loads Alembic, which only this start needs

    try:
        ensure_database(server_url, DATABASE)
    except Exception as error:  # the driver's errors may not be named in this room
        raise LocalStackError(f"The database {DATABASE} cannot be made: {error}") from error


@contextmanager
def _in_plain_words(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise LocalStackError(f"The disk of {data_dir} is full: free some space and start again.") from error
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError) or error.errno == errno.EROFS:
            raise LocalStackError(
                f"{data_dir} cannot be used ({error}): name a data directory that you may write to."
            ) from error
        raise LocalStackError(f"The local stack cannot start: {error}") from error
