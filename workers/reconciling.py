"""Compares what the provider has moved with what our books say, and names every break with its age.

A break is what does not agree and is older than what may still be on its way. Nothing is changed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby, islice
from uuid import UUID

from contracts.ids import as_uuid
from contracts.lifecycle import Status
from contracts.payment import AttemptState
from contracts.provider import NotFound, PayoutProvider, ProviderAwayError, TransferSeen, TryLater
from store import books
from store.books import Amiss, Booked
from store.db import Pool

#: How much further back the provider is asked, since its clock is not the database's.
CLOCK_MARGIN = timedelta(days=1)
#: Transfers that are compared at a time.
_CHUNK = 100
#: What of our own books is only amiss once it takes too long; the rest is a break at once.
_IN_TIME = frozenset({"unknown", "not_executed_yet", "between_attempts", "approved_unpaid"})

#: What each kind of break means and what to do about it, for people.
MEANINGS = {
    "paid_twice": "The provider moved money for this payment more than once. Reverse what is too much at the provider.",
    "missing_at_provider": "We say paid, the provider knows nothing of it. Ask the provider before anything else.",
    "missing_here": "The provider moved money under a key of ours that our books do not have, as after a restore.",
    "paid_but_failed": "The provider moved money of a payment that we call failed. Do not pay it again.",
    "not_recorded": "The provider moved money that we have not recorded: `payments reconcile` records it.",
    "amount_differs": "Amount or currency is not what was ordered.",
    "account_differs": "The money went to another account than was ordered.",
    "reversal_not_recorded": "Money came back that we have not recorded: `payments reconcile ID` records it.",
    "reversal_unknown_there": "We say that more came back than the provider says.",
    "unknown": "Nobody can say yet whether the money moved; it is looked up again by itself.",
    "not_executed_yet": "The order has not reached the provider yet. Are workers running, and is the provider there?",
    "stopped": "The provider contradicts us, and nothing is done by itself: look there, then `payments reconcile ID`.",
    "between_attempts": "The last attempt came to nothing, and the next one is not open yet. Is there enough money?",
    "approved_unpaid": "Approved, payable, and not being paid.",
    "status_contradicts_attempts": "The payment's status and its attempts say different things.",
}


@dataclass(frozen=True, slots=True)
class Break:
    """Something that does not agree.

    Attributes:
        kind: what, a key of MEANINGS.
        since: since when, as far as that can be known.
        payment_id: the payment, where it is one of ours.
        attempt_id: the payout attempt, where it is about one.
        provider_object_id: the provider's movement, where it is about one.
    """

    kind: str
    since: datetime
    payment_id: UUID | None = None
    attempt_id: UUID | None = None
    provider_object_id: str | None = None


@dataclass(slots=True)
class Report:
    """What was compared, and every break.

    Attributes:
        at: when, by the database's clock.
        transfers: how many movements of ours the provider told of.
        foreign: how many of others, which are not looked at.
        attempts: how many attempts of ours that succeeded were compared.
        under_way: how much was left out since it may still be on its way.
        provider_cents: what was moved by currency, by the provider's word, in minor units.
        our_cents: the same by ours.
        breaks: what does not agree.
    """

    at: datetime
    transfers: int = 0
    foreign: int = 0
    attempts: int = 0
    under_way: int = 0
    provider_cents: dict[str, int] = field(default_factory=dict)
    our_cents: dict[str, int] = field(default_factory=dict)
    breaks: list[Break] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is compared, and how long something may take.

    Attributes:
        window: how far back.
        in_flight: how old a movement is at least before its record is missed.
        patience: how long a payout may take before it is a break.
        unregistered: whether vendors without a registered account are paid.
    """

    window: timedelta = timedelta(days=7)
    in_flight: timedelta = timedelta(minutes=2)
    patience: timedelta = timedelta(minutes=15)
    unregistered: bool = True


def compare(pool: Pool, provider: PayoutProvider, bounds: Bounds) -> Report:
    """Compare attempts, the provider's movements and payments.

    Raises:
        ProviderAwayError: the provider does not answer.
        Transient: the database could not answer now.
    """
    report = Report(books.now(pool))
    since = report.at - bounds.window
    seen: set[str] = set()
    for chunk in _chunks(provider.transfers(since - CLOCK_MARGIN)):
        _compare_transfers(pool, provider, bounds, report, chunk)
        seen |= {transfer.provider_object_id for transfer in chunk}
    for booked in books.succeeded_since(pool, provider.name, since):
        report.attempts += 1
        _add(report.our_cents, booked.currency, booked.amount_cents)
        if booked.provider_object_id not in seen:
            _ask_for(provider, report, booked)
    for amiss in books.amiss(pool, unregistered=bounds.unregistered):
        _note_amiss(report, bounds, amiss)
    return report


def _chunks(transfers: Iterator[TransferSeen]) -> Iterator[list[TransferSeen]]:
    while chunk := list(islice(transfers, _CHUNK)):
        yield chunk


def _compare_transfers(
    pool: Pool, provider: PayoutProvider, bounds: Bounds, report: Report, transfers: Sequence[TransferSeen]
) -> None:
    groups = [(transfer, as_uuid(transfer.transfer_group)) for transfer in transfers]
    booked = books.attempts_of(pool, [payment_id for _, payment_id in groups if payment_id])
    by_payment = {payment_id: list(rows) for payment_id, rows in groupby(booked, key=lambda row: row.payment_id)}
    for transfer, payment_id in groups:
        attempts = by_payment.get(payment_id, []) if payment_id else []
        if payment_id is None or not (attempts or _our_key(transfer)):
            report.foreign += 1  # the platform moves money for other purposes too
            continue
        if _in_window(report, bounds, transfer, attempts):
            report.transfers += 1
            _add(report.provider_cents, transfer.money.currency, transfer.money.amount_cents)
        for kind, attempt in _breaks(provider, transfer, attempts):
            _note(
                report, bounds, Break(kind, transfer.created_at, payment_id, _id(attempt), transfer.provider_object_id)
            )


def _our_key(transfer: TransferSeen) -> bool:
    return transfer.idempotency_key is not None and transfer.idempotency_key.startswith("pay-")


def _in_window(report: Report, bounds: Bounds, transfer: TransferSeen, attempts: Sequence[Booked]) -> bool:
    """Whether our side counts it too: the provider is asked about a day more than that."""
    owner = next((one for one in attempts if one.provider_object_id == transfer.provider_object_id), None)
    return (owner or transfer).created_at >= report.at - bounds.window


def _id(attempt: Booked | None) -> UUID | None:
    return attempt.attempt_id if attempt else None


def _note(report: Report, bounds: Bounds, found: Break) -> None:
    """Add a break, unless it may still be on its way."""
    allowed = {"not_recorded": bounds.patience, "reversal_not_recorded": bounds.in_flight}.get(found.kind, timedelta(0))
    if report.at - found.since < allowed:
        report.under_way += 1
    else:
        report.breaks.append(found)


def _breaks(
    provider: PayoutProvider, transfer: TransferSeen, attempts: Sequence[Booked]
) -> Iterator[tuple[str, Booked | None]]:
    """Return what does not agree about one movement, with the attempt that it is about."""
    owner = next((one for one in attempts if one.provider_object_id == transfer.provider_object_id), None)
    if owner is None:
        yield _unowned(attempts), attempts[-1] if attempts else None
        return
    if (owner.amount_cents, owner.currency) != (transfer.money.amount_cents, transfer.money.currency):
        yield "amount_differs", owner
    if transfer.destination != provider.account(owner.destination or ""):
        maker = next((one for one in attempts if one.idempotency_key == transfer.idempotency_key), owner)
        if transfer.destination != provider.account(maker.destination or ""):
            yield "account_differs", owner
    if transfer.reversed_cents > owner.amount_reversed_cents:
        yield "reversal_not_recorded", owner
    elif transfer.reversed_cents < owner.amount_reversed_cents:
        yield "reversal_unknown_there", owner


def _unowned(attempts: Sequence[Booked]) -> str:
    if not attempts:
        return "missing_here"
    if any(one.state is AttemptState.SUCCEEDED for one in attempts):
        return "paid_twice"
    return "paid_but_failed" if attempts[-1].status is Status.FAILED else "not_recorded"


def _ask_for(provider: PayoutProvider, report: Report, booked: Booked) -> None:
    """Ask for a movement that was not among those of the window, before it is said to be missing."""
    found = provider.read_transfer(booked.provider_object_id or "")
    if isinstance(found, TryLater):
        raise ProviderAwayError(found.reason)
    if isinstance(found, NotFound):
        missing = Break(
            "missing_at_provider", booked.created_at, booked.payment_id, booked.attempt_id, booked.provider_object_id
        )
        report.breaks.append(missing)
        return
    report.transfers += 1
    _add(report.provider_cents, found.money.currency, found.money.amount_cents)
    for kind, _ in _breaks(provider, found, [booked]):
        report.breaks.append(
            Break(kind, found.created_at, booked.payment_id, booked.attempt_id, found.provider_object_id)
        )


def _note_amiss(report: Report, bounds: Bounds, amiss: Amiss) -> None:
    if amiss.kind in _IN_TIME and report.at - amiss.since < bounds.patience:
        report.under_way += 1
        return
    report.breaks.append(Break(amiss.kind, amiss.since, amiss.payment_id, amiss.attempt_id))


def _add(totals: dict[str, int], currency: str, amount_cents: int) -> None:
    totals[currency] = totals.get(currency, 0) + amount_cents


def by_kind(breaks: Iterable[Break]) -> dict[str, int]:
    """Return how many breaks there are of each kind."""
    counts: dict[str, int] = {}
    for found in breaks:
        counts[found.kind] = counts.get(found.kind, 0) + 1
    return counts
