"""Who reads: the bearer of an access token (RFC 6750), verified by the same verifier as commands are."""

from datetime import timedelta

from starlette.requests import Request

from contracts.proof import Person, Unproven, Verifier
from contracts.refusals import Refusal
from workers import clock

_SCHEME = "bearer"


class DeniedError(Exception):
    """The read is denied.

    Attributes:
        status: the HTTP status.
        code: why, for `access_audit`; None where that is not recorded.
        person: who it was, where that could be made out.
        flaw: why the token proves nobody.
    """

    def __init__(
        self, status: int, code: Refusal | None, *, person: Person | None = None, flaw: str | None = None
    ) -> None:
        super().__init__()
        self.status = status
        self.code = code
        self.person = person
        self.flaw = flaw


def person(request: Request, verifier: Verifier, skew: timedelta) -> Person:
    """Return whose token the request carries.

    Raises:
        DeniedError: 401, without a code where no token came at all: nobody shall fill the record by asking.
        KeysAwayError: nobody can say.
    """
    headers = request.headers.getlist("authorization")
    if not headers:
        raise DeniedError(401, None)
    scheme, _, token = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != _SCHEME or not token:
        raise DeniedError(401, None)
    found = verifier.verify(token.strip())
    if isinstance(found, Unproven):
        raise DeniedError(401, Refusal.UNAUTHENTICATED, flaw=found.flaw)
    now = clock.now()
    if not found.issued_at - skew <= now <= found.expires_at + skew:
        raise DeniedError(401, Refusal.UNAUTHENTICATED, person=found, flaw="expired")
    return found
