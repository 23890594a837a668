"""What the provider says instead of doing what it was asked: Stripe's errors, with their status and code."""

from typing import Any

INVALID = "invalid_request_error"


class Refusal(Exception):
    """A request that is not done; it knows its answer."""

    def __init__(self, status: int, message: str, *, kind: str = INVALID, code: str = "", param: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, Any] = {"message": message, "type": kind}
        if code:
            self.error |= {"code": code, "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"}
        if param:
            self.error["param"] = param

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        return {"error": self.error}


def missing(param: str) -> Refusal:
    """Return the refusal of a request that lacks a parameter."""
    return Refusal(400, f"Missing required param: {param}.", code="parameter_missing", param=param)


def unknown(param: str) -> Refusal:
    """Return the refusal of a parameter that nobody knows."""
    return Refusal(400, f"Received unknown parameter: {param}", code="parameter_unknown", param=param)


def not_an_integer(param: str, value: str, wanted: str = "integer") -> Refusal:
    """Return the refusal of a number that is none, or none of the wanted sort."""
    return Refusal(400, f"Invalid {wanted}: {value}", code="parameter_invalid_integer", param=param)


def no_such(noun: str, name: str, *, param: str = "id", status: int = 404) -> Refusal:
    """Return the refusal of a name that means nothing here."""
    return Refusal(status, f"No such {noun}: '{name}'", code="resource_missing", param=param)


def insufficient() -> Refusal:
    """Return the refusal of a payment that there is no money for."""
    return Refusal(
        400,
        "You have insufficient available funds in your Stripe account.",
        code="balance_insufficient",
    )


def no_access(account: str) -> Refusal:
    """Return the refusal of an account that is not ours to see."""
    return Refusal(
        403,
        f"The provided key does not have access to account '{account}' (or that account does not exist).",
        code="account_invalid",
    )


def in_use(key: str) -> Refusal:
    """Return the refusal of a key whose first request is still being done."""
    return Refusal(
        409,
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted"
        f" twice, and the other request is still going through): {key}. Please try again later.",
        kind="idempotency_error",
        code="idempotency_key_in_use",
    )


def other_request(key: str, path: str | None) -> Refusal:
    """Return the refusal of a key that stood for something else: another endpoint, where `path` names the first."""
    rule = (
        f"for the same endpoint they were first used for ('{path}')"
        if path
        else "with the same parameters they were first used with"
    )
    return Refusal(
        400,
        f"Keys for idempotent requests can only be used {rule}. Try using a key other than '{key}' if you meant to"
        " execute a different request.",
        kind="idempotency_error",
    )


def rate_limited() -> Refusal:
    """Return the refusal of one request too many."""
    return Refusal(429, "Request rate limit exceeded.", code="rate_limit")


def locked() -> Refusal:
    """Return the refusal of a request whose object is held by another one."""
    return Refusal(
        429,
        "This object cannot be accessed right now because another API request or Stripe process is currently"
        " accessing it.",
        code="lock_timeout",
    )


def broken() -> Refusal:
    """Return the provider's own failure."""
    return Refusal(500, "An unknown error occurred.", kind="api_error")


def unavailable() -> Refusal:
    """Return the answer of a provider that takes no requests now."""
    return Refusal(503, "Stripe is currently unavailable. Please try again later.", kind="api_error")
