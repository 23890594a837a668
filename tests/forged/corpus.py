"""The corpus: commands that are forged, misused or sent again, and a few good ones that look like it.

Each case attacks one thing and is otherwise right: the person, the payment and the money exist and fit. What the local
stack's one sender may do stands in its settings; the cases of `unlisted` and `operator` go to workers with others.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from contracts.envelope import BODY_BYTES_MAX
from tests.forged.forging import base64url, doubled, octets_of
from tests.forged.world import (
    AMOUNT,
    OTHER_AMOUNT,
    PAYOUTS,
    REGISTRY,
    Make,
    World,
    about,
    account,
    actor,
    approval,
    body_of,
    command,
    creation,
    enrolment,
    fresh,
    identity,
    later,
    look,
    order,
    own_token,
    payout,
    policy,
    promotion,
    provider_event,
    work,
)
from workers.local.pools import CLIENT_ID, ISSUER
from workers.local.sandbox import EVENT_SOURCE
from workers.tokens import GROUPS_MAX, TOKEN_CHARS_MAX

#: What the settings call tolerance, in seconds.
SKEW_S = 60
TWO_DAYS = timedelta(days=2)


# ---- how a case may end ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refused:
    """Turned down with this code.

    Attributes:
        code: the reason.
        field: the wire field that is to blame.
        flaw: why its token proves nobody, where it carries one that does not hold.
        turned_away: as nobody's word, which uses up no id and learns nothing of the payment.
    """

    code: str
    field: str | None = None
    flaw: str | None = None
    turned_away: bool = False


@dataclass(frozen=True, slots=True)
class Invalid:
    """In the dead-letter queue with this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Known already under the same id."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """True already under another id."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A good approval of the payment of this name."""

    payment: str


End = Refused | Invalid | Duplicate | Ignored | Accepted
UNPROVEN = Refused("unauthenticated", "actorToken", turned_away=True)
NOT_THE_ACTOR = Refused("unauthenticated", "actor.id", turned_away=True)
FORBIDDEN_SENDER = Refused("forbidden_sender", turned_away=True)
FORBIDDEN = Refused("forbidden_role")
#: Of somebody who has no role at all.
NOBODYS = Refused("forbidden_role", turned_away=True)
WRONG_COMPANY = Refused("wrong_company")
SELF_APPROVAL = Refused("self_approval")


def unproven(flaw: str) -> Refused:
    """Turned away because its token proves nobody."""
    return Refused("unauthenticated", "actorToken", flaw, turned_away=True)


# ---- what a case is made of ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """One message.

    Attributes:
        group: what it attacks.
        name: how.
        end: how it must end.
        make: makes what is sent.
        proven: whom its token proves, where it does.
        queue: where it goes.
        fleet: which workers get it: those of the local stack, or others with other settings.
        failed_before: how long ago this very body was sent first, and failed.
    """

    group: str
    name: str
    end: End
    make: Make
    proven: str | None = None
    queue: str = "commands"
    fleet: str = "local"
    failed_before: timedelta | None = None

    @property
    def title(self) -> str:
        return f"{self.group}: {self.name}"

    def body(self, world: World) -> str:
        return body_of(self.make(world))


def cases(group: str, end: End, makes: Mapping[str, Make], proven: str | None = None, **more: Any) -> list[Case]:
    """Messages that end alike."""
    return [Case(group, name, end, make, proven, **more) for name, make in makes.items()]


# ---- what is wrong with the token ------------------------------------------------------------------------------------


def bearing(group: str, end: End, tokens: Mapping[str, Any], proven: str | None = None) -> list[Case]:
    """Approvals by the dispatcher that are right in everything but their tokens."""
    return cases(group, end, {name: approval("dispatcher", actorToken=token) for name, token in tokens.items()}, proven)


def forged(group: str, flaw: str, tokens: Mapping[str, Any]) -> list[Case]:
    """Approvals whose tokens all have the same flaw, by their names."""
    return bearing(group, unproven(flaw), tokens)


def _claims(**changes: Any) -> Make:
    return lambda world: world.signed(**changes)


def _header(**changes: Any) -> Make:
    return lambda world: world.headed(**changes)


def _tampered(change: Callable[[str, str, str], Sequence[str]]) -> Make:
    """The dispatcher's good token with other parts."""
    return lambda world: ".".join(change(*world.token("dispatcher").split(".")))


def _wrapped(before: str = "", after: str = "") -> Make:
    """The dispatcher's good token with something around it."""
    return lambda world: f"{before}{world.token('dispatcher')}{after}"


FORM = [
    *bearing("form", UNPROVEN, {"no token": ..., "null for a token": None}),
    *forged(
        "form",
        "malformed",
        {
            "an empty token": "",
            "a word": "dispatcher",
            "only dots": "..",
            "two parts": _tampered(lambda header, claims, _: (header, claims)),
            "four parts": _tampered(lambda header, claims, seal: (header, claims, seal, seal)),
            "five parts, as if encrypted": _tampered(lambda header, claims, seal: (header, "", claims, seal, seal)),
            "a dot behind it": _wrapped(after="."),
            "a line break behind it": _wrapped(after="\n"),
            "a blank before it": _wrapped(" "),
            "a tab inside": lambda world: world.token("dispatcher").replace(".", ".\t", 1),
            "a word before it": _wrapped("Bearer "),
            "padding": _wrapped(after="=="),
            "loose bits": lambda world: world.token("dispatcher")[:-1] + "_",
            "another one behind it": lambda world: f"{world.token('dispatcher')},{world.token('admin')}",
        },
    ),
    *forged("form", "too_large", {"larger than any": _claims(profile="x" * TOKEN_CHARS_MAX)}),
    *bearing(
        "form",
        Invalid("schema"),
        {"a number for a token": 7, "an object for a token": lambda world: {"jwt": world.token("dispatcher")}},
    ),
    *bearing("form", Invalid("nul_character"), {"NUL behind it": _wrapped(after="\0")}),
    *bearing("form", Invalid("lone_surrogate"), {"half a character behind it": _wrapped(after="\ud800")}),
]


def _unsigned(spelling: str) -> Make:
    return lambda world: world.mint.opened(world.mint.header(alg=spelling), world.claims()) + "."


def _by(algorithm: str) -> Make:
    return lambda world: world.mint.signed(world.mint.header(alg=algorithm), world.claims(), algorithm=algorithm)


def _with_public_key(algorithm: str) -> Make:
    return lambda world: world.mint.with_secret(world.mint.public_key(), world.claims(), algorithm)


ALGORITHM = forged(
    "algorithm",
    "algorithm",
    {
        **{f"unsigned, {word!r}": _unsigned(word) for word in ("none", "None", "NONE", "nOnE", "none ", "")},
        "none, signed all the same": _header(alg="none"),
        **{f"{name} by the pool's own key": _by(name) for name in ("RS384", "RS512", "PS256")},
        **{f"{name} with the public key as the secret": _with_public_key(name) for name in ("HS256", "HS384", "HS512")},
        "HS256 with the JWK as the secret": lambda world: world.mint.with_secret(
            world.mint.public_jwk(), world.claims()
        ),
        "HS256 with nothing as the secret": lambda world: world.mint.with_secret(b"", world.claims()),
        "ES256": lambda world: world.mint.on_a_curve(world.mint.header(alg="ES256"), world.claims()),
        "in small letters": _header(alg="rs256"),
        "not named": _header(alg=...),
        "a list": _header(alg=["RS256", "none"]),
    },
)


def _strangers(world: World, **header: Any) -> str:
    """The dispatcher's token, signed by a key that is not the pool's."""
    return world.mint.signed(world.mint.header(**header), world.claims(), key=world.mint.stranger)


def _promoted(claims: str) -> str:
    """The same claims, with another group."""
    return base64url(json.dumps({**json.loads(octets_of(claims)), "cognito:groups": ["admin"]}).encode())


def _flipped(seal: str) -> str:
    octets = octets_of(seal)
    return base64url(octets[:-1] + bytes([octets[-1] ^ 1]))


def _retyped(header: str) -> str:
    return base64url(json.dumps({**json.loads(octets_of(header)), "typ": "at+jwt"}).encode())


SIGNATURE = forged(
    "signature",
    "signature",
    {
        "of another key under the same kid": _strangers,
        "none": _tampered(lambda header, claims, _: (header, claims, "")),
        "truncated": _tampered(lambda header, claims, seal: (header, claims, base64url(octets_of(seal)[:-3]))),
        "one bit off": _tampered(lambda header, claims, seal: (header, claims, _flipped(seal))),
        "of zeros": _tampered(lambda header, claims, _: (header, claims, base64url(bytes(256)))),
        "longer": _tampered(lambda header, claims, seal: (header, claims, base64url(octets_of(seal) + b"more"))),
        "over other groups": _tampered(lambda header, claims, seal: (header, _promoted(claims), seal)),
        "over the same claims in another order": _tampered(
            lambda header, claims, seal: (header, base64url(octets_of(claims).replace(b",", b", ")), seal)
        ),
        "over another header": _tampered(lambda header, claims, seal: (_retyped(header), claims, seal)),
        "of somebody else's token": lambda world: ".".join(
            [*world.token("dispatcher").split(".")[:2], world.token("admin").split(".")[2]]
        ),
    },
)


def _embedded(world: World) -> str:
    return _strangers(world, jwk=world.mint.stranger.as_dict(private=False))


HEADER = [
    *forged(
        "header",
        "key",
        {
            "no kid": _header(kid=...),
            "an empty kid": _header(kid=""),
            "an unknown kid": _header(kid="unheard-of"),
            "a kid that is a path": _header(kid="../../key.json"),
            "a kid that is SQL": _header(kid="x' UNION SELECT 'k"),
            "a kid that is a number": _header(kid=0),
        },
    ),
    *forged(
        "header",
        "header",
        {
            "an unknown kid and where to find it": lambda world: _strangers(world, kid="s", jku="https://127.0.0.1/k"),
            "its own key inside": _embedded,
            "jku, signed well": _header(jku="https://127.0.0.1/jwks.json"),
            "jwk, signed well": _header(jwk={"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
            "x5u, signed well": _header(x5u="https://127.0.0.1/chain.pem"),
            "x5c, signed well": _header(x5c=["MIIB"]),
            "x5t, signed well": _header(x5t="c3RyYW5nZXI"),
            "crit, signed well": _header(crit=["exp"]),
            "b64, signed well": _header(b64=False),
            "b64 and crit, signed well": _header(b64=False, crit=["b64"]),
            "zip, signed well": _header(zip="DEF"),
            "cty, signed well": _header(cty="JWT"),
            "enc, signed well": _header(enc="A256GCM"),
            "the type of an ID token": _header(typ="id+jwt"),
        },
    ),
    *forged(
        "header",
        "malformed",
        {
            "two kids": lambda world: world.mint.signed(
                doubled(world.mint.header(), "kid", "unheard-of"), world.claims()
            ),
            "two algorithms": lambda world: world.mint.signed(
                doubled(world.mint.header(), "alg", "none"), world.claims()
            ),
            "no JSON": lambda world: world.mint.signed("alg=RS256", world.claims()),
        },
    ),
]


def _of_another_pool(world: World) -> str:
    """A token that is right in itself, of a pool that is not ours."""
    claims = world.claims(iss="https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Stranger")
    return world.mint.signed(world.mint.header(kid="stranger-1"), claims, key=world.mint.stranger)


def _as_our_pool(world: World) -> str:
    """The same under our pool's kid."""
    return world.mint.signed(world.mint.header(), world.claims(iss=f"{ISSUER}2"), key=world.mint.stranger)


PURPOSE = [
    *forged("purpose", "key", {"of another pool, by its key": _of_another_pool}),
    *forged("purpose", "signature", {"of another pool, by its key under our kid": _as_our_pool}),
    *forged(
        "purpose",
        "issuer",
        {
            "of another issuer, by our key": _claims(iss=f"{ISSUER}2"),
            "of our issuer with a slash more": _claims(iss=f"{ISSUER}/"),
            "of no issuer": _claims(iss=...),
        },
    ),
    *forged(
        "purpose",
        "token_use",
        {
            "an ID token": _claims(token_use="id", client_id=..., aud=CLIENT_ID),
            "an ID token with a client id": _claims(token_use="id", aud=CLIENT_ID),
            "of no use": _claims(token_use=...),
        },
    ),
    *forged(
        "purpose",
        "client",
        {
            "for another application": _claims(client_id="another"),
            "our audience for a client id": _claims(client_id=..., aud=CLIENT_ID),
            "a list of client ids": _claims(client_id=[CLIENT_ID]),
        },
    ),
]

_NO_TIMES = {"missing": ..., "a text": "1790000000", "a fraction": 1_790_000_000.5, "true": True, "null": None}


def _doubled(claim: str, first: Any) -> Make:
    return lambda world: world.mint.signed(world.mint.header(), doubled(world.claims(), claim, first))


CLAIMS = [
    *forged(
        "claims",
        "claim",
        {
            "no sub": _claims(sub=...),
            "a sub that is no UUID": _claims(sub="dispatcher"),
            "a sub in braces": _claims(sub=f"{{{identity('dispatcher')}}}"),
            "a list of subs": _claims(sub=[identity("dispatcher")]),
            "no jti": _claims(jti=...),
            **{
                f"{claim}: {what}": _claims(**{claim: value})
                for claim in ("iat", "exp")
                for what, value in _NO_TIMES.items()
            },
            "an exp before its iat": lambda world: world.lasting(30, -30),
            "an exp beyond every calendar": _claims(exp=10**15),
            "an nbf in the future": lambda world: world.signed(nbf=int(later(seconds=300).timestamp())),
            "an nbf that is a text": _claims(nbf="now"),
            "groups that are no list": _claims(**{"cognito:groups": "dispatcher"}),
            "a group that is no text": _claims(**{"cognito:groups": ["dispatcher", 1]}),
            "more groups than there can be": _claims(**{"cognito:groups": ["dispatcher"] * (GROUPS_MAX + 1)}),
        },
    ),
    *forged(
        "claims",
        "malformed",
        {
            "two subs": _doubled("sub", identity("admin")),
            "two lists of groups": _doubled("cognito:groups", ["admin"]),
            "two exp": _doubled("exp", 4_000_000_000),
            "no JSON": lambda world: world.mint.signed(world.mint.header(), "sub=admin"),
        },
    ),
]

TIMES = bearing(
    "times",
    UNPROVEN,
    {
        "expired just beyond the tolerance": lambda world: world.lasting(-900, -SKEW_S - 1),
        "expired an hour ago": lambda world: world.lasting(-7_200, -3_600),
        # Ten seconds more than the tolerance: as long as the way to the queue may take.
        "issued just beyond the tolerance": lambda world: world.lasting(SKEW_S + 10, 900),
        "issued tomorrow": lambda world: world.lasting(86_400, 87_300),
    },
    "dispatcher",
)

# ---- who it is and what they may do ----------------------------------------------------------------------------------


def _in_groups(person: str, *groups: str) -> Make:
    return approval(person, actorToken=own_token(person, *groups))


ROLES = [
    *cases(
        "roles",
        NOBODYS,
        {
            "a dispatcher who is only in the admins' group": _in_groups("dispatcher", "admin"),
            "a dispatcher in no group": approval("dispatcher", actorToken=lambda world: world.token("dispatcher", [])),
            "a dispatcher in a group of another spelling": _in_groups("dispatcher", "Dispatcher"),
        },
        "dispatcher",
    ),
    *cases(
        "roles",
        NOBODYS,
        {"a vendor who is in the dispatchers' group": _in_groups("vendor user", "dispatcher")},
        "vendor user",
    ),
    *cases(
        "roles",
        FORBIDDEN,
        {
            "a vendor who is in every group": _in_groups("vendor user", "dispatcher", "admin", "vendor"),
            "a rejection by the vendor": about("open", "RejectPayment", "vendor user"),
            "a release by the vendor": about("due", "ProcessPayment", "vendor user"),
        },
        "vendor user",
    ),
    *cases(
        "roles",
        NOBODYS,
        {
            "nobody in the admins' group": _in_groups("nobody", "admin"),
            "nobody in the dispatchers' group": _in_groups("nobody", "dispatcher"),
            "a cancellation by nobody": about(
                "open", "CancelPayment", "nobody", actorToken=own_token("nobody", "admin")
            ),
        },
        "nobody",
    ),
    *cases(
        "roles",
        NOBODYS,
        {
            "somebody who is suspended": approval("suspended"),
            "a hold by somebody who is suspended": about("open", "HoldPayment", "suspended"),
        },
        "suspended",
    ),
    *cases("roles", NOBODYS, {"an admin who is dismissed": approval("dismissed")}, "dismissed"),
    *cases("roles", NOBODYS, {"an admin in another group only": _in_groups("admin", "dispatcher")}, "admin"),
    *cases(
        "roles",
        WRONG_COMPANY,
        {
            "an approval by another company": approval("outsider"),
            "an approval by another company, in every group": _in_groups("outsider", "dispatcher", "admin"),
            **{
                f"{kind} by another company": about("open", kind, "outsider")
                for kind in ("RejectPayment", "CancelPayment", "HoldPayment", "ReleaseHold", "ProcessPayment")
            },
        },
        "outsider",
    ),
]

FOUR_EYES = [
    *cases("four eyes", FORBIDDEN, {"the vendor approves their own payment": approval("vendor user")}, "vendor user"),
    *cases(
        "four eyes", SELF_APPROVAL, {"the vendor's dispatcher approves their payment": approval("insider")}, "insider"
    ),
    *cases("four eyes", SELF_APPROVAL, {"the creator approves": approval("admin", "created")}, "admin"),
    *cases(
        "four eyes",
        Refused("already_decided"),
        {"the same person approves twice": approval("first", "half")},
        "first",
    ),
    *cases(
        "four eyes",
        SELF_APPROVAL,
        {
            "who acts for the vendor lifts the hold": about("held", "ReleaseHold", "insider"),
            "who acts for the vendor lets the hold end soon": about(
                "held", "HoldPayment", "insider", until=lambda _: later(seconds=60).isoformat()
            ),
        },
        "insider",
    ),
    *cases("four eyes", SELF_APPROVAL, {"the first releases": about("due", "ProcessPayment", "first")}, "first"),
    *cases("four eyes", SELF_APPROVAL, {"the last releases": about("due", "ProcessPayment", "second")}, "second"),
    *cases(
        "four eyes",
        Refused("already_decided"),
        {"an approval after the last one": approval("colleague", "paid")},
        "colleague",
    ),
]


def _says(person: str, **words: Any) -> Make:
    """An approval whose actor says something else of themselves than is true."""
    return approval(person, actor=actor(person, **words))


#: With the dispatcher's token.
_BORROWED = own_token("dispatcher")

BODY = [
    *cases(
        "body",
        NOT_THE_ACTOR,
        {
            "in the name of a colleague": approval("colleague", actorToken=_BORROWED),
            "in the name of an admin": approval("admin", actorToken=_BORROWED),
            "in the name of the payout service": approval("dispatcher", actor=PAYOUTS),
        },
        "dispatcher",
    ),
    *cases("body", UNPROVEN, {"the payout service without a token": approval("nobody", actor=PAYOUTS, actorToken=...)}),
    *cases(
        "body",
        Refused("invalid_field", "approvedBy"),
        {"approved by somebody else": approval("dispatcher", approvedBy=identity("colleague"))},
        "dispatcher",
    ),
    *cases(
        "body",
        WRONG_COMPANY,
        {
            "another company's dispatcher names the payment's": _says("outsider", companyId=identity("ours")),
            "another company's dispatcher says admin": _says("outsider", type="admin", role="admin"),
        },
        "outsider",
    ),
    *cases(
        "body",
        FORBIDDEN,
        {
            "the vendor says dispatcher of the company": _says(
                "vendor user", role="dispatcher", companyId=identity("ours")
            )
        },
        "vendor user",
    ),
    *cases("body", NOBODYS, {"nobody says admin": _says("nobody", type="admin", role="admin")}, "nobody"),
    *cases(
        "body",
        SELF_APPROVAL,
        {"the vendor's dispatcher says another vendor": _says("insider", vendorId=fresh())},
        "insider",
    ),
]


def _good_once(**changes: Any) -> Make:
    """The approval that was good once, with changes."""

    def make(world: World) -> dict[str, Any]:
        found = {**json.loads(world.bodies["good"]), **changes}
        return {name: value(world) if callable(value) else value for name, value in found.items()}

    return make


def _payment(name: str) -> Make:
    return lambda world: world.payments[name]


SEEN = [
    *cases(
        "what was seen",
        Refused("invalid_field", "amountCents"),
        {"no amount": approval("dispatcher", amountCents=...), "null": approval("dispatcher", amountCents=None)},
        "dispatcher",
    ),
    *cases(
        "what was seen",
        Refused("invalid_field", "currency"),
        {"no currency": approval("dispatcher", currency=...)},
        "dispatcher",
    ),
    *cases(
        "what was seen",
        Refused("amount_mismatch", "amountCents"),
        {
            "the amount of another payment": approval("dispatcher", amountCents=OTHER_AMOUNT),
            "a cent less": approval("dispatcher", amountCents=AMOUNT - 1),
            "the amount below zero": approval("dispatcher", amountCents=-AMOUNT),
            "half a cent more": approval("dispatcher", amountCents=AMOUNT + 0.5),
            "another payment with the token and the amount of the first": _good_once(
                commandId=lambda _: fresh(), paymentId=_payment("other")
            ),
        },
        "dispatcher",
    ),
    *cases(
        "what was seen",
        Refused("amount_mismatch", "currency"),
        {"another currency": approval("dispatcher", currency="EUR")},
        "dispatcher",
    ),
    *cases(
        "what was seen",
        Refused("version_conflict", "expectedVersion"),
        {"a later version": approval("dispatcher", expectedVersion=2)},
        "dispatcher",
    ),
    *cases(
        "what was seen",
        Refused("version_conflict", "expectedVersion"),
        {"the version before the first approval": approval("second", "half", expectedVersion=1)},
        "second",
    ),
    *cases(
        "what was seen",
        Refused("invalid_field", "paymentId"),
        {"no payment's id": approval("dispatcher", paymentId="open")},
        "dispatcher",
    ),
    *cases(
        "what was seen", Invalid("schema"), {"the amount as a text": approval("dispatcher", amountCents=str(AMOUNT))}
    ),
]

# ---- what comes again ------------------------------------------------------------------------------------------------


def _of_long_ago(world: World) -> str:
    """The dispatcher's token of the day before yesterday."""
    return world.token("dispatcher", at=later(days=-2))


def _id_of_half(world: World) -> str:
    return str(json.loads(world.bodies["half"])["commandId"])


REPLAY = [
    *cases(
        "replay",
        Duplicate(),
        {
            "the same command again": lambda world: world.bodies["good"],
            "the same command with a newer token": _good_once(actorToken=_BORROWED),
        },
    ),
    *cases("replay", Ignored(), {"the same approval under another id": _good_once(commandId=lambda _: fresh())}),
    *cases(
        "replay",
        Refused("payload_conflict"),
        {
            "the same id for another payment": _good_once(paymentId=_payment("other"), amountCents=OTHER_AMOUNT),
            "the same id for another person's approval": approval("colleague", commandId=_id_of_half),
        },
    ),
    *cases(
        "replay",
        unproven("signature"),
        {"a forgery under the id of a good command": _good_once(actorToken=_strangers)},
    ),
    *cases(
        "replay",
        Refused("stale"),
        {"two days later, as it was sent then": approval("dispatcher", actorToken=_of_long_ago)},
        "dispatcher",
        failed_before=TWO_DAYS,
    ),
    *cases(
        "replay",
        UNPROVEN,
        {"two days later, with a token of today": approval("dispatcher")},
        "dispatcher",
        failed_before=TWO_DAYS,
    ),
    *cases(
        "replay",
        UNPROVEN,
        {"two days later, captured before it was sent": approval("dispatcher", actorToken=_of_long_ago)},
        "dispatcher",
    ),
]

# ---- kinds and queues ------------------------------------------------------------------------------------------------


def _event(world: World) -> dict[str, Any]:
    """Finished work in an envelope, with a token for good measure."""
    detail = {**work("open"), "incidentId": fresh()}
    outer = {"version": "0", "id": fresh(), "detail-type": "WorkCompleted", "source": "roadcall.incident"}
    return {**outer, "detail": detail, "actorToken": world.token("admin")}


_WRONG_QUEUE = Invalid("wrong_queue")
KINDS = [
    *cases(
        "kinds",
        _WRONG_QUEUE,
        {
            "a payout on the command queue": payout(actorToken=own_token("admin")),
            "finished work on the command queue": _event,
            "finished work by a person": command("WorkCompleted", "admin", **work("open")),
            "a look at an attempt on the command queue": look(actorToken=own_token("admin")),
            "a provider's event on the command queue": provider_event(EVENT_SOURCE),
            "a provider's event by a person": command("ProviderEvent", "admin", livemode=False),
        },
    ),
    *cases(
        "kinds",
        _WRONG_QUEUE,
        {
            "a look at an attempt on the events queue": look(),
            "a provider's event as a command on the events queue": command("ProviderEvent", "admin", livemode=False),
            "an account on the events queue": account("admin"),
        },
        queue="events",
    ),
    *cases(
        "kinds",
        Invalid("unknown_kind"),
        {"a provider's event from a source of work": provider_event("roadcall.incident")},
        queue="events",
    ),
    *cases(
        "kinds",
        Invalid("unknown_source"),
        {
            "our name of a provider's event from a source of work": provider_event(
                "roadcall.incident", **{"detail-type": "ProviderEvent"}
            ),
            "finished work from nowhere": lambda world: {**_event(world), "source": "roadcall.elsewhere"},
        },
        queue="events",
    ),
    *cases(
        "kinds",
        Invalid("schema"),
        {"finished work from the provider's source": lambda world: {**_event(world), "source": EVENT_SOURCE}},
        queue="events",
    ),
    *cases("kinds", Invalid("unknown_kind"), {"an announcement of ours": about("open", "PaymentApproved", "admin")}),
    *cases("kinds", _WRONG_QUEUE, {"an approval on the events queue": approval("admin")}, queue="events"),
    *cases(
        "kinds",
        _WRONG_QUEUE,
        {
            "an approval on the payouts queue": approval("admin"),
            "a cancellation on the payouts queue": about("open", "CancelPayment", "admin"),
            "the end of a hold on the payouts queue": about("open", "ReleaseHold", "admin"),
            "a payment by hand on the payouts queue": creation("admin"),
            "a membership on the payouts queue": enrolment("dispatcher", enabled=False),
            "a policy on the payouts queue": policy("admin"),
            "an account on the payouts queue": account("admin"),
            "a provider's event on the payouts queue": provider_event(EVENT_SOURCE),
        },
        queue="payouts",
    ),
    *cases("kinds", FORBIDDEN, {"our own order where a person must release": order("due")}, queue="payouts"),
    *cases(
        "kinds", Refused("illegal_transition"), {"our own order before the approval": order("open")}, queue="payouts"
    ),
    *cases(
        "kinds",
        UNPROVEN,
        {
            "our own order on the command queue": order("open"),
            "a release without a token": about("due", "ProcessPayment", "admin", actorToken=...),
            "a release without a token, before the approval": about("open", "ProcessPayment", "admin", actorToken=...),
        },
    ),
]


def _twice(name: str, first: Make) -> Make:
    """A good approval with one of its names written twice."""
    return lambda world: doubled(approval("dispatcher")(world), name, first(world))


SHAPE = [
    *cases(
        "shape",
        Invalid("duplicate_key"),
        {
            "two tokens": _twice("actorToken", own_token("admin")),
            "two payments": _twice("paymentId", _payment("other")),
            "two actors": _twice("actor", lambda _: actor("admin")),
            "two kinds": _twice("type", lambda _: "CancelPayment"),
        },
    ),
    *cases("shape", Invalid("too_large"), {"larger than any": approval("dispatcher", notes="n" * BODY_BYTES_MAX)}),
    *cases(
        "shape", Invalid("not_json"), {"something behind it": lambda world: body_of(approval("admin")(world)) + "{}"}
    ),
    *cases("shape", Invalid("not_an_object"), {"a list of commands": lambda world: [approval("admin")(world)]}),
    *cases(
        "shape",
        Invalid("schema"),
        {
            "no actor": approval("dispatcher", actor=...),
            "an actor who is no UUID": _says("dispatcher", id="admin"),
            "an actor of a kind that there is not": _says("dispatcher", type="root"),
            "no id": approval("dispatcher", commandId=...),
        },
    ),
]

# ---- rights themselves -----------------------------------------------------------------------------------------------

RIGHTS = [
    *cases(
        "rights",
        UNPROVEN,
        {
            "a policy without a token": policy("admin", actorToken=...),
            "a policy by the directory": policy("admin", actor={"id": identity("d"), "type": "system"}, actorToken=...),
            "a payment by hand without a token": creation("admin", actorToken=...),
        },
    ),
    *cases(
        "rights",
        FORBIDDEN,
        {
            "a policy by a dispatcher of the company": policy("first"),
            "a policy by a dispatcher in every group": policy(
                "first", actorToken=own_token("first", "admin", "dispatcher")
            ),
            "a policy by a dispatcher who says admin": policy("first", actor=actor("first", role="admin")),
        },
        "first",
    ),
    *cases(
        "rights",
        FORBIDDEN,
        {
            "a policy by a vendor": policy("vendor user"),
            "a vendor makes themselves an admin": promotion("vendor user"),
            "a payment by hand by the vendor who is paid": creation("vendor user"),
        },
        "vendor user",
    ),
    *cases(
        "rights",
        NOBODYS,
        {
            "a policy by an admin who is dismissed": policy("dismissed"),
            "a dismissed admin comes back": promotion("dismissed"),
            "a payment by hand by an admin who is dismissed": creation("dismissed"),
        },
        "dismissed",
    ),
    *cases(
        "rights",
        FORBIDDEN,
        {
            "a dispatcher makes themselves an admin": promotion("dispatcher"),
            "a dispatcher dismisses an admin": promotion("dispatcher", sub=identity("admin"), enabled=False),
            "a payment by hand by a dispatcher": creation("dispatcher"),
        },
        "dispatcher",
    ),
    *cases(
        "rights",
        NOBODYS,
        {"nobody makes themselves an admin": promotion("nobody", actorToken=own_token("nobody", "admin"))},
        "nobody",
    ),
    *cases(
        "rights",
        NOBODYS,
        {"a policy by an admin in another group": policy("admin", actorToken=own_token("admin", "dispatcher"))},
        "admin",
    ),
    *cases(
        "rights",
        Refused("version_conflict", "expectedVersion"),
        {"a policy over one that its sender has not seen": policy("admin", expectedVersion=0)},
        "admin",
    ),
    *cases(
        "rights",
        NOT_THE_ACTOR,
        {
            "a policy in the name of an admin": policy("admin", actorToken=_BORROWED),
            "the directory with a dispatcher's token": enrolment(
                "dispatcher", role="admin", companyId=..., actorToken=_BORROWED
            ),
        },
        "dispatcher",
    ),
    *cases(
        "rights",
        unproven("signature"),
        {"a membership with a forged token": promotion("admin", sub=identity("nobody"), actorToken=_strangers)},
    ),
    *cases(
        "rights",
        unproven("malformed"),
        {"a membership with an empty token": enrolment("dispatcher", enabled=False, actorToken="")},
    ),
]

ACCOUNTS = [
    *cases(
        "accounts",
        FORBIDDEN,
        {
            "the vendor says where to pay": account("vendor user"),
            "the vendor says so in every group": account(
                "vendor user", actorToken=own_token("vendor user", "vendor", "dispatcher", "admin")
            ),
            "the vendor opens another vendor's account": account("vendor user", vendorId=identity("another vendor")),
        },
        "vendor user",
    ),
    *cases("accounts", FORBIDDEN, {"a dispatcher says where to pay": account("dispatcher")}, "dispatcher"),
    *cases(
        "accounts",
        FORBIDDEN,
        {
            "who dispatches and acts for the vendor says where to pay": account("insider"),
            "who dispatches and acts for the vendor stops it": account("insider", payoutsEnabled=False),
        },
        "insider",
    ),
    *cases(
        "accounts",
        SELF_APPROVAL,
        {
            "an admin who acts for the vendor says where to pay": account("vendor's admin"),
            "an admin who acts for the vendor stops it": account("vendor's admin", payoutsEnabled=False),
        },
        "vendor's admin",
    ),
    *cases("accounts", NOBODYS, {"an admin who is dismissed says where to pay": account("dismissed")}, "dismissed"),
    *cases(
        "accounts",
        NOT_THE_ACTOR,
        {
            "in the name of an admin": account("admin", actorToken=_BORROWED),
            "in the name of the registry": account("admin", actor=REGISTRY, actorToken=_BORROWED),
        },
        "dispatcher",
    ),
    *cases("accounts", unproven("signature"), {"with a forged token": account("admin", actorToken=_strangers)}),
    *cases("accounts", unproven("malformed"), {"with an empty token": account("admin", actorToken="")}),
    *cases(
        "accounts",
        Refused("invalid_field", "stripeAccountId"),
        {"a bank's account": account("admin", stripeAccountId="DE02120300000000202051")},
        "admin",
    ),
]

# ---- what only looks forged ------------------------------------------------------------------------------------------


def _accepted(name: str, payment: str, make: Make) -> list[Case]:
    return cases("control", Accepted(payment), {name: make})


CONTROLS = [
    *_accepted("a good approval", "plain", approval("dispatcher", "plain")),
    *_accepted(
        "issued within the tolerance",
        "early",
        approval("dispatcher", "early", actorToken=lambda world: world.lasting(SKEW_S - 10, 900)),
    ),
    *_accepted(
        "expired within the tolerance",
        "late",
        approval("dispatcher", "late", actorToken=lambda world: world.lasting(-900, 10 - SKEW_S)),
    ),
    *_accepted(
        "a dispatcher who says less of themselves than is true",
        "modest",
        approval("dispatcher", "modest", actor={"id": identity("dispatcher"), "type": "system", "role": "vendor"}),
    ),
    *_accepted(
        "a good command whose id a forgery has named before", "contested", lambda world: world.bodies["contested"]
    ),
    *_accepted(
        "a good approval whose payout's id others have named before", "squatted", approval("dispatcher", "squatted")
    ),
    *_accepted(
        "in every group, with an audience besides",
        "scattered",
        approval(
            "dispatcher", "scattered", actorToken=_claims(aud="x", **{"cognito:groups": ["x", "admin", "dispatcher"]})
        ),
    ),
]

# ---- senders who are not listed --------------------------------------------------------------------------------------


def _to(fleet: str, end: End, makes: Mapping[str, Make], proven: str | None = None, **more: Any) -> list[Case]:
    return cases(fleet, end, makes, proven, fleet=fleet, **more)


_FORGED = approval("dispatcher", actorToken=_strangers)
UNLISTED = [
    *_to("unlisted", FORBIDDEN_SENDER, {"a good approval": approval("dispatcher")}, "dispatcher"),
    *_to(
        "unlisted",
        FORBIDDEN_SENDER,
        {
            "a good cancellation": about("open", "CancelPayment", "admin"),
            "a release": about("open", "ProcessPayment", "admin"),
            "a policy by an admin": policy("admin"),
            "a membership by an admin": promotion("admin", sub=identity("nobody")),
            "an account by an admin": account("admin"),
            "a payment by hand": creation("admin"),
        },
        "admin",
    ),
    *_to(
        "unlisted",
        FORBIDDEN_SENDER,
        {"an order to pay out": order("open"), "a payout": payout(), "a look": look()},
        queue="payouts",
    ),
    *_to(
        "unlisted",
        FORBIDDEN_SENDER,
        {"an order to pay out with an admin's token": order("open", actorToken=own_token("admin"))},
        "admin",
        queue="payouts",
    ),
    *_to("unlisted", unproven("signature"), {"a forged approval": _FORGED}),
    *_to(
        "unlisted",
        UNPROVEN,
        {
            "no token": approval("dispatcher", actorToken=...),
            "an account without a token": account("admin", actorToken=...),
            "an account as if by the registry": account("admin", actor=REGISTRY, actorToken=...),
        },
    ),
]
OPERATOR = [
    *_to(
        "operator",
        FORBIDDEN_SENDER,
        {
            "a membership that never failed": enrolment("outsider", enabled=False),
            "an account that never failed": account("admin", actor=REGISTRY, actorToken=...),
        },
    ),
    *_to(
        "operator",
        FORBIDDEN_SENDER,
        {"a membership that failed and that nobody has put back": enrolment("outsider", enabled=False)},
        failed_before=timedelta(minutes=1),
    ),
    *_to("operator", UNPROVEN, {"an approval without a token": approval("dispatcher", actorToken=...)}),
    *_to("operator", FORBIDDEN_SENDER, {"an approval that never failed": approval("dispatcher")}, "dispatcher"),
    *_to(
        "operator",
        FORBIDDEN_SENDER,
        {"an approval that failed and that nobody has put back": approval("dispatcher")},
        "dispatcher",
        failed_before=timedelta(minutes=1),
    ),
    *_to(
        "operator",
        FORBIDDEN_SENDER,
        {
            "an order to pay out that never failed": order("open"),
            "a payout that never failed": payout(),
            "a look that never failed": look(),
        },
        queue="payouts",
    ),
    *_to("operator", unproven("signature"), {"a forged approval": _FORGED}),
    *_to("operator", NOT_THE_ACTOR, {"in another's name": approval("admin", actorToken=_BORROWED)}, "dispatcher"),
]

CORPUS = [
    *FORM,
    *ALGORITHM,
    *SIGNATURE,
    *HEADER,
    *PURPOSE,
    *CLAIMS,
    *TIMES,
    *ROLES,
    *FOUR_EYES,
    *BODY,
    *SEEN,
    *REPLAY,
    *KINDS,
    *SHAPE,
    *RIGHTS,
    *ACCOUNTS,
    *CONTROLS,
    *UNLISTED,
    *OPERATOR,
]
