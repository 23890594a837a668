"""The inbox: each (kind, message key) has its effect once, with the fingerprint of what it said."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from contracts.outcome import COMMITTED, Outcome
from store.db import Pending, Pool, Tx, reading


@dataclass(frozen=True, slots=True)
class Known:
    """The key has had its effect already; `same` says whether it said the same then."""

    same: bool


@dataclass(frozen=True, slots=True)
class New:
    """The key is ours now, as long as this transaction commits."""


Claim = New | Known

_CLAIM = """
INSERT INTO message_inbox (consumer, message_key, fingerprint, outcome, payment_id)
VALUES (%(kind)s, %(message_key)s, %(fingerprint)s, 'applied', %(payment_id)s)
ON CONFLICT (consumer, message_key) DO NOTHING
RETURNING true AS claimed
"""
_KNOWN = """
SELECT fingerprint = %(fingerprint)s AS same FROM message_inbox
WHERE consumer = %(kind)s AND message_key = %(message_key)s
"""
_THOSE_KNOWN = "SELECT message_key FROM message_inbox WHERE consumer = %(kind)s AND message_key = ANY(%(keys)s)"
_SETTLE = """
UPDATE message_inbox SET outcome = %(outcome)s, outcome_code = %(code)s, payment_id = %(payment_id)s
WHERE consumer = %(kind)s AND message_key = %(message_key)s
"""


def claim(tx: Tx, kind: str, message_key: str, fingerprint: bytes, payment_id: UUID | None) -> Pending[Claim]:
    """Claim a message key: the first statement of a message's transaction.

    A second delivery waits here for the first one's commit. Only a known key costs a further round trip.
    """
    values = {"kind": kind, "message_key": message_key, "fingerprint": fingerprint, "payment_id": payment_id}
    claimed = tx.ask(_CLAIM, values)

    def read() -> Claim:
        if claimed.value():
            return New()
        return Known(same=bool(tx.ask(_KNOWN, values).value()[0]["same"]))

    return Pending(read)


def knows(tx: Tx, kind: str, message_key: str, fingerprint: bytes) -> Pending[bool]:
    """Return whether a key has had its effect already and said the same then, without claiming it."""
    values = {"kind": kind, "message_key": message_key, "fingerprint": fingerprint}
    return tx.ask(_KNOWN, values).map(lambda rows: bool(rows) and bool(rows[0]["same"]))


def known(pool: Pool, kind: str, message_keys: Sequence[str]) -> set[str]:
    """Return which of these keys have had their effect already, or will never have one.

    Raises:
        Transient: the database could not answer now.
    """
    with reading(pool) as connection:
        rows = connection.execute(_THOSE_KNOWN, {"kind": kind, "keys": list(message_keys)}).fetchall()
    return {row["message_key"] for row in rows}


def settle(tx: Tx, kind: str, message_key: str, outcome: Outcome, code: str | None, payment_id: UUID | None) -> None:
    """Correct a claim to how the message ended.

    Raises:
        ValueError: the outcome is one that leaves no inbox row.
    """
    if outcome not in COMMITTED:
        raise ValueError(f"{outcome} leaves no inbox row")
    tx.send(
        _SETTLE,
        {
            "outcome": outcome,
            "code": code,
            "payment_id": payment_id,
            "kind": kind,
            "message_key": message_key,
        },
    )
