"""A circuit breaker around a dependency: stops what leans on it while it is away, and asks by itself when it is back.

It is asked with a harmless question of its own, never with a message: an outage may cost a message no more than the
two receives that begin and end it.
"""

import threading
from collections.abc import Callable
from enum import Enum

from workers import catalogue, clock
from workers.clock import jittered
from workers.logs import logger
from workers.metrics import Metrics

#: By which share the pause between two probes is made longer or shorter, so that a fleet does not ask in step.
PROBE_JITTER = 0.5
#: How often whoever waits for the dependency looks whether the process stops, in seconds.
STOP_LOOK_S = 0.2
#: How long a message waits for the verdict on its dependency, in seconds: a probe has a shorter timeout.
VERDICT_S = 20.0
_log = logger(__name__)


class State(Enum):
    """What is known of the dependency."""

    THERE = "there"
    SUSPECT = "suspect"  # something failed; the probe that decides is under way
    AWAY = "away"


class Breaker:
    """Closed (current flows) while the dependency is there.

    A failure makes it suspect: nothing new begins, and a thread of its own asks at once. One answer is enough to go
    on, as after a single broken connection; without one the dependency is away until a probe is answered.
    """

    def __init__(
        self,
        dependency: str,
        probe: Callable[[], object],
        metrics: Metrics,
        *,
        every_s: float,
        tries: int = 1,
    ) -> None:
        """Keep the probe. It begins as suspect: a process that starts during an outage asks before it takes work.

        Args:
            dependency: its name, for logs and metrics.
            probe: asks; any exception means that it is away. It must have a timeout.
            metrics: the process's metrics.
            every_s: the pause between two probes while it is away, in seconds.
            tries: how many probes in a row must fail before it is away. One is enough for what answers every time;
                what also fails single requests, as a provider on the internet does, is asked again at once.
        """
        self._dependency = dependency
        self._probe = probe
        self._every_s = every_s
        self._tries = tries
        #: Called once per outage, in the breaker's thread; must not wait for anything.
        self.went_away: Callable[[], None] = lambda: None
        #: Called when the dependency has answered after a failure, before work begins; must not wait for anything.
        self.came_back: Callable[[], None] = lambda: None
        self._metrics = metrics
        self._state = State.SUSPECT
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"breaker-{dependency}", daemon=True)

    @property
    def state(self) -> State:
        """What is known of the dependency now."""
        return self._state

    @property
    def is_open(self) -> bool:
        """Whether work may begin: the gate that pollers look at."""
        return self._state is State.THERE

    @property
    def is_away(self) -> bool:
        """Whether it is known not to answer; waits for nothing."""
        return self._state is State.AWAY

    def start(self) -> None:
        """Start the thread that asks."""
        self.thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread; whoever waits for a verdict goes on."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self.thread.is_alive():
            self.thread.join(timeout_s)

    def trouble(self) -> None:
        """Say that the dependency has failed a message."""
        with self._changed:
            if self._state is State.THERE:
                self._set(State.SUSPECT)

    def is_there(self) -> bool:
        """Wait for the verdict where one is pending; return whether the dependency answers."""
        with self._changed:
            self._changed.wait_for(lambda: self._state is not State.SUSPECT or self._stopping.is_set(), VERDICT_S)
            return self._state is State.THERE

    def wait_open(self, stop: threading.Event) -> bool:
        """Wait until work may begin or the process stops; return False when it stops."""
        while not self.is_open and not stop.is_set() and not self._stopping.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self.is_open, STOP_LOOK_S)  # `stop` wakes nobody here
        # Not "and is open": it may have closed again since, which is no reason to end. Who asks looks once more.
        return not stop.is_set() and not self._stopping.is_set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._state is not State.THERE or self._stopping.is_set())
            if not self._stopping.is_set():
                self._ask_until_there()

    def _ask_until_there(self) -> None:
        since = clock.monotonic()
        while not self._answers():
            if self._state is not State.AWAY:
                self._set_away()
            if self._stopping.wait(jittered(self._every_s, PROBE_JITTER)):
                return
        self._call(self.came_back)
        if self._state is State.AWAY:
            _log.warning("dependency is back", dependency=self._dependency, after_s=round(clock.monotonic() - since, 1))
        self._metrics.set(catalogue.BREAKER_OPEN, 0, self._dependency)
        self._set(State.THERE)

    def _answers(self) -> bool:
        return any(self._answers_once() for _ in range(self._tries))

    def _answers_once(self) -> bool:
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001 - whatever it is, the dependency could not answer
            _log.warning("probe failed", dependency=self._dependency, error=type(error).__name__)
            return False
        return True

    def _set_away(self) -> None:
        self._metrics.set(catalogue.BREAKER_OPEN, 1, self._dependency)
        self._set(State.AWAY)
        _log.error("dependency is away: nothing is received until it answers", dependency=self._dependency)
        self._call(self.went_away)

    def _call(self, told: Callable[[], None]) -> None:
        try:
            told()
        except Exception as error:  # noqa: BLE001 - a breaker that dies stops its worker for ever
            _log.error("breaker callback failed", dependency=self._dependency, error=type(error).__name__)

    def _set(self, state: State) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()


class BothThere:
    """A gate that is open while each of two dependencies is there."""

    def __init__(self, first: Breaker, second: Breaker) -> None:
        self._first = first
        self._second = second

    @property
    def is_open(self) -> bool:
        """Whether work may begin."""
        return self._first.is_open and self._second.is_open

    def is_there(self) -> bool:
        """Wait for the verdicts that are pending; return whether both answer."""
        return self._first.is_there() and self._second.is_there()

    def wait_open(self, stop: threading.Event) -> bool:
        """Wait until work may begin or the process stops; return False when it stops."""
        return self._first.wait_open(stop) and self._second.wait_open(stop)
