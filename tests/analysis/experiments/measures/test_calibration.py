"""Calibration errors without and with the bias of small bins."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.experiments.measures.calibration import debiased_calibration_error, reference_calibration_error
from models.probabilities import expected_calibration_error


def confident(count: int, seed: int) -> np.ndarray:
    """Returns confidences like a good network's: 98.5% in the mean, nearly all of them close to 1."""
    return 1 - 0.5 * np.random.default_rng(seed).beta(0.1, 3.2, count)


def test_equal_size_bins_reveal_a_gap_that_equal_width_bins_average_away() -> None:
    """Confidence of 0.97 and 0.99 with their accuracies swapped lies in one bin of 15, but in two of equal size."""
    confidence = np.repeat([0.97, 0.99], 1000)
    correct = np.concatenate([np.arange(1000) >= 10, np.arange(1000) >= 30])
    assert expected_calibration_error(confidence, correct) == pytest.approx(0, abs=1e-9)
    assert debiased_calibration_error(confidence, correct) == pytest.approx(0.02, abs=1e-4)


def test_debiased_error_of_calibrated_models_is_nearer_to_zero() -> None:
    """Over perfectly calibrated models the plain error is far from 0 and the debiased one nearer."""
    confidence, random = confident(6000, 0), np.random.default_rng(0)
    debiased = [debiased_calibration_error(confidence, random.random(6000) < confidence) for _ in range(300)]
    plain = reference_calibration_error(confidence, draws=300)
    assert plain > 0.001 and abs(np.mean(debiased)) < 0.75 * plain


def test_reference_error_is_what_calibrated_models_have_and_overconfident_ones_exceed() -> None:
    """The mean over other draws agrees; a model that is one point overconfident lies above it."""
    confidence, random = confident(3000, 3), np.random.default_rng(4)
    reference = reference_calibration_error(confidence)
    drawn = [expected_calibration_error(confidence, random.random(3000) < confidence) for _ in range(200)]
    assert reference == pytest.approx(np.mean(drawn), rel=0.1)
    assert expected_calibration_error(confidence, random.random(3000) < confidence - 0.01) > np.quantile(drawn, 0.95)


def test_an_existing_gap_is_measured() -> None:
    """A model that is 5 points overconfident everywhere has a debiased error of about 0.05."""
    confidence = np.random.default_rng(1).uniform(0.6, 0.95, 50_000)
    correct = np.random.default_rng(2).random(50_000) < confidence - 0.05
    assert debiased_calibration_error(confidence, correct) == pytest.approx(0.05, abs=0.007)
