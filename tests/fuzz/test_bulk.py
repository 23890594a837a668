"""The bulk fuzzer reaches every sort of end, repeats itself by its seed, and finds and keeps what raises."""

import json

import pytest

from contracts.envelope import Flaw
from contracts.inbound import KINDS
from tests.fuzz import bulk
from tests.kit.people import person_of


@pytest.fixture(scope="module")
def tally(tmp_path_factory):
    return bulk.share("fixed 0", 12_000, tmp_path_factory.mktemp("findings"))


def test_nothing_undeclared_is_raised(tally):
    assert tally.findings == []
    assert tally.bodies == tally.ends.total() == 12_000


def test_every_flaw_and_every_kind_is_reached(tally):
    assert {f"malformed: {flaw}" for flaw in Flaw} - {"malformed: not_an_object"} <= set(tally.ends)
    assert {end.partition(":")[0] for end in tally.ends} == {*KINDS, "malformed"}
    reached = ("WorkCompleted: created", "ApprovePayment: approved", "CancelPayment: cancelled")
    paid = ("ProviderEvent: payout_succeeded", "ProviderEvent: ordered", "VendorAccountChanged: enacted")
    for end in (*reached, *paid):
        assert tally.ends[end], end


def test_the_same_seed_makes_the_same_bodies(tmp_path):
    first, again, other = (bulk.share(seed, 500, tmp_path).ends for seed in ("a", "a", "b"))
    assert first == again != other


def test_what_raises_is_a_finding_and_its_body_is_kept(tmp_path, monkeypatch):
    def broken(*_arguments, **_named):
        raise KeyError("secret")

    monkeypatch.setattr(bulk, "read", broken)
    found = bulk.share("a", 3, tmp_path)
    assert found.ends == {"undeclared: KeyError": 3}
    assert "secret" not in found.findings[0]
    kept = json.loads((tmp_path / found.findings[0].rpartition(" ")[2]).read_text())
    assert kept["seed"] == "a"
    assert kept["body"]


def test_a_role_that_no_token_can_hold_is_nobodys():
    actor = {"id": "55555555-5555-4555-8555-555555555555", "type": "user"}
    assert person_of({"actor": {**actor, "role": "dispatcher"}})
    assert person_of({"actor": {**actor, "role": "\ud800"}}) is None
