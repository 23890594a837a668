"""The test's own idea of one payment: what a command by somebody must come to, given what has happened so far.

Written from the rules of commands and the precedence of their codes, with no code of the product.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

APPLIED, IGNORED = "applied", "ignored"
PENDING, APPROVED, PROCESSING, CANCELLED = "pending_approval", "approved", "processing", "cancelled"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody as they stand to the payment.

    Attributes:
        role: the role that counts, None for who is no member, or whose token narrows them to nothing.
        ours: whether they are of the payment's company.
        gains: whether the payment is for them, or for the vendor that they act for.
        creator: whether they created the payment.
        service: the service itself, on its own queue.
    """

    role: str | None
    ours: bool = True
    gains: bool = False
    creator: bool = False
    service: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """What the payment's policy asks for."""

    approvers: int
    separate_releaser: bool


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody wants, and what they saw."""

    key: str
    kind: str
    person: str
    well_formed: bool
    same_money: bool
    expected_version: int | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class State:
    """The payment at one version."""

    version: int = 1
    status: str = PENDING
    on_hold: bool = False
    until: datetime | None = None
    approvers: tuple[str, ...] = ()

    def held(self, now: datetime) -> bool:
        return self.on_hold and (self.until is None or now < self.until)

    def after(self, action: str, command: Command) -> "State":
        """The payment one version on."""
        onward = replace(self, version=self.version + 1)
        match action:
            case "approval_recorded":
                return replace(onward, approvers=(*self.approvers, command.person))
            case "approved":
                free = replace(onward, on_hold=False, until=None)
                return replace(free, status=APPROVED, approvers=(*self.approvers, command.person))
            case "held":
                return replace(onward, on_hold=True, until=command.until)
            case "hold_released":
                return replace(onward, on_hold=False, until=None)
            case "processing_started":
                return replace(onward, status=PROCESSING, on_hold=False, until=None)
            case "rejected" | "cancelled":
                return replace(onward, status=CANCELLED)
            case _:
                raise AssertionError(f"{action} is no step that a command takes")


def action_of(command: Command, state: State, terms: Terms) -> str:
    """The step that a command takes where it is applied."""
    if command.kind == "ApprovePayment":
        return "approved" if len(state.approvers) + 1 == terms.approvers else "approval_recorded"
    return {
        "RejectPayment": "rejected",
        "CancelPayment": "cancelled",
        "HoldPayment": "held",
        "ReleaseHold": "hold_released",
        "ProcessPayment": "processing_started",
    }[command.kind]


def verdict(command: Command, person: Person, terms: Terms, state: State, now: datetime) -> str:
    """How a command ends that meets the payment in a state: applied, ignored, or the first code that applies."""
    if person.service:
        return "forbidden_role" if terms.separate_releaser else _processed(command, person, terms, state, now)
    if person.role is None:
        return "forbidden_role"
    if not command.well_formed or (command.until is not None and command.until <= now):
        return "invalid_field"
    return _denied(person) or _unseen(command, state) or _MET[command.kind](command, person, terms, state, now)


def _denied(person: Person) -> str | None:
    if person.role not in {"dispatcher", "admin"}:
        return "forbidden_role"
    return "wrong_company" if person.role == "dispatcher" and not person.ours else None


def _unseen(command: Command, state: State) -> str | None:
    if not command.same_money:
        return "amount_mismatch"
    return "version_conflict" if command.expected_version not in {None, state.version} else None


def _approved(command: Command, person: Person, _terms: Terms, state: State, now: datetime) -> str:
    counted = command.person in state.approvers
    if state.status == CANCELLED:
        return "illegal_transition"
    if state.status != PENDING:
        return IGNORED if counted else "already_decided"
    if counted:
        return "already_decided"
    if person.creator or person.gains:
        return "self_approval"
    return "on_hold" if state.held(now) else APPLIED


def _rejected(_command: Command, _person: Person, _terms: Terms, state: State, _now: datetime) -> str:
    return _withdrawn(state, PENDING)


def _cancelled(_command: Command, _person: Person, _terms: Terms, state: State, _now: datetime) -> str:
    return _withdrawn(state, PENDING, APPROVED)


def _withdrawn(state: State, *statuses: str) -> str:
    if state.status in statuses:
        return APPLIED
    return "already_decided" if state.status == CANCELLED else "illegal_transition"


def _held(command: Command, person: Person, _terms: Terms, state: State, now: datetime) -> str:
    if state.status not in {PENDING, APPROVED}:
        return "illegal_transition"
    if state.held(now) and state.until == command.until:
        return IGNORED
    return "self_approval" if state.on_hold and person.gains else APPLIED


def _released(_command: Command, person: Person, _terms: Terms, state: State, _now: datetime) -> str:
    if state.status not in {PENDING, APPROVED}:
        return "illegal_transition"
    if not state.on_hold:
        return IGNORED
    return "self_approval" if person.gains else APPLIED


def _processed(command: Command, person: Person, terms: Terms, state: State, now: datetime) -> str:
    if state.status != APPROVED:
        return "illegal_transition"
    if person.gains or (terms.separate_releaser and command.person in state.approvers):
        return "self_approval"
    return "on_hold" if state.held(now) else APPLIED


_MET: Mapping[str, Callable[[Command, Person, Terms, State, datetime], str]] = {
    "ApprovePayment": _approved,
    "RejectPayment": _rejected,
    "CancelPayment": _cancelled,
    "HoldPayment": _held,
    "ReleaseHold": _released,
    "ProcessPayment": _processed,
}
