"""`payments failures` and `payments replay` at the command line: what is shown, what is said, and the exit code."""

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from hashlib import sha256
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from rich.console import Console

from contracts.envelope import Queue
from contracts.outcome import Outcome
from store import failures
from store.db import Pool
from store.failures import Failure
from store.roles import GroupRole, ensure_login
from tests.kit import messages as m
from tests.kit.funnel import fresh, once, rows
from tests.kit.sqs import URL, MemorySqs
from workers import cli, failures_cli

EVENTS = str(Queue.EVENTS)
DLQ = f"{EVENTS}-dlq"
BODY = '{"notes": "a-secret-of-the-driver"}'


@pytest.fixture
def sqs() -> MemorySqs:
    return MemorySqs()


@pytest.fixture
def operator_url(database_url: str) -> Iterator[str]:
    """The database as an operator may use it: logged in as a member of payments_monitor and of nothing else."""
    name = f"operator_{uuid4().hex}"
    ensure_login(database_url, name, "secret", GroupRole.MONITOR)
    yield psycopg.conninfo.make_conninfo(database_url, user=name, password="secret")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, operator_url: str, sqs: MemorySqs) -> None:
    """The settings of an operator, and the queues in memory."""
    for name in ("APPROVAL_QUEUE_URL", "EVENT_BUS_NAME", "AURORA_ENDPOINT", "AURORA_SECRET_ARN", "DATABASE_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", operator_url)
    monkeypatch.setenv("PAYMENTS_EVENT_QUEUE_URL", URL + EVENTS)
    monkeypatch.setattr(failures_cli, "sqs_client", lambda *_, **__: sqs)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["payments", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def failed(pool: Pool, number: int = 1, **changes: Any) -> UUID:
    fields: dict[str, Any] = {
        "queue": EVENTS,
        "sqs_message_id": f"original-{number}",
        "kind": "WorkCompleted",
        "message_key": f"sqs:original-{number}",
        "outcome": Outcome.INVALID,
        "reason": "unknown_source",
        "detail": "",
        "body_bytes": len(BODY.encode()),
        "body_digest": sha256(BODY.encode()).digest(),
        "sender": "AROAPRODUCER",
        "first_sent_at": m.NOW,
    }
    return failures.record(pool, Failure(**{**fields, **changes}))


def dead(sqs: MemorySqs, number: int = 1, body: str = BODY) -> None:
    sqs.put(DLQ, body, {"OriginalMessageId": {"DataType": "String", "StringValue": f"original-{number}"}})


def replaying(failure_id: object, *more: str) -> list[str]:
    return ["replay", str(failure_id), "--actor", str(m.ADMIN), "--reason", "the source is configured now", *more]


# ---- failures --------------------------------------------------------------------------------------------------------


def test_without_failures_nothing_is_printed_and_it_is_said(monkeypatch, capsys):
    assert run(monkeypatch, "failures") == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "No failures." in told.err


def test_a_failure_is_listed_with_where_why_how_often_when_and_what_to_do(monkeypatch, capsys, pool: Pool):
    failure_id = failed(pool)
    failed(pool)
    assert run(monkeypatch, "failures") == 0
    told = capsys.readouterr()
    for words in (
        f"{failure_id}  payments-events  WorkCompleted",
        "invalid: unknown_source",
        "tried 2 times; first sent 2026-03-01 12:00:00Z, last failed 20",
        "not replayed",
        "add its source to PAYMENTS_WORK_SOURCES",
    ):
        assert words in told.out
    assert "1 failure." in told.err
    assert "payments replay ID --actor YOUR_UUID --reason TEXT" in told.err


def test_an_id_is_never_broken_into_two_lines(monkeypatch, capsys, pool: Pool):
    failure_id = failed(pool, detail="lineItems.0.description: missing; " * 10, reason="schema")
    monkeypatch.setattr(failures_cli, "_out", Console(highlight=False, width=30))
    assert run(monkeypatch, "failures") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith(str(failure_id))


@pytest.mark.parametrize(
    ("outcome", "reason", "advice"),
    [
        ("invalid", "schema", "Its sender has to correct it"),
        ("invalid", "unknown_kind", "once a release runs that knows this kind"),
        ("invalid", "unknown_version", "once a release runs that knows this version"),
        ("invalid", "wrong_queue", "the queue of its kind"),
        ("fault", "ZeroDivisionError", "Mend it"),
        ("retry", "provider_busy", "Once the cause is over"),
    ],
)
def test_every_failure_comes_with_the_next_step(monkeypatch, capsys, pool: Pool, outcome, reason, advice):
    failed(pool, outcome=Outcome(outcome), reason=reason)
    run(monkeypatch, "failures")
    assert advice in capsys.readouterr().out


def test_the_newest_comes_first_and_more_are_announced(monkeypatch, capsys, pool: Pool):
    ids = [str(failed(pool, number)) for number in range(3)]
    assert run(monkeypatch, "failures", "--limit", "2") == 0
    told = capsys.readouterr()
    shown = [line.split()[0] for line in told.out.splitlines() if not line.startswith(" ")]
    assert shown == [ids[2], ids[1]]
    assert "2 failures, and there are more: --limit." in told.err


def test_failures_are_chosen_by_queue_outcome_and_reason(monkeypatch, capsys, pool: Pool):
    failed(pool, 1)
    fault = failed(pool, 2, outcome=Outcome.FAULT, reason="KeyError", queue="payments-commands")
    for chosen in (["--queue", "payments-commands"], ["--outcome", "fault"], ["--reason", "KeyError"]):
        run(monkeypatch, "failures", "--json", *chosen)
        assert [one["failureId"] for one in json.loads(capsys.readouterr().out)["failures"]] == [str(fault)]


def test_as_json_a_failure_has_every_field(monkeypatch, capsys, pool: Pool):
    failure_id = failed(pool, detail="where")
    assert run(monkeypatch, "failures", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    [shown] = told["failures"]
    assert told["more"] is False
    assert shown.pop("firstFailedAt") == shown.pop("lastFailedAt")
    assert shown == {
        "failureId": str(failure_id),
        "queue": EVENTS,
        "sqsMessageId": "original-1",
        "kind": "WorkCompleted",
        "messageKey": "sqs:original-1",
        "outcome": "invalid",
        "reason": "unknown_source",
        "detail": "where",
        "bodyBytes": len(BODY),
        "sender": "AROAPRODUCER",
        "attempts": 1,
        "firstSentAt": "2026-03-01T12:00:00Z",
        "replay": None,
        "handledAs": None,
        "handledAt": None,
    }


def test_a_replayed_failure_is_shown_on_demand_with_when_by_whom_and_why(monkeypatch, capsys, pool: Pool, sqs):
    failure_id = failed(pool)
    dead(sqs)
    run(monkeypatch, *replaying(failure_id))
    capsys.readouterr()
    run(monkeypatch, "failures")
    told = capsys.readouterr()
    assert told.out == ""
    assert "--all shows them" in told.err
    run(monkeypatch, "failures", "--all")
    shown = capsys.readouterr().out
    assert f"by {m.ADMIN} (the source is configured now)" in shown
    assert "It was replayed at 20" in shown
    assert "Nothing to do here" in shown
    run(monkeypatch, "failures", "--all", "--json")
    replay = json.loads(capsys.readouterr().out)["failures"][0]["replay"]
    assert (replay["actorId"], replay["reason"]) == (str(m.ADMIN), "the source is configured now")
    assert replay["at"] < replay["sentAt"]


def test_what_was_handled_after_all_needs_nothing_more(monkeypatch, capsys, pool: Pool):
    parsed = fresh(m.parsed(m.work()))
    failed(pool, outcome=Outcome.FAULT, reason="KeyError", message_key=parsed.cause.message_key)
    once(pool, parsed)
    run(monkeypatch, "failures")
    assert capsys.readouterr().out == ""
    run(monkeypatch, "failures", "--all")
    assert "Nothing to do: it was handled at 20" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["--queue", "nowhere"], ["--outcome", "applied"], ["--limit", "0"], ["--limit", "many"], ["surplus"]],
)
def test_wrong_usage_of_failures(monkeypatch, capsys, arguments):
    assert run(monkeypatch, "failures", *arguments) == 2
    assert capsys.readouterr().out == ""


# ---- replay ----------------------------------------------------------------------------------------------------------


def test_a_message_is_put_back_and_it_is_said_under_which_id(monkeypatch, capsys, pool: Pool, sqs):
    dead(sqs)
    assert run(monkeypatch, *replaying(failed(pool))) == 0
    [sent] = sqs.held(EVENTS)
    told = capsys.readouterr().out
    assert told.startswith("Put WorkCompleted original-1 (35 bytes) back into payments-events")
    assert sent.message_id in told
    assert sqs.held(DLQ) == []


def test_as_json_a_replay_names_what_was_sent(monkeypatch, capsys, pool: Pool, sqs):
    failure_id = failed(pool)
    dead(sqs)
    assert run(monkeypatch, *replaying(failure_id, "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    [row] = rows(pool, "SELECT replay_id FROM failure_replays")
    assert told == {
        "failureId": str(failure_id),
        "queue": EVENTS,
        "dryRun": False,
        "replayId": str(row["replay_id"]),
        "sqsMessageId": sqs.held(EVENTS)[0].message_id,
        "deadLetterDeleted": True,
    }


def test_a_dry_run_says_what_would_be_done_and_does_nothing(monkeypatch, capsys, pool: Pool, sqs):
    failure_id = failed(pool)
    dead(sqs)
    assert run(monkeypatch, *replaying(failure_id, "--dry-run")) == 0
    assert "Would put WorkCompleted original-1 (35 bytes) back into payments-events" in capsys.readouterr().out
    assert run(monkeypatch, *replaying(failure_id, "--dry-run", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["dryRun"], told["replayId"], told["sqsMessageId"]) == (True, None, None)
    assert (len(sqs.held(DLQ)), sqs.held(EVENTS)) == (1, [])
    assert rows(pool, "SELECT * FROM failure_replays") == []


def test_a_failure_that_is_not_there_is_said(monkeypatch, capsys):
    assert run(monkeypatch, *replaying(uuid4())) == 1
    assert "There is no failure" in capsys.readouterr().err


def test_a_dead_letter_that_is_not_there_is_explained(monkeypatch, capsys, pool: Pool):
    assert run(monkeypatch, *replaying(failed(pool))) == 1
    assert "no longer in payments-events-dlq" in capsys.readouterr().err


def test_a_dry_run_finds_out_too_that_it_is_not_there(monkeypatch, capsys, pool: Pool):
    assert run(monkeypatch, *replaying(failed(pool, outcome=Outcome.FAULT), "--dry-run")) == 1
    assert "still being retried" in capsys.readouterr().err


def test_a_stop_while_searching_sends_nothing_and_has_an_exit_code_of_its_own(monkeypatch, capsys, pool: Pool, sqs):
    stop = Event()
    stop.set()
    monkeypatch.setattr(failures_cli, "stop_signal", lambda: nullcontext(stop))
    dead(sqs, 2)
    assert run(monkeypatch, *replaying(failed(pool))) == 130
    assert "Nothing was sent" in capsys.readouterr().err
    assert sqs.held(EVENTS) == []


def test_a_queue_without_its_setting_is_named(monkeypatch, capsys, pool: Pool):
    assert run(monkeypatch, *replaying(failed(pool, queue="payments-payouts"))) == 2
    assert "PAYMENTS_PAYOUT_QUEUE_URL" in capsys.readouterr().err


def test_a_queue_without_dead_letters_is_told(monkeypatch, capsys, pool: Pool, sqs):
    sqs.redrive = False
    assert run(monkeypatch, *replaying(failed(pool))) == 1
    assert "no RedrivePolicy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["replay", "42", "--actor", str(m.ADMIN), "--reason", "why"], "not a UUID"),
        (["replay", str(m.EVENT), "--actor", "somebody", "--reason", "why"], "--actor"),
        (["replay", str(m.EVENT), "--actor", str(m.ADMIN)], "--reason"),
        (["replay", str(m.EVENT), "--reason", "why"], "--actor"),
        (["replay", str(m.EVENT), "--actor", str(m.ADMIN), "--reason", "  "], "1 to 500"),
        (["replay", str(m.EVENT), "--actor", str(m.ADMIN), "--reason", "w" * 501], "1 to 500"),
        (["replay", str(m.EVENT), "--actor", str(m.ADMIN), "--reason", "red \x1b[31m"], "printable"),
    ],
)
def test_wrong_usage_of_replay_touches_nothing(monkeypatch, capsys, sqs, arguments, told):
    assert run(monkeypatch, *arguments) == 2
    assert told in capsys.readouterr().err
    assert sqs.calls == []


def test_no_body_is_ever_shown(monkeypatch, capsys, pool: Pool, sqs):
    failure_id = failed(pool)
    failed(pool, 2)
    dead(sqs, 2, body=f"{BODY} of somebody else")
    dead(sqs)
    for arguments in (
        ["failures"],
        ["failures", "--json"],
        replaying(failure_id, "--dry-run"),
        replaying(failure_id),
        replaying(failed(pool, 2)),
        ["failures", "--all"],
    ):
        run(monkeypatch, *arguments)
        told = capsys.readouterr()
        assert told.out + told.err
        assert "a-secret-of-the-driver" not in told.out + told.err


@pytest.mark.parametrize("queue", list(Queue))
def test_what_nobody_is_known_to_have_sent_is_not_put_back_unless_it_is_an_event(
    pool: Pool, monkeypatch, capsys, queue: Queue
):
    """As an older release recorded it: no worker would take it, and its dead letter would be gone."""
    failure_id = failed(pool, queue=queue, sender=None)
    assert run(monkeypatch, *replaying(failure_id, "--dry-run")) == 1
    refused = "It is not known who had sent it" in capsys.readouterr().err.replace("\n", " ")
    assert refused is (queue is not Queue.EVENTS)
