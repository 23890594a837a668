"""`python -m tests.bench.rivals.celery_sqs`: Celery on kombu's SQS, with its pool of threads, in one process.

One thread of it receives and also deletes, a message at a time; that bounds it, however much is prefetched.
"""

import os
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
from celery import Celery, signals

from tests.bench.rivals import running, work

#: Messages held for each thread: so many that tens are received, never ones, and few enough that none waits for long.
_PREFETCH = 20
#: How soon it looks again when it holds so many; by default after a second, in which the threads could run dry.
_POLLING_S = 0.1
_ARGUMENTS = (
    "--quiet",
    "worker",
    "--pool=threads",
    "--loglevel=WARNING",
    "--without-mingle",
    "--without-gossip",
    "--without-heartbeat",
)


def application(broker_url: str = "sqs://", **transport_options: Any) -> Celery:
    """Return the application, the same for its producer and its worker."""
    app = Celery("rival", broker=broker_url, set_as_current=False)
    app.conf.update(
        broker_transport_options=transport_options,
        broker_connection_retry_on_startup=True,
        task_default_queue=work.QUEUE,
        task_acks_late=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=_PREFETCH,
        worker_send_task_events=False,
        worker_enable_remote_control=False,  # SQS has no fanout without SNS
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


def main() -> None:
    """Run until SIGTERM; Celery minds the signals itself."""
    running.begin()
    settings = running.Settings.read()
    url = boto3.client("sqs").get_queue_url(QueueName=settings.queue)["QueueUrl"]
    app = application(
        _broker_url(),
        region=os.environ["AWS_DEFAULT_REGION"],
        is_secure=False,
        predefined_queues={work.QUEUE: {"url": url}},
        wait_time_seconds=20,
        polling_interval=_POLLING_S,
    )
    signals.worker_ready.connect(lambda **_: running.say_ready(), weak=False)
    with work.open_pool(settings.database_url, settings.threads) as pool:

        def work_completed(detail: dict[str, Any]) -> None:
            work.handle(pool, detail)

        app.task(name=work.TASK)(work_completed)
        app.worker_main([*_ARGUMENTS, f"--concurrency={settings.threads}"])


def _broker_url() -> str:
    key, secret = (quote(os.environ[name], safe="") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    return f"sqs://{key}:{secret}@{urlsplit(os.environ['AWS_ENDPOINT_URL']).netloc}"


if __name__ == "__main__":
    main()
