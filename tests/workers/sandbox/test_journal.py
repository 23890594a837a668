"""The books survive their process: killed, restarted, with a last line that was not written whole."""

import json

import pytest
import stripe

from tests.workers.sandbox.paying import paid
from workers.sandbox.books import AccountState, Books, PayoutStatus
from workers.sandbox.journal import Journal, JournalError
from workers.sandbox.plan import Fault
from workers.sandbox.server import Sandbox


def test_everything_survives(opened, connect):
    with Sandbox(opened()) as first:
        client = connect(first.url)
        made = paid(client, "k")
        first.plan.force(Fault.ERROR_AFTER)
        with pytest.raises(stripe.APIError):
            paid(client, "broken")
        client.v1.transfers.reversals.create(made.id, {"amount": 100})
        first.books.set_balance("usd", 900)
        first.books.set_account("acct_closed", AccountState.CLOSED)
        first.books.advance(1_000)
        (payout,) = first.books.settle("acct_vendor")
        first.books.finish_payout(payout["id"], PayoutStatus.PAID)
        before = (first.books.transfers(), first.books.undelivered(), client.v1.balance.retrieve().to_dict())
    with Sandbox(opened()) as second:
        client = connect(second.url)
        assert before == (
            second.books.transfers(),
            second.books.undelivered(),
            client.v1.balance.retrieve().to_dict(),
        )
        assert paid(client, "k").id == made.id
        with pytest.raises(stripe.IdempotencyError):
            paid(client, "k", amount=1)
        with pytest.raises(stripe.APIError):
            paid(client, "broken")
        with pytest.raises(stripe.InvalidRequestError):
            paid(client, destination="acct_closed")
        assert 990 < second.books.clock.offset_s <= 1_000
        on_behalf = {"stripe_account": "acct_vendor"}
        assert client.v1.payouts.retrieve(payout["id"], {}, on_behalf).status == "paid"
        assert len(client.v1.transfers.list({"transfer_group": "pay-1"}).data) == 2


def test_a_torn_last_line_never_happened(opened, connect, journal):
    with Sandbox(opened()) as first:
        made = paid(connect(first.url), "k1")
        whole = journal.read_bytes()
        paid(connect(first.url), "k2")
    books = opened  # the next opening finds a line that was written by half
    torn = journal.read_bytes()
    journal.write_bytes(torn[: len(whole) + (len(torn) - len(whole)) // 2])
    with Sandbox(books()) as second:
        assert [one["id"] for one in second.books.transfers()] == [made.id]
        assert journal.read_bytes() == whole
        again = paid(connect(second.url), "k2")
    assert [one["id"] for one in opened().transfers()] == [made.id, again.id]


def test_a_damaged_line_before_the_last_is_not_believed(journal):
    journal.write_text("[]\nnonsense\n[]\n")
    with pytest.raises(JournalError, match=r":2 is damaged"):
        Books(journal)
    journal.write_text("")
    Books(journal).close()


def test_one_process_writes_a_journal(opened, journal):
    opened()
    with pytest.raises(JournalError, match="another provider"):
        Books(journal)


def test_a_journal_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(JournalError, match="cannot be opened"):
        Books(tmp_path / "nowhere" / "books")


def test_a_change_is_one_line(opened, connect, journal):
    with Sandbox(opened()) as running:
        paid(connect(running.url), "k")
    (line,) = journal.read_text().splitlines()
    tables = {table for table, _, _ in json.loads(line)}
    assert {"transfers", "charges", "balance_transactions", "funds", "events", "keys"} <= tables


def test_a_disk_that_is_full_takes_nothing(journal, monkeypatch):
    kept = Journal(journal)
    kept.append(["one"])
    monkeypatch.setattr("os.write", lambda _file, line: len(line) - 1)
    with pytest.raises(OSError, match="no room"):
        kept.append(["two"])
    monkeypatch.undo()
    assert list(kept.replay()) == [["one"]]
    kept.close()
    kept.close()


def test_deliveries_are_remembered(opened, connect):
    with Sandbox(opened()) as first:
        paid(connect(first.url))
        paid(connect(first.url))
        done, left = first.books.undelivered()
        first.books.mark_delivered([done, done, "evt_unknown"])
    assert opened().undelivered() == [left]
