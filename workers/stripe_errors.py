"""What a failed call to Stripe means: the outcome table of the payments reference, as code.

The status decides before the class of the SDK's exception does. Its texts are never passed on: they quote the body.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from contracts.provider import Answer, Declined, TryLater, Unfunded, Unknown


class Reason(StrEnum):
    """Why a call brought no result; these codes are what attempts and logs record."""

    UNREACHABLE = "unreachable"
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"
    UNREADABLE = "unreadable"
    RATE_LIMITED = "rate_limited"
    LOCK_TIMEOUT = "lock_timeout"
    KEY_IN_USE = "key_in_use"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    BALANCE_INSUFFICIENT = "balance_insufficient"
    REFUSED = "refused"
    CREDENTIALS = "credentials"
    CONFIGURATION = "configuration"
    CONTRADICTION = "contradiction"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A failed call, without anything that it said in words.

    Attributes:
        reason: what it means.
        kind: the exception's class.
        status: the HTTP status, where there was an answer.
        code: Stripe's error code, where it is one.
        request_id: Stripe's name of the call, for their support.
        away: whether the next call would fare no better.
        definite: whether it is a refusal that is certain to be about what was asked for, and not about how.
        asked: whether the call was made at all, and not stopped by what has to come before it.
    """

    reason: Reason
    kind: str
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    away: bool = False
    definite: bool = False
    asked: bool = True


class UnreadableError(ValueError):
    """An answer is not what it must be; the text names the field, never its value."""


class CredentialsError(Exception):
    """There is no secret key to ask with; the text is what is wrong with it, or the class of what was in the way."""


BAD_REQUEST = 400
UNAUTHORIZED = 401
PAYMENT_REQUIRED = 402
FORBIDDEN = 403
NOT_FOUND = 404
TOO_MANY_REQUESTS = 429
INTERNAL_SERVER_ERROR = 500

#: Codes that say the same with whatever status they come.
_BY_CODE = {
    "lock_timeout": Reason.LOCK_TIMEOUT,
    "rate_limit": Reason.RATE_LIMITED,
    "idempotency_key_in_use": Reason.KEY_IN_USE,
}
#: Codes of a refused request that are about us and our platform, not about this payment.
_OURS = frozenset(
    {
        "api_key_expired",
        "livemode_mismatch",
        "platform_account_required",
        "platform_api_key_expired",
        "secret_key_required",
        "testmode_charges_only",
        "tls_version_unsupported",
        "url_invalid",
    }
)
#: The error types under which Stripe definitely refused a request.
_REFUSING = frozenset({"invalid_request_error", "card_error"})

#: Nothing came of these, and nothing was moved.
_NOT_TAKEN = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.RATE_LIMITED,
        Reason.LOCK_TIMEOUT,
        Reason.KEY_IN_USE,
        Reason.CREDENTIALS,
        Reason.CONFIGURATION,
    }
)
#: After these the next call would fare no better.
_AWAY = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.CONNECTION,
        Reason.TIMEOUT,
        Reason.SERVER_ERROR,
        Reason.UNREADABLE,
        Reason.CREDENTIALS,
        Reason.CONFIGURATION,
    }
)

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

#: The codes of a refusal that are certain to be about this payment, so that it has failed for good: nothing else is.
#: With each, what people read about it; Stripe's own sentences may name a person or an account.
_TEXTS = {
    "account_closed": "The vendor's account with the provider is closed.",
    "account_invalid": "The provider does not know the vendor's account, or we have no access to it.",
    "amount_too_large": "The amount is above the provider's maximum.",
    "amount_too_small": "The amount is below the provider's minimum.",
    "capability_not_active": "The vendor's account may not receive transfers at present.",
    "country_unsupported": "The provider does not pay out in the vendor's country.",
    "insufficient_capabilities_for_transfer": "The vendor's account may not receive transfers at present.",
    "invalid_charge_amount": "The provider does not take this amount.",
    "no_account": "The provider does not know the vendor's account.",
    "not_allowed_on_standard_account": "The vendor's kind of account cannot be paid this way.",
    "parameter_invalid_integer": "The provider does not take this amount.",
    "payouts_not_allowed": "The vendor's account may not be paid out at present.",
    "resource_missing": "The provider does not know the vendor's account.",
    "transfers_not_allowed": "The provider allows no transfer to the vendor's account.",
}
#: The same for a card, whose bank has its own codes.
_CARD_TEXT = "The provider refused the transfer; its code says why."


def trouble(error: Exception) -> Trouble:
    """Return what an exception of a call means."""
    import stripe  # noqa: PLC0415 - most commands never need it

    kind = type(error).__name__
    if isinstance(error, CredentialsError):
        return Trouble(Reason.CREDENTIALS, kind, away=True)
    if isinstance(error, UnreadableError):
        return Trouble(Reason.UNREADABLE, kind)  # one odd object: others may be well
    if isinstance(error, UnicodeDecodeError):  # the SDK stumbles over such a body before it looks at the status
        return Trouble(Reason.UNREADABLE, kind, away=True)
    if not isinstance(error, stripe.StripeError):
        return Trouble(Reason.UNEXPECTED, kind)
    reason = _broken(error) if isinstance(error, stripe.APIConnectionError) else _answered(error)
    definite = reason is Reason.REFUSED and _definite(error)
    return Trouble(reason, kind, error.http_status, _code(error), _request_id(error), reason in _AWAY, definite)


def unasked(error: Exception) -> Trouble:
    """Return what an exception means that came before a call could be made: it says nothing about what was asked for.

    What is odd here is no single object: whoever asks for another one fares no better.
    """
    found = trouble(error)
    return replace(found, away=found.away or found.reason is Reason.UNREADABLE, definite=False, asked=False)


def submitted(found: Trouble) -> Answer:
    """Return what a failed submission means for its attempt: whatever is not proven is unknown."""
    if found.reason in _NOT_TAKEN or not found.asked:
        return TryLater(found.reason.value, away=found.away)
    if found.reason is Reason.BALANCE_INSUFFICIENT:
        return Unfunded(found.reason.value)
    if found.definite and found.code is not None:
        return Declined(found.code, _TEXTS.get(found.code, _CARD_TEXT))
    return Unknown(found.reason.value, stopped=needs_person(found))


def needs_person(found: Trouble) -> bool:
    """Whether Stripe says that we ask for the wrong thing: neither time nor another payment mends that."""
    return found.reason is Reason.IDEMPOTENCY_MISMATCH or (found.reason is Reason.REFUSED and not found.definite)


def missing(found: Trouble) -> bool:
    """Whether a read failed because there is nothing of that name, or nothing that we may see."""
    if not found.asked:
        return False
    if found.reason is Reason.REFUSED:
        return found.status == NOT_FOUND
    return found.status == FORBIDDEN and found.code == "account_invalid"


def code_of(value: object) -> str | None:
    """Return a value where it is a code, not words that may name somebody."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else None


def _answered(error: Any) -> Reason:  # noqa: PLR0911 - a table: one line for each row, in the order in which they rule
    """Return what an answer of Stripe's means that is none of success."""
    status, code = error.http_status or 0, _code(error)
    if status >= INTERNAL_SERVER_ERROR:
        return Reason.SERVER_ERROR  # whatever it says: it may have moved the money first
    if status < BAD_REQUEST:
        return Reason.UNREADABLE
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status == TOO_MANY_REQUESTS:
        return Reason.RATE_LIMITED
    if error.error is None:
        return Reason.UNREADABLE  # not Stripe's words, but those of something in between
    if status in {UNAUTHORIZED, FORBIDDEN}:
        return Reason.CREDENTIALS
    if _field(error, "type") == "idempotency_error":
        return Reason.IDEMPOTENCY_MISMATCH
    if status in {BAD_REQUEST, PAYMENT_REQUIRED, NOT_FOUND} and _field(error, "type") in _REFUSING:
        return _refused(status, code)
    return Reason.UNEXPECTED


def _refused(status: int, code: str | None) -> Reason:
    """Return whether a refusal is about money, about us, or about the request."""
    if code == Reason.BALANCE_INSUFFICIENT:
        return Reason.BALANCE_INSUFFICIENT
    if code in _OURS or (status == NOT_FOUND and code is None):  # not even the address is right
        return Reason.CONFIGURATION
    return Reason.REFUSED


def _definite(error: Any) -> bool:
    """Whether a refused request is certain to be about this payment: by its code, or as a card that was declined."""
    code = _code(error)
    card = error.http_status == PAYMENT_REQUIRED and _field(error, "type") == "card_error"
    return code in _TEXTS or (card and code is not None)


def _broken(error: Exception) -> Reason:
    """Return how a connection failed, by its causes; that nothing was sent needs proof."""
    import requests  # noqa: PLC0415 - comes with the SDK, and as late
    import urllib3.exceptions as http  # noqa: PLC0415 - the same

    kinds = [type(cause) for cause in _causes(error)]
    if any(issubclass(kind, http.NewConnectionError | http.ConnectTimeoutError) for kind in kinds):
        direct = not any(issubclass(kind, http.ProxyError | requests.exceptions.ProxyError) for kind in kinds)
        return Reason.UNREACHABLE if direct else Reason.CONNECTION
    if any(issubclass(kind, requests.exceptions.Timeout | http.TimeoutError | TimeoutError) for kind in kinds):
        return Reason.TIMEOUT
    if any(issubclass(kind, requests.exceptions.ChunkedEncodingError | http.DecodeError) for kind in kinds):
        return Reason.UNREADABLE  # an answer began, and broke off
    return Reason.CONNECTION


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what an exception came from: its causes, and those that the HTTP libraries wrap as arguments."""
    pending: list[BaseException] = [error]
    seen: set[int] = set()
    while pending:
        cause = pending.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = [cause.__cause__, getattr(cause, "reason", None), *cause.args]
        pending += [each for each in inner if isinstance(each, BaseException)]


def _field(error: Any, name: str) -> str | None:
    """Return a field of Stripe's error object, which may be anything that JSON can be."""
    value = getattr(error.error, name, None)
    return value if isinstance(value, str) else None


def _code(error: Any) -> str | None:
    """Return Stripe's error code; of a card's refusal, the bank's."""
    return code_of(_field(error, "decline_code")) or code_of(_field(error, "code"))


def _request_id(error: Any) -> str | None:
    """Return Stripe's name of the call, where it is one."""
    name = error.request_id
    return name if isinstance(name, str) and _REQUEST_ID.fullmatch(name) else None
