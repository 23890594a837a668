"""Where the database is and how to log in: a URL, or an Aurora endpoint with credentials from Secrets Manager.

Credentials are kept for an hour and fetched anew at once when the database refuses a login, so that a rotation
costs one failed connection at most.
"""

import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from workers import clock
from workers.logs import logger
from workers.settings import Settings, SettingsError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

#: After a refused login the secret is fetched at most this often: a wrong secret must not become a storm.
REFRESH_COOLDOWN_S = 10.0
_log = logger(__name__)


class Fetched(Protocol):
    """Is told that credentials were fetched, or could not be."""

    def __call__(self, reason: str, *, ok: bool) -> None:
        """Take notice."""


def _nobody(reason: str, *, ok: bool) -> None:
    """Take no notice."""


class RotatingCredentials:
    """The database's address with its current credentials; safe to share between threads."""

    def __init__(self, client: "SecretsManagerClient", secret_arn: str, address: dict[str, str], ttl_s: float) -> None:
        self._client = client
        self._secret_arn = secret_arn
        self._address = address
        self._ttl_s = ttl_s
        self._lock = threading.Lock()
        self._login: dict[str, str] = {}
        self._fetched_at = float("-inf")
        #: When the login that is in use was fetched; not `_fetched_at`, which a refused login sets back.
        self._login_since: float | None = None
        self._reason = "ttl"
        #: Called after each try to fetch, with the reason (`ttl`, `auth_failure`) and its success.
        self.fetched: Fetched = _nobody

    def __call__(self) -> str:
        """Return what a new connection needs, as a libpq connection string.

        Raises:
            ConnectionError: the secret cannot be had, and never could.
        """
        with self._lock:
            if clock.monotonic() - self._fetched_at > self._ttl_s:
                self._fetch()
            return _conninfo({**self._address, **self._login})

    def login_refused(self) -> None:
        """Forget the credentials, since the database no longer takes them."""
        with self._lock:
            if clock.monotonic() - self._fetched_at > REFRESH_COOLDOWN_S:
                self._fetched_at = float("-inf")
                self._reason = "auth_failure"

    @property
    def age_s(self) -> float | None:
        """How old the credentials in use are, in seconds; None before there are any."""
        return None if self._login_since is None else clock.monotonic() - self._login_since

    def _fetch(self) -> None:
        """Fetch the secret; while it cannot be had, the credentials that are there serve on."""
        reason, self._reason = self._reason, "ttl"
        ok = False
        try:
            ok = self._ask()
        finally:
            self.fetched(reason, ok=ok)

    def _ask(self) -> bool:
        """Return whether there are fresh ones."""
        try:
            secret = json.loads(self._client.get_secret_value(SecretId=self._secret_arn)["SecretString"])
            login = {"user": str(secret["username"]), "password": str(secret["password"])}
        except (BotoCoreError, ClientError, ValueError, KeyError, TypeError) as error:  # or not the secret that it was
            if not self._login:
                raise ConnectionError(f"no database credentials: {type(error).__name__}") from None
            _log.warning("credentials not refreshed", error=type(error).__name__)
            return False
        self._login = login
        self._fetched_at = self._login_since = clock.monotonic()
        return True


Source = str | RotatingCredentials


def database(settings: Settings, secrets: Callable[[], "SecretsManagerClient"]) -> Source:
    """Return how to reach the database.

    Args:
        settings: names either PAYMENTS_DATABASE_URL or AURORA_ENDPOINT with AURORA_SECRET_ARN.
        secrets: makes the Secrets Manager client when it is needed.

    Raises:
        SettingsError: neither is there.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    if settings.aurora_endpoint is None or settings.aurora_secret_arn is None:
        raise SettingsError("not set: PAYMENTS_DATABASE_URL, or AURORA_ENDPOINT and AURORA_SECRET_ARN.")
    address = {
        "host": settings.aurora_endpoint,
        "dbname": settings.database_name,
        "sslmode": "verify-full",
        "sslrootcert": settings.database_ca_file or "system",
        "target_session_attrs": "read-write",
    }
    return RotatingCredentials(secrets(), settings.aurora_secret_arn, address, settings.credentials_ttl_s)


def _conninfo(parts: dict[str, str]) -> str:
    """Return a libpq connection string; values are quoted as libpq's documentation says (33.1.1.1)."""
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in parts.items()}
    return " ".join(f"{name}='{value}'" for name, value in quoted.items())
