"""The books of a running provider, read and arranged over HTTP: every transfer, every event, and what goes wrong."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

KEY = "sk_test_sandbox"
_PAGE = 100
_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Transfer:
    """One movement of money.

    Attributes:
        id: the provider's name of it.
        key: the idempotency key that it was ordered with.
        group: the payment that it is for.
        destination: the account that it went to.
        amount: in the provider's minor units.
        currency: in upper case.
        reversed: how much of it came back.
    """

    id: str
    key: str
    group: str
    destination: str
    amount: int
    currency: str
    reversed: int


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that the provider has told.

    Attributes:
        id: the provider's name of it.
        type: such as `transfer.created`.
        object: the name of what it is about.
    """

    id: str
    type: str
    object: str


def transfers(url: str) -> list[Transfer]:
    """Return every transfer of the provider at a URL, the oldest first."""
    found = [
        Transfer(
            id=body["id"],
            key=body["metadata"].get("idempotencyKey", ""),
            group=body["transfer_group"] or "",
            destination=body["destination"],
            amount=body["amount"],
            currency=body["currency"].upper(),
            reversed=body["amount_reversed"],
        )
        for body in _pages(url, "/v1/transfers")
    ]
    return found[::-1]


def events(url: str, *accounts: str) -> list[Event]:
    """Return every event of the platform and of some connected accounts, each the oldest first."""
    found: list[Event] = []
    for account in ("", *accounts):
        told = [
            Event(body["id"], body["type"], body["data"]["object"]["id"]) for body in _pages(url, "/v1/events", account)
        ]
        found += told[::-1]
    return found


def arrange(url: str, method: str, path: str, **wanted: Any) -> dict[str, Any]:
    """Arrange something below `/_control/`; return what the provider says to it."""
    answer = httpx.request(method, f"{url}/_control/{path}", json=wanted or None, timeout=_ANSWER_S, trust_env=False)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def settle(url: str, account: str, *, status: str) -> None:
    """Pay out to a bank what an account has, and let that arrive (`paid`) or fail (`failed`)."""
    for payout in arrange(url, "POST", "payouts", account=account)["data"]:
        arrange(url, "POST", f"payouts/{payout['id']}", status=status)


def reverse(url: str, transfer: str, amount: int) -> None:
    """Take a part of a transfer back, as a person does at the provider."""
    with _client(url) as client:
        client.post(f"/v1/transfers/{transfer}/reversals", data={"amount": str(amount)}).raise_for_status()


def _pages(url: str, path: str, account: str = "") -> Iterator[dict[str, Any]]:
    params: dict[str, str | int] = {"limit": _PAGE}
    with _client(url) as client:
        while True:
            answer = client.get(path, params=params, headers={"Stripe-Account": account} if account else {})
            answer.raise_for_status()
            page = answer.json()
            yield from page["data"]
            if not page["has_more"]:
                return
            params["starting_after"] = page["data"][-1]["id"]


def _client(url: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.Client(base_url=url, headers=headers, timeout=_ANSWER_S, trust_env=False)
