"""From a request to its answer: who asks, which key, what the plan spoils, and only then the books."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from workers.sandbox import refusals, routes
from workers.sandbox.books import AccountState, Books, Draft
from workers.sandbox.forms import Form, nested
from workers.sandbox.objects import Origin, new_id
from workers.sandbox.plan import EARLY, Fault, Outage, Plan, Strike, Switches
from workers.sandbox.refusals import Refusal
from workers.sandbox.routes import Call
from workers.sandbox.tables import Row, Table

#: How long a key may be.
KEY_CHARS_MAX = 255
_PROXY_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"
_JSON = "application/json"
_TEST_KEYS = ("sk_test_", "rk_test_")


class Fate(Enum):
    """What becomes of an answer on its way."""

    WHOLE = auto()
    CUT = auto()
    RESET = auto()


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came: header names in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and what becomes of it on its way."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = _JSON
    fate: Fate = Fate.WHOLE


@dataclass(frozen=True, slots=True)
class _Posted:
    """A POST whose key is ours to use."""

    request_id: str
    key: str
    path: str
    fingerprint: str
    strike: Strike


class Api:
    """Answers requests as Stripe would. Safe to use from many threads.

    Args:
        books: what it knows.
        plan: what goes wrong.
        switches: what goes wrong with everything.
        pause: waits for some seconds; returns True when the provider stops meanwhile.
        api_key: the only key that it accepts; without one, any of test mode.
    """

    def __init__(
        self, books: Books, plan: Plan, switches: Switches, pause: Callable[[float], bool], api_key: str | None = None
    ) -> None:
        self._books = books
        self._plan = plan
        self._switches = switches
        self._pause = pause
        self._api_key = api_key
        self._in_flight: set[str] = set()

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request, whatever it is."""
        request_id = new_id("req")
        try:
            answer = self._answer(request, request_id)
        except Refusal as refusal:
            answer = _refused(refusal)
        return replace(answer, headers={"Request-Id": request_id, **answer.headers})

    def _answer(self, request: Request, request_id: str) -> Answer:
        if self._switches.outage is Outage.RESET:
            return _LOST
        if self._switches.outage is Outage.UNAVAILABLE:
            raise refusals.unavailable()
        self._authorise(request)
        self._books.prune()
        strike = self._plan.draw(request.method)
        if strike.fault in EARLY:
            return self._early(strike.fault, request)
        try:
            answer = (
                self._post(request, request_id, strike) if request.method == "POST" else self._read(request, strike)
            )
        except Refusal as refusal:
            answer = _refused(refusal)
        return self._spoilt(answer, strike)

    def _authorise(self, request: Request) -> None:
        key = _credentials(request.headers.get("authorization", ""))
        if not key:
            raise Refusal(
                401, "You did not provide an API key. You need to provide your API key in the Authorization header."
            )
        accepted = key == self._api_key if self._api_key else key.startswith(_TEST_KEYS)
        if self._switches.unauthorized or not accepted:
            raise Refusal(401, f"Invalid API Key provided: {key[:8]}{'*' * 12}")

    def _early(self, fault: Fault | None, request: Request) -> Answer:
        assert fault is not None  # noqa: S101 - for the type checker; the caller looked
        self._plan.struck(fault)
        match fault:
            case Fault.RATE_LIMITED:
                return _refused(refusals.rate_limited())
            case Fault.LOCK_TIMEOUT:
                return _with(_refused(refusals.locked()), "Stripe-Should-Retry", "true")
            case Fault.IN_USE:
                return _refused(refusals.in_use(request.headers.get("idempotency-key", "")))
            case Fault.UNAVAILABLE:
                return _refused(refusals.unavailable())
            case _:
                return _LOST

    def _wait(self, strike: Strike) -> bool:
        """Wait as long as a strike says; return whether the provider stops meanwhile."""
        assert strike.fault is not None  # noqa: S101 - for the type checker; the caller looked
        self._plan.struck(strike.fault)
        low, high = self._plan.slow_s
        return self._pause(low + (high - low) * strike.share if strike.fault is Fault.SLOW else self._plan.timeout_s)

    def _spoilt(self, answer: Answer, strike: Strike) -> Answer:
        match strike.fault:
            case Fault.LOST_AFTER:
                spoilt = replace(answer, fate=Fate.RESET)
            case Fault.CUT_OFF:
                spoilt = replace(answer, fate=Fate.CUT)
            case Fault.GARBLED if strike.share < 0.5:  # noqa: PLR2004 - half of them
                spoilt = Answer(502, _PROXY_PAGE, content_type="text/html")
            case Fault.GARBLED:
                spoilt = replace(answer, body=answer.body[: len(answer.body) // 2])
            case _:
                return answer
        self._plan.struck(strike.fault)
        return spoilt

    # -- GET

    def _read(self, request: Request, strike: Strike) -> Answer:
        if strike.fault in {Fault.SLOW, Fault.TIMEOUT} and self._wait(strike):
            return _LOST
        if strike.fault is Fault.ERROR_BEFORE:
            self._plan.struck(strike.fault)
            raise refusals.broken()
        pattern, name = routes.match(request.method, request.path)
        call = self._call(request, name, nested(request.query))
        return _answered(200, routes.read(pattern, call))

    def _call(self, request: Request, name: str, values: Mapping[str, Any]) -> Call:
        account = request.headers.get("stripe-account", "")
        if account and self._books.account_state(account) is AccountState.MISSING:
            raise refusals.no_access(account)
        return Call(self._books, account, name, request.path, Form(values))

    # -- POST

    def _post(self, request: Request, request_id: str, strike: Strike) -> Answer:
        pattern, name = routes.match(request.method, request.path)
        values = nested(request.body) | nested(request.query)
        key = request.headers.get("idempotency-key", "")
        if len(key) > KEY_CHARS_MAX:
            raise Refusal(400, f"Idempotency keys are at most {KEY_CHARS_MAX} characters long.")
        posted = _Posted(request_id, key, request.path, _fingerprint(request.path, values), strike)
        with self._claimed(key):
            if strike.fault in {Fault.SLOW, Fault.LATE} and self._wait(strike):
                return _LOST
            answer = self._remembered(posted)
            if answer is None:
                answer = self._execute(posted, routes.prepare(pattern, self._call(request, name, values)))
            # Done, and still the key is taken: whoever tries again meanwhile is told so.
            return _LOST if strike.fault is Fault.TIMEOUT and self._wait(strike) else answer

    @contextmanager
    def _claimed(self, key: str) -> Iterator[None]:
        if not key:
            yield
            return
        with self._books.lock:
            if key in self._in_flight:
                raise refusals.in_use(key)
            self._in_flight.add(key)
        try:
            yield
        finally:
            with self._books.lock:
                self._in_flight.discard(key)

    def _remembered(self, posted: _Posted) -> Answer | None:
        first = self._books.key(posted.key) if posted.key else None
        if first is None:
            return None
        if first["fingerprint"] != posted.fingerprint:
            raise refusals.other_request(posted.key, first["path"] if first["path"] != posted.path else None)
        answer = _with(_answered(first["status"], first["body"]), "Idempotent-Replayed", "true")
        return _with(answer, "Original-Request", first["request_id"])

    def _execute(self, posted: _Posted, work: routes.Work) -> Answer:
        """Do what is left to do, and remember the answer under the key in the same change."""
        draft = Draft(Origin(posted.request_id, posted.key or None))
        with self._books.lock:
            try:
                body, status = self._worked(posted.strike, work, draft), 200
            except Refusal as refusal:
                if refusal.status < 500:  # noqa: PLR2004 - what the fault of `error_after` made is kept
                    draft.writes.clear()
                body, status = refusal.body, refusal.status
            if posted.key:
                draft.put(Table.KEYS, self._memory(posted, status, body), posted.key)
            self._books.commit(draft)
        return _answered(status, body)

    def _worked(self, strike: Strike, work: routes.Work, draft: Draft) -> Row:
        if strike.fault in {Fault.ERROR_BEFORE, Fault.INSUFFICIENT}:
            self._plan.struck(strike.fault)
            raise refusals.broken() if strike.fault is Fault.ERROR_BEFORE else refusals.insufficient()
        body = work(draft)
        if strike.fault is Fault.ERROR_AFTER:
            self._plan.struck(strike.fault)
            raise refusals.broken()
        return body

    def _memory(self, posted: _Posted, status: int, body: Row) -> Row:
        return {
            "path": posted.path,
            "fingerprint": posted.fingerprint,
            "request_id": posted.request_id,
            "status": status,
            "body": body,
            "created": self._books.clock.timestamp(),
        }


def _answered(status: int, body: Row) -> Answer:
    # The SDK does not repeat what the key would only replay.
    headers = {"Stripe-Should-Retry": "false"} if status == 500 else {}  # noqa: PLR2004 - the status says it
    return Answer(status, json.dumps(body, separators=(",", ":")).encode(), headers)


def _refused(refusal: Refusal) -> Answer:
    return _answered(refusal.status, refusal.body)


def _with(answer: Answer, name: str, value: str) -> Answer:
    return replace(answer, headers={**answer.headers, name: value})


def _fingerprint(path: str, values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([path, values], sort_keys=True).encode()).hexdigest()


def _credentials(header: str) -> str:
    """Return the key of an Authorization header: a bearer's, or the user name that curl sends."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    try:
        return base64.b64decode(rest, validate=True).decode().partition(":")[0] if scheme.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        return ""


_LOST = Answer(503, b"", fate=Fate.RESET)
