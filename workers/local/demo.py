"""The demo: finished jobs on the bus, approvals on the queue, and a look at what comes out on the other side."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from contracts.money import Money
from workers import clock, sending, settings
from workers.connections import opened_pool
from workers.local import aws
from workers.local.backoffice import BackOffice, scenes
from workers.local.people import COMPANY
from workers.local.stack import Running

if TYPE_CHECKING:
    from mypy_boto3_events.client import EventBridgeClient
    from mypy_boto3_sqs.client import SQSClient

#: What one payment announces on its way to being paid.
ROAD = ("PaymentCreated", "PaymentApproved", "PaymentProcessing", "PaymentCompleted")
#: How long nothing may happen before the demo gives up, in seconds.
PATIENCE_S = 60.0
#: Jobs and their base prices in minor units.
_JOBS = (("tire_replacement", 12_000), ("battery_jump", 6_500), ("tow", 18_500), ("lockout", 7_900))
_CURRENCIES = ("USD", "USD", "USD", "CAD")


@dataclass(slots=True)
class Tally:
    """What has been seen of the demo's own payments."""

    sent_at: dict[str, datetime] = field(default_factory=dict)  # by incident
    requested: set[str] = field(default_factory=set)  # payments for which approval was asked
    events: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))

    def seen(self, detail_type: str, detail: dict[str, Any]) -> None:
        """Take in one event of ours; the same one again changes nothing."""
        if detail.get("incidentId") in self.sent_at:
            self.events[detail["paymentId"]][detail_type] = detail

    @property
    def completed(self) -> int:
        """How many payments are paid and have announced every step."""
        return sum(1 for seen in self.events.values() if all(step in seen for step in ROAD))

    def finished(self) -> bool:
        """Whether every payment is paid, every event is here and every approval was asked for once."""
        return self.completed == len(self.sent_at) == len(self.requested)

    def marks(self) -> int:
        """Return a number that grows with everything that is seen."""
        return len(self.requested) + sum(len(seen) for seen in self.events.values())


def run(running: Running, incidents: int, console: Console) -> bool:
    """Play the demo; return whether every payment is completed, every expected event arrived and every scene ended so.

    Its people sign what they send with tokens of the local user pool; the service knows them as members.
    """
    session = aws.session(running.aws_endpoint_url, running.region)
    sqs, bus = session.client("sqs"), session.client("events")
    with opened_pool(settings.load(running.environment()), "demo", size_max=2) as pool:
        office = BackOffice(running, sqs, bus, pool)
        if not office.open():
            console.print("The service did not take the demo's people as members.")
            return False
        tally = Tally()
        _main_road(office, incidents, tally, console)
        console.print(summary(tally))
        waits = office.play()
    console.print(scenes(office.seen))
    console.print(f"Left for you to decide on, while it runs: {waits['paymentId']}", highlight=False, soft_wrap=True)
    return tally.finished() and all(one.right for one in office.seen)


def _main_road(office: BackOffice, incidents: int, tally: Tally, console: Console) -> None:
    bus, event_bus = office.bus, office.running.event_bus
    with _spectator(office.sqs, bus, event_bus) as spectator, _progress(console) as progress:
        bars = {name: progress.add_task(name, total=incidents) for name in ("asked to approve", *ROAD)}
        _announce_work(bus, event_bus, incidents, tally)
        _watch(lambda: _round(office, spectator, tally), tally, lambda: _show(progress, bars, tally))


def _watch(turn: Callable[[], None], tally: Tally, show: Callable[[], None]) -> None:
    marks, since = -1, clock.monotonic()
    while not tally.finished() and clock.monotonic() - since < PATIENCE_S:
        turn()
        show()
        if tally.marks() != marks:
            marks, since = tally.marks(), clock.monotonic()


def _round(office: BackOffice, spectator: str, tally: Tally) -> None:
    approvals = office.running.queues["approvals"]
    for body in _receive(office.sqs, approvals, lambda body: body.get("incidentId") in tally.sent_at):
        tally.requested.add(body["paymentId"])
        office.post(office.approval(body))
    for body in _receive(office.sqs, spectator, lambda _: True):
        tally.seen(body["detail-type"], body["detail"])


def _announce_work(bus: "EventBridgeClient", name: str, incidents: int, tally: Tally) -> None:
    details = [_finished_job(number) for number in range(incidents)]
    for detail in details:
        tally.sent_at[detail["incidentId"]] = clock.now()
    sending.put_work(bus, name, details)


def _finished_job(number: int) -> dict[str, Any]:
    """Return one job, in turn in each of the two price shapes that producers use."""
    service, base = _JOBS[number % len(_JOBS)]
    mileage = random.randrange(0, 6_000, 50)  # noqa: S311 - variety for the eye
    itemised = [
        {"description": f"{service} - Base Service", "quantity": 1, "unitPriceCents": base},
        {"description": "Mileage Charge", "quantity": 1, "unitPriceCents": mileage},
    ]
    priced: Mapping[str, Any] = (
        {"lineItems": itemised} if number % 2 else {"pricing": {"basePrice": base, "mileageCharge": mileage}}
    )
    more = {
        "companyId": str(COMPANY),
        "currency": _CURRENCIES[number % len(_CURRENCIES)],
        "workDetails": {"serviceType": service, "duration": 45},
    }
    return sending.work_completed(incident_id=uuid4(), vendor_id=uuid4(), priced=priced, more=more)


@contextmanager
def _spectator(sqs: "SQSClient", bus: "EventBridgeClient", name: str) -> Iterator[str]:
    """Subscribe a queue of the demo's own to everything the service announces; return its URL."""
    watcher = f"payments-demo-{uuid4().hex[:12]}"
    url = sqs.create_queue(QueueName=watcher)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    bus.put_rule(Name=watcher, EventBusName=name, EventPattern=json.dumps({"source": ["roadcall.payment"]}))
    bus.put_targets(Rule=watcher, EventBusName=name, Targets=[{"Id": "demo", "Arn": arn}])
    try:
        yield url
    finally:
        with suppress(BotoCoreError, ClientError):  # the stack may be on its way down
            bus.remove_targets(Rule=watcher, EventBusName=name, Ids=["demo"])
            bus.delete_rule(Name=watcher, EventBusName=name)
            sqs.delete_queue(QueueUrl=url)


def _receive(sqs: "SQSClient", url: str, ours: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Return and delete what is ours among the next messages; somebody else's stays."""
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages", [])
    found = [(message["ReceiptHandle"], json.loads(message["Body"])) for message in received]
    mine = [(handle, body) for handle, body in found if ours(body)]
    if mine:
        entries: Any = [{"Id": str(index), "ReceiptHandle": handle} for index, (handle, _) in enumerate(mine)]
        sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    return [body for _, body in mine]


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _show(progress: Progress, bars: Mapping[str, Any], tally: Tally) -> None:
    counts = Counter(step for seen in tally.events.values() for step in seen)
    for name, bar in bars.items():
        progress.update(bar, completed=len(tally.requested) if name == "asked to approve" else counts[name])


def summary(tally: Tally) -> Table:
    """Return the demo's outcome: payments by status, totals by currency, latency, and events on the bus."""
    table = Table(title="What became of it", show_header=False, title_justify="left")
    newest = [max(seen.values(), key=lambda event: event["paymentVersion"]) for seen in tally.events.values()]
    for status, count in sorted(Counter(event["status"] for event in newest).items()):
        table.add_row(f"payments {status}", str(count))
    if missing := len(tally.sent_at) - len(newest):
        table.add_row("incidents without a payment", str(missing))
    for currency, cents in sorted(_totals(newest).items()):
        table.add_row(f"total {currency}", str(Money(cents, currency)))
    waits = sorted(_seconds_to_paid(tally))
    if waits:
        table.add_row("event to paid, p50 / p99", f"{_quantile(waits, 0.5):.2f} s / {_quantile(waits, 0.99):.2f} s")
    counts = Counter(step for seen in tally.events.values() for step in seen)
    seen_of_expected = f"{sum(counts[step] for step in ROAD)} of {len(ROAD) * len(tally.sent_at)}"
    table.add_row("events seen on the bus", seen_of_expected)
    table.add_row("approvals asked for", f"{len(tally.requested)} of {len(tally.sent_at)}")
    return table


def _totals(events: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
    totals: dict[str, int] = defaultdict(int)
    for event in events:
        totals[event["currency"]] += event["amountCents"]
    return totals


def _seconds_to_paid(tally: Tally) -> Iterator[float]:
    for seen in tally.events.values():
        if paid := seen.get("PaymentCompleted"):
            yield (datetime.fromisoformat(paid["completedAt"]) - tally.sent_at[paid["incidentId"]]).total_seconds()


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
