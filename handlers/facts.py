"""Loads and locks what each decision needs: the payment first, then what depends on its lock, in one flight."""

from typing import Any

from contracts import ids
from contracts.ids import as_uuid
from contracts.inbound import (
    Cause,
    CreatePayment,
    ExecutePayout,
    MembershipChanged,
    PaymentCommand,
    ProviderEvent,
    ReconcileAttempt,
    SetApprovalPolicy,
    VendorAccountChanged,
    WorkCompleted,
)
from contracts.payment import Approval, Attempt, Membership, Payment, VendorAccount, Waiting
from contracts.policy import Policy
from contracts.values import dataclass
from handlers.decisions import work_completed
from store import approvals, attempts, memberships, payments, policies, vendor_accounts
from store.db import Pending, Tx


def _nothing() -> Any:
    return None


NONE: Pending[Any] = Pending(_nothing)
NO_APPROVALS: Pending[tuple[Approval, ...]] = Pending(tuple)
NOBODY_WAITS: Pending[tuple[Waiting, ...]] = Pending(tuple)


@dataclass(frozen=True, slots=True)
class Loading:
    """Rows that are on their way; the payment's row is locked when it arrives."""

    payment: Pending[Payment | None] = NONE
    attempt: Pending[Attempt | None] = NONE
    approvals: Pending[tuple[Approval, ...]] = NO_APPROVALS
    policy: Pending[Policy | None] = NONE
    member: Pending[Membership | None] = NONE
    account: Pending[VendorAccount | None] = NONE
    waiting: Pending[tuple[Waiting, ...]] = NOBODY_WAITS


def of_work(tx: Tx, message: WorkCompleted, cause: Cause) -> Loading:
    """Lock the payment that this work already has, by its id, its business key, or as live work; read the policy."""
    source_key = work_completed.source_key(message, cause.fingerprint)
    found = payments.lock_work(
        tx,
        ids.payment_id(source_key),
        source_key,
        ids.legacy_uuid(message.incident_id),
        ids.legacy_uuid(message.vendor_id),
    )
    # Mapped as the work itself is: with ids that are no UUIDs a company has its policy all the same.
    company_id = ids.legacy_uuid(message.company_id) if message.company_id is not None else None
    return Loading(found, policy=policies.newest(tx, company_id))


def of_creation(tx: Tx, message: CreatePayment, _cause: Cause) -> Loading:
    """Lock the payment that this very command has created before; read the policy of its company."""
    found = payments.lock(tx, ids.payment_id(ids.command_source_key(message.command_id)))
    return Loading(found, policy=policies.newest(tx, as_uuid(message.company_id)))


def of_payment(tx: Tx, message: PaymentCommand, _cause: Cause) -> Loading:
    """Lock the payment that a command names."""
    return Loading(payments.lock(tx, as_uuid(message.payment_id)))


def of_approval(tx: Tx, message: PaymentCommand, _cause: Cause) -> Loading:
    """Lock the payment that somebody approves, then read who has approved it already."""
    payment_id = as_uuid(message.payment_id)
    return Loading(payments.lock(tx, payment_id), approvals=approvals.of(tx, payment_id))


def of_payout(tx: Tx, message: PaymentCommand, _cause: Cause) -> Loading:
    """Lock the payment that shall be paid out, then read its newest attempt, who has approved it, and the account."""
    payment_id = as_uuid(message.payment_id)
    return Loading(
        payments.lock(tx, payment_id),
        attempts.newest(tx, payment_id),
        approvals.of(tx, payment_id),
        account=vendor_accounts.of_payment(tx, payment_id),
    )


def of_policy(tx: Tx, message: SetApprovalPolicy, _cause: Cause) -> Loading:
    """Read the newest version of a company's policy; a lost race for the next one is the database's word."""
    return Loading(policy=policies.newest(tx, as_uuid(message.company_id)))


def of_membership(tx: Tx, message: MembershipChanged, _cause: Cause) -> Loading:
    """Lock the membership that changes."""
    return Loading(member=memberships.lock(tx, as_uuid(message.sub)))


def of_account(tx: Tx, message: VendorAccountChanged, _cause: Cause) -> Loading:
    """Lock the account that changes; read which of the vendor's payments wait to be paid out."""
    vendor_id = as_uuid(message.vendor_id)
    return Loading(account=vendor_accounts.lock(tx, vendor_id), waiting=vendor_accounts.waiting(tx, vendor_id))


def of_event(tx: Tx, _message: ProviderEvent, cause: Cause) -> Loading:
    """Lock the payment that the event turned out to be about, then read its newest attempt."""
    return Loading(payments.lock(tx, cause.about), attempts.newest(tx, cause.about))


def of_attempt(tx: Tx, message: ExecutePayout | ReconcileAttempt, _cause: Cause) -> Loading:
    """Lock the payment of an attempt, then read the attempt."""
    return Loading(payments.lock_of_attempt(tx, message.attempt_id), attempts.read(tx, message.attempt_id))
