"""Probabilities from logits, and how good they are: temperature, calibration error, accuracy and macro F1.

Everything works on plain arrays, whether the classes are garments or groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
CALIBRATION_BINS = 15
"""As in Guo et al., "On Calibration of Modern Neural Networks", 2017 (https://arxiv.org/abs/1706.04599)."""


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Returns probabilities [N, classes] for logits [N, classes]."""
    shifted = np.asarray(logits, np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def group_probabilities(logits: Floats, membership: Floats) -> NDArray[np.float64]:
    """Returns group probabilities [N, groups] for logits of garments [N, garments] or of groups [N, groups].

    Args:
        logits: [N, garments] or [N, groups].
        membership: [garments, groups] of 0 and 1.
    """
    probabilities = softmax(logits)
    return probabilities if logits.shape[1] == membership.shape[1] else probabilities @ membership


def fit_temperature(logits: Floats, classes: Integers) -> float:
    """Returns the temperature that minimises the negative log-likelihood.

    Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2. A temperature does not change which class
    is the most probable.

    Args:
        logits: [N, classes].
        classes: int [N].
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits / np.exp(log_temperature))
        return float(-np.log(np.maximum(probabilities[np.arange(len(classes)), classes], 1e-300)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


def calibration_bins(confidence: Floats, bins: int = CALIBRATION_BINS) -> NDArray[np.int64]:
    """Returns the bin of each confidence, int64 [N]; the bins have equal width, the last one includes 1."""
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def calibration_gaps(
    correct: NDArray[np.bool_], confidence: Floats, bins: int = CALIBRATION_BINS
) -> NDArray[np.float64]:
    """Returns correctness minus confidence of each example in the column of its bin, float64 [N, bins], else zeros.

    The expected calibration error is the sum over the bins of the absolute column means; a bootstrap takes weighted
    means of the same columns.

    Args:
        correct: bool [N], whether the predicted class is the true one.
        confidence: [N], the probability of the predicted class.
        bins: Number of bins. Defaults to 15.
    """
    gaps = np.zeros((len(correct), bins))
    gaps[np.arange(len(correct)), calibration_bins(confidence, bins)] = correct - confidence
    return gaps


def expected_calibration_error(confidence: Floats, correct: NDArray[np.bool_], bins: int = CALIBRATION_BINS) -> float:
    """Returns the mean gap between confidence and accuracy over bins of equal width, weighted by their sizes.

    Guo et al., "On Calibration of Modern Neural Networks", 2017, section 2.

    Args:
        confidence: [N], the probability of the predicted class.
        correct: bool [N], whether the predicted class is the true one.
        bins: Number of bins. Defaults to 15.
    """
    return float(np.abs(calibration_gaps(correct, confidence, bins).sum(axis=0)).sum() / len(confidence))


def group_confusion(probabilities: Floats, groups: Integers) -> NDArray[np.int64]:
    """Counts true groups (rows) against predicted ones (columns), int64 [groups, groups].

    Args:
        probabilities: [N, groups].
        groups: int [N], the true groups.
    """
    count = probabilities.shape[1]
    return np.bincount(groups * count + probabilities.argmax(axis=1), minlength=count**2).reshape(count, count)


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Returns the share of a confusion matrix that lies on its diagonal."""
    return float(np.trace(confusion) / confusion.sum())


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Returns the mean F1 of the groups; a group that is neither present nor predicted counts 0."""
    hits = np.diag(confusion)
    return float(np.mean(2 * hits / np.maximum(confusion.sum(axis=0) + confusion.sum(axis=1), 1)))
