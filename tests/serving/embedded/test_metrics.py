"""Histograms and counters in Prometheus's format."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from serving.embedded.metrics import BUCKETS, Histogram, exposition


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
