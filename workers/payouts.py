"""What the provider is asked before a message's transaction, with none open: look up, and only then submit."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self, assert_never
from uuid import UUID

from contracts.ids import as_uuid
from contracts.inbound import ExecutePayout, InboundMessage, Parsed, ProviderEvent, ReconcileAttempt
from contracts.money import Money
from contracts.payment import Attempt
from contracts.provider import (
    Accepted,
    Answer,
    NotExecuted,
    NotFound,
    PayoutOrder,
    PayoutProvider,
    PayoutSeen,
    Told,
    TransferSeen,
    TryLater,
    Unknown,
)
from store import attempts
from store.db import Pool
from workers import clock

#: Why an attempt that was not found at the provider is neither submitted any more nor given up yet.
WINDOW_CLOSED = "submit_window_closed"
#: Why an attempt is not submitted: its account is not, or not now, where the vendor is paid.
ACCOUNT_CHANGED = "account_changed"
#: Why an attempt is not submitted by this message: another one has settled it, or it was read too long ago.
OVERTAKEN, STALE = "overtaken", "stale_reading"
#: Why an attempt is left to workers that pay through another provider.
OTHER_PROVIDER = "other_provider"
#: How old the reading of an attempt may be when it is submitted, in seconds: a process that was frozen meanwhile must
#: not submit what others have given up.
SUBMIT_WITHIN_S = 10.0
#: The reasons of an unknown outcome that let one doubt that the provider is there.
_OF_OUTAGES = frozenset({"unreachable", "credentials", "connection", "timeout", "server_error", "unreadable"})


class ProviderBusy(Exception):
    """The provider did not take the request; nothing was moved by it, the message comes again.

    Attributes:
        away: whether it will not take the next one either.
    """

    def __init__(self, answer: TryLater) -> None:
        super().__init__(answer.reason)
        self.away = answer.away


def asks(message: InboundMessage) -> bool:
    """Whether the provider has to be asked before a message can be decided on."""
    return isinstance(message, ExecutePayout | ReconcileAttempt | ProviderEvent)


def hints_at_outage(told: Told) -> bool:
    """Whether an answer lets one doubt that the provider is there."""
    return isinstance(told.answer, Unknown) and told.answer.reason in _OF_OUTAGES


@dataclass(frozen=True, slots=True)
class _Moment:
    """A moment; how long ago it was by either clock: one stands still while its machine sleeps, one may be set back."""

    monotonic: float
    wall: datetime

    @classmethod
    def now(cls) -> Self:
        """Return this moment."""
        return cls(clock.monotonic(), clock.now())

    @property
    def age_s(self) -> float:
        """The longer of the two."""
        return max(clock.monotonic() - self.monotonic, (clock.now() - self.wall).total_seconds())


@dataclass(frozen=True, slots=True)
class _Found:
    """An attempt as it was read: at what time by the database's clock, and whether its account may be paid now."""

    attempt: Attempt | None
    at: datetime
    payable: bool
    read_at: _Moment


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks the provider what a message needs to know.

    Attributes:
        pool: the database.
        provider: who is asked.
        grace: how long an attempt that the provider does not know is waited for after its last possible submission,
            until it counts as never executed.
    """

    pool: Pool
    provider: PayoutProvider
    grace: timedelta = timedelta(hours=1)

    def ask(self, parsed: Parsed, *, last_try: bool = False) -> tuple[Parsed, Told]:
        """Return the message, with what it turned out to be about, and what the provider says.

        Args:
            parsed: the message.
            last_try: whether an open attempt that the provider is too busy for is left to the sweep.

        Raises:
            ProviderBusy: the provider did not take a request.
            Transient: the database could not say what an attempt is.
        """
        match parsed.message:
            case ExecutePayout(attempt_id=attempt_id):
                return parsed, self._executed(attempt_id, last_try=last_try)
            case ReconcileAttempt(attempt_id=attempt_id, payout_id=payout_id):
                return parsed, self._reconciled(attempt_id, payout_id, last_try=last_try)
            case ProviderEvent() as event:
                told = self._event(event)
                about = as_uuid(told.seen.transfer_group) if isinstance(told.seen, TransferSeen) else None
                return replace(parsed, cause=replace(parsed.cause, about=about)), told
            case _:
                return parsed, Told()

    def _executed(self, attempt_id: UUID, *, last_try: bool) -> Told:
        found = self._find(attempt_id)
        if found.attempt is None or not found.attempt.state.open:
            return self._nothing(found)
        return Told(self._settle(found, found.attempt, last_try=last_try), livemode=self.provider.livemode)

    def _reconciled(self, attempt_id: UUID, payout_id: str | None, *, last_try: bool) -> Told:
        found = self._find(attempt_id)
        if found.attempt is None:
            return self._nothing(found)
        if found.attempt.state.open:
            return Told(self._settle(found, found.attempt, last_try=last_try), livemode=self.provider.livemode)
        moved = self._moved(found.attempt)
        if payout_id is None:
            return Told(moved, livemode=self.provider.livemode)
        account = self.provider.account(found.attempt.destination or "")
        payout = _taken(self.provider.read_payout(payout_id, account))
        return Told(moved, payout, livemode=self.provider.livemode)

    def _find(self, attempt_id: UUID) -> "_Found":
        # Taken before the reading: a freeze between the two must make it older, not younger.
        read_at = _Moment.now()
        return _Found(*attempts.find(self.pool, attempt_id), read_at)

    def _nothing(self, found: "_Found") -> Told:
        return Told(livemode=self.provider.livemode, spares_key=found.attempt is None)

    def _settle(self, found: "_Found", attempt: Attempt, *, last_try: bool) -> Answer:
        """Return what becomes of an open attempt; whoever has tried often enough leaves it to the sweep."""
        answer = self._look_up_then_submit(found, attempt)
        if not isinstance(answer, TryLater):
            return answer
        if last_try:
            return Unknown(answer.reason)
        raise ProviderBusy(answer)

    def _look_up_then_submit(self, found: "_Found", attempt: Attempt) -> Answer:
        """Ask for the transfer, and for it to be made where there is none.

        The look-up comes before every submission: after a restore the provider may have forgotten the idempotency key
        while it remembers the transfer.
        """
        if attempt.provider != self.provider.name:
            return Unknown(OTHER_PROVIDER, stopped=found.at >= attempt.submit_before + self.grace)
        order = _order(attempt)
        answer = self.provider.look_up(order)
        match answer:
            case Accepted() | TryLater() | Unknown():
                return answer
            case NotFound():
                return self._submit(self._find(attempt.attempt_id), order)
            case _:
                assert_never(answer)

    def _submit(self, found: "_Found", order: PayoutOrder) -> Answer:
        """Submit what was just read once more: the look-up took its time, and others work meanwhile."""
        if found.attempt is None or not found.attempt.state.open:
            return TryLater(OVERTAKEN)
        # Past the window the key may be pruned, so that submitting again could pay twice.
        if found.at >= found.attempt.submit_before + self.grace:
            return NotExecuted()
        if found.at >= found.attempt.submit_before:
            return Unknown(WINDOW_CLOSED)
        if not found.payable:
            return Unknown(ACCOUNT_CHANGED)
        if found.read_at.age_s > SUBMIT_WITHIN_S:
            return TryLater(STALE)
        return self.provider.submit(order)

    def _moved(self, attempt: Attempt) -> Answer | None:
        """Return what has become of a closed attempt's money."""
        found = self.provider.look_up(_order(attempt)) if attempt.provider == self.provider.name else NotFound()
        if isinstance(found, TryLater):
            raise ProviderBusy(found)
        return None if isinstance(found, NotFound) else found

    def _event(self, event: ProviderEvent) -> Told:
        livemode, about = self.provider.livemode, event.data.object
        if event.livemode is not livemode:  # nothing of ours, and the decision says so
            return Told(livemode=livemode)
        if event.type.startswith("transfer.") and about.object == "transfer":
            transfer = _taken(self.provider.read_transfer(about.id))
            return Told(seen=transfer, livemode=livemode)
        if event.type.startswith("payout.") and about.object == "payout" and event.account is not None:
            return self._settlement(about.id, event.account)
        return Told(livemode=livemode)

    def _settlement(self, payout_id: str, account: str) -> Told:
        payout = _taken(self.provider.read_payout(payout_id, account))
        paid: tuple[UUID, ...] = ()
        missing = 0
        if isinstance(payout, PayoutSeen) and payout.transfer_ids:
            known = attempts.of_transfers(self.pool, self.provider.name, payout.transfer_ids)
            paid = tuple(found for found, destination in known if self.provider.account(destination) == account)
            missing = len(payout.transfer_ids) - len(known)
        livemode = self.provider.livemode
        return Told(seen=payout, attempts=paid, missing=missing, livemode=livemode, spares_key=missing > 0)


def _taken(seen: TransferSeen | PayoutSeen | NotFound | TryLater) -> TransferSeen | PayoutSeen | NotFound:
    if isinstance(seen, TryLater):
        raise ProviderBusy(seen)
    return seen


def _order(attempt: Attempt) -> PayoutOrder:
    return PayoutOrder(
        payment_id=attempt.payment_id,
        attempt_no=attempt.attempt_no,
        idempotency_key=attempt.idempotency_key,
        money=Money(attempt.amount_cents, attempt.currency),
        destination=attempt.destination or "",
    )
