"""What each rival's own producer would put on the queue for one finished job."""

import base64
import json
from typing import Any

from dramatiq import Message

from tests.bench.rivals import work


def body(name: str, detail: dict[str, Any]) -> str:
    """Return the raw body of one message of a rival, which is named as its module is."""
    return _MAKERS[name](detail)


def _loop(detail: dict[str, Any]) -> str:
    return json.dumps({"detail-type": "WorkCompleted", "source": "roadcall.incident", "detail": detail})


def _dramatiq(detail: dict[str, Any]) -> str:
    message: Message[None] = Message(queue_name=work.QUEUE, actor_name=work.TASK, args=(detail,), kwargs={}, options={})
    return base64.b64encode(message.encode()).decode()


def _celery(detail: dict[str, Any]) -> str:
    from tests.bench.rivals import celery_producer  # noqa: PLC0415 - Celery is imported where it is wanted only

    return celery_producer.body(detail)


_MAKERS = {"loop": _loop, "dramatiq_sqs": _dramatiq, "celery_sqs": _celery}
