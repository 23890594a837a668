"""The provider's addresses: what may be asked of it, and with which parameters."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from workers.sandbox import currencies, objects, refusals
from workers.sandbox.books import AccountState, Books, Draft
from workers.sandbox.forms import Form
from workers.sandbox.objects import ReversalOrder, TransferOrder, shown
from workers.sandbox.reading import expanded, listed
from workers.sandbox.refusals import Refusal
from workers.sandbox.tables import Row, Table


@dataclass(frozen=True, slots=True)
class Call:
    """A request to an address: the books, the account on whose behalf (ours is empty), the id, the parameters."""

    books: Books
    account: str
    name: str
    path: str
    form: Form


#: What is left to do of a request whose parameters are valid.
Work = Callable[[Draft], Row]


def read(method_path: str, call: Call) -> Row:
    """Return the answer to a GET; `method_path` is the pattern that `match` found.

    Raises:
        Refusal: there is no such thing, or a parameter is wrong.
    """
    answer = _READ[method_path](call)
    call.form.finish()
    return expanded(call.books, answer, call.form.expand(), many=answer.get("object") == "list")


def prepare(method_path: str, call: Call) -> Work:
    """Check the parameters of a POST and return what is left to do.

    Raises:
        Refusal: a parameter is wrong; nothing has begun.
    """
    work = _WRITE[method_path](call)
    call.form.finish()
    paths = call.form.expand()
    return lambda draft: _whole(call.books, draft, work(draft), paths)


def match(method: str, path: str) -> tuple[str, str]:
    """Return the pattern of an address, and the id in it.

    Raises:
        Refusal: there is nothing at it.
    """
    for pattern in _READ if method == "GET" else _WRITE if method == "POST" else ():
        found = re.fullmatch(pattern.replace("{id}", "([^/]+)"), path)
        if found:
            return pattern, found[1] if found.groups() else ""
    raise Refusal(404, f"Unrecognized request URL ({method}: {path}).")


def _whole(books: Books, draft: Draft, row: Row, paths: list[str]) -> Row:
    # What has just been made is not in the tables yet: it is expanded from the draft.
    fresh = {key: shown(made) for _, key, made in draft.writes if made is not None}
    answer = shown(row)
    for path in paths:
        value = answer.get(path)
        answer = {**answer, path: fresh[value]} if value in fresh else expanded(books, answer, [path])
    return answer


def _create_transfer(call: Call) -> Work:
    form = call.form
    amount, currency = form.positive("amount"), form.text("currency")
    destination = form.text("destination")
    for name, value in (("amount", amount), ("currency", currency), ("destination", destination)):
        if value is None:
            raise refusals.missing(name)
    order = TransferOrder(
        amount=amount or 0,
        currency=(currency or "").lower(),
        destination=destination or "",
        transfer_group=form.text("transfer_group"),
        description=form.text("description"),
        source_type=form.text("source_type") or "card",
        metadata=form.pairs("metadata"),
    )
    currencies.check(order.amount, order.currency)
    if call.books.account_state(order.destination) is AccountState.MISSING:
        raise refusals.no_such("destination", order.destination, param="destination", status=400)
    return lambda draft: call.books.create_transfer(draft, order)


def _create_reversal(call: Call) -> Work:
    call.books.find(Table.TRANSFERS, call.name, "transfer")
    order = ReversalOrder(
        transfer=call.name,
        amount=call.form.positive("amount"),
        description=call.form.text("description"),
        metadata=call.form.pairs("metadata"),
    )
    call.form.text("refund_application_fee")
    return lambda draft: call.books.reverse_transfer(draft, order)


def _transfer(call: Call) -> Row:
    return shown(call.books.find(Table.TRANSFERS, call.name, "transfer"))


def _transfers(call: Call) -> Row:
    filters = {name: call.form.text(name) for name in ("transfer_group", "destination")}
    indexed = ("transfer_group", "destination")
    return listed(call.books, call.form, call.path, Table.TRANSFERS, filters, indexed=indexed)


def _reversals(call: Call) -> Row:
    call.books.find(Table.TRANSFERS, call.name, "transfer")
    filters = {"transfer": call.name}
    return listed(call.books, call.form, call.path, Table.REVERSALS, filters, indexed=("transfer",))


def _balance(call: Call) -> Row:
    return call.books.balance()


def _payout(call: Call) -> Row:
    return shown(call.books.find(Table.PAYOUTS, call.name, "payout", call.account))


def _payouts(call: Call) -> Row:
    filters = {"_account": call.account, "status": call.form.text("status")}
    return listed(call.books, call.form, call.path, Table.PAYOUTS, filters, indexed=("_account",))


def _balance_transactions(call: Call) -> Row:
    filters = {name: call.form.text(name) for name in ("type", "source", "currency")}
    filters |= {"_account": call.account, "_payouts": call.form.text("payout")}
    indexed = ("_payouts", "_account")
    return listed(call.books, call.form, call.path, Table.BALANCE_TRANSACTIONS, filters, indexed=indexed)


def _balance_transaction(call: Call) -> Row:
    return shown(call.books.find(Table.BALANCE_TRANSACTIONS, call.name, "balance transaction", call.account))


def _charge(call: Call) -> Row:
    return shown(call.books.find(Table.CHARGES, call.name, "charge", call.account))


def _event(call: Call) -> Row:
    return shown(call.books.find(Table.EVENTS, call.name, "event", call.account))


def _events(call: Call) -> Row:
    filters = {"_account": call.account, "type": call.form.text("type")}
    return listed(call.books, call.form, call.path, Table.EVENTS, filters, indexed=("type", "_account"))


def _account(call: Call) -> Row:
    return _connected(call.books, call.name)


def _own_account(call: Call) -> Row:
    return _connected(call.books, call.account) if call.account else objects.platform(call.books.platform)


def _connected(books: Books, name: str) -> Row:
    state = books.account_state(name)
    if state in {AccountState.MISSING, AccountState.CLOSED}:
        raise refusals.no_access(name)
    return objects.account(name, state)


_READ: dict[str, Callable[[Call], Row]] = {
    "/v1/transfers": _transfers,
    "/v1/transfers/{id}": _transfer,
    "/v1/transfers/{id}/reversals": _reversals,
    "/v1/balance": _balance,
    "/v1/payouts": _payouts,
    "/v1/payouts/{id}": _payout,
    "/v1/balance_transactions": _balance_transactions,
    "/v1/balance_transactions/{id}": _balance_transaction,
    "/v1/charges/{id}": _charge,
    "/v1/events": _events,
    "/v1/events/{id}": _event,
    "/v1/account": _own_account,
    "/v1/accounts/{id}": _account,
}
_WRITE: dict[str, Callable[[Call], Work]] = {
    "/v1/transfers": _create_transfer,
    "/v1/transfers/{id}/reversals": _create_reversal,
}
