"""Histograms and counters in Prometheus's format."""

from __future__ import annotations

from itertools import pairwise

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.embedded.metrics import BUCKETS, Counter, Histogram, Metrics, exposition


def test_a_bucket_counts_everything_up_to_its_bound() -> None:
    """The bound belongs to its bucket, buckets are cumulative, and the last one has all observations."""
    histogram = Histogram("duration", "Time.", ("model",))
    for microseconds in (BUCKETS[0], BUCKETS[0] + 1, BUCKETS[1], 1e30):
        histogram.observe("m", microseconds=microseconds)
    (family,) = text_string_to_metric_families(exposition([histogram]))
    counts = {s.labels["le"]: s.value for s in family.samples if s.name == "duration_bucket"}
    assert (counts["10"], counts["18"], counts["+Inf"]) == (1, 3, 4)
    assert {s.name: s.value for s in family.samples if "le" not in s.labels} == {
        "duration_sum": 2 * BUCKETS[0] + 1 + BUCKETS[1] + 1e30,
        "duration_count": 4,
    }


def test_the_text_of_a_histogram_and_a_counter() -> None:
    """Names and labels are made fit for Prometheus, values are escaped, and lines are in the order of the values."""
    counter = Counter("0/path-total_count", "A count.", ("name", "my-name+1"))
    for name in ("b", 'a"\\\n', "b"):
        counter.add(name, "x")
    counter.add("c", "x", by=12345678)
    histogram = Histogram("time", "Seconds.", ("model",))
    histogram.observe("m", microseconds=15)
    histogram.observe("m", microseconds=0.5)
    lines = exposition([counter, histogram]).splitlines()
    assert lines[:6] == [
        "# HELP _0:path:total_count A count.",
        "# TYPE _0:path:total_count counter",
        '_0:path:total_count{name="a\\"\\\\\\n",my_name_1="x"} 1',
        '_0:path:total_count{name="b",my_name_1="x"} 2',
        '_0:path:total_count{name="c",my_name_1="x"} 12345678',
        "# HELP time Seconds.",
    ]
    assert lines[6:9] == [
        "# TYPE time histogram",
        'time_bucket{model="m",le="10"} 1',
        'time_bucket{model="m",le="18"} 2',
    ]
    assert lines[-3:] == ['time_bucket{model="m",le="+Inf"} 2', 'time_sum{model="m"} 15.5', 'time_count{model="m"} 2']


def test_the_buckets_are_tensorflow_servings() -> None:
    """33 bounds, each 1.8 times the one before, from 10 microseconds to 25 minutes."""
    assert (len(BUCKETS), BUCKETS[0], round(BUCKETS[-1])) == (33, 10, 1_474_755_971)
    assert all(after / before == pytest.approx(1.8) for before, after in pairwise(BUCKETS))


def test_dashboards_find_names_and_labels() -> None:
    """Every metric has the name, the kind and the labels under which TensorFlow Serving has it."""
    metrics = [each for each in vars(Metrics()).values() if isinstance(each, Counter | Histogram)]
    prefix = ":tensorflow:serving:"
    assert {each.name.removeprefix(prefix): (each.kind, *each.labels) for each in metrics} == {
        "request_count": ("counter", "model_name", "status"),
        "request_latency": ("histogram", "model_name", "API", "entrypoint"),
        "runtime_latency": ("histogram", "model_name", "API", "runtime"),
        "request_example_counts": ("histogram", "model"),
        "request_example_count_total": ("counter", "model"),
        "model_warmup_latency": ("histogram", "model_path", "status"),
        "request_log_count": ("counter", "model_name", "status_code"),
        "batching_session:queuing_latency": ("histogram", "thread_pool_name"),
    }
    assert all(each.name.startswith(prefix) and each.name in Metrics().text() for each in metrics)
