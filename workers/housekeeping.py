"""The relay's housekeeper: prunes inbox and outbox from a thread of its own, in small batches."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from store import housekeeping
from store.db import Pool, StoreFault, Transient
from workers import catalogue
from workers.clock import jittered
from workers.logs import logger
from workers.metrics import Metrics

#: Between two batches, so that pruning never takes more than a share of the database.
PAUSE_S = 0.05
#: By which share the interval is made longer or shorter, so that relays do not march in step.
INTERVAL_JITTER = 0.2
#: How long a stop waits for the batch that is under way, in seconds: more than a statement may take.
STOP_S = 15.0
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """How long rows are kept, and how they are pruned.

    Attributes:
        keep_inbox: from a message's first handling.
        keep_outbox: from an event's publication.
        every_s: from the end of one run to the beginning of the next, in seconds, give or take a fifth.
        batch: the most rows that one transaction deletes.
    """

    keep_inbox: timedelta = timedelta(days=120)
    keep_outbox: timedelta = timedelta(days=30)
    every_s: float = 600
    batch: int = 500


class Housekeeper:
    """Prunes at its start and then at intervals, until the stop event; `run_once` is one run."""

    def __init__(self, pool: Pool, options: PruneOptions, metrics: Metrics, stop: threading.Event) -> None:
        self._pool = pool
        self._options = options
        self._metrics = metrics
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)

    @property
    def thread(self) -> threading.Thread:
        """The thread, for whoever watches over threads."""
        return self._thread

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self) -> None:
        """Wait, after the stop event, for the batch that is under way; one that hangs is left to the database."""
        self._thread.join(STOP_S)

    def run_once(self) -> Mapping[str, int]:
        """Delete all that is old enough, and write one log line; return the number of rows by table.

        A database that is away, or refuses, ends the work on its table; the next run takes it up again.
        """
        pruned = {
            "message_inbox": self._prune("message_inbox", housekeeping.prune_inbox, self._options.keep_inbox),
            "outbox": self._prune("outbox", housekeeping.prune_outbox, self._options.keep_outbox),
        }
        _log.info("pruned", **pruned)
        return pruned

    def _prune(self, table: str, prune: Callable[[Pool, timedelta, int], int], older_than: timedelta) -> int:
        total = 0
        while not self._stop.is_set():
            try:
                deleted = prune(self._pool, older_than, self._options.batch)
            except Transient as trouble:
                _log.warning("pruning postponed", table=table, error=str(trouble))
                break
            except StoreFault as trouble:
                _log.error("pruning refused", table=table, error=str(trouble))
                break
            self._metrics.inc(catalogue.PRUNED, table, by=deleted)
            total += deleted
            if deleted < self._options.batch:
                break
            self._stop.wait(PAUSE_S)
        return total

    def _run(self) -> None:
        while not self._stop.is_set():
            self.run_once()
            self._stop.wait(jittered(self._options.every_s, INTERVAL_JITTER))
