"""Loads and locks what each decision needs: the payment first, then what depends on its lock, in one flight."""

from dataclasses import dataclass
from typing import Any

from contracts import ids
from contracts.ids import as_uuid
from contracts.inbound import Cause, CreatePayment, ExecutePayout, PaymentCommand, WorkCompleted
from contracts.payment import Attempt, Payment
from handlers.decisions import work_completed
from store import attempts, payments
from store.db import Pending, Tx


@dataclass(frozen=True, slots=True)
class Loading:
    """Rows that are on their way; the payment's row is locked when it arrives."""

    payment: Pending[Payment | None]
    attempt: Pending[Attempt | None]


def _nothing() -> Any:
    return None


def of_work(tx: Tx, message: WorkCompleted, cause: Cause) -> Loading:
    """Lock the payment that this work already has: by its id, its business key, or as live work."""
    source_key = work_completed.source_key(message, cause.fingerprint)
    found = payments.lock_work(
        tx,
        ids.payment_id(source_key),
        source_key,
        ids.legacy_uuid(message.incident_id),
        ids.legacy_uuid(message.vendor_id),
    )
    return Loading(found, Pending(_nothing))


def of_creation(tx: Tx, message: CreatePayment, _cause: Cause) -> Loading:
    """Lock the payment that this very command has created before."""
    found = payments.lock(tx, ids.payment_id(ids.command_source_key(message.command_id)))
    return Loading(found, Pending(_nothing))


def of_payment(tx: Tx, message: PaymentCommand, _cause: Cause) -> Loading:
    """Lock the payment that a command names."""
    return Loading(payments.lock(tx, as_uuid(message.payment_id)), Pending(_nothing))


def of_payout(tx: Tx, message: PaymentCommand, _cause: Cause) -> Loading:
    """Lock the payment that shall be paid out, then read its newest attempt."""
    payment_id = as_uuid(message.payment_id)
    return Loading(payments.lock(tx, payment_id), attempts.newest(tx, payment_id))


def of_attempt(tx: Tx, message: ExecutePayout, _cause: Cause) -> Loading:
    """Lock the payment of an attempt, then read the attempt."""
    return Loading(payments.lock_of_attempt(tx, message.attempt_id), attempts.read(tx, message.attempt_id))
