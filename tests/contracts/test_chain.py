"""The audit chain's formula, fixed for ever, and what a verifier finds: every kind of tampering once."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from contracts import ids
from contracts.chain import Chain, Content, Flaw, Link, Standing, StoredNote, entry_hash, verify
from contracts.chain_export import LINE_BYTES_MAX, UnreadableLineError, from_line, to_line
from contracts.lifecycle import MOVES, RECORDS, Event, Status
from tests.kit import messages as m

PAYMENT = UUID("99999999-9999-4999-8999-999999999999")
OTHER = UUID("99999999-9999-4999-8999-99999999999a")
NOTE = sha256(bytes(range(32)) + b"looks right").digest()
ANOTHER_NOTE = sha256(b"another").digest()

FIRST = Content(
    seq=1,
    action="created",
    actor_id=ids.SYSTEM_INTAKE,
    actor_type="system",
    previous_status=None,
    new_status="pending_approval",
    message_key="aaaaaaaa-aaaa-4aaa-8aaa-000000000001",
    data={"source": "work_completed", "lineItemCount": 2},
    note_digest=None,
    prev_hash=None,
    at=m.NOW,
)
SECOND = Content(
    seq=2,
    action="approved",
    actor_id=m.DISPATCHER,
    actor_type="user",
    previous_status="pending_approval",
    new_status="approved",
    message_key="Schlüssel-2",
    data={"role": "dispatcher", "more": {"b": [1, None, True], "a": "é"}},
    note_digest=NOTE,
    prev_hash=bytes(range(32)),
    at=datetime(2026, 3, 1, 14, 30, 0, 5, tzinfo=UTC),
)
#: Computed once, when the first chains were written. A change would make every one of them unverifiable.
GOLDEN = [
    (FIRST, 15000, "USD", "306749a2f2d4df2800aadea14fcb662c4d15e154ab5f9c52e69ce3e53995293c"),
    (SECOND, 15000, "USD", "c70b295725d8ef585d13b69aa0b1dd4f6a525a4598bc8379ae90a7b3aaca0492"),
    (SECOND, 99999999999, "JPY", "364c1dba76ff4f4f29673958b30a953d2200c0aec61a01a4706d740da0441d90"),
]
#: One change of each field that a hash covers.
CHANGES: dict[str, Any] = {
    "seq": 3,
    "action": "rejected",
    "actor_id": m.ADMIN,
    "actor_type": "admin",
    "previous_status": "approved",
    "new_status": "cancelled",
    "message_key": "another",
    "data": {"role": "dispatcher"},
    "note_digest": None,
    "prev_hash": None,
    "at": SECOND.at and SECOND.at + timedelta(microseconds=1),
}


@pytest.mark.parametrize(("content", "amount_cents", "currency", "golden"), GOLDEN)
def test_the_formula_is_the_one_that_existing_chains_were_written_with(content, amount_cents, currency, golden):
    assert entry_hash(PAYMENT, amount_cents, currency, content).hex() == golden


def test_every_field_has_a_change_above():
    assert set(CHANGES) == {field.name for field in fields(Content)}


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_counts(name: str):
    changed = replace(SECOND, **{name: CHANGES[name]})
    assert entry_hash(PAYMENT, 1, "USD", changed) != entry_hash(PAYMENT, 1, "USD", SECOND)


def test_payment_amount_and_currency_count_too():
    hashes = {
        entry_hash(payment_id, amount_cents, currency, SECOND)
        for payment_id in (PAYMENT, OTHER)
        for amount_cents in (1, 2)
        for currency in ("USD", "CAD")
    }
    assert len(hashes) == 8


def test_words_of_the_lifecycle_and_their_plain_text_are_the_same():
    worded = replace(SECOND, action=Event.APPROVED, previous_status=Status.PENDING_APPROVAL, new_status=Status.APPROVED)
    assert entry_hash(PAYMENT, 1, "USD", worded) == entry_hash(PAYMENT, 1, "USD", SECOND)


# -- chains


def chained(*contents: Content, **standing: Any) -> Chain:
    """A chain in which everything fits: ids, hashes and notes, and the payment's row."""
    links: list[Link] = []
    for seq, content in enumerate(contents, start=1):
        placed = replace(content, seq=seq, prev_hash=links[-1].entry_hash if links else None)
        values = {field.name: getattr(placed, field.name) for field in fields(Content)}
        links.append(
            Link(
                **values,
                log_id=ids.audit_id(PAYMENT, seq),
                hash_version=1,
                entry_hash=entry_hash(PAYMENT, 15000, "USD", placed),
                note=StoredNote(digest=content.note_digest) if content.note_digest else None,
            )
        )
    newest = links[-1]
    row: dict[str, Any] = {
        "amount_cents": 15000,
        "currency": "USD",
        "status": newest.new_status,
        "version": newest.seq,
        "audit_head": newest.entry_hash,
    }
    return Chain(payment_id=PAYMENT, payment=Standing(**(row | standing)), links=links)


def moved(action: Event, before: Status, after: Status, **more: Any) -> Content:
    return replace(SECOND, action=action, previous_status=before, new_status=after, **{"note_digest": None} | more)


APPROVED = moved(Event.APPROVED, Status.PENDING_APPROVAL, Status.APPROVED, note_digest=NOTE)
STARTED = moved(Event.PROCESSING_STARTED, Status.APPROVED, Status.PROCESSING)
UNKNOWN = moved(Event.PAYOUT_UNKNOWN, Status.PROCESSING, Status.PROCESSING)
PAID = moved(Event.PAYOUT_SUCCEEDED, Status.PROCESSING, Status.COMPLETED)
ROAD = (FIRST, APPROVED, STARTED, UNKNOWN, PAID)
WHOLE = chained(*ROAD)


def row(**changes: Any) -> Callable[[Chain], Chain]:
    """Edit the payment's row."""

    def change(chain: Chain) -> Chain:
        assert chain.payment
        return replace(chain, payment=replace(chain.payment, **changes))

    return change


def link(seq: int, /, **changes: Any) -> Callable[[Chain], Chain]:
    """Edit one link."""
    return lambda chain: relinked(
        chain, [replace(each, **changes) if each.seq == seq else each for each in chain.links]
    )


def relinked(chain: Chain, links: Sequence[Link]) -> Chain:
    return replace(chain, links=list(links))


def without(*seqs: int) -> Callable[[Chain], Chain]:
    return lambda chain: relinked(chain, [each for each in chain.links if each.seq not in seqs])


def swapped(chain: Chain) -> Chain:
    """Links 2 and 3 have changed their places and their numbers."""
    first, second, third, *rest = chain.links
    return relinked(chain, [first, replace(third, seq=2), replace(second, seq=3), *rest])


def cut_and_covered(chain: Chain) -> Chain:
    """The last link is gone, and version and status were put back; only the head was forgotten."""
    return row(version=4, status="processing")(without(5)(chain))


def repeated(chain: Chain) -> Chain:
    return relinked(chain, [*chain.links[:3], *chain.links[2:]])


def reversed_order(chain: Chain) -> Chain:
    return relinked(chain, chain.links[::-1])


TAMPERED: dict[str, tuple[Callable[[Chain], Chain], int, Flaw]] = {
    "the payment's row is gone": (lambda chain: replace(chain, payment=None), 1, Flaw.NO_PAYMENT),
    "neither a row nor a link": (lambda chain: replace(chain, payment=None, links=[]), 1, Flaw.NO_PAYMENT),
    "all links are gone": (without(1, 2, 3, 4, 5), 1, Flaw.NO_LINKS),
    "the first link is gone": (without(1), 1, Flaw.MISSING),
    "a link in the middle is gone": (without(3), 3, Flaw.MISSING),
    "the tail is cut off": (without(5), 5, Flaw.MISSING),
    "a longer tail is cut off": (without(4, 5), 4, Flaw.MISSING),
    "the tail is cut off and the version put back": (lambda chain: row(version=4)(without(5)(chain)), 4, Flaw.HEAD),
    "the tail is cut off, version and status put back": (cut_and_covered, 4, Flaw.HEAD),
    "a link is there twice": (repeated, 3, Flaw.EXTRA),
    "the links are upside down": (reversed_order, 1, Flaw.MISSING),
    "a link before the first": (link(1, seq=0), 0, Flaw.EXTRA),
    "two links have changed places": (swapped, 2, Flaw.LOG_ID),
    "a link's number is changed": (link(5, seq=6), 5, Flaw.MISSING),
    "a link's id is changed": (link(2, log_id=OTHER), 2, Flaw.LOG_ID),
    "a link's action is changed": (link(2, action="rejected"), 2, Flaw.CONTENT),
    "a link's actor is changed": (link(2, actor_id=m.ADMIN), 2, Flaw.CONTENT),
    "a link's kind of actor is changed": (link(2, actor_type="admin"), 2, Flaw.CONTENT),
    "a link's former status is changed": (link(3, previous_status="processing"), 3, Flaw.CONTENT),
    "a link's new status is changed": (link(5, new_status="failed"), 5, Flaw.CONTENT),
    "a link's new status is taken away": (link(5, new_status=None), 5, Flaw.CONTENT),
    "a link's message is changed": (link(2, message_key="another"), 2, Flaw.CONTENT),
    "a link's facts are changed": (link(2, data={}), 2, Flaw.CONTENT),
    "a link's facts hold a fraction": (link(2, data={"share": 0.5}), 2, Flaw.CONTENT),
    "a link's facts are no object": (link(2, data=[]), 2, Flaw.CONTENT),
    "a link's facts are half a character": (link(2, data={"a": "\ud800"}), 2, Flaw.CONTENT),
    "a link's note digest is changed": (link(2, note_digest=ANOTHER_NOTE), 2, Flaw.CONTENT),
    "a link's note digest is taken away": (link(2, note_digest=None), 2, Flaw.CONTENT),
    "a link's note digest is emptied": (link(3, note_digest=b""), 3, Flaw.CONTENT),
    "a link's time is changed": (link(4, at=m.NOW), 4, Flaw.CONTENT),
    "a link's time is none": (link(4, at=None), 4, Flaw.CONTENT),
    "a link's hash version is unknown": (link(3, hash_version=2), 3, Flaw.HASH_VERSION),
    "a link's prev_hash is changed": (link(3, prev_hash=bytes(32)), 3, Flaw.PREV_HASH),
    "a link's prev_hash is taken away": (link(3, prev_hash=None), 3, Flaw.PREV_HASH),
    "the first link has a prev_hash": (link(1, prev_hash=bytes(32)), 1, Flaw.PREV_HASH),
    "a link's hash is changed": (link(3, entry_hash=bytes(32)), 3, Flaw.CONTENT),
    "the payment's amount is changed": (row(amount_cents=15001), 1, Flaw.CONTENT),
    "the payment's currency is changed": (row(currency="CAD"), 1, Flaw.CONTENT),
    "the payment's status is changed": (row(status="failed"), 5, Flaw.STATUS),
    "the payment's version is raised": (row(version=6), 6, Flaw.MISSING),
    "the payment's version is lowered": (row(version=4), 5, Flaw.EXTRA),
    "the payment's head is changed": (row(audit_head=bytes(32)), 5, Flaw.HEAD),
    "the payment's head is taken away": (row(audit_head=None), 5, Flaw.HEAD),
    "a note is changed": (link(2, note=StoredNote(digest=ANOTHER_NOTE)), 2, Flaw.NOTE_CHANGED),
    "a note is deleted without a mark": (link(2, note=None), 2, Flaw.NOTE_LOST),
    "a note is added": (link(3, note=StoredNote(digest=NOTE)), 3, Flaw.NOTE_ADDED),
    "an erased note is added": (link(3, note=StoredNote(digest=None)), 3, Flaw.NOTE_ADDED),
}
#: Whoever edits may compute every hash anew, up to the payment's head; then the story itself must not add up.
REWRITTEN: dict[str, tuple[Chain, int, Flaw]] = {
    "it does not begin with a creation": (chained(APPROVED), 1, Flaw.ILLEGAL_MOVE),
    "it begins in the middle of the road": (chained(replace(FIRST, new_status="approved")), 1, Flaw.ILLEGAL_MOVE),
    "it begins from something": (chained(replace(FIRST, previous_status="approved")), 1, Flaw.ILLEGAL_MOVE),
    "it is created twice": (
        chained(FIRST, replace(FIRST, previous_status="pending_approval")),
        2,
        Flaw.ILLEGAL_MOVE,
    ),
    "the approval is left out": (chained(FIRST, STARTED), 2, Flaw.PREVIOUS_STATUS),
    "the approval is jumped over": (
        chained(FIRST, replace(STARTED, previous_status="pending_approval")),
        2,
        Flaw.ILLEGAL_MOVE,
    ),
    "a move ends elsewhere": (chained(FIRST, replace(APPROVED, new_status="completed")), 2, Flaw.ILLEGAL_MOVE),
    "a move ends nowhere": (chained(FIRST, replace(APPROVED, new_status=None)), 2, Flaw.ILLEGAL_MOVE),
    "a record moves": (
        chained(FIRST, APPROVED, STARTED, replace(UNKNOWN, new_status="completed")),
        4,
        Flaw.ILLEGAL_MOVE,
    ),
    "what was absorbed is written down": (
        chained(*ROAD, moved(Event.PAYOUT_SUCCEEDED, Status.COMPLETED, Status.COMPLETED)),
        6,
        Flaw.ILLEGAL_MOVE,
    ),
    "a status nobody knows": (
        chained(FIRST, replace(APPROVED, new_status="paid"), replace(STARTED, previous_status="paid")),
        2,
        Flaw.ILLEGAL_MOVE,
    ),
    "an action nobody knows": (chained(FIRST, replace(APPROVED, action="waved_through")), 2, Flaw.ILLEGAL_MOVE),
    "a status that is a verdict": (
        chained(FIRST, replace(STARTED, previous_status="pending_approval", new_status="illegal_transition")),
        2,
        Flaw.ILLEGAL_MOVE,
    ),
}


def test_a_history_that_nobody_touched_is_whole():
    assert verify(WHOLE) is None
    assert verify(chained(FIRST)) is None


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_is_found_at_its_link(name: str):
    tamper, seq, flaw = TAMPERED[name]
    breach = verify(tamper(WHOLE))
    assert breach
    assert (breach.payment_id, breach.seq, breach.flaw) == (PAYMENT, seq, flaw)


@pytest.mark.parametrize("name", REWRITTEN)
def test_a_story_that_cannot_be_is_found_although_every_hash_fits(name: str):
    chain, seq, flaw = REWRITTEN[name]
    breach = verify(chain)
    assert breach
    assert (breach.seq, breach.flaw) == (seq, flaw)


def test_every_flaw_has_words_and_an_example_here():
    found = {flaw for _, _, flaw in (*TAMPERED.values(), *REWRITTEN.values())}
    assert found == set(Flaw)
    assert all(verify(tamper(WHOLE)).what for tamper, _, _ in TAMPERED.values())  # type: ignore[union-attr]


#: How a payment gets into each status.
ROADS = {
    Status.PENDING_APPROVAL: (FIRST,),
    Status.APPROVED: (FIRST, APPROVED),
    Status.PROCESSING: (FIRST, APPROVED, STARTED),
    Status.COMPLETED: (FIRST, APPROVED, STARTED, PAID),
    Status.FAILED: (FIRST, APPROVED, STARTED, moved(Event.PAYOUT_FAILED, Status.PROCESSING, Status.FAILED)),
    Status.CANCELLED: (FIRST, moved(Event.CANCELLED, Status.PENDING_APPROVAL, Status.CANCELLED)),
}


def test_every_move_of_the_lifecycle_may_follow_and_no_other():
    legal = {(before, event, after) for (before, event), after in MOVES.items()}
    legal |= {(status, event, status) for status, event in RECORDS}
    allowed = {
        (before, event, after)
        for before in Status
        for event in Event
        for after in Status
        if verify(chained(*ROADS[before], moved(event, before, after))) is None
    }
    assert allowed == legal


def test_an_erased_note_leaves_the_chain_whole():
    assert verify(link(2, note=StoredNote(digest=None))(WHOLE)) is None


def test_the_first_of_several_breaches_is_named():
    breach = verify(row(audit_head=None)(link(4, message_key="x")(link(2, note=None)(WHOLE))))
    assert breach
    assert (breach.seq, breach.flaw) == (2, Flaw.NOTE_LOST)


# -- lines of an export


def test_a_chain_survives_its_line_and_is_as_whole_or_broken_as_before():
    assert from_line(to_line(WHOLE)) == from_line(to_line(from_line(to_line(WHOLE))))
    assert verify(from_line(to_line(WHOLE))) is None
    for name, (tamper, seq, flaw) in TAMPERED.items():
        if "half a character" in name:
            continue  # no JSON has it
        breach = verify(from_line(to_line(tamper(WHOLE))))
        assert breach, name
        assert (breach.seq, breach.flaw) == (seq, flaw), name


def test_a_line_is_one_line_of_camel_case_and_says_which_form_it_has():
    line = to_line(WHOLE)
    assert line.count(b"\n") == 1
    assert line.endswith(b'"format":1}\n')
    assert b'"paymentId":"99999999-9999-4999-8999-999999999999","payment":{"amountCents":15000,' in line


UNREADABLE = {
    "nothing": (b"\n", "empty"),
    "no JSON": (b"{\n", "Invalid JSON"),
    "half a line": (to_line(WHOLE)[:200], "Invalid JSON"),
    "no object": (b"[1]\n", "Input should be an object"),
    "another form": (to_line(WHOLE).replace(b'"format":1', b'"format":2'), "format"),
    "no form": (to_line(WHOLE).replace(b',"format":1', b""), "format"),
    "a number in quotes": (to_line(WHOLE).replace(b'"seq":2', b'"seq":"2"'), "links.1.seq"),
    "a time without its zone": (to_line(WHOLE).replace(b'12:00:00Z"', b'12:00:00"'), "links.0.at"),
    "half a digit pair": (to_line(WHOLE).replace(NOTE.hex().encode(), b"abc"), "links.1.noteDigest"),
    "a field too many": (to_line(WHOLE).replace(b'"format"', b'"canary":"canary","format"'), "canary"),
    "a field too few": (to_line(WHOLE).replace(b'"hashVersion":1,', b""), "links.0.hashVersion"),
    "bytes that are no text": (b'{"paymentId":"\xff"}\n', "Invalid JSON"),
    "a well without a bottom": (b"[" * 100_000, "Invalid JSON"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_line_that_cannot_be_read_says_where_and_quotes_nothing(name: str):
    line, told = UNREADABLE[name]
    with pytest.raises(UnreadableLineError, match=told) as trouble:
        from_line(line)
    assert "99999999" not in str(trouble.value)
    assert "line 1" not in str(trouble.value), "it is the file that has line numbers"


def test_a_line_beyond_all_measure_is_not_even_parsed():
    with pytest.raises(UnreadableLineError, match="longer than"):
        from_line(b" " * (LINE_BYTES_MAX + 1))
