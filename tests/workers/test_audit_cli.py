"""`payments audit`: what it says of whole and of broken chains, in the database and in a file, and how it ends."""

import json
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from store.db import Pool
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import once
from workers import audit_cli, cli

CANARY = "canary-8675309"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    """This test's database, a wide screen, and no other setting."""
    for name in ("APPROVAL_QUEUE_URL", "EVENT_BUS_NAME", "AURORA_ENDPOINT", "AURORA_SECRET_ARN", "DATABASE_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", database_url)


@pytest.fixture
def without_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """No way to any database, and a setting that would stop whoever reads the settings."""
    monkeypatch.delenv("PAYMENTS_DATABASE_URL")
    monkeypatch.setenv("PAYMENTS_NO_SUCH_THING", "1")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]):
    """Run a command as its user does; return its exit code, standard output and standard error."""

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["payments", "audit", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfdbinary.readouterr()
        return int(ended.value.code or 0), out.decode(), err.decode()

    return command


@pytest.fixture
def payments(pool: Pool) -> list[UUID]:
    """Three payments with five links together, and notes that nobody but the auditor's database may see."""
    found = []
    for number in range(3):
        work = m.work(incidentId=str(uuid4()), eventId=str(uuid4()), notes=CANARY)
        payment_id = once(pool, m.parsed(work)).payment_id
        assert payment_id
        found.append(payment_id)
        if number:
            body = m.command("ApprovePayment", number, paymentId=str(payment_id), notes=CANARY)
            once(pool, m.parsed(body))
    return found


def break_link(pool: Pool, payment_id: UUID) -> None:
    with pool.connection() as connection, connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("UPDATE payment_audit_log SET actor_type = 'admin' WHERE payment_id = %s", [payment_id])


@pytest.fixture
def exported(run, payments: list[UUID], tmp_path: Path) -> Path:
    code, out, err = run("export")
    assert (code, err) == (0, "Exported 3 payments with 5 links.\n")
    file = tmp_path / "export.jsonl"
    file.write_text(out, encoding="utf-8")
    return file


# -- in the database


def test_whole_chains_are_counted_and_the_end_is_good(run, payments):
    assert run("verify") == (0, "Checked 3 payments with 5 links: every chain is whole.\n", "")


def test_an_empty_database_is_in_order(run):
    assert run("verify") == (0, "Checked 0 payments with 0 links: every chain is whole.\n", "")


def test_a_broken_link_is_named_with_its_payment_and_what_is_wrong(run, pool: Pool, payments):
    break_link(pool, payments[0])
    code, out, err = run("verify")
    assert (code, err) == (1, "")
    assert out.splitlines() == [
        (
            f"Payment {payments[0]}, link 1: the link, or the payment's amount or currency, is not what was written: "
            "the hash does not fit."
        ),
        "No further payment is broken. Checked 3 payments with 5 links.",
    ]


def test_of_several_broken_payments_the_first_is_named_and_the_others_counted(run, pool: Pool, payments):
    for payment_id in payments[:2]:
        break_link(pool, payment_id)
    code, out, _ = run("verify")
    first, result = out.splitlines()
    assert code == 1
    assert first.startswith(f"Payment {min(payments[:2])}, link 1: ")
    assert result == "One further payment is broken. Checked 3 payments with 5 links."


def test_one_payment_is_checked_alone(run, pool: Pool, payments):
    break_link(pool, payments[0])
    assert run("verify", "--payment", str(payments[1]))[:2] == (
        0,
        "Checked 1 payment with 2 links: every chain is whole.\n",
    )
    assert run("verify", "--payment", str(payments[0]))[0] == 1


def test_a_payment_that_is_not_there_is_a_failure(run, payments):
    for command in ("verify", "export"):
        assert run(command, "--payment", str(m.INCIDENT)) == (2, "", f"There is no payment {m.INCIDENT}.\n")


def test_links_whose_payment_is_gone_are_not_taken_for_nothing(run, pool: Pool, payments):
    forge(pool, "DELETE FROM payments")
    code, out, _ = run("verify", "--payment", str(payments[0]))
    assert code == 1
    assert f"Payment {payments[0]}, link 1: the link is there, its payment is not." in out


def test_machines_get_the_result_as_json(run, pool: Pool, payments):
    code, out, err = run("verify", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"payments": 3, "links": 5, "brokenPayments": 0, "firstBreach": None}
    break_link(pool, payments[2])
    code, out, err = run("verify", "--json")
    assert (code, err) == (1, "")
    found = json.loads(out)
    what = found["firstBreach"].pop("what")
    assert "the hash does not fit" in what
    assert found == {
        "payments": 3,
        "links": 5,
        "brokenPayments": 1,
        "firstBreach": {"paymentId": str(payments[2]), "seq": 1, "flaw": "content"},
    }


@pytest.mark.parametrize("command", ["verify", "export"])
def test_a_payment_id_that_is_none_is_wrong_usage(run, command: str):
    code, out, err = run(command, "--payment", "42")
    assert (code, out) == (2, "")
    assert "not a UUID" in err


@pytest.mark.parametrize("command", ["verify", "export"])
def test_a_database_that_is_away_is_one_line_and_a_failure(run, monkeypatch, command: str):
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", "postgresql://nobody:s3cret@127.0.0.1:1/nowhere")
    monkeypatch.setenv("PAYMENTS_POOL_WAIT_S", "0.2")
    code, out, err = run(command)
    assert (code, out) == (2, ""), "1 would say that a chain is broken"
    assert "Not checked: the database did not answer" in err
    assert "s3cret" not in err


@pytest.mark.parametrize("command", ["verify", "export"])
def test_without_settings_it_says_which_are_missing(run, monkeypatch, command: str):
    monkeypatch.delenv("PAYMENTS_DATABASE_URL")
    code, _, err = run(command)
    assert code == 2
    assert "PAYMENTS_DATABASE_URL" in err


def test_a_long_run_says_how_far_it_has_come(run, payments, monkeypatch):
    monkeypatch.setattr(audit_cli, "PROGRESS_EVERY_S", -1.0)
    code, out, err = run("verify")
    assert (code, out) == (0, "Checked 3 payments with 5 links: every chain is whole.\n")
    assert len(err.splitlines()) == 3
    assert err.splitlines()[-1] == "3 payments with 5 links so far"


# -- in a file


def test_an_export_is_a_line_per_payment_without_a_word_of_a_person(exported: Path, payments):
    text = exported.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [UUID(line["paymentId"]) for line in lines] == sorted(payments)
    assert {len(line["links"]) for line in lines} == {1, 2}
    assert CANARY not in text
    assert set(lines[0]) == {"format", "paymentId", "payment", "links"}
    assert set(lines[0]["payment"]) == {"amountCents", "currency", "status", "version", "auditHead"}


def test_an_export_is_checked_without_any_database(run, exported: Path, without_database):
    expected = (0, "Checked 3 payments with 5 links: every chain is whole.\n", "")
    assert run("verify", "--file", str(exported)) == expected


def test_an_export_may_come_by_standard_input(run, exported: Path, without_database, monkeypatch):
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(exported.read_bytes())))
    assert run("verify", "--file", "-")[:2] == (0, "Checked 3 payments with 5 links: every chain is whole.\n")


def test_an_empty_database_exports_nothing(run):
    assert run("export") == (0, "", "Exported 0 payments with 0 links.\n")


def test_one_payment_is_exported_alone_and_picked_out_of_a_file(run, exported: Path, payments):
    code, out, err = run("export", "--payment", str(payments[1]))
    assert (code, err) == (0, "Exported 1 payment with 2 links.\n")
    assert out in exported.read_text(encoding="utf-8")
    code, told, _ = run("verify", "--file", str(exported), "--payment", str(payments[1]))
    assert (code, told) == (0, "Checked 1 payment with 2 links: every chain is whole.\n")
    code, told, err = run("verify", "--file", str(exported), "--payment", str(m.INCIDENT))
    assert (code, told) == (2, "")
    assert err == f"There is no payment {m.INCIDENT} in {exported}.\n"


def test_what_was_edited_in_a_file_is_found_too(run, exported: Path, without_database):
    text = exported.read_text(encoding="utf-8")
    exported.write_text(text.replace('"amountCents":15000', '"amountCents":15001', 1), encoding="utf-8")
    code, out, _ = run("verify", "--file", str(exported))
    assert code == 1
    assert "link 1: the link, or the payment's amount" in out


def test_a_broken_chain_is_exported_as_it_is(run, pool: Pool, payments, tmp_path: Path):
    forge(pool, "DELETE FROM payment_audit_log WHERE seq = 1", "UPDATE payments SET version = 7 WHERE version = 1")
    file = tmp_path / "export.jsonl"
    file.write_text(run("export")[1], encoding="utf-8")
    code, out, _ = run("verify", "--file", str(file))
    assert (code, out) == run("verify")[:2]
    assert code == 1


UNREADABLE = [
    ("cut in the middle", lambda text: text[:-300], "line 3: not a line of `payments audit export`: Invalid JSON"),
    ("something else", lambda text: text.replace('"seq":1', '"seq":"1"', 1), "line 1: not a line of `payments audit"),
    (
        "an empty line",
        lambda text: text.replace("\n", "\n\n", 1),
        "line 2: not a line of `payments audit export`: empty",
    ),
    ("nothing at all", lambda _: "", "is empty: there is nothing to check."),
]


@pytest.mark.parametrize(("change", "told"), [row[1:] for row in UNREADABLE], ids=[row[0] for row in UNREADABLE])
def test_a_file_that_cannot_be_read_says_in_which_line(run, exported: Path, without_database, change, told: str):
    exported.write_text(change(exported.read_text(encoding="utf-8")), encoding="utf-8")
    code, out, err = run("verify", "--file", str(exported))
    assert (code, out) == (2, "")
    assert told in err
    assert str(exported) in err
    assert "Traceback" not in err


def test_a_breach_before_an_unreadable_line_is_told_all_the_same(run, exported: Path, without_database):
    text = exported.read_text(encoding="utf-8").replace('"amountCents":15000', '"amountCents":1', 1)
    exported.write_text(text[:-300], encoding="utf-8")
    code, out, err = run("verify", "--file", str(exported))
    assert code == 2
    assert "link 1: the link, or the payment's amount" in out
    assert "line 3" in err


def test_a_file_that_is_not_there_or_a_folder_is_wrong_usage(run, without_database, tmp_path: Path):
    code, _, err = run("verify", "--file", str(tmp_path / "nowhere"))
    assert (code, err) == (2, f"Cannot read {tmp_path / 'nowhere'}: No such file or directory.\n")
    code, _, err = run("verify", "--file", str(tmp_path))
    assert (code, err) == (2, f"Cannot read {tmp_path}: Is a directory.\n")


def test_a_reader_that_has_had_enough_ends_an_export_quietly(payments):
    command = [sys.executable, "-m", "workers.cli", "audit", "export"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()  # before the first line
        told = process.stderr.read().decode()
        assert process.wait(20) == 1
    assert told == ""


def test_help_says_what_each_exit_code_means(run):
    code, out, _ = run("verify", "--help")
    assert code == 0
    for word in ("--file", "--payment", "--json", "Exit codes"):
        assert word in out
