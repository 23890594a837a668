"""The relay's sweeper: orders what is due and has no message under way, so that no payout sticks.

It changes nothing itself. An order has a derived key, so that one that was posted before, by another relay or in
another life of the database, is a duplicate; what is lost on its way is posted again.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from contracts import ids
from contracts.outbound import OwnOrder, ProcessPaymentOrder, ReconcileAttemptOrder
from contracts.payment import Waiting
from store import inbox, sweep
from store.db import Pool, StoreFault, Transient
from store.sweep import Due, Patience, Requested
from workers import catalogue
from workers.clock import jittered
from workers.logs import logger
from workers.metrics import Metrics
from workers.relay import Sender, as_row, chunks

#: By which share the interval is made longer or shorter, so that relays do not march in step.
INTERVAL_JITTER = 0.2
#: How long it is remembered that an order was posted: longer than anything waits for its next one.
KEPT = timedelta(days=7)
#: How long a stop waits for the round that is under way, in seconds.
STOP_S = 15.0
#: How many keys of one order are looked through for one that is not used up.
KEYS_MAX = 100
_Due = TypeVar("_Due", Due, Waiting)
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """How often and how much.

    Attributes:
        patience: what counts as due.
        every_s: from the end of one round to the beginning of the next, in seconds, give or take a fifth.
        batch: the most orders of each kind that one claim takes.
    """

    patience: Patience
    every_s: float = 30
    batch: int = 500


class Sweeper:
    """Sweeps at intervals until the stop event; `run_once` is one round."""

    def __init__(
        self, pool: Pool, send: Sender, options: SweepOptions, metrics: Metrics, stop: threading.Event
    ) -> None:
        """Keep the parts.

        Args:
            pool: as a member of payments_relay.
            send: takes up to ten orders to our own payouts queue.
            options: how often and how much.
            metrics: the process's metrics.
            stop: ends it.
        """
        self._pool = pool
        self._send = send
        self._options = options
        self._metrics = metrics
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    @property
    def thread(self) -> threading.Thread:
        """The thread, for whoever watches over threads."""
        return self._thread

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self) -> None:
        """Wait, after the stop event, for the round that is under way."""
        self._thread.join(STOP_S)

    def run_once(self) -> int:
        """Post what is due; return how many orders were taken by the queue.

        Raises:
            Transient: the database could not answer now.
            StoreFault: the database refused a statement of ours.
        """
        posted = 0
        while not self._stop.is_set():
            patience, batch = self._options.patience, self._options.batch
            attempts = sweep.due_attempts(self._pool, patience, batch)
            payments = sweep.due_payments(self._pool, patience, batch)
            taken = self._post([*self._fresh(attempts, _reconcile), *self._fresh(payments, _process)])
            posted += len(taken)
            if max(len(attempts), len(payments)) < batch or not taken:
                break
        posted += self._post_requested()
        sweep.forget(self._pool, KEPT)
        return posted

    def _fresh(self, due: Sequence[_Due], order: Callable[[_Due, int], OwnOrder]) -> list[OwnOrder]:
        """Return an order for each under the first of its keys that nothing was handled under yet.

        A message from before a restore may have used one up without doing anything, and so may a refusal.
        """
        orders = [order(one, 0) for one in due]
        for used in range(1, KEYS_MAX):
            known = inbox.known(self._pool, orders[0].kind, [one.inbox_key for one in orders]) if orders else set()
            stale = [position for position, one in enumerate(orders) if one.inbox_key in known]
            if not stale:
                break
            for position in stale:
                orders[position] = order(due[position], used)
        return orders

    def _post_requested(self) -> int:
        """Order the looks that operators asked for."""
        asked = sweep.requested(self._pool, self._options.batch)
        taken = self._post([_look(request) for request in asked])
        sweep.mark_posted(self._pool, [asked[number].request_id for number in taken])
        return len(taken)

    def _post(self, orders: Sequence[OwnOrder]) -> list[int]:
        """Send orders, return the positions of those that were taken; the next round claims the others again."""
        taken: list[int] = []
        left: list[UUID] = []
        rows = [as_row(number, order) for number, order in enumerate(orders)]
        for chunk in chunks(rows):
            sent = self._send(chunk)
            taken += sent.receipts
            for row in chunk:
                result = "sent" if row.outbox_id in sent.receipts else "failed"
                self._metrics.inc(catalogue.SWEPT, row.detail_type, result)
            left += [row.aggregate_id for row in chunk if row.outbox_id not in sent.receipts]
        if left:
            sweep.put_back(self._pool, left)
        if orders:
            _log.info("swept", orders=len(orders), taken=len(taken))
        return taken

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.run_once()
            except (Transient, StoreFault) as trouble:
                _log.warning("sweep postponed", error=str(trouble))
            except Exception as trouble:  # noqa: BLE001 - a sweeper that dies leaves what is stuck where it is
                _log.error("sweep failed", error=type(trouble).__name__)
            self._stop.wait(jittered(self._options.every_s, INTERVAL_JITTER))


def _reconcile(due: Due, used: int) -> ReconcileAttemptOrder:
    return ReconcileAttemptOrder(
        command_id=ids.reconcile_attempt_key(due.attempt_id, due.checks, used),
        correlation_id=str(due.attempt_id),
        attempt_id=due.attempt_id,
        check=due.checks,
    )


def _look(asked: Requested) -> ReconcileAttemptOrder:
    return ReconcileAttemptOrder(
        command_id=ids.reconcile_request_key(asked.attempt_id, asked.request_id),
        correlation_id=str(asked.attempt_id),
        attempt_id=asked.attempt_id,
        check=0,
    )


def _process(payment: Waiting, used: int) -> ProcessPaymentOrder:
    return ProcessPaymentOrder(
        command_id=ids.process_payment_key(payment.payment_id, payment.version, payment.refusals + used),
        correlation_id=str(payment.payment_id),
        payment_id=payment.payment_id,
    )
