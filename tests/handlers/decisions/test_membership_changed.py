"""MembershipChanged: who may do what is told by admins, or by the one role that is configured for it, in order."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts import ids
from contracts.payment import Actor, ActorType, Membership, Role
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Enact
from tests.handlers.decisions import ground as g
from tests.kit import messages as m

SUB = UUID("88888888-8888-4888-8888-888888888888")
DIRECTORY = Actor(ids.SYSTEM_DIRECTORY, ActorType.SYSTEM)


def tell(member: Membership | None = None, *, acting: Actor | None = None, **fields: Any) -> Decision:
    base = {"actor": m.admin(), "sub": str(SUB), "role": "dispatcher", "companyId": str(m.COMPANY), "enabled": True}
    known: dict[str, Any] = {"actor": acting} if acting else {}
    return g.decided(m.command("MembershipChanged", **{**base, **fields}), member=member, **known)


def member(**fields: Any) -> Membership:
    usual: dict[str, Any] = {"role": Role.DISPATCHER, "company_id": m.COMPANY, "vendor_id": None, "enabled": True}
    return Membership(SUB, **{**usual, "as_of": g.EARLIER, **fields})


@pytest.mark.parametrize("actor", [None, DIRECTORY])
def test_an_admin_or_the_directory_tells_of_a_member(actor: Actor | None):
    decision = tell(acting=actor)
    assert isinstance(decision, Enact)
    assert decision.what == member(as_of=g.NOW)
    assert decision.subject == SUB
    assert decision.data == {
        "role": Role.DISPATCHER,
        "companyId": str(m.COMPANY),
        "vendorId": None,
        "enabled": True,
    }


def test_a_member_can_be_told_to_be_none_any_more():
    decision = tell(member(), enabled=False)
    assert isinstance(decision, Enact)
    assert isinstance(decision.what, Membership)
    assert not decision.what.enabled


def test_an_earlier_word_that_arrives_later_counts_for_nothing():
    assert isinstance(tell(member(as_of=g.NOW + timedelta(seconds=1))), Absorb)
    assert isinstance(tell(member(as_of=g.NOW)), Enact)


def test_a_word_that_was_put_back_counts_from_its_first_sending():
    body = m.command("MembershipChanged", actor=m.admin(), sub=str(SUB), role="admin", enabled=True)
    newer = member(as_of=g.NOW - timedelta(hours=1))
    assert isinstance(g.decided(body, member=newer, first_sent_at=g.NOW - timedelta(hours=2)), Absorb)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"sub": "ann"}, Refusal.NON_UUID_ID, "sub"),
        ({"role": "owner"}, Refusal.INVALID_FIELD, "role"),
        ({"companyId": "acme"}, Refusal.NON_UUID_ID, "companyId"),
        ({"companyId": ...}, Refusal.INVALID_FIELD, "companyId"),
        ({"role": "vendor"}, Refusal.INVALID_FIELD, "vendorId"),
        ({"role": "vendor", "vendorId": "acme"}, Refusal.NON_UUID_ID, "vendorId"),
        ({"actor": m.dispatcher()}, Refusal.FORBIDDEN_ROLE, None),
        ({"actor": m.dispatcher(role="vendor")}, Refusal.FORBIDDEN_ROLE, None),
        ({"actor": m.dispatcher(role=...)}, Refusal.FORBIDDEN_ROLE, None),
    ],
)
def test_what_is_no_membership_is_refused_with_its_field(fields: dict[str, Any], code: Refusal, field: str | None):
    assert g.told(tell(**fields), None) == g.Told(code, field)
