"""Probabilities from logits: softmax, the temperature that suits them best, and how far from honest they are.

Works on plain arrays, whatever the classes are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Returns probabilities [N, classes] for logits [N, classes]."""
    shifted = np.asarray(logits, np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def fit_temperature(logits: Floats, classes: Integers) -> float:
    """Returns the temperature that minimises the negative log-likelihood.

    Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2. One number cannot change which class is
    the most probable.

    Args:
        logits: [N, classes].
        classes: int [N].
    """

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits / np.exp(log_temperature))
        return float(-np.log(np.maximum(probabilities[np.arange(len(classes)), classes], 1e-300)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


def expected_calibration_error(confidence: Floats, correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Returns the mean gap between confidence and accuracy over bins of equal width, weighted by their sizes.

    Guo et al., 2017, section 2, with their 15 bins.

    Args:
        confidence: [N], the probability of the predicted class.
        correct: bool [N].
        bins: How many bins. Defaults to 15.
    """
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(index, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))
