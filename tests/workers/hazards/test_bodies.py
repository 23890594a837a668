"""Bodies: read strictly or not at all; retries keep their age."""

import base64
from datetime import UTC, datetime

import pytest

from contracts.envelope import Arrival, Flaw, Malformed, Queue
from contracts.inbound import parse
from tests.kit import messages as m
from tests.kit.brokers import EVENTS, backlog, running
from tests.kit.sqs import until
from workers.delivery import Delivery, Settlement


def flaw_of(body: str, queue: Queue = Queue.EVENTS) -> Flaw:
    with pytest.raises(Malformed) as malformed:
        parse(body, Arrival(queue, "sqs-1", datetime.now(UTC)), sources=m.SOURCES)
    return malformed.value.flaw


def test_p2_base64_is_not_read_as_if_it_were_json():
    body = m.body(m.work())
    encoded = base64.b64encode(body.encode()).decode()
    assert flaw_of(encoded) is Flaw.NOT_JSON
    assert flaw_of(f"{encoded[:8]}!{encoded[8:]}") is Flaw.NOT_JSON


def test_o3_o5_a_retried_message_keeps_the_time_of_its_first_sending_and_its_receives_are_counted():
    sqs = backlog(1)
    [stored] = sqs.held(EVENTS)
    seen: list[Delivery] = []

    def handle(delivery: Delivery) -> None:
        seen.append(delivery)
        delivery.settle_as(Settlement.RETRY if len(seen) < 3 else Settlement.DELETE)

    with running(sqs, handle, backoff_s=(0,)) as found:
        until(lambda: not sqs.held(EVENTS), within_s=10)
    received = found.metrics.registry.get_sample_value("payments_messages_received_total", {"queue": EVENTS})
    assert received == 3
    assert [delivery.arrival.receive_count for delivery in seen] == [1, 2, 3]
    sent = {delivery.arrival.sent_at for delivery in seen}
    assert sent == {datetime.fromtimestamp(stored.sent_at_ms / 1000, UTC)}
