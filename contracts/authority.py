"""Who may do what: the authorisation matrix, as data. What has no row is denied.

The matrix is `authorisation.csv` beside this file: an operation per row, a persona per column. A command's cell is
`accepted` or the code of its refusal, a read's cell the HTTP status of its answer. `invalid` cannot be: the kind is not
taken from the queue that this persona can reach. `-` does not apply.
"""

import csv
from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files
from types import MappingProxyType
from uuid import UUID

from contracts.payment import Actor, ActorType, Role
from contracts.refusals import Refusal

ACCEPTED = "accepted"


class Persona(StrEnum):
    """Somebody as seen from the object that they want to see or change."""

    ANONYMOUS = "anonymous"
    VENDOR_OWN = "vendor_own"
    VENDOR_OTHER = "vendor_other"
    DISPATCHER_OWN = "dispatcher_own"
    DISPATCHER_OTHER = "dispatcher_other"
    ADMIN = "admin"
    NOBODY = "nobody"  # a person without an enabled membership, or whose token narrows it to nothing
    SERVICE = "service"  # the IAM role that is configured for the kind, without a person
    OPERATOR = "operator"  # an operator's IAM role, without a person


def _read() -> Mapping[str, Mapping[Persona, str]]:
    text = files("contracts").joinpath("authorisation.csv").read_text()
    rows = csv.DictReader(text.splitlines())
    return {row["operation"]: MappingProxyType({who: row[who] for who in Persona}) for row in rows}


#: What each persona's try of each operation ends with.
MATRIX: Mapping[str, Mapping[Persona, str]] = MappingProxyType(dict(_read()))


def persona(actor: Actor, *, company_id: UUID | None, vendor_id: UUID | None) -> Persona:
    """Return what an actor is to an object of this company and vendor; what has no company is nobody's but admins'."""
    if actor.type is ActorType.SYSTEM:
        return Persona.SERVICE
    match actor.role:
        case Role.ADMIN:
            return Persona.ADMIN
        case Role.DISPATCHER:
            own = company_id is not None and actor.company_id == company_id
            return Persona.DISPATCHER_OWN if own else Persona.DISPATCHER_OTHER
        case Role.VENDOR:
            own = vendor_id is not None and actor.vendor_id == vendor_id
            return Persona.VENDOR_OWN if own else Persona.VENDOR_OTHER
        case None:
            return Persona.NOBODY


def refusal(kind: str, who: Persona) -> Refusal | None:
    """Return why a persona's command of this kind is refused, or None where it is accepted; deny by default."""
    cell = MATRIX.get(kind, {}).get(who, Refusal.FORBIDDEN_ROLE)
    return None if cell == ACCEPTED else Refusal(cell)


def status(read: str, who: Persona) -> int:
    """Return the HTTP status of a persona's read; deny by default.

    `200 without it` is a list that this persona sees, but not the object in question.
    """
    cell = MATRIX.get(read, {}).get(who, "403")
    return int(cell.split()[0])
