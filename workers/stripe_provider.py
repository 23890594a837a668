"""Stripe behind the payout port: the SDK as it is, one request per call, and an answer for whatever happens."""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from contracts.ids import provider_key
from contracts.provider import (
    Accepted,
    Answer,
    Declined,
    LookUp,
    NotFound,
    PayoutOrder,
    PayoutSeen,
    ProviderAwayError,
    Reversal,
    TransferSeen,
    TryLater,
    Unknown,
)
from contracts.provider_money import provider_amount
from contracts.refusals import MESSAGES, Refusal
from workers import clock, stripe_errors
from workers import stripe_objects as objects
from workers.logs import logger
from workers.stripe_errors import CredentialsError, Reason, Trouble, UnreadableError
from workers.stripe_objects import Body

if TYPE_CHECKING:
    from stripe import StripeClient

#: After refused credentials the key is fetched at most this often: a wrong key must not become a storm.
REBUILD_COOLDOWN_S = 30.0
#: More than a process has threads that pay, so that each of them finds its connection open.
CONNECTIONS_KEPT = 64
LIVE_PREFIXES = ("sk_live_", "rk_live_")

_Result = TypeVar("_Result")
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a call may take, its connecting included; look-up and submission fit into a message's time together.

    Attributes:
        connect_s: for the connection alone, per address that the name resolves to.
        look_up_s: for whatever reads.
        submit_s: for making a transfer.
        probe_s: for the harmless question.
    """

    connect_s: float = 2.0
    look_up_s: float = 10.0
    submit_s: float = 20.0
    probe_s: float = 2.0

    def of(self, total_s: float) -> tuple[float, float]:
        """Return a call's time as HTTP clients want it: for connecting, and for each wait for the answer."""
        connect_s = min(self.connect_s, total_s / 2)
        return connect_s, total_s - connect_s


@dataclass(frozen=True, slots=True)
class _Clients:
    """One client for each kind of call, since the SDK ties the timeout to the client.

    Attributes:
        look_up: for whatever reads.
        submit: for making a transfer.
        probe: for the harmless question, and for whose key it is.
        verified: set once their key is known to be our platform's.
    """

    look_up: "StripeClient"
    submit: "StripeClient"
    probe: "StripeClient"
    verified: threading.Event = field(default_factory=threading.Event)


class StripeProvider:
    """Pays by Connect transfers; safe to share between threads.

    Args:
        name: what attempts record as their provider.
        key: returns the secret key as it is now.
        api_base: where the API is, if not at Stripe's own address.
        timeouts: how long calls may take.
        platform: the account that the key must belong to. Under another platform's key of the same mode nothing that
            was paid would be found, and all of it would be paid again. Without one, any key is taken for ours.

    Raises:
        ValueError: a live key would go over an unencrypted connection.
    """

    def __init__(
        self,
        *,
        name: str,
        key: Callable[[], str],
        api_base: str | None = None,
        timeouts: Timeouts | None = None,
        platform: str | None = None,
    ) -> None:
        """Fetch the key, whose own errors pass: without it nobody can say whether real money moves."""
        self._name = name
        first = key()
        self._livemode = first.startswith(LIVE_PREFIXES)
        if self._livemode and api_base is not None and not api_base.startswith("https://"):
            raise ValueError("a live key needs an https address")
        self._key = key
        self._api_base = api_base.rstrip("/") if api_base is not None else None
        self._timeouts = timeouts or Timeouts()
        self._platform = platform
        self._lock = threading.Lock()
        self._rebuilt_at = float("-inf")
        self._refusal_told = False
        self._clients: _Clients | None = self._build(first)

    @property
    def name(self) -> str:
        """The provider's name, as attempts record it."""
        return self._name

    @property
    def livemode(self) -> bool:
        """Whether real money moves, which the key says."""
        return self._livemode

    def account(self, destination: str) -> str:
        """Return the account's name; a vendor's own id stands for an account where none is registered (sandbox)."""
        try:
            return f"acct_{UUID(destination).hex}"
        except ValueError:
            return destination

    def look_up(self, order: PayoutOrder) -> LookUp:
        """Return the transfer that this payment already has, by its transfer group."""
        found = self._ask("look_up", lambda clients: self._find(clients.look_up, order))
        return _later(found) if isinstance(found, Trouble) else found

    def submit(self, order: PayoutOrder) -> Answer:
        """Make the transfer under the order's idempotency key, with one request."""
        amount = provider_amount(order.money)
        if isinstance(amount, Refusal):
            return Declined(amount.value, MESSAGES[amount])
        made = self._ask("submit", lambda clients: self._create(clients.submit, order, amount))
        return stripe_errors.submitted(made) if isinstance(made, Trouble) else made

    def read_transfer(self, transfer_id: str) -> TransferSeen | NotFound | TryLater:
        """Return a transfer as it is now."""
        found = self._ask("read_transfer", lambda clients: self._transfer(clients.look_up, transfer_id))
        return _absent_or_later(found) if isinstance(found, Trouble) else found

    def read_payout(self, payout_id: str, account: str) -> PayoutSeen | NotFound | TryLater:
        """Return a payout of a vendor's account as it is now, with the transfers that it pays out."""
        found = self._ask("read_payout", lambda clients: self._payout(clients.look_up, payout_id, account))
        return _absent_or_later(found) if isinstance(found, Trouble) else found

    def transfers(self, since: datetime) -> Iterator[TransferSeen]:
        """Yield every transfer that was made since a time, the newest first, page by page.

        Raises:
            ProviderAwayError: Stripe does not answer.
        """
        every = self._every(since)
        while True:
            body = self._ask("transfers", lambda _: next(every, None))
            if isinstance(body, Trouble):
                raise ProviderAwayError(body.reason.value)
            if body is None:
                return
            seen = self._ask("transfers", self._seen_of(body))
            if isinstance(seen, TransferSeen):
                yield seen
            elif seen.reason is not Reason.UNREADABLE or seen.away:  # one that we cannot express is none of ours
                raise ProviderAwayError(seen.reason.value)

    def probe(self) -> None:
        """Ask for the balance, with a short timeout; being asked too often is an answer.

        Raises:
            ProviderAwayError: Stripe does not answer, or refuses our credentials.
        """
        found = self._ask("probe", lambda clients: objects.body_of(clients.probe.v1.balance.retrieve(), "balance"))
        if isinstance(found, Trouble) and found.reason not in {Reason.RATE_LIMITED, Reason.LOCK_TIMEOUT}:
            raise ProviderAwayError(found.reason.value)

    def _find(self, client: "StripeClient", order: PayoutOrder) -> LookUp:
        """Return what a payment's transfer group holds, which must be what this or another attempt ordered."""
        found = list(objects.pages(lambda page: client.v1.transfers.list(_transfer_filter(order, page))))
        if not found:
            return NotFound()
        ids = [objects.text(body, "id") for body in found]
        if not all(self._is_ordered(body, order) or _of_another_attempt(body, order) for body in found):
            return self._contradiction("look_up", order, ids)
        if len(found) > 1:
            _log.error("payment transferred more than once", payment_id=str(order.payment_id), transfer_ids=ids)
        oldest = min(reversed(found), key=lambda body: objects.whole(body, "created"))
        return Accepted(objects.text(oldest, "id"), self._reversals(client, oldest))

    def _create(self, client: "StripeClient", order: PayoutOrder, amount: int) -> Answer:
        """Make the transfer, and check that it is the one that was ordered."""
        params: Any = {
            "amount": amount,
            "currency": order.money.currency.lower(),
            "destination": self.account(order.destination),
            "transfer_group": order.transfer_group,
            "metadata": {
                "paymentId": str(order.payment_id),
                "attemptNo": str(order.attempt_no),
                "idempotencyKey": order.idempotency_key,
            },
        }
        made = client.v1.transfers.create(params, {"idempotency_key": order.idempotency_key})
        body = objects.body_of(made, "transfer")
        transfer_id = objects.text(body, "id")
        if not self._is_ordered(body, order):
            return self._contradiction("submit", order, [transfer_id])
        return Accepted(transfer_id)

    def _is_ordered(self, transfer: Body, order: PayoutOrder) -> bool:
        """Whether a transfer is what an order asks for: the same money, to the same account, for the same payment."""
        return _pays(transfer, order) and objects.id_in(transfer, "destination") == self.account(order.destination)

    def _contradiction(self, call: str, order: PayoutOrder, transfer_ids: list[str]) -> Unknown:
        """Tell of transfers in a payment's group that nobody ordered; a person must look."""
        _log.error(
            "transfer contradicts its order", call=call, payment_id=str(order.payment_id), transfer_ids=transfer_ids
        )
        return Unknown(Reason.CONTRADICTION.value, stopped=True)

    def _transfer(self, client: "StripeClient", transfer_id: str) -> TransferSeen:
        """Fetch one transfer with all its reversals."""
        body = objects.body_of(client.v1.transfers.retrieve(transfer_id), "transfer")
        return objects.transfer_seen(body, self._reversals(client, body))

    def _reversals(self, client: "StripeClient", transfer: Body) -> tuple[Reversal, ...]:
        """Return a transfer's reversals; it carries the first ten itself."""
        items = objects.embedded_reversals(transfer)
        if items is None:
            transfer_id = objects.text(transfer, "id")
            items = list(objects.pages(lambda page: client.v1.transfers.reversals.list(transfer_id, _typed(page))))
        return objects.reversals_of(transfer, items)

    def _payout(self, client: "StripeClient", payout_id: str, account: str) -> PayoutSeen:
        """Fetch one payout, and from its account's books the transfers that it pays out."""
        options: Any = {"stripe_account": self.account(account)}
        payout = objects.body_of(client.v1.payouts.retrieve(payout_id, options=options), "payout")
        wanted: Body = {"payout": payout_id, "type": "payment", "expand": ["data.source"]}
        entries: Iterator[Body] = iter(())
        if payout.get("automatic") is not False:  # of a payout made by hand Stripe cannot say what it contains
            entries = objects.pages(
                lambda page: client.v1.balance_transactions.list(_typed({**wanted, **page}), options)
            )
        origins = (objects.source_transfer(entry) for entry in entries)
        transfer_ids = tuple(dict.fromkeys(origin for origin in origins if origin is not None))
        return objects.payout_seen(payout, account, transfer_ids)

    def _every(self, since: datetime) -> Iterator[Body]:
        """Yield every transfer since a time as Stripe has it; each page is asked for with the key of its time."""
        created = {"gte": int(since.timestamp())}
        return objects.pages(
            lambda page: self._current().look_up.v1.transfers.list(_typed({"created": created, **page}))
        )

    def _seen_of(self, body: Body) -> Callable[[_Clients], TransferSeen]:
        """Return the question for what a listed transfer is with us."""
        return lambda clients: objects.transfer_seen(body, self._reversals(clients.look_up, body))

    def _ask(self, call: str, question: Callable[[_Clients], _Result]) -> _Result | Trouble:
        """Return a question's result, or what is the matter: no exception leaves the adapter, nor any text of one."""
        try:
            clients = self._current()
        except Exception as error:  # noqa: BLE001 - the same as below, but nothing was asked yet
            return self._told(call, stripe_errors.unasked(error), error)
        try:
            result = question(clients)
        except Exception as error:  # noqa: BLE001 - whatever it is, the money may have moved: it has to be an answer
            return self._told(call, stripe_errors.trouble(error), error)
        self._refusal_told = False
        return result

    def _told(self, call: str, found: Trouble, error: Exception) -> Trouble:
        """Log what is the matter, once for credentials, and have the key fetched anew where it was refused."""
        tell = _log.error if stripe_errors.needs_person(found) else _log.warning
        facts = {"call": call, "reason": found.reason.value, "error": found.kind, "status": found.status}
        if isinstance(error, UnreadableError):
            facts["field"] = str(error)
        if isinstance(error, CredentialsError):
            facts["problem"] = str(error)
        if found.status == stripe_errors.UNAUTHORIZED:
            self._key_refused()
        if found.reason is not Reason.CREDENTIALS:
            tell("provider call failed", code=found.code, request_id=found.request_id, **facts)
        elif not self._refusal_told:
            self._refusal_told = True
            _log.error("provider refuses our credentials", code=found.code, request_id=found.request_id, **facts)
        return found

    def _current(self) -> _Clients:
        """Return the clients, built with a new key where the old one was refused, once they are known to be ours."""
        with self._lock:
            if self._clients is None:
                self._clients = self._build(self._fetched_key())
            clients = self._clients
        if self._platform is not None and not clients.verified.is_set():
            self._verify(clients, self._platform)
        return clients

    def _verify(self, clients: _Clients, platform: str) -> None:
        """Ask whose key it is, with the short timeout and no lock: threads do not wait for each other.

        Raises:
            CredentialsError: it is another platform's.
        """
        account = objects.body_of(clients.probe.v1.accounts.retrieve_current(), "account")
        if objects.text(account, "id") != platform:
            self._key_refused()
            raise CredentialsError("another platform")
        clients.verified.set()

    def _key_refused(self) -> None:
        """Forget the clients, since their key is no longer taken, or is not ours."""
        with self._lock:
            if clock.monotonic() - self._rebuilt_at > REBUILD_COOLDOWN_S:
                self._rebuilt_at = clock.monotonic()
                self._clients = None

    def _fetched_key(self) -> str:
        """Return the secret key as it is now.

        Raises:
            CredentialsError: it cannot be had, or belongs to the other world: test and live money never mix.
        """
        try:
            key = self._key()
        except Exception as error:  # noqa: BLE001 - the source's own errors may quote the secret
            raise CredentialsError(type(error).__name__) from None
        if key.startswith(LIVE_PREFIXES) != self._livemode:
            raise CredentialsError("another mode")
        return key

    def _build(self, key: str) -> _Clients:
        """Return clients for a key."""
        import stripe  # noqa: PLC0415 - commands that ask no provider do without it

        stripe.enable_telemetry = False
        logging.getLogger("stripe").setLevel(logging.WARNING)  # below that it writes bodies
        times = self._timeouts
        return _Clients(
            look_up=self._client(key, times.of(times.look_up_s)),
            submit=self._client(key, times.of(times.submit_s)),
            probe=self._client(key, times.of(times.probe_s)),
        )

    def _client(self, key: str, timeout: tuple[float, float]) -> "StripeClient":
        """Return a client that asks once, and follows nobody elsewhere with what it carries."""
        import requests  # noqa: PLC0415 - comes with the SDK, and as late
        import stripe  # noqa: PLC0415 - the same

        session = requests.Session()
        session.max_redirects = 0  # a request that is sent on may have been executed before the second one fails
        for scheme in ("https://", "http://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS_KEPT))
        return stripe.StripeClient(
            key,
            base_addresses={"api": self._api_base} if self._api_base is not None else None,
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=timeout, session=session),
        )


def _transfer_filter(order: PayoutOrder, page: Body) -> Any:
    """Return the parameters that list a payment's transfers."""
    return {"transfer_group": order.transfer_group, **page}


def _pays(transfer: Body, order: PayoutOrder) -> bool:
    """Whether a transfer is for an order's payment, and of its money."""
    return (
        objects.whole(transfer, "amount") == provider_amount(order.money)
        and objects.text(transfer, "currency").upper() == order.money.currency
        and transfer.get("transfer_group") == order.transfer_group
    )


def _of_another_attempt(transfer: Body, order: PayoutOrder) -> bool:
    """Whether a transfer is what another attempt of the payment ordered, perhaps to another account of the vendor."""
    key, prefix = objects.attempt_key(transfer), provider_key(order.payment_id, 0).removesuffix("0")
    return key is not None and key != order.idempotency_key and key.startswith(prefix) and _pays(transfer, order)


def _typed(params: Body) -> Any:
    """Return parameters as the SDK's typed dicts, which a merged dict cannot be proven to be."""
    return params


def _later(found: Trouble) -> TryLater:
    """Return what a failed read means: nothing was moved by it."""
    return TryLater(found.reason.value, away=found.away)


def _absent_or_later(found: Trouble) -> NotFound | TryLater:
    """Return what a failed read of one object means."""
    return NotFound() if stripe_errors.missing(found) else _later(found)
