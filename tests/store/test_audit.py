"""The audit chain: every word of an entry counts, and a changed row is noticed."""

import dataclasses
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from contracts.lifecycle import Event, Status
from contracts.payment import Actor, ActorType
from store import audit
from store.audit import Entry, Note
from store.db import Pool
from tests.kit import messages as m
from tests.kit.forgery import forge
from tests.kit.funnel import once, rows

ENTRY = Entry(
    payment_id=UUID("99999999-9999-4999-8999-999999999999"),
    seq=2,
    action=Event.APPROVED,
    actor=Actor(m.DISPATCHER, ActorType.USER),
    previous_status=Status.PENDING_APPROVAL,
    new_status=Status.APPROVED,
    amount_cents=15000,
    currency="USD",
    message_key="aaaaaaaa-aaaa-4aaa-8aaa-000000000001",
    prev_hash=bytes(32),
    at=m.NOW,
    data={"role": "dispatcher"},
    note=Note("looks right", bytes(range(32))),
)
#: A change of the formula would make every chain that was ever written unverifiable.
GOLDEN = "6306dbfa0b1e28e8c250ca2998e5562f7324dd70676035f368836a86a527933c"
CHANGES: dict[str, Any] = {
    "payment_id": m.INCIDENT,
    "seq": 3,
    "action": Event.REJECTED,
    "actor": Actor(m.ADMIN, ActorType.USER),
    "previous_status": None,
    "new_status": Status.CANCELLED,
    "amount_cents": 15001,
    "currency": "CAD",
    "message_key": "another",
    "prev_hash": None,
    "at": m.NOW.replace(microsecond=1),
    "data": {"role": "admin"},
    "note": None,
}


def test_the_formula_is_the_one_that_existing_chains_were_written_with():
    assert ENTRY.entry_hash.hex() == GOLDEN


def test_every_field_has_a_change_below():
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Entry) if field.init}


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_counts(name: str):
    assert dataclasses.replace(ENTRY, **{name: CHANGES[name]}).entry_hash != ENTRY.entry_hash


def test_the_kind_of_actor_counts_too():
    changed = dataclasses.replace(ENTRY, actor=Actor(m.DISPATCHER, ActorType.ADMIN))
    assert changed.entry_hash != ENTRY.entry_hash


def test_a_note_is_known_by_its_salted_digest_alone():
    assert Note("text", b"salt").digest == sha256(b"salttext").digest()
    first, second = audit.salted("text"), audit.salted("text")
    assert first
    assert second
    assert first.digest != second.digest, "each salt is fresh"
    assert audit.salted("") is None


def stored_chain(pool: Pool) -> list[tuple[bytes, bytes]]:
    """Recompute every hash from what the tables hold; return (stored, computed)."""
    found = rows(
        pool,
        """
        SELECT log.*, payments.amount_cents, payments.currency, notes.note, notes.salt FROM payment_audit_log AS log
        JOIN payments USING (payment_id) LEFT JOIN payment_audit_notes AS notes USING (log_id) ORDER BY seq
        """,
    )
    pairs, head = [], None
    for row in found:
        entry = Entry(
            payment_id=row["payment_id"],
            seq=row["seq"],
            action=Event(row["action"]),
            actor=Actor(row["actor_id"], ActorType(row["actor_type"])),
            previous_status=Status(row["previous_status"]) if row["previous_status"] else None,
            new_status=Status(row["new_status"]),
            amount_cents=row["amount_cents"],
            currency=row["currency"],
            message_key=row["message_key"],
            prev_hash=head,
            at=row["timestamp"],
            data=row["data"],
            note=Note(row["note"], row["salt"]) if row["note"] else None,
        )
        head = row["entry_hash"]
        pairs.append((head, entry.entry_hash))
    return pairs


def test_the_stored_chain_can_be_recomputed_and_a_changed_row_is_noticed(pool: Pool):
    payment_id = once(pool, m.parsed(m.work(notes="at the gate"))).payment_id
    approval = m.command("ApprovePayment", paymentId=str(payment_id), notes="looks right", actor=m.admin())
    once(pool, m.parsed(approval))
    assert [stored == computed for stored, computed in stored_chain(pool)] == [True, True]
    forge(pool, "UPDATE payment_audit_log SET actor_type = 'user' WHERE seq = 2")
    assert [stored == computed for stored, computed in stored_chain(pool)] == [True, False]
