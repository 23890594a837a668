"""Settings: defaults that are safe, errors that name the variable, and never a value in a text."""

from datetime import timedelta

import pytest

from handlers.decision import Senders
from workers import settings
from workers.settings import SettingsError


def test_the_defaults_are_the_settled_numbers():
    found = settings.load({})
    assert (found.visibility_s, found.lease_renew_s, found.hold_max_s) == (60, 20, 600)
    assert list(found.backoff_s) == [5, 15, 45, 120, 300]
    assert (found.pool_size_max, found.pool_idle_s) == (10, 30)
    assert (found.poll_wait_s, found.not_yet_s, found.stop_budget_s) == (20, 120, 45)
    assert found.host == "127.0.0.1"
    assert found.provider is None, "nobody is paid by a provider that nobody chose"


def test_the_five_names_of_the_platform_are_kept():
    found = settings.load(
        {
            "AURORA_SECRET_ARN": "arn",
            "AURORA_ENDPOINT": "host",
            "DATABASE_NAME": "name",
            "APPROVAL_QUEUE_URL": "url",
            "EVENT_BUS_NAME": "bus",
        }
    )
    assert (found.aurora_secret_arn, found.aurora_endpoint, found.database_name) == ("arn", "host", "name")
    assert (found.approval_queue_url, found.event_bus_name) == ("url", "bus")
    assert settings.load({}).database_name == "roadcall"


def test_an_unknown_name_is_an_error_that_names_it():
    with pytest.raises(SettingsError, match="PAYMENTS_POOL_SIZE_MAXIMUM"):
        settings.load({"PAYMENTS_POOL_SIZE_MAXIMUM": "10", "PAYMENTS_HOST": "::1", "UNRELATED": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAYMENTS_WORKER_THREADS", "s3cret"),
        ("PAYMENTS_WORKER_THREADS", "0"),
        ("PAYMENTS_TOKEN_ISSUER", "http://s3cret.example"),
        ("PAYMENTS_TOKEN_SKEW_S", "301"),
        ("PAYMENTS_POLL_WAIT_S", "21"),
        ("PAYMENTS_BACKOFF_S", "5,s3cret"),
        ("PAYMENTS_BACKOFF_S", ","),
        ("PAYMENTS_PROVIDER", "s3cret"),
        ("PAYMENTS_LOG_LEVEL", "s3cret"),
        ("PAYMENTS_SUBMIT_WINDOW_S", "90000"),
        ("PAYMENTS_SUBMIT_GRACE_S", "-1"),
        ("PAYMENTS_SWEEP_EVERY_S", "0"),
        ("PAYMENTS_SWEEP_BATCH", "0"),
        ("PAYMENTS_SWEEP_AGAIN_S", "0"),
        ("PAYMENTS_STUCK_AFTER_S", "0"),
        ("PAYMENTS_ACCOUNT_COOL_DOWN_S", "-1"),
        ("PAYMENTS_BACKOFF_S", "-5,60"),
        ("PAYMENTS_BACKOFF_S", "1,2"),
        ("PAYMENTS_LEASE_RENEW_S", "40"),
        ("PAYMENTS_VISIBILITY_S", "43200"),
        ("PAYMENTS_SETTLE_AGE_S", "5.1"),
        ("PAYMENTS_SETTLE_AGE_S", "7"),
        ("PAYMENTS_HOLD_MAX_S", "1"),
        ("PAYMENTS_STOP_BUDGET_S", "5"),
        ("PAYMENTS_POOL_SIZE_MAX", "1"),
        ("PAYMENTS_POOL_SIZE_MAX", "7"),
        ("PAYMENTS_OUTAGE_S", "30"),
        ("PAYMENTS_OUTAGE_S", "60,30"),
        ("PAYMENTS_RELAY_IDLE_S", "200"),
        ("PAYMENTS_RELAY_LEASE_S", "0.01"),
        ("PAYMENTS_STATEMENT_TIMEOUT_S", "300"),
    ],
)
def test_a_bad_value_is_named_by_its_variable_and_not_quoted(name: str, value: str):
    with pytest.raises(SettingsError, match=name) as caught:
        settings.load({name: value})
    assert "s3cret" not in str(caught.value)


def test_lists_are_written_with_commas():
    found = settings.load({"PAYMENTS_WORK_SOURCES": "a, b", "PAYMENTS_BACKOFF_S": "60,30.5"})
    assert found.work_sources == ("a", "b")
    assert found.backoff_s == (60, 30.5)


def test_an_empty_value_is_the_default():
    assert settings.load({"PAYMENTS_WORKER_THREADS": ""}).worker_threads == 8


def test_what_is_missing_is_listed_at_once():
    with pytest.raises(SettingsError, match="PAYMENTS_EVENT_QUEUE_URL, EVENT_BUS_NAME"):
        settings.load({}).require("event_queue_url", "event_bus_name", "database_name")


def test_a_secret_does_not_show_in_a_text():
    found = settings.load({"PAYMENTS_DATABASE_URL": "postgresql://s3cret"})
    assert "s3cret" not in repr(found) + str(found)


def test_the_fast_profile_is_made_of_settings():
    assert settings.load(settings.FAST_PROFILE).poll_wait_s == 1


def test_every_setting_is_in_the_reference():
    listed = dict(settings.reference())
    assert set(settings.FAST_PROFILE) <= set(listed)
    assert listed["DATABASE_NAME"] == "roadcall"
    again = settings.load({name: value for name, value in listed.items() if value})
    assert again == settings.load({}), "what is printed can be set"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAYMENTS_BACKOFF_S", "nan"),
        ("PAYMENTS_BACKOFF_S", "60,inf"),
        ("PAYMENTS_BACKOFF_S", "-60"),
        ("PAYMENTS_CHECK_AFTER_S", "inf"),
        ("PAYMENTS_HOLD_MAX_S", "inf"),
        ("PAYMENTS_STATEMENT_TIMEOUT_S", "nan"),
    ],
)
def test_a_duration_is_a_number_that_ends(name: str, value: str):
    with pytest.raises(SettingsError, match=name):
        settings.load({name: value})


def test_leases_are_renewed_at_least_twice_in_their_time():
    with pytest.raises(SettingsError, match="PAYMENTS_LEASE_RENEW_S"):
        settings.load({"PAYMENTS_VISIBILITY_S": "30", "PAYMENTS_LEASE_RENEW_S": "16"})
    assert settings.load({"PAYMENTS_VISIBILITY_S": "30", "PAYMENTS_LEASE_RENEW_S": "15"}).lease_renew_s == 15


def test_a_message_may_wait_for_its_payment_without_running_out_of_receives():
    with pytest.raises(SettingsError, match="PAYMENTS_NOT_YET_S"):
        settings.load({"PAYMENTS_BACKOFF_S": "1", "PAYMENTS_NOT_YET_S": "120"})


def test_every_default_can_be_written_back_as_it_is_listed():
    written = {name: value for name, value in settings.reference() if value}
    assert settings.load(written) == settings.load({})


def test_keys_from_a_file_are_for_a_developers_machine_alone():
    given = {"PAYMENTS_TOKEN_KEYS_FILE": "/keys.json"}
    assert settings.load({**given, "PAYMENTS_ENVIRONMENT": "local"}).token_keys_file
    for elsewhere in ({}, {"PAYMENTS_ENVIRONMENT": "production"}, {"PAYMENTS_ENVIRONMENT": "staging"}):
        with pytest.raises(SettingsError, match="PAYMENTS_TOKEN_KEYS_FILE is for the local stack"):
            settings.load({**given, **elsewhere})


def test_nobodys_messages_are_believed_unless_somebody_is_named():
    rules = settings.load({}).rules()
    assert rules.senders == Senders()
    named = settings.load(
        {"PAYMENTS_COMMAND_SENDERS": "AROAONE, AROATWO", "PAYMENTS_OPERATOR_SENDERS": "AROAOPS"}
    ).rules()
    assert named.senders == Senders(commands=frozenset({"AROAONE", "AROATWO"}), operators=frozenset({"AROAOPS"}))
    assert (rules.command_age, rules.token_skew) == (timedelta(hours=24), timedelta(seconds=60))


def test_the_defaults_of_payouts_are_the_settled_numbers():
    found = settings.load({})
    assert (found.submit_window_s, found.submit_grace_s) == (23 * 3600, 3600)
    assert (found.sweep_every_s, found.sweep_batch, found.sweep_again_s, found.stuck_after_s) == (30, 500, 3600, 300)
    assert found.provider_url is None
    assert found.provider_sources == ()
    rules = found.rules()
    assert rules.account_cool_down == timedelta(hours=24)
    assert rules.unregistered_accounts is False, "only the sandbox pays a vendor that has no account"


@pytest.mark.parametrize(("provider", "pays"), [("sandbox", True), ("stripe", False)])
def test_only_the_sandbox_pays_vendors_without_an_account(provider: str, *, pays: bool):
    found = settings.load({"PAYMENTS_PROVIDER": provider})
    assert found.pays_unregistered is found.rules().unregistered_accounts is pays
    assert found.rules().provider == provider


def test_a_source_is_the_providers_or_finished_works_and_never_both():
    found = settings.load({"PAYMENTS_PROVIDER_SOURCES": "aws.partner/stripe.com/ed_1, roadcall.sandbox-provider"})
    assert found.provider_sources == ("aws.partner/stripe.com/ed_1", "roadcall.sandbox-provider")
    with pytest.raises(SettingsError, match="PAYMENTS_PROVIDER_SOURCES and PAYMENTS_WORK_SOURCES"):
        settings.load({"PAYMENTS_PROVIDER_SOURCES": "roadcall.incident"})
    with pytest.raises(SettingsError, match="PAYMENTS_PROVIDER_SOURCES and PAYMENTS_WORK_SOURCES"):
        settings.load({"PAYMENTS_PROVIDER_SOURCES": "a,b", "PAYMENTS_WORK_SOURCES": "b,c"})


def test_who_tells_of_vendors_accounts_is_named_apart():
    rules = settings.load({"PAYMENTS_ACCOUNT_SENDERS": "AROAACCOUNTS"}).rules()
    assert rules.senders == Senders(accounts=frozenset({"AROAACCOUNTS"}))
