"""Identities derived from the business fact (UUIDv5, RFC 9562 §5.5).

A replay, a redelivery or a database restored from a backup mints the same payment, the same provider key and
the same event id again, so nothing can happen twice under two names.
"""

import re
from functools import lru_cache
from hashlib import sha1
from typing import NewType
from uuid import UUID

PaymentId = NewType("PaymentId", UUID)
AttemptId = NewType("AttemptId", UUID)

#: The root of every identity of this service. Changing it would let every old message act a second time.
NAMESPACE = UUID("6f0d9a52-0b8e-5b5e-9d0c-2f1f6f7f3b11")

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

#: Who acted when no person did: automatic intake of finished work, and the payout machinery.
SYSTEM_INTAKE = UUID("00000000-0000-4000-8000-00000000a001")
SYSTEM_PAYOUTS = UUID("00000000-0000-4000-8000-00000000a002")
#: Who told us about people's memberships when no person did: the one role that is configured for it.
SYSTEM_DIRECTORY = UUID("00000000-0000-4000-8000-00000000a003")
#: Who told us about vendors' accounts when no person did: the one role that is configured for it.
SYSTEM_ACCOUNTS = UUID("00000000-0000-4000-8000-00000000a004")


_NAMESPACE_BYTES = NAMESPACE.bytes
#: Bits that every UUIDv5 has: version 5 and the variant of RFC 9562 (§4.1, §5.5), and a mask for all others.
_VERSION_5 = (0x5 << 76) | (0x2 << 62)
_OTHERS = ~((0xF << 76) | (0x3 << 62))


def derive(*parts: object) -> UUID:
    """Return the UUIDv5 of the parts joined by `:`; equal parts give equal ids for ever."""
    # Not uuid.uuid5: a message mints eleven, and its checks of what it was given cost as much as the hash itself.
    name = ":".join(map(str, parts)).encode()
    hashed = sha1(_NAMESPACE_BYTES + name, usedforsecurity=False).digest()
    return UUID(int=int.from_bytes(hashed[:16], "big") & _OTHERS | _VERSION_5)


def as_uuid(text: str | None) -> UUID | None:
    """Return `text` as a UUID in its canonical 36-character form, or None when it is not one."""
    # UUID() alone is lenient: it takes braces, misplaced hyphens and underscores, and other scripts' digits.
    return UUID(text) if text is not None and _UUID.fullmatch(text) else None


def legacy_uuid(text: str) -> UUID:
    """Return the UUID that an id of any form stands for: itself, or one derived from a form such as `incident-001`."""
    return as_uuid(text) or derive("legacy", text)


def work_source_key(incident_id: str, vendor_id: str, event_key: str) -> str:
    """Return the business key of one finished job: incident, vendor, and the producer's event."""
    return f"work:{incident_id}:{vendor_id}:{event_key}"


def command_source_key(command_id: UUID) -> str:
    """Return the business key of a payment that a person created by command."""
    return f"command:{command_id}"


@lru_cache(maxsize=256)
def payment_id(source_key: str) -> PaymentId:
    """Return the payment's id for a business key."""
    return PaymentId(derive(source_key))


def line_item_id(payment: UUID, line_no: int) -> UUID:
    """Return the id of line `line_no` (from 1) of a payment."""
    return derive("line", payment, line_no)


def audit_id(payment: UUID, seq: int) -> UUID:
    """Return the id of the audit entry that brought a payment to version `seq`."""
    return derive("audit", payment, seq)


def attempt_id(payment: UUID, attempt_no: int) -> AttemptId:
    """Return the id of payout attempt `attempt_no` (from 1) of a payment."""
    return AttemptId(derive("attempt", payment, attempt_no))


def provider_key(payment: UUID, attempt_no: int) -> str:
    """Return the idempotency key under which the provider knows this attempt."""
    return f"pay-{payment}-{attempt_no}"


def provider_account(destination: str) -> str:
    """Return the provider's name of the account that an attempt's destination stands for.

    A vendor without a registered account is paid by the sandbox only, to an account that is derived from the vendor.
    """
    vendor = as_uuid(destination)
    return destination if vendor is None else f"acct_{vendor.hex}"


def event_id(payment: UUID, version: int, kind: str) -> UUID:
    """Return the id of an event that announces a change of a payment; stable over every re-publication."""
    return derive("event", payment, version, kind)


def notice_id(message_key: str, fingerprint: bytes, kind: str) -> UUID:
    """Return the id of an event that leaves the payment as it is, such as a refusal."""
    return derive("notice", message_key, fingerprint.hex(), kind)


def process_payment_key(payment: UUID, version: int, refusals: int) -> UUID:
    """Return the key of the service's own ProcessPayment.

    Args:
        payment: the payment to pay out.
        version: the payment's version that made it due.
        refusals: how many ProcessPayment were refused at that version, so that a re-post is no duplicate.
    """
    return derive("ProcessPayment", payment, version, refusals)


def reconcile_attempt_key(attempt: UUID, check: int, used: int = 0) -> UUID:
    """Return the key of the service's own ReconcileAttempt for check number `check` of an attempt.

    The number makes the second look at an attempt no duplicate of the first. `used` counts the keys of this check that
    are used up although nothing came of them, as by a message from before a restore.
    """
    return derive("ReconcileAttempt", attempt, check, *([f"again {used}"] if used else []))


def reconcile_settlement_key(attempt: UUID, event_key: str) -> UUID:
    """Return the key of the ReconcileAttempt that a provider's event about a settlement makes the service order."""
    return derive("ReconcileAttempt", attempt, event_key)


def reconcile_request_key(attempt: UUID, request: int) -> UUID:
    """Return the key of the ReconcileAttempt that an operator asked for, by the number of the request."""
    return derive("ReconcileAttempt", attempt, f"request {request}")


def execute_payout_key(attempt: UUID, check: int) -> UUID:
    """Return the key of the service's own ExecutePayout for check number `check` (from 0) of an attempt."""
    return derive("ExecutePayout", attempt, check)


def trace_id(*identity: object) -> str:
    """Return the id of the trace of something that came without one, in 32 hexadecimal digits."""
    return derive("trace", *identity).hex


def span_id(trace: str, *identity: object) -> str:
    """Return the id of the span in which something is handled, in 16 hexadecimal digits; a repetition has the same."""
    return derive("span", trace, *identity).hex[:16]
