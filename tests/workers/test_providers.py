"""A worker has its provider or does not start; a secret comes from Secrets Manager and never shows."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from contracts.provider import ProviderAwayError
from workers import settings
from workers.health import NotReadyError
from workers.providers import make_provider
from workers.settings import Settings, SettingsError
from workers.stripe_provider import StripeProvider

CANARY = "canary8675309"
TEST_KEY = f"sk_test_{CANARY}"
ARN = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:stripe"


class Secrets:
    """Secrets Manager: gives the secret that it has, or fails."""

    def __init__(self, secret: str | None = None, error: Exception | None = None) -> None:
        self.secret, self._error = secret, error
        self.asked: list[str] = []

    def get_secret_value(self, SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self.asked.append(SecretId)
        if self._error:
            raise self._error
        return {"SecretString": self.secret} if self.secret is not None else {"SecretBinary": b"x"}

    def __call__(self) -> Any:
        return self


def unasked() -> Any:
    raise AssertionError("no secret is needed")


def named(**values: str) -> Settings:
    return settings.load({f"PAYMENTS_{name.upper()}": value for name, value in values.items()})


def stripe(secrets: Callable[[], Any]) -> StripeProvider:
    made = make_provider(named(provider="stripe", stripe_secret_arn=ARN), secrets)
    assert isinstance(made, StripeProvider)
    return made


def test_the_provider_is_never_guessed():
    with pytest.raises(SettingsError, match="PAYMENTS_PROVIDER"):
        make_provider(settings.load({}), unasked)


def test_the_sandbox_is_reached_at_its_url_and_needs_no_secret():
    made = make_provider(named(provider="sandbox", provider_url="http://127.0.0.1:1"), unasked)
    assert (made.name, made.livemode) == ("sandbox", False)
    with pytest.raises(SettingsError, match="PAYMENTS_PROVIDER_URL"):
        make_provider(named(provider="sandbox"), unasked)


def test_a_worker_that_starts_while_its_provider_is_away_starts():
    made = make_provider(named(provider="sandbox", provider_url="http://127.0.0.1:1"), unasked)
    with pytest.raises(ProviderAwayError):
        made.probe()


@pytest.mark.parametrize(
    ("secret", "livemode"),
    [
        (TEST_KEY, False),
        (f"  {TEST_KEY}\n", False),
        (json.dumps({"key": TEST_KEY, "note": "of the platform"}), False),
        (f"rk_test_{CANARY}", False),
        (f"sk_live_{CANARY}", True),
        (json.dumps({"key": f"rk_live_{CANARY}"}), True),
    ],
)
def test_stripes_key_is_the_secret_or_its_field(secret: str, *, livemode: bool):
    secrets = Secrets(secret)
    made = stripe(secrets)
    assert (made.name, made.livemode) == ("stripe", livemode)
    assert secrets.asked == [ARN]


def test_without_the_name_of_its_secret_stripe_is_not_asked():
    with pytest.raises(SettingsError, match="PAYMENTS_STRIPE_SECRET_ARN"):
        make_provider(named(provider="stripe"), unasked)


@pytest.mark.parametrize(
    "secret",
    [
        CANARY,
        f"pk_live_{CANARY}",
        json.dumps({"key": CANARY}),
        json.dumps({"key": 7}),
        json.dumps({CANARY: TEST_KEY}),
        "",
    ],
)
def test_what_is_no_key_is_told_without_a_word_of_it(secret: str):
    with pytest.raises(NotReadyError) as told:
        stripe(Secrets(secret))
    assert CANARY not in str(told.value) + repr(told.value.__cause__)


@pytest.mark.parametrize(
    "secrets",
    [
        Secrets("{" + CANARY),
        Secrets(None),
        Secrets(error=ClientError({"Error": {"Code": "AccessDenied", "Message": CANARY}}, "GetSecretValue")),
        Secrets(error=EndpointConnectionError(endpoint_url=CANARY)),
    ],
    ids=["broken JSON", "no text", "refused", "away"],
)
def test_a_secret_that_cannot_be_had_is_told_by_the_class_of_the_trouble(secrets: Secrets):
    with pytest.raises(NotReadyError, match="no key for the provider: ") as told:
        stripe(secrets)
    assert CANARY not in str(told.value) + repr(told.value.__cause__)


def test_a_live_key_goes_over_no_unencrypted_connection():
    found = named(provider="stripe", stripe_secret_arn=ARN, provider_url="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="https"):
        make_provider(found, Secrets(f"sk_live_{CANARY}"))
