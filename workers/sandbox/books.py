"""The provider's books: who was paid what, what came back, what went to a bank, and which key stood for what.

No HTTP here and no faults: what is asked is either done as a whole or refused. One thing is simpler than with the
real provider: what a failed payout carried is simply paid out again by the next one.
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from workers.sandbox import objects, refusals
from workers.sandbox.clock import Clock
from workers.sandbox.journal import Journal
from workers.sandbox.objects import FAILURES, Origin, ReversalOrder, TransferOrder, shown
from workers.sandbox.refusals import Refusal
from workers.sandbox.tables import Row, Table, Tables, Write

#: How long a key is remembered, by the provider's clock.
KEY_TTL_S = 24 * 3_600
#: The platform's own account, unless somebody says otherwise.
PLATFORM_DEFAULT = "acct_sandbox_platform"
#: What there is of every currency unless somebody says otherwise: more than anybody will pay out.
FUNDS_DEFAULT = 10**15


class AccountState(StrEnum):
    """How it is with a connected account. Any `acct_…` is `ok` until somebody says otherwise."""

    OK = "ok"
    CLOSED = "closed"
    NO_CAPABILITY = "no_capability"
    DISABLED = "disabled"
    MISSING = "missing"


class PayoutStatus(StrEnum):
    """How far a payout has come."""

    IN_TRANSIT = "in_transit"
    PAID = "paid"
    FAILED = "failed"
    CANCELED = "canceled"


#: From where a payout may go where; a bank may send money back that had arrived.
_PAYOUT_MOVES: dict[str, Collection[PayoutStatus]] = {
    PayoutStatus.IN_TRANSIT: (PayoutStatus.PAID, PayoutStatus.FAILED, PayoutStatus.CANCELED),
    PayoutStatus.PAID: (PayoutStatus.FAILED,),
}

_ACCOUNT_REFUSALS = {
    AccountState.CLOSED: ("account_invalid", "The destination account has been closed."),
    AccountState.NO_CAPABILITY: (
        "insufficient_capabilities_for_transfer",
        "Your destination account needs to have the transfers capability enabled.",
    ),
    AccountState.DISABLED: ("transfers_not_allowed", "Transfers to the destination account are not allowed."),
}


@dataclass(slots=True)
class Draft:
    """A change in the making: what it will write, and the request that it comes of."""

    origin: Origin = field(default_factory=Origin)
    writes: list[Write] = field(default_factory=list)

    def put(self, table: Table, row: Row, key: str = "") -> None:
        """Add a row, under its own id unless a key is given."""
        self.writes.append((table, key or row["id"], row))


class Books:
    """Everything that the provider knows. Safe to use from many threads.

    Args:
        journal: the file that the books survive in; without one they are kept in memory alone.
        platform: the account whose books they are, and whose every key is.

    Raises:
        JournalError: the file cannot be used.
    """

    def __init__(self, journal: Path | None = None, *, platform: str = PLATFORM_DEFAULT) -> None:
        self.platform = platform
        self.clock = Clock()
        self._journal = Journal(journal) if journal else None
        try:
            self.tables = Tables(self._journal)
        except BaseException:
            self.close()
            raise
        self.lock = self.tables.lock
        self._news = threading.Condition(self.lock)
        self.clock.set_offset((self.tables.get(Table.CLOCK, "offset") or {"seconds": 0.0})["seconds"])
        delivered = self.tables.rows(Table.DELIVERED)
        self._undelivered = {name: None for name in self.tables.rows(Table.EVENTS) if name not in delivered}

    def close(self) -> None:
        """Close the journal; the books can be opened again from it."""
        if self._journal:
            self._journal.close()

    def commit(self, draft: Draft) -> None:
        """Make a change, as a whole."""
        if not draft.writes:
            return
        with self._news:
            self.tables.commit(draft.writes)
            events = [key for table, key, _ in draft.writes if table is Table.EVENTS]
            self._undelivered.update(dict.fromkeys(events))
            if events:
                self._news.notify_all()

    # -- what the world asks for

    def create_transfer(self, draft: Draft, order: TransferOrder) -> Row:
        """Draft a transfer to a connected account; hold the lock.

        Raises:
            Refusal: the account cannot be paid, or there is no money.
        """
        self._check_payable(order.destination)
        funds = self.funds(order.currency)
        if funds < order.amount:
            raise refusals.insufficient()
        made = objects.transfer(order, self.clock.timestamp())
        entry = objects.balance_transaction(
            made, order.destination, "payment", order.amount, source=made["destination_payment"]
        )
        ours = objects.balance_transaction(made, "", "transfer", -order.amount, name=made["balance_transaction"])
        draft.put(Table.TRANSFERS, made)
        draft.put(Table.CHARGES, objects.charge(made, entry["id"]))
        draft.put(Table.BALANCE_TRANSACTIONS, ours)
        draft.put(Table.BALANCE_TRANSACTIONS, entry)
        draft.put(Table.FUNDS, {"available": funds - order.amount}, order.currency)
        self._tell(draft, "transfer.created", made)
        return made

    def reverse_transfer(self, draft: Draft, order: ReversalOrder) -> Row:
        """Draft the reversal of a transfer, or of a part of it; hold the lock.

        Raises:
            Refusal: less than that is left of it.
        """
        before = self.find(Table.TRANSFERS, order.transfer, "transfer")
        left = before["amount"] - before["amount_reversed"]
        amount = left if order.amount is None else order.amount
        if not 0 < amount <= left:
            raise Refusal(
                400,
                f"Transfer reversal amount ({amount}) is greater than the unreversed amount ({left}).",
                param="amount",
            )
        back = objects.reversal(order, amount, before, self.clock.timestamp())
        after = objects.reversed_by(before, back)
        refund = back["destination_payment_refund"]
        draft.put(Table.REVERSALS, back)
        draft.put(Table.TRANSFERS, after)
        draft.put(
            Table.BALANCE_TRANSACTIONS,
            objects.balance_transaction(back, "", "transfer_refund", amount, name=back["balance_transaction"]),
        )
        draft.put(
            Table.BALANCE_TRANSACTIONS,
            objects.balance_transaction(back, before["destination"], "payment_refund", -amount, source=refund),
        )
        draft.put(Table.FUNDS, {"available": self.funds(before["currency"]) + amount}, before["currency"])
        self._refund(draft, before["destination_payment"], amount)
        self._tell(draft, "transfer.reversed", after)
        return back

    def find(self, table: Table, name: str, noun: str, account: str | None = None) -> Row:
        """Return an object, one of this account if one is given.

        Raises:
            Refusal: there is none.
        """
        row = self.tables.get(table, name)
        if row is None or (account is not None and row.get("_account", "") != account):
            raise refusals.no_such(noun, name)
        return row

    def account_state(self, account: str) -> AccountState:
        """Return how it is with an account."""
        row = self.tables.get(Table.ACCOUNTS, account)
        if row is None:
            return AccountState.OK if account.startswith("acct_") else AccountState.MISSING
        return AccountState(row["state"])

    def funds(self, currency: str) -> int:
        """Return what there is to pay with."""
        row = self.tables.get(Table.FUNDS, currency)
        return FUNDS_DEFAULT if row is None else int(row["available"])

    def balance(self) -> Row:
        """Return the platform's balance."""
        with self.lock:
            return objects.balance({name: self.funds(name) for name in {"usd", *self.tables.rows(Table.FUNDS)}})

    def transfers(self) -> list[Row]:
        """Return every transfer as it is now, the oldest first."""
        with self.lock:
            return [shown(row) for row in self.tables.rows(Table.TRANSFERS).values()]

    # -- what people and tests arrange

    def set_balance(self, currency: str, available: int | None) -> None:
        """Say what there is to pay with; None is practically without end."""
        row = None if available is None else {"available": available}
        self.commit(Draft(writes=[(Table.FUNDS, currency.lower(), row)]))

    def set_account(self, account: str, state: AccountState) -> None:
        """Say how it is with an account."""
        self.commit(Draft(writes=[(Table.ACCOUNTS, account, {"state": AccountState(state).value})]))

    def advance(self, seconds: float) -> None:
        """Move the provider's clock on, and remember it.

        Raises:
            ValueError: it would go back.
        """
        with self.lock:
            offset = self.clock.advance(seconds)
            self.commit(Draft(writes=[(Table.CLOCK, "offset", {"seconds": offset})]))

    def settle(self, account: str) -> list[Row]:
        """Pay out everything of an account that is not paid out yet: one payout for each currency.

        Raises:
            Refusal: there is nothing.
        """
        with self.lock:
            entries: dict[str, list[Row]] = {}
            for row in self.tables.matching(Table.BALANCE_TRANSACTIONS, ("_account", account)):
                if row["_open"]:
                    entries.setdefault(row["currency"], []).append(row)
            draft = Draft()
            made = [
                self._pay_out(draft, account, currency, rows)
                for currency, rows in entries.items()
                if sum(row["net"] for row in rows) > 0
            ]
            if not made:
                raise refusals.insufficient()
            self.commit(draft)
            return [shown(row) for row in made]

    def finish_payout(self, payout: str, status: PayoutStatus, failure_code: str | None = None) -> Row:
        """Let a payout arrive or fail; one that has arrived can still fail.

        Raises:
            Refusal: there is no such payout, or it cannot go there any more.
        """
        with self.lock:
            before = self.find(Table.PAYOUTS, payout, "payout")
            if status not in _PAYOUT_MOVES.get(before["status"], ()):
                raise Refusal(400, f"A payout that is {before['status']} cannot become {status}.", param="status")
            draft = Draft()
            after = {**before, "status": str(status)}
            if status is not PayoutStatus.PAID:
                after |= self._return(draft, before, status, failure_code)
            draft.put(Table.PAYOUTS, after)
            self._tell(draft, f"payout.{status}", after)
            self.commit(draft)
            return shown(after)

    # -- keys

    def key(self, key: str) -> Row | None:
        """Return what a key stands for: path, fingerprint, status, body, created."""
        return self.tables.get(Table.KEYS, key)

    def prune(self) -> int:
        """Forget the keys that are a day old; return how many."""
        with self.lock:
            oldest = self.clock.timestamp() - KEY_TTL_S
            old: list[Write] = []
            for key, row in self.tables.rows(Table.KEYS).items():  # in the order of their age
                if row["created"] > oldest:
                    break
                old.append((Table.KEYS, key, None))
            self.commit(Draft(writes=old))
            return len(old)

    # -- events

    def undelivered(self) -> list[str]:
        """Return the ids of the events that are not delivered yet, the oldest first."""
        with self.lock:
            return list(self._undelivered)

    def event(self, name: str) -> Row:
        """Return an event as it is told.

        Raises:
            Refusal: there is none of that name.
        """
        return shown(self.find(Table.EVENTS, name, "event"))

    def mark_delivered(self, names: Collection[str]) -> None:
        """Remember that these events were delivered."""
        with self.lock:
            fresh = [name for name in dict.fromkeys(names) if name in self._undelivered]
            self.commit(Draft(writes=[(Table.DELIVERED, name, {}) for name in fresh]))
            for name in fresh:
                del self._undelivered[name]

    def wait_for_events(self, timeout_s: float) -> bool:
        """Wait until there is an event to deliver; return whether there is."""
        with self._news:
            return self._news.wait_for(lambda: bool(self._undelivered), timeout_s)

    def _check_payable(self, account: str) -> None:
        state = self.account_state(account)
        if state in _ACCOUNT_REFUSALS:
            code, message = _ACCOUNT_REFUSALS[state]
            raise Refusal(400, message, code=code, param="destination")

    def _tell(self, draft: Draft, kind: str, row: Row) -> None:
        draft.put(Table.EVENTS, objects.event(kind, row, self.clock.timestamp(), draft.origin))

    def _refund(self, draft: Draft, charge: str, amount: int) -> None:
        before = self.find(Table.CHARGES, charge, "charge")
        refunded = before["amount_refunded"] + amount
        draft.put(Table.CHARGES, {**before, "amount_refunded": refunded, "refunded": refunded == before["amount"]})

    def _pay_out(self, draft: Draft, account: str, currency: str, entries: Sequence[Row]) -> Row:
        amount = sum(row["net"] for row in entries)
        made = objects.payout(account, currency, amount, self.clock.timestamp())
        own = objects.balance_transaction(made, account, "payout", -amount, name=made["balance_transaction"])
        for row in entries:
            draft.put(Table.BALANCE_TRANSACTIONS, {**row, "_payouts": [*row["_payouts"], made["id"]], "_open": False})
        draft.put(Table.BALANCE_TRANSACTIONS, {**own, "_payouts": [made["id"]]})
        draft.put(Table.PAYOUTS, made)
        self._tell(draft, "payout.created", made)
        return made

    def _return(self, draft: Draft, payout: Row, status: PayoutStatus, failure_code: str | None) -> Row:
        """Draft that a payout's money is back, and return what that changes of the payout."""
        for row in self.tables.matching(Table.BALANCE_TRANSACTIONS, ("_payouts", payout["id"])):
            if row["type"] != "payout":
                draft.put(Table.BALANCE_TRANSACTIONS, {**row, "_open": True})
        back = objects.balance_transaction(
            {**payout, "created": self.clock.timestamp()},
            payout["_account"],
            f"payout_{_ENDINGS[status]}",
            payout["amount"],
        )
        draft.put(Table.BALANCE_TRANSACTIONS, back)
        changed: Row = {"failure_balance_transaction": back["id"]}
        if status is PayoutStatus.FAILED:
            code = failure_code or "could_not_process"
            changed |= {"failure_code": code, "failure_message": FAILURES.get(code, "The payout failed.")}
        return changed


#: What the entry is called that brings a payout's money back.
_ENDINGS = {PayoutStatus.FAILED: "failure", PayoutStatus.CANCELED: "cancel"}
