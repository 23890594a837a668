"""The provider's objects, in Stripe's shape. A name with an underscore is the provider's own and is never shown."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.sandbox.tables import Row

#: The version of the API whose shapes these are.
API_VERSION = "2026-10-28.endive"
#: How many reversals a transfer carries with it; the others have a list of their own.
EMBEDDED_MAX = 10
#: How long a payout takes to the bank.
ARRIVAL_S = 2 * 24 * 3_600

FAILURES = {
    "account_closed": "The bank account has been closed.",
    "account_frozen": "The bank account has been frozen.",
    "could_not_process": "The bank could not process this payout.",
    "debit_not_authorized": "Debit transactions are not approved on your bank account.",
    "incorrect_account_holder_name": "Your bank notified us that the bank account holder name on file is incorrect.",
    "invalid_account_number": "The routing number seems correct, but the account number is invalid.",
    "invalid_currency": "The bank was unable to process this payout because of its currency.",
    "no_account": "The bank account details on file are probably incorrect. No bank account could be located.",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """The request that something came of."""

    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class TransferOrder:
    """A valid request for a transfer."""

    amount: int
    currency: str
    destination: str
    transfer_group: str | None = None
    description: str | None = None
    source_type: str = "card"
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReversalOrder:
    """A valid request to take a transfer back; without an amount, all that is left of it."""

    transfer: str
    amount: int | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def new_id(prefix: str) -> str:
    """Return a fresh id."""
    return f"{prefix}_{secrets.token_hex(12)}"


def shown(row: Row) -> Row:
    """Return an object as the world may see it."""
    return {name: value for name, value in row.items() if not name.startswith("_")}


def page(data: list[Row], url: str, *, more: bool = False) -> Row:
    """Return a list object."""
    return {"object": "list", "data": data, "has_more": more, "url": url}


def transfer(order: TransferOrder, created: int) -> Row:
    """Return a new transfer."""
    name = new_id("tr")
    return {
        "id": name,
        "object": "transfer",
        "amount": order.amount,
        "amount_reversed": 0,
        "balance_transaction": new_id("txn"),
        "created": created,
        "currency": order.currency,
        "description": order.description,
        "destination": order.destination,
        "destination_payment": new_id("py"),
        "livemode": False,
        "metadata": dict(order.metadata),
        "reversals": {**page([], f"/v1/transfers/{name}/reversals"), "total_count": 0},
        "reversed": False,
        "source_transaction": None,
        "source_type": order.source_type,
        "transfer_group": order.transfer_group,
    }


def reversal(order: ReversalOrder, amount: int, of: Row, created: int) -> Row:
    """Return a new reversal of a transfer."""
    return {
        "id": new_id("trr"),
        "object": "transfer_reversal",
        "amount": amount,
        "balance_transaction": new_id("txn"),
        "created": created,
        "currency": of["currency"],
        "destination_payment_refund": new_id("pyr"),
        "metadata": dict(order.metadata),
        "source_refund": None,
        "transfer": of["id"],
    }


def reversed_by(before: Row, back: Row) -> Row:
    """Return a transfer after a reversal."""
    amount = before["amount_reversed"] + back["amount"]
    embedded = before["reversals"]
    total = embedded["total_count"] + 1
    return {
        **before,
        "amount_reversed": amount,
        "reversed": amount == before["amount"],
        "reversals": {
            **embedded,
            "data": [back, *embedded["data"]][:EMBEDDED_MAX],
            "has_more": total > EMBEDDED_MAX,
            "total_count": total,
        },
    }


def charge(of: Row, entry: str) -> Row:
    """Return what the destination sees of a transfer: a payment (`py_`)."""
    return {
        "id": of["destination_payment"],
        "object": "charge",
        "amount": of["amount"],
        "amount_captured": of["amount"],
        "amount_refunded": 0,
        "balance_transaction": entry,
        "captured": True,
        "created": of["created"],
        "currency": of["currency"],
        "description": None,
        "livemode": False,
        "metadata": {},
        "paid": True,
        "refunded": False,
        "source_transfer": of["id"],
        "status": "succeeded",
        "transfer_group": of["transfer_group"],
        "_account": of["destination"],
    }


def balance_transaction(of: Row, account: str, kind: str, amount: int, *, name: str = "", source: str = "") -> Row:
    """Return an entry of an account's balance; the platform's own account has the empty name."""
    return {
        "id": name or new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": of["created"],
        "created": of["created"],
        "currency": of["currency"],
        "description": None,
        "exchange_rate": None,
        "fee": 0,
        "fee_details": [],
        "net": amount,
        "reporting_category": kind,
        "source": source or of["id"],
        "status": "available",
        "type": kind,
        "_account": account,
        "_payouts": [],
        "_open": kind in {"payment", "payment_refund"},
    }


def payout(account: str, currency: str, amount: int, created: int) -> Row:
    """Return a new payout of a connected account, on its way to the bank."""
    return {
        "id": new_id("po"),
        "object": "payout",
        "amount": amount,
        "arrival_date": created + ARRIVAL_S,
        "automatic": True,
        "balance_transaction": new_id("txn"),
        "created": created,
        "currency": currency,
        "description": "STRIPE PAYOUT",
        "destination": f"ba_{account.removeprefix('acct_')}",
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": False,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "reconciliation_status": "completed",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": "in_transit",
        "type": "bank_account",
        "_account": account,
    }


def event(kind: str, of: Row, created: int, origin: Origin) -> Row:
    """Return the event that tells what happened to an object, as it is now."""
    account = of.get("_account", "")
    return {
        "id": new_id("evt"),
        "object": "event",
        **({"account": account} if account else {}),
        "api_version": API_VERSION,
        "created": created,
        "data": {"object": shown(of)},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": origin.request_id, "idempotency_key": origin.idempotency_key},
        "type": kind,
        "_account": account,
    }


def account(name: str, state: str) -> Row:
    """Return a connected account in a state."""
    able = state == "ok"
    return {
        "id": name,
        "object": "account",
        "capabilities": {"transfers": "inactive" if state == "no_capability" else "active"},
        "charges_enabled": able,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "metadata": {},
        "payouts_enabled": able,
        "requirements": {"currently_due": [], "disabled_reason": None if able else "rejected.other"},
        "settings": {"payouts": {"schedule": {"delay_days": 2, "interval": "daily"}}},
        "type": "express",
    }


def platform(name: str) -> Row:
    """Return the platform's own account."""
    return {**account(name, "ok"), "type": "standard"}


def balance(available: Mapping[str, int]) -> Row:
    """Return the platform's balance."""
    amounts: list[dict[str, Any]] = [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in sorted(available.items())
    ]
    pending = [{"amount": 0, "currency": currency, "source_types": {"card": 0}} for currency in sorted(available)]
    return {"object": "balance", "available": amounts, "livemode": False, "pending": pending}
