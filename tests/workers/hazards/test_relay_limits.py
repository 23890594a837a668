"""The relay against receivers that refuse: what is sent, what waits, what is put aside, and what is counted."""

import json
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from contracts.outbound import Destination
from store import db, outbox
from store.db import Pool
from store.outbox import NewRow
from tests.kit.funnel import rows
from tests.kit.sqs import URL, MemorySqs, throttled, until
from workers.catalogue import OTHER
from workers.metrics import Metrics
from workers.quotas import BATCH_BYTES_MAX, BATCH_MAX
from workers.relay import BusSender, QueueSender, Relay, RelayOptions, Sender

#: What EventBridge takes in one request.
REQUEST_BYTES_MAX = 262_144


class StrictBus:
    """EventBridge with its limit on the size of a request."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.refused = 0

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        assert 1 <= len(Entries) <= BATCH_MAX
        if sum(len(json.dumps(entry)) for entry in Entries) > REQUEST_BYTES_MAX:
            self.refused += 1
            raise ClientError({"Error": {"Code": "ValidationException", "Message": "too large"}}, "PutEvents")
        self.entries += Entries
        return {"Entries": [{"EventId": str(uuid4())} for _ in Entries]}


class SilentQueue:
    """SQS that answers about some of the entries only, or refuses them for good."""

    def __init__(self, *, refuse: str = "", forget: str = "") -> None:
        self._refuse, self._forget = refuse, forget

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803, ARG002
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for entry in Entries:
            name = json.loads(entry["MessageBody"])["name"]
            if name == self._refuse:
                answer["Failed"].append({"Id": entry["Id"], "Code": "InvalidMessageContents", "SenderFault": True})
            elif name != self._forget:
                answer["Successful"].append({"Id": entry["Id"], "MessageId": f"sqs-{name}"})
        return answer


def write(pool: Pool, sizes: dict[str, int], destination: str = "bus") -> None:
    with db.transaction(pool) as tx:
        at = tx.ask("SELECT clock_timestamp() AS at", {}).value()[0]["at"]
        new = [
            NewRow(uuid4(), uuid4(), 1, destination, "Test", {"name": name, "filling": "x" * size}, at)
            for name, size in sizes.items()
        ]
        outbox.append(tx, new, at)


def relay(
    pool: Pool, *, bus: Any = None, queue: Any = None, metrics: Metrics | None = None, lease_s: float = 30
) -> Relay:
    to_bus: Any = bus or StrictBus()
    to_queue: Any = queue or MemorySqs()
    senders: dict[Destination, Sender] = {
        Destination.BUS: BusSender(to_bus, "bus", "roadcall.payment"),
        Destination.APPROVALS: QueueSender(to_queue, URL + "approvals"),
        Destination.PAYOUTS: QueueSender(to_queue, URL + "payouts"),
    }
    return Relay(pool, senders, RelayOptions(lease_s=lease_s), metrics or Metrics())


def states(pool: Pool) -> dict[str, str]:
    query = """
        SELECT payload->>'name' AS name, CASE WHEN published_at IS NOT NULL THEN 'sent'
               WHEN failed_at IS NOT NULL THEN 'failed' ELSE 'due' END AS state FROM outbox
    """
    return {row["name"]: row["state"] for row in rows(pool, query)}


def test_r6_a_row_that_is_too_large_does_not_keep_the_others_from_being_sent(pool: Pool):
    write(pool, {"before": 10, "huge": REQUEST_BYTES_MAX + 1, "after": 10})
    bus = StrictBus()
    relay(pool, bus=bus).run_once()
    found = states(pool)
    assert (found["before"], found["after"]) == ("sent", "sent")
    assert found["huge"] != "sent"
    assert bus.refused == 1


def test_t7_no_request_is_larger_than_its_receiver_takes(pool: Pool):
    write(pool, {f"n{number:02d}": BATCH_BYTES_MAX // 7 for number in range(25)})
    bus = StrictBus()
    relay(pool, bus=bus).run_once()
    assert bus.refused == 0
    assert [json.loads(entry["Detail"])["name"] for entry in bus.entries] == [f"n{number:02d}" for number in range(25)]


def test_text_of_other_scripts_is_counted_in_bytes(pool: Pool):
    with db.transaction(pool) as tx:
        at = tx.ask("SELECT clock_timestamp() AS at", {}).value()[0]["at"]
        text = "\N{HIRAGANA LETTER A}" * 15_000  # 45 kB in UTF-8, 90 kB as JSON escapes
        new = [
            NewRow(uuid4(), uuid4(), 1, "bus", "Test", {"name": str(number), "text": text}, at) for number in range(8)
        ]
        outbox.append(tx, new, at)
    bus = StrictBus()
    relay(pool, bus=bus).run_once()
    assert (bus.refused, len(bus.entries)) == (0, 8)


def test_l6_an_entry_that_the_answer_forgets_comes_again_when_its_lease_ends(pool: Pool):
    write(pool, {"told": 1, "forgotten": 1}, "payouts")
    relay(pool, queue=SilentQueue(forget="forgotten"), lease_s=0.2).run_once()
    assert states(pool) == {"told": "sent", "forgotten": "due"}
    queue = MemorySqs()
    until(relay(pool, queue=queue).run_once, what="the end of the lease")
    assert [json.loads(stored.body)["name"] for stored in queue.held("payouts")] == ["forgotten"]


def test_a_message_that_its_queue_refuses_for_good_is_put_aside(pool: Pool):
    write(pool, {"bad": 1, "good": 1}, "approvals")
    relay(pool, queue=SilentQueue(refuse="bad")).run_once()
    assert states(pool) == {"bad": "failed", "good": "sent"}


def test_a_queue_that_is_busy_gets_its_messages_later_and_the_bus_its_events_now(pool: Pool):
    write(pool, {"event": 1})
    write(pool, {"message": 1}, "approvals")
    queue = MemorySqs()
    queue.faults["send_message_batch"].append(throttled())
    sender = relay(pool, queue=queue)
    sender.run_once()
    assert states(pool) == {"event": "sent", "message": "due"}
    until(sender.run_once, what="its back-off")
    assert states(pool)["message"] == "sent"


@pytest.mark.parametrize(
    ("queue", "result"), [(SilentQueue(), "sent"), (SilentQueue(refuse="a"), "rejected"), (None, "failed")]
)
def test_what_became_of_a_row_is_counted(pool: Pool, queue: Any, result: str):
    write(pool, {"a": 1}, "payouts")
    busy = MemorySqs()
    busy.faults["send_message_batch"].append(throttled())
    metrics = Metrics()
    relay(pool, queue=queue or busy, metrics=metrics).run_once()
    counted = {
        each: metrics.registry.get_sample_value(
            "payments_events_published_total", {"destination": "payouts", "detail_type": OTHER, "result": each}
        )
        for each in ("sent", "failed", "rejected")
    }
    assert counted == {"sent": 0, "failed": 0, "rejected": 0} | {result: 1}


def test_an_event_about_nothing_known_names_no_resources(pool: Pool):
    write(pool, {"a": 1})
    bus = StrictBus()
    relay(pool, bus=bus).run_once()
    assert bus.entries[0]["Resources"] == []


class BrokenBus:
    """EventBridge that answers with something that is no answer."""

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803, ARG002 - boto3's name
        return {}


def test_a_receiver_that_answers_nonsense_costs_the_others_nothing(pool: Pool):
    write(pool, {"event": 1})
    write(pool, {"order": 1}, destination="payouts")
    assert relay(pool, bus=BrokenBus()).run_once() == 2
    found = rows(
        pool,
        "SELECT destination, published_at IS NOT NULL AS sent, available_at < clock_timestamp() + '2s'"
        " AS soon FROM outbox ORDER BY destination",
    )
    assert [(each["destination"], each["sent"]) for each in found] == [("bus", False), ("payouts", True)]
    assert found[0]["soon"], "it comes again after its own back-off, not at the end of the lease"
