"""A million bodies through parse and decide: fast, seeded mutations of sound messages, counted by how they end.

No hypothesis here: a body costs a fraction of a millisecond. What raises anything undeclared is written to a file, for
a test of its own; no body is ever printed.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from contracts.envelope import BODY_BYTES_MAX, DELIVERIES, Arrival, Form, Malformed, Queue
from contracts.provider import TryLater
from handlers.decision import Decision, Enact, Move, NotYet, Order, Record, Refuse
from handlers.routes import ROUTES
from tests.contracts import golden
from tests.fuzz import facts
from tests.fuzz.strategies import IDS
from tests.kit.messages import NOW, read
from tests.storm.traffic import Traffic

#: Where a body goes, and the body.
Sent = tuple[Queue, str]
#: How many bodies a process makes before it reports.
SHARE = 20_000
#: How many messages meet no payment.
_NEW = 0.3
#: When everything is decided: later than any message says that its work was done.
_AT = NOW + timedelta(days=3_650)
_QUEUES = {"events": Queue.EVENTS, "commands": Queue.COMMANDS}
_JUNK: Sequence[Any] = (
    *(
        None,
        True,
        0,
        -1,
        7,
        1.5,
        350.0,
        1e300,
        10**39,
        99_999_999_999,
        10**11,
        "",
        " ",
        "x",
        "\u0660",
        "\x00",
        "\ud800",
    ),
    *("USD", "eur", "XXX", "driver_ic", "2026-03-01T12:00:00Z", "9999-12-31T23:59:59-12:00", "1700000000", "2.0"),
    *([], {}, [None], {"": 0}, [[[[]]]], "x" * 300, IDS[0], IDS[3], IDS[4], "{" + IDS[0] + "}", "urn:uuid:" + IDS[0]),
)


@dataclass
class Tally:
    """What came of the bodies: how often each end, and the files of those that raised what is not declared."""

    bodies: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Add what another process has counted."""
        self.bodies += other.bodies
        self.ends += other.ends
        self.findings += other.findings


class Mutator:
    """Makes bodies without end: sound ones, and every degree of broken."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a seeded search
        self._sound = [*_samples(), *self._traffic()]

    def __iter__(self) -> Iterator[Sent]:
        """Yield bodies for ever."""
        while True:
            queue, document = self._random.choice(self._sound)
            document = self._shared(json.loads(json.dumps(document)))
            for _ in range(self._random.choice((0, 1, 1, 1, 2, 3, 6))):
                self._change(document)
            body = json.dumps(document, ensure_ascii=self._random.random() < 0.9)
            if self._random.random() < 0.2:
                body = self._bytes(body)
            yield (self._random.choice(list(Queue)) if self._random.random() < 0.05 else queue), body

    def _traffic(self) -> list[tuple[Queue, Any]]:
        """Return what a storm sends, as far as it is JSON."""
        found = []
        for outgoing, _ in zip(Traffic(self._random.getrandbits(32)), range(400), strict=False):
            try:
                found.append((_QUEUES[outgoing.queue], json.loads(outgoing.body)))
            except ValueError:
                continue
        return [(queue, document) for queue, document in found if isinstance(document, dict)]

    def _shared(self, document: Any) -> Any:
        """Give some messages the ids that the facts have."""
        if self._random.random() < 0.5:
            inner = document.get("detail", document)
            if isinstance(inner, dict):
                inner.update(paymentId=IDS[0], incidentId=IDS[1], vendorId=IDS[2], companyId=IDS[3])
                actor = {"id": self._random.choice(IDS), "type": "user", "role": "dispatcher", "companyId": IDS[3]}
                inner.update(actor=actor, amountCents=350, currency="USD") if "commandId" in inner else None
        return document

    def _change(self, document: Any) -> None:
        """Change one place of a document."""
        holder, key = document, None
        while isinstance(holder, dict | list) and holder:
            key = self._random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            below = holder[key]
            if not isinstance(below, dict | list) or not below or self._random.random() < 0.3:
                break
            holder = below
        else:
            return
        match self._random.randrange(5):
            case 0:
                del holder[key]
            case 1 | 2:
                holder[key] = deepcopy(self._random.choice(_JUNK))
            case 3 if isinstance(holder, dict):
                holder[self._random.choice((str(key).lower(), str(key).upper(), f"{key} "))] = holder.pop(key)
            case _:
                self._transplant(holder, key)

    def _transplant(self, holder: Any, key: Any) -> None:
        """Put something of another message there."""
        other: Any = self._random.choice(self._sound)[1]
        while isinstance(other, dict) and other and self._random.random() < 0.8:
            other = self._random.choice(list(other.values()))
        holder[key] = json.loads(json.dumps(other))

    def _bytes(self, body: str) -> str:
        """Break the text itself."""
        at, to = sorted(self._random.randrange(len(body) + 1) for _ in range(2))
        return self._random.choice(
            (
                body[:at],
                body[at:],
                body[:at] + body[to:],
                body[:at] + body[at:to] * 2 + body[to:],
                body[:at] + self._random.choice('{}[]",:0\\\x00\x1f\ufeff\u2028') + body[at:],
                body[:at] + chr(self._random.randrange(1, 0xD800)) + body[at + 1 :],
                body[:-1]
                + ',"x":'
                + self._random.choice(("NaN", "1e999999999", "9" * 41, '"\\ud800"', "-0", "01"))
                + "}",
                body[:-1] + ',"x":' + "[" * 40 + "]" * 40 + "}",
                body if self._random.random() < 0.99 else body[:-1] + f',"x":"{"x" * BODY_BYTES_MAX}"}}',
            )
        )


def _samples() -> Iterator[tuple[Queue, dict[str, Any]]]:
    """Yield the samples of every producer."""
    for name, body in golden.inbound_samples().items():
        document, kind = json.loads(body), golden.expected_kind(name)
        form = Form.EVENT_BRIDGE if "detail-type" in document else Form.COMMAND
        for queue in sorted(queue for queue, taken in DELIVERIES[kind] if taken is form):
            yield queue, document


def run(seed: int, bodies: int, findings: Path, *, processes: int = 2, say: Callable[[str], None] = print) -> Tally:
    """Feed so many bodies to parse and decide, on some processes; `findings` takes what raised."""
    total = Tally()
    shares = [min(SHARE, bodies - first) for first in range(0, bodies, SHARE)]
    with ProcessPoolExecutor(processes) as pool:
        todo = [pool.submit(share, f"{seed} {number}", count, findings) for number, count in enumerate(shares)]
        for number, done in enumerate(todo, start=1):
            total.add(done.result())
            if number % 5 == 0 or number == len(todo):
                say(f"{total.bodies:,} of {bodies:,} bodies, {len(total.findings)} findings")
    return total


def share(seed: str, bodies: int, findings: Path) -> Tally:
    """Feed the bodies of one seed."""
    tally = Tally()
    chance = random.Random(f"{seed} facts")  # noqa: S311 - a seeded search
    for (queue, body), _ in zip(Mutator(seed), range(bodies), strict=False):
        tally.bodies += 1
        try:
            tally.ends[_end(queue, body, chance)] += 1
        except Exception as error:  # noqa: BLE001 - whatever is not declared is what is looked for
            tally.ends[f"undeclared: {type(error).__name__}"] += 1
            tally.findings.append(_kept(findings, seed, queue, body, error))
    return tally


def _end(queue: Queue, body: str, chance: random.Random) -> str:
    """Return how a body ends that meets facts by chance.

    Raises:
        Exception: anything that neither parser nor decisions declare.
    """
    try:
        parsed = read(body, Arrival(queue, "sqs-1", NOW))
    except Malformed as flaw:
        return f"malformed: {flaw.flaw}"
    sort = facts.NOTHING if chance.random() < _NEW else chance.choice(chance.choice(facts.BY_STATUS))
    met = sort.facts(parsed)
    try:
        decision = ROUTES[type(parsed.message)].decide(met, parsed.message, _AT)
    except NotYet:
        if met.attempt and met.told.answer and not isinstance(met.told.answer, TryLater):
            raise AssertionError("waits for what is there") from None
        return f"{parsed.cause.kind}: not yet"
    return f"{parsed.cause.kind}: {_told(decision)}"


def _told(decision: Decision) -> str:
    """Return a decision in a word, having written all that it says."""
    match decision:
        case Move() | Record():
            for post in decision.posts:
                json.dumps(post.message.wire())
            return str(decision.event)
        case Enact():
            json.dumps(dict(decision.data))
            return "enacted"
        case Order():
            for order in decision.orders:
                json.dumps(order.wire())
            return "ordered"
        case Refuse():
            json.dumps(decision.event.wire())
            return f"refused, {decision.code}"
        case _:
            return "ignored"


def _kept(findings: Path, seed: str, queue: Queue, body: str, error: Exception) -> str:
    """Write a body that raised into a file of its own; return where it is and what it raised, and where."""
    digest = hashlib.sha256(body.encode(errors="surrogatepass")).hexdigest()[:16]
    findings.mkdir(parents=True, exist_ok=True)
    path = findings / f"{digest}.json"
    path.write_text(json.dumps({"queue": queue, "seed": seed, "body": body}))
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    line = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else "?"
    return f"{type(error).__name__} at {line}: {path.name}"
