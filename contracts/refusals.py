"""Why a well-formed message was turned down: a flat enum in order of precedence, with texts for people."""

from enum import StrEnum


class Refusal(StrEnum):
    """The refusal codes; when several apply, the first in this order is reported."""

    PAYLOAD_CONFLICT = "payload_conflict"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN_SENDER = "forbidden_sender"
    STALE = "stale"
    INVALID_FIELD = "invalid_field"
    NON_UUID_ID = "non_uuid_id"
    MISSING_PRICING = "missing_pricing"
    NON_INTEGER_MINOR_UNITS = "non_integer_minor_units"
    NEGATIVE_AMOUNT = "negative_amount"
    AMOUNT_OUT_OF_RANGE = "amount_out_of_range"
    SUM_MISMATCH = "sum_mismatch"
    UNSUPPORTED_CURRENCY = "unsupported_currency"
    COMPLETED_IN_FUTURE = "completed_in_future"
    NOT_FOUND = "not_found"
    FORBIDDEN_ROLE = "forbidden_role"
    WRONG_COMPANY = "wrong_company"
    AMOUNT_MISMATCH = "amount_mismatch"
    VERSION_CONFLICT = "version_conflict"
    ILLEGAL_TRANSITION = "illegal_transition"
    ALREADY_DECIDED = "already_decided"
    SELF_APPROVAL = "self_approval"
    ON_HOLD = "on_hold"
    FRAUD_REVIEW_REQUIRED = "fraud_review_required"
    VENDOR_NOT_PAYABLE = "vendor_not_payable"
    PAYER_NOT_CHARGEABLE = "payer_not_chargeable"
    AMOUNT_BELOW_MINIMUM = "amount_below_minimum"


#: What each code means and what its sender can do about it.
MESSAGES: dict[Refusal, str] = {
    Refusal.PAYLOAD_CONFLICT: (
        "This message's key, or its work item, is already known with other content. Nothing was changed; "
        "cancel the existing payment first if the new content is right."
    ),
    Refusal.UNAUTHENTICATED: (
        "The command does not prove who sent it. Sign in again and send it with a fresh access token under a new id."
    ),
    Refusal.FORBIDDEN_SENDER: "This sender may not send messages of this kind.",
    Refusal.STALE: "The command is too old to act on. Look at the payment again and decide anew.",
    Refusal.INVALID_FIELD: "A field breaks its rule. Correct it and send the message under a new id.",
    Refusal.NON_UUID_ID: "An id is not a UUID. Correct it and send the message under a new id.",
    Refusal.MISSING_PRICING: "The work carries no price: send lineItems or pricing under a new eventId.",
    Refusal.NON_INTEGER_MINOR_UNITS: (
        "An amount is not a whole number of minor units (cents for USD). Send integers under a new id."
    ),
    Refusal.NEGATIVE_AMOUNT: "An amount is below zero.",
    Refusal.AMOUNT_OUT_OF_RANGE: "The total is zero or above the ceiling.",
    Refusal.SUM_MISMATCH: "The line items do not add up to the total.",
    Refusal.UNSUPPORTED_CURRENCY: "The currency is not an ISO 4217 code that this service can pay out.",
    Refusal.COMPLETED_IN_FUTURE: "completedAt lies in the future. Check the producer's clock.",
    Refusal.NOT_FOUND: "There is no such payment.",
    Refusal.FORBIDDEN_ROLE: (
        "The actor's role may not do this: they are no enabled member in it, their token's groups leave it out, or the"
        " payment's policy asks for another role."
    ),
    Refusal.WRONG_COMPANY: "The payment belongs to another company than the actor's.",
    Refusal.AMOUNT_MISMATCH: "Amount or currency is not the payment's. Look at the payment again.",
    Refusal.VERSION_CONFLICT: "It has changed since it was looked at. Look again, and decide anew.",
    Refusal.ILLEGAL_TRANSITION: "The payment's status does not allow this step.",
    Refusal.ALREADY_DECIDED: (
        "It is decided already, or you have approved it before: a person counts once. If approvals are missing,"
        " somebody else must give the next one."
    ),
    Refusal.SELF_APPROVAL: (
        "Four eyes: nobody approves a payment that they created or are paid by, lifts or changes its hold or starts its"
        " payout where they are paid by it, or releases one that they approved where the policy asks for somebody else."
    ),
    Refusal.ON_HOLD: "The payment is on hold. Release it first.",
    Refusal.FRAUD_REVIEW_REQUIRED: "The payment is flagged. A fraud review must clear it first.",
    Refusal.VENDOR_NOT_PAYABLE: "The vendor has no payout account that can be paid at present.",
    Refusal.PAYER_NOT_CHARGEABLE: "This payer cannot be charged by this service yet.",
    Refusal.AMOUNT_BELOW_MINIMUM: "The amount is below the provider's minimum for its currency.",
}

#: The codes that say that somebody tried what they may not; each is recorded in `access_audit`.
DENIALS = frozenset(
    {
        Refusal.UNAUTHENTICATED,
        Refusal.FORBIDDEN_SENDER,
        Refusal.STALE,
        Refusal.FORBIDDEN_ROLE,
        Refusal.WRONG_COMPANY,
        Refusal.SELF_APPROVAL,
    }
)
