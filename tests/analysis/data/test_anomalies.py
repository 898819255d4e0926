"""Anomalies as tensorflow-metadata's proto, and the distances between distributions."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from analysis.data.anomalies import Anomaly, Kind, chance_divergence, infinity_norm, jensen_shannon, to_proto


@pytest.mark.parametrize("order", [1, -1])
def test_a_feature_has_the_severity_of_its_worst_anomaly(order: int) -> None:
    """An error and a warning of one feature are an error with both reasons, in any order."""
    anomalies = [
        Anomaly("train", "image", Kind.CUSTOM_VALIDATION, "black", "none", "1"),
        Anomaly("train", "image", Kind.CUSTOM_VALIDATION, "near", "10%", "30%", Kind.WARNING),
        Anomaly("train", "garment", Kind.CUSTOM_VALIDATION, "moved", "10%", "8%", Kind.WARNING),
    ]
    info = to_proto(anomalies[::order], schema_pb2.Schema()).anomaly_info
    assert (info["image"].severity, info["garment"].severity) == (Kind.ERROR, Kind.WARNING)
    assert {reason.short_description for reason in info["image"].reason} == {"black", "near"}


def test_the_infinity_norm_compares_shares() -> None:
    """Counts are compared as shares; a value that one side lacks counts with its whole share."""
    assert infinity_norm({"a": 10, "b": 90}, {"a": 1, "b": 9}) == 0
    assert infinity_norm({"a": 6, "b": 4}, {"a": 5, "c": 5}) == pytest.approx(0.5)


def test_the_divergence_is_in_bits() -> None:
    """0 for the same histogram at any size, 1 for histograms that share no bin."""
    one = np.array([1.0, 2.0, 3.0])
    assert jensen_shannon(one, 10 * one) == pytest.approx(0)
    assert jensen_shannon(np.array([4.0, 0.0]), np.array([0.0, 9.0])) == pytest.approx(1)
    assert jensen_shannon(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(0.3113, abs=1e-4)


def test_samples_of_one_distribution_are_within_chance() -> None:
    """The bound holds for nearly all pairs of samples, also of unequal sizes, and is not much too wide."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(32))
    ratios = []
    for _ in range(500):
        one, two = (rng.multinomial(n, shares).astype(float) for n in (4000, 800))
        ratios.append(jensen_shannon(one, two) / chance_divergence(one, two))
    assert np.mean(np.array(ratios) < 1) >= 0.99 and np.median(ratios) > 0.4
