"""What the tests of the monitor's figures share: its user's rights, and payments at every place of their life."""

from collections.abc import Iterator

import pytest

from store.db import Pool
from store.roles import GroupRole
from tests.kit.lives import Lives, lived
from tests.kit.members import member


@pytest.fixture
def monitor(database_url: str) -> Iterator[Pool]:
    with member(database_url, GroupRole.MONITOR, size_max=1) as found:
        yield found


@pytest.fixture
def world(pool: Pool) -> Lives:
    return lived(pool)
