"""`python -m tests.bench.stock_loss`: the stock pair loses a failing message; ours does not.

The stock pair is dramatiq with its default middleware on dramatiq-sqs with its default options. An actor fails. By
the default back-off its retries come after 15 s, 30 s, 1 min, ..., each up to twice as much by jitter: the sixth after
8 to 16 minutes, the seventh after 16 to 32. SQS can delay a message by 900 s. Enqueueing a later one raises inside the
middleware `Retries`, the error is logged, and the message counts as done and is deleted (dramatiq issue 545).

One thing is set, and it saves waiting only: the message begins with six failures on record, as it has after 16 to 32
minutes; one in eight is lost at its sixth failure already.

Exit code 0: the loss was shown, and ours lost nothing; 1: otherwise.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dramatiq
from dramatiq.worker import Worker
from dramatiq_sqs import SQSBroker  # type: ignore[import-untyped]

from contracts.envelope import Queue
from tests.kit import fauxqs
from workers.broker import BrokerOptions, SqsBroker
from workers.delivery import inbound_queue
from workers.local import aws
from workers.metrics import Metrics
from workers.roles.worker import declare_actors
from workers.settings import MAX_RECEIVES

#: Failures on record when the stock pair's message begins: the first whose next back-off is above 900 s in any case.
FAILURES = 6
_WITHIN_S = 30.0
_STOCK_QUEUE = "stock"


@dataclass(slots=True)
class Shown:
    """What became of one message.

    Attributes:
        who: whose broker it was.
        runs: how often its actor has run, and failed.
        left: in the queue, whether visible, hidden or delayed.
        dead: in the dead-letter queue; None where there is none.
    """

    who: str
    runs: int = 0
    left: int = 0
    dead: int | None = None

    @property
    def lost(self) -> int:
        """How many of one message are nowhere."""
        return 1 - self.left - (self.dead or 0)


def show_stock(endpoint_url: str) -> Shown:
    """Let an actor fail on the stock pair, as it is shipped."""
    shown = Shown("dramatiq + dramatiq-sqs")
    broker = SQSBroker(**_connection(endpoint_url))

    def fail() -> None:
        shown.runs += 1
        raise RuntimeError("this actor always fails")

    actor = dramatiq.actor(broker=broker, queue_name=_STOCK_QUEUE)(fail)
    broker.enqueue(actor.message_with_options(args=(), retries=FAILURES))
    worker = Worker(broker, worker_timeout=100)
    worker.start()
    client: Any = aws.session(endpoint_url).client("sqs")
    url = client.get_queue_url(QueueName=_STOCK_QUEUE)["QueueUrl"]
    _wait(lambda: shown.runs and not _depth(client, url))
    worker.stop()
    shown.left = _depth(client, url)
    return shown


def show_ours(endpoint_url: str) -> Shown:
    """Let a message fail on our broker until its queue's redrive policy takes it away; only the back-off is shorter."""
    shown = Shown("Roadcall Payments")
    client: Any = aws.session(endpoint_url).client("sqs")
    urls = fauxqs.create_queues(client)
    sources = [inbound_queue(client, queue, urls[queue.removeprefix("payments-")]) for queue in Queue]
    options = BrokerOptions(
        room=16, poll_wait_s=1, visibility_s=30, renew_every_s=10, backoff_s=(0,), backoff_jitter=0.0
    )
    broker = SqsBroker(client, sources, options, Metrics())

    def fail() -> None:
        shown.runs += 1
        raise RuntimeError("this handler always fails")

    declare_actors(broker, fail)
    client.send_message(QueueUrl=urls["events"], MessageBody=json.dumps({"type": "anything"}))
    worker = Worker(broker, worker_threads=1, worker_timeout=100)
    worker.start()
    broker.start()
    _wait(lambda: _depth(client, urls["events_dlq"]))
    worker.stop(timeout=5_000)
    broker.shut_down(5)
    shown.left, shown.dead = _depth(client, urls["events"]), _depth(client, urls["events_dlq"])
    return shown


def _connection(endpoint_url: str) -> Mapping[str, Any]:
    return {
        "endpoint_url": endpoint_url,
        "region_name": aws.REGION,
        "aws_access_key_id": "local",
        "aws_secret_access_key": "local",
    }


def _depth(client: Any, url: str) -> int:
    names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=names)
    return sum(int(count) for count in answer["Attributes"].values())


def _wait(ready: Callable[[], object]) -> None:
    """Wait until something is so, or for so long that it will never be; the figures tell which."""
    deadline = time.monotonic() + _WITHIN_S
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show both; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.stock_loss",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    sys.stderr.write("A handler fails on purpose, again and again: its tracebacks come first, then the table.\n")
    with tempfile.TemporaryDirectory() as home, fauxqs.serving(Path(home) / "fauxqs.log") as endpoint_url:
        stock, ours = show_stock(endpoint_url), show_ours(endpoint_url)
    sys.stdout.write(f"{'one message that always fails':<32}{'runs':>6}{'left':>6}{'dead letters':>14}{'lost':>6}\n")
    for shown in (stock, ours):
        dead = "no queue" if shown.dead is None else shown.dead
        sys.stdout.write(f"{shown.who:<32}{shown.runs:>6}{shown.left:>6}{dead:>14}{shown.lost:>6}\n")
    proven = (stock.runs, stock.lost, ours.runs, ours.lost, ours.dead) == (1, 1, MAX_RECEIVES, 0, 1)
    sys.stdout.write("shown: the stock pair lost it\n" if proven else "NOT shown: see the figures\n")
    return 0 if proven else 1


if __name__ == "__main__":
    sys.exit(main())
