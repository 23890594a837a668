"""What the sweep finds due, and that an order is claimed once: by the relay's own rights, on the real schema."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, LiteralString
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest

from contracts import ids
from contracts.envelope import Queue
from contracts.outcome import Outcome
from contracts.payment import Waiting
from contracts.provider import Accepted, Answer, Declined, Unfunded, Unknown
from contracts.refusals import Refusal
from handlers.apply import Result
from handlers.decision import Rules
from store import db, sweep
from store.db import Pool, PoolOptions, StoreFault
from store.roles import GroupRole, ensure_login
from store.sweep import Due, Patience
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import RULES, once, rows
from tests.kit.proofs import SENDERS

NOW, HOUR = timedelta(0), timedelta(hours=1)
#: Everything is due as soon as it may be paid.
PATIENCE = Patience(again_after=HOUR, stuck_after=NOW, pauses=(NOW,), unregistered=True)
#: With a provider that has banks behind it.
STRICT = Patience(again_after=HOUR, stuck_after=NOW, pauses=(NOW,), unregistered=False)
STRICT_RULES = Rules(provider="stripe", command_age=RULES.command_age, senders=SENDERS, unregistered_accounts=False)
LIMIT = 100


@contextmanager
def logged_in(url: str, role: GroupRole) -> Iterator[Pool]:
    """A pool of a user that has just this role."""
    name, password = f"sweep_{role}", uuid4().hex
    ensure_login(url, name, password, role)
    place = urlsplit(url)
    own = place._replace(netloc=f"{name}:{password}@{place.netloc.rpartition('@')[2]}").geturl()
    with db.open_pool(own, PoolOptions(size_min=2, wait_s=5)) as pool:
        pool.wait(5)
        yield pool


@pytest.fixture
def relay(database_url: str) -> Iterator[Pool]:
    """As a member of the relay's role."""
    with logged_in(database_url, GroupRole.RELAY) as pool:
        yield pool


def created(pool: Pool, number: int = 1, **fields: Any) -> UUID:
    incident_id = f"11111111-1111-4111-8111-{number:012d}"
    payment_id = once(pool, m.parsed(m.work(incidentId=incident_id, eventId=f"event-{number}", **fields))).payment_id
    assert payment_id
    return payment_id


def approved(pool: Pool, number: int = 1, **fields: Any) -> UUID:
    """A payment that was approved, and whose order to be paid was lost."""
    payment_id = created(pool, number, **fields)
    assert told(pool, "ApprovePayment", number, payment_id).outcome is Outcome.APPLIED
    return payment_id


def told(pool: Pool, kind: str, number: int, payment_id: UUID, **fields: Any) -> Result:
    return once(pool, m.parsed(m.command(kind, number, paymentId=str(payment_id), **fields)))


def ordered(pool: Pool, waiting: Waiting, rules: Rules = RULES) -> Result:
    """Process the order that the sweep posts for a payment."""
    key = ids.process_payment_key(waiting.payment_id, waiting.version, waiting.refusals)
    actor = {"id": str(ids.SYSTEM_PAYOUTS), "type": "system"}
    order = m.command("ProcessPayment", commandId=str(key), paymentId=str(waiting.payment_id), actor=actor)
    order |= {"amountCents": ..., "currency": ...}
    body = {name: value for name, value in order.items() if value is not ...}
    return once(pool, m.parsed(body, queue=Queue.PAYOUTS), rules=rules)


def attempted(pool: Pool, number: int = 1, answer: Answer | None = None) -> UUID:
    """A payment whose attempt is open, or has met an answer."""
    payment_id = approved(pool, number)
    [version] = rows(pool, "SELECT version FROM payments WHERE payment_id = %s", payment_id)
    assert ordered(pool, Waiting(payment_id, version["version"], 0)).status == "processing"
    if answer:
        [order] = rows(
            pool, "SELECT payload FROM outbox WHERE detail_type = 'ExecutePayout' AND aggregate_id = %s", payment_id
        )
        assert once(pool, m.parsed(order["payload"]), answer).outcome is Outcome.APPLIED
    return payment_id


def registered(pool: Pool, number: int, account_id: str = "acct_1", *, enabled: bool = True) -> None:
    asked = {"vendorId": str(m.VENDOR), "stripeAccountId": account_id, "payoutsEnabled": enabled}
    body = m.command("VendorAccountChanged", 900 + number, actor=m.admin(), **asked)
    assert once(pool, m.parsed(body)).outcome is Outcome.APPLIED


def due(relay: Pool, patience: Patience = PATIENCE, limit: int = LIMIT) -> list[UUID]:
    return [payment.payment_id for payment in sweep.due_payments(relay, patience, limit)]


# -- attempts


def test_an_attempt_is_due_when_its_time_has_come_and_not_before(pool: Pool, relay: Pool):
    attempted(pool)
    assert sweep.due_attempts(relay, PATIENCE, LIMIT) == []
    forge(pool, "UPDATE payout_attempts SET next_check_at = now()")
    [attempt] = rows(pool, "SELECT attempt_id, checks FROM payout_attempts")
    assert sweep.due_attempts(relay, PATIENCE, LIMIT) == [Due(**attempt)]


@pytest.mark.parametrize("answer", [Accepted("tr_1"), Declined("closed", "closed"), Unfunded("balance_insufficient")])
def test_a_settled_attempt_is_never_due(pool: Pool, relay: Pool, answer: Answer):
    attempted(pool, answer=answer)
    forge(pool, "UPDATE payout_attempts SET resolved_at = '2020-01-01Z'")
    assert sweep.due_attempts(relay, PATIENCE, LIMIT) == []


def test_an_attempt_that_a_person_must_look_at_is_not_due(pool: Pool, relay: Pool):
    attempted(pool, answer=Unknown("contradiction", stopped=True))
    assert rows(pool, "SELECT state, next_check_at FROM payout_attempts") == [
        {"state": "unknown", "next_check_at": None}
    ]
    assert sweep.due_attempts(relay, PATIENCE, LIMIT) == []


def test_a_claimed_attempt_is_posted_again_only_when_nothing_came_of_it_for_long(pool: Pool, relay: Pool):
    attempted(pool)
    forge(pool, "UPDATE payout_attempts SET next_check_at = now() - interval '3 hours'")
    [first] = sweep.due_attempts(relay, PATIENCE, LIMIT)
    assert sweep.due_attempts(relay, PATIENCE, LIMIT) == []
    forge(pool, "UPDATE swept SET posted_at = now() - interval '59 minutes'")
    assert sweep.due_attempts(relay, PATIENCE, LIMIT) == []
    forge(pool, "UPDATE swept SET posted_at = now() - interval '61 minutes'")
    assert sweep.due_attempts(relay, PATIENCE, LIMIT) == [first], "the same key: what was not lost is a duplicate"


def test_an_attempt_that_becomes_due_anew_is_posted_at_once(pool: Pool, relay: Pool):
    attempted(pool)
    forge(pool, "UPDATE payout_attempts SET next_check_at = now() - interval '1 minute'")
    assert len(sweep.due_attempts(relay, PATIENCE, LIMIT)) == 1
    forge(pool, "UPDATE payout_attempts SET checks = checks + 1, next_check_at = clock_timestamp()")
    assert len(sweep.due_attempts(relay, PATIENCE, LIMIT)) == 1


def test_two_relays_at_once_claim_each_attempt_once(pool: Pool, relay: Pool):
    for number in range(30):
        attempted(pool, number)
    for _ in range(5):
        forge(pool, "UPDATE payout_attempts SET next_check_at = clock_timestamp()")
        start = threading.Barrier(4)
        claimed: list[UUID] = []

        def claim(start: threading.Barrier = start, claimed: list[UUID] = claimed) -> None:
            start.wait(5)
            claimed.extend(found.attempt_id for found in sweep.due_attempts(relay, PATIENCE, LIMIT))

        threads = [threading.Thread(target=claim) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(claimed) == len(set(claimed)) == 30


def test_what_was_posted_keeps_nobody_out_of_a_full_batch_and_the_longest_due_come_first(pool: Pool, relay: Pool):
    for number in range(3):
        attempted(pool, number)
    forge(
        pool,
        "UPDATE payout_attempts SET next_check_at = created_at - interval '1 hour'",
    )
    order = [row["attempt_id"] for row in rows(pool, "SELECT attempt_id FROM payout_attempts ORDER BY next_check_at")]
    found = [[each.attempt_id for each in sweep.due_attempts(relay, PATIENCE, 2)] for _ in range(3)]
    assert found == [order[:2], order[2:], []]


# -- looks that operators ask for


@pytest.fixture
def operator(database_url: str) -> Iterator[Pool]:
    """As a member of the monitor's role."""
    with logged_in(database_url, GroupRole.MONITOR) as pool:
        yield pool


def test_an_operator_asks_for_a_look_and_the_relay_posts_it_once(pool: Pool, relay: Pool, operator: Pool):
    payment_id = attempted(pool, 1)
    attempted(pool, 2)
    attempted(pool, 3, Accepted("tr_1"))
    attempts = {row["payment_id"]: row["attempt_id"] for row in rows(pool, "SELECT * FROM payout_attempts")}
    one = attempts[payment_id]
    assert sweep.request(operator, [payment_id]) == [one]
    assert sweep.request(operator, [one]) == [one], "or by its own id, and as often as anybody asks"
    assert len(sweep.request(operator, [])) == 2, "all that are open"
    assert len(sweep.request(operator, list(attempts))) == 3, "a settled one too, if it is named"
    assert sweep.request(operator, [uuid4()]) == []
    asked = sweep.requested(relay, LIMIT)
    assert len(asked) == len({each.request_id for each in asked}) == 7
    assert [each.attempt_id for each in asked[:2]] == [one, one], "first in, first out"
    assert sweep.requested(relay, 2) == asked[:2]
    sweep.mark_posted(relay, [each.request_id for each in asked[:3]])
    sweep.mark_posted(relay, [])
    assert sweep.requested(relay, LIMIT) == asked[3:]
    [who] = rows(pool, "SELECT DISTINCT requested_by FROM reconcile_requests")
    assert who == {"requested_by": f"sweep_{GroupRole.MONITOR}"}, "the user that logged in"


def test_who_asks_for_a_look_makes_nothing_due_and_a_relay_asks_for_none(pool: Pool, relay: Pool, operator: Pool):
    attempted(pool)
    before = rows(pool, "SELECT * FROM payout_attempts")
    sweep.request(operator, [])
    assert rows(pool, "SELECT * FROM payout_attempts") == before
    assert sweep.due_attempts(relay, PATIENCE, LIMIT) == []
    with pytest.raises(StoreFault, match="InsufficientPrivilege"):
        sweep.request(relay, [])
    with pytest.raises(StoreFault, match="InsufficientPrivilege"):
        sweep.mark_posted(operator, [1])


# -- payments


def test_an_approved_payment_whose_order_was_lost_is_due_after_a_while(pool: Pool, relay: Pool):
    payment_id = approved(pool)
    assert due(relay, Patience(HOUR, HOUR, (NOW,), unregistered=True)) == []
    [waiting] = sweep.due_payments(relay, PATIENCE, LIMIT)
    assert waiting == Waiting(payment_id, 2, 0)
    [posted] = rows(pool, "SELECT event_id FROM outbox WHERE detail_type = 'ProcessPayment'")
    assert ids.process_payment_key(payment_id, 2, 0) == posted["event_id"], "the very order that was posted before"
    assert due(relay) == []
    forge(pool, "UPDATE swept SET posted_at = posted_at - interval '2 hours'")
    assert due(relay) == [payment_id]


def test_what_is_not_approved_or_is_over_is_not_due(pool: Pool, relay: Pool):
    created(pool, 1)
    told(pool, "RejectPayment", 2, created(pool, 2), reason="no")
    attempted(pool, 3)
    attempted(pool, 4, Accepted("tr_4"))
    attempted(pool, 5, Declined("closed", "closed"))
    assert due(relay) == []


UNDUE: list[tuple[str, LiteralString]] = [
    ("held", "on_hold = true"),
    ("held to a time", "on_hold = true, hold_until = now() + interval '1 minute'"),
    ("flagged", "fraud_status = 'flagged'"),
    ("confirmed as fraud", "fraud_status = 'confirmed'"),
    ("with a separate releaser", "separate_releaser = true"),
    ("of a driver who pays", "payer_type = 'driver_ic'"),
]


@pytest.mark.parametrize(("what", "change"), UNDUE, ids=[what for what, _ in UNDUE])
def test_a_payment_that_may_not_be_paid_by_itself_is_not_due(pool: Pool, relay: Pool, what: str, change: LiteralString):
    approved(pool)
    forge(pool, "UPDATE payments SET " + change)
    assert due(relay) == [], what


def test_a_payment_whose_hold_has_ended_is_due(pool: Pool, relay: Pool):
    payment_id = approved(pool)
    forge(pool, "UPDATE payments SET on_hold = true, hold_until = now() - interval '1 second'")
    [waiting] = sweep.due_payments(relay, PATIENCE, LIMIT)
    assert waiting.payment_id == payment_id
    assert ordered(pool, waiting).status == "processing"


def test_a_vendor_without_an_account_is_paid_by_the_sandbox_only(pool: Pool, relay: Pool):
    payment_id = approved(pool)
    assert due(relay, STRICT) == []
    registered(pool, 1)
    assert due(relay, STRICT) == [payment_id]


def test_a_vendor_whose_account_cannot_be_paid_waits_until_it_can(pool: Pool, relay: Pool):
    payment_id = approved(pool)
    registered(pool, 1, enabled=False)
    assert due(relay) == due(relay, STRICT) == []
    registered(pool, 2, enabled=True)
    assert due(relay) == [payment_id]


def test_another_account_is_paid_when_its_cool_down_has_ended(pool: Pool, relay: Pool):
    registered(pool, 1, "acct_1")
    registered(pool, 2, "acct_2")
    payment_id = approved(pool)
    assert due(relay) == []
    forge(pool, "UPDATE vendor_accounts SET held_until = now() - interval '1 second'")
    assert due(relay) == [payment_id]


def test_what_waits_for_a_cool_down_is_posted_once_more_at_its_end(pool: Pool, relay: Pool):
    registered(pool, 1, "acct_1")
    payment_id = approved(pool)
    assert due(relay) == [payment_id]
    forge(pool, "UPDATE vendor_accounts SET held_until = clock_timestamp()")
    assert due(relay) == [payment_id], "due anew, since it was posted"


def test_a_refusal_makes_the_next_order_a_new_one(pool: Pool, relay: Pool):
    payment_id = approved(pool)
    waiting = Waiting(payment_id, 2, 0)
    assert ordered(pool, waiting, STRICT_RULES).code == Refusal.VENDOR_NOT_PAYABLE
    [again] = sweep.due_payments(relay, PATIENCE, LIMIT)
    assert again == Waiting(payment_id, 2, 1)
    assert ordered(pool, again, STRICT_RULES).code == Refusal.VENDOR_NOT_PAYABLE
    forge(pool, "UPDATE swept SET posted_at = posted_at - interval '2 hours'")
    [third] = sweep.due_payments(relay, PATIENCE, LIMIT)
    assert third == Waiting(payment_id, 2, 2)
    assert ordered(pool, third).status == "processing"


@pytest.mark.parametrize(
    ("currency", "cents", "code"),
    [("USD", 49, Refusal.AMOUNT_BELOW_MINIMUM), ("KPW", 15000, Refusal.UNSUPPORTED_CURRENCY)],
)
def test_what_was_refused_for_good_is_not_due_before_the_payment_changes(
    pool: Pool, relay: Pool, currency: str, cents: int, code: Refusal
):
    line = {"description": "Tow", "quantity": 1, "unitPriceCents": cents}
    payment_id = created(pool, lineItems=[line], currency=currency)
    seen = {"amountCents": cents, "currency": currency}
    assert told(pool, "ApprovePayment", 1, payment_id, **seen).outcome is Outcome.APPLIED
    [waiting] = sweep.due_payments(relay, PATIENCE, LIMIT)
    assert ordered(pool, waiting).code == code
    forge(pool, "UPDATE swept SET posted_at = posted_at - interval '2 hours'")
    assert due(relay) == []
    assert told(pool, "HoldPayment", 2, payment_id, reason="look", **seen).outcome is Outcome.APPLIED
    assert told(pool, "ReleaseHold", 3, payment_id, reason="looked", **seen).outcome is Outcome.APPLIED
    assert due(relay) == [payment_id], "another version is another question"


def test_a_refusal_of_a_persons_order_stops_nobody(pool: Pool, relay: Pool):
    payment_id = approved(pool)
    refused: LiteralString = """
        INSERT INTO message_inbox (consumer, message_key, fingerprint, outcome, outcome_code, payment_id, received_at)
        SELECT 'ProcessPayment', 'a-persons', sha256('x'), 'refused', 'amount_below_minimum', payment_id, now()
        FROM payments
    """
    forge(pool, refused)
    assert due(relay) == [payment_id]


def test_a_payment_between_attempts_is_due_after_the_pause_of_the_one_that_failed(pool: Pool, relay: Pool):
    payment_id = attempted(pool, answer=Unfunded("balance_insufficient"))
    assert due(relay, Patience(HOUR, NOW, (HOUR, NOW), unregistered=True)) == []
    [waiting] = sweep.due_payments(relay, Patience(HOUR, NOW, (NOW, HOUR), unregistered=True), LIMIT)
    assert ordered(pool, waiting).status == "processing"
    assert rows(pool, "SELECT attempt_no, state FROM payout_attempts ORDER BY 1") == [
        {"attempt_no": 1, "state": "failed"},
        {"attempt_no": 2, "state": "ready"},
    ]
    assert due(relay) == [], "an attempt is open again"
    fail: LiteralString = """
        UPDATE payout_attempts SET state = 'failed', failure_code = 'x', resolved_at = clock_timestamp(),
            next_check_at = NULL WHERE attempt_no = 2
    """
    forge(pool, fail)
    for pauses in ((NOW, HOUR), (NOW, HOUR, NOW)):
        assert due(relay, Patience(HOUR, NOW, pauses, unregistered=True)) == [], "the second pause is longer"
    assert due(relay, Patience(HOUR, NOW, (HOUR, NOW), unregistered=True)) == [payment_id]


def test_a_payment_between_attempts_waits_for_its_vendors_account_too(pool: Pool, relay: Pool):
    payment_id = attempted(pool, answer=Unfunded("balance_insufficient"))
    assert due(relay, STRICT) == []
    registered(pool, 1, enabled=False)
    assert due(relay) == []
    registered(pool, 2)
    assert due(relay) == [payment_id]


def test_first_in_first_out_and_no_more_than_asked_for(pool: Pool, relay: Pool):
    order = [approved(pool, 1), attempted(pool, 2, Unfunded("x")), approved(pool, 3), approved(pool, 4)]
    assert [due(relay, limit=3), due(relay, limit=3), due(relay, limit=3)] == [order[:3], order[3:], []]


def test_two_relays_at_once_claim_each_payment_once(pool: Pool, relay: Pool):
    for number in range(20):
        approved(pool, number)
    start, claimed = threading.Barrier(4), []

    def claim() -> None:
        start.wait(5)
        claimed.extend(due(relay))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 20


def test_what_could_not_be_posted_is_claimed_again(pool: Pool, relay: Pool):
    first, second = approved(pool, 1), approved(pool, 2)
    assert due(relay) == [first, second]
    sweep.put_back(relay, [second])
    assert due(relay) == [second]


def test_what_was_posted_long_ago_is_forgotten(pool: Pool, relay: Pool):
    first = approved(pool, 1)
    assert due(relay) == [first]
    forge(pool, "UPDATE swept SET posted_at = posted_at - interval '8 days'")
    second = approved(pool, 2)
    told(pool, "CancelPayment", 9, first, reason="twice")
    assert due(relay) == [second]
    sweep.forget(relay, timedelta(days=7))
    assert [row["subject_id"] for row in rows(pool, "SELECT subject_id FROM swept")] == [second]


# -- with a hundred thousand payments

CROWD: tuple[LiteralString, ...] = (
    """
    INSERT INTO payments (payment_id, incident_id, vendor_id, payer_type, amount_cents, currency, status, source,
        source_key, request_fingerprint, created_by, approved_by, approved_at, completed_at, version, audit_head,
        created_at, updated_at)
    SELECT gen_random_uuid(), gen_random_uuid(), md5((n % 5000)::text)::uuid, 'back_office', 15000 + n % 400, 'USD',
        CASE WHEN n % 200 = 0 THEN 'approved' WHEN n % 200 = 1 THEN 'processing' ELSE 'completed' END, 'command',
        'crowd:' || n, sha256('x'), gen_random_uuid(), gen_random_uuid(), now(),
        CASE WHEN n % 200 > 1 THEN now() END, 4, sha256('x'), now() - interval '1 second' * n, now() - interval '1 day'
    FROM generate_series(1, 100000) AS n
    """,
    """
    INSERT INTO payout_attempts (attempt_id, payment_id, attempt_no, provider, operation, idempotency_key,
        request_fingerprint, destination, amount_cents, currency, state, submit_before, resolved_at, failure_code,
        provider_object_id, next_check_at)
    SELECT gen_random_uuid(), payment_id, 1, 'sandbox', 'transfer', 'crowd:' || payment_id, sha256('x'), vendor_id,
        15000, 'USD', state, now(), CASE WHEN state <> 'ready' THEN now() END,
        CASE state WHEN 'failed' THEN 'x' END, CASE state WHEN 'succeeded' THEN 'tr_' || payment_id END,
        CASE state WHEN 'ready' THEN now() END
    FROM payments CROSS JOIN LATERAL (SELECT CASE
        WHEN status = 'completed' THEN 'succeeded' WHEN amount_cents = 15001 THEN 'failed' ELSE 'ready'
    END AS state) AS made
    WHERE status <> 'approved'
    """,
    """
    INSERT INTO message_inbox (consumer, message_key, fingerprint, outcome, outcome_code, payment_id)
    SELECT consumer, consumer || payment_id, sha256('x'),
        CASE WHEN consumer = 'ProcessPayment' AND random() < 0.02 THEN 'refused' ELSE 'applied' END, NULL, payment_id
    FROM payments, unnest('{WorkCompleted,ProcessPayment}'::text[]) AS consumer
    """,
    """
    INSERT INTO vendor_accounts SELECT md5(n::text)::uuid, 'acct_1', true, '{}', now(), NULL, now(), 'x'
    FROM generate_series(1, 4000) AS n
    """,
)


def plan(url: str, statement: str, values: dict[str, Any]) -> str:
    """How the server would run a statement with its values known, as the relay."""
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(f"SET ROLE {GroupRole.RELAY}")
        found = connection.execute(f"EXPLAIN {statement}", values).fetchall()
    return "\n".join(line for (line,) in found)


@pytest.mark.long
def test_with_a_hundred_thousand_payments_the_sweep_reads_by_its_indexes(database_url: str, pool: Pool, relay: Pool):
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in CROWD:
            connection.execute(statement)
        connection.execute("VACUUM ANALYZE")
    values = {
        "again_after": HOUR,
        "stuck_after": NOW,
        "pauses_s": [0.0],
        "unregistered": True,
        "final": ["amount_below_minimum"],
        "own": "own:",
        "limit": 500,
    }
    for statement in (sweep._ATTEMPTS, sweep._PAYMENTS):
        told_plan = plan(database_url, statement, values)
        for table in ("payments", "message_inbox", "payout_attempts"):
            assert f"Seq Scan on {table}" not in told_plan, told_plan
    assert len(sweep.due_payments(relay, PATIENCE, 500)) == 500
    assert len(sweep.due_attempts(relay, PATIENCE, 10_000)) > 100
