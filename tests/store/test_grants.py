"""Who may do what: the complete list of grants as a golden text, and the main road walked as a member of the worker.

When a grant changes and is meant to, the failing test prints the whole list: put it into grants.golden.txt.
"""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from contracts.envelope import Queue
from contracts.outcome import Outcome
from contracts.provider import Accepted, Answer, Declined, Reversal, Unfunded, Unknown
from handlers.apply import Result
from store import db
from store.db import Pool, PoolOptions
from store.roles import GroupRole
from tests.kit import messages as m
from tests.kit.funnel import fresh, once, rows
from workers.local import postgres

GOLDEN = Path(__file__).with_name("grants.golden.txt")
HEADER = "# role and table, then its privileges: on the whole table, or on the columns in brackets\n"
PASSWORD = "correct-horse"  # noqa: S105 - of a throw-away user
#: A privilege on a table counts for all of its columns, so those are left out of the second half.
GRANTS = """
SELECT grantee, table_name, privilege_type, NULL AS columns FROM information_schema.role_table_grants
WHERE table_schema = 'public' AND grantee = ANY(%(grantees)s)
UNION ALL
SELECT grantee, table_name, privilege_type, string_agg(column_name, ', ' ORDER BY column_name COLLATE "C")
FROM information_schema.column_privileges AS one
WHERE table_schema = 'public' AND grantee = ANY(%(grantees)s) AND NOT EXISTS (
    SELECT FROM information_schema.role_table_grants AS whole
    WHERE (whole.grantee, whole.table_schema, whole.table_name, whole.privilege_type)
        = (one.grantee, one.table_schema, one.table_name, one.privilege_type)
)
GROUP BY grantee, table_name, privilege_type
ORDER BY grantee, table_name, columns NULLS FIRST, privilege_type
"""


def listed(url: str) -> str:
    """Every grant in the schema, one role and table a line."""
    lines: dict[tuple[str, str], list[str]] = {}
    with psycopg.connect(url) as connection:
        grantees = [*GroupRole, "PUBLIC"]
        for role, table, privilege, columns in connection.execute(GRANTS, {"grantees": grantees}):
            lines.setdefault((role, table), []).append(f"{privilege} ({columns})" if columns else privilege)
    told = (f"{role} {table}:\n    " + "\n    ".join(sorted(found)) for (role, table), found in sorted(lines.items()))
    return HEADER + "\n".join(told) + "\n"


def test_the_grants_are_the_golden_ones(database_url: str):
    found = listed(database_url)
    assert found == GOLDEN.read_text(), f"a grant has changed; if that is meant, {GOLDEN.name} becomes:\n{found}"


def test_nobody_else_has_a_grant_and_nobody_can_hand_one_on(database_url: str):
    ours = [*GroupRole, "payments_owner"]
    with psycopg.connect(database_url) as connection:
        others = "SELECT DISTINCT grantee FROM information_schema.column_privileges WHERE table_schema = 'public'"
        assert {role for (role,) in connection.execute(others)} <= set(ours)
        handing_on = "SELECT grantee FROM information_schema.column_privileges WHERE is_grantable = 'YES'"
        assert {role for (role,) in connection.execute(handing_on)} - {"payments_owner", postgres.ROLE} == set()


DENIED = [
    (GroupRole.READER, "SELECT note FROM payment_audit_notes"),
    (GroupRole.READER, "SELECT salt FROM payment_audit_notes"),
    (GroupRole.READER, "UPDATE payments SET on_hold = true"),
    (GroupRole.MONITOR, "SELECT note FROM payment_audit_notes"),
    (GroupRole.MONITOR, "UPDATE payments SET on_hold = true"),
    (GroupRole.MONITOR, "UPDATE payout_attempts SET next_check_at = now()"),
    (
        GroupRole.MONITOR,
        "INSERT INTO reconcile_requests (attempt_id, requested_by) SELECT attempt_id, 'me' FROM payout_attempts",
    ),
    (GroupRole.MONITOR, "UPDATE vendor_accounts SET payouts_enabled = true"),
    (GroupRole.READER, "SELECT 1 FROM vendor_accounts"),
    (GroupRole.READER, "SELECT 1 FROM payout_reversals"),
    (GroupRole.RELAY, "SELECT amount_cents FROM payments"),
    (GroupRole.RELAY, "SELECT account_id FROM vendor_accounts"),
    (GroupRole.RELAY, "SELECT idempotency_key FROM payout_attempts"),
    (GroupRole.RELAY, "UPDATE payout_attempts SET next_check_at = now()"),
    (GroupRole.WORKER, "DELETE FROM payout_reversals"),
    (GroupRole.WORKER, "SELECT 1 FROM swept"),
    (GroupRole.RELAY, "UPDATE outbox SET payload = '{}'"),
    (GroupRole.WORKER, "SELECT note FROM payment_audit_notes"),
    (GroupRole.WORKER, "UPDATE payments SET amount_cents = 1"),
    (GroupRole.WORKER, "DELETE FROM payment_audit_log"),
    (GroupRole.WORKER, "DELETE FROM message_inbox"),
    (GroupRole.WORKER, "ALTER TABLE payments DISABLE TRIGGER ALL"),
    (GroupRole.WORKER, "SET session_replication_role = replica"),
    (GroupRole.WORKER, "CREATE TABLE another (a int)"),
]


@pytest.mark.parametrize(("role", "statement"), DENIED, ids=[f"{role}: {statement}" for role, statement in DENIED])
def test_a_role_may_not(database_url: str, role: GroupRole, statement: str):
    with psycopg.connect(database_url, options=f"-c role={role}") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
        connection.rollback()


# -- what the worker may is enough for all it does


@pytest.fixture
def worker(database_url: str) -> Iterator[Pool]:
    """A pool of a user who is a member of the worker's role, as in production."""
    name = f"worker_{uuid4().hex}"
    place = urlsplit(database_url)
    url = place._replace(netloc=f"{name}:{PASSWORD}@{place.hostname}:{place.port}").geturl()
    user = sql.Identifier(name)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
                user, sql.Literal(PASSWORD), sql.Identifier(GroupRole.WORKER)
            )
        )
        with db.open_pool(url, PoolOptions(size_min=1)) as opened:
            assert rows(opened, "SELECT current_user")[0]["current_user"] == name
            yield opened
        connection.execute(sql.SQL("DROP ROLE {}").format(user))


def order(pool: Pool, kind: str) -> dict:
    return rows(pool, "SELECT payload FROM outbox WHERE detail_type = %s ORDER BY outbox_id DESC", kind)[0]["payload"]


def started(pool: Pool, worker: Pool) -> Result:
    created = once(worker, m.parsed(m.work(notes="at the gate")))
    approval = m.command("ApprovePayment", paymentId=str(created.payment_id), notes="looks right")
    assert once(worker, m.parsed(approval)).status == "approved"
    return once(worker, m.parsed(order(pool, "ProcessPayment"), queue=Queue.PAYOUTS))


def look_up(pool: Pool, check: int) -> dict:
    """The order that the sweep posts for an attempt that is open still."""
    [attempt] = rows(pool, "SELECT attempt_id FROM payout_attempts")
    return m.command("ReconcileAttempt", check, attemptId=str(attempt["attempt_id"]), check=check)


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([Accepted("tr_1")], "completed"),
        ([Unknown("timeout"), Unknown("timeout"), Accepted("tr_late")], "completed"),
        ([Declined("account_closed", "closed")], "failed"),
        ([Unknown("timeout"), Unfunded("balance_insufficient")], "processing"),
        ([Accepted("tr_1"), Accepted("tr_1", (Reversal("trr_1", 5000),))], "completed"),
    ],
)
def test_the_worker_pays_from_beginning_to_end(pool: Pool, worker: Pool, answers: list[Answer], status: str):
    assert started(pool, worker).status == "processing"
    orders = [order(pool, "ExecutePayout"), *(look_up(pool, check) for check in range(1, len(answers)))]
    ends = [
        once(worker, m.parsed(message, queue=Queue.PAYOUTS), answer)
        for message, answer in zip(orders, answers, strict=True)
    ]
    assert (ends[-1].outcome, ends[-1].status) == (Outcome.APPLIED, status)
    [payment] = rows(pool, "SELECT status, version FROM payments")
    assert payment == {"status": status, "version": 3 + len(answers)}
    assert len(rows(pool, "SELECT 1 FROM payment_audit_log")) == payment["version"]
    assert len(rows(pool, "SELECT 1 FROM payment_audit_notes")) == 2


def test_the_worker_creates_by_command_and_rejects_and_calls_off(pool: Pool, worker: Pool):
    creation = m.command(
        "CreatePayment",
        actor=m.admin(),
        incidentId=str(m.INCIDENT),
        vendorId=str(m.VENDOR),
        companyId=str(m.COMPANY),
        payerType="back_office",
        amountCents=500,
        lineItems=[{"description": "Tow", "quantity": 1, "unitPriceCents": 500}],
    )
    first, second = once(worker, m.parsed(creation)), once(worker, m.parsed(m.work()))
    assert (first.outcome, second.outcome) == (Outcome.APPLIED, Outcome.APPLIED)
    rejection = m.command("RejectPayment", 2, paymentId=str(first.payment_id), amountCents=500, reason="wrong price")
    approval = m.command("ApprovePayment", 3, paymentId=str(second.payment_id))
    calling_off = m.command("CancelPayment", 4, paymentId=str(second.payment_id), reason="twice")
    ends = [once(worker, m.parsed(message)).status for message in (rejection, approval, calling_off)]
    assert ends == ["cancelled", "approved", "cancelled"]


def test_the_worker_refuses_ignores_and_meets_duplicates(pool: Pool, worker: Pool):
    created = once(worker, m.parsed(m.work()))
    stranger = m.dispatcher(companyId=str(m.OTHER_COMPANY))
    refused = m.command("ApprovePayment", paymentId=str(created.payment_id), actor=stranger)
    ends = [
        once(worker, fresh(m.parsed(message))).outcome
        for message in (m.work(), m.work(eventId="again"), m.work(lineItems=...), refused)
    ]
    assert ends == [Outcome.DUPLICATE, Outcome.IGNORED, Outcome.REFUSED, Outcome.REFUSED]


def test_the_worker_writes_where_vendors_are_paid(worker: Pool):
    def say(number: int, account_id: str) -> Result:
        asked = {"vendorId": str(m.VENDOR), "stripeAccountId": account_id, "payoutsEnabled": True}
        return once(worker, m.parsed(m.command("VendorAccountChanged", number, actor=m.admin(), **asked)))

    assert [say(1, "acct_1").outcome, say(2, "acct_2").outcome] == [Outcome.APPLIED] * 2
    [account] = rows(worker, "SELECT account_id, held_until > now() AS held FROM vendor_accounts")
    assert account == {"account_id": "acct_2", "held": True}
