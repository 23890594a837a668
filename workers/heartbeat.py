"""The heartbeat of a process: every few seconds it tells the database that it is there, and what troubles it.

It is how the status page and the monitor know of processes that nobody can ask, each on an address of its own.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from store import fleet
from store.db import Pool, StoreFault, Transient
from workers.catalogue import Role
from workers.clock import jittered
from workers.health import NotReadyError
from workers.logs import logger

#: By which share the interval is made longer or shorter, so that a fleet does not write in step.
JITTER = 0.1
#: How long a stop waits for a beat that is under way, in seconds.
STOP_S = 5.0
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a process is: its role and release. Its instance id is made anew at each start."""

    role: Role
    version: str


class Heart:
    """Beats from a thread of its own until `stop`. A database that is away hears nothing."""

    def __init__(self, pool: Pool, who: Identity, every_s: float) -> None:
        """Keep what is told.

        Args:
            pool: the database.
            who: what the process is.
            every_s: the interval, give or take a tenth, in seconds.
        """
        self._pool = pool
        self._who = who
        #: Each raises NotReadyError while the process could not do its work; the text is told. Set before the start.
        self.checks: Sequence[Callable[[], object]] = ()
        self._every_s = every_s
        self._instance = uuid4()
        self._stopped = threading.Event()
        #: Whether the database took the last beat: one that is away would keep the end of the process waiting.
        self._heard = False
        self.thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Start beating."""
        self.thread.start()

    def stop(self, *, well: bool = True) -> None:
        """Stop beating, and say so where the process ends in good order: it is not missed then."""
        self._stopped.set()
        if self.thread.is_alive():
            self.thread.join(STOP_S)
        if not (well and self._heard):
            return
        try:
            fleet.leave(self._pool, self._instance)
        except (Transient, StoreFault) as trouble:
            _log.debug("end not taken", error=type(trouble).__name__)

    def beat(self) -> None:
        """Tell it once; what the database does not take is told with the next beat."""
        try:
            fleet.beat(self._pool, self._instance, self._who.role, self._who.version, self._trouble())
            self._heard = True
        except (Transient, StoreFault) as trouble:
            self._heard = False
            _log.debug("heartbeat not taken", error=type(trouble).__name__)

    def _trouble(self) -> str | None:
        try:
            for check in self.checks:
                check()
        except NotReadyError as trouble:
            return str(trouble)
        return None

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.beat()
            except Exception as error:  # noqa: BLE001 - a heart that stops would look like a process that has
                _log.warning("heartbeat failed", error=type(error).__name__)
            self._stopped.wait(jittered(self._every_s, JITTER))
