"""`payments reconcile --report`: each kind of break, made on purpose, is named; what is sound is not."""

import json
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from tests.kit.forgery import forge
from tests.kit.funnel import rows
from tests.payouts.desk import Desk
from workers.cli import app
from workers.reconciling import MEANINGS, Bounds, Report, by_kind, compare
from workers.sandbox.plan import Fault

EAGER = Bounds(in_flight=timedelta(0), patience=timedelta(0))


def paid(desk: Desk) -> UUID:
    """A payment that is paid, beside another one that is sound."""
    for number in (1, 2):
        payment_id = desk.finish(number)
        desk.approve(payment_id, number)
    desk.pay()
    return payment_id


def spoilt(desk: Desk, fault: Fault) -> UUID:
    """A payment whose submission met a fault."""
    desk.sandbox.plan.force(fault, method="POST")
    payment_id = desk.finish(1)
    desk.approve(payment_id, 1)
    desk.pay()
    return payment_id


def transfer(desk: Desk, group: object, key: str = "pay-by-hand") -> None:
    """A movement that the service did not order."""
    fields = {"amount": "15000", "currency": "usd", "destination": "acct_other", "transfer_group": str(group)}
    desk.ask("POST", "transfers", **fields, **{"metadata[idempotencyKey]": key})


def paid_twice(desk: Desk) -> None:
    transfer(desk, paid(desk))


def missing_here(desk: Desk) -> None:
    transfer(desk, uuid4())


def missing_at_provider(desk: Desk) -> None:
    payment_id = paid(desk)
    assert payment_id
    forge(
        desk.pool,
        "INSERT INTO payout_attempts SELECT gen_random_uuid(), gen_random_uuid(), attempt_no, provider, operation,"
        " 'pay-nowhere', request_fingerprint, destination, amount_cents, currency, state, failure_code, 'tr_nowhere',"
        " created_at, submit_before, checks, next_check_at, resolved_at FROM payout_attempts LIMIT 1",
        "INSERT INTO payments SELECT (jsonb_populate_record(payments, jsonb_build_object("
        " 'payment_id', (SELECT payment_id FROM payout_attempts WHERE idempotency_key = 'pay-nowhere'),"
        " 'source_key', 'nowhere', 'incident_id', gen_random_uuid()))).* FROM payments LIMIT 1",
    )


def paid_but_failed(desk: Desk) -> None:
    spoilt(desk, Fault.LOST_AFTER)
    forge(
        desk.pool,
        "UPDATE payout_attempts SET state = 'failed', resolved_at = now()",
        "UPDATE payments SET status = 'failed', failure_code = 'wrong'",
    )


def not_recorded(desk: Desk) -> None:
    spoilt(desk, Fault.LOST_AFTER)


def amount_differs(desk: Desk) -> None:
    paid(desk)
    forge(desk.pool, "UPDATE payout_attempts SET amount_cents = amount_cents - 1")


def account_differs(desk: Desk) -> None:
    paid(desk)
    forge(desk.pool, "UPDATE payout_attempts SET destination = 'acct_elsewhere'")


def reversal_not_recorded(desk: Desk) -> None:
    paid(desk)
    desk.ask("POST", f"transfers/{desk.sandbox.books.transfers()[0]['id']}/reversals", amount="100")


def reversal_unknown_there(desk: Desk) -> None:
    paid(desk)
    forge(desk.pool, "UPDATE payments SET amount_reversed_cents = 1")


def unknown(desk: Desk) -> None:
    spoilt(desk, Fault.LOST_BEFORE)


def stopped(desk: Desk) -> None:
    spoilt(desk, Fault.LOST_BEFORE)
    forge(desk.pool, "UPDATE payout_attempts SET next_check_at = NULL")


def not_executed_yet(desk: Desk) -> None:
    desk.approve(desk.finish(1), 1)
    desk.pay_once()


def between_attempts(desk: Desk) -> None:
    spoilt(desk, Fault.INSUFFICIENT)


def approved_unpaid(desk: Desk) -> None:
    desk.approve(desk.finish(1), 1)


def status_contradicts_attempts(desk: Desk) -> None:
    paid(desk)
    forge(desk.pool, "UPDATE payments SET status = 'processing', completed_at = NULL")


#: How each break is made, by its name.
BREAKS: dict[str, Callable[[Desk], None]] = {
    made.__name__: made
    for made in (
        paid_twice,
        missing_here,
        missing_at_provider,
        paid_but_failed,
        not_recorded,
        amount_differs,
        account_differs,
        reversal_not_recorded,
        reversal_unknown_there,
        unknown,
        stopped,
        not_executed_yet,
        between_attempts,
        approved_unpaid,
        status_contradicts_attempts,
    )
}
#: What some of them are, too.
ALSO = {"not_recorded": {"unknown"}, "status_contradicts_attempts": {"between_attempts"}}


def report(desk: Desk, bounds: Bounds = EAGER) -> Report:
    return compare(desk.pool, desk.provider, bounds)


def test_what_is_sound_has_no_break_and_sums_that_agree(desk: Desk):
    paid(desk)
    found = report(desk)
    assert (found.breaks, found.transfers, found.attempts, found.under_way) == ([], 2, 2, 0)
    assert found.provider_cents == found.our_cents == {"USD": 30_000}


@pytest.mark.parametrize("kind", MEANINGS)
def test_every_kind_of_break_is_named_with_its_age(desk: Desk, kind: str):
    BREAKS[kind](desk)
    found = report(desk)
    assert set(by_kind(found.breaks)) == {kind} | ALSO.get(kind, set())
    for one in found.breaks:
        assert timedelta(0) <= found.at - one.since < timedelta(minutes=5), one
        assert one.payment_id, one


@pytest.mark.parametrize("kind", ["not_recorded", "unknown", "not_executed_yet", "between_attempts", "approved_unpaid"])
def test_what_may_still_be_under_way_is_no_break_yet(desk: Desk, kind: str):
    BREAKS[kind](desk)
    found = report(desk, Bounds())
    assert (found.breaks, found.under_way > 0) == ([], True)


def test_what_the_platform_moves_for_other_purposes_is_not_looked_at(desk: Desk):
    paid(desk)
    transfer(desk, "order-17", key="")
    transfer(desk, uuid4(), key="theirs")
    found = report(desk)
    assert (found.breaks, found.foreign) == ([], 2)


def test_what_an_operator_asks_for_is_looked_up_and_recorded_also_of_a_payment_that_is_over(desk: Desk, run):
    reversal_not_recorded(desk)
    [row] = rows(desk.pool, "SELECT attempt_id FROM payout_attempts ORDER BY created_at LIMIT 1")
    answer = run("reconcile", str(row["attempt_id"]))
    assert (answer.exit_code, answer.stdout.split()) == (0, [str(row["attempt_id"])])
    assert desk.sweep() == 1
    assert report(desk).breaks == []
    assert rows(desk.pool, "SELECT amount_reversed_cents AS back FROM payments ORDER BY 1") == [
        {"back": 0},
        {"back": 100},
    ]
    assert desk.sweep() == 0, "asked for once, ordered once"


def test_without_ids_every_open_attempt_is_asked_about(desk: Desk, run):
    paid(desk)
    spoilt_id = spoilt_again(desk)
    answer = run("reconcile")
    [row] = rows(desk.pool, "SELECT attempt_id FROM payout_attempts WHERE payment_id = %s", spoilt_id)
    assert answer.stdout.split() == [str(row["attempt_id"])]
    assert run("reconcile", str(uuid4())).exit_code == 1


def spoilt_again(desk: Desk) -> UUID:
    """A third payment, of which nobody knows."""
    desk.sandbox.plan.force(Fault.LOST_AFTER, method="POST")
    payment_id = desk.finish(3)
    desk.approve(payment_id, 3)
    desk.pay()
    return payment_id


@pytest.fixture
def run(desk: Desk, database_url: str, monkeypatch: pytest.MonkeyPatch):
    """Runs the command line against the desk's database and provider."""
    monkeypatch.setenv("PAYMENTS_DATABASE_URL", database_url)
    monkeypatch.setenv("PAYMENTS_PROVIDER", "sandbox")
    monkeypatch.setenv("PAYMENTS_PROVIDER_URL", desk.sandbox.url)
    return lambda *words: CliRunner().invoke(app, [*words])


def test_the_command_says_so_by_its_exit_code_and_in_json(desk: Desk, run):
    paid(desk)
    sound = run("reconcile", "--report")
    assert sound.exit_code == 0, sound.output
    assert "300.00 USD there, 300.00 USD here" in sound.stdout
    paid_twice_of = rows(desk.pool, "SELECT payment_id FROM payments ORDER BY 1")[0]["payment_id"]
    transfer(desk, paid_twice_of)
    broken = run("reconcile", "--report", "--json")
    assert broken.exit_code == 1
    [found] = json.loads(broken.stdout)["breaks"]
    assert (found["kind"], found["paymentId"]) == ("paid_twice", str(paid_twice_of))
    told = run("reconcile", "--report")
    assert "paid_twice" in told.stdout
    assert MEANINGS["paid_twice"] in told.stderr


def test_without_the_provider_the_command_says_so(desk: Desk, run):
    desk.sandbox.switches.unauthorized = True
    answer = run("reconcile", "--report")
    assert answer.exit_code == 1
    assert "does not answer: credentials" in answer.stderr
