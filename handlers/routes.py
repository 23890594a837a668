"""ROUTES: how each message kind is loaded and decided; total over `contracts.inbound.KINDS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts import ids
from contracts.ids import as_uuid
from contracts.inbound import (
    ApprovePayment,
    CancelPayment,
    Cause,
    Command,
    CreatePayment,
    ExecutePayout,
    HoldPayment,
    InboundMessage,
    MembershipChanged,
    PaymentCommand,
    ProcessPayment,
    ProviderEvent,
    ReconcileAttempt,
    RejectPayment,
    ReleaseHold,
    SetApprovalPolicy,
    VendorAccountChanged,
    WorkCompleted,
)
from handlers import facts
from handlers.decision import Decision, Facts
from handlers.decisions import (
    approve_payment,
    cancel_payment,
    create_payment,
    execute_payout,
    hold_payment,
    membership_changed,
    process_payment,
    provider_event,
    reconcile_attempt,
    reject_payment,
    release_hold,
    set_approval_policy,
    vendor_account_changed,
    work_completed,
)
from handlers.facts import Loading
from store.db import Tx


@dataclass(frozen=True, slots=True)
class Route:
    """How one kind is handled.

    Attributes:
        load: locks and reads what the decision needs.
        decide: the pure decision.
        subject: the payment that the message names, as far as it can be told before loading.
        waits: whether the message waits for a payment that is not there yet.
    """

    load: Callable[[Tx, Any, Cause], Loading]
    decide: Callable[[Facts, Any, datetime], Decision]
    subject: Callable[[Any, Cause], UUID | None]
    waits: bool


def _of_work(message: WorkCompleted, cause: Cause) -> UUID:
    return ids.payment_id(work_completed.source_key(message, cause.fingerprint))


def _of_creation(message: CreatePayment, _cause: Cause) -> UUID:
    return ids.payment_id(ids.command_source_key(message.command_id))


def _named(message: PaymentCommand, _cause: Cause) -> UUID | None:
    return as_uuid(message.payment_id)


def _found_out(_message: ProviderEvent, cause: Cause) -> UUID | None:
    return cause.about


def _of_no_payment(_message: Command, _cause: Cause) -> None:
    return None


ROUTES: Mapping[type[InboundMessage], Route] = {
    WorkCompleted: Route(facts.of_work, work_completed.decide, _of_work, waits=False),
    CreatePayment: Route(facts.of_creation, create_payment.decide, _of_creation, waits=False),
    ApprovePayment: Route(facts.of_approval, approve_payment.decide, _named, waits=True),
    RejectPayment: Route(facts.of_payment, reject_payment.decide, _named, waits=True),
    CancelPayment: Route(facts.of_payment, cancel_payment.decide, _named, waits=True),
    HoldPayment: Route(facts.of_payment, hold_payment.decide, _named, waits=True),
    ReleaseHold: Route(facts.of_payment, release_hold.decide, _named, waits=True),
    SetApprovalPolicy: Route(facts.of_policy, set_approval_policy.decide, _of_no_payment, waits=False),
    MembershipChanged: Route(facts.of_membership, membership_changed.decide, _of_no_payment, waits=False),
    ProcessPayment: Route(facts.of_payout, process_payment.decide, _named, waits=True),
    VendorAccountChanged: Route(facts.of_account, vendor_account_changed.decide, _of_no_payment, waits=False),
    ExecutePayout: Route(facts.of_attempt, execute_payout.decide, _of_no_payment, waits=True),
    ReconcileAttempt: Route(facts.of_attempt, reconcile_attempt.decide, _of_no_payment, waits=True),
    ProviderEvent: Route(facts.of_event, provider_event.decide, _found_out, waits=False),
}
