"""The road of a payment through the funnel, step by step, each message twice unless it is said otherwise."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from contracts import ids
from contracts.envelope import Queue
from contracts.inbound import Parsed
from contracts.provider import Answer
from handlers.apply import Result
from handlers.decision import Rules
from store.db import Pool
from tests.kit import messages as m
from tests.kit.funnel import RULES, rows, twice

#: Processes a message, once or twice.
Run = Callable[..., Result]
SERVICE = {"id": str(ids.SYSTEM_PAYOUTS), "type": "system"}


def create(pool: Pool, run: Run = twice, **fields: Any) -> UUID:
    """A payment of 150.00 USD to VENDOR."""
    result = run(pool, m.parsed(m.work(**fields)))
    assert result.payment_id
    return result.payment_id


def approve(pool: Pool, payment_id: UUID, run: Run = twice) -> Result:
    """The approval of a dispatcher."""
    command = m.command("ApprovePayment", commandId=str(uuid4()), paymentId=str(payment_id))
    return run(pool, m.parsed(command))


def posted(pool: Pool, kind: str) -> dict[str, Any]:
    """The newest message of a kind that was posted."""
    found = rows(pool, "SELECT payload FROM outbox WHERE detail_type = %s ORDER BY outbox_id DESC LIMIT 1", kind)
    payload: dict[str, Any] = found[0]["payload"]
    return payload


def start(pool: Pool, payment_id: UUID, rules: Rules = RULES, run: Run = twice) -> Result:
    """The service's own order to pay, which was posted last."""
    order = posted(pool, "ProcessPayment")
    assert order["paymentId"] == str(payment_id)
    return run(pool, m.parsed(order, queue=Queue.PAYOUTS), rules=rules)


def pay(pool: Pool, answer: Answer) -> Result:
    """The provider's answer to the attempt that was ordered last."""
    return twice(pool, m.parsed(posted(pool, "ExecutePayout")), answer)


def started(pool: Pool, run: Run = twice, **fields: Any) -> UUID:
    """A payment whose first attempt is open."""
    payment_id = create(pool, run, **fields)
    approve(pool, payment_id, run)
    assert start(pool, payment_id, run=run).status == "processing"
    return payment_id


def ordered_by_the_sweep(pool: Pool, payment_id: UUID, refusals: int = 0) -> Parsed:
    """The service's own order to pay, as the sweep posts it."""
    [row] = rows(pool, "SELECT version FROM payments WHERE payment_id = %s", payment_id)
    key = str(ids.process_payment_key(payment_id, row["version"], refusals))
    body = m.command(
        "ProcessPayment", commandId=key, paymentId=str(payment_id), actor=SERVICE, amountCents=..., currency=...
    )
    return m.parsed(body, queue=Queue.PAYOUTS)


def reconcile(payment_id: UUID, check: int = 0, attempt_no: int = 1, **fields: Any) -> Parsed:
    """A look at an attempt, as the sweep orders it."""
    attempt_id = ids.attempt_id(payment_id, attempt_no)
    key = str(ids.reconcile_attempt_key(attempt_id, check))
    usual = {"attemptId": str(attempt_id), "check": check, "commandId": key, "actor": SERVICE}
    return m.parsed(m.command("ReconcileAttempt", **{**usual, **fields}))


def events(pool: Pool) -> list[tuple[str, int]]:
    """What was announced, and which versions of the payment."""
    found = rows(pool, "SELECT detail_type, aggregate_seq FROM outbox WHERE destination = 'bus' ORDER BY outbox_id")
    return [(row["detail_type"], row["aggregate_seq"]) for row in found]
