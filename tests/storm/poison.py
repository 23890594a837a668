"""Bodies that are no messages: each with the reason that its dead letter must bear; made of an id and sound work."""

import json
from collections.abc import Callable, Mapping
from typing import Any


def _work(**changes: Any) -> Callable[[str, str], str]:
    """Return finished work of which the envelope is changed; `...` removes a field."""

    def make(_serial: str, body: str) -> str:
        changed = {**json.loads(body), **changes}
        return json.dumps({name: value for name, value in changed.items() if value is not ...})

    return make


def _detail(**changes: Any) -> Callable[[str, str], str]:
    """Return finished work of which the detail is changed; `...` removes a field."""

    def make(serial: str, body: str) -> str:
        changed = {**json.loads(body)["detail"], **changes}
        detail = {name: value for name, value in changed.items() if value is not ...}
        return _work(detail=detail)(serial, body)

    return make


def _order(serial: str, _body: str) -> str:
    actor = {"id": serial, "type": "system"}
    return json.dumps({"type": "ExecutePayout", "commandId": serial, "attemptId": serial, "check": 0, "actor": actor})


#: By reason, and what tells several of one reason apart: the queue, and how the body is made.
POISONS: Mapping[str, tuple[str, Callable[[str, str], str]]] = {
    "not_json": ("events", lambda serial, _body: f"{{ {serial}"),
    "not_json cut": ("events", lambda _serial, body: body[: len(body) // 2]),
    "not_json constant": ("commands", lambda serial, _body: f'{{"type": "{serial}", "amountCents": NaN}}'),
    "not_an_object": ("commands", lambda serial, _body: json.dumps([serial])),
    "duplicate_key": ("commands", lambda serial, _body: f'{{"type": "{serial}", "type": "ApprovePayment"}}'),
    "too_deep": ("events", lambda serial, _body: '{"a":' * 30 + f'"{serial}"' + "}" * 30),
    "nul_character": ("events", lambda serial, body: _detail(notes=f"{serial}\x00")(serial, body)),
    "lone_surrogate": ("events", lambda serial, body: _detail(notes=f"{serial}\ud800")(serial, body)),
    "bad_number": ("events", lambda serial, body: body[:-1] + f', "serial": "{serial}", "n": {"9" * 60}}}'),
    "missing_kind": ("commands", lambda serial, _body: json.dumps({"commandId": serial})),
    "unknown_kind": ("commands", lambda serial, _body: json.dumps({"type": "PayMe", "commandId": serial})),
    "unknown_kind event": ("events", _work(**{"detail-type": "WorkBegun"})),
    "wrong_queue order": ("commands", _order),
    "wrong_queue work": ("commands", lambda _serial, body: body),
    "unknown_source": ("events", _work(source="roadcall.nobody")),
    "unknown_version": ("events", _detail(version="2.0")),
    "bad_key": ("events", lambda serial, body: _work(id=...)(serial, _detail(eventId=...)(serial, body))),
    "schema": ("events", _detail(incidentId=...)),
    "schema price": ("events", _detail(lineItems="free")),
    "too_large": ("events", lambda serial, body: _detail(notes=serial * 8_000)(serial, body)),
}
