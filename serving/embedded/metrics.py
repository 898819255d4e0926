"""Counters and histograms under TensorFlow Serving's names, in Prometheus's text format.

Prometheus's own client is not used: it appends `_total` to a counter's name, and dashboards for TensorFlow Serving
query the names without it. Source: tensorflow_serving/util/prometheus_exporter.cc; text format 0.0.4.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

BUCKETS = tuple(10 * 1.8**power for power in range(33))
"""Upper bounds in microseconds, the same as TensorFlow Serving's."""


@dataclass
class Counter:
    """A counter for each combination of label values."""

    name: str
    help: str
    labels: tuple[str, ...]
    values: dict[tuple[str, ...], float] = field(default_factory=dict)
    kind: str = "counter"

    def add(self, *labels: str, by: float = 1) -> None:
        """Adds to the count of these label values."""
        self.values[labels] = self.values.get(labels, 0) + by

    def lines(self) -> Iterable[str]:
        """Returns the lines of the exposition."""
        for values, count in sorted(self.values.items()):
            yield _line(self.name, self.labels, values, count)


@dataclass
class Histogram:
    """A histogram of durations in microseconds for each combination of label values."""

    name: str
    help: str
    labels: tuple[str, ...]
    values: dict[tuple[str, ...], list[int]] = field(default_factory=dict)
    sums: dict[tuple[str, ...], float] = field(default_factory=dict)
    kind: str = "histogram"

    def observe(self, *labels: str, microseconds: float) -> None:
        """Records a duration."""
        counts = self.values.get(labels) or self.values.setdefault(labels, [0] * (len(BUCKETS) + 1))
        counts[bisect.bisect_left(BUCKETS, microseconds)] += 1
        self.sums[labels] = self.sums.get(labels, 0.0) + microseconds

    def lines(self) -> Iterable[str]:
        """Returns the lines of the exposition."""
        for values, counts in sorted(self.values.items()):
            total = 0
            for bound, count in zip([*(f"{bound:g}" for bound in BUCKETS), "+Inf"], list(counts), strict=True):
                total += count
                yield _line(self.name + "_bucket", (*self.labels, "le"), (*values, bound), total)
            yield _line(self.name + "_sum", self.labels, values, self.sums[values])
            yield _line(self.name + "_count", self.labels, values, total)


class Metrics:
    """All metrics of the server."""

    def __init__(self) -> None:
        """Creates all metrics without any values."""
        self.requests = Counter(
            ":tensorflow:serving:request_count", "The total number of requests.", ("model_name", "status")
        )
        self.latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Distribution of wall time (in microseconds) for Tensorflow Serving requests.",
            ("model_name", "API", "entrypoint"),
        )
        self.runtime = Histogram(
            ":tensorflow:serving:runtime_latency",
            "Distribution of wall time (in microseconds) for Tensorflow runtime.",
            ("model_name", "API", "runtime"),
        )
        self.examples = Histogram(
            ":tensorflow:serving:request_example_counts", "Distribution of examples in a request.", ("model",)
        )
        self.example_total = Counter(
            ":tensorflow:serving:request_example_count_total", "The total number of examples.", ("model",)
        )
        self.warmups = Histogram(
            ":tensorflow:serving:model_warmup_latency",
            "Distribution of wall time (in microseconds) for warming up the model.",
            ("model_path", "status"),
        )
        self.logged = Counter(
            ":tensorflow:serving:request_log_count",
            "The total number of logged requests.",
            ("model_name", "status_code"),
        )
        self.queueing = Histogram(
            ":tensorflow:serving:batching_session:queuing_latency",
            "Distribution of wall time (in microseconds) for requests in the batching queue.",
            ("thread_pool_name",),
        )

    def text(self) -> str:
        """Returns all metrics in Prometheus's text format."""
        families: list[Counter | Histogram] = [
            each for each in vars(self).values() if isinstance(each, Counter | Histogram)
        ]
        return exposition(families)


def exposition(families: Sequence[Counter | Histogram]) -> str:
    """Returns the text of some metrics; names and labels that Prometheus does not allow are rewritten."""
    lines = []
    for family in families:
        name = _metric_name(family.name)
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}", *family.lines()]
    return "\n".join(lines) + "\n"


def _line(name: str, labels: Sequence[str], values: Sequence[str], number: float) -> str:
    pairs = ",".join(f'{_label_name(label)}="{_escaped(value)}"' for label, value in zip(labels, values, strict=True))
    return f"{_metric_name(name)}{{{pairs}}} {number:.17g}"


def _metric_name(name: str) -> str:
    """`0/path-total_count` becomes `_0:path:total_count`."""
    clean = re.sub(r"[^a-zA-Z0-9_:]", ":", name)
    return "_" + clean if clean[:1].isdigit() else clean


def _label_name(name: str) -> str:
    clean = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return "_" + clean if clean[:1].isdigit() else clean


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
