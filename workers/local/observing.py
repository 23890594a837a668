"""`payments observe`: the local fleet under the eyes of a real Prometheus, and what it has seen so far."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from workers import catalogue, clock
from workers.local import prometheus
from workers.local.fleet import Fleet
from workers.local.prometheus import Prometheus

#: How long Prometheus may take to have seen what has happened, in seconds: a few of its scrapes.
SEEN_S = 30.0
_LOOK_EVERY_S = 0.5
_DEPTHS = f'max by (queue, kind) ({catalogue.QUEUE_MESSAGES.name}{{state="visible"}})'
#: What the summary shows, beside the queues.
_FIGURES = {
    "payments created": f"sum({catalogue.CREATED.name})",
    "payments completed": f'sum({catalogue.TRANSITIONS.name}{{to_status="completed"}})',
    "payments failed": f'sum({catalogue.TRANSITIONS.name}{{to_status="failed"}})',
    "waiting for approval": f"sum(max by (payer_type) ({catalogue.PENDING.name}))",
    "critical time, p99": f"histogram_quantile(0.99, sum by (le) ({catalogue.CRITICAL_TIME.name}_bucket))",
    "alerts firing": 'count(ALERTS{alertstate="firing",alertname!="Watchdog"}) or vector(0)',
}
#: When what is known was found, in seconds since 1970: the oldest scrape, and look into tables and queues.
_AS_OF = (
    'min(timestamp(up{job=~"payments-.*"}))',
    f"min({catalogue.TABLES_LAST_SUCCESS.name}{{look='pending'}})",
    f"min({catalogue.QUEUE_LAST_SUCCESS.name})",
)


@dataclass(frozen=True, slots=True)
class Observer:
    """A fleet and the Prometheus that watches it."""

    members: Fleet
    prometheus: Prometheus

    def seen(self, jobs: int) -> bool:
        """Wait until Prometheus sees every process, so many payments, and all as it is now; return whether it does."""
        now, deadline = clock.now().timestamp(), clock.monotonic() + SEEN_S
        while not self._sees(jobs, now):
            if clock.monotonic() > deadline:
                return False
            clock.sleep(_LOOK_EVERY_S)
        return True

    def _sees(self, jobs: int, since: float) -> bool:
        if not self.prometheus.sees(len(self.members.members)):
            return False
        if not all(found and found[0][1] > since for found in map(self.prometheus.ask, _AS_OF)):
            return False
        created = self.prometheus.ask(_FIGURES["payments created"])
        return bool(created and created[0][1] >= jobs and self.prometheus.ask(_DEPTHS))

    def ready(self) -> bool:
        """Wait until every process has been read once: what is counted before nobody sees as an increase."""
        deadline = clock.monotonic() + SEEN_S
        while not self.prometheus.sees(len(self.members.members)):
            if clock.monotonic() > deadline:
                return False
            clock.sleep(_LOOK_EVERY_S)
        return True

    def summary(self) -> Table:
        """Return what Prometheus says."""
        table = Table(title="What Prometheus has seen", show_header=False, title_justify="left")
        for name, query in _FIGURES.items():
            found = self.prometheus.ask(query)
            table.add_row(name, f"{found[0][1]:g}{' s' if 'time' in name else ''}" if found else "not known")
        for labels, value in sorted(self.prometheus.ask(_DEPTHS), key=lambda found: sorted(found[0].items())):
            table.add_row(f"visible in {labels['queue']}, {labels['kind']}", f"{value:g}")
        return table

    def addresses(self) -> Sequence[tuple[str, str]]:
        """Return where to look, for people."""
        return (
            ("status page", f"{self.members.status_url}/"),
            ("console of the queues", self.prometheus.console),
            ("queries", self.prometheus.page("graph")),
            ("alerts", self.prometheus.page("alerts")),
            ("targets", self.prometheus.page("targets")),
        )


@contextmanager
def observed(members: Fleet, data_dir: Path, port: int, say: Callable[[str], None]) -> Iterator[Observer]:
    """Run Prometheus beside a fleet, and stop it at the end.

    Raises:
        LocalStackError: it is not installed, or did not start.
    """
    with ExitStack() as stack:
        found = prometheus.serve(
            stack, data_dir / "prometheus", data_dir / "logs" / "prometheus.log", targets=members.targets, port=port
        )
        say(f"Prometheus listens on {found.url}.")
        yield Observer(members, found)
