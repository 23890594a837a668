"""Stripe's objects as the port has them: every field is checked before it is believed."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from contracts.money import Money
from contracts.provider import PayoutSeen, Reversal, Settlement, TransferSeen
from contracts.provider_money import our_amount
from workers.stripe_errors import UnreadableError, code_of

Body = dict[str, Any]
#: Fetches one page of a list for the parameters that page through it.
Fetch = Callable[[Body], object]

#: The most that Stripe gives on one page.
PAGE = 100

_SETTLEMENTS = {
    "pending": Settlement.IN_TRANSIT,
    "in_transit": Settlement.IN_TRANSIT,
    "paid": Settlement.PAID,
    "failed": Settlement.FAILED,
    "canceled": Settlement.FAILED,
}


def body_of(answer: object, kind: str) -> Body:
    """Return an answer of the SDK as a plain object of one kind.

    Raises:
        UnreadableError: it is something else.
    """
    to_dict = getattr(answer, "to_dict", None)
    body = to_dict() if callable(to_dict) else answer
    if not isinstance(body, dict) or body.get("object") != kind:
        raise UnreadableError(f"no {kind}")
    return body


def pages(fetch: Fetch) -> Iterator[Body]:
    """Yield what a list has, from its first page to its last.

    Raises:
        UnreadableError: a page is none, or the list does not go on.
    """
    params: Body = {"limit": PAGE}
    while True:
        page = body_of(fetch(params), "list")
        items = listed(page)
        yield from items
        if not page.get("has_more") or not items:
            return
        after = text(items[-1], "id")
        if after == params.get("starting_after"):
            raise UnreadableError("a list that does not go on")
        params = {"limit": PAGE, "starting_after": after}


def listed(page: Body) -> list[Body]:
    """Return a page's objects."""
    items = page.get("data")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UnreadableError("data")
    return items


def text(body: Body, field: str) -> str:
    """Return a field that must be a text with something in it."""
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise UnreadableError(field)
    return value


def whole(body: Body, field: str) -> int:
    """Return a field that must be a whole number."""
    value = body.get(field)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UnreadableError(field)
    return value


def flag(body: Body, field: str) -> bool:
    """Return a field that must be true or false."""
    value = body.get(field)
    if not isinstance(value, bool):
        raise UnreadableError(field)
    return value


def id_in(body: Body, field: str) -> str:
    """Return the id that a field holds, be it expanded or not."""
    value = body.get(field)
    return text(value if isinstance(value, dict) else body, "id" if isinstance(value, dict) else field)


def embedded_reversals(transfer: Body) -> list[Body] | None:
    """Return the reversals that a transfer carries, or None where they are not all of them."""
    inside = transfer.get("reversals")
    reversed_amount = transfer.get("amount_reversed", 0)
    if not isinstance(inside, dict):
        return [] if reversed_amount == 0 else None
    items = listed(inside)
    complete = not inside.get("has_more") and sum(whole(item, "amount") for item in items) == reversed_amount
    return items if complete else None


def reversals_of(transfer: Body, items: list[Body]) -> tuple[Reversal, ...]:
    """Return a transfer's reversals, in our minor units."""
    currency = text(transfer, "currency")
    return tuple(Reversal(text(item, "id"), _money(whole(item, "amount"), currency).amount_cents) for item in items)


def transfer_seen(transfer: Body, reversals: tuple[Reversal, ...]) -> TransferSeen:
    """Return a transfer as the port has it.

    Raises:
        UnreadableError: a field is missing, or its amount is none of ours.
    """
    return TransferSeen(
        provider_object_id=text(transfer, "id"),
        transfer_group=_optional(transfer, "transfer_group"),
        idempotency_key=attempt_key(transfer),
        money=_money(whole(transfer, "amount"), text(transfer, "currency")),
        destination=id_in(transfer, "destination"),
        reversals=reversals,
        created_at=datetime.fromtimestamp(whole(transfer, "created"), UTC),
        livemode=flag(transfer, "livemode"),
    )


def attempt_key(transfer: Body) -> str | None:
    """Return the key of the attempt that made a transfer, where its metadata says so."""
    return _optional(_metadata(transfer), "idempotencyKey")


def payout_seen(payout: Body, account: str, transfer_ids: tuple[str, ...]) -> PayoutSeen:
    """Return a payout as the port has it.

    Raises:
        UnreadableError: a field is missing, or the status is new to us.
    """
    status = text(payout, "status")
    if status not in _SETTLEMENTS:
        raise UnreadableError("status")
    settlement = _SETTLEMENTS[status]
    failure = code_of(payout.get("failure_code")) or status if settlement is Settlement.FAILED else None
    return PayoutSeen(text(payout, "id"), account, settlement, failure, transfer_ids, flag(payout, "livemode"))


def source_transfer(entry: Body) -> str | None:
    """Return the transfer that an entry of a connected account's books came from, or None."""
    source = entry.get("source")
    origin = source.get("source_transfer") if isinstance(source, dict) else None
    if isinstance(origin, dict):
        return text(origin, "id")
    return origin if isinstance(origin, str) else None


def _optional(body: Body, field: str) -> str | None:
    """Return a field that may be missing."""
    value = body.get(field)
    return value if isinstance(value, str) else None


def _metadata(body: Body) -> Body:
    """Return an object's metadata, which may be missing."""
    value = body.get("metadata")
    return value if isinstance(value, dict) else {}


def _money(amount: int, currency: str) -> Money:
    """Return Stripe's amount as ours."""
    try:
        return our_amount(amount, currency)
    except ValueError as error:
        raise UnreadableError(str(error)) from None
