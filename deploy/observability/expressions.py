"""PromQL put together from the metric catalogue: no metric name and no edge of a bucket is written by hand."""

from collections.abc import Iterable

from prometheus_client.utils import floatToGoString

from workers.catalogue import Metric


class NoSuchEdgeError(Exception):
    """A histogram has no bucket that ends there, so that nothing can be counted up to it."""


def edge(metric: Metric, bound: float) -> str:
    """Return a bucket's label `le` as our processes write it: `60.0`, not `60`, which would match nothing.

    Raises:
        NoSuchEdgeError: no bucket ends there.
    """
    if bound not in metric.buckets:
        raise NoSuchEdgeError(f"{metric.name} has no bucket that ends at {bound:g}: its edges are {metric.buckets}")
    text: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
    return text


def equal(label: str, value: str) -> str:
    """Return a matcher: the label is this value."""
    return f'{label}="{value}"'


def unlike(label: str, value: str) -> str:
    """Return a matcher: the label is not this value."""
    return f'{label}!="{value}"'


def among(label: str, values: Iterable[str]) -> str:
    """Return a matcher: the label is one of these values, none of which holds a sign that is special in RE2."""
    return f'{label}=~"{"|".join(values)}"'


def none_of(label: str, values: Iterable[str]) -> str:
    """Return a matcher: the label is none of these values."""
    return f'{label}!~"{"|".join(values)}"'


def like(label: str, pattern: str) -> str:
    """Return a matcher: the whole label fits this pattern of RE2."""
    return f'{label}=~"{pattern}"'


def series(name: str, *matchers: str, window: str = "") -> str:
    """Return a selector, over a window where one is given."""
    chosen = f"{{{','.join(matchers)}}}" if matchers else ""
    return f"{name}{chosen}{f'[{window}]' if window else ''}"


def risen(name: str, window: str, *matchers: str) -> str:
    """Return by how much a counter rose over a window."""
    return f"increase({series(name, *matchers, window=window)})"


def rate(name: str, window: str, *matchers: str) -> str:
    """Return how fast a counter rose over a window, per second."""
    return f"rate({series(name, *matchers, window=window)})"


def labelled(expression: str, label: str, value: str) -> str:
    """Return the expression with a label set on all it yields: an aggregate has none, and a join needs one."""
    return f'label_replace({expression}, "{label}", "{value}", "", "")'


def count_of(histogram: Metric) -> str:
    """Return the name of a histogram's count."""
    return f"{histogram.name}_count"


def bucket_of(histogram: Metric) -> str:
    """Return the name of a histogram's buckets."""
    return f"{histogram.name}_bucket"
