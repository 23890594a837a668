"""What says whose word a token is: chosen and put together from the settings."""

from collections.abc import Callable

from workers import jwks
from workers.jwks import KeySet
from workers.settings import Settings
from workers.tokens import TokenVerifier

#: What a role needs that judges tokens.
TOKEN_SETTINGS = ("token_issuer", "token_client_ids")


def make_verifier(settings: Settings, fetched: Callable[[bool], None] = lambda _ok: None) -> TokenVerifier:
    """Return the verifier of the pinned pool's access tokens.

    `fetched` is called after each fetch of the signing keys, with its success.

    The keys come from the pool itself, at the address that its issuer gives them (Amazon Cognito, "Verifying a JSON web
    token"), or on a developer's machine from a file.
    """
    issuer = settings.token_issuer or ""
    if settings.token_keys_file is not None:
        source = jwks.from_file(settings.token_keys_file)
    else:
        source = jwks.from_url(f"{issuer}/.well-known/jwks.json")
    keys = KeySet(
        source,
        ttl_s=settings.jwks_ttl_s,
        cooldown_s=settings.jwks_cooldown_s,
        stale_max_s=settings.jwks_stale_max_s,
        fetched=fetched,
    )
    return TokenVerifier(
        keys, issuer=issuer, client_ids=frozenset(settings.token_client_ids), scope=settings.token_scope
    )
