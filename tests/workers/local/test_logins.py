"""The fleet on one machine has least rights: each of its processes is logged in as its own user, and held to it."""

import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors

from tests.kit.sqs import until
from workers import settings
from workers.local.fleet import Fleet, FleetOptions, environment, fleet
from workers.local.logins import RIGHTS, with_logins
from workers.local.processes import LocalStackError
from workers.local.stack import Running, StackOptions, infrastructure
from workers.roles import migrate

pytestmark = pytest.mark.stack

#: Whoever is connected to the service's database, but for the test itself: application, user, how many connections.
CONNECTED = """
SELECT coalesce(nullif(application_name, ''), 'bell or ear'), usename FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


def silent(_line: str) -> None:
    pass


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="roadcall-test-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "state"


@pytest.fixture(scope="module")
def running(data_dir: Path) -> Iterator[Running]:
    """A stack as `payments local` makes it, before its fleet starts."""
    with infrastructure(StackOptions(data_dir=data_dir, say=silent, fsync=False)) as bare:
        migrate.run_migrate(settings.load(bare.environment()))
        yield with_logins(bare, data_dir)


@pytest.fixture(scope="module")
def members(running: Running, data_dir: Path) -> Iterator[Fleet]:
    with fleet(running, FleetOptions(logs=data_dir / "logs", say=silent, workers=2, threads=2, port=18_080)) as found:
        yield found


def connected(running: Running) -> set[tuple[str, str]]:
    with psycopg.connect(running.database_url) as connection:
        return set(connection.execute(CONNECTED).fetchall())


def test_each_process_of_the_fleet_is_logged_in_as_its_own_user(running: Running, members: Fleet):
    members.check()
    wanted = {
        ("payments-worker", "roadcall_worker"),
        ("payments-relay", "roadcall_relay"),
        ("bell or ear", "roadcall_relay"),  # the relay's ear; a worker's bell connects when it first rings
        ("payments-status", "roadcall_status"),
        ("payments-monitor", "roadcall_monitor"),
    }
    until(lambda: connected(running) == wanted, within_s=20, what=f"{wanted}")


def test_every_process_is_ready_with_the_rights_that_it_has(members: Fleet):
    assert len(members.members) == 5
    for member in members.members:
        until(member.ready, within_s=20, what=f"{member.child.program.name} to be ready")


REFUSED = {
    "worker": [
        "UPDATE payments SET amount_cents = 1",
        "UPDATE payments SET vendor_id = gen_random_uuid()",
        "DELETE FROM payments",
        "DELETE FROM outbox",
        "UPDATE outbox SET published_at = now()",
        "UPDATE payment_audit_log SET action = 'x'",
        "DELETE FROM payment_audit_log",
        "SELECT note FROM payment_audit_notes",
        "UPDATE vendor_accounts SET vendor_id = gen_random_uuid()",
        "DELETE FROM vendor_accounts",
        "DELETE FROM payout_reversals",
        "SELECT 1 FROM swept",
        "CREATE TABLE mine (x int)",
        "SET ROLE payments_owner",
    ],
    "relay": [
        "SELECT amount_cents FROM payments",
        "UPDATE payments SET status = status",
        "UPDATE payout_attempts SET next_check_at = now()",
        "SELECT account_id FROM vendor_accounts",
        "INSERT INTO outbox (event_id) VALUES (gen_random_uuid())",
        "UPDATE outbox SET payload = '{}'",
        "SELECT fingerprint FROM message_inbox",
    ],
    "status": [
        "UPDATE payments SET on_hold = true",
        "INSERT INTO message_inbox (consumer) VALUES ('x')",
        "DELETE FROM outbox",
        "SELECT note FROM payment_audit_notes",
        "SELECT 1 FROM message_failures",
        "INSERT INTO fleet_snapshots (facts) VALUES ('{}')",
        "DELETE FROM heartbeats",
        "INSERT INTO heartbeats (instance_id, role, version) VALUES (gen_random_uuid(), 'worker', '1')",
    ],
    "monitor": [
        "UPDATE payments SET status = status",
        "UPDATE outbox SET failed_at = now()",
        "SELECT note FROM payment_audit_notes",
        "UPDATE audit_verifications SET broken = 0",
        "DELETE FROM audit_verifications",
        "INSERT INTO heartbeats (instance_id, role, version) VALUES (gen_random_uuid(), 'worker', '1')",
    ],
}


@pytest.mark.parametrize(("role", "statement"), [(role, text) for role, texts in REFUSED.items() for text in texts])
def test_a_role_may_not_do_what_is_not_its_work(running: Running, role: str, statement: str):
    with psycopg.connect(running.database_urls[role]) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_a_process_of_a_role_gets_its_own_url_and_a_person_the_administrators(running: Running):
    assert {role: urlsplit(url).username for role, url in running.database_urls.items()} == {
        "worker": "roadcall_worker",
        "relay": "roadcall_relay",
        "status": "roadcall_status",
        "monitor": "roadcall_monitor",
    }
    for role in RIGHTS:
        assert environment(running, role)["PAYMENTS_DATABASE_URL"] == running.database_urls[role]
    assert environment(running)["PAYMENTS_DATABASE_URL"] == running.database_url
    with pytest.raises(KeyError):
        environment(running, "nobody")


def test_the_passwords_differ_are_kept_for_the_next_run_and_are_for_us_alone(running: Running, data_dir: Path):
    files = [data_dir / "postgres" / f"password.{role}" for role in RIGHTS]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    passwords = {urlsplit(url).password for url in (running.database_url, *running.database_urls.values())}
    assert len(passwords) == len(RIGHTS) + 1
    assert with_logins(running, data_dir) == running


def test_a_password_that_was_lost_is_made_anew(running: Running, data_dir: Path):
    kept = data_dir / "postgres" / "password.status"
    before = kept.read_text()
    kept.unlink()
    renewed = with_logins(running, data_dir)
    with psycopg.connect(renewed.database_urls["status"]) as connection:
        assert connection.execute("SELECT count(*) FROM payments").fetchone() == (0,)
    kept.write_text(before)
    assert with_logins(running, data_dir) == running


def test_a_user_that_was_given_more_is_told_and_left_alone(running: Running, data_dir: Path):
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        connection.execute("ALTER ROLE roadcall_status CREATEROLE")
        with pytest.raises(LocalStackError, match="roadcall_status has rights of its own"):
            with_logins(running, data_dir)
        connection.execute("ALTER ROLE roadcall_status NOCREATEROLE")
    assert with_logins(running, data_dir) == running
