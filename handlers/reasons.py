"""The reason that a person must give for stopping a payment: a code for machines, words for people."""

from contracts.inbound import CancelPayment, HoldPayment, RejectPayment, ReleaseHold

REASON_CHARS_MAX = 2_000
REASON_CODE_CHARS_MAX = 64
#: The reason code of a sender that names none.
NO_REASON_CODE = "unspecified"

Reasoned = RejectPayment | CancelPayment | HoldPayment | ReleaseHold


def bad_reason(message: Reasoned) -> str | None:
    """Return the wire name of the field that breaks its rule, or None."""
    if not 0 < len(message.reason.strip()) <= REASON_CHARS_MAX:
        return "reason"
    if message.reason_code is not None and not 0 < len(message.reason_code) <= REASON_CODE_CHARS_MAX:
        return "reasonCode"
    return None


def coded(message: Reasoned) -> str:
    """Return the reason for machines."""
    return message.reason_code or NO_REASON_CODE
