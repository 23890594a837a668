"""The process's metrics: the catalogue's, for one role, on a registry of its own, all of them there from the start."""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client import Metric as Family
from prometheus_client.registry import Collector

from workers import catalogue
from workers.catalogue import AWS_OPERATIONS, CATALOGUE, OTHER, Kind, Metric, Role

Client = TypeVar("Client")
_TYPES: Mapping[Kind, Any] = {Kind.COUNTER: Counter, Kind.GAUGE: Gauge, Kind.HISTOGRAM: Histogram}

# A second series for each counter and histogram, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]


class UnknownSeriesError(LookupError):
    """A metric was given labels that the catalogue does not have, or is not this role's: a bug, found by any test."""


class Metrics:
    """Counts and measures by the catalogue's metrics; safe to share between threads."""

    def __init__(self, role: Role | None = None, *, version: str = "", commit: str = "") -> None:
        """Make every series at zero; gauges of which zero is not known to be true come with their first value.

        Args:
            role: whose metrics; None for those of every role, for tests and tools.
            version: the release that runs.
            commit: what it was built from.
        """
        self.registry = CollectorRegistry()
        self._hooks = _Hooks()
        self.registry.register(self._hooks)  # the first: it brings up to date what the others show
        self._parents: dict[str, Any] = {}
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        for metric in CATALOGUE:
            if role is None or role in metric.roles:
                self._make(metric)
        if role is not None:
            self._parents[catalogue.INFO.name].labels(version, commit, role).set(1)

    def _make(self, metric: Metric) -> None:
        more = {"buckets": metric.buckets} if metric.kind is Kind.HISTOGRAM else {}
        labels = metric.labels
        if not labels and not metric.known:
            # Without labels the library would show a zero at once.
            self._parents[metric.name] = late = _Late(metric)
            self.registry.register(late)
        else:
            self._parents[metric.name] = _TYPES[metric.kind](
                metric.name, metric.help, labels, registry=self.registry, **more
            )
        if metric.known:
            for series in metric.series:
                self._child(metric, series)

    def _child(self, metric: Metric, labels: tuple[str, ...]) -> Any:
        key = (metric.name, labels)
        found = self._children.get(key)
        if found is None:
            parent = self._parents.get(metric.name)
            if parent is None or labels not in metric.series:
                raise UnknownSeriesError(f"{metric.name} of {labels}")
            found = self._children[key] = parent.labels(*labels) if labels else parent
        return found

    def inc(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Count.

        Raises:
            UnknownSeriesError: the catalogue has no such series.
        """
        self._child(metric, labels).inc(by)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Say what a gauge shows.

        Raises:
            UnknownSeriesError: the catalogue has no such series.
        """
        self._child(metric, labels).set(value)

    def clear(self, metric: Metric, *labels: str) -> None:
        """Show a gauge no more, until it is set again: nobody knows its value."""
        if self._children.pop((metric.name, labels), None) is not None:
            self._parents[metric.name].remove(*labels)

    def observe(self, metric: Metric, value: float, *labels: str, trace_id: str | None = None) -> None:
        """Measure; an exemplar leads from a bucket to one message's trace.

        Raises:
            UnknownSeriesError: the catalogue has no such series.
        """
        self._child(metric, labels).observe(value, {"trace_id": trace_id} if trace_id else None)

    def value(self, metric: Metric, *labels: str, sample: str = "") -> float | None:
        """Return what is there now, or None; for a histogram `sample` is `_sum` or `_count`."""
        return self.registry.get_sample_value(f"{metric.name}{sample}", dict(zip(metric.labels, labels, strict=True)))

    def before_scrape(self, refresh: Callable[[], None]) -> None:
        """Call a function whenever the metrics are asked for: it sets gauges to what they are now."""
        self._hooks.refreshes.append(refresh)

    def counting(self, client: Client) -> Client:
        """Return a client whose requests are counted from now on."""
        self.count_requests(client)
        return client

    def count_requests(self, client: Any) -> None:
        """Count every request of an AWS client, its own repetitions too, by operation."""

        def sent(event_name: str, **_: Any) -> None:
            operation = event_name.rpartition(".")[2]
            self.inc(catalogue.AWS_REQUESTS, operation if operation in AWS_OPERATIONS else OTHER)

        client.meta.events.register(f"before-send.{client.meta.service_model.service_id.hyphenize()}", sent)


class _Hooks(Collector):
    """Shows nothing itself."""

    def __init__(self) -> None:
        self.refreshes: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Family]:
        return ()

    def collect(self) -> Iterable[Family]:
        with self._lock:  # two scrapes at once would count the same growth twice
            for refresh in self.refreshes:
                refresh()
        return ()


class _Late(Collector):
    """A gauge without labels that is not shown before it is set."""

    def __init__(self, metric: Metric) -> None:
        self._gauge = Gauge(metric.name, metric.help, registry=None)
        self._shown = False

    def describe(self) -> Iterable[Family]:
        return self._gauge.describe()

    def collect(self) -> Iterable[Family]:
        return self._gauge.collect() if self._shown else ()

    def set(self, value: float) -> None:
        self._gauge.set(value)
        self._shown = True
