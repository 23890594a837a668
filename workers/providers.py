"""The payment providers behind the port: Stripe, and the sandbox that ships with the service and behaves like it."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from contracts.provider import PayoutProvider
from workers.health import NotReadyError
from workers.settings import Settings
from workers.stripe_provider import StripeProvider, Timeouts

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

#: What the sandbox takes as a key: it keeps no secrets.
SANDBOX_KEY = "sk_test_sandbox"


def make_provider(settings: Settings, secrets: Callable[[], "SecretsManagerClient"]) -> PayoutProvider:
    """Return the provider that the settings name; it is never guessed, since a wrong guess would not pay.

    Args:
        settings: name it.
        secrets: makes the Secrets Manager client when it is needed.

    Raises:
        SettingsError: none is named, or what it needs is not.
        NotReadyError: its key cannot be had.
    """
    settings.require("provider")
    timeouts = Timeouts(look_up_s=settings.provider_look_up_s, submit_s=settings.provider_submit_s)
    if settings.provider == "sandbox":
        settings.require("provider_url")
        return StripeProvider(
            name="sandbox", key=lambda: SANDBOX_KEY, api_base=settings.provider_url, timeouts=timeouts
        )
    settings.require("stripe_secret_arn")
    arn = settings.stripe_secret_arn or ""
    return StripeProvider(
        name="stripe",
        key=lambda: _key(secrets(), arn),
        api_base=settings.provider_url,
        timeouts=timeouts,
        platform=settings.stripe_account_id,
    )


def _key(client: "SecretsManagerClient", secret_arn: str) -> str:
    """Return Stripe's secret key: the secret itself, or its field `key` where it is a JSON object."""
    try:
        text = client.get_secret_value(SecretId=secret_arn)["SecretString"].strip()
        key = json.loads(text)["key"] if text.startswith("{") else text
    except (BotoCoreError, ClientError, ValueError, KeyError, TypeError) as error:
        raise NotReadyError(f"no key for the provider: {type(error).__name__}") from None
    if not isinstance(key, str) or not key.startswith(("sk_", "rk_")):
        raise NotReadyError("what the secret holds is no key of the provider: it begins with sk_ or rk_")
    return key
