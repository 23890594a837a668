"""Who and what there is when the corpus is sent, and how its commands are made."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from contracts.ids import process_payment_key
from tests.forged.forging import Mint, changed

AMOUNT, OTHER_AMOUNT = 15_000, 17_500
_NO_REASON = {"ApprovePayment", "ProcessPayment"}


def identity(name: str) -> str:
    """The id of whoever or whatever bears a name here."""
    return str(uuid5(NAMESPACE_URL, f"forged:{name}"))


def fresh() -> str:
    return str(uuid4())


def later(**delay: float) -> datetime:
    return datetime.now(UTC) + timedelta(**delay)


@dataclass(frozen=True, slots=True)
class Member:
    """What a person is enrolled as."""

    role: str
    company: str | None = None
    vendor: str | None = None


MEMBERS = {
    "dispatcher": Member("dispatcher", "ours"),
    "colleague": Member("dispatcher", "ours"),
    "outsider": Member("dispatcher", "theirs"),
    "insider": Member("dispatcher", "ours", "vendor"),  # dispatches, and acts for the vendor who is paid
    "suspended": Member("dispatcher", "ours"),
    "admin": Member("admin"),
    "dismissed": Member("admin"),
    "vendor user": Member("vendor", None, "vendor"),
    "vendor's admin": Member("admin", None, "vendor"),  # an admin who acts for the vendor who is paid
    "first": Member("dispatcher", "pair"),
    "second": Member("dispatcher", "pair"),
}
#: Who was a member once.
DISABLED = ("suspended", "dismissed")
#: Finished work by the name of its payment: whose company's it is, and what it costs. Two of the company `pair` must
#: approve, and somebody else must release.
WORKS = {
    "open": ("ours", AMOUNT),
    "other": ("ours", OTHER_AMOUNT),
    "paid": ("ours", AMOUNT),
    "half": ("pair", AMOUNT),
    "due": ("pair", AMOUNT),
    "held": ("ours", AMOUNT),
    "plain": ("ours", AMOUNT),
    "early": ("ours", AMOUNT),
    "late": ("ours", AMOUNT),
    "modest": ("ours", AMOUNT),
    "contested": ("ours", AMOUNT),
    "scattered": ("ours", AMOUNT),
    "squatted": ("ours", AMOUNT),
}


@dataclass
class World:
    """What a case may need to make its body.

    Attributes:
        mint: makes tokens.
        payments: the id of each payment, by name.
        bodies: what has been sent before and may be sent again, by name.
    """

    mint: Mint
    payments: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, str] = field(default_factory=dict)

    def token(self, person: str, groups: Sequence[str] | None = None, at: datetime | None = None) -> str:
        """A person's token as the pool makes it, by default in the group of their role."""
        return self.mint.good(identity(person), list(_groups(person) if groups is None else groups), at)

    def claims(self, person: str = "dispatcher", **changes: Any) -> dict[str, Any]:
        return self.mint.claims(identity(person), _groups(person), **changes)

    def signed(self, **changes: Any) -> str:
        """The dispatcher's token with changed claims, in the pool's own hand."""
        return self.mint.signed(self.mint.header(), self.claims(**changes))

    def headed(self, **changes: Any) -> str:
        """The dispatcher's token with a changed header, in the pool's own hand."""
        return self.mint.signed(self.mint.header(**changes), self.claims())

    def lasting(self, issued_s: int, expires_s: int) -> str:
        """The dispatcher's token from and until so many seconds from now."""
        now = int(datetime.now(UTC).timestamp())
        return self.signed(iat=now + issued_s, exp=now + expires_s)


def _groups(person: str) -> list[str]:
    return [MEMBERS[person].role] if person in MEMBERS else []


#: Makes a body, or a value in it: what can be called is called when it is sent.
Make = Callable[[World], Any]


def made(world: World, base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A command with changes; `...` removes a field."""
    body = {name: value(world) if callable(value) else value for name, value in changed(base, changes).items()}
    body = changed(body, {})
    if isinstance(body.get("actorToken"), str):
        world.mint.keep(body["actorToken"])
    return body


def body_of(found: Any) -> str:
    """What is sent: JSON, where it is not a text already."""
    return found if isinstance(found, str) else json.dumps(found)


def actor(person: str, **changes: Any) -> dict[str, Any]:
    """What a person says of themselves, by default what is true."""
    member = MEMBERS.get(person, Member("dispatcher", "ours"))
    usual = {
        "id": identity(person),
        "type": "admin" if member.role == "admin" else "user",
        "role": member.role,
        "companyId": identity(member.company) if member.company else ...,
    }
    return changed(usual, changes)


def own_token(person: str, *groups: str) -> Make:
    """The person's good token, in groups of its own where some are named."""
    return lambda world: world.token(person, groups or None)


def command(kind: str, person: str, **changes: Any) -> Make:
    """A command of a person, with their good token."""

    def make(world: World) -> dict[str, Any]:
        base = {
            "type": kind,
            "commandId": fresh(),
            "schemaVersion": "1.0",
            "issuedAt": datetime.now(UTC).isoformat(),
            "actor": actor(person),
            "actorToken": own_token(person),
        }
        return made(world, base, changes)

    return make


def about(payment: str, kind: str, person: str, **changes: Any) -> Make:
    """A command about a payment, by somebody who has looked at it."""
    seen = {
        "paymentId": lambda world: world.payments[payment],
        "amountCents": WORKS.get(payment, ("", AMOUNT))[1],
        "currency": "USD",
        "reason": ... if kind in _NO_REASON else "so it is",
    }
    return command(kind, person, **{**seen, **changes})


def approval(person: str, payment: str = "open", **changes: Any) -> Make:
    return about(payment, "ApprovePayment", person, **changes)


def order(payment: str, **changes: Any) -> Make:
    """The service's own order to pay out, as anybody could write it."""
    usual = {"actor": PAYOUTS, "actorToken": ..., "paymentId": lambda world: world.payments[payment]}
    return command("ProcessPayment", "nobody", **{**usual, **changes})


def release_as_if_ours(payment: str, person: str) -> Make:
    """A release under the id that the service's own order will have, which anybody can derive."""

    def own_id(world: World) -> str:
        return str(process_payment_key(UUID(world.payments[payment]), version=2, refusals=0))

    return about(payment, "ProcessPayment", person, commandId=own_id)


def payout(**changes: Any) -> Make:
    """The service's own order to put an attempt to the provider."""
    usual = {"actor": PAYOUTS, "actorToken": ..., "attemptId": fresh()}
    return command("ExecutePayout", "nobody", **{**usual, **changes})


def enrolment(name: str, *, enabled: bool = True, **changes: Any) -> Make:
    """What the directory says about a person, with nobody's token."""
    member = MEMBERS[name]
    usual = {
        "actor": {"id": identity("directory"), "type": "system"},
        "actorToken": ...,
        "sub": identity(name),
        "role": member.role,
        "companyId": identity(member.company) if member.company else ...,
        "vendorId": identity(member.vendor) if member.vendor else ...,
        "enabled": enabled,
    }
    return command("MembershipChanged", "nobody", **{**usual, **changes})


def promotion(person: str, **changes: Any) -> Make:
    """Somebody makes somebody an admin, by default themselves."""
    return command(
        "MembershipChanged", person, **{"sub": identity(person), "role": "admin", "enabled": True, **changes}
    )


def account(person: str, **changes: Any) -> Make:
    """Somebody says where the vendor is paid from now on."""
    said = {"vendorId": identity("vendor"), "stripeAccountId": "acct_thief", "payoutsEnabled": True}
    return command("VendorAccountChanged", person, **{**said, **changes})


def look(**changes: Any) -> Make:
    """The service's own order to look an attempt up."""
    return payout(type="ReconcileAttempt", **changes)


def provider_event(source: str, **changes: Any) -> Make:
    """An event as if it were the provider's, from a source."""

    def make(_world: World) -> dict[str, Any]:
        event = {
            "id": f"evt_{fresh()}",
            "object": "event",
            "type": "transfer.created",
            "livemode": False,
            "data": {"object": {"id": "tr_1", "object": "transfer"}},
        }
        outer = {"version": "0", "id": fresh(), "detail-type": "transfer.created", "source": source, "detail": event}
        return changed(outer, changes)

    return make


def policy(person: str, **changes: Any) -> Make:
    """Two approvers, and a releaser besides, for the company `pair`."""
    asked = {
        "companyId": identity("pair"),
        "tiers": [{"currency": "USD", "approvers": 2}],
        "separateReleaser": True,
    }
    return command("SetApprovalPolicy", person, **{**asked, **changes})


def creation(person: str, **changes: Any) -> Make:
    """A payment by hand."""
    wanted = {
        "incidentId": fresh(),
        "vendorId": identity("vendor"),
        "companyId": identity("ours"),
        "payerType": "back_office",
        "amountCents": AMOUNT,
        "lineItems": [{"description": "Tow", "quantity": 1, "unitPriceCents": AMOUNT}],
    }
    return command("CreatePayment", person, **{**wanted, **changes})


def work(name: str) -> dict[str, Any]:
    """The finished work behind a payment."""
    company, amount = WORKS[name]
    return {
        "eventId": fresh(),
        "version": "1.0",
        "incidentId": identity(f"incident {name}"),
        "vendorId": identity("vendor"),
        "companyId": identity(company),
        "completedAt": datetime.now(UTC).isoformat(),
        "lineItems": [{"description": "Tire", "quantity": 1, "unitPriceCents": amount}],
    }


#: Who tells of accounts without a person, whose id anybody can know, too.
REGISTRY = {"id": "00000000-0000-4000-8000-00000000a004", "type": "system"}
#: The service's own actor, whose id anybody can know.
PAYOUTS = {"id": "00000000-0000-4000-8000-00000000a002", "type": "system"}
