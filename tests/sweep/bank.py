"""The provider of one point: a sandbox in the sweep's own process, which goes wrong at the same orders every time."""

import json
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

from tests.kit import bus
from workers.local.sandbox import EVENT_SOURCE
from workers.sandbox.api import Answer, Request
from workers.sandbox.books import PayoutStatus
from workers.sandbox.events import Delivery, Entry
from workers.sandbox.plan import Fault
from workers.sandbox.refusals import Refusal
from workers.sandbox.server import Sandbox

TRANSFERS = "/v1/transfers"
#: Of payments in this currency the first attempt finds no funds, and of the second one's money some comes back.
SHORT = "EUR"
BACK_CENTS = 5_000
#: Of payments in this currency the first answer is lost; and no event tells of them until somebody has looked.
LOST = "GBP"
#: How long after that look an event is still kept back, in seconds: the look shall be what is recorded.
KEPT_BACK_S = 4.0
_FOR_EVER = float("inf")


class Bank:
    """The provider, its events on their way to a queue, and the settlement of one vendor's money."""

    def __init__(self, send: Callable[[list[str]], object]) -> None:
        """Start it; `send` puts bodies on the events queue."""
        self._send = send
        self._sandbox = _Troubled()
        self._delivery = Delivery(self._sandbox.books, self._publish, source=EVENT_SOURCE, retry_s=0.2)
        self._stopping = threading.Event()
        self._teller: threading.Thread | None = None
        self.url = self._sandbox.start()
        self._delivery.start()

    def stop(self) -> None:
        """Stop everything."""
        self._stopping.set()
        if self._teller:
            self._teller.join()
        self._delivery.stop()
        self._sandbox.stop()

    def settle_once(self, account: str, ready: Callable[[], bool]) -> None:
        """Pay out to a vendor's bank what the account has got, once that is recorded."""

        def settle() -> None:
            while not self._stopping.wait(0.3):
                if ready():
                    with suppress(Refusal):
                        for payout in self._sandbox.books.settle(account):
                            self._sandbox.books.finish_payout(payout["id"], PayoutStatus.PAID)
                    return

        self._teller = threading.Thread(target=settle, name="teller", daemon=True)
        self._teller.start()

    def untold(self) -> int:
        """How many events are still to be sent, and whether the settlement is."""
        return len(self._sandbox.books.undelivered()) + bool(self._teller and self._teller.is_alive())

    def _publish(self, entries: Sequence[Entry]) -> Collection[int]:
        """Put events on the queue, as the bus's rule does; refuse for now what nobody has looked for."""
        ready: dict[int, str] = {}
        for at, entry in enumerate(entries):
            told: dict[str, Any] = {"detail_type": entry["DetailType"], "source": entry["Source"]}
            detail = json.loads(entry["Detail"])
            if not self._sandbox.hides(detail["data"]["object"].get("transfer_group")):
                ready[at] = bus.delivered({**told, "id": str(uuid4()), "detail": detail})
        if ready:
            self._send(list(ready.values()))
        return set(range(len(entries))) - ready.keys()


class _Troubled(Sandbox):
    """The sandbox with faults that depend on nothing but the order: neither on time nor on other orders."""

    def __init__(self) -> None:
        super().__init__()
        self._in_turn = threading.Lock()
        self._hidden: dict[str, float] = {}  # by transfer group: until when
        self._lost: set[str] = set()

    def hides(self, group: str | None) -> bool:
        """Whether nobody has looked yet for a transfer whose answer was lost, or only just now."""
        return group is not None and time.monotonic() < self._hidden.get(group, 0.0)

    def answer(self, request: Request) -> Answer:
        """Answer, after having arranged what goes wrong."""
        if (request.method, request.path) == ("GET", TRANSFERS):
            found = super().answer(request)
            group = dict(parse_qsl(request.query)).get("transfer_group", "")
            if self._hidden.get(group) == _FOR_EVER:
                self._hidden[group] = time.monotonic() + KEPT_BACK_S
            return found
        if (request.method, request.path) != ("POST", TRANSFERS):
            return super().answer(request)
        asked = dict(parse_qsl(request.body))
        with self._in_turn:  # so that a fault strikes the request that it is for
            currency, group = asked["currency"].upper(), asked["transfer_group"]
            first = asked["metadata[attemptNo]"] == "1"
            if currency == SHORT and first:
                self.plan.force(Fault.INSUFFICIENT)
            if currency == LOST and group not in self._lost:
                self._lost.add(group)
                self._hidden[group] = _FOR_EVER
                self.plan.force(Fault.LOST_AFTER)
            answer = super().answer(request)
            if currency == SHORT and not first:
                self._return(request, group)
        return answer

    def _return(self, request: Request, group: str) -> None:
        """Let some of the money come back, once."""
        for transfer in self.books.transfers():
            if transfer["transfer_group"] == group and not transfer["amount_reversed"]:
                path, headers = f"{TRANSFERS}/{transfer['id']}/reversals", dict(request.headers)
                headers.pop("idempotency-key", None)
                super().answer(Request("POST", path, "", headers, f"amount={BACK_CENTS}"))
