"""What the tests of whose word a message is begin with: a payment, and a dispatcher of its company."""

from uuid import UUID

import pytest

from contracts.payment import Role
from store.db import Pool
from tests.kit import messages as m
from tests.kit.funnel import once
from tests.kit.proofs import member


@pytest.fixture
def payment(pool: Pool) -> UUID:
    """A payment of COMPANY; DISPATCHER is a dispatcher of it."""
    made = once(pool, m.parsed(m.work()))
    assert made.payment_id
    member(pool, m.DISPATCHER, Role.DISPATCHER, company=m.COMPANY)
    return made.payment_id
