"""Forged and misused commands through the real queues: each is turned down as it must be, none has an effect.

Everything is sent first; then each case is looked at by itself, and the whole for what no case should have left.
"""

import json
import sys
from collections.abc import Iterator
from hashlib import sha256

import pytest

from contracts.refusals import DENIALS
from tests.forged.corpus import CORPUS, Accepted, Case, Duplicate, Ignored, Invalid, Refused
from tests.forged.forging import octets_of
from tests.forged.sending import SENDER, Evidence, attacked_fleet, attacked_strangers, cases_of
from tests.forged.world import identity

REFUSED = [case for case in CORPUS if isinstance(case.end, Refused)]
DENIED = [case for case in REFUSED if isinstance(case.end, Refused) and case.end.code in DENIALS]
INVALID = [case for case in CORPUS if isinstance(case.end, Invalid)]
ACCEPTED = [case for case in CORPUS if isinstance(case.end, Accepted)]
FLEETS = (("local",), ("unlisted", "operator"))
#: Forgeries that are sent beforehand, so that the good commands whose ids they name come after them.
BEFOREHAND = 2


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return attacked_fleet(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return attacked_strangers(tmp_path_factory.mktemp("strangers"))


@pytest.fixture(scope="module")
def both(fleet: Evidence, strangers: Evidence) -> dict[tuple[str, ...], Evidence]:
    return dict(zip(FLEETS, (fleet, strangers), strict=True))


def found(both: dict[tuple[str, ...], Evidence], case: Case) -> Evidence:
    return next(evidence for fleets, evidence in both.items() if case.fleet in fleets)


def by_title(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.title for case in cases])


def test_the_corpus_is_long_and_every_case_has_a_title_of_its_own(capsys: pytest.CaptureFixture[str]):
    with capsys.disabled():
        sys.stdout.write(f"\n{len(CORPUS)} forged and misused commands: {len(REFUSED)} to be refused, ")
        sys.stdout.write(f"{len(DENIED)} of them denied, {len(INVALID)} invalid, {len(ACCEPTED)} good ones\n")
    assert len(CORPUS) >= 70
    assert len({case.title for case in CORPUS}) == len(CORPUS)


@pytest.mark.stack
@by_title(REFUSED)
def test_what_is_forged_or_misused_is_refused_with_its_code_and_its_sender_is_told(both, case: Case):
    evidence = found(both, case)
    assert isinstance(case.end, Refused)
    told = evidence.told(case)
    assert len(told) == 1, "exactly one event tells the sender"
    conflict = case.end.code == "payload_conflict"
    assert told[0]["detail_type"] == ("PaymentConflictDetected" if conflict else "PaymentCommandRejected")
    assert told[0]["payload"].get("field") == case.end.field
    assert told[0]["failed_at"] is None
    if case.fleet == "local":
        assert told[0]["published_at"] is not None
    if not conflict:  # the known id keeps the inbox row of its first command
        row = evidence.inbox[evidence.inbox_key(case)]
        assert (row["outcome"], row["outcome_code"]) == ("refused", case.end.code)


@pytest.mark.stack
@by_title([case for case in REFUSED if isinstance(case.end, Refused) and case.end.turned_away])
def test_who_is_turned_away_learns_nothing_of_the_payment_and_uses_up_no_id(both, case: Case):
    evidence = found(both, case)
    [told] = evidence.told(case)
    assert (told["payload"]["currentStatus"], told["payload"]["currentVersion"]) == (None, None)
    known = evidence.inbox.get(evidence.key(case))
    assert known is None or known["outcome"] == "applied", "only a good command of the same id"


@pytest.mark.stack
@by_title(DENIED)
def test_every_denial_is_on_record_with_whose_word_it_was_and_without_a_token(both, case: Case):
    evidence = found(both, case)
    assert isinstance(case.end, Refused)
    key, code = evidence.key(case), case.end.code
    [row] = [row for row in evidence.denials if (row["message_key"], row["code"]) == (key, code)]
    proven = identity(case.proven) if case.proven else None
    assert (str(row["actor_id"]) if row["actor_id"] else None) == proven
    assert (row["operation"], row["sender"]) == (json.loads(evidence.bodies[case.title])["type"], SENDER)
    if case.end.flaw:
        assert row["proof"] == {"flaw": case.end.flaw}
    else:
        assert set(row["proof"]) == ({"clientId", "jti", "kid", "iat", "exp"} if proven else set())


@pytest.mark.stack
@by_title(INVALID)
def test_what_can_never_be_read_is_dead_lettered_and_on_record_with_its_reason(both, case: Case):
    evidence = found(both, case)
    assert isinstance(case.end, Invalid)
    sqs_id, body = evidence.ids[case.title], evidence.bodies[case.title]
    failure, letter = evidence.failures[sqs_id], evidence.dead[sqs_id]
    assert (failure["outcome"], failure["reason"], failure["attempts"]) == ("invalid", case.end.reason, 1)
    assert failure["body_digest"] == sha256(body.encode()).digest()
    assert (letter["body"], letter["queue"], letter["Reason"]) == (body, case.queue, case.end.reason)


@pytest.mark.stack
@by_title(ACCEPTED)
def test_what_only_looks_forged_is_an_approval(fleet: Evidence, case: Case):
    assert isinstance(case.end, Accepted)
    assert fleet.inbox[fleet.key(case)]["outcome"] == "applied"
    payment = fleet.changed[case.end.payment]
    assert (payment["status"], payment["approved_by"]) == ("completed", identity("dispatcher"))


@pytest.mark.stack
@by_title([case for case in CORPUS if isinstance(case.end, Duplicate | Ignored)])
def test_what_is_sent_again_is_known(fleet: Evidence, case: Case):
    row = fleet.inbox[fleet.key(case)]
    assert row["outcome"] == ("ignored" if isinstance(case.end, Ignored) else "applied")
    assert fleet.changed["paid"]["status"] == "completed"


@pytest.mark.stack
@pytest.mark.parametrize("fleets", FLEETS, ids="-".join)
def test_nothing_has_changed_but_by_the_good_commands(both, fleets: tuple[str, ...]):
    evidence = both[fleets]
    assert evidence.before["payments"]
    assert evidence.before["memberships"]
    assert evidence.after == evidence.before


@pytest.mark.stack
@pytest.mark.parametrize("fleets", FLEETS, ids="-".join)
def test_nothing_else_is_on_record_and_nothing_is_left(both, fleets: tuple[str, ...]):
    evidence, here = both[fleets], cases_of(fleets)
    beforehand = BEFOREHAND if "local" in fleets else 0
    assert len(evidence.denials) == len([case for case in here if case in DENIED]) + beforehand
    invalid = {evidence.ids[case.title] for case in here if case in INVALID}
    assert set(evidence.failures) == invalid
    assert set(evidence.dead) == invalid
    assert not any(evidence.left.values()), evidence.left


@pytest.mark.stack
def test_every_message_is_counted_once_under_how_it_ended(fleet: Evidence):
    here = cases_of(["local"])
    assert fleet.counted["refused"] == len([case for case in here if case in REFUSED])
    assert fleet.counted["invalid"] == len([case for case in here if case in INVALID])
    assert fleet.counted["duplicate"] == len([case for case in here if isinstance(case.end, Duplicate)])
    assert fleet.counted["ignored"] == len([case for case in here if isinstance(case.end, Ignored)])
    assert fleet.counted.get("fault", 0) == 0


def secrets_in(tokens: list[str]) -> Iterator[str]:
    """Whatever of a token must not turn up: all of it, its longer parts, what it says, in either spelling."""
    for token in filter(None, set(tokens)):
        parts = [part for part in token.split(".") if len(part) > 20]
        yield from parts
        if len(token) > 20:
            yield token
        for part in parts:
            try:
                said = octets_of(part).decode()
            except ValueError:  # a signature
                continue
            yield said
            yield json.dumps(said)[1:-1]


@pytest.mark.stack
@pytest.mark.parametrize("fleets", FLEETS, ids="-".join)
def test_no_log_no_table_and_no_metrics_page_holds_a_piece_of_a_token(both, fleets: tuple[str, ...]):
    evidence = both[fleets]
    names = {name.split(" ")[0] for name in evidence.texts}
    assert names == {"log", "table", "metrics"}
    assert {"table outbox", "table message_failures", "table message_inbox", "table access_audit"} <= set(
        evidence.texts
    )
    hidden = {*secrets_in(evidence.world.mint.made), evidence.world.mint.canary}
    assert len(hidden) > 20
    for name, text in evidence.texts.items():
        assert not [piece for piece in hidden if piece in text], name


@pytest.mark.stack
def test_the_worker_has_logged_every_message(fleet: Evidence):
    told = [line for line in fleet.texts["log worker-1.log"].splitlines() if '"event": "message"' in line]
    assert len(told) >= len(cases_of(["local"]))
