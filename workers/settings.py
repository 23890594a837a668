"""The settings: read once from the environment, frozen, every default and limit visible in one place.

Five names are the platform's own: AURORA_SECRET_ARN, AURORA_ENDPOINT, DATABASE_NAME, APPROVAL_QUEUE_URL and
EVENT_BUS_NAME. Ours carry the prefix PAYMENTS_; an unknown name with it is an error, since a misspelt limit that is
silently ignored is worse than none. Durations are in seconds. AWS endpoints follow boto3's own variables.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from handlers.decision import Rules, Senders
from store.db import PoolOptions
from workers.allowance import PER_MINUTE

PREFIX = "PAYMENTS_"
#: `maxReceiveCount` of the redrive policies in deploy/messaging.yaml.
MAX_RECEIVES = 10
#: How long a message can come back: 4 days from its queue, then 14 from its dead-letter queue (deploy/messaging.yaml).
INBOX_DAYS_MIN = 18

#: The environment of a developer's machine; what is only for it is refused anywhere else.
LOCAL = "local"
#: What an environment is that does not say what it is.
PRODUCTION = "production"

Words = Annotated[tuple[str, ...], NoDecode]
Durations = Annotated[tuple[float, ...], NoDecode]


class SettingsError(Exception):
    """The environment does not add up; the text says which variable and what to do, never a value."""


class Settings(BaseSettings):
    """What every role is run with; a role asks by `require` for what it cannot do without."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", populate_by_name=True, allow_inf_nan=False
    )

    # Where things are
    database_url: SecretStr | None = None
    aurora_secret_arn: str | None = Field(None, validation_alias="AURORA_SECRET_ARN")
    aurora_endpoint: str | None = Field(None, validation_alias="AURORA_ENDPOINT")
    database_name: str = Field("roadcall", validation_alias="DATABASE_NAME")
    database_ca_file: str | None = None
    event_queue_url: str | None = None
    command_queue_url: str | None = None
    payout_queue_url: str | None = None
    approval_queue_url: str | None = Field(None, validation_alias="APPROVAL_QUEUE_URL")
    event_bus_name: str | None = Field(None, validation_alias="EVENT_BUS_NAME")

    # What is believed and announced
    work_sources: Words = ("roadcall.incident", "roadcall.incident-service", "incident-svc")
    event_source: str = "roadcall.payment"
    allow_legacy_ids: bool = False
    provider: Literal["sandbox", "stripe"] | None = None
    provider_url: str | None = None
    provider_sources: Words = ()
    stripe_secret_arn: str | None = None
    stripe_account_id: str | None = None
    provider_look_up_s: float = Field(10, gt=0, le=15)
    provider_submit_s: float = Field(20, gt=0, le=25)
    account_cool_down_s: float = Field(86_400, ge=0)

    # Who is believed: tokens, and the senders of messages
    token_issuer: str | None = None
    token_client_ids: Words = ()
    token_scope: str | None = None
    token_keys_file: Path | None = None
    token_skew_s: float = Field(60, ge=0, le=300)
    jwks_ttl_s: float = Field(3_600, gt=0)
    jwks_cooldown_s: float = Field(30, gt=0)
    jwks_stale_max_s: float = Field(86_400, gt=0)
    command_age_s: float = Field(86_400, gt=0)
    command_senders: Words = ()
    membership_senders: Words = ()
    account_senders: Words = ()
    service_senders: Words = ()
    operator_senders: Words = ()

    # The worker: threads, leases, back-off (messaging reference, "Settled settings")
    worker_threads: int = Field(8, ge=1, le=64)
    prefetch_factor: int = Field(4, ge=1, le=10)
    pollers_per_queue: int = Field(2, ge=1, le=10)
    poll_wait_s: int = Field(20, ge=0, le=20)
    visibility_s: int = Field(60, ge=2, le=3_600)
    lease_renew_s: float = Field(20, gt=0)
    hold_max_s: float = Field(600, gt=0)
    backoff_s: Durations = (5, 15, 45, 120, 300)
    backoff_jitter: float = Field(0.2, ge=0, le=0.9)
    settle_age_s: float = Field(0.1, ge=0, le=5)
    outage_s: Durations = (30, 60)
    breaker_probe_s: float = Field(2, gt=0, le=60)
    stop_budget_s: float = Field(45, gt=0)
    not_yet_s: float = Field(120, ge=0)
    clock_skew_s: float = Field(300, ge=0)
    submit_window_s: float = Field(82_800, gt=0, le=86_400)
    submit_grace_s: float = Field(3_600, ge=60)
    check_after_s: Durations = (300, 3_600, 86_400)

    # The database
    pool_size_min: int = Field(2, ge=0, le=10)
    pool_size_max: int = Field(10, ge=1, le=100)
    pool_idle_s: float = Field(30, gt=0)
    pool_lifetime_s: float = Field(1_800, gt=0)
    pool_wait_s: float = Field(10, gt=0)
    connect_timeout_s: int = Field(3, ge=1)
    statement_timeout_s: float = Field(10, gt=0, le=30)
    lock_timeout_s: float = Field(5, gt=0, le=30)
    idle_in_transaction_timeout_s: float = Field(15, gt=0)
    credentials_ttl_s: float = Field(3_600, gt=0)

    # The relay
    relay_batch: int = Field(100, ge=1, le=1_000)
    relay_at_once: int = Field(4, ge=1, le=32)
    relay_lease_s: float = Field(60, ge=5)
    relay_busy_s: float = Field(0.02, gt=0, le=5)
    relay_idle_s: float = Field(0.25, gt=0, le=30)
    notify_every_s: float = Field(0.05, gt=0)
    relay_backoff_max_s: float = Field(300, gt=0)
    inbox_retention_days: int = Field(120, le=36_500)
    outbox_retention_days: int = Field(30, ge=1, le=36_500)
    sweep_every_s: float = Field(30, gt=0)
    sweep_batch: int = Field(500, ge=1, le=10_000)
    sweep_again_s: float = Field(3_600, gt=0)
    stuck_after_s: float = Field(300, gt=0)
    prune_every_s: float = Field(600, gt=0)
    prune_batch: int = Field(500, ge=1, le=10_000)

    # The monitor, and what every process tells of itself
    monitor_every_s: float = Field(5, gt=0, le=300)
    queue_look_every_s: float = Field(15, gt=0, le=300)
    queue_age_every_s: float = Field(60, gt=0, le=3_600)
    count_every_s: float = Field(60, gt=0, le=86_400)
    # No longer than InvariantsUnchecked and AuditChainUnverified allow (deploy/observability/thresholds.toml).
    invariants_every_s: float = Field(3_600, gt=0, le=7_200)
    audit_verify_every_s: float = Field(86_400, gt=0, le=86_400)
    snapshot_keep_s: float = Field(7_200, ge=60, le=604_800)
    heartbeat_every_s: float = Field(10, gt=0, le=300)

    # Health and status endpoints, logs, spans
    host: str = "127.0.0.1"
    health_port: int = Field(9_100, ge=0, le=65_535)
    status_port: int = Field(8_080, ge=0, le=65_535)
    denials_per_minute: int = Field(PER_MINUTE, ge=0, le=100_000)
    status_page: Literal["on", "off"] = "on"
    status_refresh_s: int = Field(5, ge=1, le=3_600)
    environment: str = PRODUCTION
    commit: str = "unknown"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    trace_parent: Literal["link", "parent"] = "link"

    # A person at the command line
    actor_token: SecretStr | None = None
    actor_token_file: Path | None = None

    # The local stack
    postgres_bin: str | None = None

    @field_validator("inbox_retention_days")
    @classmethod
    def _outlives_every_message(cls, days: int) -> int:
        if days < INBOX_DAYS_MIN:
            raise ValueError(
                f"needs at least {INBOX_DAYS_MIN} days: a message may come back for 4 days from its queue and for 14"
                " from the dead-letter queue, and without its inbox row it would be handled a second time"
            )
        return days

    @field_validator("token_issuer")
    @classmethod
    def _https(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("https://"):
            raise ValueError("needs the pool's https:// address, as it stands in the tokens' `iss`")
        return value

    @field_validator(
        "work_sources",
        "token_client_ids",
        "command_senders",
        "membership_senders",
        "account_senders",
        "provider_sources",
        "service_senders",
        "operator_senders",
        mode="before",
    )
    @classmethod
    def _words(cls, value: Any) -> Any:
        return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value

    @field_validator("backoff_s", "check_after_s", "outage_s", mode="before")
    @classmethod
    def _durations(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return tuple(float(word) for word in value.split(","))
        except ValueError:
            raise ValueError("needs seconds, separated by commas") from None  # without the value: it may be a secret

    @field_validator("backoff_s", "check_after_s", "outage_s")
    @classmethod
    def _not_negative(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(delay < 0 for delay in value):
            raise ValueError("needs durations of zero or more")
        return value

    @field_validator("outage_s")
    @classmethod
    def _bounds(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) != 2 or value[0] > value[1]:  # noqa: PLR2004 - from, to
            raise ValueError("needs two durations, the shorter first")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.lease_renew_s > self.visibility_s / 2:
            raise ValueError("PAYMENTS_LEASE_RENEW_S must be at most half of PAYMENTS_VISIBILITY_S")
        if self.settle_age_s > self.visibility_s / 10:
            raise ValueError("PAYMENTS_SETTLE_AGE_S must be at most a tenth of PAYMENTS_VISIBILITY_S")
        if self.hold_max_s < self.visibility_s:
            raise ValueError("PAYMENTS_HOLD_MAX_S must be at least PAYMENTS_VISIBILITY_S")
        if self.stop_budget_s <= self.poll_wait_s:
            raise ValueError(
                "PAYMENTS_STOP_BUDGET_S must be longer than PAYMENTS_POLL_WAIT_S: a long poll ends by itself"
            )
        if self.pool_size_min > self.pool_size_max:
            raise ValueError("PAYMENTS_POOL_SIZE_MIN must be at most PAYMENTS_POOL_SIZE_MAX")
        if self.worker_threads > self.pool_size_max:
            raise ValueError("PAYMENTS_POOL_SIZE_MAX must be at least PAYMENTS_WORKER_THREADS: each thread uses one")
        if set(self.provider_sources) & set(self.work_sources):
            raise ValueError("PAYMENTS_PROVIDER_SOURCES and PAYMENTS_WORK_SOURCES must have no source in common")
        if self.token_keys_file is not None and self.environment != LOCAL:
            raise ValueError(
                "PAYMENTS_TOKEN_KEYS_FILE is for the local stack: elsewhere the keys come from the pool itself"
            )
        tries = [self.backoff_s[min(number, len(self.backoff_s) - 1)] for number in range(MAX_RECEIVES - 1)]
        if sum(tries) * (1 - self.backoff_jitter) < self.not_yet_s:
            raise ValueError("PAYMENTS_BACKOFF_S would use up all receives before PAYMENTS_NOT_YET_S is over")
        return self

    @field_validator("backoff_s", "check_after_s", "work_sources")
    @classmethod
    def _not_empty(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value:
            raise ValueError("needs at least one value")
        return value

    def require(self, *names: str) -> None:
        """Check that a role has what it needs.

        Raises:
            SettingsError: something is missing; the text lists all of it.
        """
        missing = [_variable(name) for name in names if getattr(self, name) in (None, ())]
        if missing:
            raise SettingsError(f"not set: {', '.join(missing)}. `payments local --infra-only` prints a set of them.")

    @property
    def pays_unregistered(self) -> bool:
        """Whether a vendor without a registered account is paid: the sandbox has no bank behind it."""
        return self.provider == "sandbox"

    def rules(self) -> Rules:
        """Return what decisions depend on."""
        return Rules(
            not_yet_for=timedelta(seconds=self.not_yet_s),
            clock_skew=timedelta(seconds=self.clock_skew_s),
            submit_window=timedelta(seconds=self.submit_window_s),
            check_after=tuple(timedelta(seconds=delay) for delay in self.check_after_s),
            allow_legacy_ids=self.allow_legacy_ids,
            provider=self.provider or "none",
            account_cool_down=timedelta(seconds=self.account_cool_down_s),
            unregistered_accounts=self.pays_unregistered,
            command_age=timedelta(seconds=self.command_age_s),
            token_skew=timedelta(seconds=self.token_skew_s),
            senders=Senders(
                commands=frozenset(self.command_senders),
                memberships=frozenset(self.membership_senders),
                accounts=frozenset(self.account_senders),
                payouts=frozenset(self.service_senders),
                operators=frozenset(self.operator_senders),
            ),
        )

    def pool_options(self, role: str, *, size_max: int | None = None) -> PoolOptions:
        """Return the pool's limits for a role, at most `size_max` connections where the role needs fewer."""
        return PoolOptions(
            size_min=min(self.pool_size_min, size_max or self.pool_size_max),
            size_max=min(self.pool_size_max, size_max or self.pool_size_max),
            idle_s=self.pool_idle_s,
            lifetime_s=self.pool_lifetime_s,
            wait_s=self.pool_wait_s,
            connect_s=self.connect_timeout_s,
            statement_s=self.statement_timeout_s,
            lock_s=self.lock_timeout_s,
            idle_in_transaction_s=self.idle_in_transaction_timeout_s,
            application=f"payments-{role}",
        )


#: Short intervals for tests and the local stack; printed wherever it is used.
FAST_PROFILE: Mapping[str, str] = {
    "PAYMENTS_POLL_WAIT_S": "1",
    "PAYMENTS_BACKOFF_S": "1,1,2,4,8",
    "PAYMENTS_OUTAGE_S": "2,4",
    "PAYMENTS_BREAKER_PROBE_S": "0.5",
    "PAYMENTS_NOT_YET_S": "15",
    "PAYMENTS_HEALTH_PORT": "0",
    "PAYMENTS_STOP_BUDGET_S": "10",
    "PAYMENTS_RELAY_IDLE_S": "0.1",
    "PAYMENTS_SWEEP_EVERY_S": "1",
    "PAYMENTS_MONITOR_EVERY_S": "1",
    "PAYMENTS_QUEUE_LOOK_EVERY_S": "1",
    "PAYMENTS_COUNT_EVERY_S": "1",
    "PAYMENTS_INVARIANTS_EVERY_S": "10",
    "PAYMENTS_AUDIT_VERIFY_EVERY_S": "60",
    "PAYMENTS_HEARTBEAT_EVERY_S": "1",
    "PAYMENTS_STATUS_REFRESH_S": "1",
}


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of this process.

    Args:
        environment: variables to read instead of the process's own.

    Raises:
        SettingsError: an unknown PAYMENTS_* name, or a value that breaks its rule.
    """
    variables = dict(os.environ if environment is None else environment)
    known = {_variable(name) for name in Settings.model_fields}
    unknown = sorted(name for name in variables if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(f"unknown setting: {', '.join(unknown)}. Known names: `payments settings`.")
    given = {name: variables[_variable(name)] for name in Settings.model_fields if variables.get(_variable(name))}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        flaws = error.errors(include_url=False, include_context=False, include_input=False)
        text = "; ".join(
            f"{_variable(str(flaw['loc'][0]))}: {flaw['msg']}" if flaw["loc"] else flaw["msg"] for flaw in flaws
        )
        raise SettingsError(text) from None


def reference() -> list[tuple[str, str]]:
    """Return every variable with its default, for people."""
    fields = Settings.model_fields
    return [(_variable(name), _written(field.default)) for name, field in fields.items()]


def _written(default: Any) -> str:
    """Return a default as it would be written in the environment."""
    if default is None:
        return ""
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _variable(name: str) -> str:
    field = Settings.model_fields.get(name)
    alias = field.validation_alias if field else None
    return alias if isinstance(alias, str) else f"{PREFIX}{name.upper()}"
