"""Calibration recovers what was planted, and keeps its guarantee."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calibration import calibrate, conformal_threshold, expected_calibration_error, fit_temperature, softmax


def drawn(count: int, seed: int, sharpness: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits [count, 4] and classes drawn from their softmax: honest by construction."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, sharpness, (count, 4))
    noise = random.gumbel(size=logits.shape)
    return logits, (logits + noise).argmax(axis=1)


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_planted_temperature_is_found(planted: float) -> None:
    """Honest logits, multiplied by a factor, are divided by it again."""
    logits, classes = drawn(20_000, 0)
    assert fit_temperature(logits * planted, classes) == pytest.approx(planted, rel=0.05)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.8, 0.9, 0.95]))
def test_prediction_sets_cover(seed: int, coverage: float) -> None:
    """On fresh data the sets hold the true class about as often as promised, however the model ranks."""
    logits, classes = drawn(4000, seed)
    probabilities = softmax(logits)
    threshold = conformal_threshold(probabilities[:2000], classes[:2000], coverage)
    covered = (probabilities[2000:] >= threshold)[np.arange(2000), classes[2000:]].mean()
    # Five standard errors of two samples of 2,000.
    assert covered == pytest.approx(coverage, abs=5 * np.sqrt(2 * coverage * (1 - coverage) / 2000))


def test_too_few_examples_keep_every_class() -> None:
    """With 10 examples 99% cannot be promised, and the set holds everything."""
    logits, classes = drawn(10, 0)
    assert conformal_threshold(softmax(logits), classes, 0.99) == 0.0


def test_honest_confidence_has_no_calibration_error_and_a_boast_has_its_size() -> None:
    """A model that is sure and right half of the time is off by a half."""
    correct = np.arange(1000) % 2 == 0
    assert expected_calibration_error(np.full(1000, 0.5), correct) == pytest.approx(0)
    assert expected_calibration_error(np.ones(1000), correct) == pytest.approx(0.5)


def test_calibrate_fits_garments_and_sets_of_groups() -> None:
    """The temperature is the garments', the threshold that of the groups they sum to."""
    logits, classes = drawn(5000, 1)
    membership = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    found = calibrate(logits * 2, classes, membership, 0.9)
    groups = softmax(logits * 2 / found.temperature) @ membership
    covered = (groups >= found.threshold)[np.arange(5000), membership[classes].argmax(axis=1)].mean()
    assert found.temperature == pytest.approx(2, rel=0.1) and covered == pytest.approx(0.9, abs=0.005)
