"""Access tokens of a user pool: whose word a command is (RFC 7519, RFC 8725), judged without a clock.

The steps stand in the order of what they cost and of what may be believed: the header, the key, the signature, and
only then the claims. Nothing of a token gets into a log or into the text of an exception.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeGuard
from uuid import UUID

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.util import urlsafe_b64decode

from contracts.envelope import Malformed, parse_object
from contracts.ids import as_uuid
from contracts.proof import Person, ProofFlaw, Unproven
from workers.jwks import ALGORITHM, KID_CHARS_MAX, KeySet

#: The longest token, in characters; a user pool's has about 1,000.
TOKEN_CHARS_MAX = 8_192
#: The longest `jti`, in characters.
PROOF_ID_CHARS_MAX = 255
#: The most groups that a token may name.
GROUPS_MAX = 100
#: By how much `nbf` may lie after `iat`, in seconds: two clocks of one issuer.
NOT_BEFORE_SKEW_S = 60
#: The last second that is taken: whoever adds a tolerance to it is still within the calendar.
SECONDS_MAX = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())
#: All that a header may hold: what is not known could change what the signature means.
HEADER_NAMES = frozenset({"alg", "kid", "typ"})
#: What a header may call the token, in lower case.
TOKEN_TYPES = frozenset({"jwt", "at+jwt"})
_PARTS = 3


class _Registry(jws.JWSRegistry):
    """One algorithm; and no part of a token is too long by itself, since the whole is bounded."""

    max_header_length = max_signature_length = max_payload_length = TOKEN_CHARS_MAX


_REGISTRY = _Registry(algorithms=[ALGORITHM])


class TokenVerifier:
    """Says whose word a token is, for the access tokens of one user pool."""

    def __init__(self, keys: KeySet, *, issuer: str, client_ids: frozenset[str], scope: str | None = None) -> None:
        """Keep whose tokens are believed.

        Args:
            keys: the issuer's signing keys.
            issuer: the exact `iss`.
            client_ids: the applications whose tokens count; access tokens have no audience.
            scope: what a token must allow; None asks for no scope.
        """
        self._keys = keys
        self._issuer = issuer
        self._client_ids = client_ids
        self._scope = scope

    def verify(self, token: str) -> Person | Unproven:
        """Return whose token it is, or why it is nobody's; see `contracts.proof.Verifier`.

        Raises:
            KeysAwayError: the signing keys cannot be had now.
        """
        if len(token) > TOKEN_CHARS_MAX:
            return Unproven(ProofFlaw.TOO_LARGE)
        parts = _parts(token)
        header = _object(parts[0]) if parts else None
        if parts is None or header is None:
            return Unproven(ProofFlaw.MALFORMED)
        flaw = _header_flaw(header) or self._signature_flaw(token, header["kid"])
        return Unproven(flaw) if flaw else self._judged(header["kid"], _object(parts[1]))

    def _signature_flaw(self, token: str, kid: str) -> ProofFlaw | None:
        key = self._keys.key(kid)
        if key is None:
            return ProofFlaw.KEY
        return None if _is_signed(token, key) else ProofFlaw.SIGNATURE

    def _judged(self, kid: str, claims: Mapping[str, Any] | None) -> Person | Unproven:
        """Return what the claims of a signed token come to."""
        if claims is None:
            return Unproven(ProofFlaw.MALFORMED)
        flaw = self._purpose_flaw(claims)
        if flaw:
            return Unproven(flaw)
        return _person(kid, claims) or Unproven(ProofFlaw.CLAIM)

    def _purpose_flaw(self, claims: Mapping[str, Any]) -> ProofFlaw | None:
        """Return why a token is not meant for us: somebody else's, an ID token, of another application."""
        client_id, scopes = claims.get("client_id"), claims.get("scope")
        if claims.get("iss") != self._issuer:
            return ProofFlaw.ISSUER
        if claims.get("token_use") != "access":
            return ProofFlaw.TOKEN_USE
        if not isinstance(client_id, str) or client_id not in self._client_ids:
            return ProofFlaw.CLIENT
        if self._scope is not None and (not isinstance(scopes, str) or self._scope not in scopes.split(" ")):
            return ProofFlaw.SCOPE
        return None


def _parts(token: str) -> list[bytes] | None:
    """Return the three parts that a token is put together from; None when it is not."""
    try:
        parts = [urlsafe_b64decode(part) for part in token.encode("ascii").split(b".")]
    except ValueError:  # not ASCII, or not base64url as it is written
        return None
    return parts if len(parts) == _PARTS else None


def _object(text: bytes) -> dict[str, Any] | None:
    """Return a JSON object, read strictly: two readers of one text must not see two different things."""
    try:
        return parse_object(text.decode())
    except (UnicodeDecodeError, Malformed):
        return None


def _header_flaw(header: Mapping[str, Any]) -> ProofFlaw | None:
    kid, kind = header.get("kid"), header.get("typ", "JWT")
    if header.get("alg") != ALGORITHM:
        return ProofFlaw.ALGORITHM
    if not header.keys() <= HEADER_NAMES or not isinstance(kind, str) or kind.lower() not in TOKEN_TYPES:
        return ProofFlaw.HEADER
    if not isinstance(kid, str) or not 0 < len(kid) <= KID_CHARS_MAX:
        return ProofFlaw.KEY
    return None


def _is_signed(token: str, key: RSAKey) -> bool:
    try:
        jws.deserialize_compact(token, key, registry=_REGISTRY)
    except (JoseError, ValueError):
        return False
    return True


def _person(kid: str, claims: Mapping[str, Any]) -> Person | None:
    """Return whose token it is; None when a claim is not what it must be."""
    subject, period, groups, proof_id = _subject(claims), _period(claims), _groups(claims), claims.get("jti")
    if subject is None or period is None or groups is None:
        return None
    if not isinstance(proof_id, str) or not 0 < len(proof_id) <= PROOF_ID_CHARS_MAX:
        return None
    issued_at, expires_at = period
    return Person(
        subject=subject,
        groups=groups,
        issued_at=issued_at,
        expires_at=expires_at,
        client_id=claims["client_id"],
        proof_id=proof_id,
        key_id=kid,
    )


def _subject(claims: Mapping[str, Any]) -> UUID | None:
    subject = claims.get("sub")
    return as_uuid(subject) if isinstance(subject, str) else None


def _period(claims: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Return from when until when a token holds; None when that is no time."""
    issued, expires = claims.get("iat"), claims.get("exp")
    if not _is_integer(issued) or not _is_integer(expires) or not 0 <= issued < expires <= SECONDS_MAX:
        return None
    not_before = claims.get("nbf", issued)
    if not _is_integer(not_before) or not_before > issued + NOT_BEFORE_SKEW_S:
        return None
    return datetime.fromtimestamp(issued, UTC), datetime.fromtimestamp(expires, UTC)


def _is_integer(value: object) -> TypeGuard[int]:
    """Whether it is an integer, which a bool is in Python and not in JSON."""
    return isinstance(value, int) and not isinstance(value, bool)


def _groups(claims: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the groups that a token names, none if it does not speak of them; None when that is no list of names."""
    groups = claims.get("cognito:groups", [])
    if not isinstance(groups, list) or len(groups) > GROUPS_MAX or not all(isinstance(name, str) for name in groups):
        return None
    return frozenset(groups)
