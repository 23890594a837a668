"""How the handling of one message ended: one vocabulary for inbox, log and metric."""

from enum import StrEnum


class Outcome(StrEnum):
    """The seven ends of a message (ARCHITECTURE.md, "The funnel")."""

    APPLIED = "applied"
    IGNORED = "ignored"
    REFUSED = "refused"
    DUPLICATE = "duplicate"
    RETRY = "retry"
    INVALID = "invalid"
    FAULT = "fault"


#: The outcomes that leave an inbox row: the message has had its effect, or will never have one.
COMMITTED = frozenset({Outcome.APPLIED, Outcome.IGNORED, Outcome.REFUSED})
