"""`payments contracts`: what a producer or consumer looks up without reading our code."""

import json
import sys

import pytest

from contracts.published import files
from contracts.published.catalogue import CATALOGUE
from workers import cli


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setenv("COLUMNS", "300")  # no path is broken over two lines
    monkeypatch.setattr(sys, "argv", ["payments", "contracts", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_every_message_is_listed_with_where_it_travels(monkeypatch, capsys):
    assert run(monkeypatch) == 0
    heading, *lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    rows = [tuple(cell.strip() for cell in line if cell) for line in lines]
    assert heading[0] == "MESSAGE"
    assert {row[0] for row in rows} == set(CATALOGUE)
    assert ("WorkCompleted", "inbound", "v1", "event_bridge", "payments-events") in rows
    assert ("PaymentCompleted", "outbound", "v1", "event_bridge", "roadcall-events") in rows
    assert ("ApprovalRequest", "outbound", "v1", "object", "payment-approvals") in rows


def test_a_message_that_travels_by_two_queues_has_a_line_for_each(monkeypatch, capsys):
    assert run(monkeypatch) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = [line[-1] for line in lines if line[0] == "ProcessPayment"]
    assert found == ["payments-commands", "payments-payouts"]


@pytest.mark.parametrize("name", ["ApprovePayment", "approvepayment", "approve_payment", "approve-payment"])
def test_a_message_is_found_however_its_name_is_written(monkeypatch, capsys, name):
    assert run(monkeypatch, name) == 0
    assert capsys.readouterr().out == files.texts()["inbound/approve_payment.v1.json"]


def test_no_two_names_are_the_same_however_they_are_written():
    assert len({name.lower() for name in CATALOGUE}) == len(CATALOGUE)


def test_a_name_that_is_nearly_right_is_wrong_usage_and_gets_a_hint(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert run(monkeypatch, "AprovePayment") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "did you mean ApprovePayment" in told.err


def test_a_name_that_is_far_off_says_where_the_names_are(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert run(monkeypatch, "zzz") == 2
    assert "`payments contracts` lists all there are" in capsys.readouterr().err


def test_the_asyncapi_document_is_printed_as_it_is_published(monkeypatch, capsys):
    assert run(monkeypatch, "--asyncapi") == 0
    assert json.loads(capsys.readouterr().out)["asyncapi"] == "3.0.0"


def test_everything_is_written_below_a_folder_that_need_not_be_there(monkeypatch, capsys, tmp_path):
    folder = tmp_path / "new" / "folder"
    assert run(monkeypatch, "--out", str(folder)) == 0
    written = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.json")}
    assert written == files.texts()
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{len(written)} files written" in told.err


def test_a_file_in_the_folders_place_is_wrong_usage(monkeypatch, capsys, tmp_path):
    place = tmp_path / "taken"
    place.write_text("mine")
    assert run(monkeypatch, "--out", str(place)) == 2
    assert place.read_text() == "mine"
    assert "taken" in "".join(capsys.readouterr().err.split())


def test_a_folder_that_cannot_be_written_is_one_line_and_a_failure(monkeypatch, capsys, tmp_path):
    (tmp_path / "inbound").write_text("in the way")
    assert run(monkeypatch, "--out", str(tmp_path)) == 1
    told = capsys.readouterr().err
    assert "Could not write below" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    "arguments", [("ApprovePayment", "--asyncapi"), ("--asyncapi", "--out", "x"), ("ApprovePayment", "--out", "x")]
)
def test_two_wishes_at_once_are_wrong_usage(monkeypatch, capsys, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    assert "choose one" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_every_way_to_ask(monkeypatch, capsys):
    assert run(monkeypatch, "--help") == 0
    told = capsys.readouterr().out
    for word in ("KIND", "--asyncapi", "--out"):
        assert word in told
