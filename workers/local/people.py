"""The people of the demo and of the README: a company's back office, an admin, and a stranger."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from contracts.ids import derive
from contracts.payment import Role

#: The demo's company, and another one that it is no business of.
COMPANY, OTHER_COMPANY = derive("demo", "company"), derive("demo", "other company")


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """Somebody whom the demo makes a member."""

    name: str
    role: Role
    company_id: UUID | None = None

    @property
    def subject(self) -> UUID:
        """The `sub` of their tokens."""
        return derive("demo", "person", self.name)


DISPATCHER = DemoPerson("dispatcher", Role.DISPATCHER, COMPANY)
COLLEAGUE = DemoPerson("colleague", Role.DISPATCHER, COMPANY)
STRANGER = DemoPerson("stranger", Role.DISPATCHER, OTHER_COMPANY)
ADMIN = DemoPerson("admin", Role.ADMIN)
#: By the names that `payments token` takes.
PEOPLE: Mapping[str, DemoPerson] = {one.name: one for one in (DISPATCHER, COLLEAGUE, STRANGER, ADMIN)}
