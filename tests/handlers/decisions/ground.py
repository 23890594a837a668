"""The ground for decisions: payments and attempts in every status, facts, and what must hold of a step."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from contracts import ids
from contracts.envelope import Queue
from contracts.inbound import Parsed
from contracts.lifecycle import Status, Verdict, next_status
from contracts.money import Money
from contracts.outbound import OutboundMessage, PaymentCommandRejected, PaymentEvent
from contracts.payment import Attempt, AttemptState, PayerType, Payment, Source, VendorAccount
from contracts.provider import PayoutSeen, Reversal, Settlement, TransferSeen
from contracts.refusals import MESSAGES, Refusal
from handlers.decision import Decision, Facts, Move, Record, Refuse, Rules
from handlers.routes import ROUTES
from tests.kit import messages as m
from tests.kit.proofs import actor_of

NOW = m.NOW
EARLIER = NOW - timedelta(hours=1)
SOURCE_KEY = ids.work_source_key(str(m.INCIDENT), str(m.VENDOR), str(m.EVENT))
PAYMENT_ID = ids.payment_id(SOURCE_KEY)
#: Another approver than the one of every command here.
OTHER = UUID("55555555-5555-4555-8555-555555555556")

_VERSION = {Status.PENDING_APPROVAL: 1, Status.APPROVED: 2, Status.PROCESSING: 3, Status.CANCELLED: 2}
_APPROVED = {"approved_by": OTHER, "approved_at": EARLIER}
_PROCESSED = {**_APPROVED, "processed_at": EARLIER}
_COLUMNS: dict[Status, dict[str, Any]] = {
    Status.PENDING_APPROVAL: {},
    Status.APPROVED: _APPROVED,
    Status.PROCESSING: _PROCESSED,
    Status.COMPLETED: {**_PROCESSED, "completed_at": EARLIER},
    Status.FAILED: {**_PROCESSED, "failure_code": "account_closed", "failed_reason": "Closed."},
    Status.CANCELLED: {"cancel_kind": "rejected"},
}


def payment(status: Status = Status.PENDING_APPROVAL, **columns: Any) -> Payment:
    """A payment of 150.00 USD to VENDOR, of COMPANY, in a status, with what belongs to that status."""
    usual: dict[str, Any] = {
        "payment_id": PAYMENT_ID,
        "incident_id": m.INCIDENT,
        "vendor_id": m.VENDOR,
        "company_id": m.COMPANY,
        "driver_id": None,
        "payer_type": PayerType.BACK_OFFICE,
        "payer_id": None,
        "amount_cents": 15000,
        "currency": "USD",
        "status": status,
        "source": Source.WORK_COMPLETED,
        "source_key": SOURCE_KEY,
        "request_fingerprint": bytes(32),
        "created_by": ids.SYSTEM_INTAKE,
        "created_at": EARLIER,
        "updated_at": EARLIER,
        "version": _VERSION.get(status, 4),
    }
    return Payment(**{**usual, **_COLUMNS[status], **columns})


def attempt(state: AttemptState = AttemptState.READY, **columns: Any) -> Attempt:
    """The first payout attempt of the payment, as ProcessPayment opens it."""
    number = columns.get("attempt_no", 1)
    usual: dict[str, Any] = {
        "attempt_id": ids.attempt_id(PAYMENT_ID, number),
        "payment_id": PAYMENT_ID,
        "attempt_no": number,
        "provider": "sandbox",
        "idempotency_key": ids.provider_key(PAYMENT_ID, number),
        "request_fingerprint": bytes(32),
        "amount_cents": 15000,
        "currency": "USD",
        "state": state,
        "created_at": EARLIER,
        "submit_before": EARLIER + Rules().submit_window,
        "destination": str(m.VENDOR),
        "checks": 1,
        "resolved_at": None if state.open else EARLIER,
    }
    return Attempt(**{**usual, **columns})


def paid(**columns: Any) -> Attempt:
    """The attempt that succeeded, as `tr_1`."""
    return attempt(AttemptState.SUCCEEDED, **{"provider_object_id": "tr_1", **columns})


def account(account_id: str = "acct_1", **columns: Any) -> VendorAccount:
    """The account of VENDOR, payable."""
    usual = {"vendor_id": m.VENDOR, "payouts_enabled": True, "requirements": (), "as_of": EARLIER}
    return VendorAccount(account_id=account_id, **{**usual, **columns})


def back(*cents: int) -> tuple[Reversal, ...]:
    """So much that came back, in so many parts."""
    return tuple(Reversal(f"trr_{number}", amount) for number, amount in enumerate(cents, start=1))


def transfer(**fields: Any) -> TransferSeen:
    """The movement of the first attempt, as the provider has it."""
    usual: dict[str, Any] = {
        "provider_object_id": "tr_1",
        "transfer_group": str(PAYMENT_ID),
        "idempotency_key": ids.provider_key(PAYMENT_ID, 1),
        "money": Money(15000, "USD"),
        "destination": ids.provider_account(str(m.VENDOR)),
        "reversals": (),
        "created_at": EARLIER,
        "livemode": False,
    }
    return TransferSeen(**{**usual, **fields})


def payout(settlement: Settlement = Settlement.PAID, **fields: Any) -> PayoutSeen:
    """The settlement that pays the first attempt's movement out to the vendor's bank."""
    usual: dict[str, Any] = {
        "provider_object_id": "po_1",
        "account": ids.provider_account(str(m.VENDOR)),
        "failure_code": "account_closed" if settlement is Settlement.FAILED else None,
        "transfer_ids": ("tr_1",),
        "livemode": False,
    }
    return PayoutSeen(settlement=settlement, **{**usual, **fields})


def command(kind: str, **overrides: Any) -> dict[str, Any]:
    """A command about the payment."""
    return m.command(kind, **{"paymentId": str(PAYMENT_ID), **overrides})


def decided(message: dict[str, Any], *, queue: Queue | None = None, now: datetime = NOW, **known: Any) -> Decision:
    """What is decided about a message, given these facts."""
    parsed = m.parsed(message, queue=queue)
    return decide(parsed, now=now, **known)


def decide(parsed: Parsed, *, now: datetime = NOW, **known: Any) -> Decision:
    """What is decided about a parsed message, given these facts."""
    facts = Facts(**{"cause": parsed.cause, "rules": Rules(), "actor": actor_of(parsed), **known})
    return ROUTES[type(parsed.message)].decide(facts, parsed.message, now)


def stepped(decision: Decision, before: Payment) -> Move | Record:
    """A decision that changes the payment, after what must hold of every such one."""
    assert isinstance(decision, Move | Record), decision
    after = decision.after
    assert decision.before is before
    assert (after.version, after.updated_at) == (before.version + 1, NOW)
    assert (after.amount_cents, after.currency, after.vendor_id) == (
        before.amount_cents,
        before.currency,
        before.vendor_id,
    )
    assert isinstance(decision, Move) is (before.status is not after.status)
    if isinstance(decision, Move):
        assert next_status(before.status, decision.event) is after.status
    else:
        assert next_status(before.status, decision.event) is Verdict.RECORD
    announced(decision)
    return decision


def steps(decision: Decision, before: Payment) -> list[Move | Record]:
    """Everything that a decision changes in one transaction, one version after the other."""
    first = stepped(decision, before)
    return [first, *(steps(first.then, first.after) if first.then else [])]


def announced(step: Move | Record) -> list[PaymentEvent]:
    """The events of a step, after what must hold of every one: its id, and where the payment stands after it."""
    after = step.after
    events = [post.message for post in step.posts if isinstance(post.message, PaymentEvent)]
    for event in events:
        assert event.event_id == ids.event_id(after.payment_id, after.version, event.kind)
        assert (event.status, event.payment_version) == (after.status, after.version)
        assert (event.payment_id, event.amount_cents) == (after.payment_id, after.amount_cents)
        assert event.timestamp == NOW
    assert len(events) == 1, "one event per version"
    return events


def posted(step: Move | Record) -> list[tuple[str, datetime | None]]:
    """The kinds of what a step posts, and the times before which it stays here."""
    return [(post.message.kind, post.not_before) for post in step.posts]


def order(step: Move | Record) -> dict[str, Any]:
    """The last thing that a step posts, as it is sent."""
    message: OutboundMessage = step.posts[-1].message
    return message.wire()


class Told(NamedTuple):
    """What the sender of a refused command is told."""

    code: Refusal
    field: str | None


def told(decision: Decision, about: Payment | None) -> Told:
    """The refusal of a command, after what must hold of every one: its id, and where the payment stands."""
    assert isinstance(decision, Refuse), decision
    event = decision.event
    assert isinstance(event, PaymentCommandRejected)
    assert decision.payment is about
    assert (decision.code, MESSAGES[decision.code]) == (event.code, event.message)
    expected = (about.status, about.version) if about else (None, None)
    assert (event.current_status, event.current_version) == expected
    assert event.command_id == event.causation_id
    return Told(event.code, event.field)


class Layer(NamedTuple):
    """One flaw of a command or of its payment."""

    code: Refusal
    command: dict[str, Any] = {}  # noqa: RUF012 - an empty default of a tuple's field; nobody writes to it
    payment: dict[str, Any] = {}  # noqa: RUF012 - the same


def flawed(layers: list[Layer], first: int) -> tuple[Refusal, dict[str, Any], dict[str, Any]]:
    """All flaws from `first` on at once: the code to expect, fields of the command, columns of the payment."""
    fields: dict[str, Any] = {}
    columns: dict[str, Any] = {}
    for layer in reversed(layers[first:]):
        fields |= layer.command
        columns |= layer.payment
    return layers[first].code, fields, columns


_FOREIGN = str(m.OTHER_COMPANY)

#: Who may decide about a payment of COMPANY, and about one of no company: the refusal of each, None where allowed.
ROLES = [
    ("dispatcher of the company", m.dispatcher(), None, Refusal.WRONG_COMPANY),
    ("dispatcher of another", m.dispatcher(companyId=_FOREIGN), Refusal.WRONG_COMPANY, Refusal.WRONG_COMPANY),
    ("dispatcher of none", m.dispatcher(companyId=...), Refusal.WRONG_COMPANY, Refusal.WRONG_COMPANY),
    ("admin", m.admin(), None, None),
    ("admin of another company", m.admin(companyId=_FOREIGN), None, None),
    ("vendor", m.dispatcher(role="vendor"), Refusal.FORBIDDEN_ROLE, Refusal.FORBIDDEN_ROLE),
    ("user of no role", m.dispatcher(role=...), Refusal.FORBIDDEN_ROLE, Refusal.FORBIDDEN_ROLE),
]

#: Actor, the payment's company, and the refusal or None.
MATRIX = [
    (actor, company, refusal)
    for _, actor, own, companyless in ROLES
    for company, refusal in ((m.COMPANY, own), (None, companyless))
]
MATRIX_IDS = [f"{name}, payment of {company}" for name, *_ in ROLES for company in ("a company", "none")]

#: What every command about a payment is refused for, in order of precedence, before its own guards.
COMMON_LAYERS = [
    Layer(Refusal.FORBIDDEN_ROLE, {"actor": m.dispatcher(role="vendor", companyId=_FOREIGN)}),
    Layer(Refusal.WRONG_COMPANY, {"actor": m.dispatcher(companyId=_FOREIGN)}),
    Layer(Refusal.AMOUNT_MISMATCH, {"amountCents": 14999}),
    Layer(Refusal.AMOUNT_MISMATCH, {"currency": "EUR"}),
    Layer(Refusal.VERSION_CONFLICT, {"expectedVersion": 77}),
]

#: What the sender says that it saw, and the flaw in it, None where it is the payment's.
VIEWS: list[tuple[dict[str, Any], Told | None]] = [
    ({"amountCents": 15000, "currency": "USD"}, None),
    ({"currency": "usd"}, None),
    ({"amountCents": 14999}, Told(Refusal.AMOUNT_MISMATCH, "amountCents")),
    ({"amountCents": 0}, Told(Refusal.AMOUNT_MISMATCH, "amountCents")),
    ({"amountCents": -15000}, Told(Refusal.AMOUNT_MISMATCH, "amountCents")),
    ({"amountCents": 15000.5}, Told(Refusal.AMOUNT_MISMATCH, "amountCents")),
    ({"amountCents": 1e300}, Told(Refusal.AMOUNT_MISMATCH, "amountCents")),
    ({"amountCents": 15000.0}, None),
    ({"currency": "EUR"}, Told(Refusal.AMOUNT_MISMATCH, "currency")),
    ({"currency": "XXX"}, Told(Refusal.AMOUNT_MISMATCH, "currency")),
    ({"currency": ""}, Told(Refusal.AMOUNT_MISMATCH, "currency")),
    ({"expectedVersion": 0}, Told(Refusal.VERSION_CONFLICT, "expectedVersion")),
    ({"expectedVersion": 99}, Told(Refusal.VERSION_CONFLICT, "expectedVersion")),
]

#: What a command may name as its payment although there can be none.
NO_IDS = ["", "test-payment-001", "11111111111141118111111111111111", "{{11111111111141118111111111111111}}"]


def refusal_event(decision: Decision) -> dict[str, Any]:
    """The announcement of a refusal, as it is sent."""
    assert isinstance(decision, Refuse)
    return decision.event.wire()
