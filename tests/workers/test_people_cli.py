"""Deciding at the command line: whose token it is, what is asked before anything is sent, where tokens are minted."""

import base64
import io
import json
import sys
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from contracts.payment import Role
from store.db import Pool
from tests.kit import messages as m
from tests.kit.funnel import fresh, once
from tests.kit.proofs import member
from workers import acting, cli, settings
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
    assert run(monkeypatch, "cancel", str(payment_id), "--reason", "no", "--yes", "--within-s", "1") == 1
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
