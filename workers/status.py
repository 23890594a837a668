"""Role status: the read-only HTTP endpoint with payment views, in the specification's JSON shapes.

Who may read what stands in the authorisation matrix. It is enforced twice: here, and by the database's row-level
security, which every read meets as the person who asks.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts import authority
from contracts.authority import Persona
from contracts.ids import as_uuid
from contracts.payment import Actor, Payment, Role
from contracts.proof import KeysAwayError, Person, Proof, Verifier
from contracts.published import openapi
from contracts.refusals import Refusal
from contracts.views import (
    AuditEntry,
    AuditLog,
    LineItemShown,
    OfficePayment,
    Pagination,
    PaymentDecided,
    PaymentList,
    PaymentShown,
    VendorsPayment,
    approvals_shown,
)
from handlers.authority import as_actor
from store import signed_in
from store.db import Pool
from store.reads import PaymentView
from store.signed_in import Access, Page, Sight, Viewer
from workers import signin
from workers.allowance import PER_MINUTE, Allowance
from workers.health import problem
from workers.signin import DeniedError

ONE, AUDIT = "GET /payments/{id}", "GET /payments/{id}/audit"
PENDING, FLAGGED = "GET /payments/pending", "GET /payments/flagged"

_TITLES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 503: "Service Unavailable"}
_DETAILS = {
    401: "Sign in, and send an access token as `Authorization: Bearer …`.",
    403: "Your role may not read this.",
    404: "There is no such payment.",
}
_CODES = {403: Refusal.FORBIDDEN_ROLE, 404: Refusal.NOT_FOUND}
#: What a browser or a proxy must not keep.
_NO_STORE = {"Cache-Control": "no-store"}


class BadRequestError(Exception):
    """The request cannot be understood; the text says what is wrong with it."""


class Asked(NamedTuple):
    """One read by somebody who is known."""

    request: Request
    sight: Sight
    person: Person
    actor: Actor
    object_id: UUID | None


Read = Callable[[Asked], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Door:
    """Lets in who may read, tells who may not, and puts that on record."""

    pool: Pool
    verifier: Verifier
    skew: timedelta
    allowance: Allowance
    flawed: Callable[[str], None]

    def route(self, path: str, operation: str, read: Read) -> Route:
        """Return a route; GET (and HEAD) only, everything else is 405."""

        def answer(request: Request) -> Response:
            try:
                return self._answered(operation, read, request)
            except BadRequestError as error:
                return problem(400, _TITLES[400], str(error), _NO_STORE)
            except KeysAwayError:
                return problem(503, _TITLES[503], "Tokens cannot be verified now. Try again.", _NO_STORE)

        return Route(path, answer, methods=["GET"])

    def _answered(self, operation: str, read: Read, request: Request) -> Response:
        try:
            person = signin.person(request, self.verifier, self.skew)
        except DeniedError as denied:
            return self._turned_away(operation, denied)
        object_id = _object_id(request)
        with signed_in.seeing(self.pool, Viewer(person.subject, person.groups)) as sight:
            actor = as_actor(person, sight.membership())
            try:
                _may_ask(operation, actor)
                return JSONResponse(read(Asked(request, sight, person, actor, object_id)), headers=_NO_STORE)
            except DeniedError as denied:
                # Before the answer is given: who cannot be recorded is not told anything either.
                sight.record(_access(operation, denied, person, object_id))
                return _denied(denied)

    def _turned_away(self, operation: str, denied: DeniedError) -> Response:
        if denied.flaw:
            self.flawed(denied.flaw)
        # Anybody can send a token that is none, or has expired, and the record is never pruned: so much of it a minute.
        if denied.code and self.allowance.take():
            signed_in.record(self.pool, _access(operation, denied, denied.person, None))
        return _denied(denied)


def routes(
    pool: Pool,
    verifier: Verifier,
    skew: timedelta,
    denials_per_minute: int = PER_MINUTE,
    *,
    flawed: Callable[[str], None] = lambda _flaw: None,
) -> list[Route]:
    """Return the payment views; GET (and HEAD) only, everything else is 405.

    Args:
        pool: the database, as a member of the reading role.
        verifier: whose tokens they are.
        skew: how far the clocks of this process and of the token's issuer may be apart.
        denials_per_minute: how many reads with tokens that do not hold are put on record in a minute.
        flawed: is told why a token proves nobody.
    """
    door = Door(pool, verifier, skew, Allowance(denials_per_minute), flawed)
    return [
        Route("/openapi.json", _document, methods=["GET"]),
        door.route("/payments/pending", PENDING, _pending),
        door.route("/payments/flagged", FLAGGED, _flagged),
        door.route("/payments/{payment_id}", ONE, _payment),
        door.route("/payments/{payment_id}/audit", AUDIT, _audit),
    ]


def _document(_request: Request) -> Response:
    return JSONResponse(openapi.document())


def _payment(asked: Asked) -> dict[str, Any]:
    view = _seen(ONE, asked)
    lines = tuple(LineItemShown.model_validate(line) for line in view.lines)
    if _persona(asked, view.payment) is Persona.VENDOR_OWN:
        return VendorsPayment(payment=PaymentShown.of(view.payment), line_items=lines).wire()
    approvals = approvals_shown(asked.sight.approvals(view.payment.payment_id))
    return OfficePayment(payment=PaymentDecided.of(view.payment), line_items=lines, approvals=approvals).wire()


def _audit(asked: Asked) -> dict[str, Any]:
    payment_id = _seen(AUDIT, asked).payment.payment_id
    entries = tuple(AuditEntry.model_validate(row) for row in asked.sight.audit(payment_id))
    asked.sight.record(Access(AUDIT, None, asked.actor.id, payment_id, _kept(asked.person)))
    return AuditLog(payment_id=payment_id, entries=entries).wire()


def _pending(asked: Asked) -> dict[str, Any]:
    page = _page(asked.request)
    return _listed(asked.sight.pending(_and_one(page), _company(asked.actor)), page)


def _flagged(asked: Asked) -> dict[str, Any]:
    page = _page(asked.request)
    return _listed(asked.sight.flagged(_and_one(page), _company(asked.actor)), page)


def _company(actor: Actor) -> UUID | None:
    """Return whose payments a list is of; None for all."""
    return actor.company_id if actor.role is Role.DISPATCHER else None


def _and_one(page: Page) -> Page:
    """Return the page and one more, which tells whether there is another page."""
    return replace(page, limit=page.limit + 1)


def _listed(found: list[Payment], page: Page) -> dict[str, Any]:
    payments, more = found[: page.limit], len(found) > page.limit
    pagination = Pagination(
        limit=page.limit,
        offset=page.offset,
        count=len(payments),
        next_cursor=_cursor(payments[-1]) if more else None,
    )
    return PaymentList.of(payments, pagination).wire()


# -- who may


def _may_ask(operation: str, actor: Actor) -> None:
    """Deny what this actor may not ask of anything, not even of what is theirs.

    Raises:
        DeniedError: 403.
    """
    own = authority.persona(actor, company_id=actor.company_id, vendor_id=actor.vendor_id)
    of_one = operation in {ONE, AUDIT}
    if actor.role is None or not of_one:
        _demand(authority.status(operation, own))


def _seen(operation: str, asked: Asked) -> PaymentView:
    """Return the payment, in so far as it is the reader's to see.

    Raises:
        BadRequestError: it cannot be a payment's id.
        DeniedError: 404 where it is not there, or somebody else's: nobody can tell which. 403 where it is their own,
            and this is not for them.
    """
    if asked.object_id is None:
        raise BadRequestError("The payment id is not a UUID.")
    view = asked.sight.payment(asked.object_id)
    if view is None:
        raise DeniedError(404, Refusal.NOT_FOUND)
    _demand(authority.status(operation, _persona(asked, view.payment)))
    return view


def _persona(asked: Asked, payment: Payment) -> Persona:
    return authority.persona(asked.actor, company_id=payment.company_id, vendor_id=payment.vendor_id)


def _demand(status: int) -> None:
    if status in _CODES:
        raise DeniedError(status, _CODES[status])


def _access(operation: str, denied: DeniedError, person: Person | None, object_id: UUID | None) -> Access:
    proof = _kept(person) if person else {"flaw": denied.flaw}
    return Access(operation, denied.code, person.subject if person else None, object_id, proof)


def _kept(person: Person) -> dict[str, Any]:
    """Return what is kept of a token that proves somebody."""
    return Proof("", b"", who=person).record()


def _denied(denied: DeniedError) -> Response:
    # RFC 6750, section 3.1: a token that is refused is told so, the lack of one is not.
    scheme = 'Bearer error="invalid_token"' if denied.code else "Bearer"
    challenge = {"WWW-Authenticate": scheme} if denied.status == 401 else {}  # noqa: PLR2004 - Unauthorized
    return problem(denied.status, _TITLES[denied.status], _DETAILS[denied.status], {**_NO_STORE, **challenge})


# -- what is asked for

PAGE_DEFAULT = openapi.PAGE_DEFAULT
PAGE_MAX = openapi.PAGE_MAX
OFFSET_MAX = openapi.OFFSET_MAX
_CURSOR = re.compile(openapi.CURSOR_PATTERN)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _object_id(request: Request) -> UUID | None:
    return as_uuid(request.path_params.get("payment_id"))


def _page(request: Request) -> Page:
    limit = _number(request, "limit", PAGE_DEFAULT, low=1, high=PAGE_MAX)
    offset = _number(request, "offset", 0, low=0, high=OFFSET_MAX)
    return Page(limit, offset, _after(request))


def _number(request: Request, name: str, default: int, *, low: int, high: int) -> int:
    text = _once(request, name)
    if text is None:
        return default
    # isascii: isdigit alone takes digits of every script
    if text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high:
        return int(text)
    raise BadRequestError(f"{name} is a whole number, {low} to {high}.")


def _once(request: Request, name: str) -> str | None:
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise BadRequestError(f"{name} is there more than once.")
    return values[0] if values else None


def _cursor(payment: Payment) -> str:
    """Return where the next page begins: after this payment, by its time in microseconds since 1970 and its id."""
    return f"{(payment.created_at - _EPOCH) // timedelta(microseconds=1):016d}.{payment.payment_id}"


def _after(request: Request) -> tuple[datetime, UUID] | None:
    text = _once(request, "cursor")
    if text is None:
        return None
    if not _CURSOR.fullmatch(text):
        raise BadRequestError("cursor is none that an answer has given.")
    microseconds, _, number = text.partition(".")
    return _EPOCH + timedelta(microseconds=int(microseconds)), UUID(number)
