"""Who was turned away, and who changed somebody's rights: append-only, without a token or free text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from store.db import Tx

_INSERT = """
INSERT INTO access_audit (at, operation, decision, code, actor_id, sender, object_id, message_key, proof, data)
VALUES (
    %(at)s, %(operation)s, %(decision)s, %(code)s, %(actor_id)s, %(sender)s, %(object_id)s, %(message_key)s,
    %(proof)s, %(data)s
)
"""


def _nothing() -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that somebody did or tried.

    Attributes:
        operation: a command's kind.
        code: why it was denied; None where it was allowed.
        actor_id: who it was, where that could be made out.
        sender: the IAM role or user that sent the message.
        object_id: the payment, company or person that it was about.
        proof: what is kept of the token: clientId, jti, kid, iat, exp, or why it was none.
        data: what was changed.
    """

    operation: str
    code: str | None
    actor_id: UUID | None
    sender: str | None
    object_id: UUID | None
    message_key: str
    proof: Mapping[str, Any] = field(default_factory=_nothing)
    data: Mapping[str, Any] = field(default_factory=_nothing)


def append(tx: Tx, access: Access, at: datetime) -> None:
    """Write what happened."""
    tx.send(
        _INSERT,
        {
            "at": at,
            "operation": access.operation,
            "decision": "denied" if access.code else "allowed",
            "code": access.code,
            "actor_id": access.actor_id,
            "sender": access.sender,
            "object_id": access.object_id,
            "message_key": access.message_key,
            "proof": Jsonb(dict(access.proof)),
            "data": Jsonb(dict(access.data)),
        },
    )
