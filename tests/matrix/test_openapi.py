"""Schemathesis against the committed OpenAPI document and the real read endpoint, as two identities at a time.

Every check of its own, the object-level authorisation check included: what one identity reads another one does not. A
service without its locks must fail the same run, or the run would prove nothing.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contracts import authority
from contracts.authority import MATRIX, Persona
from store import db
from store.db import PoolOptions
from tests.kit.readers import reading_pool
from tests.matrix.world import World, serving

DOCUMENT = Path(__file__).parents[2] / "contracts" / "schemas" / "openapi.json"
EXAMPLES = 12
PAIRS = [
    (Persona.DISPATCHER_OWN, Persona.DISPATCHER_OTHER),
    (Persona.VENDOR_OWN, Persona.VENDOR_OTHER),
]


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def payments(world: World) -> None:
    """Some payments of the one company; the other one has none."""
    for _ in range(3):
        world.payment()


def ran(
    folder: Path, address: str, world: World, pair: tuple[Persona, Persona], *more: str
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis as both identities, in every phase."""
    users = [
        {"name": str(who), "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {world.token(who)}"}]}
        for who in pair
    ]
    (folder / "auth.json").write_text(json.dumps({"auth": users}))
    peers = json.dumps([str(who) for who in pair])
    (folder / "schemathesis.toml").write_text(f'[auth.wfc]\npath = "{folder / "auth.json"}"\npeers = {peers}\n')
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml"), "run"]
    options = ["--url", address, "--checks", "all", "--seed", "1", "--max-examples", str(EXAMPLES), "--no-color"]
    return subprocess.run(
        [*command, str(DOCUMENT), *options, *more], cwd=folder, capture_output=True, text=True, check=False, timeout=100
    )


def test_schemathesis_finds_nothing(tmp_path_factory: pytest.TempPathFactory, url: str, world: World, payments: None):
    with reading_pool(url) as reader, serving(reader, world) as address, ThreadPoolExecutor(len(PAIRS)) as threads:
        todo = [threads.submit(ran, tmp_path_factory.mktemp("run"), address, world, pair) for pair in PAIRS]
        for done in (each.result() for each in todo):
            assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
            assert "4 selected / 4 total" in done.stdout


def test_it_would_find_a_service_that_shows_everything(
    tmp_path: Path, url: str, world: World, payments: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(authority, "MATRIX", {name: dict.fromkeys(Persona, "200") for name in MATRIX})
    with db.open_pool(url, PoolOptions(size_min=1)) as past_every_policy, serving(past_every_policy, world) as address:
        done = ran(tmp_path, address, world, PAIRS[0], "--phases", "stateful", "--max-failures", "1")
    assert done.returncode == 1
    assert "received the" in done.stdout, "the object-level authorisation check's own words"
    assert "`dispatcher_other`" in done.stdout
