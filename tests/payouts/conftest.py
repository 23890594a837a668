"""The provider in this process, behind real HTTP, and a desk that handles messages against it."""

from collections.abc import Iterator

import pytest

from store.db import Pool
from tests.payouts.desk import Desk
from workers.sandbox.server import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """The provider: it outlives every database."""
    with Sandbox() as found:
        yield found


@pytest.fixture
def desk(pool: Pool, sandbox: Sandbox) -> Desk:
    """A fleet in one thread."""
    return Desk(pool, sandbox)
