"""The proof port: who sent a message, as far as it can be proven, before anybody asks what they may do.

A verifier says whose word a command is; it never raises for what a token says. What that person may do is decided
later, by our own membership table, under the payment's row lock. Another kind of proof, such as a signed command, is
another verifier behind the same port: no handler changes.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from contracts.values import dataclass


class ProofFlaw(StrEnum):
    """Why a proof that was offered does not hold; a closed set, so that it can be logged and counted."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    HEADER = "header"
    KEY = "key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    CLIENT = "client"
    TOKEN_USE = "token_use"  # noqa: S105 - the claim's name
    SCOPE = "scope"
    CLAIM = "claim"


@dataclass(frozen=True, slots=True)
class Person:
    """A person whose proof holds; nothing here says what they may do.

    Attributes:
        subject: who it is (`sub`).
        groups: the groups that the proof names; they only ever narrow what a membership allows.
        issued_at: from when the proof holds.
        expires_at: until when.
        client_id: the application that asked for it.
        proof_id: its own id (`jti`).
        key_id: the key that it is signed with (`kid`).
    """

    subject: UUID
    groups: frozenset[str]
    issued_at: datetime
    expires_at: datetime
    client_id: str
    proof_id: str
    key_id: str


@dataclass(frozen=True, slots=True)
class Unproven:
    """A proof was offered and does not hold."""

    flaw: ProofFlaw


class KeysAwayError(Exception):
    """The keys cannot be had now: nobody can say whether a proof holds; let the message come again."""


class Verifier(Protocol):
    """What says whose word a token is."""

    def verify(self, token: str) -> Person | Unproven:
        """Return whose token it is, or why it is nobody's. Times are not judged here: the caller knows which time.

        Raises:
            KeysAwayError: the signing keys cannot be had now.
        """


@dataclass(frozen=True, slots=True)
class Proof:
    """What came with a message and could say whose word it is.

    Attributes:
        sqs_message_id: its queue's id for it.
        body_digest: SHA-256 of the body: by it a message is known again that comes back under another id.
        sender: the unique id of the IAM role or user that sent it, without a role's session; None where nobody says.
        who: the person that the message's token proves, why it proves nobody, or None without a token.
    """

    sqs_message_id: str
    body_digest: bytes
    sender: str | None = None
    who: Person | Unproven | None = None

    def record(self) -> dict[str, Any]:
        """Return what is kept of it for ever: ids and times, never the token."""
        match self.who:
            case Person() as person:
                return {
                    "clientId": person.client_id,
                    "jti": person.proof_id,
                    "kid": person.key_id,
                    "iat": int(person.issued_at.timestamp()),
                    "exp": int(person.expires_at.timestamp()),
                }
            case Unproven(flaw):
                return {"flaw": flaw}
            case None:
                return {}
