"""Rings for the relay after commits, from a thread of its own: handlers only set a flag, and rings are few."""

import threading

from store.wakeup import Bell, Ear
from workers.logs import logger

#: How long a stop waits for a ring that is under way, in seconds.
STOP_S = 5.0
_log = logger(__name__)


class Ringer:
    """Turns any number of commits into at most one NOTIFY per interval."""

    def __init__(self, bell: Bell, every_s: float) -> None:
        self._bell = bell
        self._every_s = every_s
        self._rung_for = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ringer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def committed(self) -> None:
        """Say that something was left in the outbox; costs the caller nothing."""
        self._rung_for.set()

    def stop(self) -> None:
        """End the thread and close its connection; a ring that hangs is left to end with the process."""
        self._stop.set()
        self._rung_for.set()
        self._thread.join(STOP_S)
        if not self._thread.is_alive():
            self._bell.close()

    @property
    def thread(self) -> threading.Thread:
        """The thread, for whoever watches over threads."""
        return self._thread

    def _run(self) -> None:
        while not self._stop.is_set():
            self._rung_for.wait()
            self._rung_for.clear()
            if not self._rung():
                _log.warning("relay not notified; it polls")
                self._stop.wait(1.0)
            self._stop.wait(self._every_s)

    def _rung(self) -> bool:
        try:
            return self._bell.ring()
        except Exception as error:  # noqa: BLE001 - the relay polls; a worker does not end for want of a bell
            _log.warning("ring failed", error=type(error).__name__)
            return False


def nap(ear: Ear, stop: threading.Event, seconds: float) -> None:
    """Wait until the bell rings, or for a while; where nothing can be heard, until the stop event or for a while."""
    if ear.wait(seconds) is None:
        stop.wait(seconds)
