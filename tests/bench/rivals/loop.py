"""`python -m tests.bench.rivals.loop`: what one writes by hand with boto3: threads that receive, handle, delete."""

import json
import threading
from collections.abc import Sequence
from typing import Any

import boto3
from botocore.config import Config
from psycopg_pool import ConnectionPool

from tests.bench.rivals import running, work

#: How long a thread may take to finish what it has; one that is in a long poll has nothing and is left behind.
_GRACE_S = 2.0


def main() -> None:
    """Run until SIGTERM."""
    ended = running.begin()
    settings = running.Settings.read()
    # A client is safe to share between threads; by default it keeps ten connections only.
    client: Any = boto3.client("sqs", config=Config(max_pool_connections=settings.threads))
    url = client.get_queue_url(QueueName=settings.queue)["QueueUrl"]
    with work.open_pool(settings.database_url, settings.threads) as pool:
        arguments = (client, url, pool, ended)
        threads = [threading.Thread(target=_run, args=arguments, daemon=True) for _ in range(settings.threads)]
        for thread in threads:
            thread.start()
        running.say_ready()
        ended.wait()
        _join(threads)


def _run(client: Any, url: str, pool: ConnectionPool, ended: threading.Event) -> None:
    while not ended.is_set():
        answer = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
        if messages := answer.get("Messages"):
            for message in messages:
                work.handle(pool, json.loads(message["Body"])["detail"])
            client.delete_message_batch(QueueUrl=url, Entries=_entries(messages))


def _entries(messages: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(messages)]


def _join(threads: Sequence[threading.Thread]) -> None:
    pause_s = _GRACE_S / len(threads)
    for thread in threads:
        thread.join(pause_s)


if __name__ == "__main__":
    main()
