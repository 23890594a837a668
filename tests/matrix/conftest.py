"""A database with the matrix's people in it, for each module of its own."""

from collections.abc import Iterator

import pytest

from store import db
from store.db import PoolOptions
from tests.kit.databases import Copies
from tests.matrix.world import World
from workers import jwks
from workers.jwks import KeySet
from workers.local import pools
from workers.local.pools import LocalPool
from workers.tokens import TokenVerifier


@pytest.fixture(scope="module")
def url(copies: Copies) -> Iterator[str]:
    """A database of this module's own."""
    with copies.one() as found:
        yield found


@pytest.fixture(scope="module")
def world(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    keys = pools.prepare(tmp_path_factory.mktemp("pool"))
    verifier = TokenVerifier(KeySet(jwks.from_file(keys)), issuer=pools.ISSUER, client_ids=frozenset({pools.CLIENT_ID}))
    with db.open_pool(url, PoolOptions(size_min=1)) as pool:
        yield World.made(pool, LocalPool(keys), verifier)
