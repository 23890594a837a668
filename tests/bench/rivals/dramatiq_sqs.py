"""`python -m tests.bench.rivals.dramatiq_sqs`: dramatiq and dramatiq-sqs as they are shipped, in one process."""

from typing import Any

import dramatiq
from botocore.config import Config
from dramatiq.worker import Worker
from dramatiq_sqs import SQSBroker  # type: ignore[import-untyped]

from tests.bench.rivals import running, work

_GRACE_MS = 5_000


def main() -> None:
    """Run until SIGTERM."""
    ended = running.begin()
    settings = running.Settings.read()
    # Each thread deletes what it has handled, and the consumer receives; by default boto3 keeps ten connections only.
    broker = SQSBroker(config=Config(max_pool_connections=settings.threads + 1))
    # Messages name the queue as their producer knows it; which one at SQS that is, the environment says.
    broker.queues[work.QUEUE] = broker.sqs.get_queue_by_name(QueueName=settings.queue)
    with work.open_pool(settings.database_url, settings.threads) as pool:

        def work_completed(detail: dict[str, Any]) -> None:
            work.handle(pool, detail)

        dramatiq.actor(broker=broker, queue_name=work.QUEUE)(work_completed)
        worker = Worker(broker, worker_threads=settings.threads)
        worker.start()
        running.say_ready()
        ended.wait()
        worker.stop(timeout=_GRACE_MS)


if __name__ == "__main__":
    main()
