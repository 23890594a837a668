"""Access tokens: a good one names its person, and each flaw by itself is noticed and named."""

import base64
import dataclasses
import hashlib
import hmac
import json
import random
import string
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import RSAKey

from contracts.proof import KeysAwayError, Person, ProofFlaw, Unproven, Verifier
from workers import tokens
from workers.jwks import MODULUS_BITS_MAX, FetchError, KeySet
from workers.tokens import GROUPS_MAX, TOKEN_CHARS_MAX, TokenVerifier

KEY, STRANGER, LONG_KEY = RSAKey.generate_key(2048), RSAKey.generate_key(2048), RSAKey.generate_key(4096)
ISSUER = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Example"
SUBJECT = "6a1c1a3e-27c1-4d7f-9a57-51d3c1f0a001"
SCOPE = "payments/approve"
ISSUED, EXPIRES = 1_750_000_000, 1_750_000_900
HEADER = {"alg": "RS256", "kid": "main", "typ": "JWT"}
CLAIMS = {
    "sub": SUBJECT,
    "iss": ISSUER,
    "client_id": "web",
    "token_use": "access",
    "scope": f"openid {SCOPE}",
    "auth_time": ISSUED,
    "iat": ISSUED,
    "exp": EXPIRES,
    "jti": "0f0c2e6c-4d5e-4a7b-8f5d-9b0e2f1a3c4d",
    "username": "someone",
    "cognito:groups": ["dispatchers", "approvers"],
}
GOOD = Person(
    subject=UUID(SUBJECT),
    groups=frozenset({"dispatchers", "approvers"}),
    issued_at=datetime.fromtimestamp(ISSUED, UTC),
    expires_at=datetime.fromtimestamp(EXPIRES, UTC),
    client_id="web",
    proof_id="0f0c2e6c-4d5e-4a7b-8f5d-9b0e2f1a3c4d",
    key_id="main",
)
KID_LONGEST = "ü" * 255


def public(kid: str, key: RSAKey) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": kid}


JWKS = json.dumps(
    {
        "keys": [
            public("main", KEY),
            public("long", LONG_KEY),
            public(KID_LONGEST, KEY),
            public("twice", KEY),
            public("twice", KEY),
            {**public("sealed", KEY), "use": "enc"},
        ]
    }
).encode()
KEYS = KeySet(lambda: JWKS)
VERIFIER: Verifier = TokenVerifier(KEYS, issuer=ISSUER, client_ids=frozenset({"web", "mobile"}), scope=SCOPE)


def part(value: bytes | str | Mapping[str, Any]) -> str:
    text = value if isinstance(value, bytes | str) else json.dumps(value)
    octets = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def signed(header: bytes | str | Mapping[str, Any], claims: bytes | str | Mapping[str, Any], key: RSAKey = KEY) -> str:
    """A token whose signature is right for whatever its parts are."""
    opened = f"{part(header)}.{part(claims)}"
    return f"{opened}.{part(signature(opened, key))}"


def signature(text: str, key: RSAKey, algorithm: str = "RS256") -> bytes:
    return jws.JWSRegistry.algorithms[algorithm].sign(text.encode(), key)


def with_header(**changes: Any) -> str:
    return signed({**HEADER, **changes}, CLAIMS)


def with_claims(**changes: Any) -> str:
    return signed(HEADER, {**CLAIMS, **changes})


def without(name: str) -> str:
    return signed(
        {key: value for key, value in HEADER.items() if key != name},
        {key: value for key, value in CLAIMS.items() if key != name},
    )


def doubled(document: Mapping[str, Any], name: str) -> str:
    """The document with one of its names written a second time, with the value that it has."""
    return f"{json.dumps(document)[:-1]}, {json.dumps(name)}: {json.dumps(document[name])}}}"


def resigned(algorithm: str) -> str:
    opened = f"{part({**HEADER, 'alg': algorithm})}.{part(CLAIMS)}"
    return f"{opened}.{part(signature(opened, KEY, algorithm))}"


def signed_with_the_public_key() -> str:
    """The key that everybody may know, taken for a shared secret."""
    opened = f"{part({**HEADER, 'alg': 'HS256'})}.{part(CLAIMS)}"
    secret = KEY.as_pem(private=False)
    return f"{opened}.{part(hmac.new(secret, opened.encode(), hashlib.sha256).digest())}"


def swapped(claims: Mapping[str, Any]) -> str:
    """Other claims under the signature of a good token."""
    header, _, seal = signed(HEADER, CLAIMS).split(".")
    return f"{header}.{part(claims)}.{seal}"


def resealed(change: Callable[[bytes], bytes]) -> str:
    """A good token with another signature."""
    opened, _, seal = signed(HEADER, CLAIMS).rpartition(".")
    return f"{opened}.{part(change(base64.urlsafe_b64decode(seal + '==')))}"


def sized(length: int) -> str:
    """A good token of so many characters; not every length can be had by padding one claim, so the header helps."""
    for spaces in range(4):
        header = json.dumps(HEADER) + " " * spaces
        rest = length - len(signed(header, {**CLAIMS, "username": ""}))
        for filling in range(rest * 3 // 4 - 4, rest * 3 // 4 + 5):
            token = signed(header, {**CLAIMS, "username": "x" * filling})
            if len(token) == length:
                return token
    raise AssertionError("no such length")


# Good tokens


def test_a_good_token_names_its_person():
    assert VERIFIER.verify(signed(HEADER, CLAIMS)) == GOOD


def test_times_are_aware():
    found = VERIFIER.verify(signed(HEADER, CLAIMS))
    assert isinstance(found, Person)
    assert (found.issued_at.tzinfo, found.expires_at.tzinfo) == (UTC, UTC)


def test_a_token_that_a_library_made_is_good():
    assert VERIFIER.verify(jws.serialize_compact(dict(HEADER), json.dumps(CLAIMS), KEY)) == GOOD


def test_a_longer_key_is_as_good():
    found = VERIFIER.verify(signed({**HEADER, "kid": "long"}, CLAIMS, LONG_KEY))
    assert found == dataclasses.replace(GOOD, key_id="long")


def test_the_signature_of_every_key_that_is_taken_can_be_read():
    signature_chars_max = MODULUS_BITS_MAX // 6 + 1
    assert tokens._REGISTRY.max_signature_length >= signature_chars_max


def test_a_kid_may_be_as_long_as_the_limit_in_any_script():
    assert VERIFIER.verify(with_header(kid=KID_LONGEST)) == dataclasses.replace(GOOD, key_id=KID_LONGEST)


@pytest.mark.parametrize("kind", ["JWT", "jwt", "Jwt", "at+jwt", "AT+JWT"])
def test_a_token_may_call_itself_by_these_types(kind):
    assert VERIFIER.verify(with_header(typ=kind)) == GOOD


def test_a_token_need_not_say_its_type():
    assert VERIFIER.verify(without("typ")) == GOOD


def test_a_token_may_be_as_long_as_the_limit():
    assert VERIFIER.verify(sized(TOKEN_CHARS_MAX)) == GOOD


@pytest.mark.parametrize("scope", [SCOPE, f"a {SCOPE} b", f"  {SCOPE}  "])
def test_the_scope_is_one_word_among_others(scope):
    assert VERIFIER.verify(with_claims(scope=scope)) == GOOD


@pytest.mark.parametrize("token", [signed(HEADER, CLAIMS), without("scope"), with_claims(scope=7)])
def test_without_a_configured_scope_nobody_looks_at_it(token):
    verifier = TokenVerifier(KEYS, issuer=ISSUER, client_ids=frozenset({"web"}))
    assert verifier.verify(token) == GOOD


def test_each_configured_client_counts():
    assert VERIFIER.verify(with_claims(client_id="mobile")) == dataclasses.replace(GOOD, client_id="mobile")


@pytest.mark.parametrize("token", [without("cognito:groups"), with_claims(**{"cognito:groups": []})])
def test_a_token_may_name_no_groups(token):
    assert VERIFIER.verify(token) == dataclasses.replace(GOOD, groups=frozenset())


def test_a_token_may_name_as_many_groups_as_the_limit():
    names = [f"g{number}" for number in range(GROUPS_MAX)]
    found = VERIFIER.verify(with_claims(**{"cognito:groups": names}))
    assert found == dataclasses.replace(GOOD, groups=frozenset(names))


def test_a_subject_in_capitals_is_the_same_one():
    assert VERIFIER.verify(with_claims(sub=SUBJECT.upper())) == GOOD


@pytest.mark.parametrize("not_before", [-1, 0, ISSUED - 1, ISSUED, ISSUED + 60])
def test_a_token_may_hold_from_its_issue(not_before):
    assert VERIFIER.verify(with_claims(nbf=not_before)) == GOOD


@pytest.mark.parametrize(("issued", "expires"), [(0, 1), (0, 253_370_764_800), (253_370_764_799, 253_370_764_800)])
def test_times_are_not_judged_as_long_as_they_are_some(issued, expires):
    found = VERIFIER.verify(with_claims(iat=issued, exp=expires))
    assert isinstance(found, Person)
    assert (found.issued_at.timestamp(), found.expires_at.timestamp()) == (issued, expires)


def test_claims_that_are_not_ours_are_ignored():
    assert VERIFIER.verify(with_claims(aud="somebody else", device_key={"a": [1.5, None]}, version=2)) == GOOD


# Bad tokens: each has one flaw and is otherwise good

FLAWED: dict[ProofFlaw, dict[str, str]] = {
    ProofFlaw.TOO_LARGE: {
        "by one character": sized(TOKEN_CHARS_MAX + 1),
        "by far": "x" * 1_000_000,
    },
    ProofFlaw.MALFORMED: {
        "nothing": "",
        "one part": part(HEADER),
        "two parts": f"{part(HEADER)}.{part(CLAIMS)}",
        "four parts": signed(HEADER, CLAIMS) + ".",
        "five parts": signed(HEADER, CLAIMS) + ".x.y",
        "only dots": "." * TOKEN_CHARS_MAX,
        "a blank around": f" {signed(HEADER, CLAIMS)}",
        "a line break after": f"{signed(HEADER, CLAIMS)}\n",
        "padding": f"{signed(HEADER, CLAIMS)}==",
        "base64 that is not for URLs": signed(HEADER, CLAIMS)[:-2] + "+/",
        "a character too many": signed(HEADER, CLAIMS).replace(".", "A.A", 1),
        "loose bits at the end": signed(HEADER, CLAIMS)[:-1] + "_",
        "NUL": signed(HEADER, CLAIMS) + "\0",
        "a lone surrogate": "\ud800" + signed(HEADER, CLAIMS),
        "another script's digits": signed(HEADER, CLAIMS) + "٣",
        "a header that is no JSON": signed("alg", CLAIMS),
        "a header that is a list": signed("[]", CLAIMS),
        "a header with a BOM": signed(b"\xef\xbb\xbf" + json.dumps(HEADER).encode(), CLAIMS),
        "a header in UTF-16": signed(json.dumps(HEADER).encode("utf-16"), CLAIMS),
        "a header beyond UTF-8": signed(b'{"alg": "RS256", "kid": "\xff"}', CLAIMS),
        "two alg": signed(doubled(HEADER, "alg"), CLAIMS),
        "two kid": signed(doubled(HEADER, "kid"), CLAIMS),
        "a header too deep": signed("[" * 4_000, CLAIMS),
        "a NUL in the kid": with_header(kid="main\0"),
        "a surrogate in the kid": with_header(kid="\ud800"),
        "claims that are no JSON": signed(HEADER, "sub"),
        "claims that are a text": signed(HEADER, '"sub"'),
        "claims that are missing": signed(HEADER, ""),
        "claims beyond UTF-8": signed(HEADER, b'{"sub": "\xff"}'),
        "two sub": signed(HEADER, doubled(CLAIMS, "sub")),
        "two exp": signed(HEADER, doubled(CLAIMS, "exp")),
        "two of a name inside": signed(HEADER, json.dumps(CLAIMS)[:-1] + ', "more": [{"a": {"b": 1, "b": 1}}]}'),
        "claims too deep": signed(HEADER, "[" * 4_000),
        "claims too deep inside": signed(HEADER, '{"a":' * 900 + "1" + "}" * 900),
        "a huge number": signed(HEADER, json.dumps(CLAIMS)[:-1] + f', "more": {"9" * 5_000}}}'),
        "a huge exponent": signed(HEADER, json.dumps(CLAIMS)[:-1] + f', "more": 1e{"9" * 30}}}'),
        "no number": signed(HEADER, json.dumps(CLAIMS)[:-1] + ', "more": NaN}'),
        "a NUL in a claim": with_claims(username="\0"),
        "a surrogate in a claim": with_claims(username="\udfff"),
    },
    ProofFlaw.ALGORITHM: {
        "none": signed({**HEADER, "alg": "none"}, CLAIMS),
        "none and no signature": f"{part({**HEADER, 'alg': 'none'})}.{part(CLAIMS)}.",
        "none in capitals": with_header(alg="NONE"),
        "the public key as a secret": signed_with_the_public_key(),
        "another hash": resigned("RS512"),
        "another padding": resigned("PS256"),
        "in lower case": with_header(alg="rs256"),
        "with a blank": with_header(alg="RS256 "),
        "a list": with_header(alg=["RS256"]),
        "null": with_header(alg=None),
        "not named": without("alg"),
    },
    ProofFlaw.HEADER: {
        **{
            name: with_header(**{name: value})
            for name, value in {
                "jku": "https://example.com/keys",
                "jwk": public("main", STRANGER),
                "x5u": "https://example.com/chain",
                "x5c": ["MIIB"],
                "x5t": "abc",
                "x5t#S256": "abc",
                "crit": ["exp"],
                "b64": True,
                "cty": "JWT",
                "zip": "DEF",
                "enc": "A128GCM",
                "nonce": "abc",
                "Kid": "main",
            }.items()
        },
        "unencoded": with_header(b64=False, crit=["b64"]),
        "an ID token's type": with_header(typ="id+jwt"),
        "a type in full": with_header(typ="application/at+jwt"),
        "an empty type": with_header(typ=""),
        "a null type": with_header(typ=None),
        "a type that is a list": with_header(typ=["JWT"]),
    },
    ProofFlaw.KEY: {
        "not named": without("kid"),
        "empty": with_header(kid=""),
        "null": with_header(kid=None),
        "a number": with_header(kid=1),
        "a list": with_header(kid=["main"]),
        "too long": with_header(kid="x" * 256),
        "unknown": with_header(kid="other"),
        "in capitals": with_header(kid="MAIN"),
        "a path": with_header(kid="../main"),
        "ambiguous": with_header(kid="twice"),
        "of a key for encryption": with_header(kid="sealed"),
    },
    ProofFlaw.SIGNATURE: {
        "of somebody else": signed(HEADER, CLAIMS, STRANGER),
        "of another of the issuer's keys": signed(HEADER, CLAIMS, LONG_KEY),
        "missing": signed(HEADER, CLAIMS).rpartition(".")[0] + ".",
        "cut": resealed(lambda seal: seal[:-1]),
        "longer": resealed(lambda seal: seal + b"\0"),
        "with a leading zero": resealed(lambda seal: b"\0" + seal),
        "of zeros": resealed(lambda seal: bytes(len(seal))),
        "of ones": resealed(lambda seal: b"\xff" * len(seal)),
        "one bit off": resealed(lambda seal: seal[:-1] + bytes([seal[-1] ^ 1])),
        "as long as a token": resealed(lambda seal: seal * 12),
        "of other claims": swapped({**CLAIMS, "cognito:groups": ["admins"]}),
        "of the same claims, written otherwise": swapped(dict(reversed(CLAIMS.items()))),
        "of claims that are none": swapped({}),
    },
    ProofFlaw.ISSUER: {
        "another pool": with_claims(iss=ISSUER + "2"),
        "a slash more": with_claims(iss=ISSUER + "/"),
        "in capitals": with_claims(iss=ISSUER.upper()),
        "a list": with_claims(iss=[ISSUER]),
        "null": with_claims(iss=None),
        "empty": with_claims(iss=""),
        "not named": without("iss"),
    },
    ProofFlaw.TOKEN_USE: {
        "an ID token": with_claims(token_use="id"),
        "in capitals": with_claims(token_use="Access"),
        "a list": with_claims(token_use=["access"]),
        "not named": without("token_use"),
    },
    ProofFlaw.CLIENT: {
        "another": with_claims(client_id="partner"),
        "another, with ours as audience": with_claims(client_id="partner", aud="web"),
        "an audience in its place": signed(
            HEADER, {"aud": "web", **{name: value for name, value in CLAIMS.items() if name != "client_id"}}
        ),
        "a list": with_claims(client_id=["web"]),
        "an object": with_claims(client_id={"web": 1}),
        "null": with_claims(client_id=None),
        "not named": without("client_id"),
    },
    ProofFlaw.SCOPE: {
        "another": with_claims(scope="payments/read"),
        "one that begins alike": with_claims(scope=SCOPE + "r"),
        "in capitals": with_claims(scope=SCOPE.upper()),
        "after a tab": with_claims(scope=f"openid\t{SCOPE}"),
        "a list": with_claims(scope=[SCOPE]),
        "empty": with_claims(scope=""),
        "not named": without("scope"),
    },
    ProofFlaw.CLAIM: {
        "no sub": without("sub"),
        "a sub that is no UUID": with_claims(sub="someone"),
        "a sub in braces": with_claims(sub=f"{{{SUBJECT}}}"),
        "a sub without hyphens": with_claims(sub=SUBJECT.replace("-", "")),
        "a sub with a blank": with_claims(sub=SUBJECT + " "),
        "a sub that is a list": with_claims(sub=[SUBJECT]),
        "a sub that is a number": with_claims(sub=7),
        "no iat": without("iat"),
        "an iat that is a text": with_claims(iat=str(ISSUED)),
        "an iat with a fraction": with_claims(iat=ISSUED + 0.5),
        "an iat written as a fraction": with_claims(iat=float(ISSUED)),
        "an iat that is true": with_claims(iat=True),
        "an iat before the epoch": with_claims(iat=-1),
        "an iat that is null": with_claims(iat=None),
        "no exp": without("exp"),
        "an exp that is a text": with_claims(exp=str(EXPIRES)),
        "an exp written as a fraction": with_claims(exp=float(EXPIRES)),
        "an exp that is true": with_claims(iat=0, exp=True),
        "an exp at the iat": with_claims(exp=ISSUED),
        "an exp before the iat": with_claims(exp=ISSUED - 1),
        "an exp beyond the calendar": with_claims(exp=253_402_300_800),
        "an exp that leaves no room in the calendar": with_claims(exp=253_370_764_801),
        "an exp of 2**40": with_claims(exp=2**40),
        "an exp beyond 64 bits": with_claims(exp=2**64),
        "times beyond the calendar": with_claims(iat=2**40 - 1, exp=2**40),
        "an nbf after the iat": with_claims(nbf=ISSUED + 61),
        "an nbf beyond 64 bits": with_claims(nbf=2**64),
        "an nbf that is a text": with_claims(nbf=str(ISSUED)),
        "an nbf written as a fraction": with_claims(nbf=float(ISSUED)),
        "an nbf that is true": with_claims(nbf=True),
        "an nbf that is null": with_claims(nbf=None),
        "no jti": without("jti"),
        "an empty jti": with_claims(jti=""),
        "a jti too long": with_claims(jti="x" * 256),
        "a jti that is a number": with_claims(jti=7),
        "groups that are a text": with_claims(**{"cognito:groups": "admins"}),
        "groups that are null": with_claims(**{"cognito:groups": None}),
        "groups that are an object": with_claims(**{"cognito:groups": {"admins": 1}}),
        "groups that are no names": with_claims(**{"cognito:groups": ["admins", 7]}),
        "groups that are lists": with_claims(**{"cognito:groups": [["admins"]]}),
        "too many groups": with_claims(**{"cognito:groups": ["g"] * (GROUPS_MAX + 1)}),
    },
}
TOKENS = [(flaw, name, token) for flaw, named in FLAWED.items() for name, token in named.items()]


@pytest.mark.parametrize(("flaw", "token"), [pytest.param(f, token, id=f"{f}: {name}") for f, name, token in TOKENS])
def test_a_flaw_is_noticed_and_named(flaw, token):
    assert VERIFIER.verify(token) == Unproven(flaw)


def test_every_flaw_has_its_tokens():
    assert set(FLAWED) == set(ProofFlaw)


def test_only_what_is_too_large_is_too_large():
    others = [token for flaw, _, token in TOKENS if flaw is not ProofFlaw.TOO_LARGE]
    assert max(map(len, others)) <= TOKEN_CHARS_MAX


# What is looked at first


class Counted:
    """A source that counts how often it is asked."""

    def __init__(self) -> None:
        self.fetches = 0

    def __call__(self) -> bytes:
        self.fetches += 1
        return JWKS


@pytest.mark.parametrize("flaw", [ProofFlaw.TOO_LARGE, ProofFlaw.ALGORITHM, ProofFlaw.HEADER])
def test_a_flaw_of_the_header_costs_no_key(flaw):
    source = Counted()
    verifier = TokenVerifier(KeySet(source), issuer=ISSUER, client_ids=frozenset({"web"}))
    for token in FLAWED[flaw].values():
        assert verifier.verify(token) == Unproven(flaw)
    assert source.fetches == 0


@pytest.mark.parametrize("kid", ["", None, 1, ["main"], "x" * 256])
def test_a_kid_that_cannot_be_one_costs_no_key(kid):
    source = Counted()
    verifier = TokenVerifier(KeySet(source), issuer=ISSUER, client_ids=frozenset({"web"}))
    assert verifier.verify(with_header(kid=kid)) == Unproven(ProofFlaw.KEY)
    assert source.fetches == 0


@pytest.mark.parametrize(
    "flaw", [ProofFlaw.ISSUER, ProofFlaw.TOKEN_USE, ProofFlaw.CLIENT, ProofFlaw.SCOPE, ProofFlaw.CLAIM]
)
def test_claims_that_nobody_signed_are_not_looked_at(flaw):
    for token in FLAWED[flaw].values():
        opened = token.rpartition(".")[0]
        forged = f"{opened}.{part(signature(opened, STRANGER))}"
        assert VERIFIER.verify(forged) == Unproven(ProofFlaw.SIGNATURE)


@pytest.mark.parametrize("claims", ["sub", "", "[" * 4_000, doubled(CLAIMS, "sub")])
def test_claims_that_nobody_signed_are_not_even_parsed(claims):
    assert VERIFIER.verify(signed(HEADER, claims, STRANGER)) == Unproven(ProofFlaw.SIGNATURE)


# Without keys


def away() -> bytes:
    raise FetchError("away")


def test_without_keys_nobody_can_say():
    verifier = TokenVerifier(KeySet(away), issuer=ISSUER, client_ids=frozenset({"web"}))
    token = signed(HEADER, CLAIMS)
    with pytest.raises(KeysAwayError) as raised:
        verifier.verify(token)
    assert not any(piece in str(raised.value) for piece in ("main", *token.split(".")))


def test_without_keys_a_token_that_could_never_hold_is_refused_all_the_same():
    verifier = TokenVerifier(KeySet(away), issuer=ISSUER, client_ids=frozenset({"web"}))
    for flaw in (ProofFlaw.TOO_LARGE, ProofFlaw.ALGORITHM, ProofFlaw.HEADER):
        assert {verifier.verify(token) for token in FLAWED[flaw].values()} == {Unproven(flaw)}


# Whatever is passed in

#: The number of examples bounds the time; a busy machine is no failure.
UNHURRIED = settings(deadline=None)


def test_nothing_of_a_token_is_logged(capfd, caplog):
    for _, _, token in TOKENS:
        VERIFIER.verify(token)
    VERIFIER.verify(signed(HEADER, CLAIMS))
    captured = capfd.readouterr()
    assert captured.out + captured.err + caplog.text == ""


@UNHURRIED
@given(st.text(st.characters(), max_size=200))
def test_any_text_gets_a_verdict(text):
    assert isinstance(VERIFIER.verify(text), Unproven)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
JSON = SCALARS | st.lists(SCALARS, max_size=4) | st.dictionaries(st.text(max_size=10), SCALARS, max_size=4)


@UNHURRIED
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64"]), JSON))
def test_any_header_gets_a_verdict(changes):
    verdict = VERIFIER.verify(signed({**HEADER, **changes}, CLAIMS))
    assert verdict == GOOD if changes.items() <= HEADER.items() else isinstance(verdict, Unproven)


@UNHURRIED
@given(st.sampled_from(sorted(CLAIMS)), JSON)
def test_any_claim_gets_a_verdict(name, value):
    assert isinstance(VERIFIER.verify(with_claims(**{name: value})), Person | Unproven)


@UNHURRIED
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_parts_get_a_verdict(header, claims):
    assert isinstance(VERIFIER.verify(signed(header, claims)), Unproven)
    assert isinstance(VERIFIER.verify(signed(HEADER, claims)), Unproven)


def test_no_character_of_a_token_can_be_changed():
    token, chance = signed(HEADER, CLAIMS), random.Random(7)  # noqa: S311 - the same every time
    alphabet = string.ascii_letters + string.digits + "-_.= \0é"
    for place, character in enumerate(token):
        other = chance.choice(alphabet.replace(character, ""))
        changed = token[:place] + other + token[place + 1 :]
        assert isinstance(VERIFIER.verify(changed), Unproven), place
