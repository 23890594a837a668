"""ProviderEvent: a hint that something happened at the provider; its object was read again before the transaction.

Order does not matter: whatever the event says, what is recorded is how its object stands now, and never less than is
known.
"""

from dataclasses import replace
from datetime import datetime

from contracts import ids
from contracts.ids import as_uuid
from contracts.inbound import ProviderEvent
from contracts.outbound import ReconcileAttemptOrder
from contracts.payment import Attempt
from contracts.provider import Accepted, NotFound, PayoutSeen, Told, TransferSeen
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Facts, Order
from handlers.payouts import answered
from handlers.steps import overtaken, refuse_command


def decide(facts: Facts, message: ProviderEvent, now: datetime) -> Decision:
    """Record what the provider has now; of a settlement, order a look at each attempt whose money it pays out."""
    if message.livemode is not facts.told.livemode:
        return refuse_command(facts, message, now, Refusal.INVALID_FIELD, "livemode")
    match facts.told.seen:
        case None:
            return Absorb(None)
        case NotFound():
            overtaken(facts, now)
            return refuse_command(facts, message, now, Refusal.NOT_FOUND, "data.object.id")
        case TransferSeen() as transfer:
            return _moved(facts, message, now, transfer)
        case PayoutSeen() as payout:
            return _settled(facts, message, now, payout)


def _moved(facts: Facts, message: ProviderEvent, now: datetime, transfer: TransferSeen) -> Decision:
    if as_uuid(transfer.transfer_group) is None:  # the platform moves money for other purposes too
        return Absorb(None)
    payment, attempt = facts.payment, facts.attempt
    if payment is None or attempt is None:
        overtaken(facts, now)
        return refuse_command(facts, message, now, Refusal.NOT_FOUND, "data.object.id")
    if attempt.provider != facts.rules.provider:  # another provider's payment: this one was asked for nothing
        return refuse_command(facts, message, now, Refusal.NOT_FOUND, "data.object.id")
    if transfer.livemode is not facts.told.livemode or not _as_ordered(transfer, attempt):
        return refuse_command(facts, message, now, Refusal.AMOUNT_MISMATCH, "data.object.id")
    told = Told(Accepted(transfer.provider_object_id, transfer.reversals), livemode=facts.told.livemode)
    return answered(replace(facts, told=told), now, payment, attempt)


def _as_ordered(transfer: TransferSeen, attempt: Attempt) -> bool:
    """Whether this is the movement that the attempt is for; to another account it is, if an earlier attempt made it."""
    ordered = (attempt.amount_cents, attempt.currency)
    earlier = {ids.provider_key(attempt.payment_id, number) for number in range(1, attempt.attempt_no)}
    there = transfer.idempotency_key in earlier or transfer.destination == ids.provider_account(
        attempt.destination or ""
    )
    return there and ordered == (transfer.money.amount_cents, transfer.money.currency)


def _settled(facts: Facts, message: ProviderEvent, now: datetime, payout: PayoutSeen) -> Decision:
    if payout.account != message.account or payout.livemode is not facts.told.livemode:
        return refuse_command(facts, message, now, Refusal.INVALID_FIELD, "account")
    if facts.told.missing:  # others' money, or attempts that are not recorded yet
        overtaken(facts, now)
    orders = tuple(
        ReconcileAttemptOrder(
            command_id=ids.reconcile_settlement_key(attempt_id, message.id),
            correlation_id=facts.cause.correlation,
            attempt_id=attempt_id,
            check=0,
            payout_id=payout.provider_object_id,
        )
        for attempt_id in facts.told.attempts
    )
    return Order(orders) if orders else Absorb(None)
