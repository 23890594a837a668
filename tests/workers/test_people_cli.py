"""Deciding at the command line: whose token it is, what is asked before anything is sent, where tokens are minted."""

import base64
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from contracts.payment import Role
from contracts.refusals import MESSAGES, Refusal
from handlers.process import process
from store import desk
from store.db import Pool, reading
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import RULES, fresh, once
from tests.kit.proofs import member, proof_of
from workers import acting, cli, clock, settings
from workers.acting import ActingError
from workers.local import pools
from workers.local.people import PEOPLE
from workers.local.pools import LocalPool
from workers.verifiers import make_verifier

SUB = UUID("88888888-8888-4888-8888-888888888888")


def unsigned(**claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["payments", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, database_url: str) -> list[dict]:
    """What is posted; the queue is not there."""
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", database_url)
    monkeypatch.setenv("PAYMENTS_COMMAND_QUEUE_URL", "http://127.0.0.1:1/commands")
    monkeypatch.setenv("PAYMENTS_ACTOR_TOKEN", unsigned(sub=str(SUB)))
    posted: list[dict] = []
    monkeypatch.setattr(acting, "send", lambda _settings, message: posted.append(message))
    return posted


def waiting(pool: Pool) -> UUID:
    made = once(pool, m.parsed(m.work()))
    assert made.payment_id
    return made.payment_id


def test_a_decision_sends_what_was_seen_with_the_token_of_who_decides(
    pool: Pool, sent: list[dict], monkeypatch, capsys
):
    payment_id = waiting(pool)
    assert run(monkeypatch, "approve", str(payment_id), "--yes", "--no-wait", "--notes", "fine") == 0
    [message] = sent
    assert (message["type"], message["paymentId"], message["notes"]) == ("ApprovePayment", str(payment_id), "fine")
    assert (message["amountCents"], message["currency"]) == (15000, "USD")
    assert message["actor"] == {"id": str(SUB), "type": "user"}
    assert message["actorToken"] == unsigned(sub=str(SUB))
    told = capsys.readouterr()
    assert told.out.strip() == message["commandId"]
    assert "150.00 USD" in told.err
    assert "Tire Replacement" in told.err
    assert message["actorToken"] not in told.out + told.err


def test_who_says_no_or_nothing_sends_nothing(pool: Pool, sent: list[dict], monkeypatch):
    payment_id = waiting(pool)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(monkeypatch, "approve", str(payment_id)) == 1
    assert sent == []


def test_what_became_of_it_is_waited_for_and_told(pool: Pool, monkeypatch, database_url: str, capsys):
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", database_url)
    monkeypatch.setenv("PAYMENTS_COMMAND_QUEUE_URL", "http://127.0.0.1:1/commands")
    monkeypatch.setenv("PAYMENTS_ACTOR_TOKEN", unsigned(sub=str(m.DISPATCHER)))
    payment_id = waiting(pool)

    def deliver(_settings: object, message: dict) -> None:
        actor = m.dispatcher()
        once(pool, fresh(m.parsed({**message, "actor": actor, "actorToken": None})))

    monkeypatch.setattr(acting, "send", deliver)
    assert run(monkeypatch, "approve", str(payment_id), "--yes") == 0
    assert capsys.readouterr().out.strip() == "PaymentApproved: approved, version 2"
    assert run(monkeypatch, "approve", str(payment_id), "--yes") == 0
    assert "so already" in capsys.readouterr().out
    assert run(monkeypatch, "reject", str(payment_id), "--reason", "no", "--yes") == 1
    told = capsys.readouterr().err
    assert "illegal_transition" in told
    assert "approved, version 2" in told


def test_no_answer_in_time_is_said(pool: Pool, sent: list[dict], monkeypatch, capsys):
    payment_id = waiting(pool)
    assert run(monkeypatch, "cancel", str(payment_id), "--reason", "no", "--yes", "--within-s", "1") == 5
    assert sent[0]["commandId"] in capsys.readouterr().err


@pytest.mark.parametrize("token", ["", "x", "a.b.c", unsigned(), unsigned(sub="ann"), unsigned(sub=1)])
def test_what_is_no_token_sends_nothing(token: str):
    found = settings.load({"PAYMENTS_ACTOR_TOKEN": token or " "})
    with pytest.raises(ActingError):
        acting.person(found)


def test_a_token_may_lie_in_a_file(tmp_path: Path):
    path = tmp_path / "token"
    path.write_text(f"{unsigned(sub=str(SUB))}\n")
    assert acting.person(settings.load({"PAYMENTS_ACTOR_TOKEN_FILE": str(path)})).id == SUB
    with pytest.raises(ActingError, match="cannot be read"):
        acting.person(settings.load({"PAYMENTS_ACTOR_TOKEN_FILE": str(tmp_path / "none")}))


def test_without_a_token_it_says_how_to_get_one():
    with pytest.raises(ActingError, match="payments token"):
        acting.person(settings.load({}))


# -- tokens of the local pool


def local(monkeypatch: pytest.MonkeyPatch, keys: Path, **other: str) -> None:
    known = {
        "PAYMENTS_TOKEN_ISSUER": pools.ISSUER,
        "PAYMENTS_TOKEN_CLIENT_IDS": pools.CLIENT_ID,
        "PAYMENTS_TOKEN_KEYS_FILE": str(keys),
        "PAYMENTS_ENVIRONMENT": "local",
    }
    for name, value in {**known, **other}.items():
        monkeypatch.setenv(name, value)


def test_a_token_of_the_local_pool_is_minted_and_believed_there(monkeypatch, tmp_path: Path, capsys):
    local(monkeypatch, pools.prepare(tmp_path / "pool"))
    verifier = make_verifier(settings.load())
    for arguments, subject, groups in (
        (("dispatcher",), PEOPLE["dispatcher"].subject, {"dispatcher"}),
        ((str(SUB), "--group", "admin", "--group", "vendor"), SUB, {"admin", "vendor"}),
    ):
        assert run(monkeypatch, "token", *arguments) == 0
        person = verifier.verify(capsys.readouterr().out.strip())
        assert (person.subject, person.groups) == (subject, groups)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "other",
    [
        {"PAYMENTS_TOKEN_ISSUER": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Real"},
        {"PAYMENTS_ENVIRONMENT": "production"},
        {"PAYMENTS_TOKEN_KEYS_FILE": ""},
    ],
)
def test_nowhere_else_are_tokens_minted(monkeypatch, tmp_path: Path, capsys, other: dict[str, str]):
    local(monkeypatch, pools.prepare(tmp_path / "pool"), **other)
    assert run(monkeypatch, "token", "admin") in {1, 2}
    told = capsys.readouterr()
    assert told.out == ""
    assert "local" in told.err


@pytest.mark.parametrize("who", ["somebody", str(SUB)])
def test_a_token_is_somebodys_with_a_group(monkeypatch, tmp_path: Path, capsys, who: str):
    local(monkeypatch, pools.prepare(tmp_path / "pool"))
    assert run(monkeypatch, "token", who) == 1
    assert capsys.readouterr().out == ""


def test_the_pool_keeps_its_key_and_hides_the_private_one(tmp_path: Path):
    keys = pools.prepare(tmp_path / "pool")
    before = keys.read_text()
    assert pools.prepare(tmp_path / "pool").read_text() == before
    assert "d" not in json.loads(before)["keys"][0], "the public key alone"
    assert ((tmp_path / "pool" / "key.json").stat().st_mode & 0o777) == 0o600
    with pytest.raises(Exception, match="payments local"):
        LocalPool(tmp_path / "nothing" / "jwks.json")


def test_what_waits_is_a_table_with_how_many_have_approved(pool: Pool, monkeypatch, database_url: str, capsys):
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "200")
    assert run(monkeypatch, "pending") == 0
    assert "Nothing waits" in capsys.readouterr().err
    member(pool, m.ADMIN, Role.ADMIN)
    tiers = [{"currency": "USD", "approvers": 2}]
    once(pool, m.parsed(m.command("SetApprovalPolicy", 9, actor=m.admin(), companyId=str(m.COMPANY), tiers=tiers)))
    payment_id = waiting(pool)
    once(pool, m.parsed(m.command("ApprovePayment", paymentId=str(payment_id))))
    assert run(monkeypatch, "pending") == 0
    shown = capsys.readouterr().out
    assert str(payment_id) in shown
    assert "1 of 2" in shown
    assert run(monkeypatch, "pending", "--company", str(uuid4())) == 0
    assert str(payment_id) not in capsys.readouterr().out
    assert run(monkeypatch, "pending", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["requiredApprovals"] == 2


# -- what others wrote, and what is still to be done

HOSTILE = ["Tow [flatbed] 40 km", "Tow [/b]", "Tow [red]cheap[/red]"]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_vendor_wrote_is_shown_as_it_is(pool: Pool, sent: list[dict], monkeypatch, capsys, text: str):
    monkeypatch.setenv("COLUMNS", "200")
    line = {"description": text, "quantity": 1, "unitPriceCents": 15000}
    made = once(pool, m.parsed(m.work(lineItems=[line])))
    assert run(monkeypatch, "approve", str(made.payment_id), "--yes", "--no-wait") == 0
    assert text in capsys.readouterr().err
    assert run(monkeypatch, "show", str(made.payment_id)) == 0
    assert text in capsys.readouterr().out


def test_what_a_vendor_wrote_does_not_reach_the_terminal_as_a_command(
    pool: Pool, sent: list[dict], monkeypatch, capsys
):
    line = {"description": "Tow\x1b[2A\x1b[20G1.00\u202ehidden\x9b8m", "quantity": 1, "unitPriceCents": 15000}
    made = once(pool, m.parsed(m.work(lineItems=[line])))
    for arguments in (("approve", "--yes", "--no-wait"), ("show",), ("show", "--json")):
        assert run(monkeypatch, arguments[0], str(made.payment_id), *arguments[1:]) == 0
        told = capsys.readouterr()
        assert not {"\x1b", "\x9b", "\u202e"} & set(told.out + told.err)


def policy(pool: Pool, **fields: object) -> None:
    member(pool, m.ADMIN, Role.ADMIN)
    body = m.command("SetApprovalPolicy", 99, actor=m.admin(), companyId=str(m.COMPANY), **fields)
    assert once(pool, m.parsed(body)).code is None


def decide(pool: Pool, kind: str, number: int, payment_id: UUID, **fields: object) -> None:
    assert once(pool, m.parsed(m.command(kind, number, paymentId=str(payment_id), **fields))).code is None


def test_who_decides_sees_what_the_policy_asks_for_and_why_it_is_held(
    pool: Pool, sent: list[dict], monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "200")
    policy(pool, tiers=[{"currency": "USD", "approvers": 2, "roles": ["admin"]}], separateReleaser=True)
    payment_id = waiting(pool)
    decide(pool, "HoldPayment", 2, payment_id, reason="the invoice looks odd")
    assert run(monkeypatch, "release-hold", str(payment_id), "--reason", "it is right", "--yes", "--no-wait") == 0
    shown = capsys.readouterr().err
    assert "2 x admin, then a releaser (policy version 1)" in shown
    assert "the invoice looks odd" in shown
    assert "created by" in shown
    assert run(monkeypatch, "show", str(payment_id)) == 0
    assert '"the invoice looks odd"' in capsys.readouterr().out


def test_what_is_approved_and_waits_for_a_person_is_in_the_list(pool: Pool, sent: list[dict], monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    policy(pool, tiers=[{"currency": "USD", "approvers": 1}], separateReleaser=True)
    payment_id = waiting(pool)
    decide(pool, "ApprovePayment", 2, payment_id)
    assert run(monkeypatch, "pending") == 0
    assert "its releaser" in capsys.readouterr().out
    decide(pool, "HoldPayment", 3, payment_id, reason="wait", until=(clock.now() + timedelta(hours=1)).isoformat())
    assert run(monkeypatch, "pending") == 0
    assert "the end of its hold, on hold until" in capsys.readouterr().out
    forge(pool, "UPDATE payments SET hold_until = now() - interval '1 second'")
    assert run(monkeypatch, "pending", "--json") == 0
    [one] = json.loads(capsys.readouterr().out)
    assert (one["status"], one["separateReleaser"], one["onHold"]) == ("approved", True, False)


def test_a_list_that_is_cut_says_so(pool: Pool, sent: list[dict], monkeypatch, capsys):
    for number in range(2):
        once(pool, m.parsed(m.work(incidentId=str(uuid4()), eventId=f"event-{number}")))
    assert run(monkeypatch, "pending", "--limit", "2") == 0
    assert "more" not in capsys.readouterr().err
    assert run(monkeypatch, "pending", "--limit", "1", "--json") == 0
    told = capsys.readouterr()
    assert len(json.loads(told.out)) == 1
    assert "more than these 1" in told.err


def delivering(pool: Pool, monkeypatch: pytest.MonkeyPatch, actor: dict) -> None:
    """Let what is sent be processed at once, as the word of this actor."""

    def deliver(_settings: object, message: dict) -> None:
        once(pool, fresh(m.parsed({**message, "actor": actor, "actorToken": None})))

    monkeypatch.setattr(acting, "send", deliver)


@pytest.mark.usefixtures("sent")
def test_who_gives_the_last_approval_is_told_that_a_releaser_is_due(pool: Pool, monkeypatch, capsys):
    policy(pool, tiers=[{"currency": "USD", "approvers": 1}], separateReleaser=True)
    delivering(pool, monkeypatch, m.dispatcher())
    payment_id = waiting(pool)
    assert run(monkeypatch, "approve", str(payment_id), "--yes") == 0
    assert f"payments process {payment_id}" in capsys.readouterr().err


@pytest.mark.usefixtures("sent")
def test_exit_codes_tell_a_denial_from_a_refusal_and_both_from_not_knowing(pool: Pool, monkeypatch, capsys):
    payment_id = waiting(pool)
    assert run(monkeypatch, "approve", str(payment_id), "--yes", "--within-s", "1") == 5
    delivering(pool, monkeypatch, m.dispatcher(companyId=str(m.OTHER_COMPANY)))
    assert run(monkeypatch, "approve", str(payment_id), "--yes") == 4
    delivering(pool, monkeypatch, m.dispatcher())
    assert run(monkeypatch, "release-hold", str(payment_id), "--reason", "no", "--yes") == 0
    assert run(monkeypatch, "process", str(payment_id), "--yes") == 1
    assert "illegal_transition" in capsys.readouterr().err


def test_a_token_file_that_is_no_text_is_said_to_be_none(tmp_path: Path):
    path = tmp_path / "token"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ActingError, match="no text"):
        acting.person(settings.load({"PAYMENTS_ACTOR_TOKEN_FILE": str(path)}))


def test_an_end_that_comes_between_two_looks_is_told_with_its_event(pool: Pool, monkeypatch):
    payment_id = waiting(pool)
    hold = m.parsed(m.command("HoldPayment", 3, paymentId=str(payment_id), reason="x"))

    class Between:
        """A connection on which the command ends after the first question."""

        def __init__(self, connection: object) -> None:
            self.connection, self.asked = connection, 0

        def execute(self, query: str, values: object) -> object:
            answer = self.connection.execute(query, values)  # type: ignore[attr-defined]
            self.asked += 1
            if self.asked == 1:
                once(pool, hold)
            return answer

    @contextmanager
    def between(of: Pool) -> Iterator[Between]:
        with reading(of) as connection:
            yield Between(connection)

    monkeypatch.setattr(desk, "reading", between)
    first = desk.ended(pool, "HoldPayment", hold.cause.message_key, [payment_id])
    assert first is None or first.event == "PaymentHeld"
    monkeypatch.setattr(desk, "reading", reading)
    second = desk.ended(pool, "HoldPayment", hold.cause.message_key, [payment_id])
    assert second
    assert (second.outcome, second.event) == ("applied", "PaymentHeld")


def test_a_refusal_of_nobodys_word_is_shown_with_its_meaning(pool: Pool, sent: list[dict], monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "400")
    payment_id = waiting(pool)
    nobody = m.parsed(m.command("ApprovePayment", paymentId=str(payment_id)))
    process(pool, nobody, RULES, replace(proof_of(nobody), who=None))
    assert run(monkeypatch, "show", str(payment_id)) == 0
    assert f"refused, unauthenticated: {MESSAGES[Refusal.UNAUTHENTICATED]}" in capsys.readouterr().out


# -- policies

COMPANY = ("--company", str(m.COMPANY))


@pytest.mark.parametrize(
    ("tiers", "rule"),
    [
        (["USD:50000:1"], "only the last tier has none"),
        (["USD:50000:1", "USD:40000:2", "USD::3"], "each limit is above the one before"),
        (["USD::1:Dispatcher"], "dispatcher or admin"),
        (["USD::0"], "1 to 5"),
    ],
)
def test_a_policy_that_does_not_add_up_is_told_by_its_rule(
    sent: list[dict], monkeypatch, capsys, tiers: list[str], rule: str
):
    asked = [part for tier in tiers for part in ("--tier", tier)]
    for more in (("--dry-run",), ("--yes",)):
        assert run(monkeypatch, "policy", "set", *COMPANY, *asked, *more) == 1
        assert rule in capsys.readouterr().err
    assert sent == []


def test_a_policy_that_nobody_could_meet_is_warned_of(pool: Pool, sent: list[dict], monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    member(pool, m.ADMIN, Role.ADMIN)
    member(pool, m.DISPATCHER, Role.DISPATCHER, company=m.COMPANY)
    member(pool, uuid4(), Role.DISPATCHER, company=m.COMPANY, enabled=False)
    member(pool, uuid4(), Role.DISPATCHER, company=m.OTHER_COMPANY)
    for tier, more, short in (
        ("USD::2", (), False),
        ("USD::2:admin", (), True),
        ("USD::3", (), True),
        ("USD::2", ("--separate-releaser",), True),
        ("USD::1", ("--separate-releaser",), False),
    ):
        assert run(monkeypatch, "policy", "set", *COMPANY, "--tier", tier, *more, "--dry-run") == 0
        assert ("Too few people" in capsys.readouterr().err) is short, (tier, more)
    assert sent == []


def test_a_policy_is_asked_about_before_it_is_set(pool: Pool, sent: list[dict], monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(monkeypatch, "policy", "set", *COMPANY, "--tier", "USD::1") == 1
    assert sent == []
    assert run(monkeypatch, "policy", "set", *COMPANY, "--tier", "USD::1", "--yes", "--within-s", "1") == 5
    assert [message["expectedVersion"] for message in sent] == [0]
