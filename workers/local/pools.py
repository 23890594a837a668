"""A user pool of one machine's own: a key pair in a folder, and access tokens as Amazon Cognito would sign them.

For developers and tests only. Its issuer lies in a domain that can never exist (RFC 2606), so that no token of it is
anything to a fleet that is configured for a real pool.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from joserfc import jwt
from joserfc.jwk import RSAKey

from workers.local.processes import LocalStackError, keep

ISSUER = "https://cognito-idp.local.invalid/local_pool"
CLIENT_ID = "payments-local"
#: How long a token holds, as it is recommended for the real pool.
LIFETIME = timedelta(minutes=15)
_KEYS, _PRIVATE = "jwks.json", "key.json"
_KEY_BITS = 2_048


def prepare(folder: Path) -> Path:
    """Make the pool's key pair unless it is there; return the file with its public keys."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if not (folder / _KEYS).exists():
        key = RSAKey.generate_key(_KEY_BITS, {"use": "sig", "alg": "RS256", "kid": f"local-{uuid4().hex[:8]}"})
        keep(folder / _PRIVATE, json.dumps(key.as_dict(private=True)), 0o600)
        keep(folder / _KEYS, json.dumps({"keys": [key.as_dict(private=False)]}), 0o644)
    return folder / _KEYS


class LocalPool:
    """Mints tokens with the private key beside the pool's public ones."""

    def __init__(self, keys_file: Path) -> None:
        """Read the private key.

        Raises:
            LocalStackError: there is none: this is no local stack's folder.
        """
        try:
            self.key = RSAKey.import_key(json.loads((keys_file.parent / _PRIVATE).read_text()))
        except (OSError, ValueError) as error:
            raise LocalStackError(
                f"{keys_file.parent} holds no local user pool: start `payments local` first."
            ) from error

    def mint(
        self,
        subject: UUID,
        groups: Iterable[str],
        at: datetime,
        *,
        claims: Mapping[str, Any] | None = None,
        lifetime: timedelta = LIFETIME,
    ) -> str:
        """Return an access token.

        Args:
            subject: whose it is.
            groups: the groups that it names.
            at: when it is issued.
            claims: further claims, or other values of the usual ones; None leaves a claim out.
            lifetime: how long it holds.
        """
        issued_at = int(at.timestamp())
        usual: dict[str, Any] = {
            "sub": str(subject),
            "cognito:groups": list(groups),
            "iss": ISSUER,
            "client_id": CLIENT_ID,
            "token_use": "access",
            "scope": "aws.cognito.signin.user.admin",
            "auth_time": issued_at,
            "iat": issued_at,
            "exp": issued_at + int(lifetime.total_seconds()),
            "jti": str(uuid4()),
            "username": str(subject),
        }
        chosen = {name: value for name, value in {**usual, **(claims or {})}.items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, chosen, self.key)
