"""The database is lost and restored from a backup, every event is replayed, and no money moves twice.

The provider has lived on: it has made what the backup does not know of. After three days it has forgotten its keys too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from store import db
from store.db import PoolOptions
from tests.kit.forgery import forge
from tests.kit.funnel import rows
from tests.payouts.desk import Desk
from workers.local import postgres
from workers.reconciling import Bounds, compare
from workers.sandbox.books import PayoutStatus
from workers.sandbox.plan import Fault
from workers.sandbox.server import Sandbox

#: How many payments stand at each stage when the backup is made.
EACH = 3
DAY_S = 86_400


@pytest.fixture
def backup(server: postgres.Server) -> Iterator[Callable[[str], str]]:
    """Copies a database that nobody is connected to, and returns where the copy is."""
    made: list[str] = []

    def copy(url: str) -> str:
        name = f"backup_{uuid4().hex}"
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            source = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(str(source))))
        made.append(name)
        return server.url(name)

    yield copy
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        for name in made:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def desk_on(url: str, sandbox: Sandbox) -> Iterator[Desk]:
    """A desk on a database, whose connections are all gone afterwards."""
    with db.open_pool(url, PoolOptions(size_min=1, size_max=2, wait_s=5)) as pool:
        yield Desk(pool, sandbox)


@dataclass
class Story:
    """What happened, told a second time to another database; `jobs` are the numbers of the finished jobs."""

    sandbox: Sandbox
    jobs: list[int] = field(default_factory=list)
    commands: int = 1_000

    def before(self, desk: Desk) -> None:
        """Bring payments to every stage that there is."""
        faults: list[Fault | None] = [None, Fault.LOST_AFTER, Fault.LOST_BEFORE, Fault.INSUFFICIENT]
        for fault in faults:  # paid; paid, and nobody knows; not paid, and nobody knows; between two attempts
            self._approved(desk)
            if fault:
                self.sandbox.plan.force(fault, times=EACH, method="POST")
            desk.pay()
        self._approved(desk)
        desk.pay_once()  # ordered, and not put to the provider yet
        self._approved(desk)  # its order is in the outbox
        self._finished(desk)  # waits for approval

    def after(self, desk: Desk) -> None:
        """What the backup does not know of: everything is paid, new work too, and some money comes back."""
        self._finished(desk)
        self._approve_all(desk)
        desk.pay()
        desk.settle()
        first, second, *_ = self.sandbox.books.transfers()
        [payout] = self.sandbox.books.settle(first["destination"])
        self.sandbox.books.finish_payout(payout["id"], PayoutStatus.PAID)
        desk.ask("POST", f"transfers/{second['id']}/reversals", amount="5000")
        desk.hear(desk.events())

    def replayed(self, desk: Desk) -> None:
        """Replay the work and the provider's events, in no good order; people decide anew what is undecided."""
        desk.hear(desk.events()[::-1])
        for number in self.jobs:
            desk.finish(number)
        self._approve_all(desk)
        desk.pay()
        desk.settle()
        desk.hear(desk.events())
        desk.settle()

    def _approved(self, desk: Desk) -> None:
        self._finished(desk)
        self._approve_all(desk)

    def _finished(self, desk: Desk) -> None:
        for _ in range(EACH):
            self.jobs.append(100 + len(self.jobs))
            desk.finish(self.jobs[-1])

    def _approve_all(self, desk: Desk) -> None:
        for row in rows(desk.pool, "SELECT payment_id FROM payments WHERE status = 'pending_approval' ORDER BY 1"):
            self.commands += 1
            desk.approve(row["payment_id"], self.commands)


def lived(url: str, sandbox: Sandbox, backup: Callable[[str], str]) -> tuple[Story, str]:
    """Live up to the backup and on, and lose the database; return the story and where the backup is."""
    story = Story(sandbox)
    with desk_on(url, sandbox) as desk:
        story.before(desk)
    saved = backup(url)
    with desk_on(url, sandbox) as desk:
        story.after(desk)
        assert paid_once(desk, story)
    return story, saved


def paid_once(desk: Desk, story: Story) -> bool:
    """Whether each payment is completed by exactly one transfer of its amount, and no other transfer was made."""
    completed = rows(desk.pool, "SELECT payment_id::text AS id FROM payments WHERE status = 'completed'")
    transfers = story.sandbox.books.transfers()
    assert sorted(transfer["transfer_group"] for transfer in transfers) == sorted(row["id"] for row in completed)
    assert len(transfers) == len(story.jobs)
    assert {transfer["amount"] for transfer in transfers} == {15_000}
    report = compare(desk.pool, desk.provider, Bounds(in_flight=timedelta(0), patience=timedelta(0)))
    assert report.breaks == []
    return True


_FACTS = """
SELECT provider_object_id, amount_reversed_cents, settlement_status
FROM payments JOIN payout_attempts USING (payment_id)
WHERE state = 'succeeded' ORDER BY 1
"""


def test_a_backup_of_15_minutes_ago_pays_nobody_twice(database_url: str, sandbox: Sandbox, backup):
    story, saved = lived(database_url, sandbox, backup)
    made = [transfer["id"] for transfer in sandbox.books.transfers()]
    sandbox.books.advance(15 * 60)
    with desk_on(saved, sandbox) as desk:
        assert rows(desk.pool, "SELECT count(*) AS n FROM payments WHERE status <> 'completed'") != [{"n": 0}]
        story.replayed(desk)
        assert paid_once(desk, story)
        restored = rows(desk.pool, _FACTS)
    assert [transfer["id"] for transfer in sandbox.books.transfers()] == made, "nothing was moved after the restore"
    with desk_on(database_url, sandbox) as lost:
        assert rows(lost.pool, _FACTS) == restored, "and the books say again what they said before they were lost"


def test_a_backup_of_3_days_ago_pays_nobody_twice_although_the_provider_has_forgotten_its_keys(
    database_url: str, sandbox: Sandbox, backup
):
    story, saved = lived(database_url, sandbox, backup)
    made = [transfer["id"] for transfer in sandbox.books.transfers()]
    sandbox.books.advance(3 * DAY_S)
    sandbox.books.prune()
    with desk_on(saved, sandbox) as desk:
        forge(  # the time has passed for the database too
            desk.pool,
            "UPDATE payout_attempts SET created_at = created_at - interval '3 days',"
            " submit_before = submit_before - interval '3 days', next_check_at = next_check_at - interval '3 days',"
            " resolved_at = resolved_at - interval '3 days'",
        )
        story.replayed(desk)
        assert paid_once(desk, story)
    assert [transfer["id"] for transfer in sandbox.books.transfers()] == made, "nothing was moved after the restore"


def test_what_was_never_executed_is_paid_once_after_its_keys_window(database_url: str, sandbox: Sandbox):
    """The other side of the same rule: what the provider does not know after the window is paid by another attempt."""
    story = Story(sandbox)
    with desk_on(database_url, sandbox) as desk:
        sandbox.plan.force(Fault.ERROR_BEFORE, times=EACH, method="POST")
        story._approved(desk)
        desk.pay()
        sandbox.books.advance(3 * DAY_S)
        forge(desk.pool, "UPDATE payout_attempts SET submit_before = submit_before - interval '3 days'")
        desk.settle()
        assert paid_once(desk, story)
        tries = rows(desk.pool, "SELECT attempt_no, state, failure_code FROM payout_attempts ORDER BY 1, payment_id")
    assert [tuple(row.values()) for row in tries] == [
        *[(1, "failed", "not_executed")] * EACH,
        *[(2, "succeeded", None)] * EACH,
    ]
