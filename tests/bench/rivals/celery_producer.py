"""The bodies that Celery and kombu send to SQS: one is taken from them, and the others are made like it.

They are the same but for their ids. Celery makes 1,700 a second on its own, too few to send at a given pace.
"""

import base64
import json
from functools import cache
from typing import Any
from uuid import uuid4

from celery.utils.saferepr import saferepr
from kombu import Connection
from kombu.transport import SQS

from tests.bench.rivals import work
from tests.bench.rivals.celery_sqs import application

#: How much of a task's arguments its headers tell.
_SHOWN_MAX = 1_024


def body(detail: dict[str, Any]) -> str:
    """Return a body like `sent`, sooner."""
    message, embedded = _template()
    task_id = str(uuid4())
    told = {"id": task_id, "root_id": task_id, "argsrepr": saferepr([detail], _SHOWN_MAX)}
    filled = {
        **message,
        "body": _encoded([[detail], {}, embedded]),
        "headers": {**message["headers"], **told},
        "properties": {**message["properties"], "correlation_id": task_id, "delivery_tag": str(uuid4())},
    }
    return _encoded(filled)


def sent(detail: dict[str, Any]) -> str:
    """Return the body that Celery sends, to a client that keeps it."""
    recorder = _Recorder()
    options = {"recorder": recorder, "predefined_queues": {work.QUEUE: {"url": f"http://sqs/{work.QUEUE}"}}}
    with Connection(transport=_Transport, transport_options=options) as connection:
        application().send_task(work.TASK, args=[detail], connection=connection, ignore_result=True)
    return recorder.sent[0]


class _Recorder:
    """Stands in for boto3's client."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        """Answer what kombu asks when it declares a queue."""
        return {"Attributes": {"ApproximateNumberOfMessages": "0"}}

    def send_message(self, **given: Any) -> None:
        """Keep the body."""
        self.sent.append(given["MessageBody"])


class _Channel(SQS.Channel):  # type: ignore[misc]
    def new_sqs_client(self, *_: Any, **__: Any) -> Any:
        return self.transport_options["recorder"]


class _Transport(SQS.Transport):  # type: ignore[misc]
    Channel = _Channel


@cache
def _template() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a message, and what Celery embeds in its body beside the arguments."""
    message = _decoded(sent({}))
    return message, _decoded(message["body"])[2]


def _encoded(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def _decoded(text: str) -> Any:
    return json.loads(base64.b64decode(text))
