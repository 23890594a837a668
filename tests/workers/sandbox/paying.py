"""One payment through the SDK, as the tests of this folder make them."""

import time
from collections.abc import Callable
from typing import Any

import stripe


def paid(client: stripe.StripeClient, key: str | None = None, **changed: Any) -> Any:
    """Pay 5.00 USD under a key, or what else is said."""
    params: Any = {"amount": 500, "currency": "usd", "destination": "acct_vendor", "transfer_group": "pay-1"} | changed
    params = {name: value for name, value in params.items() if value is not None}
    return client.v1.transfers.create(params, {"idempotency_key": key} if key else {})


def until(reached: Callable[[], Any], patience_s: float = 10.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + patience_s
    while not reached():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)
