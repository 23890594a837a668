"""The provider in this process, and the unmodified SDK in front of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from tests.workers.sandbox.paying import paid
from workers.sandbox.books import Books
from workers.sandbox.server import Sandbox

Pay = Callable[..., Any]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A provider with empty books and nothing wrong with it."""
    with Sandbox() as running:
        yield running


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where books can survive."""
    return tmp_path / "books.jsonl"


@pytest.fixture
def opened(journal: Path) -> Iterator[Callable[[], Books]]:
    """Opens the books of the journal; what had them before lets go of them, as if its process had ended."""
    last: list[Books] = []

    def open_again() -> Books:
        if last:
            last.pop().close()
        last.append(Books(journal))
        return last[-1]

    yield open_again
    for books in last:
        books.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., stripe.StripeClient]]:
    """Makes clients of a provider; their connections are closed at the end."""
    sessions: list[requests.Session] = []

    def made(url: str, *, key: str = "sk_test_1", timeout_s: float = 5.0, retries: int = 0) -> stripe.StripeClient:
        sessions.append(requests.Session())
        http = stripe.RequestsClient(timeout=timeout_s, session=sessions[-1])
        addresses: Any = {"api": url}
        return stripe.StripeClient(key, base_addresses=addresses, max_network_retries=retries, http_client=http)

    yield made
    for session in sessions:
        session.close()


@pytest.fixture
def client(sandbox: Sandbox, connect: Callable[..., stripe.StripeClient]) -> stripe.StripeClient:
    """The SDK, in front of the provider."""
    return connect(sandbox.url)


@pytest.fixture
def pay(client: stripe.StripeClient) -> Pay:
    """Pays 5.00 USD under a key, or what else is said."""
    return lambda key=None, **changed: paid(client, key, **changed)
