"""What was sent, in the auditor's terms: all that it takes to say how each message must end.

Nothing here comes from the product: whoever audits shall not inherit its mistakes.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

#: The provider has closed the accounts of the vendors whose ids end so: what they are to be paid is declined.
CLOSED_ENDING = "0bad"


def closed(vendor: str) -> bool:
    """Whether the provider declines to pay a vendor."""
    return vendor.endswith(CLOSED_ENDING)


@dataclass(frozen=True, slots=True)
class Person:
    """Who gives a command."""

    id: str
    type: str
    role: str | None = None
    company: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line; the price is of one, in minor units."""

    description: str
    quantity: int
    unit_cents: int


@dataclass(frozen=True, slots=True)
class Order:
    """A message that asks for a payment.

    Attributes:
        kind: WorkCompleted or CreatePayment.
        key: the message key.
        refusal: the code with which it must be refused, whatever else happens; None where it can be paid.
        creator: who gives the command; None for finished work.
        source: what the payment's id follows from: its business key.
    """

    kind: str
    key: str
    incident: str
    vendor: str
    company: str | None
    payer_type: str
    currency: str
    lines: tuple[Line, ...]
    source: str
    creator: Person | None = None
    refusal: str | None = None

    @property
    def amount(self) -> int:
        """The sum in minor units."""
        return sum(line.quantity * line.unit_cents for line in self.lines)

    @property
    def work(self) -> tuple[str, str]:
        """What is paid for once: incident and vendor."""
        return self.incident, self.vendor


@dataclass(frozen=True, slots=True)
class Command:
    """A command about a payment.

    Attributes:
        kind: ApprovePayment, RejectPayment, CancelPayment or ProcessPayment.
        key: the message key.
        payment: the id that it names, as it is written.
        amount: what the sender saw, in minor units; None where it does not say. Currency and version likewise.
        sent_at: when it was sent, in seconds since 1970.
        refusal: the code with which it must be refused, wherever the payment stands.
    """

    kind: str
    key: str
    payment: str
    actor: Person
    sent_at: float
    amount: int | None = None
    currency: str | None = None
    version: int | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """A command about no payment, such as a membership or a policy: it is applied, and no payment's history tells."""

    kind: str
    key: str


@dataclass(frozen=True, slots=True)
class Poison:
    """A body that is no message; it is known by its SHA-256 and must end in a queue's dead letters."""

    digest: str
    queue: str
    reason: str


@dataclass(slots=True)
class Manifest:
    """Everything that was sent; the same key twice with different content is two entries under it."""

    orders: dict[tuple[str, str], list[Order]] = field(default_factory=lambda: defaultdict(list))
    commands: dict[tuple[str, str], list[Command]] = field(default_factory=lambda: defaultdict(list))
    words: set[tuple[str, str]] = field(default_factory=set)
    poisons: dict[str, Poison] = field(default_factory=dict)

    def record(self, sent: Order | Command | Word | Poison) -> None:
        """Keep what has been sent; a repetition is known already."""
        if isinstance(sent, Poison):
            self.poisons[sent.digest] = sent
        elif isinstance(sent, Word):
            self.words.add((sent.kind, sent.key))
        elif isinstance(sent, Order):
            _add(self.orders[sent.kind, sent.key], sent)
        else:
            known = self.commands[sent.kind, sent.key]
            if not known:
                known.append(sent)

    def sent(self) -> Iterator[tuple[str, str]]:
        """Every message key with its kind."""
        yield from self.orders
        yield from self.commands
        yield from self.words


def _add(known: list[Order], order: Order) -> None:
    if order not in known:
        known.append(order)
