"""The temperature is the planted one, and a calibration error has the size of the boast."""

from __future__ import annotations

import numpy as np
import pytest

from models.probabilities import expected_calibration_error, fit_temperature


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_planted_temperature_is_found(planted: float) -> None:
    """Logits whose softmax drew the classes, multiplied by a factor, are divided by it again."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2.0, (20_000, 4))
    classes = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    assert fit_temperature(logits * planted, classes) == pytest.approx(planted, rel=0.05)


def test_honest_confidence_has_no_calibration_error_and_a_boast_has_its_size() -> None:
    """A model that is sure and right half of the time is off by a half."""
    correct = np.arange(1000) % 2 == 0
    assert expected_calibration_error(np.full(1000, 0.5), correct) == pytest.approx(0)
    assert expected_calibration_error(np.ones(1000), correct) == pytest.approx(0.5)
