"""The payment providers behind the port: for now the `sandbox`, which keeps its books in a schema of its own."""

from contracts.provider import Answer, LookUp, NotFound, PayoutOrder, PayoutProvider, TryLater, Unknown
from store import sandbox
from store.db import Pool, Transient
from workers.health import NotReadyError
from workers.settings import Settings
from workers.telemetry import logger

_log = logger(__name__)


class SandboxProvider:
    """A provider without a bank behind it: every order is accepted once, under its idempotency key.

    Raises:
        NotReadyError: the database has no books for it, or its user may not write them.
    """

    name = "sandbox"

    def __init__(self, pool: Pool) -> None:
        if not _usable(pool):
            raise NotReadyError(
                "the database has no books for the sandbox provider: run `payments migrate` with"
                " PAYMENTS_PROVIDER=sandbox"
            )
        self._pool = pool

    def look_up(self, order: PayoutOrder) -> LookUp:
        """Return the transfer that this payment already has."""
        try:
            return sandbox.find_transfer(self._pool, order) or NotFound()
        except Transient as error:
            return TryLater(error.reason)

    def submit(self, order: PayoutOrder) -> Answer:
        """Make the transfer; a connection that breaks here leaves the outcome unknown, as with a real provider."""
        try:
            return sandbox.make_transfer(self._pool, order)
        except Transient as error:
            return Unknown(error.reason)


def _usable(pool: Pool) -> bool:
    """Whether the books are there; while the database cannot say, it is believed: a worker starts during an outage."""
    try:
        return sandbox.usable(pool)
    except Transient as trouble:
        _log.warning("books not checked", reason=trouble.reason)
        return True


def make_provider(settings: Settings, pool: Pool) -> PayoutProvider:
    """Return the provider that the settings name; it is never guessed, since a wrong guess would not pay.

    Raises:
        SettingsError: none is named.
        NotReadyError: the database was not made ready for it.
    """
    settings.require("provider")
    return SandboxProvider(pool)
