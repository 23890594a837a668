"""People for whole fleets: members by plain SQL, and real tokens of the stack's own user pool on what they send."""

import json
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from contracts.ids import as_uuid
from workers.local.pools import LocalPool
from workers.sending import Sender

#: Longer than any storm or drill.
LIFETIME = timedelta(hours=6)
#: How long the database may be away, in seconds.
_AWAY_S = 60.0
_ENROL = """
INSERT INTO memberships (sub, role, company_id, vendor_id, enabled, as_of, changed_at, message_key)
VALUES (%(sub)s, %(role)s, %(company)s, %(vendor)s, true, '2000-01-01Z', now(), 'test')
ON CONFLICT (sub) DO UPDATE SET
    role = excluded.role, company_id = excluded.company_id, vendor_id = excluded.vendor_id
"""


class People:
    """Signs what is sent with the token of whom it says it is from, who is a member from then on as it says."""

    def __init__(self, keys_file: str | Path, database_url: str) -> None:
        self._pool = LocalPool(Path(keys_file))
        self._database_url = database_url
        self._tokens: dict[tuple[str, str], str] = {}
        self._members: set[tuple[str, str | None]] = set()
        self._lock = threading.Lock()

    def token(self, subject: str, role: str) -> str:
        """A token of somebody in the group of a role; the same one again for the same person."""
        if (subject, role) not in self._tokens:
            at = datetime.now(UTC) - timedelta(seconds=30)  # the clocks of a storm's processes are apart
            self._tokens[subject, role] = self._pool.mint(UUID(subject), [role], at, lifetime=LIFETIME)
        return self._tokens[subject, role]

    def sender(self, subject: UUID, role: str) -> Sender:
        """A member who sends commands."""
        with self._lock:
            self._enrol({"id": str(subject), "type": "user", "role": role})
            return Sender(subject, self.token(str(subject), role))

    def signed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A command with the token of its actor; what is no person's command stays as it is."""
        actor = person_of(body)
        if actor is None:
            return dict(body)
        with self._lock:
            self._enrol(actor)
            return {**body, "actorToken": self.token(actor["id"], role_of(actor) or "nobody")}

    def text(self, body: str) -> str:
        """A body as it is sent, with a token where it is a person's command."""
        try:
            found = json.loads(body)
        except ValueError:
            return body
        if not isinstance(found, dict) or person_of(found) is None or not body.endswith("}"):
            return body
        # The text itself stays as it is: written anew, a number or a repeated name would be another one.
        return f'{body[:-1]}, "actorToken": "{self.signed(found)["actorToken"]}"}}'

    def _enrol(self, actor: Mapping[str, Any]) -> None:
        known = (actor["id"], actor.get("companyId"))
        deadline = time.monotonic() + _AWAY_S
        while known not in self._members:
            try:
                enrol(self._database_url, [actor])
                self._members.add(known)
            except psycopg.OperationalError:  # a storm also takes Postgres away
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


def person_of(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The person that a command says it is from, as far as it says that in a form that can be anybody's."""
    actor = body.get("actor")
    if not isinstance(actor, dict) or actor.get("type") == "system":
        return None
    role = actor.get("role") or ""
    # A lone surrogate is a text that no token can hold.
    sound = _is_id(actor.get("id")) and isinstance(role, str) and role.isprintable()
    company = actor.get("companyId")
    return actor if sound and isinstance(company, str | None) and _is_id(company or actor["id"]) else None


def _is_id(value: object) -> bool:
    return isinstance(value, str) and as_uuid(value) is not None


def role_of(actor: Mapping[str, Any]) -> str | None:
    """The role that an actor names, or has by its type."""
    return actor.get("role") or ("admin" if actor.get("type") == "admin" else None)


def enrol(database_url: str, actors: Iterable[Mapping[str, Any]]) -> None:
    """Make people members as their commands say, vendors of a vendor of their own; who names no role is no member."""
    with psycopg.connect(database_url) as connection:
        for actor in actors:
            role = role_of(actor)
            company = actor.get("companyId") or (actor["id"] if role == "dispatcher" else None)
            vendor = actor["id"] if role == "vendor" else None
            if role in {"dispatcher", "admin", "vendor"}:
                values = {"sub": actor["id"], "role": role, "company": company, "vendor": vendor}
                connection.execute(_ENROL, values)
