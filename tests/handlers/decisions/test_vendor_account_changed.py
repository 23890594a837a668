"""VendorAccountChanged: where a vendor is paid; another account waits for its cool-down, which nothing shortens."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts import ids
from contracts.payment import Actor, ActorType, Role, VendorAccount, Waiting
from contracts.refusals import Refusal
from handlers.decision import Absorb, Decision, Enact, Rules
from tests.handlers.decisions import ground as g
from tests.kit import messages as m

ACCOUNTS = Actor(ids.SYSTEM_ACCOUNTS, ActorType.SYSTEM)
DAY, HOUR, NEVER = timedelta(days=1), timedelta(hours=1), timedelta(0)
WAITING = tuple(Waiting(ids.payment_id(f"work:{number}"), number + 2, number) for number in range(3))


def tell(
    account: VendorAccount | None = None,
    *,
    acting: Actor | None = None,
    waiting: tuple[Waiting, ...] = (),
    rules: Rules | None = None,
    **fields: Any,
) -> Decision:
    said = {"vendorId": str(m.VENDOR), "stripeAccountId": "acct_1", "payoutsEnabled": True, "actor": m.admin()}
    known: dict[str, Any] = {"actor": acting} if acting else {}
    message = m.command("VendorAccountChanged", **{**said, **fields})
    return g.decided(message, account=account, waiting=waiting, rules=rules or Rules(), **known)


def enacted(decision: Decision) -> VendorAccount:
    assert isinstance(decision, Enact)
    assert isinstance(decision.what, VendorAccount)
    return decision.what


@pytest.mark.parametrize("acting", [None, ACCOUNTS])
def test_an_admin_or_the_one_who_is_configured_for_it_tells_of_an_account(acting: Actor | None):
    decision = tell(acting=acting, requirements=["external_account"])
    assert isinstance(decision, Enact)
    assert decision.what == g.account(requirements=("external_account",), as_of=g.NOW)
    assert (decision.subject, decision.replaces) == (m.VENDOR, False)
    assert decision.actor.id == (acting.id if acting else m.ADMIN)
    assert decision.data == {
        "stripeAccountId": "acct_1",
        "before": None,
        "payoutsEnabled": True,
        "requirements": 1,
        "heldUntil": None,
    }


def test_the_first_account_has_no_cool_down_and_pays_what_has_waited_under_keys_that_count_the_refusals():
    decision = tell(waiting=WAITING)
    assert isinstance(decision, Enact)
    assert [order.wire()["commandId"] for order in decision.orders] == [
        str(ids.process_payment_key(each.payment_id, each.version, each.refusals)) for each in WAITING
    ]
    assert [order.about for order in decision.orders] == [each.payment_id for each in WAITING]


#: The account as it was, and what is said now; how long payouts wait then, and whether what waits is ordered.
CHANGES: list[tuple[str, dict[str, Any], dict[str, Any], timedelta, bool]] = [
    ("the same again", {}, {}, NEVER, True),
    ("disabled", {}, {"payoutsEnabled": False}, NEVER, False),
    ("enabled", {"payouts_enabled": False}, {}, NEVER, True),
    ("another", {}, {"stripeAccountId": "acct_2"}, DAY, False),
    ("another, disabled", {}, {"stripeAccountId": "acct_2", "payoutsEnabled": False}, DAY, False),
    ("the same during a cool-down", {"held_until": g.NOW + HOUR}, {}, HOUR, False),
    ("off and on again during a cool-down", {"held_until": g.NOW + HOUR, "payouts_enabled": False}, {}, HOUR, False),
    ("a third during a cool-down", {"held_until": g.NOW + HOUR}, {"stripeAccountId": "acct_3"}, DAY, False),
    ("during a longer one", {"held_until": g.NOW + 9 * DAY}, {"stripeAccountId": "acct_3"}, 9 * DAY, False),
    ("the same after its cool-down", {"held_until": g.NOW - HOUR}, {}, -HOUR, True),
    ("at the very end of it", {"held_until": g.NOW}, {}, NEVER, True),
    ("another after a cool-down", {"held_until": g.NOW - HOUR}, {"stripeAccountId": "acct_2"}, DAY, False),
]


@pytest.mark.parametrize(
    ("before", "said", "held", "pays"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES]
)
def test_another_account_waits_for_its_cool_down_and_nothing_shortens_it(
    before: dict[str, Any], said: dict[str, Any], held: timedelta, *, pays: bool
):
    decision = tell(g.account(**before), waiting=WAITING, **said)
    account = enacted(decision)
    assert isinstance(decision, Enact)
    assert account.held_until == (g.NOW + held if held or "held_until" in before else None)
    assert account.payable(g.NOW) is pays
    assert bool(decision.orders) is pays
    assert (decision.replaces, decision.data["before"]) == (True, "acct_1")


def test_a_shorter_setting_does_not_shorten_a_cool_down_that_is_under_way():
    rules = Rules(account_cool_down=NEVER)
    assert enacted(tell(g.account(held_until=g.NOW + HOUR), rules=rules, stripeAccountId="acct_2")).held_until == (
        g.NOW + HOUR
    )
    assert enacted(tell(g.account(), rules=rules, stripeAccountId="acct_2")).payable(g.NOW)


def test_there_and_back_again_is_two_changes():
    account = enacted(tell(g.account(), stripeAccountId="acct_2"))
    assert enacted(tell(account)).held_until == g.NOW + DAY


@pytest.mark.parametrize("said", [{}, {"stripeAccountId": "acct_thief"}, {"payoutsEnabled": False}])
def test_an_earlier_word_that_arrives_later_counts_for_nothing(said: dict[str, Any]):
    assert tell(g.account(as_of=g.NOW + timedelta(seconds=1)), waiting=WAITING, **said) == Absorb(None)
    assert isinstance(tell(g.account(as_of=g.NOW), **said), Enact)


def test_a_word_that_was_put_back_counts_from_its_first_sending():
    said: dict[str, Any] = {"vendorId": str(m.VENDOR), "stripeAccountId": "acct_1", "payoutsEnabled": True}
    body = m.command("VendorAccountChanged", actor=m.admin(), **said)
    newer = g.account(as_of=g.NOW - HOUR)
    assert g.decided(body, account=newer, first_sent_at=g.NOW - 2 * HOUR) == Absorb(None)


#: An admin whose own vendor it is, or who is the vendor.
GAINING = [
    ("acts for the vendor", Actor(m.ADMIN, ActorType.ADMIN, Role.ADMIN, None, m.VENDOR), m.VENDOR),
    ("is the vendor", Actor(m.ADMIN, ActorType.ADMIN, Role.ADMIN), m.ADMIN),
]


@pytest.mark.parametrize(("actor", "vendor"), [row[1:] for row in GAINING], ids=[row[0] for row in GAINING])
@pytest.mark.parametrize("account", [None, g.account()])
def test_who_is_paid_there_does_not_say_where(account: VendorAccount | None, actor: Actor, vendor: UUID):
    decision = tell(account, acting=actor, vendorId=str(vendor))
    assert g.told(decision, None) == g.Told(Refusal.SELF_APPROVAL, None)
    other = tell(account, acting=actor, vendorId=str(m.DRIVER))
    assert isinstance(other, Enact)


ACCOUNT_IDS = ["", "acct_", "acct_1 ", "acct_1\n", "acct-1", "ACCT_1", "ba_1", "acct_é", "acct_" + "x" * 251]


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"vendorId": "acme"}, Refusal.NON_UUID_ID, "vendorId"),
        *(({"stripeAccountId": text}, Refusal.INVALID_FIELD, "stripeAccountId") for text in ACCOUNT_IDS),
        ({"requirements": [""]}, Refusal.INVALID_FIELD, "requirements"),
        ({"requirements": ["x" * 101]}, Refusal.INVALID_FIELD, "requirements"),
        ({"requirements": ["x"] * 51}, Refusal.INVALID_FIELD, "requirements"),
        ({"actor": m.dispatcher()}, Refusal.FORBIDDEN_ROLE, None),
        ({"actor": m.dispatcher(role="vendor")}, Refusal.FORBIDDEN_ROLE, None),
        ({"actor": m.dispatcher(role=...)}, Refusal.FORBIDDEN_ROLE, None),
    ],
)
def test_what_is_no_account_or_nobodys_to_say_is_refused_with_its_field(
    fields: dict[str, Any], code: Refusal, field: str | None
):
    assert g.told(tell(waiting=WAITING, **fields), None) == g.Told(code, field)


def test_the_longest_name_and_the_most_requirements_are_taken():
    decision = tell(stripeAccountId="acct_" + "x" * 250, requirements=["x" * 100] * 50)
    assert len(enacted(decision).requirements) == 50
