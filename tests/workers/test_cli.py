"""The command line's manners: one clear line when something is wrong, and an exit code that says which kind."""

import sys

import pytest

from contracts.envelope import Queue
from store import migrate as store_migrate
from store.db import Pool
from tests.kit import messages as m
from tests.kit.funnel import twice
from tests.kit.sqs import URL, MemorySqs
from workers import cli

ROLES = ("worker", "relay", "status", "migrate")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that the tests run on."""
    for name in ("APPROVAL_QUEUE_URL", "EVENT_BUS_NAME", "AURORA_ENDPOINT", "AURORA_SECRET_ARN", "DATABASE_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["payments", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_without_its_settings_says_which_ones_are_missing(monkeypatch, capsys, role):
    assert run(monkeypatch, role) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "not set: " in told.err
    assert "PAYMENTS_" in told.err


@pytest.mark.parametrize("role", ROLES)
def test_a_misspelt_setting_stops_every_role(monkeypatch, capsys, role):
    monkeypatch.setenv("PAYMENTS_VISIBILTY_S", "60")
    assert run(monkeypatch, role) == 2
    assert "unknown setting: PAYMENTS_VISIBILTY_S" in capsys.readouterr().err


def test_a_bad_value_is_named_by_its_variable_and_not_quoted(monkeypatch, capsys):
    monkeypatch.setenv("PAYMENTS_WORKER_THREADS", "s3cret")
    assert run(monkeypatch, "worker") == 2
    told = capsys.readouterr().err
    assert "PAYMENTS_WORKER_THREADS" in told
    assert "s3cret" not in told


def test_sending_without_a_queue_says_which_setting_names_it(monkeypatch, capsys):
    assert run(monkeypatch, "approve", str(m.INCIDENT)) == 2
    assert "PAYMENTS_COMMAND_QUEUE_URL" in capsys.readouterr().err


def test_a_payment_id_that_is_none_is_wrong_usage(monkeypatch, capsys):
    assert run(monkeypatch, "show", "42") == 2
    assert "not a UUID" in capsys.readouterr().err


def test_a_payment_that_is_not_there_is_a_failure(monkeypatch, capsys, database_url):
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", database_url)
    assert run(monkeypatch, "show", str(m.INCIDENT)) == 1
    assert "no payment" in capsys.readouterr().err


def test_a_payment_is_shown_with_its_money_lines_and_timeline(monkeypatch, capsys, database_url, pool: Pool):
    payment_id = twice(pool, m.parsed(m.work())).payment_id
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", database_url)
    assert run(monkeypatch, "show", str(payment_id)) == 0
    shown = capsys.readouterr().out
    for word in (str(payment_id), "150.00 USD", "Mileage Charge", "created", "PaymentCreated", "ApprovalRequest"):
        assert word in shown


def test_a_database_that_is_away_is_one_line_and_a_failure(monkeypatch, capsys):
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", "postgresql://nobody:s3cret@127.0.0.1:1/nowhere")
    monkeypatch.setenv("PAYMENTS_POOL_WAIT_S", "0.2")
    assert run(monkeypatch, "show", str(m.INCIDENT)) == 1
    told = capsys.readouterr().err
    assert "The database cannot be reached (connection). Does it run" in told
    assert "s3cret" not in told


def test_migrating_a_database_that_is_away_is_one_line_and_a_failure(monkeypatch, capsys):
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", "postgresql://nobody:s3cret@127.0.0.1:1/nowhere")
    assert run(monkeypatch, "migrate") == 1
    told = capsys.readouterr().err
    assert "The database cannot be reached (connection). Does it run" in told
    assert "Traceback" not in told
    assert "s3cret" not in told


def test_migrating_reports_both_revisions_and_can_be_repeated(monkeypatch, capsys, server):
    head = store_migrate.head()
    store_migrate.ensure_database(server.url("postgres"), "cli_migrates")
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", server.url("cli_migrates"))
    assert run(monkeypatch, "migrate") == 0
    assert f"schema: empty -> {head}" in capsys.readouterr().err
    assert run(monkeypatch, "migrate") == 0
    assert f"schema: {head} -> {head}" in capsys.readouterr().err


def test_the_settings_are_listed_with_their_defaults_and_no_secret(monkeypatch, capsys):
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", "postgresql://s3cret")
    assert run(monkeypatch, "settings") == 0
    listed = capsys.readouterr().out.splitlines()
    assert "DATABASE_NAME=roadcall" in listed
    assert "PAYMENTS_VISIBILITY_S=60" in listed
    assert not [line for line in listed if "s3cret" in line]


def test_a_worker_refuses_to_start_on_a_queue_that_would_never_let_a_message_go(monkeypatch, capsys, database_url):
    names = ("PAYMENTS_EVENT_QUEUE_URL", "PAYMENTS_COMMAND_QUEUE_URL", "PAYMENTS_PAYOUT_QUEUE_URL")
    for name, queue in zip(names, Queue, strict=True):
        monkeypatch.setenv(name, URL + queue)
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", database_url)
    monkeypatch.setenv("PAYMENTS_PROVIDER", "sandbox")
    monkeypatch.setenv("PAYMENTS_PROVIDER_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PAYMENTS_TOKEN_ISSUER", "https://pool.invalid")
    for name in ("TOKEN_CLIENT_IDS", "COMMAND_SENDERS", "SERVICE_SENDERS"):
        monkeypatch.setenv(f"PAYMENTS_{name}", "somebody")
    for client in ("sqs_client", "settling_client"):
        monkeypatch.setattr(f"workers.roles.worker.{client}", lambda *_, **__: MemorySqs(redrive=False))
    monkeypatch.setattr("workers.metrics.Metrics.count_requests", lambda *_: None)  # the model sends none
    assert run(monkeypatch, "worker") == 1
    told = capsys.readouterr().err
    assert "payments-events has no RedrivePolicy: deploy it from deploy/messaging.yaml" in told
    assert "Traceback" not in told
