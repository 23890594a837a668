"""Keeps the leases of everything held, so that a message which waits or takes long is not delivered a second time."""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from workers import catalogue, clock
from workers.delivery import Delivery, InboundQueue, tens
from workers.holding import Holding
from workers.logs import logger
from workers.metrics import Metrics

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

#: How long settling a message waits for a renewal of its lease that is under way, in seconds.
RENEWAL_TURN_S = 15.0
_log = logger(__name__)


class LeaseKeeper:
    """Renews in batches of ten; notices what is lost and does not fight for it."""

    def __init__(
        self,
        client: "SQSClient",
        holding: Holding,
        metrics: Metrics,
        *,
        visibility_s: int,
        every_s: float,
        hold_max_s: float,
        give_back: Callable[[list[Delivery]], None],
    ) -> None:
        """Keep the limits.

        Args:
            client: the SQS client.
            holding: what is held.
            metrics: the process's metrics.
            visibility_s: how long a lease lasts, in seconds.
            every_s: how often leases are renewed, in seconds.
            hold_max_s: after how many seconds of handling a message is given up, and of waiting given back.
            give_back: hands back what has waited for too long; must not wait for anything.
        """
        self._client = client
        self._holding = holding
        self._metrics = metrics
        self._visibility_s = visibility_s
        self._every_s = every_s
        self._hold_max_s = hold_max_s
        self._give_back = give_back
        self._renewing: set[str] = set()
        self._renewed = threading.Condition()
        self._stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)

    def start(self) -> None:
        """Start renewing."""
        self.thread.start()

    def stop(self, timeout_s: float) -> None:
        """Stop renewing."""
        self._stopped.set()
        if self.thread.is_alive():
            self.thread.join(timeout_s)

    def wait_for(self, delivery: Delivery) -> None:
        """Wait for a renewal of this delivery that is under way: it would undo a visibility that is set next."""
        with self._renewed:
            self._renewed.wait_for(lambda: delivery.receipt_handle not in self._renewing, RENEWAL_TURN_S)

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                self._renew_all()
            except Exception as error:  # noqa: BLE001 - without a keeper every slow message would run twice
                _log.warning("lease renewal failed", error=type(error).__name__)

    def _renew_all(self) -> None:
        now = clock.monotonic()
        # A lease that is young enough for the next round is left alone: most messages are gone by then.
        young_s = self._visibility_s - self._every_s / 2
        sources: dict[InboundQueue, list[Delivery]] = {}
        tired: list[Delivery] = []
        for delivery in self._holding.deliveries():
            since = delivery.received_at if delivery.begun_at is None else delivery.begun_at
            too_long = now - since > self._hold_max_s
            if delivery.lease_until < now or (too_long and delivery.begun_at is not None):
                self._lost(delivery)  # an ended lease is not renewed: it may be somebody else's by now
            elif too_long:
                tired.append(delivery)
            elif not delivery.lease_lost and delivery.lease_until - now < young_s:
                sources.setdefault(delivery.source, []).append(delivery)
        self._give_back(tired)
        for source, deliveries in sources.items():
            for chunk in tens(deliveries):
                self._renew(source, chunk)

    def _renew(self, source: InboundQueue, chunk: Sequence[Delivery]) -> None:
        with self._renewed:
            still = [delivery for delivery in chunk if self._holding.holds(delivery)]
            self._renewing = {delivery.receipt_handle for delivery in still}
        try:
            if still:
                self._renew_now(source, still)
        finally:
            with self._renewed:
                self._renewing = set()
                self._renewed.notify_all()

    def _renew_now(self, source: InboundQueue, chunk: Sequence[Delivery]) -> None:
        asked_at = clock.monotonic()
        try:
            answer = self._client.change_message_visibility_batch(
                QueueUrl=source.url,
                Entries=[
                    {
                        "Id": str(number),
                        "ReceiptHandle": delivery.receipt_handle,
                        "VisibilityTimeout": self._visibility_s,
                    }
                    for number, delivery in enumerate(chunk)
                ],
            )
        except (BotoCoreError, ClientError) as error:
            _log.warning("lease renewal failed", queue=source.queue, error=type(error).__name__)
            return
        for entry in answer.get("Successful", []):
            chunk[int(entry["Id"])].lease_until = asked_at + self._visibility_s
        self._metrics.inc(catalogue.LEASES, "extended", by=len(answer.get("Successful", [])))
        for failed in answer.get("Failed", []):
            if failed.get("SenderFault", True):
                self._lost(chunk[int(failed["Id"])])

    def _lost(self, delivery: Delivery) -> None:
        """Notice that another worker may have the message now."""
        if self._holding.holds(delivery) and not delivery.lease_lost:
            delivery.lease_lost = True
            self._metrics.inc(catalogue.LEASES, "lost")
            _log.warning("lease lost", **delivery.facts)
