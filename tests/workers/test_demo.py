"""The demo's judgement: what it counts, and when it is content."""

from datetime import UTC, datetime
from io import StringIO

import pytest
from rich.console import Console

from workers.local.demo import ROAD, Tally, summary

SENT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STATUSES = dict(zip(ROAD, ("pending_approval", "approved", "processing", "completed"), strict=True))


def event(step: str, number: int = 1) -> dict:
    return {
        "paymentId": f"payment-{number}",
        "incidentId": f"incident-{number}",
        "status": STATUSES[step],
        "paymentVersion": ROAD.index(step) + 1,
        "currency": "USD",
        "amountCents": 15000,
        "completedAt": "2026-03-01T12:00:02Z",
    }


def tally(*, incidents: int = 1, steps=ROAD, asked: bool = True) -> Tally:
    found = Tally(sent_at={f"incident-{number}": SENT for number in range(1, incidents + 1)})
    for step in steps:
        found.seen(step, event(step))
    if asked:
        found.requested.add("payment-1")
    return found


def text(found: Tally) -> str:
    console = Console(file=StringIO(), width=100)
    console.print(summary(found))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_it_is_content_with_a_payment_that_has_announced_every_step():
    assert tally().finished()
    shown = text(tally())
    assert "payments completed" in shown
    assert "150.00 USD" in shown
    assert "2.00 s / 2.00 s" in shown
    assert "4 of 4" in shown


@pytest.mark.parametrize("missing", ROAD)
def test_it_is_not_content_while_one_event_is_missing(missing):
    assert not tally(steps=[step for step in ROAD if step != missing]).finished()


def test_it_is_not_content_with_a_payment_for_which_nobody_was_asked():
    assert not tally(asked=False).finished()


def test_it_is_not_content_with_an_incident_that_has_no_payment():
    found = tally(incidents=2)
    assert not found.finished()
    assert "incidents without a payment" in text(found)


def test_somebody_elses_payment_does_not_count():
    found = tally()
    found.seen("PaymentFailed", {**event("PaymentCreated", number=9), "status": "failed"})
    assert found.finished()
    assert "failed" not in text(found)


def test_a_failed_payment_is_shown_as_failed_and_is_no_success():
    found = tally(steps=ROAD[:3])
    found.seen("PaymentFailed", {**event("PaymentCompleted"), "status": "failed"})
    assert not found.finished()
    assert "payments failed" in text(found)
