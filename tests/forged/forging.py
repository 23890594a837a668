"""How tokens are forged: put together by hand, each wrong in one way and otherwise as the local pool makes them."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from workers.local.pools import CLIENT_ID, ISSUER, LIFETIME, LocalPool

Part = Mapping[str, Any] | str
_HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def base64url(octets: bytes) -> str:
    """Octets as they stand in a token."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def octets_of(part: str) -> bytes:
    """What a part of a token says."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with changes; `...` removes a name."""
    return {name: value for name, value in {**base, **changes}.items() if value is not ...}


def doubled(document: Mapping[str, Any], name: str, first: Any) -> str:
    """An object as JSON with one of its names written twice, the first time with another value."""
    return f"{{{json.dumps(name)}: {json.dumps(first)}, {json.dumps(document)[1:]}"


class Mint:
    """Makes good and bad tokens, and remembers all of them: none may turn up anywhere."""

    def __init__(self, pool: LocalPool, canary: str) -> None:
        self._pool = pool
        self.canary = canary
        self.stranger = RSAKey.generate_key(2048)
        self.made: list[str] = []

    def keep(self, token: str) -> str:
        self.made.append(token)
        return token

    def good(self, subject: str, groups: list[str], at: datetime | None = None) -> str:
        """A token as the local pool itself makes it."""
        from uuid import UUID  # noqa: PLC0415

        return self.keep(self._pool.mint(UUID(subject), groups, at or datetime.now(UTC), claims=self._marked()))

    def header(self, **changes: Any) -> dict[str, Any]:
        return changed({"alg": "RS256", "kid": self._pool.key.kid}, changes)

    def claims(self, subject: str, groups: list[str], **changes: Any) -> dict[str, Any]:
        """The claims of a token that has just been issued."""
        issued = int(datetime.now(UTC).timestamp())
        usual = {
            "sub": subject,
            "cognito:groups": groups,
            "iss": ISSUER,
            "client_id": CLIENT_ID,
            "token_use": "access",
            "scope": "aws.cognito.signin.user.admin",
            "auth_time": issued,
            "iat": issued,
            "exp": issued + int(LIFETIME.total_seconds()),
            "jti": str(uuid4()),
            "username": subject,
        }
        return changed({**usual, **self._marked()}, changes)

    def signed(self, header: Part, claims: Part, *, key: RSAKey | None = None, algorithm: str = "RS256") -> str:
        """A token with the signature that goes with its parts, whatever they say."""
        opened = self.opened(header, claims)
        seal = jws.JWSRegistry.algorithms[algorithm].sign(opened.encode(), key or self._pool.key)
        return self.sealed(opened, seal)

    def on_a_curve(self, header: Part, claims: Part) -> str:
        """A token that an elliptic curve signs."""
        opened = self.opened(header, claims)
        return self.sealed(opened, jws.JWSRegistry.algorithms["ES256"].sign(opened.encode(), ECKey.generate_key()))

    def with_secret(self, secret: bytes, claims: Part, algorithm: str = "HS256") -> str:
        """A token that is signed with what everybody may know, taken for a shared secret."""
        opened = self.opened(self.header(alg=algorithm), claims)
        return self.sealed(opened, hmac.new(secret, opened.encode(), _HASHES[algorithm]).digest())

    def opened(self, header: Part, claims: Part) -> str:
        """What a signature is over."""
        return ".".join(base64url(_text(part).encode()) for part in (header, claims))

    def sealed(self, opened: str, seal: bytes) -> str:
        return self.keep(f"{opened}.{base64url(seal)}")

    def public_key(self) -> bytes:
        return self._pool.key.as_pem(private=False)

    def public_jwk(self) -> bytes:
        return json.dumps(self._pool.key.as_dict(private=False)).encode()

    def _marked(self) -> dict[str, str]:
        return {"device_key": self.canary}


def _text(part: Part) -> str:
    return part if isinstance(part, str) else json.dumps(part)
