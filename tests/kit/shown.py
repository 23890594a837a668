"""What metrics show, read one metric at a time: a look through the whole registry for each value would take seconds."""

from workers.catalogue import Kind, Metric
from workers.metrics import Metrics

Shown = dict[tuple[str, ...], float]


def every_series(metrics: Metrics, metric: Metric) -> Shown:
    """Return a metric's series with their values; of a histogram its counts."""
    wanted = f"{metric.name}_count" if metric.kind is Kind.HISTOGRAM else metric.name
    return {
        tuple(sample.labels[label] for label in metric.labels): sample.value
        for family in metrics._parents[metric.name].collect()
        for sample in family.samples
        if sample.name == wanted
    }


def shown(metrics: Metrics, metric: Metric) -> Shown:
    """Return those that are not zero."""
    return {series: value for series, value in every_series(metrics, metric).items() if value}
