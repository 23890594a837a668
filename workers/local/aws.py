"""The local AWS: a server in a virtual environment of its own, spoken to over HTTP only, and sessions to it.

The server pins one exact version of a library that we use too, so it must not share our environment.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from workers.local.processes import (
    LOOPBACK,
    Child,
    LocalStackError,
    Program,
    answers,
    end_orphan,
    hint_for,
    kept_port,
    start,
    take_lock,
)

if TYPE_CHECKING:
    import boto3

PROJECT_ROOT = Path(__file__).resolve().parents[2]
LOCK_PATH = PROJECT_ROOT / "deploy" / "local" / "ministack.lock"
#: The region that everything is made in; the server keeps its state per region.
REGION = "us-east-1"
#: What a server that checks no credentials is given.
ACCESS_KEY_ID = "test"
SECRET_ACCESS_KEY = "test"  # noqa: S105 - no secret: the server takes anything

#: Whom its queues name as every message's sender: the account, as LocalStack does.
SENDER = "000000000000"

#: The fewest that the template and the service need: half the memory of all of them. One left out answers 400.
_SERVICES = "sqs,events,cloudformation,cloudwatch,iam,sts,secretsmanager,cognito-idp"
_READY_SECONDS = 30.0
#: It writes its state when it stops, and waits for open long polls.
_STOP_SECONDS = 20.0
_STARTS_MAX = 3


def prepare(say: Callable[[str], None], root: Path = PROJECT_ROOT, lock_path: Path = LOCK_PATH) -> Path:
    """Install the server unless it is there, and return the Python interpreter of its environment.

    Several processes may call this at once: one installs, the others wait. An installation that was cut off is
    made anew.

    Args:
        say: is told before the installation, which takes some seconds.
        root: the environment is made in its folder `.local/`.
        lock_path: the requirements, each with its hashes.

    Raises:
        LocalStackError: the installation failed.
    """
    try:
        digest = hashlib.sha256(lock_path.read_bytes()).hexdigest()[:12]
    except FileNotFoundError as error:
        raise LocalStackError(f"{lock_path} is missing: run this from a checkout of the project.") from error
    place = root / ".local" / f"ministack-{digest}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(place.with_name(f"{place.name}.lock"), say):
        if not _complete(place):
            _install(place, lock_path, say)
    return _python(place)


def serve(stack: ExitStack, home: Path, log_path: Path, python: Path, say: Callable[[str], None]) -> tuple[Child, str]:
    """Start the server, to be stopped by `stack`, and return it with its URL.

    Args:
        stack: stops the server.
        home: a folder of ours for its state and its port; made if only it is missing.
        log_path: where its output goes.
        python: the interpreter that `prepare` returned.
        say: is told what a person should know.

    Raises:
        LocalStackError: it did not start.
    """
    pid_path = home / "server.pid"
    for folder in (home, home / "state", home / "scratch"):
        folder.mkdir(mode=0o700, exist_ok=True)  # the state holds messages
    end_orphan(pid_path, signal.SIGTERM)
    for attempt in range(1, _STARTS_MAX + 1):
        port = kept_port(home / "port", "the local AWS", say)
        child = start(stack, _program(python, home, log_path, port), stop_seconds=_STOP_SECONDS)
        try:
            child.wait_until(partial(answers, child, port, "/_ministack/health"), _READY_SECONDS)
        except LocalStackError:
            # Somebody may have taken the port after we looked.
            if attempt == _STARTS_MAX or "already in use" not in child.log_tail():
                raise
        else:
            break
    return child, f"http://{LOOPBACK}:{port}"


def session(endpoint_url: str, region: str = REGION) -> "boto3.Session":
    """Return a session whose clients all speak to one LocalStack or compatible server.

    For the local stack and for tests only: it checks no certificate and brings credentials of its own. It has
    the methods `client` and `resource` of the class that it is typed as.

    Raises:
        LocalStackError: the packages of the local stack are not installed.
    """
    try:
        from localstack_client.session import Session  # noqa: PLC0415 - an extra that production does without
    except ImportError as error:
        raise LocalStackError("localstack-client is missing: run `make`, or `pip install '.[local]'`.") from error
    with _environment_variable("AWS_ENDPOINT_URL", endpoint_url):  # read once, when the session is made
        made = Session(aws_access_key_id=ACCESS_KEY_ID, aws_secret_access_key=SECRET_ACCESS_KEY, region_name=region)
    return cast("boto3.Session", made)


def _program(python: Path, home: Path, log_path: Path, port: int) -> Program:
    return Program(
        # Not the console script: its first line names the folder that it was installed into.
        argv=(str(python), "-I", "-m", "ministack"),
        env={
            "PATH": os.defpath,
            "BIND_HOST": LOOPBACK,  # else it listens on every address
            "GATEWAY_PORT": str(port),
            "MINISTACK_HOST": LOOPBACK,  # else stack outputs say localhost and the queue calls say 127.0.0.1
            "MINISTACK_REGION": REGION,
            "IOT_MTLS_ENABLED": "0",  # else it listens on every address at port 8883, whatever BIND_HOST says
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            "SERVICES": _SERVICES,
            "PERSIST_STATE": "1",
            "STATE_DIR": str(home / "state"),
            "TMPDIR": str(home / "scratch"),
        },
        log_path=log_path,
        name="The local AWS (ministack)",
        pid_path=home / "server.pid",
    )


def _install(place: Path, lock_path: Path, say: Callable[[str], None]) -> None:
    say("Installing the local AWS into an environment of its own; once, some seconds.")
    began = time.monotonic()
    shutil.rmtree(place, ignore_errors=True)
    _run((sys.executable, "-m", "venv", str(place)), "python3 -m venv failed; on Debian, install python3-venv")
    pip = (str(_python(place)), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
    _run(
        (*pip, "install", "--require-hashes", "--requirement", str(lock_path)),
        "pip could not install the local AWS; check the network and the package index, then start again",
    )
    _marker(place).write_text(sys.version)  # last of all: without it the next start begins anew
    say(f"Installed in {time.monotonic() - began:.0f} s.")


def _run(argv: tuple[str, ...], advice: str) -> None:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, start_new_session=True
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise LocalStackError(f"{advice}.\n{said}\n{hint_for(said)}".rstrip())


def _python(place: Path) -> Path:
    return place / "bin" / "python"


def _marker(place: Path) -> Path:
    return place / "complete"


def _complete(place: Path) -> bool:
    """Return whether the environment was installed to the end, by a Python that is still the one we run on."""
    with suppress(OSError):
        return _python(place).exists() and _marker(place).read_text() == sys.version
    return False


@contextmanager
def _only_one(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Let one process at a time in."""
    with path.open("w") as file:
        if not take_lock(file, wait=False):
            say("Another process is installing the local AWS; waiting for it.")
            take_lock(file, wait=True)
        yield


@contextmanager
def _environment_variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
