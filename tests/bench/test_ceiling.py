"""What pgbench repeats is what one message of ours does, row for row, past all guards of the database."""

import pytest

from tests.bench import ceiling
from tests.kit.funnel import RULES
from workers.local.processes import LocalStackError


def test_each_transaction_of_pgbench_leaves_the_rows_of_one_message(database_url, tmp_path):
    script = tmp_path / "script.sql"
    script.write_text(ceiling.captured_script(database_url, RULES))
    before = ceiling.rows(database_url)
    assert before == {
        "payments": 2,
        "payment_line_items": 6,
        "payment_audit_log": 2,
        "message_inbox": 2,
        "outbox": before["outbox"],
    }
    said = ceiling.repeated(database_url, script, clients=2, each=5)
    assert (said["done"], said["failed"]) == (10, 0)
    ceiling.verify(before, ceiling.rows(database_url), 10)


def test_a_script_that_the_database_refuses_is_reported(database_url, tmp_path):
    script = tmp_path / "script.sql"
    script.write_text("INSERT INTO payments DEFAULT VALUES;\n")
    with pytest.raises(LocalStackError, match="null value"):
        ceiling.repeated(database_url, script, clients=1, each=1)


def test_rows_that_are_missing_are_noticed():
    with pytest.raises(LocalStackError):
        ceiling.verify({"payments": 2, "outbox": 4}, {"payments": 12, "outbox": 23}, 10)
    ceiling.verify({"payments": 2, "outbox": 4}, {"payments": 12, "outbox": 24}, 10)
