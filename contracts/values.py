"""Values: dataclasses that nobody changes, at half of their price.

A frozen dataclass assigns each of its fields through `object.__setattr__`, and a message makes some two hundred of
them: a tenth of all Python that it costs. Type checkers see `dataclasses.dataclass` here, and hold `frozen=True` as
ever; at run time the class is made without that guard, and with the hash and the equality that it would have had.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool, slots: bool = True, **options: Any) -> Any:
        """Return a decorator as `dataclasses.dataclass` does, of a class that is `frozen` for type checkers alone."""
        return dataclasses.dataclass(slots=slots, unsafe_hash=frozen, **options)


__all__ = ["dataclass"]
