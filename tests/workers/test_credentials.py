"""Credentials: kept for their time, fetched once for all threads, and anew when the database refuses a login."""

import json
import threading
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from store import db
from store.db import PoolOptions
from tests.kit.sqs import unreachable
from workers import credentials, settings
from workers.credentials import RotatingCredentials
from workers.local import postgres
from workers.settings import SettingsError


class Secrets:
    """Secrets Manager with one secret that can be rotated."""

    def __init__(self, username: str, password: str) -> None:
        self.username, self.password = username, password
        self.fetched = 0

    def get_secret_value(self, SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        assert SecretId == "arn"
        self.fetched += 1
        return {"SecretString": json.dumps({"username": self.username, "password": self.password})}


def rotating(secrets: Secrets, ttl_s: float = 60, **address: str) -> RotatingCredentials:
    return RotatingCredentials(secrets, "arn", address, ttl_s)  # type: ignore[arg-type]


def test_many_threads_cost_one_fetch():
    secrets = Secrets("me", "pass")
    found = rotating(secrets, host="h")
    threads = [threading.Thread(target=found) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert secrets.fetched == 1


def test_they_are_fetched_again_when_their_time_is_over():
    secrets = Secrets("me", "pass")
    found = rotating(secrets, ttl_s=0)
    found()
    found()
    assert secrets.fetched == 2


@pytest.mark.parametrize("password", ["plain", "it's", "back\\slash", "a b=c'd\\'"])
def test_any_password_survives_its_quoting(password: str):
    parts = conninfo_to_dict(rotating(Secrets("me", password), host="h", dbname="d")())
    assert parts == {"host": "h", "dbname": "d", "user": "me", "password": password}


def test_a_refused_login_fetches_anew_but_not_in_a_storm(monkeypatch):
    secrets, now = Secrets("me", "old"), [1000.0]
    monkeypatch.setattr("workers.clock.monotonic", lambda: now[0])
    found = rotating(secrets)
    found()
    found.login_refused()
    found()
    assert secrets.fetched == 1, "fetched a moment ago: a wrong secret must not become a storm"
    now[0] += credentials.REFRESH_COOLDOWN_S + 1
    found.login_refused()
    found()
    assert secrets.fetched == 2


def test_a_secrets_manager_that_is_away_costs_nothing_while_there_are_credentials(monkeypatch):
    secrets = Secrets("me", "pass")
    found = rotating(secrets, ttl_s=0)
    before = found()
    monkeypatch.setattr(secrets, "get_secret_value", away)
    assert found() == before
    with pytest.raises(ConnectionError, match="no database credentials: EndpointConnectionError"):
        rotating(secrets)()


@pytest.mark.parametrize("text", ["no JSON", "[]", "{}", '{"username": "me"}'])
def test_a_secret_that_is_none_serves_nobody_and_ends_nothing(monkeypatch, text: str):
    secrets = Secrets("me", "pass")
    found = rotating(secrets, ttl_s=0)
    before = found()
    monkeypatch.setattr(secrets, "get_secret_value", lambda **_: {"SecretString": text})
    assert found() == before, "what was there serves on"
    with pytest.raises(ConnectionError, match="no database credentials"):
        rotating(secrets)()


def away(**_: object) -> dict:
    raise unreachable()


def test_a_rotation_costs_no_more_than_one_refused_connection(server: postgres.Server, monkeypatch):
    monkeypatch.setattr(credentials, "REFRESH_COOLDOWN_S", 0)
    with psycopg.connect(server.url("postgres"), autocommit=True) as owner:
        owner.execute("CREATE ROLE rotated LOGIN PASSWORD 'old'")
        secrets = Secrets("rotated", "old")
        address = {"host": "127.0.0.1", "port": str(server.port), "dbname": "postgres", "sslmode": "disable"}
        source = RotatingCredentials(secrets, "arn", address, 60)  # type: ignore[arg-type]
        with db.open_pool(source, PoolOptions(size_min=0, wait_s=10), source.login_refused) as pool:
            db.ping(pool)
            owner.execute("ALTER ROLE rotated PASSWORD 'new'")
            secrets.password = "new"  # noqa: S105 - of a throw-away server
            pool.drain()
            db.ping(pool)
        assert secrets.fetched == 2
        owner.execute("DROP ROLE rotated")


def test_production_verifies_the_server_and_wants_a_writer():
    found = settings.load({"AURORA_ENDPOINT": "cluster", "AURORA_SECRET_ARN": "arn"})
    source = credentials.database(found, lambda: Secrets("me", "pass"))  # type: ignore[arg-type, return-value]
    assert isinstance(source, RotatingCredentials)
    parts = conninfo_to_dict(source())
    assert (parts["sslmode"], parts["target_session_attrs"]) == ("verify-full", "read-write")


def test_without_any_address_the_settings_are_named():
    with pytest.raises(SettingsError, match="AURORA_ENDPOINT and AURORA_SECRET_ARN"):
        credentials.database(settings.load({}), lambda: Secrets("", ""))  # type: ignore[arg-type, return-value]
