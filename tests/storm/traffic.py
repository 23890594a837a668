"""What a storm sends: jobs from intake to payout with every repetition, contradiction, race and poison mixed in.

A job is a handful of messages; many jobs are under way at once, so that their messages lie between each other's.
All follows from the seed, but for the times, which are now.
"""

import hashlib
import heapq
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from tests.storm.auditor_model import account_of, derived
from tests.storm.manifest import CLOSED_ENDING, Command, Line, Manifest, Order, Person, Poison
from tests.storm.poison import POISONS

CURRENCIES = ("USD", "USD", "USD", "EUR", "GBP", "JPY")
SOURCES = ("roadcall.incident", "roadcall.incident-service", "incident-svc")
#: How many messages lie between a job's first message and those that answer it.
LATER = (40, 400)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to be sent."""

    queue: str
    body: str
    label: str
    message_attributes: Mapping[str, Any] = field(default_factory=dict)


class Planned(NamedTuple):
    """A message, when it is due in numbers of messages after its job's beginning, and what the auditor is told."""

    after: float
    outgoing: Outgoing
    entry: Order | Command | Poison


#: A message before it is numbered into a plan.
Written = tuple[Outgoing, Order | Command | Poison]


class Traffic:
    """An endless, seeded stream of messages; `manifest` holds what has been taken from it."""

    def __init__(self, seed: int) -> None:
        self.manifest = Manifest()
        self._random = random.Random(f"{seed} traffic")  # noqa: S311 - a storm's seed
        self._vendors = [self._id() for _ in range(196)]
        closed = [self._id()[: -len(CLOSED_ENDING)] + CLOSED_ENDING for _ in range(4)]
        self._vendors += closed
        #: The accounts that the provider must have closed before the first message.
        self.closed_accounts = [account_of(vendor) for vendor in closed]
        self._companies = [self._id() for _ in range(20)]
        self._dispatchers = {
            company: [Person(self._id(), "user", "dispatcher", company) for _ in range(3)]
            for company in self._companies
        }
        self._admins = [Person(self._id(), "admin", "admin") for _ in range(3)]
        self._numbers = 0

    def __iter__(self) -> Iterator[Outgoing]:
        """Yield messages for ever; each counts as sent once it is yielded."""
        kinds, weights = list(JOBS), list(JOBS.values())
        waiting: list[tuple[float, int, Planned]] = []
        number = 0
        while True:
            while waiting and waiting[0][0] <= number:
                planned = heapq.heappop(waiting)[2]
                self.manifest.record(planned.entry)
                number += 1
                yield planned.outgoing
            for planned in self._random.choices(kinds, weights)[0](self):
                self._numbers += 1
                heapq.heappush(waiting, (number + planned.after, self._numbers, planned))

    # -- jobs: each is a plan of messages

    def paid(self) -> list[Planned]:
        """Finished and approved: the common case."""
        work, order = self._work()
        return [Planned(0, *_event(work, order)), self._later(self._approve(order))]

    def overtaken(self) -> list[Planned]:
        """The approval is there before the payment."""
        work, order = self._work()
        return [Planned(0, *self._approve(order)), Planned(self._random.uniform(5, 60), *_event(work, order))]

    def sent_twice(self) -> list[Planned]:
        """The same event and the same approval a second time, published anew."""
        work, order = self._work()
        approval = self._later(self._approve(order))
        again = _event({**work, "timestamp": _now()}, order)
        return [Planned(0, *_event(work, order)), self._later(again), approval, self._later(approval[1:])]

    def reported_again(self) -> list[Planned]:
        """The same job under a new event id, with the same price or another one."""
        work, order = self._work()
        price = _priced(work) if self._random.random() < 0.5 else self._price()
        other = self._work(work=order, price=price)
        plan = [Planned(0, *_event(work, order)), self._later(_event(*other))]
        return [*plan, self._later(self._approve(order))]

    def contradicted(self) -> list[Planned]:
        """The same event id with another price: whichever comes first holds."""
        work, order = self._work()
        other = self._work(work=order, event=order.key, price=self._price())
        return [Planned(0, *_event(work, order)), Planned(self._random.uniform(0, 40), *_event(*other))]

    def approved_again(self) -> list[Planned]:
        """A second approval, by the same person or by another."""
        work, order = self._work()
        person = self._decider(order)
        second = person if self._random.random() < 0.5 else self._decider(order)
        approvals = [self._later(self._approve(order, actor=who)) for who in (person, second)]
        return [Planned(0, *_event(work, order)), *approvals]

    def wrongly_approved(self) -> list[Planned]:
        """By somebody who may not, or with something else in view; then rightly."""
        work, order = self._work()
        wrongs: list[dict[str, Any]] = [
            {"amount": order.amount + 1},
            {"currency": "CHF"},
            {"version": 7},
            {"actor": self._stranger(order)},
            {"actor": Person(self._id(), "user", "vendor", order.company)},
            {"actor": Person(self._id(), "user", None, order.company)},  # nobody's member
            {"actor": Person(order.vendor, "admin", "admin")},
            {"refusal": "invalid_field", "extra": {"approvedBy": self._id()}},
        ]
        attempts = [self._later(self._approve(order, **self._random.choice(wrongs))), self._later(self._approve(order))]
        return [Planned(0, *_event(work, order)), *attempts]

    def withdrawn(self) -> list[Planned]:
        """Rejected or cancelled, once or more, with or without an approval beside it."""
        work, order = self._work()
        kinds = self._random.choices(["RejectPayment", "CancelPayment", "ApprovePayment"], [3, 4, 2], k=2)
        first = self._random.choice(["RejectPayment", "CancelPayment"])
        plan = [Planned(0, *_event(work, order))]
        at = self._random.uniform(*LATER)
        for kind in (first, *kinds):
            make = self._approve if kind == "ApprovePayment" else self._withdraw(kind)
            plan.append(Planned(at + self._random.uniform(0, 8), *make(order)))
        return plan

    def cancelled_and_reported(self) -> list[Planned]:
        """Cancelled, and reported once more: that is a new payment."""
        work, order = self._work()
        other, again = self._work(work=order, price=_priced(work))
        at = self._random.uniform(*LATER)
        cancel = Planned(at, *self._withdraw("CancelPayment")(order))
        anew = Planned(2.5 * at, *_event(other, again))
        return [Planned(0, *_event(work, order)), cancel, anew, Planned(4 * at, *self._approve(again))]

    def released(self) -> list[Planned]:
        """Somebody orders the payout by hand while the service does so itself."""
        work, order = self._work()
        at = self._random.uniform(*LATER)
        by_hand = self._command("ProcessPayment", order, actor=self._decider(order), **_seen(order))
        return [
            Planned(0, *_event(work, order)),
            Planned(at, *self._approve(order)),
            Planned(at + self._random.uniform(0, 30), *by_hand),
        ]

    def by_hand(self) -> list[Planned]:
        """A payment created by command; its creator approves in vain."""
        order, made = self._created()
        twice = [self._later(made)] if self._random.random() < 0.3 else []
        own = [self._later(self._approve(order, actor=order.creator))] if self._random.random() < 0.3 else []
        return [Planned(0, *made), *twice, *own, self._later(self._approve(order))]

    def driver_pays(self) -> list[Planned]:
        """The payer cannot be charged yet: approved, never paid."""
        work, order = self._work(payer_type="driver_ic")
        return [Planned(0, *_event(work, order)), self._later(self._approve(order))]

    def refused(self) -> list[Planned]:
        """Work that cannot be paid as it was reported."""
        work, order = self._work()
        code, flaws = self._random.choice(list(FLAWS.items()))
        flawed = {**work, **flaws(work)}
        told = Order(**{**_fields(order), "refusal": code})
        plan = [Planned(0, *_event(flawed, told))]
        return [*plan, self._later(_event(flawed, told))] if self._random.random() < 0.2 else plan

    def refused_by_hand(self) -> list[Planned]:
        """A payment by somebody who may not, or without lines."""
        if self._random.random() < 0.5:
            return [Planned(0, *self._created(role="dispatcher", refusal="forbidden_role")[1])]
        return [Planned(0, *self._created(extra={"lineItems": []}, refusal="missing_pricing")[1])]

    def nobodys(self) -> list[Planned]:
        """A command for a payment that never comes, or that cannot be."""
        _, order = self._work()
        if self._random.random() < 0.5:
            return [Planned(0, *self._approve(order, payment="payment-7", refusal="invalid_field"))]
        return [Planned(0, *self._approve(order))]

    def poison(self) -> list[Planned]:
        """No message at all."""
        reason, (queue, make) = self._random.choice(list(POISONS.items()))
        body = make(self._id(), _event(*self._work())[0].body)
        digest = hashlib.sha256(body.encode()).hexdigest()
        told = Poison(digest, queue, reason.partition(" ")[0])
        return [Planned(0, Outgoing(queue, body, f"poison: {told.reason}"), told)]

    # -- what jobs are made of

    def _id(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def _later(self, message: Any) -> Planned:
        return Planned(self._random.uniform(*LATER), *message)

    def _decider(self, order: Order) -> Person:
        own = self._dispatchers[order.company] if order.company else self._admins
        return self._random.choice(own if self._random.random() < 0.9 else self._admins)

    def _stranger(self, order: Order) -> Person:
        others = [company for company in self._companies if company != order.company]
        return self._dispatchers[self._random.choice(others)][0]

    def _price(self) -> dict[str, Any]:
        lines = [
            {
                "description": self._random.choice(
                    ("Towing", "Tire replacement", "Jump start", "Mileage", "Löschen ✓")
                ),
                "quantity": self._random.randint(1, 4),
                self._random.choice(("unitPriceCents", "unitPrice")): self._random.randint(100, 40_000),
            }
            for _ in range(self._random.choices((1, 2, 3, 5), (3, 4, 2, 1))[0])
        ]
        return {"lineItems": lines, "currency": self._random.choice(CURRENCIES)}

    def _work(
        self,
        *,
        work: Order | None = None,
        event: str | None = None,
        price: Mapping[str, Any] | None = None,
        payer_type: str = "back_office",
    ) -> tuple[dict[str, Any], Order]:
        """Return the detail of finished work, and what the auditor is told; `work` is one that was finished before."""
        price, key = price or self._price(), event or self._id()
        incident, vendor = work.work if work else (self._id(), self._random.choice(self._vendors))
        company = work.company if work else self._random.choice([*self._companies, None])
        order = Order(
            kind="WorkCompleted",
            key=key,
            incident=incident,
            vendor=vendor,
            company=company,
            payer_type=payer_type,
            currency=price["currency"],
            lines=_lines(price),
            source=f"work:{incident}:{vendor}:{key}",
        )
        known = {"payerType": payer_type, **({"companyId": company} if company else {})}
        return {
            "eventId": key,
            "timestamp": _now(),
            "version": "1.0",
            "incidentId": incident,
            "vendorId": vendor,
            "completedAt": _now(),
            "workDetails": {"serviceType": "tow", "notes": f"Note {key}"},
            **known,
            **price,
        }, order

    def _created(
        self, *, role: str = "admin", extra: Mapping[str, Any] | None = None, refusal: str | None = None
    ) -> tuple[Order, Written]:
        work, order = self._work()
        company = order.company or self._companies[0]
        actor = self._random.choice(self._admins if role == "admin" else self._dispatchers[company])
        key = self._id()
        told = Order(
            **{
                **_fields(order),
                "kind": "CreatePayment",
                "key": key,
                "source": f"command:{key}",
                "creator": actor,
                "refusal": refusal,
            }
        )
        lines: list[dict[str, Any]] = [
            {"description": line.description, "quantity": line.quantity, "unitPriceCents": line.unit_cents}
            for line in told.lines
        ]
        kept: dict[str, Any] = {name: work[name] for name in ("incidentId", "vendorId", "companyId") if name in work}
        body: dict[str, Any] = {
            **_head("CreatePayment", key, actor),
            **kept,
            "payerType": "back_office",
            "amountCents": told.amount,
            "currency": told.currency,
            "lineItems": lines,
            **(extra or {}),
        }
        return told, (Outgoing("commands", json.dumps(body), "CreatePayment"), told)

    def _approve(self, order: Order, **said: Any) -> Written:
        seen = _seen(order)
        if self._random.random() < 0.05:
            seen.pop(self._random.choice(list(seen)))
        extra = {"notes": "Looks right."} if self._random.random() < 0.5 else {}
        actor = said.pop("actor", None) or self._approver(order)
        return self._command("ApprovePayment", order, actor=actor, **{"extra": extra, **seen, **said})

    def _approver(self, order: Order) -> Person:
        """Return somebody who may approve: not whoever asked for the payment."""
        while (person := self._decider(order)) == order.creator:
            pass
        return person

    def _withdraw(self, kind: str) -> Callable[[Order], Written]:
        def make(order: Order) -> Written:
            given = {"extra": {"reason": "Not wanted."}, **_seen(order)}
            return self._command(kind, order, actor=self._decider(order), **given)

        return make

    def _command(
        self,
        kind: str,
        order: Order,
        *,
        actor: Person,
        extra: Mapping[str, Any] | None = None,
        payment: str | None = None,
        **said: Any,
    ) -> Written:
        told = Command(
            kind=kind,
            key=self._id(),
            payment=payment or derived(order.source),
            actor=actor,
            sent_at=time.time(),
            **said,
        )
        seen = {"amountCents": told.amount, "currency": told.currency, "expectedVersion": told.version}
        body = {
            **_head(kind, told.key, actor),
            "paymentId": told.payment,
            **{name: value for name, value in seen.items() if value is not None},
            **(extra or {}),
        }
        return Outgoing("commands", json.dumps(body), kind), told


def _seen(order: Order) -> dict[str, Any]:
    """Return what somebody says who has looked at the payment."""
    return {"amount": order.amount, "currency": order.currency}


def _now(**later: float) -> str:
    return (datetime.now(UTC) + timedelta(**later)).isoformat()


def _head(kind: str, key: str, actor: Person) -> dict[str, Any]:
    who = {"id": actor.id, "type": actor.type, "role": actor.role, "companyId": actor.company}
    known = {name: value for name, value in who.items() if value is not None}
    return {"type": kind, "commandId": key, "schemaVersion": "1.0", "issuedAt": _now(), "actor": known}


def _event(work: Mapping[str, Any], order: Order) -> Written:
    """Return finished work on the bus; the envelope has an id of its own every time."""
    outer = {
        "version": "0",
        "id": derived("envelope", work["eventId"], work["timestamp"], order.amount),
        "detail-type": "WorkCompleted",
        "source": SOURCES[int(order.key[0], 16) % len(SOURCES)],
        "account": "000000000000",
        "time": _now(),
        "region": "us-east-1",
        "resources": [],
        "detail": work,
    }
    return Outgoing("events", json.dumps(outer), "WorkCompleted"), order


def _lines(price: Mapping[str, Any]) -> tuple[Line, ...]:
    return tuple(
        Line(line["description"], line["quantity"], line.get("unitPriceCents", line.get("unitPrice")))
        for line in price["lineItems"]
    )


def _priced(work: Mapping[str, Any]) -> dict[str, Any]:
    return {name: work[name] for name in ("lineItems", "currency")}


def _fields(order: Order) -> dict[str, Any]:
    return {name: getattr(order, name) for name in order.__dataclass_fields__}


def _one_line(**changes: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    return lambda _work: {"lineItems": [{"description": "Towing", "quantity": 1, "unitPriceCents": 100, **changes}]}


#: What is wrong with work that is refused, by the code that it is refused with.
FLAWS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "unsupported_currency": lambda _work: {"currency": "XXX"},
    "negative_amount": _one_line(unitPriceCents=-5),
    "non_integer_minor_units": _one_line(unitPriceCents=350.5),
    "amount_out_of_range": _one_line(unitPriceCents=0),
    "sum_mismatch": lambda _work: {"totalCents": 1},
    "missing_pricing": lambda _work: {"lineItems": []},
    "non_uuid_id": lambda work: {"incidentId": f"incident-{work['eventId'][:8]}"},
    "completed_in_future": lambda _work: {"completedAt": _now(days=2)},
    "invalid_field": lambda _work: {"payerType": "nobody"},
}

#: How often each sort of job is chosen, by weight.
JOBS: Mapping[Callable[[Traffic], list[Planned]], float] = {
    Traffic.paid: 50,
    Traffic.overtaken: 3,
    Traffic.sent_twice: 5,
    Traffic.reported_again: 5,
    Traffic.contradicted: 3,
    Traffic.approved_again: 5,
    Traffic.wrongly_approved: 5,
    Traffic.withdrawn: 8,
    Traffic.cancelled_and_reported: 2,
    Traffic.released: 4,
    Traffic.by_hand: 4,
    Traffic.driver_pays: 2,
    Traffic.refused: 4,
    Traffic.refused_by_hand: 1,
    Traffic.nobodys: 0.7,
    Traffic.poison: 4,
}
