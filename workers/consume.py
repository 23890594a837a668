"""From a delivery to its settlement: parse, process, and say what shall become of it. One wide log event each.

The only broad `except` around a message stands here: this is where its fate is decided.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from typing import Any, Protocol

import structlog
from dramatiq.middleware import CurrentMessage

from contracts.envelope import Malformed, Queue
from contracts.inbound import Cause, Parsed, ProviderEvent, parse
from contracts.outcome import Outcome
from contracts.proof import KeysAwayError, Proof, Unproven, Verifier
from contracts.provider import TryLater
from contracts.values import dataclass
from handlers.apply import Result
from handlers.authority import barred, unreplayed
from handlers.decision import NotYet, Rules
from handlers.process import process
from store import failures
from store.db import Pool, StoreFault, Transient, TransientReason
from store.failures import Failure
from workers import clock
from workers.catalogue import AUTH_FAILURES, NO_KIND
from workers.clock import between, jittered
from workers.counting import DATABASE_AWAY, KEYS_AWAY, NOT_YET, PROVIDER_AWAY, PROVIDER_BUSY, Ended, count
from workers.delivery import Delivery, Settlement
from workers.logs import Logger, logger
from workers.metrics import Metrics
from workers.payouts import Asker, ProviderBusy, asks, hints_at_outage
from workers.quotas import VISIBILITY_MAX_S
from workers.settings import MAX_RECEIVES
from workers.tracing import Tracing, within
from workers.tripwire import as_id

_SETTLEMENTS = {
    Outcome.APPLIED: Settlement.DELETE,
    Outcome.IGNORED: Settlement.DELETE,
    Outcome.REFUSED: Settlement.DELETE,
    Outcome.DUPLICATE: Settlement.DELETE,
    Outcome.RETRY: Settlement.RETRY,
    Outcome.INVALID: Settlement.DEAD_LETTER,
    Outcome.FAULT: Settlement.RETRY,
}


#: From this receive on an order that the provider is too busy for is left to the sweep.
BUSY_RECEIVES = 5
#: How many times as long as others an event waits for a provider that is away, and how long at most, in seconds.
EVENT_PATIENCE = 15.0
EVENT_PATIENCE_MAX_S = 21_600.0
EVENT_JITTER = 0.2
#: From this receive on the reason for yet another retry is recorded: the redrive policy acts after ten.
LAST_RECEIVES = MAX_RECEIVES - 1


class Dependency(Protocol):
    """What is known of the database or the provider: a circuit breaker."""

    def trouble(self) -> None:
        """Say that it has failed a message."""

    def is_there(self) -> bool:
        """Wait for the verdict where one is pending; return whether it answers."""

    @property
    def is_away(self) -> bool:
        """Whether it is known not to answer; waits for nothing."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What is known of what messages lean on: all of them on the database, the payouts queue on the provider.

    A message that meets an outage comes back after between `outage_s` seconds.
    """

    database: Dependency | None = None
    provider: Dependency | None = None
    outage_s: tuple[float, float] = (30, 60)


NOTHING = Needs()


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose word is believed.

    Attributes:
        sources: the EventBridge sources whose events are.
        provider_sources: those of the payment provider's events.
        verifier: what says whose word a token is.
    """

    sources: frozenset[str]
    verifier: Verifier
    provider_sources: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _End:
    """How the handling of one delivery ended; `reason` is a code, never a text from outside.

    `left` is how much longer the message may wait for its payment.
    """

    outcome: Outcome
    reason: str | None = None
    result: Result | None = None
    cause: Cause | None = None
    kind: str | None = None
    left: timedelta | None = None

    @property
    def payment_id(self) -> str | None:
        """The payment that it was about, where that is known."""
        return str(self.result.payment_id) if self.result and self.result.payment_id else None


class MessageHandler:
    """Handles deliveries; shared by all threads of a worker."""

    def __init__(
        self,
        pool: Pool,
        asker: Asker,
        rules: Rules,
        trust: Trust,
        metrics: Metrics,
        *,
        committed: Callable[[], None] = lambda: None,
        needs: Needs = NOTHING,
        tracing: Tracing | None = None,
    ) -> None:
        """Keep what every message needs.

        Args:
            pool: the database.
            asker: who asks the provider.
            rules: the settings that decisions depend on.
            trust: whose word is believed.
            metrics: the process's metrics.
            committed: called after a commit that left something in the outbox.
            needs: the breakers around what messages lean on; without one every message is tried.
            tracing: where spans go; by default nowhere.
        """
        self._pool = pool
        self._asker = asker
        self._rules = rules
        self._trust = trust
        self._metrics = metrics
        self._committed = committed
        self._needs = needs
        self._tracing = tracing or Tracing()
        self._log: Logger = logger(__name__)

    def __call__(self) -> None:
        """Handle the delivery that Dramatiq's current thread holds: the body of every actor."""
        delivery: object = CurrentMessage.get_current_message()
        if isinstance(delivery, Delivery) and delivery.begun_at is not None and delivery.lease_stands:
            self.handle(delivery)

    def handle(self, delivery: Delivery) -> Outcome:
        """Give a delivery its outcome, settle it accordingly, count it and log it."""
        started, begun_ns = clock.monotonic(), clock.nanoseconds()
        read = self._read(delivery)
        parsed = read if isinstance(read, Parsed) else None
        with (
            self._tracing.processing(delivery, parsed, begun_ns) as span,
            structlog.contextvars.bound_contextvars(**delivery.facts),
        ):
            missing = self._missing(delivery)
            end = _End(Outcome.RETRY, missing) if missing else self._end(delivery, read)
            away = end.outcome is Outcome.RETRY and self._missing(delivery) is not None
            if end.outcome is Outcome.RETRY and delivery.arrival.receive_count >= LAST_RECEIVES and not away:
                self._keep_reason(delivery, end)
            delivery.settle_as(
                _SETTLEMENTS[end.outcome],
                end.reason or "",
                delay_s=between(*self._needs.outage_s) if away else self._patience_s(delivery, end),
                delay_max_s=_delay_max_s(end),
            )
            if end.result and end.result.published:
                self._committed()
            span.ended(end.outcome, end.reason, end.payment_id)
            self._observe(delivery, end, clock.monotonic() - started)
        return end.outcome

    def _read(self, delivery: Delivery) -> Parsed | Exception:
        """Return the message, or why it is none; its trace has to be known before anything is done about it."""
        try:
            return parse(
                delivery.body,
                delivery.arrival,
                sources=self._trust.sources,
                provider_sources=self._trust.provider_sources,
            )
        except Exception as error:  # noqa: BLE001 - what becomes of it is decided in one place
            return error

    def _missing(self, delivery: Delivery) -> str | None:
        """Return what a delivery needs and is not there; only the payouts queue waits for the provider."""
        database, provider = self._needs.database, self._needs.provider
        if database is not None and not database.is_there():
            return DATABASE_AWAY
        payout = delivery.source.queue is Queue.PAYOUTS
        return PROVIDER_AWAY if payout and provider is not None and not provider.is_there() else None

    def _patience_s(self, delivery: Delivery, end: _End) -> float | None:
        """Return how long an event of a provider that is away waits: its queue goes on, so that nothing else holds it.

        A quarter of an hour, then twice as long each time, up to six hours: its receives last for more than a day.
        """
        if end.reason != PROVIDER_AWAY or delivery.source.queue is Queue.PAYOUTS:
            return None
        if self._needs.provider is not None and self._needs.provider.is_there():
            return None  # a single request that failed: it comes back like any other
        doubled = self._needs.outage_s[1] * EVENT_PATIENCE * 2.0 ** (delivery.arrival.receive_count - 1)
        return jittered(min(doubled, EVENT_PATIENCE_MAX_S), EVENT_JITTER)

    def _end(self, delivery: Delivery, read: Parsed | Exception) -> _End:
        if isinstance(read, Exception):
            return self._unread(delivery, read)
        parsed = within(read, delivery.trace)
        cause = parsed.cause
        try:
            proof = self._proof(delivery, parsed)
            result = self._processed(parsed.stripped(), proof, delivery.arrival.receive_count)
        except NotYet as wait:
            return _End(Outcome.RETRY, NOT_YET, cause=cause, left=wait.left)
        except (KeysAwayError, ProviderBusy) as trouble:
            return self._waits(trouble, cause)
        except Transient as trouble:
            return self._transient(trouble, cause, None)
        except Exception as error:  # noqa: BLE001 - a bug must not cost the message: it comes back, and is seen
            return self._fault(delivery, error, cause)
        return _End(result.outcome, result.code, result, cause)

    def _unread(self, delivery: Delivery, error: Exception) -> _End:
        return self._invalid(delivery, error) if isinstance(error, Malformed) else self._fault(delivery, error, None)

    def _waits(self, trouble: KeysAwayError | ProviderBusy, cause: Cause | None) -> _End:
        if isinstance(trouble, KeysAwayError):
            return _End(Outcome.RETRY, KEYS_AWAY, cause=cause)
        if trouble.away and self._needs.provider:
            self._needs.provider.trouble()
        return _End(Outcome.RETRY, PROVIDER_AWAY if trouble.away else PROVIDER_BUSY, cause=cause)

    def _transient(self, trouble: Transient, cause: Cause | None, kind: str | None) -> _End:
        if self._needs.database and trouble.reason is TransientReason.CONNECTION:
            self._needs.database.trouble()
        return _End(Outcome.RETRY, f"transient_{trouble.reason}", cause=cause, kind=kind)

    def _keep_reason(self, delivery: Delivery, end: _End) -> None:
        """Record why a message keeps coming back, before its queue's redrive policy takes it away."""
        kind = end.cause.kind if end.cause else end.kind
        with suppress(Transient, StoreFault):  # the reason is then the database's own, and known to everybody
            self._record(delivery, Outcome.RETRY, end.reason or "", "", kind, end.cause)

    def _proof(self, delivery: Delivery, parsed: Parsed) -> Proof:
        """Return what came with a message and could say whose word it is; only the verdict on its token is kept."""
        arrival, token = delivery.arrival, parsed.token
        who = self._trust.verifier.verify(token) if token is not None else None
        if isinstance(who, Unproven):
            self._metrics.inc(AUTH_FAILURES, "queue", who.flaw)
            self._log.warning("token refused", flaw=who.flaw, message_type=parsed.cause.kind)
        return Proof(arrival.sqs_message_id, _digest(delivery), arrival.sender, who)

    def _processed(self, parsed: Parsed, proof: Proof, receive_count: int) -> Result:
        if not asks(parsed.message) or not self._may_ask(parsed, proof):
            return process(self._pool, parsed, self._rules, proof)
        if isinstance(parsed.message, ProviderEvent) and self._needs.provider and self._needs.provider.is_away:
            raise ProviderBusy(TryLater(PROVIDER_AWAY, away=True))  # its queue goes on, and needs the thread
        parsed, told = self._asker.ask(parsed, last_try=receive_count >= BUSY_RECEIVES)
        if hints_at_outage(told) and self._needs.provider:
            self._needs.provider.trouble()
        return process(self._pool, parsed, self._rules, proof, told)

    def _may_ask(self, parsed: Parsed, proof: Proof) -> bool:
        """Whether the provider may be asked on this word: that must be known before, the rest is judged afterwards."""
        if barred(parsed.message, parsed.cause, proof, self._rules):
            return False
        if proof.sender not in self._rules.senders.operators:
            return True
        past = failures.past_of(self._pool, parsed.cause.queue, proof.body_digest)
        return unreplayed(parsed.message, parsed.cause, proof, self._rules, past) is None

    def _invalid(self, delivery: Delivery, flaw: Malformed) -> _End:
        """Record a malformed message; without its row it stays in the queue, so that none is lost from sight."""
        try:
            self._record(delivery, Outcome.INVALID, flaw.flaw, flaw.detail, flaw.kind, None)
        except Transient as trouble:
            return self._transient(trouble, None, flaw.kind)
        except StoreFault as error:
            return self._fault(delivery, error, None)
        return _End(Outcome.INVALID, flaw.flaw, kind=flaw.kind)

    def _fault(self, delivery: Delivery, error: Exception, cause: Cause | None) -> _End:
        # Class and place only: an exception's text may quote the message.
        self._log.error("fault", error=type(error).__name__, where=_where(error))
        kind = cause.kind if cause else None
        try:
            detail = f"{error} at {_where(error)}" if isinstance(error, StoreFault) else _where(error)
            self._record(delivery, Outcome.FAULT, type(error).__name__, detail, kind, cause)
        except Exception as second:  # noqa: BLE001 - the message is kept by its queue whether it is recorded or not
            self._log.warning("failure not recorded", error=type(second).__name__)
        return _End(Outcome.FAULT, type(error).__name__, cause=cause)

    def _record(
        self, delivery: Delivery, outcome: Outcome, reason: str, detail: str, kind: str | None, cause: Cause | None
    ) -> None:
        failures.record(
            self._pool,
            Failure(
                queue=delivery.source.queue,
                sqs_message_id=delivery.arrival.sqs_message_id,
                kind=kind,
                message_key=cause.inbox_key if cause else f"sqs:{delivery.arrival.sqs_message_id}",
                outcome=outcome,
                reason=reason,
                detail=detail,
                body_bytes=len(_bytes(delivery)),
                body_digest=_digest(delivery),
                sender=delivery.arrival.sender,
                first_sent_at=delivery.arrival.sent_at,
            ),
        )

    def _observe(self, delivery: Delivery, end: _End, seconds: float) -> None:
        kind = end.cause.kind if end.cause else end.kind or NO_KIND
        critical_s = max(0.0, (clock.now() - delivery.arrival.sent_at).total_seconds())
        ended = Ended(
            queue=delivery.source.queue,
            kind=kind,
            outcome=end.outcome,
            reason=end.reason,
            result=end.result,
            receive_count=delivery.arrival.receive_count,
            wait_s=max(0.0, critical_s - seconds),
            critical_s=critical_s,
            handling_s=seconds,
            trace_id=delivery.trace.trace_id,
        )
        count(self._metrics, ended)
        level = "info" if _SETTLEMENTS[end.outcome] is Settlement.DELETE else "warning"
        getattr(self._log, level)("message", **_wide(delivery, end, kind, seconds, critical_s))


def _bytes(delivery: Delivery) -> bytes:
    return delivery.body.encode(errors="surrogatepass")


def _digest(delivery: Delivery) -> bytes:
    return sha256(_bytes(delivery)).digest()


def _delay_max_s(end: _End) -> float:
    """Return the longest back-off: who waits for a payment is answered when its time is over, not later.

    By the database's clock, which decides: a host whose clock is ahead would use up the receives in no time.
    """
    return VISIBILITY_MAX_S if end.left is None else max(1.0, end.left.total_seconds() + 1)


def _wide(delivery: Delivery, end: _End, kind: str, seconds: float, critical_s: float) -> dict[str, Any]:
    """Return the one log event of a message: what it was, how it ended, how long it took; never its body."""
    result = end.result
    fields = {
        "message_type": kind,
        "message_key": as_id(end.cause.message_key) if end.cause else None,
        "receive_count": delivery.arrival.receive_count,
        "outcome": end.outcome,
        "reason": end.reason,
        "payment_id": end.payment_id,
        "status": result.status if result else None,
        "payment_version": result.version if result else None,
        "duration_ms": round(seconds * 1000, 1),
        "critical_ms": round(critical_s * 1000),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _where(error: BaseException) -> str:
    """Return the innermost file and line of our own that an exception came through."""
    place, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if any(f"/{room}/" in code.co_filename for room in ("contracts", "store", "handlers", "workers")):
            place = f"{code.co_filename.rsplit('/', 2)[-2]}/{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
