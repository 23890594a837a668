"""What the canary test looks at: everything that leaves a worker sideways, while planted messages are handled."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.openmetrics.exposition import generate_latest

from contracts import ids
from contracts.envelope import Queue
from contracts.inbound import Parsed
from contracts.outcome import Outcome
from contracts.proof import Proof
from contracts.provider import Accepted, Answer, Declined, LookUp, NotFound, PayoutOrder, TryLater, Unfunded, Unknown
from handlers.apply import Result
from handlers.process import process
from store import db
from store.db import Pool
from tests.kit import messages as m
from tests.kit.proofs import signed
from tests.kit.providers import FakeProvider
from workers.consume import MessageHandler
from workers.delivery import Delivery
from workers.logs import in_places

#: No id, no address, no number: nothing that the tripwire could take out by its looks.
CANARY = "Quetzalcoatlus"
OUR_ROOMS = ("contracts.", "store.", "handlers.", "workers.")


@dataclass
class Sideways:
    """What was said of messages beside their rows, events and settlements, by where it was said."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def provider(self) -> TracerProvider:
        """An SDK that records everything."""
        found = TracerProvider(shutdown_on_exit=False)
        found.add_span_processor(SimpleSpanProcessor(self.exporter))
        return found

    def raised(self, error: BaseException) -> None:
        """Keep an exception that came to where the fate of a message is decided."""
        with self.lock:
            self.errors.append(error)

    def ended(self, message_id: str, outcome: Outcome) -> None:
        """Keep how a delivery ended."""
        with self.lock:
            self.outcomes.setdefault(message_id, []).append(outcome)

    def texts(self, *, output: str, registry: Any, failures: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
        """Everything that was said, as text, by where."""
        return {
            "output": output.splitlines(),
            "metrics": generate_latest(registry).decode().splitlines(),  # type: ignore[no-untyped-call]
            "spans": [text for span in self.exporter.get_finished_spans() for text in _of_span(span)],
            "exceptions": [text for error in self.errors for text in _of_error(error)],
            "failures": [str(row) for row in failures],
        }


def _of_span(span: ReadableSpan) -> Iterator[str]:
    yield from (span.name, str(span.status.description), str(dict(span.attributes or {})))
    yield from (str(dict(link.attributes or {})) for link in span.links)
    yield from (f"{event.name} {dict(event.attributes or {})}" for event in span.events)
    yield str(dict(span.resource.attributes))


def _of_error(error: BaseException) -> Iterator[str]:
    """What a caller sees of our own exceptions, and what a log would show of anybody's, through the whole chain."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        todo += [link.__cause__, link.__context__]
        yield in_places(link)
        if type(link).__module__.startswith(OUR_ROOMS):
            yield f"{link!r} {link} {link.args}"


def leaks(said: Mapping[str, Sequence[str]], canary: str = CANARY) -> list[str]:
    """Where the canary was said, and how; in whatever case, since a header or a log may change that."""
    wanted = canary.lower()
    return [f"{where}: {text}" for where, texts in said.items() for text in texts if wanted in text.lower()]


class Watched(MessageHandler):
    """The real handler, with a look at what is raised in it and at how each message ends."""

    sideways: Sideways

    def handle(self, delivery: Delivery) -> Outcome:
        outcome = super().handle(delivery)
        self.sideways.ended(delivery.arrival.sqs_message_id, outcome)
        return outcome

    def _read(self, delivery: Delivery) -> Parsed | Exception:
        found = super()._read(delivery)
        if isinstance(found, Exception):
            self.sideways.raised(found)
        return found

    def _processed(self, parsed: Parsed, proof: Proof, receive_count: int) -> Result:
        try:
            return super()._processed(parsed, proof, receive_count)
        except Exception as error:
            self.sideways.raised(error)
            raise


# -- trouble on purpose


_QUOTED = "SELECT %(text)s::int AS quoted"
_REFUSED_ROW = "INSERT INTO heartbeats (instance_id, role, version) VALUES (gen_random_uuid(), %(text)s, '1')"
_AGAIN = f"DO $$ BEGIN RAISE EXCEPTION '{CANARY}' USING ERRCODE = '40001'; END $$"


class Troubled:
    """Stands for the funnel: makes a bug of some messages, lets the database refuse some, and handles the others."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, pool: Pool, parsed: Parsed, *more: Any) -> Result:
        if parsed.cause.kind == "RejectPayment":
            self._count += 1
            self._fail(pool, self._count % 6)
        return process(pool, parsed, *more)

    def _fail(self, pool: Pool, how: int) -> None:
        match how:
            case 0:
                raise RuntimeError(f"no luck with {CANARY}")
            case 1:
                raise KeyError(CANARY) from ValueError(CANARY)
            case 2:
                json.loads(f'{{"{CANARY}": ')
            case 3 | 4 | 5:
                with db.transaction(pool) as tx:
                    tx.ask((_QUOTED, _REFUSED_ROW, _AGAIN)[how - 3], {"text": CANARY} if how < 5 else {}).value()


class TalkativeProvider(FakeProvider):
    """A provider that says the canary in whatever it says, and breaks with it on its lips."""

    name = "sandbox"

    def __init__(self) -> None:
        self._asked = 0

    def look_up(self, order: PayoutOrder) -> LookUp:  # noqa: ARG002 - the port's argument
        return NotFound()

    def submit(self, order: PayoutOrder) -> Answer:
        self._asked += 1
        answers = (
            Accepted(f"tr_{order.payment_id.hex}"),
            Declined(CANARY, f"{CANARY} has no account"),
            Unfunded(CANARY),
            Unknown(CANARY),
            TryLater("rate_limited"),  # a code of the adapter's: the port knows no other reason
            TryLater("connection", away=True),
        )
        if self._asked % 7 == 0:
            raise RuntimeError(f"the provider said {CANARY}")
        return answers[self._asked % 7 - 1]


# -- the planted messages


#: What a producer may say beside the business, wherever it may say it.
PLANTED: Mapping[str, Any] = {
    "correlationId": f"for {CANARY}",
    "notes": f"ask for {CANARY}",
    "driverName": CANARY,
    CANARY: CANARY,
    "metadata": {"reference": CANARY, "traceparent": CANARY, CANARY: 1},
    "traceparent": CANARY,
}


def work(number: int, **fields: Any) -> dict[str, Any]:
    """A finished job with the canary in every free text."""
    told: dict[str, Any] = {
        **PLANTED,
        "incidentId": str(ids.derive("incident", number)),
        "eventId": f"{CANARY}-{number}",
        "serviceType": CANARY,
        "mediaUrls": [f"https://photos.example/{CANARY}"],
        "workDetails": {"notes": CANARY, "serviceType": CANARY, "photos": [CANARY]},
        "lineItems": [{"description": f"Towing {CANARY}", "quantity": 1, "unitPriceCents": 15000}],
    }
    return m.work(**{**told, **fields})


def command(kind: str, number: int, payment_id: object, **fields: Any) -> str:
    """A command whose token holds the canary too."""
    plain = signed(m.command(kind, number, paymentId=str(payment_id), **{**PLANTED, **fields}))
    token = fields.get("actorToken") or json.dumps({**json.loads(plain["actorToken"]), "name": CANARY})
    return json.dumps({**plain, "actorToken": token})


def malformed() -> list[tuple[Queue, str]]:
    """Bodies that are no message of ours, by their queue: each flaw with the canary where it lies."""
    event, order = m.body(work(0)), command("ApprovePayment", 1, ids.derive("x"))
    parsed = json.loads(event)

    def other(**fields: Any) -> str:
        return json.dumps({**parsed, **fields})

    return [
        (Queue.EVENTS, CANARY),
        (Queue.EVENTS, f'"{CANARY}"'),
        (Queue.EVENTS, f'{{"{CANARY}": 1, "{CANARY}": 2}}'),
        (Queue.EVENTS, f'{{"detail-type": "WorkCompleted", "x": NaN, "{CANARY}": 1}}'),
        (Queue.EVENTS, f'{{"a": "{CANARY}\\u0000"}}'),
        (Queue.EVENTS, f'{{"a": "{CANARY}\\ud800"}}'),
        (Queue.EVENTS, "[" * 50 + f'"{CANARY}"' + "]" * 50),
        (Queue.EVENTS, other(**{"detail-type": CANARY})),
        (Queue.EVENTS, other(source=CANARY)),
        (Queue.EVENTS, other(detail=CANARY)),
        (Queue.EVENTS, m.body(work(0, version=CANARY))),
        (Queue.EVENTS, m.body(work(0, completedAt=CANARY))),
        (Queue.EVENTS, m.body(work(0, lineItems=[{CANARY: CANARY}]))),
        (Queue.EVENTS, m.body(work(0, eventId=CANARY * 50))),
        (Queue.EVENTS, order),
        (Queue.COMMANDS, event),
        (Queue.COMMANDS, json.dumps({"type": CANARY})),
        (Queue.COMMANDS, json.dumps({**json.loads(order), "commandId": CANARY})),
        (Queue.COMMANDS, json.dumps({**json.loads(order), "actor": {"id": CANARY, "type": CANARY}})),
        (Queue.COMMANDS, json.dumps({**json.loads(order), "actorToken": {"token": CANARY}})),
        (Queue.PAYOUTS, order),
        (Queue.PAYOUTS, json.dumps({"type": "ExecutePayout", "attemptId": CANARY})),
    ]
