"""The relay against a real outbox and scripted receivers: it marks what was taken, and nothing else."""

import json
import threading
from collections import deque
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import EndpointConnectionError

from contracts.outbound import Destination
from store import db, outbox
from store.db import Pool, Transient
from store.outbox import NewRow
from tests.kit import messages as m
from tests.kit.funnel import rows, twice
from tests.kit.sqs import until
from workers.metrics import Metrics
from workers.quotas import BATCH_BYTES_MAX
from workers.relay import BusSender, QueueSender, Relay, RelayOptions, Sender, chunks

OPTIONS = RelayOptions(batch=100, lease_s=30)


class Bus:
    """EventBridge: takes entries unless it has been told an error code for one of them."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.requests: list[int] = []
        self.codes: dict[str, deque[str]] = {}
        self.errors: deque[Exception] = deque()

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self.requests.append(len(Entries))
        if self.errors:
            raise self.errors.popleft()
        return {"Entries": [self._take(entry) for entry in Entries]}

    def _take(self, entry: dict[str, Any]) -> dict[str, str]:
        codes = self.codes.get(json.loads(entry["Detail"])["name"])
        if codes:
            return {"ErrorCode": codes.popleft(), "ErrorMessage": "no"}
        self.taken.append(entry)
        return {"EventId": f"bus-{len(self.taken)}"}

    def names(self) -> list[str]:
        return [json.loads(entry["Detail"])["name"] for entry in self.taken]


class QueueOf:
    """SQS: takes messages unless their text has been told to fail."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.bodies: list[str] = []
        self.attributes: list[Any] = []

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803, ARG002
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for entry in Entries:
            if self.failing and self.failing in entry["MessageBody"]:
                answer["Failed"].append({"Id": entry["Id"], "Code": "InternalError", "SenderFault": False})
            else:
                self.bodies.append(entry["MessageBody"])
                self.attributes.append(entry.get("MessageAttributes"))
                answer["Successful"].append({"Id": entry["Id"], "MessageId": f"sqs-{entry['Id']}"})
        return answer


def write(pool: Pool, *names: str, destination: str = "bus", size: int = 0, traceparent: str | None = None) -> None:
    with db.transaction(pool) as tx:
        at = tx.ask("SELECT clock_timestamp() AS at", {}).value()[0]["at"]
        new = [
            NewRow(uuid4(), uuid4(), 1, destination, "Test", {"name": name, "filling": "x" * size}, at, traceparent)
            for name in names
        ]
        outbox.append(tx, new, at)


def relay(pool: Pool, bus: Bus, queue: QueueOf | None = None, options: RelayOptions = OPTIONS) -> Relay:
    to_queue = QueueSender(queue or QueueOf(), "url")  # type: ignore[arg-type]
    senders: dict[Destination, Sender] = {
        Destination.BUS: BusSender(bus, "the-bus", "roadcall.payment"),  # type: ignore[arg-type]
        Destination.APPROVALS: to_queue,
        Destination.PAYOUTS: to_queue,
    }
    return Relay(pool, senders, options, Metrics())


def states(pool: Pool) -> dict[str, str]:
    query = """
        SELECT payload->>'name' AS name, CASE WHEN published_at IS NOT NULL THEN 'sent'
               WHEN failed_at IS NOT NULL THEN 'failed' ELSE 'due' END AS state FROM outbox
    """
    return {row["name"]: row["state"] for row in rows(pool, query)}


def test_r4_every_destination_gets_its_own_and_rows_are_marked_with_their_receipt(pool: Pool):
    twice(pool, m.parsed(m.work()))
    bus, queue = Bus(), QueueOf()
    bus._take = lambda entry: bus.taken.append(entry) or {"EventId": "bus-1"}  # type: ignore[method-assign, func-returns-value]
    assert relay(pool, bus, queue).run_once() == 2
    [event] = bus.taken
    assert (event["EventBusName"], event["Source"], event["DetailType"]) == (
        "the-bus",
        "roadcall.payment",
        "PaymentCreated",
    )
    detail = json.loads(event["Detail"])
    assert event["Resources"] == [
        f"payment/{detail['paymentId']}",
        f"incident/{m.INCIDENT}",
        f"vendor/{m.VENDOR}",
    ]
    [request] = queue.bodies
    assert json.loads(request)["paymentId"] == detail["paymentId"]
    receipts = rows(pool, "SELECT bus_event_id FROM outbox WHERE published_at IS NOT NULL ORDER BY outbox_id")
    assert receipts[0] == {"bus_event_id": "bus-1"}
    assert receipts[1]["bus_event_id"].startswith("sqs-")


def test_r3_requests_carry_ten_entries_at_most_in_the_order_they_were_written(pool: Pool):
    names = [f"n{number:02d}" for number in range(23)]
    write(pool, *names)
    bus = Bus()
    assert relay(pool, bus).run_once() == 23
    assert bus.requests == [10, 10, 3]
    assert bus.names() == names


def test_r3_requests_are_cut_by_bytes_too(pool: Pool):
    write(pool, "a", "b", "c", size=BATCH_BYTES_MAX // 2 - 1000)
    bus = Bus()
    relay(pool, bus).run_once()
    assert bus.requests == [2, 1]


def test_chunks_of_nothing_are_none():
    assert list(chunks([])) == []


def test_l6_a_failed_entry_comes_again_and_the_others_do_not(pool: Pool):
    write(pool, "a", "b", "c")
    bus = Bus()
    bus.codes["b"] = deque(["ThrottlingException"])
    sender = relay(pool, bus)
    sender.run_once()
    assert states(pool) == {"a": "sent", "b": "due", "c": "sent"}
    assert sender.run_once() == 0, "not before its back-off is over"
    until(sender.run_once, within_s=3, what="the second try")
    assert bus.names() == ["a", "c", "b"]
    assert states(pool)["b"] == "sent"


def test_a_failed_entry_of_a_queue_comes_again_alone(pool: Pool):
    write(pool, "a", "b", destination="payouts")
    relay(pool, Bus(), QueueOf(failing='"b"')).run_once()
    assert states(pool) == {"a": "sent", "b": "due"}


def test_r4_a_request_that_fails_as_a_whole_marks_nothing(pool: Pool):
    write(pool, "a", "b")
    bus = Bus()
    bus.errors.append(EndpointConnectionError(endpoint_url="http://bus"))
    sender = relay(pool, bus)
    sender.run_once()
    assert states(pool) == {"a": "due", "b": "due"}
    until(lambda: sender.run_once() or states(pool)["a"] == "sent", within_s=3)


def test_r6_what_nobody_will_ever_take_is_put_aside_and_does_not_block(pool: Pool):
    write(pool, "bad", "good")
    bus = Bus()
    bus.codes["bad"] = deque(["MalformedDetail"])
    sender = relay(pool, bus)
    sender.run_once()
    assert states(pool) == {"bad": "failed", "good": "sent"}


def test_r5_the_back_off_of_a_row_doubles_up_to_its_limit(pool: Pool):
    write(pool, "a")
    sender = relay(pool, Bus(), options=RelayOptions(backoff_max_s=60))
    [row] = outbox.claim_batch(pool, limit=1, lease_s=1)
    bounds = {1: 0.5, 2: 1.0, 5: 8.0, 20: 60.0, 32_000: 60.0}
    for attempts, base in bounds.items():
        late = type(row)(**{name: getattr(row, name) for name in row.__dataclass_fields__} | {"attempts": attempts})
        assert base * 0.8 <= sender._delay_s(late) <= base * 1.2


def test_r7_a_crash_between_sending_and_marking_sends_again_under_the_same_id(pool: Pool, monkeypatch):
    write(pool, "a")
    bus = Bus()
    sender = relay(pool, bus, options=RelayOptions(lease_s=0.2))

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "mark_published", crash)
        with pytest.raises(KeyboardInterrupt):
            sender.run_once()
    assert states(pool) == {"a": "due"}
    until(sender.run_once, what="the end of the lease")
    assert bus.names() == ["a", "a"]
    assert len({entry["Detail"] for entry in bus.taken}) == 1


def test_r1_two_relays_never_claim_the_same_row(pool: Pool):
    write(pool, *(f"n{number}" for number in range(60)))
    ids: list[int] = []
    start = threading.Barrier(4)

    def claim() -> None:
        start.wait()
        for _ in range(5):
            ids.extend(row.outbox_id for row in outbox.claim_batch(pool, limit=7, lease_s=30))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == len(set(ids)) == 60


def test_the_loop_sends_until_it_is_told_to_stop_and_survives_a_database_that_hiccups(pool: Pool, monkeypatch):
    bus, stop = Bus(), threading.Event()
    sender = relay(pool, bus)
    real, calls = outbox.claim_batch, []

    def hiccup(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise Transient(db.TransientReason.CONNECTION, None)
        return real(*arguments, **named)

    monkeypatch.setattr(outbox, "claim_batch", hiccup)
    thread = threading.Thread(target=sender.run, args=(stop,))
    thread.start()
    write(pool, "a")
    until(lambda: bus.names() == ["a"])
    write(pool, "b")
    until(lambda: bus.names() == ["a", "b"])
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_a_stop_between_two_requests_gives_the_rest_back_at_once(pool: Pool):
    write(pool, *(f"n{number:02d}" for number in range(25)))
    bus, stop = Bus(), threading.Event()
    real = bus.put_events

    def put_and_stop(Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        stop.set()
        return real(Entries)

    bus.put_events = put_and_stop  # type: ignore[method-assign]
    relay(pool, bus, options=replace(OPTIONS, at_once=1)).run_once(stop)
    assert bus.requests == [10]
    assert relay(pool, bus).run_once() == 15, "nobody has to wait for a lease"


def test_rows_are_not_sent_beyond_half_of_their_lease(pool: Pool):
    write(pool, *(f"n{number:02d}" for number in range(25)))
    bus = Bus()
    real = bus.put_events

    def slow(Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        threading.Event().wait(0.3)
        return real(Entries)

    bus.put_events = slow  # type: ignore[method-assign]
    relay(pool, bus, options=RelayOptions(lease_s=0.5, at_once=1)).run_once()
    assert bus.requests == [10]


def test_what_is_committed_while_the_relay_is_busy_shares_a_request_with_others(pool: Pool):
    bus, stop = Bus(), threading.Event()
    sender = relay(pool, bus, options=RelayOptions(batch=100, lease_s=30, busy_s=1.0, idle_s=0.05))
    # A bell that always rings: a relay that heeded it after every round would send each row by itself.
    thread = threading.Thread(target=sender.run, args=(stop, lambda _seconds: stop.wait(0.001)))
    thread.start()
    write(pool, "first")
    until(lambda: bus.names() == ["first"])
    for number in range(8):
        write(pool, f"n{number}")
    until(lambda: len(bus.names()) == 9)
    stop.set()
    thread.join(5)
    assert bus.requests == [1, 8]


def test_r2_no_transaction_is_open_while_something_is_sent(pool: Pool):
    write(pool, "one", "two")
    seen: list[dict] = []

    class Looking(Bus):
        def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's name
            query = """
                SELECT state FROM pg_stat_activity
                WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
            """
            seen.extend(rows(pool, query))
            return super().put_events(Entries)

    bus = Looking()
    assert relay(pool, bus).run_once() == 2
    assert bus.requests == [2]
    assert seen == []
    assert rows(pool, "SELECT count(*) AS n FROM outbox WHERE published_at IS NOT NULL") == [{"n": 2}]


def test_r10_the_age_of_the_oldest_unsent_row_grows_while_nobody_takes_it(pool: Pool):
    assert outbox.backlog(pool) == outbox.Backlog(0, 0.0)
    write(pool, "one")
    bus = Bus()
    bus.errors.append(EndpointConnectionError(endpoint_url="http://bus"))
    sender = relay(pool, bus)
    sender.run_once()
    assert bus.requests == [1]
    assert outbox.backlog(pool).pending == 1, "it waits for its second try"
    until(lambda: outbox.backlog(pool).oldest_age_s > 0.05, what="its age")
    until(sender.run_once, what="the second try")
    assert outbox.backlog(pool) == outbox.Backlog(0, 0.0)


def test_r4_the_trace_of_what_a_row_comes_of_goes_with_it_to_the_bus_and_to_the_queues(pool: Pool):
    traced = m.work(traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    cause = m.parsed(traced).cause
    twice(pool, m.parsed(traced))
    bus, queue = Bus(), QueueOf()
    bus._take = lambda entry: bus.taken.append(entry) or {"EventId": "bus-1"}  # type: ignore[method-assign, func-returns-value]
    relay(pool, bus, queue).run_once()
    assert cause.trace is not None
    [event], [attributes] = bus.taken, queue.attributes
    assert event["TraceHeader"] == cause.trace.xray_header
    assert attributes == {"traceparent": {"DataType": "String", "StringValue": cause.trace.traceparent}}
    assert json.loads(event["Detail"])["traceparent"] == cause.trace.traceparent
    assert [json.loads(body)["traceparent"] for body in queue.bodies] == [cause.trace.traceparent]


@pytest.mark.parametrize("traceparent", [None, "", "of another release"])
def test_r4_a_row_without_a_trace_is_sent_without_one(pool: Pool, traceparent: str | None):
    write(pool, "a", traceparent=traceparent)
    write(pool, "b", destination="payouts", traceparent=traceparent)
    bus, queue = Bus(), QueueOf()
    assert relay(pool, bus, queue).run_once() == 2
    assert "TraceHeader" not in bus.taken[0]
    assert queue.attributes == [None]
